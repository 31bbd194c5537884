//! A channel that this node answers for, and how much subscribers hear of it: each event while few are there, a sum per
//! interval when many are, nothing while the owner has yet to collect.

use std::collections::BTreeMap;
use std::time::Duration;

use farwire_wire::names::{ChannelName, NodeName, RegionName};
use farwire_wire::presence::PresenceEvent;

use super::channel::{Channel, Event};
use super::{Effect, INTERVAL};

#[derive(Debug)]
pub(super) struct Owned {
    pub(super) channel: Channel,
    /// The owners in other regions that have this region's parts, and are told each change.
    pub(super) fed: BTreeMap<RegionName, NodeName>,
    silent: bool,
    interval: Option<Sum>,
}

/// What happened since the last word.
#[derive(Debug)]
struct Sum {
    joined: u64,
    left: u64,
    due: Duration,
}

impl Owned {
    pub(super) fn new(silent: bool) -> Self {
        Self { channel: Channel::default(), fed: BTreeMap::new(), silent, interval: None }
    }

    /// Says what happened, now or with the interval.
    pub(super) fn tell(
        &mut self,
        now: Duration,
        name: &ChannelName,
        above: u64,
        events: Vec<Event>,
        effects: &mut Vec<Effect>,
    ) {
        if self.silent || events.is_empty() {
            return;
        }
        let occupancy = self.channel.occupancy();
        if occupancy > above && self.interval.is_none() {
            self.interval = Some(Sum { joined: 0, left: 0, due: now + INTERVAL });
        }
        match &mut self.interval {
            Some(sum) => events.iter().for_each(|event| sum.add(event)),
            None => effects.extend(events.into_iter().map(|event| news(name, event, occupancy))),
        }
    }

    /// The channel was taken over: what is learned until the collecting is over is no news.
    pub(super) fn hush(&mut self) {
        self.silent = true;
    }

    /// The collecting is over: from here on every change is told, after one word on how things stand.
    pub(super) fn speak(&mut self, now: Duration) {
        if std::mem::take(&mut self.silent) {
            self.interval = Some(Sum { joined: 0, left: 0, due: now });
        }
    }

    /// When the interval ends.
    pub(super) fn interval_due(&self) -> Option<Duration> {
        self.interval.as_ref().map(|sum| sum.due)
    }

    /// Sums the interval up if it is over.
    pub(super) fn tell_interval(&mut self, now: Duration, name: &ChannelName, effects: &mut Vec<Effect>) {
        if let Some(sum) = self.interval.take_if(|sum| sum.due <= now) {
            let event = PresenceEvent::Interval {
                occupancy: self.channel.occupancy(),
                clients: self.channel.clients(),
                joined: sum.joined,
                left: sum.left,
            };
            effects.push(Effect::Tell { channel: name.clone(), event });
        }
    }

    /// Whether nothing is left to keep or to say.
    pub(super) fn is_idle(&self) -> bool {
        self.channel.is_empty() && self.interval.is_none()
    }
}

impl Sum {
    fn add(&mut self, event: &Event) {
        match event {
            Event::Join(..) => self.joined += 1,
            Event::Leave(_) | Event::Timeout(_) => self.left += 1,
            Event::State(..) => {}
        }
    }
}

fn news(channel: &ChannelName, event: Event, occupancy: u64) -> Effect {
    let event = match event {
        Event::Join(client, state) => PresenceEvent::Join { client, state, occupancy },
        Event::Leave(client) => PresenceEvent::Leave { client, occupancy },
        Event::Timeout(client) => PresenceEvent::Timeout { client, occupancy },
        Event::State(client, state) => PresenceEvent::State { client, state, occupancy },
    };
    Effect::Tell { channel: channel.clone(), event }
}
