//! Drops volatile messages that are not above the last of their publisher session and slot: what makes them arrive at
//! most once and in order while owners change. Pure; the caller passes the time.
//!
//! Slots count apart, though a publisher session counts through all of them: slots of one shard may have different owners,
//! and then nothing keeps the later message of one from arriving before the earlier one of another.
//! Invariant: at most [`LANES_MAX`] pairs of a publisher session and a slot are remembered; one that was silent for
//! [`FORGET_AFTER`] is forgotten first.

use std::collections::BTreeMap;
use std::time::Duration;

use farwire_wire::Slot;

/// A publisher session that was silent in a slot for this long may be forgotten there: its messages are no longer under way.
pub const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Most pairs of a publisher session and a slot remembered by one [`Recent`].
pub const LANES_MAX: usize = 65_536;

/// The last count of each publisher session in each slot.
#[derive(Debug, Default)]
pub struct Recent {
    lanes: BTreeMap<(u64, Slot), Last>,
    swept_at: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    count: u64,
    at: Duration,
}

impl Recent {
    /// Whether the message is new, which is remembered.
    pub fn take(&mut self, now: Duration, session: u64, slot: Slot, count: u64) -> bool {
        self.sweep(now);
        match self.lanes.get_mut(&(session, slot)) {
            Some(last) if last.count >= count => false,
            Some(last) => {
                *last = Last { count, at: now };
                true
            }
            None => {
                if self.lanes.len() < LANES_MAX {
                    self.lanes.insert((session, slot), Last { count, at: now });
                }
                true
            }
        }
    }

    /// How many pairs of a publisher session and a slot are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Forgets the silent ones, at most once in [`FORGET_AFTER`], so that the cost per message stays constant.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept_at) >= FORGET_AFTER {
            self.swept_at = now;
            self.lanes.retain(|_, last| now.saturating_sub(last.at) < FORGET_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(number: u16) -> Slot {
        Slot::of_hash(number.into())
    }

    proptest! {
        #[test]
        fn what_is_taken_rises_strictly_per_session_and_slot(
            messages in prop::collection::vec((0..3_u64, 0..2_u16, 1..20_u64), 0..200)
        ) {
            let mut recent = Recent::default();
            let mut last = [[0; 2]; 3];
            for (session, number, count) in messages {
                let last = &mut last[usize::try_from(session).unwrap()][usize::from(number)];
                let taken = recent.take(Duration::ZERO, session, slot(number), count);
                prop_assert_eq!(taken, count > *last);
                *last = count.max(*last);
            }
        }
    }

    #[test]
    fn silent_sessions_are_forgotten() {
        let mut recent = Recent::default();
        assert!(recent.take(Duration::from_secs(1), 1, slot(0), 5));
        assert!(recent.take(Duration::from_secs(62), 2, slot(0), 1));
        assert!(recent.take(Duration::from_secs(125), 3, slot(0), 1));
        assert_eq!(recent.len(), 1, "only the session that was just heard is left");
    }
}
