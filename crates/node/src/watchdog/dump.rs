//! What there is to see of a process that is stuck: its loops, tasks, queues and threads. Takes no lock of the process:
//! the stuck code may hold it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Most threads that are listed.
const THREADS_MAX: usize = 256;

/// What was seen when a loop was found stuck.
#[derive(Debug)]
pub(super) struct Dump {
    /// The loop.
    pub(super) stuck: String,
    /// How late it is.
    pub(super) late: Duration,
    /// Every loop and how late it is.
    pub(super) loops: Vec<(String, Duration)>,
    /// Tasks of the runtime that have not ended.
    pub(super) tasks: usize,
    /// Tasks that are ready and that no worker has taken.
    pub(super) ready: usize,
    /// Queues, what waits in them, and what they shed.
    pub(super) queues: Vec<(&'static str, i64, u64)>,
}

/// Reads the threads while it is written, so not where the reader must never wait.
impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "farwire watchdog: {} is {} ms late", self.stuck, self.late.as_millis())?;
        let loops: Vec<_> = self.loops.iter().map(|(name, late)| format!("{name} {}", late.as_millis())).collect();
        writeln!(f, "  loops, ms late: {}", loops.join(", "))?;
        writeln!(f, "  tasks: {} alive, {} ready and not taken", self.tasks, self.ready)?;
        let queues: Vec<_> = self.queues.iter().map(|(name, depth, shed)| format!("{name} {depth}/{shed}")).collect();
        writeln!(f, "  queues, waiting/shed: {}", queues.join(", "))?;
        writeln!(f, "  threads: id, name, state, where it waits in the kernel, time on a core, switches")?;
        threads().iter().try_for_each(|thread| writeln!(f, "    {thread}"))
    }
}

/// The threads of this process, a line each; none where the system does not show them.
fn threads() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks.flatten().take(THREADS_MAX).map(|task| thread(&task.path())).collect()
}

fn thread(task: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(task.join(name)).unwrap_or_default();
    let (stat, status) = (read("stat"), read("status"));
    let id = task.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = status_field(&status, "Name");
    // The name in `stat` is in parentheses and may hold anything: the numbers begin after the last one.
    let numbers: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |at: usize| numbers.get(at).copied().unwrap_or("?");
    let (state, user, system) = (number(0), number(11), number(12));
    let switches = status_field(&status, "voluntary_ctxt_switches");
    format!("{id} {name:?} {state} {} {user}+{system} ticks, {switches} switches", read("wchan"))
}

fn status_field<'a>(status: &'a str, field: &str) -> &'a str {
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(name, _)| *name == field).map(|(_, value)| value.trim()).next().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_dump_shows_a_thread_by_name_and_that_it_sleeps() {
        let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let sleeper = std::thread::Builder::new().name("a sleeper (1)".to_owned()).spawn(move || wait.recv()).unwrap();
        let line = loop {
            let found = threads().into_iter().find(|line| line.contains("\"a sleeper (1)\" S"));
            if let Some(line) = found {
                break line;
            }
            std::thread::yield_now();
        };
        assert!(line.contains("ticks") && !line.contains('?'), "{line}");
        drop(done);
        assert!(sleeper.join().unwrap().is_err());
    }
}
