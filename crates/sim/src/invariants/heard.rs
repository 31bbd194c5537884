//! While nothing is wrong, every subscription yields every acked message in time, or says how many went by: after a
//! heal every pair exchanges messages again, and a subscriber that was there misses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{Terms, subscriptions};
use crate::history::{Event, MessageId, Record};

pub(super) fn violations(records: &[Record], quiet: &[Range<Duration>], terms: &Terms) -> Vec<String> {
    let received = received(records);
    let due = quiet.iter().flat_map(|period| due(records, period, terms));
    let mut missing: BTreeMap<Arc<str>, BTreeSet<&MessageId>> = BTreeMap::new();
    for (message, sent_at) in due {
        for who in subscriptions(records) {
            let in_time = received.get(&(&who, message)).is_some_and(|at| *at <= sent_at + terms.within);
            if !in_time {
                missing.entry(who).or_default().insert(message);
            }
        }
    }
    missing.into_iter().filter_map(|(who, messages)| unaccounted(records, &who, &messages)).collect()
}

/// When each subscription got each message first.
fn received(records: &[Record]) -> BTreeMap<(&Arc<str>, &MessageId), Duration> {
    let mut received = BTreeMap::new();
    for record in records {
        if let Event::Received(who, message) = &record.event {
            received.entry((who, message)).or_insert(record.at);
        }
    }
    received
}

/// The messages of a quiet period that every subscription must have got before its end.
fn due<'a>(records: &'a [Record], period: &Range<Duration>, terms: &Terms) -> Vec<(&'a MessageId, Duration)> {
    let acked: BTreeSet<_> = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Acked(message) => Some(message),
            _ => None,
        })
        .collect();
    let due = records.iter().filter_map(|record| match &record.event {
        Event::Sent(message) if acked.contains(message) => Some((message, record.at)),
        _ => None,
    });
    due.filter(|(_, at)| period.contains(at) && *at + terms.within < period.end).collect()
}

fn unaccounted(records: &[Record], who: &Arc<str>, missing: &BTreeSet<&MessageId>) -> Option<String> {
    let dropped: u64 = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Dropped(subscription, count) if subscription == who => Some(*count),
            _ => None,
        })
        .sum();
    let first = missing.first()?;
    (missing.len() as u64 > dropped).then(|| {
        format!(
            "missed: {who} did not get {} messages in time and was told of {dropped}; the first is {first}",
            missing.len()
        )
    })
}
