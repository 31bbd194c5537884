//! The one place that writes and syncs, for all groups of a node: takes what has queued up, one write, one sync, then
//! answers. What queues up meanwhile is the next batch; there is no timer.
//!
//! On a real disk it is a thread ([`Committer::start_thread`]); in a simulation a future inside the runtime
//! ([`Committer::run`]), whose syncs take virtual time, so that a paused clock goes on.
//!
//! Invariants: jobs are written in the order in which they were sent; a job that asks for a sync is answered `Ok` only
//! after a sync of a write that has it. **The first failed write or sync is final**: all jobs after it are refused, and the
//! disk is not touched again, because the sync after a failed one lies.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::buckets::Buckets;
use crate::counters::Counters;
use crate::engine::{Engine, EngineError, Write};
use crate::records::{Record, Round};

/// Why a store writes no more. Reads go on.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("the store has stopped for good, restart the node once the disk is well: {0}")]
pub struct Stopped(Arc<str>);

impl Stopped {
    /// Its committer was dropped, or had to end: nobody writes any more.
    pub(crate) fn committer_gone() -> Self {
        Self("its committer has ended".into())
    }
}

/// What the committer and those who send it jobs share.
pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) buckets: Buckets,
    pub(crate) counters: Counters,
    stopped: OnceLock<Stopped>,
    /// If not, jobs are answered once they are written.
    is_synced: bool,
}

impl Shared {
    pub(crate) fn new(engine: Arc<dyn Engine>, buckets: Buckets, is_synced: bool) -> Self {
        Self { engine, buckets, counters: Counters::default(), stopped: OnceLock::new(), is_synced }
    }

    /// Why nothing is written any more, if so.
    pub(crate) fn stopped(&self) -> Option<&Stopped> {
        self.stopped.get()
    }

    /// Whether jobs that ask for it are synced.
    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
    }

    pub(crate) fn stop(&self, doing: &str, error: &EngineError) -> Stopped {
        let stopped = self.stopped.get_or_init(|| Stopped(format!("{doing} failed: {error}").into()));
        tracing::error!(err = %stopped, "store stopped");
        stopped.clone()
    }
}

/// Writes of one group that go to disk together, and whom to tell.
#[derive(Default)]
pub(crate) struct Job {
    pub(crate) writes: Vec<Write>,
    /// Whether the answer waits for a sync.
    pub(crate) sync: bool,
    /// Buckets that nobody needs once this is on disk.
    pub(crate) dead: Vec<u64>,
    pub(crate) done: Option<Done>,
}

/// Told once, by the committer.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Stopped>) + Send>;

struct Queued {
    job: Job,
    bytes: usize,
    _room: Option<OwnedSemaphorePermit>,
}

/// The way to the committer: 1,024 jobs or 64 MiB wait, then the sender does.
#[derive(Clone)]
pub(crate) struct Queue {
    jobs: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// A place in the queue that is kept for one job, which can then be sent without waiting.
pub(crate) struct Slot<'a> {
    permit: mpsc::Permit<'a, Queued>,
    room: Option<OwnedSemaphorePermit>,
}

impl Queue {
    /// Waits for a place for a job of about so many bytes. Cancel safe.
    pub(crate) async fn slot(&self, bytes: usize) -> Result<Slot<'_>, Stopped> {
        self.check()?;
        let units = u32::try_from(bytes / ROOM_UNIT_BYTES + 1).unwrap_or(u32::MAX).min(ROOM_UNITS);
        let room = self.room.clone().acquire_many_owned(units).await.map_err(|_| self.gone())?;
        let permit = self.jobs.reserve().await.map_err(|_| self.gone())?;
        self.check()?;
        Ok(Slot { permit, room: Some(room) })
    }

    /// A place for a small job, if there is one now.
    pub(crate) fn try_slot(&self) -> Option<Slot<'_>> {
        self.jobs.try_reserve().ok().map(|permit| Slot { permit, room: None })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn check(&self) -> Result<(), Stopped> {
        self.shared.stopped().map_or(Ok(()), |stopped| Err(stopped.clone()))
    }

    fn gone(&self) -> Stopped {
        self.shared.stopped().cloned().unwrap_or_else(Stopped::committer_gone)
    }
}

impl Slot<'_> {
    pub(crate) fn send(self, job: Job) {
        let bytes = job.writes.iter().map(Write::size_bytes).sum();
        self.permit.send(Queued { job, bytes, _room: self.room });
    }
}

/// See the module. Ends once the store and all its groups are dropped, with everything written.
pub struct Committer {
    jobs: mpsc::Receiver<Queued>,
    shared: Arc<Shared>,
    /// The last write. It goes with each write, so that whoever finds it knows what had been synced by then.
    round: Round,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, round: Round) -> (Self, Queue) {
        let (sender, jobs) = mpsc::channel(JOBS_MAX);
        let room = Arc::new(Semaphore::new(ROOM_UNITS as usize));
        (Self { jobs, shared: shared.clone(), round }, Queue { jobs: sender, room, shared })
    }

    /// Runs in a thread of its own, for a disk whose syncs block.
    ///
    /// # Errors
    ///
    /// The operating system gives no thread.
    pub fn start_thread(mut self) -> std::io::Result<std::thread::JoinHandle<()>> {
        std::thread::Builder::new().name("committer".into()).spawn(move || {
            while let Some(first) = self.jobs.blocking_recv() {
                let mut batch = self.collect(first);
                let written = self.write(&mut batch);
                let synced = written.and_then(|()| self.sync(&batch, Duration::ZERO));
                self.answer(batch, &synced);
            }
        })
    }

    /// Runs inside the runtime; each sync takes so long. Not cancel safe: jobs that it has taken are lost.
    pub async fn run(mut self, sync_time: Duration) {
        while let Some(first) = self.jobs.recv().await {
            let mut batch = self.collect(first);
            let mut result = self.write(&mut batch);
            if result.is_ok() {
                if self.wants_sync(&batch) {
                    tokio::time::sleep(sync_time).await;
                }
                result = self.sync(&batch, sync_time);
            }
            self.answer(batch, &result);
        }
    }

    /// All that waits, up to the bound of a batch.
    fn collect(&mut self, first: Queued) -> Vec<Queued> {
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while bytes < BATCH_BYTES_MAX
            && let Ok(next) = self.jobs.try_recv()
        {
            bytes += next.bytes;
            batch.push(next);
        }
        batch
    }

    fn write(&mut self, batch: &mut [Queued]) -> Result<(), Stopped> {
        if let Some(stopped) = self.shared.stopped() {
            return Err(stopped.clone());
        }
        let mut writes: Vec<Write> =
            batch.iter_mut().flat_map(|queued| std::mem::take(&mut queued.job.writes)).collect();
        self.shared.counters.batch_jobs.note(batch.len() as u64);
        self.shared.counters.batch_bytes.note(batch.iter().map(|queued| queued.bytes as u64).sum());
        if writes.is_empty() {
            return Ok(());
        }
        self.round.number += 1;
        writes.push(self.round.put());
        self.shared.engine.write(writes).map_err(|error| self.shared.stop("a write", &error))
    }

    fn wants_sync(&self, batch: &[Queued]) -> bool {
        self.shared.is_synced && batch.iter().any(|queued| queued.job.sync)
    }

    /// `waited` counts as part of the sync.
    fn sync(&mut self, batch: &[Queued], waited: Duration) -> Result<(), Stopped> {
        if !self.wants_sync(batch) {
            return Ok(());
        }
        let begun = Instant::now();
        let result = self.shared.engine.sync().map_err(|error| self.shared.stop("a sync", &error));
        self.shared.counters.sync_us.note_time(waited + begun.elapsed());
        result?;
        self.round.synced = self.round.number;
        Ok(())
    }

    fn answer(&self, batch: Vec<Queued>, result: &Result<(), Stopped>) {
        let mut dead = Vec::new();
        for Queued { job, .. } in batch {
            dead.extend(job.dead);
            if let Some(done) = job.done {
                done(result.clone());
            }
        }
        if result.is_ok() {
            dead.into_iter().for_each(|bucket| self.bury(bucket));
        }
    }

    /// Drops a bucket, unless a group has come to need it meanwhile.
    fn bury(&self, bucket: u64) {
        if self.shared.buckets.is_needed(bucket) || self.shared.stopped().is_some() {
            return;
        }
        match self.drop_bucket(bucket) {
            Ok(()) => {
                self.shared.counters.buckets_dropped.fetch_add(1, Relaxed);
            }
            Err(error) => {
                self.shared.stop("dropping a bucket", &error);
            }
        }
    }

    fn drop_bucket(&self, bucket: u64) -> Result<(), EngineError> {
        let engine = &self.shared.engine;
        if !self.shared.is_synced {
            // The drop outlives a power cut, so the mark that allows it has to.
            engine.sync()?;
        }
        engine.drop_bucket(bucket)?;
        engine.write(vec![Record::Dead(bucket).delete()])
    }
}

const JOBS_MAX: usize = 1_024;

/// Of one write: bounds how long those at its beginning wait for its end.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// The queue's 64 MiB, counted in steps of 1 KiB.
const ROOM_UNITS: u32 = 64 << 10;
const ROOM_UNIT_BYTES: usize = 1 << 10;
