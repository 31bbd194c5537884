//! The watchdog over real runtimes whose threads are blocked on purpose, and over a real process that it ends.

use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

use super::*;

/// Set for the process that the watchdog of a test has to end.
const CHILD: &str = "FARWIRE_TEST_WATCHDOG_CHILD";
const PATIENCE: Duration = Duration::from_secs(60);

fn limits(warn: u64, dump: u64, abort: u64) -> Limits {
    let ms = Duration::from_millis;
    Limits { warn: ms(warn), dump: ms(dump), abort: ms(abort) }
}

fn runtime(workers: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
}

fn watch(runtime: &tokio::runtime::Runtime, limits: Limits, loops: Vec<Watched>) -> Watch {
    let (watched, beating) = runtime_pulse();
    runtime.spawn(beating);
    Watch { limits, workers: runtime.metrics(), runtime: watched, loops }
}

/// Watches, and passes on what the watchdog does.
fn acts(watch: Watch, metrics: &Metrics) -> (Watchdog, Receiver<Act>) {
    let (act, acts) = sync_channel(64);
    let watchdog = Watchdog::start_with(watch, metrics, move |done| drop(act.try_send(done))).unwrap();
    (watchdog, acts)
}

#[test]
fn one_blocked_worker_of_two_is_warned_of_and_dumped_while_the_other_works_on() {
    let (runtime, metrics) = (runtime(2), Metrics::default());
    let (_watchdog, acts) = acts(watch(&runtime, limits(300, 1_000, 60_000), Vec::new()), &metrics);
    let (free, blocked) = sync_channel::<()>(0);
    let blocking = runtime.spawn(async move { blocked.recv().is_err() });
    let mut seen = Vec::new();
    let dump = loop {
        match acts.recv_timeout(PATIENCE).expect("the watchdog sees the worker") {
            Act::Warn { name, .. } => seen.push(name),
            Act::Dump(dump) if dump.stuck.starts_with("worker-") => break dump,
            // A machine that gives the test no core for a second.
            Act::Dump(_) => {}
            Act::Abort(dump) => panic!("aborted before it was dumped: {dump}"),
        }
    };
    runtime.block_on(runtime.spawn(tokio::task::yield_now())).unwrap();
    assert!(seen.contains(&dump.stuck), "{seen:?}");
    assert!(dump.late >= Duration::from_secs(1), "{dump}");
    assert!(dump.tasks >= 2 && dump.to_string().contains("tokio"), "{dump}");
    let page = metrics.page();
    let counted = format!("farwire_watchdog_stalls_total{{watched=\"{}\"}} ", dump.stuck);
    assert!(page.contains(&counted) && !page.contains(&format!("{counted}0\n")), "{page}");
    drop(free);
    assert!(runtime.block_on(blocking).unwrap());
}

#[test]
fn a_loop_without_a_turn_is_named_though_every_worker_is_free() {
    let (runtime, metrics) = (runtime(1), Metrics::default());
    let (pulse, watched) = Pulse::new("membership");
    pulse.beat();
    let (_watchdog, acts) = acts(watch(&runtime, limits(100, 60_000, 60_000), vec![watched]), &metrics);
    match acts.recv_timeout(PATIENCE).expect("the watchdog sees the loop") {
        Act::Warn { name, .. } => assert_eq!(name, "membership"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_loop_that_has_ended_owes_nothing() {
    let (pulse, watched) = Pulse::new("membership");
    pulse.beat();
    assert_eq!(watched.sign(), Sign::Moving(1, 0));
    drop(pulse);
    assert_eq!(watched.sign(), Sign::Resting);
}

#[test]
fn a_runtime_that_stays_blocked_ends_its_process_after_warning_and_dump() {
    let this = std::env::current_exe().unwrap();
    let mut child = Command::new(this);
    child.args(["--exact", "watchdog::tests::the_process_that_is_ended", "--nocapture"]).env(CHILD, "1");
    let output = child.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "{stderr}");
    let (dump, end) = (stderr.find("queues, waiting/shed: changes 0/0"), stderr.find("aborting the process"));
    assert!(dump.is_some() && dump < end, "{stderr}");
}

#[test]
fn the_process_that_is_ended() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (runtime, metrics) = (runtime(1), Metrics::default());
    let _watchdog = Watchdog::start(watch(&runtime, limits(100, 200, 500), Vec::new()), &metrics).unwrap();
    // Holds the lock of stderr as well: the last words have to get past it.
    let (_never, blocked) = sync_channel::<()>(0);
    runtime.spawn(async move {
        let _held = std::io::stderr().lock();
        blocked.recv()
    });
    let (_open, end) = sync_channel::<()>(0);
    let _aborted_long_before = end.recv_timeout(PATIENCE);
}
