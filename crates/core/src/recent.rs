//! Drops volatile messages that are not above the last of their publisher session: what makes them arrive at most
//! once and in order while owners change. Pure; the caller passes the time.
//!
//! Invariant: at most [`SESSIONS_MAX`] publisher sessions are remembered; one that was silent for [`FORGET_AFTER`] is
//! forgotten first.

use std::collections::BTreeMap;
use std::time::Duration;

/// A publisher session that was silent for this long may be forgotten: its messages are no longer under way.
pub const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Most publisher sessions remembered by one [`Recent`].
pub const SESSIONS_MAX: usize = 65_536;

/// The last count of each publisher session.
#[derive(Debug, Default)]
pub struct Recent {
    sessions: BTreeMap<u64, Last>,
    swept_at: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    count: u64,
    at: Duration,
}

impl Recent {
    /// Whether the message is new, which is remembered.
    pub fn take(&mut self, now: Duration, session: u64, count: u64) -> bool {
        self.sweep(now);
        match self.sessions.get_mut(&session) {
            Some(last) if last.count >= count => false,
            Some(last) => {
                *last = Last { count, at: now };
                true
            }
            None => {
                if self.sessions.len() < SESSIONS_MAX {
                    self.sessions.insert(session, Last { count, at: now });
                }
                true
            }
        }
    }

    /// How many publisher sessions are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Forgets the silent ones, at most once in [`FORGET_AFTER`], so that the cost per message stays constant.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept_at) >= FORGET_AFTER {
            self.swept_at = now;
            self.sessions.retain(|_, last| now.saturating_sub(last.at) < FORGET_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_taken_rises_strictly_per_session(messages in prop::collection::vec((0..3_u64, 1..20_u64), 0..200)) {
            let mut recent = Recent::default();
            let mut last = [0; 3];
            for (session, count) in messages {
                let index = usize::try_from(session).unwrap();
                let taken = recent.take(Duration::ZERO, session, count);
                prop_assert_eq!(taken, count > last[index]);
                last[index] = last[index].max(count);
            }
        }
    }

    #[test]
    fn silent_sessions_are_forgotten() {
        let mut recent = Recent::default();
        assert!(recent.take(Duration::from_secs(1), 1, 5));
        assert!(recent.take(Duration::from_secs(62), 2, 1));
        assert!(recent.take(Duration::from_secs(125), 3, 1));
        assert_eq!(recent.len(), 1, "only the session that was just heard is left");
    }
}
