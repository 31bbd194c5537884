//! I7: cursors. What a subscriber keeps never goes back, in any origin, over all its runs; it asks only for what it kept.
//! A cursor that names an origin which appears nowhere else in the history is answered by a gap of that origin, and one
//! below what retention left at the node that took the resume by a gap before the next message of that origin, if a message
//! of the subscription was there: never by silence, nor by a replay from the start.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::logged::event::{Cursor, Event, Hex, Name, Subscription};
use crate::logged::run::{Life, Run};

pub(super) fn violations(run: &Run) -> Vec<String> {
    let mut found = monotone(run);
    let known: HashSet<Hex> = run.committed.keys().map(|(origin, _)| *origin).chain(named(run)).collect();
    let low_at_resume = low_at_resume(run);
    for (subscription, life) in run.lives.iter().filter(|(_, life)| life.resumes) {
        let first = first_of_each_origin(run, life);
        for (origin, position) in &life.start.0 {
            let low = low_at_resume.get(subscription).and_then(|low| low.get(origin)).copied().unwrap_or(0);
            let why = if !known.contains(origin) {
                "which nobody knows"
            } else if *position < low && !run.is_empty_between(life.pattern, *origin, *position, low) {
                "below what retention left"
            } else {
                continue;
            };
            if first.get(origin) != Some(&"gap") {
                let then = first.get(origin).unwrap_or(&"nothing");
                found.push(format!(
                    "I7 no gap: {subscription} began at {origin}:{position}, {why}, and got {then} of it"
                ));
            }
        }
    }
    found
}

fn monotone(run: &Run) -> Vec<String> {
    let mut kept: HashMap<Name, &Cursor> = HashMap::new();
    let mut found = Vec::new();
    for record in run.records {
        let (subscription, cursor, does) = match &record.event {
            Event::Subscribed { subscription, cursor, .. } => {
                // It begins anew, from now: what it kept before does not bind it.
                kept.insert(subscription.subscriber, cursor);
                continue;
            }
            Event::CursorKept { subscription, cursor } => (subscription, cursor, "kept"),
            Event::ResumeAsked { subscription, cursor, .. } => (subscription, cursor, "asked for"),
            _ => continue,
        };
        let before = kept.insert(subscription.subscriber, cursor);
        for (origin, position) in before.map(|before| before.0.as_slice()).unwrap_or_default() {
            let now = cursor.position(*origin).unwrap_or(0);
            if now < *position {
                found.push(format!("I7 went back: {subscription} {does} {origin}:{now} after {position}"));
            }
        }
    }
    found
}

/// The origins that nodes name without a message.
fn named(run: &Run) -> impl Iterator<Item = Hex> {
    run.records.iter().filter_map(|record| match record.event {
        Event::Applied { origin, .. } | Event::LowWater { origin, .. } => Some(origin),
        _ => None,
    })
}

/// What retention had removed at its node when each resume was asked.
fn low_at_resume(run: &Run) -> HashMap<Subscription, BTreeMap<Hex, u64>> {
    let mut low: HashMap<Name, BTreeMap<Hex, u64>> = HashMap::new();
    let mut asked: HashMap<Subscription, HashMap<Name, BTreeMap<Hex, u64>>> = HashMap::new();
    let mut at_resume = HashMap::new();
    for record in run.records {
        match &record.event {
            Event::LowWater { node, origin, position } => _ = low.entry(*node).or_default().insert(*origin, *position),
            Event::ResumeAsked { subscription, .. } => _ = asked.insert(*subscription, low.clone()),
            Event::Resumed { subscription, node } => {
                let at_node = asked.remove(subscription).and_then(|mut low| low.remove(node));
                at_resume.entry(*subscription).or_insert(at_node.unwrap_or_default());
            }
            _ => {}
        }
    }
    at_resume
}

/// Whether a gap or a message of each origin came first.
fn first_of_each_origin(run: &Run, life: &Life) -> HashMap<Hex, &'static str> {
    let mut first = HashMap::new();
    for record in run.records_of(life) {
        match &record.event {
            Event::Gap { origin, .. } => _ = first.entry(*origin).or_insert("gap"),
            Event::Delivered { entry, .. } => _ = first.entry(entry.place.origin).or_insert("a message"),
            _ => {}
        }
    }
    first
}
