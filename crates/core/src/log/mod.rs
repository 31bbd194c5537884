//! What the commands of a group's log do: the only place where messages get positions and offsets. Does not store, send,
//! or read a clock; the shell persists, delivers and answers what [`Applied`] says.
//!
//! Invariants:
//! - The state is a function of the commands, in their order, alone: the same on every replica, also on one that was
//!   [restored](Log::restore) on the way. Log time comes from the commands and never goes back.
//! - Positions are dense in the origin, offsets in each channel; neither is given twice.
//! - A number of a lane is delivered once, as long as the lane lives; the numbers of a lane are delivered in order.
//! - A publisher id belongs to the first client that used it, as long as any of its lanes lives.
//! - Low-water marks only move forward.
//!
//! In memory are the origin, all live lanes and one head for each channel that ever had a message; not the messages, and
//! not the index from channels to positions, which the shell keeps. Measured as resident memory of 100,000 of each, on
//! 64 bits: a lane takes 260 bytes (88 are its own, the rest keys, the order of dropping and unused room in trees), a
//! head 140 with a channel name of 23 bytes. A lane that has taken [`RECENT_MAX`] messages takes 4.3 KiB (2,000 of them).
//!
//! **Persisting.** The shell collects the keys in [`Applied::changed`], and every now and then writes what
//! [`Log::record`] says of each (or deletes it), together with the index of the last command, in one atomic write.
//! After a crash it restores that state and applies the commands after it again: they do what they did.
//!
//! **Retention.** The leader computes marks, from its index and what the heads say; every replica then moves them with
//! the same command. For age, bytes and count it goes through [`Log::heads`] a piece at a time, looks up in its index the
//! first message of a channel that is to be kept, and proposes its position, offset and
//! [`bytes_before`](Delivery::bytes_before), up to 1,024 channels in a [`Mark::Channels`]. When no channel keeps anything
//! below a position, a [`Mark::Log`] says so, and the bodies below it may be dropped. That one leaves the heads alone,
//! because going through all of them is no work for one command: until their own marks come they count what is gone.

mod applied;
mod head;
mod lane;
mod lanes;
mod record;

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;

use farwire_wire::log::{Batch, ChannelMark, Command, Mark, Publish};
use farwire_wire::{ChannelName, Origin, Place, Position};

use crate::hash::HashKey;

pub use applied::{Answer, Applied, Delivery, Outcome};
pub use head::{Head, LowWater};
pub use lane::RECENT_MAX;
pub use lanes::{LANE_KEPT, LANES_DROPPED_MAX, LaneKey};
pub use record::{Key, RestoreError};

use lane::{Lane, Refusal, Taken};
use lanes::{Asked, Lanes};
use record::Own;

/// The hashes of payloads and states are no secret and spread nothing: whoever makes two payloads with one hash deceives
/// only the own lane.
const UNKEYED: HashKey = HashKey::new([0; 16]);

/// The state of a group's log.
#[derive(Debug, Default)]
pub struct Log {
    own: Option<Own>,
    heads: BTreeMap<ChannelName, Head>,
    lanes: Lanes,
}

impl Log {
    /// A log before its first command.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The log whose records these are; they may come in any order, and take the least memory in that of their keys.
    ///
    /// # Errors
    /// The records are not those of a log.
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, RestoreError> {
        let mut log = Self::new();
        for (key, value) in records {
            log.put(key.as_ref(), value.as_ref()).ok_or(RestoreError::Unsound)?;
        }
        log.check().map_err(RestoreError::Inconsistent)?;
        Ok(log)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match Key::parse(key)? {
            Key::Own => self.own = Some(Own::decode(value)?),
            Key::Channel(channel) => {
                self.heads.insert(channel, Head::decode(value)?);
            }
            Key::Lane(LaneKey { publisher, channel }) => {
                let channel = self.shared_name(&channel);
                self.lanes.insert(LaneKey { publisher, channel }, Lane::decode(value)?);
            }
        }
        Some(())
    }

    /// Whether the records fit together; else what is wrong with them.
    fn check(&self) -> Result<(), &'static str> {
        let own = self.own.unwrap_or_else(|| Own::new(Origin(0)));
        let is_in_log = |position: Position| position.get() <= own.last_position;
        let messages = self.heads.values().map(|head| u128::from(head.last_offset().get())).sum::<u128>();
        if messages != own.last_position.into() {
            return Err("the channels do not have as many messages as the log");
        }
        if !self.heads.values().all(|head| is_in_log(head.last_position())) {
            return Err("a channel has messages that the log has not");
        }
        let is_sound = |(key, lane): (&LaneKey, &Lane)| {
            let head = self.heads.get(&key.channel);
            head.is_some_and(|head| lane.newest <= head.last_position()) && lane.last_publish_us <= own.log_time_us
        };
        if !self.lanes.iter().all(is_sound) {
            return Err("a lane has messages that its channel has not");
        }
        let mut neighbours = self.lanes.iter().zip(self.lanes.iter().skip(1));
        if !neighbours
            .all(|((one, lane), (next, other))| one.publisher != next.publisher || lane.client == other.client)
        {
            return Err("a publisher belongs to two clients");
        }
        Ok(())
    }

    /// Applies the next command: an entry of the log is applied once, and none is left out. Costs the time of its
    /// publishes or marks, and of dropping [`LANES_DROPPED_MAX`] lanes and as many as it has publishes. Never fails: what
    /// cannot be done is refused in `applied`, the same on every replica.
    pub fn apply(&mut self, log_index: u64, command: &Command, applied: &mut Applied) {
        applied.begin(log_index);
        match (command, self.own) {
            (Command::Open(origin), None) => {
                self.own = Some(Own::new(*origin));
                applied.outcome = Outcome::Opened;
                applied.changed.push(Key::Own);
            }
            (Command::Open(_), Some(own)) => applied.outcome = Outcome::AlreadyOpen(own.origin),
            (Command::Batch(batch), Some(own)) => self.apply_batch(batch, own, applied),
            (Command::Mark(mark), Some(own)) => applied.outcome = Outcome::Marked(self.apply_mark(mark, own, applied)),
            (Command::Batch(batch), None) => applied.answers.extend(batch.publishes.iter().map(|_| Answer::NotOpen)),
            (Command::Mark(_), None) => {}
        }
        applied.log_time_us = self.log_time_us();
        applied.changed.sort_unstable();
        applied.changed.dedup();
    }

    fn apply_batch(&mut self, batch: &Batch, before: Own, applied: &mut Applied) {
        let mut own = Own { log_time_us: before.log_time_us.max(batch.log_time_us), ..before };
        for (nth, publish) in batch.publishes.iter().enumerate() {
            let answer = self.publish(nth, publish, &mut own, applied);
            applied.answers.push(answer);
        }
        let dropped = std::iter::from_fn(|| self.lanes.drop_due(own.log_time_us));
        applied.changed.extend(dropped.take(LANES_DROPPED_MAX + batch.publishes.len()).map(Key::Lane));
        if own != before {
            self.own = Some(own);
            applied.changed.push(Key::Own);
        }
        applied.outcome = Outcome::Batch;
    }

    fn publish(&mut self, nth: usize, publish: &Publish, own: &mut Own, applied: &mut Applied) -> Answer {
        let entry = publish.entry();
        let key = LaneKey { publisher: entry.publisher, channel: self.shared_name(&entry.channel) };
        let payload_hash = UNKEYED.derive(&[&entry.payload]);
        let asked = Asked { key: &key, client: publish.client(), number: entry.number, payload_hash };
        let place = |position| Place { origin: own.origin, position };
        if let Err(refusal) = self.lanes.judge(asked) {
            return answer(refusal, place);
        }
        let position = own.next_position();
        let place = place(position);
        own.last_position = position.get();
        self.lanes.take(asked, Taken { position, payload_hash }, own.log_time_us);
        let delivery = self.append(key.channel.clone(), position, publish);
        let offset = delivery.offset;
        applied.deliveries.push(Delivery { nth, ..delivery });
        applied.changed.extend([Key::Channel(key.channel.clone()), Key::Lane(key)]);
        Answer::Taken { place, offset }
    }

    fn append(&mut self, channel: ChannelName, position: Position, publish: &Publish) -> Delivery {
        let entry = publish.stored().clone();
        let bytes = entry.len() as u64;
        let head = self.heads.entry(channel.clone());
        let head = head.and_modify(|head| head.append(position, bytes)).or_insert_with(|| Head::new(position, bytes));
        let (offset, bytes_before) = (head.last_offset(), head.bytes() - bytes);
        Delivery { position, offset, bytes_before, channel, entry, nth: 0 }
    }

    fn apply_mark(&mut self, mark: &Mark, own: Own, applied: &mut Applied) -> usize {
        match mark {
            Mark::Log(below) if (own.low..=own.next_position()).contains(below) && *below != own.low => {
                self.own = Some(Own { low: *below, ..own });
                applied.changed.push(Key::Own);
                1
            }
            Mark::Log(_) => 0,
            Mark::Channels(marks) => marks.iter().filter(|mark| self.mark_channel(mark, applied)).count(),
        }
    }

    fn mark_channel(&mut self, mark: &ChannelMark, applied: &mut Applied) -> bool {
        let has_moved = self.heads.get_mut(&mark.channel).is_some_and(|head| head.mark(mark));
        if has_moved {
            applied.changed.push(Key::Channel(mark.channel.clone()));
        }
        has_moved
    }

    /// The channel's name in the memory that its head has it in, so that all that names it shares that.
    fn shared_name(&self, channel: &ChannelName) -> ChannelName {
        self.heads.get_key_value(channel).map_or(channel, |(name, _)| name).clone()
    }

    /// The log's origin; `None` before it is open.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.own.map(|own| own.origin)
    }

    /// The position of the newest message; `None` before the first.
    #[must_use]
    pub fn last_position(&self) -> Option<Position> {
        Position::new(self.own?.last_position)
    }

    /// The log's time, in microseconds since the Unix epoch; 0 before the first batch.
    #[must_use]
    pub fn log_time_us(&self) -> u64 {
        self.own.map_or(0, |own| own.log_time_us)
    }

    /// Nothing of the whole log below this position is kept.
    #[must_use]
    pub fn low_water(&self) -> Position {
        self.own.map_or(Position::FIRST, |own| own.low)
    }

    /// Nothing of the channel below this position is kept, by its own marks and those of the whole log.
    #[must_use]
    pub fn low_water_of(&self, channel: &ChannelName) -> Position {
        self.heads.get(channel).map_or(Position::FIRST, |head| head.low_water().position).max(self.low_water())
    }

    /// The head of a channel; `None` if it never had a message.
    #[must_use]
    pub fn head(&self, channel: &ChannelName) -> Option<&Head> {
        self.heads.get(channel)
    }

    /// The heads of the channels after this one, in order: to go through all of them a piece at a time.
    pub fn heads(&self, after: Option<&ChannelName>) -> impl Iterator<Item = (&ChannelName, &Head)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.heads.range::<ChannelName, _>((after, Bound::Unbounded))
    }

    /// How many channels ever had a message.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.heads.len()
    }

    /// How many lanes live.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The value of a record; `None` if there is none, or no more: delete it.
    #[must_use]
    pub fn record(&self, key: &Key) -> Option<Vec<u8>> {
        match key {
            Key::Own => self.own.as_ref().map(Own::encode),
            Key::Channel(channel) => self.heads.get(channel).map(Head::encode),
            Key::Lane(lane) => self.lanes.get(lane).map(Lane::encode),
        }
    }

    /// All records in the order of their keys: the whole state, for a snapshot.
    pub fn records(&self) -> impl Iterator<Item = (Key, Vec<u8>)> {
        let own = self.own.iter().map(|own| (Key::Own, own.encode()));
        let heads = self.heads.iter().map(|(channel, head)| (Key::Channel(channel.clone()), head.encode()));
        let lanes = self.lanes.iter().map(|(key, lane)| (Key::Lane(key.clone()), lane.encode()));
        own.chain(heads).chain(lanes)
    }

    /// A hash of the whole state, what follows from it included: for tests that compare replicas.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let records = self.records().flat_map(|(key, value)| [key.to_bytes(), value]);
        let due = self.lanes.expiry().map(|(second, key)| (second.to_be_bytes(), Key::Lane(key.clone()).to_bytes()));
        let due = due.flat_map(|(second, key)| [second.to_vec(), key]);
        let parts: Vec<_> = records.chain(due).collect();
        UNKEYED.derive(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

fn answer(refusal: Refusal, place: impl Fn(Position) -> Place) -> Answer {
    match refusal {
        Refusal::OtherClient => Answer::OtherClient,
        Refusal::Gap { last } => Answer::Gap { last },
        Refusal::Duplicate { newest, own } => Answer::Duplicate { newest: place(newest), own: own.map(place) },
        Refusal::NumberReused => Answer::NumberReused,
    }
}
