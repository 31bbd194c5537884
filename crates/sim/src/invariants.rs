//! What must hold of every history, one file each. Each takes the records and returns a line per violation.

mod genuine;
mod heard;
mod once;
mod order;
mod present;
mod taken;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::history::{Event, Record, quiet};

/// The times that the invariants count with.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long after the last fault everything must work again.
    pub settle: Duration,
    /// How long a publish may wait for its ack, and a message for its subscribers, while nothing is wrong.
    pub within: Duration,
    /// How long after the last fault every node lists exactly who is there.
    pub settle_presence: Duration,
    /// When the run ended.
    pub end: Duration,
}

/// Every violation in a history; none in a good one.
#[must_use]
pub fn violations(records: &[Record], terms: &Terms) -> Vec<String> {
    let quiet = quiet(records, terms.settle, terms.end);
    let mut found = genuine::violations(records);
    found.extend(once::violations(records));
    found.extend(order::violations(records));
    found.extend(taken::violations(records, &quiet, terms));
    found.extend(heard::violations(records, &quiet, terms));
    found.extend(present::violations(records, terms));
    found
}

/// The subscriptions that a history names.
fn subscriptions(records: &[Record]) -> BTreeSet<Arc<str>> {
    let subscribed = records.iter().filter_map(|record| match &record.event {
        Event::Subscribed(who) => Some(who.clone()),
        _ => None,
    });
    subscribed.collect()
}

#[cfg(test)]
mod tests;
