//! Each subscription yields a publisher's messages in the order in which they were published. Every publisher of a run
//! publishes to one channel.

use std::collections::BTreeMap;

use crate::history::{Event, Record};

pub(super) fn violations(records: &[Record]) -> Vec<String> {
    let mut newest = BTreeMap::new();
    let mut found = Vec::new();
    for record in records {
        let Event::Received(who, message) = &record.event else { continue };
        let newest = newest.entry((who, &message.publisher)).or_insert(0);
        if message.count < *newest {
            found.push(format!("out of order: {who} got {message} after number {newest}"));
        }
        *newest = message.count.max(*newest);
    }
    found
}
