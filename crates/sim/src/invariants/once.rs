//! No subscription yields a message twice, over all its sessions.

use std::collections::BTreeSet;

use crate::history::{Event, Record};

pub(super) fn violations(records: &[Record]) -> Vec<String> {
    let mut received = BTreeSet::new();
    let twice = records.iter().filter_map(|record| match &record.event {
        Event::Received(who, message) if !received.insert((who, message)) => {
            Some(format!("twice: {who} got {message} again at {:.3} s", record.at.as_secs_f64()))
        }
        _ => None,
    });
    twice.collect()
}
