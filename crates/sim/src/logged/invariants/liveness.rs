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
use crate::logged::run::{Life, Run};
use crate::quiet::quiet;

pub(super) fn violations(run: &Run, terms: &Terms) -> Vec<String> {
    let mut found = publishes(run, terms);
    let works = works(run, Duration::ZERO);
    let acked = acked(run);
    for (subscription, life) in &run.lives {
        let obliged = meet(&works, &reads(run, life));
        found.extend(late(run, *subscription, life, &Due { obliged, acked: &acked, within: terms.caught_up_within }));
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

/// When each place was acked first.
fn acked(run: &Run) -> HashMap<Place, Duration> {
    let mut acked = HashMap::new();
    for record in run.records {
        if let Event::Acked(Ack { place, .. }) = &record.event {
            acked.entry(*place).or_insert_with(|| record.at());
        }
    }
    acked
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
    acked: &'a HashMap<Place, Duration>,
    within: Duration,
}

impl Due<'_> {
    fn of(&self, place: Place) -> Option<Duration> {
        let acked = *self.acked.get(&place)?;
        let mut dues = self.obliged.iter().map(|period| (acked.max(period.start) + self.within, period.end));
        dues.find(|(due, end)| due < end).map(|(due, _)| due)
    }
}

fn late(run: &Run, subscription: Subscription, life: &Life, due: &Due) -> Option<String> {
    if due.obliged.is_empty() {
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
    let places = run.streams_of(life.pattern).into_iter().flat_map(|stream| {
        run.committed[&stream].iter().map(move |position| Place { origin: stream.0, position: *position })
    });
    let in_gap = |place: &Place| {
        gaps.iter().any(|(origin, from, to)| *origin == place.origin && (*from..=*to).contains(&place.position))
    };
    let is_late = |place: &Place| {
        !life.start.covers(*place)
            && due.of(*place).is_some_and(|due| got.get(place).is_none_or(|at| *at > due))
            && !in_gap(place)
    };
    let late: Vec<_> = places.filter(is_late).collect();
    let first = late.iter().min()?;
    Some(format!("I9 stuck: {subscription} did not get {} messages in time, the first is {first}", late.len()))
}
