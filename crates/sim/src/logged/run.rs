//! A history arranged for the invariants: who stands where, what is known to be committed, and each subscription's part.
//!
//! Derives nothing that two invariants would not both need, and judges only whether the history is whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use farwire_wire::{ChannelName, Pattern};

use super::event::{Ack, Cursor, Entry, Event, Hex, Name, Place, Record, Subscription};

/// A channel's part of a log.
pub type Stream = (Hex, Name);

/// A history, arranged.
#[derive(Debug)]
pub struct Run<'a> {
    /// All records, in the order of their times.
    pub records: &'a [Record],
    /// The end of the last record.
    pub end: Duration,
    /// The region of each node that was started.
    pub regions: HashMap<Name, Name>,
    /// The positions of each stream that anybody saw or was told of in an ack, ascending: what is known to be committed.
    pub committed: BTreeMap<Stream, Vec<u64>>,
    /// The subscriptions, each with its part.
    pub lives: BTreeMap<Subscription, Life<'a>>,
    /// The last position that retention removed, by node and origin.
    pub low_water: HashMap<(Name, Hex), u64>,
    /// The places that some node served at the end.
    pub served: HashSet<Place>,
    /// What a complete history would say and this one does not, a line each.
    pub incomplete: Vec<String>,
}

/// One subscription's part of a history.
#[derive(Debug)]
pub struct Life<'a> {
    /// The channel or pattern.
    pub pattern: Name,
    /// Everything above it is the subscription's.
    pub start: &'a Cursor,
    /// Whether the subscriber asked for that cursor, and did not get it as "from now".
    pub resumes: bool,
    /// Its records.
    records: Vec<u32>,
}

impl<'a> Run<'a> {
    /// Arranges the records, which are in the order of their times.
    #[must_use]
    pub fn of(records: &'a [Record]) -> Self {
        let mut run = Self {
            records,
            end: records.last().map(Record::at).unwrap_or_default(),
            regions: HashMap::new(),
            committed: BTreeMap::new(),
            lives: BTreeMap::new(),
            low_water: HashMap::new(),
            served: HashSet::new(),
            incomplete: Vec::new(),
        };
        for (index, record) in (0..).zip(records) {
            run.take(index, &record.event);
        }
        for positions in run.committed.values_mut() {
            positions.sort_unstable();
            positions.dedup();
        }
        run
    }

    fn take(&mut self, index: u32, event: &'a Event) {
        match event {
            Event::NodeStarted { node, region } => _ = self.regions.insert(*node, *region),
            Event::LowWater { node, origin, position } => {
                let low = self.low_water.entry((*node, *origin)).or_default();
                *low = (*low).max(*position);
            }
            Event::Acked(Ack { publish, place, .. }) => self.is_committed(*place, publish.channel),
            Event::Served { entry, .. } => _ = self.served.insert(entry.place),
            Event::Subscribed { subscription, pattern, cursor } => self.begins(*subscription, *pattern, cursor, false),
            Event::ResumeAsked { subscription, pattern, cursor } => self.begins(*subscription, *pattern, cursor, true),
            _ => {}
        }
        if let Some((_, Entry { place, publish, .. })) = event.seen() {
            self.is_committed(*place, publish.channel);
        }
        let Some(subscription) = event.subscription() else { return };
        match self.lives.get_mut(&subscription) {
            Some(life) => life.records.push(index),
            None => self.incomplete.push(format!("incomplete: {subscription} is there without a beginning: {event:?}")),
        }
    }

    fn is_committed(&mut self, place: Place, channel: Name) {
        self.committed.entry((place.origin, channel)).or_default().push(place.position);
    }

    fn begins(&mut self, subscription: Subscription, pattern: Name, start: &'a Cursor, resumes: bool) {
        if Pattern::parse(pattern.as_str()).is_err() {
            self.incomplete.push(format!("incomplete: {subscription} has no valid pattern: {pattern:?}"));
        }
        let begun = self.lives.insert(subscription, Life { pattern, start, resumes, records: Vec::new() });
        if begun.is_some() {
            self.incomplete.push(format!("incomplete: {subscription} begins twice"));
        }
    }

    /// The records of a subscription, in order.
    pub fn records_of<'r>(&'r self, life: &'r Life) -> impl Iterator<Item = &'a Record> + 'r {
        life.records.iter().map(|index| &self.records[*index as usize])
    }

    /// The streams that a pattern matches.
    #[must_use]
    pub fn streams_of(&self, pattern: Name) -> Vec<Stream> {
        let Ok(pattern) = Pattern::parse(pattern.as_str()) else { return Vec::new() };
        let matches = |channel: &Name| ChannelName::parse(channel.as_str()).is_ok_and(|name| pattern.matches(&name));
        self.committed.keys().filter(|(_, channel)| matches(channel)).copied().collect()
    }

    /// Whether nothing of a pattern is committed in an origin above `after` and up to `up_to`.
    #[must_use]
    pub fn is_empty_between(&self, pattern: Name, origin: Hex, after: u64, up_to: u64) -> bool {
        let streams = self.streams_of(pattern).into_iter().filter(|stream| stream.0 == origin);
        let mut next = streams.filter_map(|stream| {
            let positions = &self.committed[&stream];
            positions.get(positions.partition_point(|position| *position <= after)).copied()
        });
        !next.any(|next| next <= up_to)
    }

    /// The region of a node; one without a name when the history does not say.
    #[must_use]
    pub fn region(&self, node: Name) -> Name {
        self.regions.get(&node).copied().unwrap_or_else(|| Name::new(""))
    }

    /// The last position of an origin that retention removed at a node, or 0.
    #[must_use]
    pub fn low_water(&self, node: Name, origin: Hex) -> u64 {
        self.low_water.get(&(node, origin)).copied().unwrap_or(0)
    }
}
