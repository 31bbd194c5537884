//! What a subscription has seen, so that it yields no message twice: a publish that is sent again after a lost session may
//! reach a subscriber that has changed its node meanwhile, and that node may not know that it was taken.
//!
//! A lane is (publisher session, channel); within one, counts rise in the order of publishing. Bounded: the lanes heard last
//! are remembered, at least [`LANES_MAX`] of them and at most twice as many. So a duplicate passes only if messages of more
//! lanes than that have come between.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use farwire_wire::Entry;

/// 8,192 lanes: 256 KiB for both generations, taken only as they are used.
const LANES_MAX: usize = 8_192;

/// The last count of each lane, in two generations.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    hasher: RandomState,
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Seen {
    /// Whether the message is above all of its lane, which is remembered.
    pub(crate) fn is_new(&mut self, entry: &Entry) -> bool {
        let lane = self.hasher.hash_one((entry.session, &entry.channel));
        let last = self.young.get(&lane).or_else(|| self.old.get(&lane));
        if last.is_some_and(|last| entry.count <= *last) {
            return false;
        }
        if self.young.len() >= LANES_MAX && !self.young.contains_key(&lane) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(lane, entry.count);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farwire_wire::{ChannelName, PublisherId};

    fn entry(channel: &str, session: u64, count: u64) -> Entry {
        Entry {
            channel: ChannelName::parse(channel).unwrap(),
            payload: bytes::Bytes::new(),
            publisher: PublisherId(1),
            number: count,
            published_at_us: 0,
            session,
            count,
            datagram: false,
        }
    }

    #[test]
    fn each_lane_rises_for_itself() {
        let mut seen = Seen::default();
        let mut told = |channel, session, count| seen.is_new(&entry(channel, session, count));
        assert!(told("a", 1, 0) && told("a", 1, 5) && !told("a", 1, 5) && !told("a", 1, 4) && told("a", 1, 6));
        assert!(told("b", 1, 5) && told("a", 2, 5), "another channel, another publisher session");
    }

    #[test]
    fn the_lanes_heard_last_are_remembered_and_no_more() {
        let mut seen = Seen::default();
        let lane = |n: usize| entry(&format!("a.{n}"), 1, 1);
        for n in 0..10 * LANES_MAX {
            assert!(seen.is_new(&lane(n)));
            assert!(seen.young.len() <= LANES_MAX && seen.old.len() <= LANES_MAX);
        }
        for n in 9 * LANES_MAX..10 * LANES_MAX {
            assert!(!seen.is_new(&lane(n)), "lane {n} is one of the last");
        }
    }
}
