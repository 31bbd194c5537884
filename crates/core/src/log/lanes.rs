//! All live lanes of a group, and when each is dropped. Knows whose a publisher id is; which numbers a lane has taken is
//! for [`lane`](super::lane) to know.
//!
//! Invariants: all lanes of a publisher belong to one client. A lane is due in `expiry` at the second of its last publish
//! and nowhere else, so that the order of dropping follows from the lanes alone: a state that is restored drops the same
//! ones at the same command.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use farwire_wire::{ChannelName, PublisherId};

use super::lane::{Lane, Refusal, Taken};

/// A lane is kept for this long after its last publish, in log time, and up to a second longer: a retry that comes later
/// is refused as a gap, never delivered twice.
pub const LANE_KEPT: Duration = Duration::from_secs(600);
/// Most lanes that a command drops, beyond one for each of its publishes: so many may be due at once, and dropping all
/// of them would hold up the log; but more than a command can add, so that they do not pile up.
pub const LANES_DROPPED_MAX: usize = 64;

const SECOND_US: u64 = 1_000_000;

/// Which lane: all that one publisher numbers in one channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneKey {
    /// Who numbers.
    pub publisher: PublisherId,
    /// Where.
    pub channel: ChannelName,
}

/// A publish, as far as its lane cares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) key: &'a LaneKey,
    pub(super) client: u64,
    pub(super) number: u64,
    pub(super) payload_hash: u64,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    live: BTreeMap<LaneKey, Lane>,
    /// The second of the last publish, and the lane.
    expiry: BTreeSet<(u64, LaneKey)>,
}

impl Lanes {
    /// Whether a publish is new and may be taken.
    pub(super) fn judge(&self, asked: Asked<'_>) -> Result<(), Refusal> {
        if let Some(lane) = self.live.get(asked.key) {
            return lane.judge(asked.client, asked.number, asked.payload_hash);
        }
        match self.client_of(asked.key) {
            Some(client) if client != asked.client => Err(Refusal::OtherClient),
            _ if asked.number == 1 => Ok(()),
            _ => Err(Refusal::Gap { last: 0 }),
        }
    }

    /// Whose the publisher id is, while any of its lanes lives: they lie side by side around where `key` would be.
    fn client_of(&self, key: &LaneKey) -> Option<u64> {
        let neighbours = [self.live.range(..key).next_back(), self.live.range(key..).next()];
        let same = |(other, _): &(&LaneKey, &Lane)| other.publisher == key.publisher;
        neighbours.into_iter().flatten().find(same).map(|(_, lane)| lane.client)
    }

    /// Takes what was judged new.
    pub(super) fn take(&mut self, asked: Asked<'_>, taken: Taken, log_time_us: u64) {
        let second = log_time_us / SECOND_US;
        if let Some(lane) = self.live.get_mut(asked.key) {
            let due = (lane.last_publish_us / SECOND_US, asked.key.clone());
            lane.take(asked.number, taken, log_time_us);
            if due.0 != second && self.expiry.remove(&due) {
                self.expiry.insert((second, due.1));
            }
        } else {
            self.insert(asked.key.clone(), Lane::new(asked.client, taken, log_time_us));
        }
    }

    pub(super) fn insert(&mut self, key: LaneKey, lane: Lane) {
        self.expiry.insert((lane.last_publish_us / SECOND_US, key.clone()));
        self.live.insert(key, lane);
    }

    /// Drops the oldest lane if its time is over.
    pub(super) fn drop_due(&mut self, log_time_us: u64) -> Option<LaneKey> {
        let (second, _) = self.expiry.first()?;
        if log_time_us / SECOND_US <= second.saturating_add(LANE_KEPT.as_secs()) {
            return None;
        }
        let (_, key) = self.expiry.pop_first()?;
        self.live.remove(&key);
        Some(key)
    }

    pub(super) fn get(&self, key: &LaneKey) -> Option<&Lane> {
        self.live.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&LaneKey, &Lane)> {
        self.live.iter()
    }

    /// In the order of dropping: the second of each lane's last publish, and the lane.
    pub(super) fn expiry(&self) -> impl Iterator<Item = &(u64, LaneKey)> {
        self.expiry.iter()
    }
}
