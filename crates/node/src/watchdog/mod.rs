//! The watchdog: a thread of its own that looks ten times a second whether the runtime, each of its workers and the
//! loops that the mesh depends on still move. One that is late is warned of, then dumped, and in the end the process is
//! aborted, so that its supervisor starts it again: a node that hangs harms its mesh more than one that is gone.
//!
//! It takes no lock and never waits for what it writes, for whoever is stuck may hold the lock or the pipe: writing is
//! done aside, in threads of its own. It knows a stuck worker by the runtime's counters, which every worker moves on when
//! it parks and, when it is busy, every 61 tasks. Started on real surroundings only: under a paused clock nothing moves
//! by itself.

mod dump;
mod judge;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::RuntimeMetrics;
use tokio::time::{Interval, MissedTickBehavior};

use self::dump::Dump;
pub(crate) use self::judge::Limits;
use self::judge::{Case, LOOK_EVERY, Sign, Step};
use crate::metrics::Metrics;
use crate::queue::{Meter, QueueName};

/// A loop with a pulse beats each turn, and at least this often.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// The runtime's own beat, through its timer and its scheduler.
const RUNTIME_BEAT_EVERY: Duration = Duration::from_millis(100);
/// How long a process that is about to end waits for its last words to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The count of a pulse whose loop has ended.
const ENDED: u64 = u64::MAX;

/// A loop's sign of life: the loop beats it, and ends it by dropping it.
#[derive(Debug)]
pub(crate) struct Pulse(Arc<AtomicU64>);

/// The watchdog's end of a pulse.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    name: &'static str,
    beats: Arc<AtomicU64>,
    every: Duration,
}

impl Pulse {
    /// The pulse of a loop with this name in logs and metrics.
    pub(crate) fn new(name: &'static str) -> (Self, Watched) {
        let beats = Arc::new(AtomicU64::new(0));
        (Self(beats.clone()), Watched { name, beats, every: BEAT_EVERY })
    }

    /// Shows that the loop moves.
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Wakes a loop often enough that it beats in time when it has nothing else to do.
    pub(crate) fn ticks() -> Interval {
        let mut ticks = tokio::time::interval(BEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.0.store(ENDED, Ordering::Relaxed);
    }
}

impl Watched {
    fn sign(&self) -> Sign {
        match self.beats.load(Ordering::Relaxed) {
            ENDED => Sign::Resting,
            beats => Sign::Moving(beats, 0),
        }
    }

    fn has_ended(&self) -> bool {
        self.sign() == Sign::Resting
    }
}

/// A pulse that the runtime itself keeps going, and the task that does.
pub(crate) fn runtime_pulse() -> (Watched, impl Future<Output = ()> + Send + 'static) {
    let (pulse, watched) = Pulse::new("runtime");
    let beating = async move {
        let mut every = tokio::time::interval(RUNTIME_BEAT_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            pulse.beat();
        }
    };
    (Watched { every: RUNTIME_BEAT_EVERY, ..watched }, beating)
}

/// The running watchdog; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _stop: SyncSender<()>,
}

/// What is watched.
pub(crate) struct Watch {
    pub(crate) limits: Limits,
    /// The runtime's workers.
    pub(crate) workers: RuntimeMetrics,
    /// The runtime's own beat: the watchdog ends with it.
    pub(crate) runtime: Watched,
    /// The loops.
    pub(crate) loops: Vec<Watched>,
}

impl Watchdog {
    /// Starts to watch, and to warn, dump and abort when it has to.
    ///
    /// # Errors
    /// The system gives no thread, or no second handle of stderr.
    pub(crate) fn start(watch: Watch, metrics: &Metrics) -> std::io::Result<Self> {
        let stderr = Arc::new(File::from(std::io::stderr().as_fd().try_clone_to_owned()?));
        Self::start_with(watch, metrics, move |act| perform(act, &stderr))
    }

    fn start_with(watch: Watch, metrics: &Metrics, act: impl FnMut(Act) + Send + 'static) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let eye = Eye::new(watch, metrics);
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || eye.run(&stopped, act))?;
        Ok(Self { _stop: stop })
    }
}

/// What the watchdog does.
#[derive(Debug)]
enum Act {
    Warn { name: String, late: Duration },
    Dump(Dump),
    Abort(Dump),
}

/// The state of the watchdog's thread.
struct Eye {
    limits: Limits,
    workers: RuntimeMetrics,
    runtime: Watched,
    loops: Vec<Loop>,
    queues: Vec<(QueueName, Meter)>,
}

struct Loop {
    name: String,
    source: Source,
    case: Case,
    late_ms: Gauge,
    stalls: Counter,
}

enum Source {
    Pulse(Watched),
    Worker(usize),
}

impl Eye {
    fn new(watch: Watch, metrics: &Metrics) -> Self {
        let Watch { limits, workers, runtime, loops } = watch;
        let pulses = std::iter::once(runtime.clone()).chain(loops);
        let pulses = pulses.map(|pulse| (pulse.name.to_owned(), pulse.every, Source::Pulse(pulse)));
        let threads = (0..workers.num_workers()).map(|n| (format!("worker-{n}"), Duration::ZERO, Source::Worker(n)));
        // Taken now: looking a metric up by its label takes a lock.
        let watched = pulses.chain(threads).map(|(name, every, source)| {
            let (late_ms, stalls) = metrics.of_loop(&name);
            Loop { name, source, case: Case::new(every), late_ms, stalls }
        });
        let queues = QueueName::ALL.iter().map(|name| (*name, metrics.queue(*name))).collect();
        Self { limits, loops: watched.collect(), workers, runtime, queues }
    }

    fn run(mut self, stopped: &Receiver<()>, mut act: impl FnMut(Act)) {
        while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) && !self.runtime.has_ended() {
            for (at, step) in self.look() {
                self.act(&self.loops[at], step, &mut act);
            }
        }
    }

    /// Looks at every loop; returns those about which something has to be done.
    fn look(&mut self) -> Vec<(usize, Step)> {
        let mut due = Vec::new();
        for (at, watched) in self.loops.iter_mut().enumerate() {
            let step = watched.case.look(&self.limits, watched.source.sign(&self.workers));
            watched.late_ms.set(i64::try_from(watched.case.late().as_millis()).unwrap_or(i64::MAX));
            watched.stalls.inc_by(watched.case.stalls() - watched.stalls.get());
            if step != Step::Nothing {
                due.push((at, step));
            }
        }
        due
    }

    fn act(&self, watched: &Loop, step: Step, act: &mut impl FnMut(Act)) {
        let (name, late) = (watched.name.clone(), watched.case.late());
        act(match step {
            Step::Nothing => return,
            Step::Warn => Act::Warn { name, late },
            Step::Dump => Act::Dump(self.dump(name, late)),
            Step::Abort => Act::Abort(self.dump(name, late)),
        });
    }

    fn dump(&self, stuck: String, late: Duration) -> Dump {
        Dump {
            stuck,
            late,
            loops: self.loops.iter().map(|watched| (watched.name.clone(), watched.case.late())).collect(),
            tasks: self.workers.num_alive_tasks(),
            ready: self.workers.global_queue_depth(),
            queues: self.queues.iter().map(|(name, q)| (name.as_str(), q.depth(), q.shed_total())).collect(),
        }
    }
}

impl Source {
    fn sign(&self, workers: &RuntimeMetrics) -> Sign {
        match self {
            Self::Pulse(watched) => watched.sign(),
            // Odd: it has parked and waits for work.
            Self::Worker(n) if workers.worker_park_unpark_count(*n) % 2 == 1 => Sign::Resting,
            Self::Worker(n) => {
                let busy_ns = workers.worker_total_busy_duration(*n).as_nanos();
                Sign::Moving(workers.worker_park_unpark_count(*n), u64::try_from(busy_ns).unwrap_or(u64::MAX))
            }
        }
    }
}

fn perform(act: Act, stderr: &Arc<File>) {
    match act {
        Act::Warn { name, late } => {
            let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            aside(move || tracing::warn!(late = %name, late_ms, "a loop of the node is late"));
        }
        Act::Dump(dump) => {
            write_aside(stderr, move || dump.to_string());
        }
        Act::Abort(dump) => {
            let written = write_aside(stderr, move || format!("{dump}farwire watchdog: aborting the process\n"));
            let _or_stuck = written.recv_timeout(LAST_WORDS);
            std::process::abort();
        }
    }
}

/// Past the locks of stderr and of the log: whoever is stuck may hold them.
fn write_aside(stderr: &Arc<File>, text: impl FnOnce() -> String + Send + 'static) -> Receiver<()> {
    let stderr = stderr.clone();
    aside(move || {
        let _nobody_reads = (&*stderr).write_all(text().as_bytes());
    })
}

/// Does `work` in a thread that nobody has to wait for. What is returned is disconnected once it is done.
fn aside(work: impl FnOnce() + Send + 'static) -> Receiver<()> {
    let (done, waiting) = sync_channel(0);
    let thread = std::thread::Builder::new().name("watchdog-aside".to_owned());
    let _no_thread_left = thread.spawn(move || {
        work();
        drop::<SyncSender<()>>(done);
    });
    waiting
}

#[cfg(test)]
mod tests;
