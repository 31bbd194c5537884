//! A channel that this node answers for: the merged copies, who else has them, and how much subscribers hear: each event
//! while few are there, a sum per interval when many are, nothing while the owner has yet to collect.

use std::collections::BTreeMap;
use std::time::Duration;

use farwire_wire::names::{ChannelName, NodeName, RegionName};
use farwire_wire::presence::PresenceEvent;

use super::channel::{Channel, Event};
use super::{Detail, Effect, INTERVAL};

/// Events that are kept for the end of a silence; the word on how things stand makes up for the rest.
const HELD_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Owned {
    pub(super) channel: Channel,
    /// The owners in other regions that have this region's parts, and are told each change.
    pub(super) fed: BTreeMap<RegionName, NodeName>,
    /// Regions whose owner fetched this region's parts, and until when it is told each change.
    pub(super) leases: BTreeMap<RegionName, Duration>,
    /// Somebody asked for the channel: until when the other regions' parts are kept for the next question.
    pub(super) asked_until: Option<Duration>,
    /// When the owners in other regions last told all their parts because they were asked.
    pub(super) fetched: BTreeMap<NodeName, Duration>,
    /// When each other region's parts were last known to be all, because they were fetched.
    pub(super) known: BTreeMap<RegionName, Duration>,
    silent: bool,
    /// What happened while the owner was silent, and is to be told afterwards.
    held: Vec<Event>,
    /// For those who want events: only while there is something to sum up.
    interval: Option<Sum>,
    /// For those who want counts.
    counts: Option<Sum>,
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
        Self {
            channel: Channel::default(),
            fed: BTreeMap::new(),
            leases: BTreeMap::new(),
            asked_until: None,
            fetched: BTreeMap::new(),
            known: BTreeMap::new(),
            silent,
            held: Vec::new(),
            interval: None,
            counts: None,
        }
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
        if self.silent {
            self.held.extend(events);
            self.held.truncate(HELD_MAX);
            return;
        }
        if events.is_empty() {
            return;
        }
        let occupancy = self.channel.occupancy();
        let counts = self.counts.get_or_insert_with(|| Sum::new(now + INTERVAL));
        events.iter().for_each(|event| counts.add(event));
        if occupancy > above && self.interval.is_none() {
            self.interval = Some(Sum::new(now + INTERVAL));
        }
        match &mut self.interval {
            Some(sum) => events.iter().for_each(|event| sum.add(event)),
            None => effects.extend(events.into_iter().map(|event| single(name, event, occupancy))),
        }
    }

    /// The channel was taken over: what is learned until the collecting is over is no news.
    pub(super) fn hush(&mut self) {
        self.silent = true;
    }

    /// The collecting is over: what happened meanwhile is told, then one word on how things stand, and from here on every
    /// change.
    pub(super) fn speak(&mut self, now: Duration, name: &ChannelName, above: u64, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.silent) {
            let held = std::mem::take(&mut self.held);
            self.tell(now, name, above, held, effects);
            self.summarize(now);
        }
    }

    /// What was learned is no news; one word on how things stand follows.
    pub(super) fn summarize(&mut self, now: Duration) {
        if !self.silent {
            self.interval.get_or_insert_with(|| Sum::new(now));
            self.counts.get_or_insert_with(|| Sum::new(now));
        }
    }

    /// Whether what is known of the other regions may be incomplete.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// When an interval ends.
    pub(super) fn interval_due(&self) -> Option<Duration> {
        [&self.interval, &self.counts].into_iter().flatten().map(|sum| sum.due).min()
    }

    /// Sums the intervals up that are over.
    pub(super) fn tell_interval(&mut self, now: Duration, name: &ChannelName, effects: &mut Vec<Effect>) {
        let sums = [(Detail::Events, &mut self.interval), (Detail::Counts, &mut self.counts)];
        for (detail, sum) in sums {
            let Some(Sum { joined, left, .. }) = sum.take_if(|sum| sum.due <= now) else { continue };
            let (occupancy, clients) = (self.channel.occupancy(), self.channel.clients());
            let event = PresenceEvent::Interval { occupancy, clients, joined, left };
            effects.push(Effect::Tell { channel: name.clone(), detail, event });
        }
    }

    /// The regions that fetched lately.
    pub(super) fn leased(&self, now: Duration) -> impl Iterator<Item = &RegionName> {
        self.leases.iter().filter(move |(_, until)| **until > now).map(|(region, _)| region)
    }

    /// Whether somebody asked lately.
    pub(super) fn is_asked(&self, now: Duration) -> bool {
        self.asked_until.is_some_and(|until| until > now)
    }

    /// Whether nothing is left to keep or to say.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.channel.is_empty()
            && self.interval_due().is_none()
            && !self.is_asked(now)
            && self.leased(now).next().is_none()
    }
}

impl Sum {
    fn new(due: Duration) -> Self {
        Self { joined: 0, left: 0, due }
    }

    fn add(&mut self, event: &Event) {
        match event {
            Event::Join(..) => self.joined += 1,
            Event::Leave(_) | Event::Timeout(_) => self.left += 1,
            Event::State(..) => {}
        }
    }
}

fn single(channel: &ChannelName, event: Event, occupancy: u64) -> Effect {
    let event = match event {
        Event::Join(client, state) => PresenceEvent::Join { client, state, occupancy },
        Event::Leave(client) => PresenceEvent::Leave { client, occupancy },
        Event::Timeout(client) => PresenceEvent::Timeout { client, occupancy },
        Event::State(client, state) => PresenceEvent::State { client, state, occupancy },
    };
    Effect::Tell { channel: channel.clone(), detail: Detail::Events, event }
}
