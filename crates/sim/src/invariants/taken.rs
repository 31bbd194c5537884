//! While nothing is wrong, clients have their sessions, no handle is dead, and every publish is acked in time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::Terms;
use crate::history::{Event, Record};

pub(super) fn violations(records: &[Record], quiet: &[Range<Duration>], terms: &Terms) -> Vec<String> {
    let acked: BTreeMap<_, _> = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Acked(message) => Some((message, record.at)),
            _ => None,
        })
        .collect();
    let is_quiet = |at: Duration| quiet.iter().any(|period| period.contains(&at));
    let is_due = |at: Duration| quiet.iter().any(|period| period.contains(&at) && at + terms.within < period.end);
    let violation = |record: &Record| match &record.event {
        Event::Ended(who, why) => Some(format!("dead handle: {who} ended: {why}")),
        Event::Down(who, why) if is_quiet(record.at) => {
            Some(format!("lost session: {who} at {:.3} s: {why}", record.at.as_secs_f64()))
        }
        Event::Failed(message, why) if is_quiet(record.at) => Some(format!("not taken: {message}: {why}")),
        Event::Sent(message) if is_due(record.at) => {
            let in_time = acked.get(message).is_some_and(|at| *at <= record.at + terms.within);
            (!in_time).then(|| {
                format!("not taken: {message}, sent at {:.3} s, was not acked in time", record.at.as_secs_f64())
            })
        }
        _ => None,
    };
    records.iter().filter_map(violation).collect()
}
