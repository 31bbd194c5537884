//! I3: a place is one message, and a message has one place. Each (origin, position) names one publish with one payload and
//! one offset, in every delivery, ack and dump; within a region, each (publisher, channel, number) stands at one place; and
//! each term of a group has one leader, since two would each give out the same positions.

use std::collections::HashMap;

use crate::logged::event::{Ack, Entry, Event, Hex, Name, Place, Publish};
use crate::logged::run::Run;

pub(super) fn violations(run: &Run) -> Vec<String> {
    let mut seen = Seen { run, at: HashMap::new(), of: HashMap::new(), leaders: HashMap::new(), found: Vec::new() };
    for record in run.records {
        match &record.event {
            // A duplicate's ack names the place of another message of the lane.
            Event::Acked(Ack { publish, place, offset, duplicate: false, .. }) => {
                seen.place(*place, *publish, *offset, None);
            }
            Event::Leads { replica, term } => seen.leader(replica.node, replica.shard, *term),
            event => {
                if let Some((node, entry)) = event.seen() {
                    seen.entry(node, entry);
                }
            }
        }
    }
    seen.found
}

/// What a place was first seen to be.
struct At {
    publish: Publish,
    offset: u64,
    hash: Option<Hex>,
}

struct Seen<'a> {
    run: &'a Run<'a>,
    at: HashMap<Place, At>,
    of: HashMap<(Name, Publish), Place>,
    leaders: HashMap<(Name, u32, u64), Name>,
    found: Vec<String>,
}

impl Seen<'_> {
    fn entry(&mut self, node: Name, entry: &Entry) {
        self.place(entry.place, entry.publish, entry.offset, Some(entry.hash));
        let region = self.run.region(node);
        let place = *self.of.entry((region, entry.publish)).or_insert(entry.place);
        if place != entry.place {
            let Entry { publish, place: other, .. } = entry;
            self.found.push(format!("I3 two places: {publish} is at {place} and, says {node}, at {other}"));
        }
    }

    fn place(&mut self, place: Place, publish: Publish, offset: u64, hash: Option<Hex>) {
        let at = self.at.entry(place).or_insert(At { publish, offset, hash });
        let other = at.hash.is_some() && hash.is_some() && at.hash != hash;
        at.hash = at.hash.or(hash);
        if at.publish != publish || at.offset != offset || other {
            let (first, first_offset) = (at.publish, at.offset);
            let how = if other { ", with another payload" } else { "" };
            self.found.push(format!(
                "I3 two messages: {place} is {first} (offset {first_offset}) and also {publish} (offset {offset}){how}"
            ));
        }
    }

    fn leader(&mut self, node: Name, shard: u32, term: u64) {
        let leader = *self.leaders.entry((self.run.region(node), shard, term)).or_insert(node);
        if leader != node {
            self.found.push(format!("I3 two leaders: {leader} and {node} lead shard {shard} in term {term}"));
        }
    }
}
