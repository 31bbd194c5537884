//! I2: nothing is invented, and nothing changed. Every message that anybody saw (delivered, served or stored at the end) was
//! handed in before under its publisher, channel and number, with the same hash, and was not refused for certain each time;
//! every ack answers a publish that was handed in before.

use std::collections::HashMap;

use crate::logged::event::{Entry, Event, Hex, Publish};
use crate::logged::run::Run;

/// What became of a publish so far.
struct Attempts {
    hash: Hex,
    /// How often it was handed in and not refused.
    open: usize,
}

pub(super) fn violations(run: &Run) -> Vec<String> {
    let mut attempts: HashMap<Publish, Attempts> = HashMap::new();
    let mut found = Vec::new();
    for record in run.records {
        match &record.event {
            Event::Invoked { publish, hash, .. } => {
                attempts.entry(*publish).or_insert(Attempts { hash: *hash, open: 0 }).open += 1;
            }
            Event::Refused { publish, .. } => {
                if let Some(attempt) = attempts.get_mut(publish) {
                    attempt.open = attempt.open.saturating_sub(1);
                }
            }
            Event::Acked(ack) if !attempts.contains_key(&ack.publish) => {
                found.push(format!("I2 invented: an ack for {}, which nobody handed in", ack.publish));
            }
            event => found.extend(event.seen().and_then(|(node, entry)| {
                let how = wrong(entry, attempts.get(&entry.publish))?;
                Some(format!("I2 {how}: {} at {} from {node}", entry.publish, entry.place))
            })),
        }
    }
    found
}

fn wrong(entry: &Entry, attempts: Option<&Attempts>) -> Option<&'static str> {
    match attempts {
        None => Some("invented"),
        Some(attempts) if attempts.hash != entry.hash => Some("changed: another payload than was published"),
        Some(Attempts { open: 0, .. }) => Some("refused for certain, and there"),
        Some(_) => None,
    }
}
