//! Keeps a log line that repeats from flooding the log: once in 10 s per place in the code and subject (a peer, a seed,
//! an address), with a count of what was left out. Writes nothing itself.
//!
//! Invariant: with [`SUBJECTS_MAX`] subjects at most, lines of 300 bytes stay below 1 MB a minute, whatever the others do.
//! Used by whoever logs what somebody else can cause again and again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::lock;

/// The least time between two lines of one place about one subject.
const EVERY: Duration = Duration::from_secs(10);
/// Most subjects that are told apart; the ones beyond share a line.
const SUBJECTS_MAX: usize = 512;

/// What was logged lately.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    lines: Mutex<BTreeMap<(&'static str, String), Line>>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    written_at: Instant,
    suppressed: u64,
}

impl Throttle {
    /// Whether the line of this place about this subject may be written now: then how many were left out since the last
    /// one, to be written with it.
    pub(crate) fn pass(&self, place: &'static str, subject: impl ToString) -> Option<u64> {
        self.pass_at(Instant::now(), place, subject.to_string())
    }

    fn pass_at(&self, now: Instant, place: &'static str, subject: String) -> Option<u64> {
        let mut lines = lock(&self.lines);
        let mut key = (place, subject);
        if lines.len() >= SUBJECTS_MAX && !lines.contains_key(&key) {
            lines.retain(|_, line| now.saturating_duration_since(line.written_at) < EVERY);
            if lines.len() >= SUBJECTS_MAX {
                key.1.clear();
            }
        }
        match lines.get_mut(&key) {
            Some(line) if now.saturating_duration_since(line.written_at) < EVERY => {
                line.suppressed += 1;
                None
            }
            Some(line) => Some(std::mem::replace(line, Line { written_at: now, suppressed: 0 }).suppressed),
            None => {
                lines.insert(key, Line { written_at: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_passes_once_in_ten_seconds_and_says_what_was_left_out() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let pass = |at, place, subject: &str| throttle.pass_at(at, place, subject.to_owned());
        assert_eq!(pass(start, "dial", "a"), Some(0));
        (0..20).for_each(|_| assert_eq!(pass(start, "dial", "a"), None));
        assert_eq!(pass(start, "dial", "b"), Some(0), "another subject");
        assert_eq!(pass(start, "seed", "a"), Some(0), "another place");
        assert_eq!(pass(start + EVERY, "dial", "a"), Some(20));
        assert_eq!(pass(start + EVERY, "dial", "a"), None);
    }

    #[test]
    fn subjects_beyond_the_bound_share_a_line_and_old_ones_make_room() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let subjects = 0..10 * SUBJECTS_MAX;
        let passed = subjects.filter(|n| throttle.pass_at(start, "knock", n.to_string()).is_some()).count();
        assert_eq!(passed, SUBJECTS_MAX + 1);
        assert_eq!(lock(&throttle.lines).len(), SUBJECTS_MAX + 1);
        assert_eq!(throttle.pass_at(start + EVERY, "knock", "new".to_owned()), Some(0));
        assert_eq!(lock(&throttle.lines).len(), 1);
    }
}
