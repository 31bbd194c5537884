//! I9: the mesh goes on. While nothing is wrong, or one thing in spite of which acks stay possible, for
//! [`Terms::succeeds_within`], every publish is acked within [`Terms::acked_within`]. And every acked message is with each
//! subscription that reads, or in a gap that it was told, [`Terms::caught_up_within`] after the ack, the last fault, or
//! the moment from which it reads, whichever is latest: none is stuck.
//!
//! What ends while the time still runs is not due. That local delivery never stops for a dead replica is not judged here.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use super::Terms;
use crate::logged::event::{Ack, Event, Hex, Place, Publish, Subscription};
use crate::logged::run::{Life, Run, Stream};
use crate::quiet::quiet;

pub(super) fn violations(run: &Run, terms: &Terms) -> Vec<String> {
    let mut found = publishes(run, terms);
    let works = works(run, Duration::ZERO);
    let acks = acks(run);
    for (subscription, life) in &run.lives {
        let obliged = meet(&works, &reads(run, life));
        found.extend(late(run, *subscription, life, &Due { obliged, acks: &acks, within: terms.caught_up_within }));
    }
    found
}

fn works(run: &Run, settle: Duration) -> Vec<Range<Duration>> {
    let turns = run.records.iter().filter_map(|record| Some((record.at(), record.event.turn()?)));
    quiet(turns, settle, run.end)
}

fn publishes(run: &Run, terms: &Terms) -> Vec<String> {
    let mut first_acks: HashMap<Publish, Vec<Duration>> = HashMap::new();
    for record in run.records {
        if let Event::Acked(ack) = &record.event {
            first_acks.entry(ack.publish).or_default().push(record.at());
        }
    }
    let works = works(run, terms.succeeds_within);
    let mut late: Vec<(Duration, Publish)> = Vec::new();
    for record in run.records {
        let Event::Invoked { publish, .. } = &record.event else { continue };
        let (at, due) = (record.at(), record.at() + terms.acked_within);
        let is_due = period_of(&works, at).is_some_and(|period| due < period.end);
        let acks = first_acks.get(publish).map(Vec::as_slice).unwrap_or_default();
        if is_due && !acks.iter().any(|ack| (at..=due).contains(ack)) {
            late.push((at, *publish));
        }
    }
    let line = late.first().map(|(at, publish)| {
        let (count, at) = (late.len(), at.as_secs_f64());
        format!("I9 not taken: {count} publishes were not acked in time while nothing stood in the way, the first is {publish} at {at:.3} s")
    });
    line.into_iter().collect()
}

/// The one of some ascending periods that a time lies in.
fn period_of(periods: &[Range<Duration>], at: Duration) -> Option<&Range<Duration>> {
    periods.get(periods.partition_point(|period| period.end <= at)).filter(|period| period.contains(&at))
}

/// When the messages of a stream were acked, in the order of their positions.
struct Acks {
    /// When each was acked first; `MAX` for what was not.
    at: Vec<Duration>,
    /// The least of these from each message on.
    least_from: Vec<Duration>,
}

fn acks(run: &Run) -> HashMap<Stream, Acks> {
    let new = |positions: &Vec<u64>| Acks { at: vec![Duration::MAX; positions.len()], least_from: Vec::new() };
    let mut acks: HashMap<_, _> = run.committed.iter().map(|(stream, positions)| (*stream, new(positions))).collect();
    for record in run.records {
        let Event::Acked(Ack { place, publish, .. }) = &record.event else { continue };
        let stream = (place.origin, publish.channel);
        let (Some(acks), Ok(index)) = (acks.get_mut(&stream), run.committed[&stream].binary_search(&place.position))
        else {
            continue;
        };
        acks.at[index] = acks.at[index].min(record.at());
    }
    for acks in acks.values_mut() {
        acks.least_from = acks.at.clone();
        for index in (1..acks.at.len()).rev() {
            acks.least_from[index - 1] = acks.least_from[index - 1].min(acks.least_from[index]);
        }
    }
    acks
}

/// When a subscription reads.
fn reads(run: &Run, life: &Life) -> Vec<Range<Duration>> {
    let mut periods = Vec::new();
    let mut since = None;
    for record in run.records_of(life) {
        match &record.event {
            Event::Subscribed { .. } | Event::ResumeAsked { .. } | Event::Reads { reads: true, .. } => {
                since = since.or(Some(record.at()));
            }
            Event::Reads { reads: false, .. } | Event::Ended { .. } => {
                periods.extend(since.take().map(|since| since..record.at()));
            }
            _ => {}
        }
    }
    periods.extend(since.map(|since| since..run.end));
    periods
}

/// The times that are in a period of both.
fn meet(a: &[Range<Duration>], b: &[Range<Duration>]) -> Vec<Range<Duration>> {
    let both = a.iter().flat_map(|a| b.iter().map(|b| a.start.max(b.start)..a.end.min(b.end)));
    both.filter(|both| !both.is_empty()).collect()
}

/// When a message must be with a subscription.
struct Due<'a> {
    obliged: Vec<Range<Duration>>,
    acks: &'a HashMap<Stream, Acks>,
    within: Duration,
}

impl Due<'_> {
    fn of(&self, acked: Duration) -> Option<Duration> {
        let mut dues =
            self.obliged.iter().map(|period| (acked.max(period.start).saturating_add(self.within), period.end));
        dues.find(|(due, end)| due < end).map(|(due, _)| due)
    }

    /// The messages of a stream above `start` that are due, with their times.
    fn in_stream(&self, positions: &[u64], stream: Stream, start: u64) -> Vec<(Place, Duration)> {
        let (acks, end) = (&self.acks[&stream], self.obliged.last().map(|period| period.end).unwrap_or_default());
        let first = positions.partition_point(|position| *position <= start);
        // What was acked too late to be due is not looked at: a run ends long before most of the log is written.
        let last = acks.least_from.partition_point(|acked| acked.saturating_add(self.within) < end);
        let due = |index: usize| {
            let place = Place { origin: stream.0, position: positions[index] };
            self.of(acks.at[index]).map(|due| (place, due))
        };
        (first..last).filter_map(due).collect()
    }
}

fn late(run: &Run, subscription: Subscription, life: &Life, due: &Due) -> Option<String> {
    let due_in = |stream: Stream| {
        let start = life.start.position(stream.0).unwrap_or(0);
        due.in_stream(&run.committed[&stream], stream, start)
    };
    let due: Vec<_> = run.streams_of(life.pattern).into_iter().flat_map(due_in).collect();
    if due.is_empty() {
        return None;
    }
    let mut got: HashMap<Place, Duration> = HashMap::new();
    let mut gaps: Vec<(Hex, u64, u64)> = Vec::new();
    for record in run.records_of(life) {
        match &record.event {
            Event::Delivered { entry, .. } => _ = got.entry(entry.place).or_insert_with(|| record.at()),
            Event::Gap { origin, from, to, .. } => gaps.push((*origin, *from, *to)),
            _ => {}
        }
    }
    let in_gap = |place: &Place| {
        gaps.iter().any(|(origin, from, to)| *origin == place.origin && (*from..=*to).contains(&place.position))
    };
    let is_late = |(place, due): &(Place, Duration)| got.get(place).is_none_or(|at| at > due) && !in_gap(place);
    let late: Vec<_> = due.into_iter().filter(is_late).collect();
    let (first, _) = late.iter().min()?;
    Some(format!("I9 stuck: {subscription} did not get {} messages in time, the first is {first}", late.len()))
}
