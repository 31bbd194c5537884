//! I6: one order. In every run of a subscription the numbers of a publisher on a channel rise, and so do the positions of an
//! origin: so all subscribers see an origin's messages in one order. The positions that acks name rise with the numbers of
//! a lane. In each replica's dump positions are dense from what retention left on, and so are each channel's offsets,
//! there and in what each node serves; without retention both begin with 1.
//!
//! That two origins of one region interleave the same way for everybody is not judged.

use std::collections::{BTreeMap, HashMap};

use crate::logged::event::{Ack, Entry, Event, Hex, Name, Place};
use crate::logged::run::Run;

pub(super) fn violations(run: &Run) -> Vec<String> {
    let mut found = deliveries(run);
    found.extend(acks(run));
    found.extend(dense(run, "serves", |event| match event {
        Event::Served { node, entry } => Some((*node, entry)),
        _ => None,
    }));
    found.extend(dense(run, "stores", |event| match event {
        Event::Stored { node, entry } => Some((*node, entry)),
        _ => None,
    }));
    found
}

fn deliveries(run: &Run) -> Vec<String> {
    let mut found = Vec::new();
    for (subscription, life) in &run.lives {
        let (mut numbers, mut positions) = (HashMap::new(), HashMap::new());
        for record in run.records_of(life) {
            let Event::Delivered { entry: Entry { place, publish, .. }, .. } = &record.event else { continue };
            let number = numbers.entry((publish.publisher, publish.channel)).or_insert(0);
            let position = positions.entry(place.origin).or_insert(0);
            if publish.number < *number {
                found.push(format!("I6 out of order: {subscription} got {publish} after number {number}"));
            }
            if place.position < *position {
                found.push(format!("I6 out of order: {subscription} got {place} after position {position}"));
            }
            *number = publish.number.max(*number);
            *position = place.position.max(*position);
        }
    }
    found
}

fn acks(run: &Run) -> Vec<String> {
    let mut lanes: BTreeMap<(Name, Name, Hex), Vec<(u64, u64)>> = BTreeMap::new();
    for record in run.records {
        if let Event::Acked(Ack { publish, place, duplicate: false, .. }) = &record.event {
            let lane = (publish.publisher, publish.channel, place.origin);
            lanes.entry(lane).or_default().push((publish.number, place.position));
        }
    }
    let mut found = Vec::new();
    for ((publisher, channel, origin), mut acks) in lanes {
        acks.sort_unstable();
        for [(number, position), (next, next_position)] in acks.array_windows() {
            if position >= next_position && number != next {
                found.push(format!(
                    "I6 out of order: {publisher}#{number} on {channel} was acked at {origin}:{position}, and #{next} at {next_position}"
                ));
            }
        }
    }
    found
}

/// Whether what each node shows of each origin is dense, from what retention left on.
fn dense<'a>(run: &Run<'a>, does: &str, which: fn(&'a Event) -> Option<(Name, &'a Entry)>) -> Vec<String> {
    let mut logs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (node, entry) in run.records.iter().filter_map(|record| which(&record.event)) {
        let Entry { place: Place { origin, position }, offset, publish, .. } = *entry;
        logs.entry((node, origin)).or_default().push((position, publish.channel, offset));
    }
    let mut found = Vec::new();
    for ((node, origin), mut log) in logs {
        log.sort_unstable();
        let low = run.low_water(node, origin);
        let expected = |last: Option<u64>| last.map_or((low == 0).then_some(1), |last| Some(last + 1));
        let mut last = None;
        let mut offsets: HashMap<Name, u64> = HashMap::new();
        for (position, channel, offset) in log {
            // A question for channels does not show the whole log, a dump does.
            if does == "stores" && expected(last).is_some_and(|next| next != position) {
                found.push(format!(
                    "I6 not dense: {node} {does} {origin}:{position} after position {}",
                    last.unwrap_or(0)
                ));
            }
            let before = offsets.insert(channel, offset);
            if expected(before).is_some_and(|next| next != offset) {
                let before = before.unwrap_or(0);
                found.push(format!(
                    "I6 not dense: {node} {does} {origin}:{position} with offset {offset} of {channel} after {before}"
                ));
            }
            last = Some(position);
        }
    }
    found
}
