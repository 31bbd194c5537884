//! What a process takes from the system, as Linux tells it.

use std::path::PathBuf;
use std::time::Duration;

/// Resident memory of a process, in KiB.
///
/// # Panics
/// When there is no such process, or this is not Linux.
#[must_use]
pub fn resident_kib(pid: u32) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The CPU time that a process has had, of all its threads.
///
/// # Panics
/// When there is no such process, or this is not Linux.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    // The name, in parentheses, may hold anything; after it come the state and numbers: see proc_pid_stat(5).
    let (_, numbers) = stat.rsplit_once(')').expect("a name");
    let ticks = numbers.split_whitespace().skip(USER_TICKS - 3).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * TICK_MS)
}

fn read(pid: u32, file: &str) -> String {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    std::fs::read_to_string(path).expect("the process runs, and this is Linux")
}

/// Which field of `stat` is the time in user mode; the time in the kernel follows it.
const USER_TICKS: usize = 14;
/// Linux tells times to programs in hundredths of a second, whatever it counts in itself.
const TICK_MS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_computed() {
        let own = std::process::id();
        assert!(resident_kib(own) > 1_000);
        let before = cpu_time(own);
        let mut sum = 0_u64;
        while cpu_time(own) < before + Duration::from_millis(2 * TICK_MS) {
            sum = (0..1_000_000).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
    }
}
