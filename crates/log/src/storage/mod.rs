//! openraft's log storage: one [`GroupLog`] a group, over the engine and the committer that all groups share.
//!
//! The state of a log (vote, marks, which entries there are) is in memory and on disk; entries are on disk, and in memory
//! until they are synced, so that they can be read from the moment they are appended. Reads block for as long as the disk
//! takes, and are bounded where openraft allows it.
//!
//! Not here: what the entries say, state machines, the network. **The log is the message store**: purging moves a mark, and
//! only time buckets that lie wholly below it are dropped.

mod read;
mod state;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use farwire_wire::Shard;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use crate::committer::{Done, Job, Queue, Slot, Stopped};
use crate::engine::EngineError;
use crate::records::Record;
use crate::types::{Entry, LogId, Types, Vote, entry_bytes, put_log_id, put_vote};
use read::{Found, View};
use state::{Change, Hole};
pub(crate) use state::{Segment, State, take_ranges};

/// What can go wrong with a log. Openraft sees it as an [`io::Error`]; [`of`](Self::of) finds it in there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Entries are there and do not verify. They stay quarantined; fetch them from a replica and
    /// [`repair`](GroupLog::repair) the log. Nothing else is affected.
    #[error("log of shard {} is corrupt from {from} to {to}, fetch these entries from a replica", shard.0)]
    Corrupt {
        /// Whose log.
        shard: Shard,
        /// The first bad entry.
        from: u64,
        /// The last bad entry of the run, as far as was read.
        to: u64,
    },
    /// Nothing is written any more; reads go on.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The disk could not be read. Nothing changed; a later read may succeed.
    #[error("the log cannot be read: {0}")]
    Unreadable(Arc<str>),
    /// The caller's fault: entries that do not follow on the log. Nothing changed.
    #[error("entry {found} was to be appended where {expected} belongs")]
    Hole {
        /// The index that belongs there.
        expected: u64,
        /// The index that was offered.
        found: u64,
    },
    /// The caller's fault: entries that the log does not miss. Nothing changed.
    #[error("entry {index} does not replace a corrupt one")]
    NotBad {
        /// The first such entry.
        index: u64,
    },
}

impl LogError {
    /// The fault within an error that the storage gave to openraft.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<EngineError> for LogError {
    fn from(error: EngineError) -> Self {
        Self::Unreadable(error.to_string().into())
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        let kind =
            if matches!(error, LogError::Corrupt { .. }) { io::ErrorKind::InvalidData } else { io::ErrorKind::Other };
        Self::new(kind, error)
    }
}

impl From<Hole> for LogError {
    fn from(Hole { expected, found }: Hole) -> Self {
        Self::Hole { expected, found }
    }
}

/// The log of one group. Clones are the same log.
#[derive(Clone)]
pub struct GroupLog {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    queue: Queue,
    /// The bucket that the store writes to now.
    bucket: Arc<AtomicU64>,
}

impl GroupLog {
    pub(crate) fn new(state: State, queue: Queue, bucket: Arc<AtomicU64>) -> Self {
        Self { inner: Arc::new(Inner { state: Mutex::new(state), queue, bucket }) }
    }

    /// Whose log this is.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.lock().shard
    }

    /// The entries from `from` to `to`, inclusive, that the log has; it stops after the entry with which their bytes reach
    /// `bytes_max`, or before the first that is corrupt. Blocks for as long as the disk takes.
    ///
    /// # Errors
    ///
    /// [`LogError::Corrupt`] if the very first is, [`LogError::Unreadable`].
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, LogError> {
        let found = self.find(from, to, bytes_max)?;
        match self.fault(&found) {
            Some(fault) if found.entries.is_empty() => Err(fault),
            _ => Ok(found.entries),
        }
    }

    /// The commands from `from` on, each with its log index, and the index to go on from: `from` itself at the log's end.
    /// Stops as [`read`](Self::read) does. What is not committed yet is among them.
    ///
    /// # Errors
    ///
    /// See [`read`](Self::read).
    pub fn commands(&self, from: u64, bytes_max: usize) -> Result<(Vec<(u64, Bytes)>, u64), LogError> {
        let entries = self.read(from, u64::MAX, bytes_max)?;
        let next = entries.last().map_or(from, |entry| entry.log_id.index + 1);
        let commands = entries.into_iter().filter_map(|entry| match entry.payload {
            EntryPayload::Normal(command) => Some((entry.log_id.index, command.0)),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        });
        Ok((commands.collect(), next))
    }

    /// The ranges of entries, inclusive, that are known to be corrupt and have not been written again.
    #[must_use]
    pub fn quarantined(&self) -> Vec<(u64, u64)> {
        self.lock().quarantine.iter().collect()
    }

    /// Writes entries again that were corrupt, as a replica has them; lifts their quarantine. Returns once they are synced.
    ///
    /// Not cancel safe: the entries may or may not be written. Calling it again does no harm.
    ///
    /// # Errors
    ///
    /// [`LogError::NotBad`] if one of them is not quarantined, [`LogError::Stopped`].
    pub async fn repair(&self, entries: Vec<Entry>) -> Result<(), LogError> {
        let slot = self.slot(&entries).await?;
        let receiver = {
            let mut state = self.lock();
            if let Some(entry) = entries.iter().find(|entry| !state.quarantine.contains(entry.log_id.index)) {
                return Err(LogError::NotBad { index: entry.log_id.index });
            }
            let span = span(&entries);
            let change = state.rewrite(entries);
            let (sender, receiver) = oneshot::channel();
            self.send(&mut state, slot, change, Some((span, answer(sender))));
            receiver
        };
        Ok(wait(receiver).await?)
    }

    async fn slot(&self, entries: &[Entry]) -> Result<Slot<'_>, Stopped> {
        self.inner.queue.slot(entries.iter().map(entry_bytes).sum()).await
    }

    /// Sends what a change asks for, within the lock under which it was made: the queue has the order of the changes.
    fn send(&self, state: &mut State, slot: Slot<'_>, change: Change, pending: Option<(Span, Done)>) {
        let mut job = Job { writes: change.writes, sync: change.sync, ..Job::default() };
        let buckets = &self.inner.queue.shared().buckets;
        for bucket in change.needed {
            buckets.need(bucket, state.shard);
        }
        for bucket in change.released {
            if buckets.release(bucket, state.shard) {
                job.writes.push(Record::Dead(bucket).put(|_| {}));
                job.dead.push(bucket);
            }
        }
        job.done = pending.map(|(span, done)| self.after(change.job, span, done));
        slot.send(job);
    }

    /// Forgets the pending entries once they are on disk, then tells whoever waits. If it failed they stay readable.
    fn after(&self, job: u64, span: Span, done: Done) -> Done {
        let log = self.clone();
        Box::new(move |result| {
            if result.is_ok() {
                log.lock().written(job, span.0, span.1);
            }
            done(result);
        })
    }

    fn find(&self, from: u64, to: u64, bytes_max: usize) -> Result<Found, LogError> {
        loop {
            let Some(view) = View::of(&self.lock(), from, to) else { return Ok(Found::default()) };
            let found = view.read(&*self.inner.queue.shared().engine, bytes_max)?;
            if found.bad.is_empty() {
                return Ok(found);
            }
            let mut state = self.lock();
            // What went while it was read is not bad but gone.
            if state.removals == view.removals {
                self.quarantine(&mut state, &found);
                return Ok(found);
            }
        }
    }

    fn quarantine(&self, state: &mut State, found: &Found) {
        let mut is_new = false;
        for (from, to) in found.bad.iter() {
            let new = (from..=to).filter(|index| !state.quarantine.contains(*index)).count() as u64;
            if new > 0 {
                is_new = true;
                state.quarantine.insert(from, to);
                self.inner.queue.shared().counters.corrupt_entries.fetch_add(new, Relaxed);
                tracing::error!(shard = state.shard.0, from, to, "log entries are corrupt");
            }
        }
        // A note to the next start, which would find out by itself: without a place in the queue it does without.
        if is_new && let Some(slot) = self.inner.queue.try_slot() {
            slot.send(Job { writes: vec![state.put_quarantine()], ..Job::default() });
        }
    }

    fn fault(&self, found: &Found) -> Option<LogError> {
        let (from, to) = found.bad.iter().next()?;
        Some(LogError::Corrupt { shard: self.shard(), from, to })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftLogReader<Types> for GroupLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let Some((from, to)) = inclusive(&range) else { return Ok(Vec::new()) };
        let found = self.find(from, to, usize::MAX)?;
        self.fault(&found).map_or(Ok(found.entries), |fault| Err(fault.into()))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let Some((from, to)) = inclusive(&(start..end)) else { return Ok(Vec::new()) };
        Ok(self.read(from, to, APPEND_BYTES_MAX)?)
    }
}

impl RaftLogStorage<Types> for GroupLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let slot = self.slot(&[]).await.map_err(LogError::from)?;
        let receiver = {
            let mut state = self.lock();
            state.vote = Some(*vote);
            let (sender, receiver) = oneshot::channel();
            let writes = vec![Record::Vote(state.shard).put(|bytes| put_vote(bytes, vote))];
            slot.send(Job { writes, sync: true, done: Some(answer(sender)), ..Job::default() });
            receiver
        };
        wait(receiver).await.map_err(|stopped| LogError::from(stopped).into())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let slot = self.slot(&[]).await.map_err(LogError::from)?;
        let mut state = self.lock();
        state.committed = committed;
        let record = Record::Committed(state.shard);
        let write = committed.map_or_else(|| record.delete(), |mark| record.put(|bytes| put_log_id(bytes, &mark)));
        slot.send(Job { writes: vec![write], ..Job::default() });
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let slot = self.slot(&entries).await.map_err(LogError::from)?;
        let span = span(&entries);
        let done: Done =
            Box::new(|result| callback.io_completed(result.map_err(|stopped| LogError::from(stopped).into())));
        let mut state = self.lock();
        let change = state.append(self.inner.bucket.load(Relaxed), entries).map_err(LogError::from)?;
        self.send(&mut state, slot, change, Some((span, done)));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let slot = self.slot(&[]).await.map_err(LogError::from)?;
        let mut state = self.lock();
        let change = state.truncate(last_log_id);
        self.send(&mut state, slot, change, None);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let slot = self.slot(&[]).await.map_err(LogError::from)?;
        let mut state = self.lock();
        let change = state.purge(log_id);
        self.send(&mut state, slot, change, None);
        Ok(())
    }
}

/// The first and the last index of some entries.
type Span = (u64, u64);

fn span(entries: &[Entry]) -> Span {
    let index = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.log_id.index);
    (index(entries.first()), index(entries.last()))
}

fn answer(sender: oneshot::Sender<Result<(), Stopped>>) -> Done {
    Box::new(|result| {
        // Whoever has stopped waiting does not need the answer.
        let _ = sender.send(result);
    })
}

async fn wait(receiver: oneshot::Receiver<Result<(), Stopped>>) -> Result<(), Stopped> {
    receiver.await.unwrap_or_else(|_| Err(Stopped::committer_gone()))
}

/// A range as its first and last index; `None` if it is empty.
fn inclusive(range: &impl RangeBounds<u64>) -> Option<Span> {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(to) => *to,
        Bound::Excluded(after) => after.checked_sub(1)?,
        Bound::Unbounded => u64::MAX,
    };
    (from <= to).then_some((from, to))
}

/// What one append to a follower carries; one entry more than that if it is greater by itself.
const APPEND_BYTES_MAX: usize = 1 << 20;
