//! Runs scenarios over seeds, in as many threads as there are cores, and says how to repeat what failed.
//!
//! `FARWIRE_SEEDS=2000` runs so many seeds in place of the usual number, `FARWIRE_SEED=17` this one alone and prints its
//! history, `FARWIRE_SIM_LOG=farwire_node=debug` prints what nodes and clients log. `tests/seeds.txt` has seeds that
//! once failed; they always run.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, Once};
use std::time::Instant;

use farwire_sim::history::{self, Record};
use farwire_sim::net::Packet;

/// What a run leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Every violation, a line each; none when all is well.
    pub(crate) violations: Vec<String>,
    /// What happened.
    pub(crate) records: Vec<Record>,
    /// Every packet.
    pub(crate) packets: Vec<Packet>,
}

/// A scenario by its name.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    /// The test's path after `sim/`, so that the replay command names it.
    pub(crate) test: &'static str,
    /// Plays it, within a runtime of its own.
    pub(crate) play: fn(u64) -> Outcome,
}

/// Builds the `play` of a scenario from an async function of the seed.
macro_rules! play {
    ($scenario:path) => {
        |seed| crate::runs::in_virtual_time($scenario(seed))
    };
}
pub(crate) use play;

/// Plays the scenario for seeds 0 up to `usual`, and for those that failed once.
///
/// # Panics
/// When a run violates an invariant or panics; the text has the seed and the command that repeats it.
pub(crate) fn over_seeds(scenario: Scenario, usual: u64) {
    let seeds = seeds(scenario.test, usual);
    let (queue, failures) = (Mutex::new(seeds.iter().copied()), Mutex::new(Vec::new()));
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(seeds.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = next(&queue) {
                    failures.lock().unwrap().extend(failure(scenario, seed));
                }
            });
        }
    });
    println!("{}: {} seeds in {:.1} s", scenario.test, seeds.len(), begun.elapsed().as_secs_f64());
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} seeds failed\n{}", failures.len(), seeds.len(), failures.join("\n"));
}

/// Plays one seed, with every panic in it as a violation.
pub(crate) fn play_one(scenario: Scenario, seed: u64) -> Outcome {
    collect_panics();
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| (scenario.play)(seed)));
    let panics = PANICS.take();
    let mut outcome =
        played.unwrap_or_else(|_| Outcome { violations: Vec::new(), records: Vec::new(), packets: Vec::new() });
    outcome.violations.extend(panics);
    outcome
}

/// Runs a scenario to its end on one thread, with a clock that jumps to the next timer whenever nobody has anything to do.
/// Not for what waits for other threads or real sockets: the clock would not wait for them.
pub(crate) fn in_virtual_time<T>(scenario: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(scenario)
}

fn next(queue: &Mutex<impl Iterator<Item = u64>>) -> Option<u64> {
    queue.lock().unwrap().next()
}

fn failure(scenario: Scenario, seed: u64) -> Option<String> {
    let outcome = play_one(scenario, seed);
    if chosen_seed().is_some() {
        println!("{}", history::tell(&outcome.records));
    }
    let Scenario { test, .. } = scenario;
    (!outcome.violations.is_empty()).then(|| {
        format!(
            "seed {seed}:\n  {}\n  repeat: FARWIRE_SEED={seed} cargo test -p farwire-tests --test sim {test} -- --nocapture",
            outcome.violations.join("\n  ")
        )
    })
}

fn seeds(test: &str, usual: u64) -> BTreeSet<u64> {
    if let Some(seed) = chosen_seed() {
        return BTreeSet::from([seed]);
    }
    let count = number("FARWIRE_SEEDS").unwrap_or(usual);
    (0..count).chain(failed_once(test)).collect()
}

/// The seeds that `tests/seeds.txt` has for a test.
fn failed_once(test: &str) -> Vec<u64> {
    let lines = include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let parsed = lines.map(|line| {
        let (of, seed) =
            line.split_whitespace().take(2).collect::<Vec<_>>().try_into().map(|[a, b]: [&str; 2]| (a, b)).unwrap();
        (of, seed.parse().unwrap())
    });
    parsed.filter(|(of, _)| *of == test).map(|(_, seed)| seed).collect()
}

fn chosen_seed() -> Option<u64> {
    number("FARWIRE_SEED")
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

thread_local! {
    /// What panicked on this thread: a run has a thread to itself, and the runtime swallows the panics of tasks.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn collect_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(format!("panic: {panic}")));
            usual(panic);
        }));
        log();
    });
}

/// Prints logs with virtual time where `FARWIRE_SIM_LOG` asks for them.
fn log() {
    struct Virtual(std::sync::OnceLock<tokio::time::Instant>);

    impl tracing_subscriber::fmt::time::FormatTime for Virtual {
        fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
            let begun = self.0.get_or_init(tokio::time::Instant::now);
            write!(writer, "{:>9.3} s", begun.elapsed().as_secs_f64())
        }
    }

    if let Ok(filter) = std::env::var("FARWIRE_SIM_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        tracing_subscriber::fmt().with_env_filter(filter).with_timer(Virtual(std::sync::OnceLock::new())).init();
    }
}
