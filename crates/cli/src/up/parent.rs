//! How a node that `farwire up` started dies with it, however `up` ends.
//!
//! `farwire node` calls [`die_with_parent`] before anything else when it finds [`PARENT_VARIABLE`] in its environment: it
//! has then been started by `up` (or by a test), with its stdin piped from there. Runs in the node's process, not in `up`'s.

use std::io::Read;

/// Environment variable with the process id of the `up` that started this node.
pub(crate) const PARENT_VARIABLE: &str = "FARWIRE_PARENT";

/// Ties the life of this process to that of the `up` named by [`PARENT_VARIABLE`]; does nothing when it is not set.
///
/// On Linux the kernel kills this process with SIGKILL, even a stopped one, when the thread that started it ends: `up`
/// starts nodes from a thread that lives as long as itself. Everywhere, the end of stdin ends the process with exit code 1.
/// Call it once, first thing, from `main`.
pub(crate) fn die_with_parent() {
    let Ok(parent) = std::env::var(PARENT_VARIABLE) else { return };
    #[cfg(target_os = "linux")]
    die_by_kernel(&parent);
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    let watch = std::thread::Builder::new().name("parent".into()).spawn(|| {
        wait_for_end(&mut std::io::stdin().lock());
        std::process::exit(1);
    });
    // Without the thread nothing would end this process outside Linux: better not to start.
    if watch.is_err() {
        std::process::exit(1);
    }
}

#[cfg(target_os = "linux")]
fn die_by_kernel(parent: &str) {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let bound = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // A parent that died before the call above sends no signal any more.
    let alive = getppid().is_some_and(|pid| pid.as_raw_nonzero().to_string() == parent);
    if !bound || !alive {
        std::process::exit(1);
    }
}

/// Returns once nothing more can come from `stdin`.
fn wait_for_end(stdin: &mut impl Read) {
    let mut buffer = [0; 64];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_stdin_counts() {
        let mut stdin = &[7_u8; 1000][..];
        wait_for_end(&mut stdin);
        assert!(stdin.is_empty());
    }
}
