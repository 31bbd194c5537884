//! Nothing is invented: what a subscription yields was published before, and by whom it says.

use std::collections::BTreeSet;

use crate::history::{Event, Record};

pub(super) fn violations(records: &[Record]) -> Vec<String> {
    let mut sent = BTreeSet::new();
    let mut found = Vec::new();
    for record in records {
        match &record.event {
            Event::Sent(message) => _ = sent.insert(message),
            Event::Received(who, message) if !sent.contains(message) => {
                found.push(format!("invented: {who} got {message} before it was sent"));
            }
            Event::Foreign(who, what) => found.push(format!("invented: {who} got {what}")),
            _ => {}
        }
    }
    found
}
