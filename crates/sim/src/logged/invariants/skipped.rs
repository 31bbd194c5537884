//! I5: no silent hole. Between the cursor from which a run began and each cursor that it kept, and up to each message that it
//! got, every committed message that the pattern matches was delivered in that run before, or lies in a gap that was told
//! before. At the run's end this holds for all that it passed by. And a gap is a hole exactly: it covers no message
//! that the run got, and none that a node of the mesh still serves at the end.
//!
//! Committed is what anybody saw, or an ack named. That cursors are kept only after the output is a part of this: a cursor
//! that was kept too early covers what was never put out.

use std::collections::{BTreeSet, HashMap};

use crate::logged::event::{Cursor, Entry, Event, Hex, Place, Subscription};
use crate::logged::run::{Life, Run, Stream};

pub(super) fn violations(run: &Run) -> Vec<String> {
    let mut found = Vec::new();
    for (subscription, life) in &run.lives {
        let mut reader = Reader::new(run, *subscription, life);
        for record in run.records_of(life) {
            match &record.event {
                Event::Delivered { entry, .. } => reader.delivered(entry),
                Event::Gap { origin, from, to, .. } => reader.gap(*origin, *from, *to),
                Event::CursorKept { cursor, .. } => reader.kept(cursor),
                _ => {}
            }
        }
        reader.ended();
        found.append(&mut reader.found);
    }
    found
}

/// How far a run has come.
struct Reader<'a> {
    run: &'a Run<'a>,
    subscription: Subscription,
    streams: Vec<Progress<'a>>,
    by_stream: HashMap<Stream, usize>,
    gaps: HashMap<Hex, Vec<(u64, u64)>>,
    /// What it passed by and has not got yet.
    passed: BTreeSet<Place>,
    found: Vec<String>,
}

/// How far a run has come in one stream.
struct Progress<'a> {
    origin: Hex,
    /// What is committed and not reached yet.
    ahead: &'a [u64],
    /// What is behind, from the start.
    all: &'a [u64],
}

impl<'a> Reader<'a> {
    fn new(run: &'a Run, subscription: Subscription, life: &Life) -> Self {
        let progress = |stream: &Stream| {
            let (positions, start) = (run.committed[stream].as_slice(), life.start.position(stream.0).unwrap_or(0));
            let all = &positions[positions.partition_point(|position| *position <= start)..];
            Progress { origin: stream.0, ahead: all, all }
        };
        let streams = run.streams_of(life.pattern);
        Self {
            run,
            subscription,
            by_stream: streams.iter().copied().zip(0..).collect(),
            streams: streams.iter().map(progress).collect(),
            gaps: HashMap::new(),
            passed: BTreeSet::new(),
            found: Vec::new(),
        }
    }

    fn delivered(&mut self, entry: &Entry) {
        let (place, stream) = (entry.place, (entry.place.origin, entry.publish.channel));
        let Some(index) = self.by_stream.get(&stream) else {
            self.found.push(format!(
                "I5 foreign: {} got {place} of {}, which its pattern does not match",
                self.subscription, stream.1
            ));
            return;
        };
        self.reach(*index, place.position);
        self.passed.remove(&place);
        if self.in_gap(place) {
            self.found
                .push(format!("I5 no hole: {} got {place}, which it was told is out of reach", self.subscription));
        }
    }

    fn gap(&mut self, origin: Hex, from: u64, to: u64) {
        self.gaps.entry(origin).or_default().push((from, to));
        self.passed.retain(|place| place.origin != origin || !(from..=to).contains(&place.position));
        let within = |progress: &&Progress| progress.origin == origin;
        let positions = self.streams.iter().filter(within).flat_map(|progress| {
            let first = progress.all.partition_point(|position| *position < from);
            progress.all[first..].iter().take_while(move |position| **position <= to)
        });
        let served = positions.filter(|position| self.run.served.contains(&Place { origin, position: **position }));
        let count = served.count();
        if count > 0 {
            let who = self.subscription;
            self.found.push(format!(
                "I5 no hole: {who} was told of a gap {origin}:{from}..={to}, of which {count} messages are served"
            ));
        }
    }

    fn kept(&mut self, cursor: &Cursor) {
        for (origin, position) in &cursor.0 {
            for index in 0..self.streams.len() {
                if self.streams[index].origin == *origin {
                    self.reach(index, *position);
                }
            }
        }
        let (covered, passed) = std::mem::take(&mut self.passed).into_iter().partition(|place| cursor.covers(*place));
        self.passed = passed;
        self.report(&covered, "kept a cursor above");
    }

    fn ended(&mut self) {
        let passed = std::mem::take(&mut self.passed);
        self.report(&passed, "went past");
    }

    /// Everything up to there is reached; what was not got yet is passed by, unless a gap said so.
    fn reach(&mut self, index: usize, position: u64) {
        let Progress { origin, ahead, .. } = self.streams[index];
        let (reached, ahead) = ahead.split_at(ahead.partition_point(|next| *next <= position));
        self.streams[index].ahead = ahead;
        for position in reached {
            let place = Place { origin, position: *position };
            if !self.in_gap(place) {
                self.passed.insert(place);
            }
        }
    }

    fn in_gap(&self, place: Place) -> bool {
        let gaps = self.gaps.get(&place.origin).map(Vec::as_slice).unwrap_or_default();
        gaps.iter().any(|(from, to)| (*from..=*to).contains(&place.position))
    }

    fn report(&mut self, skipped: &BTreeSet<Place>, how: &str) {
        if let (Some(first), Some(last)) = (skipped.first(), skipped.last()) {
            let (who, count) = (self.subscription, skipped.len());
            self.found.push(format!("I5 skipped: {who} {how} {count} messages that it never got, from {first} to {last}, and was told no gap"));
        }
    }
}
