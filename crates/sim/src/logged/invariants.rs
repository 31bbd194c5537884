//! What must hold of every run over logged channels, one file each, by the ids I1 to I9 and I11. Each takes the arranged
//! records and returns a line per violation, which begins with its id.
//!
//! All are sorting and looking up: what costs most is a few passes over the records. They read what is recorded and
//! assume nothing more: [`Totals`] says how much there was to check.

mod acks;
mod bounds;
mod cursors;
mod genuine;
mod identity;
mod liveness;
mod lost;
mod once;
mod order;
mod skipped;

use std::fmt;
use std::time::Duration;

use super::event::{Event, Record};
use super::run::Run;

/// The times and bounds that the invariants count with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long after the last fault publishes succeed again. Default: 10 s.
    pub succeeds_within: Duration,
    /// How long a publish may wait for its ack from then on. Default: 10 s.
    pub acked_within: Duration,
    /// How long after an ack or the last fault, whichever is later, a message is with every subscriber. Default: 30 s.
    pub caught_up_within: Duration,
    /// What a node may use at most. Default: no bound.
    pub usage_max: UsageMax,
}

/// Bounds of a node's usage; `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageMax {
    /// How much its memory may grow from its first measurement on.
    pub memory_growth_bytes: Option<u64>,
    /// How much its queues may hold.
    pub queue_bytes: Option<u64>,
    /// How many tasks it may have.
    pub tasks: Option<u64>,
    /// How many files and sockets it may have open.
    pub files: Option<u64>,
    /// How much text it may log in any minute, between the measurements.
    pub log_bytes_per_minute: Option<u64>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            succeeds_within: Duration::from_secs(10),
            acked_within: Duration::from_secs(10),
            caught_up_within: Duration::from_secs(30),
            usage_max: UsageMax::default(),
        }
    }
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Every violation, a line each; none in a good run.
    pub violations: Vec<String>,
    /// How much was checked.
    pub totals: Totals,
}

/// How much a history says: no violation in an empty one proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Events of all kinds.
    pub events: usize,
    /// Publishes handed in, retries included.
    pub publishes: usize,
    /// Acks.
    pub acks: usize,
    /// Acks whose entry could be followed to the replicas' disks.
    pub acks_followed: usize,
    /// Messages delivered.
    pub deliveries: usize,
    /// Subscriptions that went on from a kept cursor.
    pub resumes: usize,
    /// Gaps told.
    pub gaps: usize,
    /// Faults begun.
    pub faults: usize,
    /// Nodes drained at the end.
    pub drained: usize,
    /// Measurements of a node's usage.
    pub measurements: usize,
}

/// Judges a run by all invariants. The records are in the order of their times.
#[must_use]
pub fn judge(records: &[Record], terms: &Terms) -> Verdict {
    let run = Run::of(records);
    let mut violations = run.incomplete.clone();
    violations.extend(lost::violations(&run));
    violations.extend(genuine::violations(&run));
    violations.extend(identity::violations(&run));
    violations.extend(once::violations(&run));
    violations.extend(skipped::violations(&run));
    violations.extend(order::violations(&run));
    violations.extend(cursors::violations(&run));
    let (dishonest, acks_followed) = acks::violations(&run);
    violations.extend(dishonest);
    violations.extend(liveness::violations(&run, terms));
    violations.extend(bounds::violations(&run, &terms.usage_max));
    Verdict { violations, totals: Totals { acks_followed, ..Totals::of(records) } }
}

impl Totals {
    fn of(records: &[Record]) -> Self {
        let mut totals = Self { events: records.len(), ..Self::default() };
        for record in records {
            match record.event {
                Event::Invoked { .. } => totals.publishes += 1,
                Event::Acked(_) => totals.acks += 1,
                Event::Delivered { .. } => totals.deliveries += 1,
                Event::ResumeAsked { .. } => totals.resumes += 1,
                Event::Gap { .. } => totals.gaps += 1,
                Event::Fault { .. } => totals.faults += 1,
                Event::Drained { .. } => totals.drained += 1,
                Event::Measured { .. } => totals.measurements += 1,
                _ => {}
            }
        }
        totals
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, publishes, acks, acks_followed, deliveries, resumes, gaps, faults, drained, measurements } =
            self;
        write!(
            f,
            "{events} events: {publishes} publishes, {acks} acks ({acks_followed} followed to the disks), {deliveries} deliveries, \
             {resumes} resumes, {gaps} gaps, {faults} faults, {drained} nodes drained, {measurements} measurements"
        )
    }
}
