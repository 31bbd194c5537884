//! The log as simple as can be: a vector of all messages that were taken, and for each lane a set of numbers. Slow, and
//! for tests only.

use std::collections::{BTreeMap, BTreeSet};

use farwire_wire::log::{Batch, Publish};
use farwire_wire::{ChannelName, Origin, Place, Position, PublisherId};

use super::{Answer, LANE_KEPT, RECENT_MAX};

pub(super) type LaneId = (PublisherId, ChannelName);

/// A message that was taken; its position is its place in the vector, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) lane: LaneId,
    pub(super) number: u64,
    pub(super) payload: Vec<u8>,
    pub(super) entry: Vec<u8>,
    pub(super) offset: u64,
    pub(super) log_time_us: u64,
}

#[derive(Debug)]
struct Lane {
    client: u64,
    numbers: BTreeSet<u64>,
    last_publish_us: u64,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) messages: Vec<Message>,
    pub(super) log_time_us: u64,
    lanes: BTreeMap<LaneId, Lane>,
}

impl Model {
    pub(super) fn apply(&mut self, origin: Origin, batch: &Batch) -> Vec<Answer> {
        self.log_time_us = self.log_time_us.max(batch.log_time_us);
        let answers = batch.publishes.iter().map(|publish| self.publish(origin, publish)).collect();
        let (now, kept) = (self.log_time_us / 1_000_000, LANE_KEPT.as_secs());
        self.lanes.retain(|_, lane| now <= lane.last_publish_us / 1_000_000 + kept);
        answers
    }

    fn publish(&mut self, origin: Origin, publish: &Publish) -> Answer {
        let entry = publish.entry();
        let id = (entry.publisher, entry.channel.clone());
        if self.lanes.iter().any(|((publisher, _), lane)| *publisher == id.0 && lane.client != publish.client()) {
            return Answer::OtherClient;
        }
        let last = self.lanes.get(&id).map_or(0, |lane| *lane.numbers.last().unwrap());
        if self.lanes.get(&id).is_some_and(|lane| lane.numbers.contains(&entry.number)) {
            let newest = self.place_of(origin, &id, None).unwrap();
            let own = self.place_of(origin, &id, Some(entry.number)).unwrap();
            let is_known = entry.number + RECENT_MAX as u64 > last;
            let is_same = self.at(own).payload == entry.payload;
            return match (is_known, is_same) {
                (true, false) => Answer::NumberReused,
                _ => Answer::Duplicate { newest, own: is_known.then_some(own) },
            };
        }
        if entry.number > last + 1 {
            return Answer::Gap { last };
        }
        let lane = Lane { client: publish.client(), numbers: BTreeSet::new(), last_publish_us: 0 };
        let lane = self.lanes.entry(id.clone()).or_insert(lane);
        lane.numbers.insert(entry.number);
        lane.last_publish_us = self.log_time_us;
        let offset = 1 + self.of_channel(&id.1).count() as u64;
        self.messages.push(Message {
            lane: id,
            number: entry.number,
            payload: entry.payload.to_vec(),
            entry: publish.stored().to_vec(),
            offset,
            log_time_us: self.log_time_us,
        });
        let position = Position::new(self.messages.len() as u64).unwrap();
        Answer::Taken { place: Place { origin, position }, offset: farwire_wire::Offset::new(offset).unwrap() }
    }

    /// The newest message of the lane, or the newest one with this number.
    fn place_of(&self, origin: Origin, lane: &LaneId, number: Option<u64>) -> Option<Place> {
        let is_it = |message: &Message| message.lane == *lane && number.is_none_or(|number| message.number == number);
        let at = self.messages.iter().rposition(is_it)?;
        Some(Place { origin, position: Position::new(at as u64 + 1)? })
    }

    pub(super) fn at(&self, place: Place) -> &Message {
        &self.messages[usize::try_from(place.position.get()).unwrap() - 1]
    }

    /// The messages of a channel, with their positions.
    pub(super) fn of_channel(&self, channel: &ChannelName) -> impl Iterator<Item = (u64, &Message)> {
        let messages = (1..).zip(&self.messages);
        messages.filter(move |(_, message)| message.lane.1 == *channel)
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }
}
