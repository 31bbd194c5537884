//! What happened in a run: every publish and its outcome, every delivery, every change of a session and every fault,
//! with its virtual time. Records, and judges nothing: that is what [`invariants`](crate::invariants) do.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A message of a run: the count-th of its publisher, from 1. Its payload says so, whatever the product makes of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The client that published it.
    pub publisher: Arc<str>,
    /// Its number among that client's messages.
    pub count: u64,
}

impl MessageId {
    /// The message as a payload.
    #[must_use]
    pub fn payload(&self) -> String {
        self.to_string()
    }

    /// The message that a payload names, if it is one of a run.
    #[must_use]
    pub fn of_payload(payload: &[u8]) -> Option<Self> {
        let (publisher, count) = std::str::from_utf8(payload).ok()?.rsplit_once('#')?;
        Some(Self { publisher: publisher.into(), count: count.parse().ok()? })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.publisher, self.count)
    }
}

/// Something that happened. Subscriptions are named after their clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// The client is about to publish the message.
    Sent(MessageId),
    /// The node took it.
    Acked(MessageId),
    /// It was not acked, for this reason.
    Failed(MessageId, String),
    /// The subscription came into force.
    Subscribed(Arc<str>),
    /// The subscription yielded the message.
    Received(Arc<str>, MessageId),
    /// The subscription yielded what no client of the run had published.
    Foreign(Arc<str>, String),
    /// The subscription said that so many went by.
    Dropped(Arc<str>, u64),
    /// The client has a session: its first, or its subscriptions are in force again.
    Up(Arc<str>, String),
    /// The client lost its session, or tries again.
    Down(Arc<str>, String),
    /// The client or its subscription ended by itself.
    Ended(Arc<str>, String),
    /// Something goes wrong from now on.
    Fault(String),
    /// This is over.
    Mended(String),
    /// From now on nothing is wrong.
    Calm,
}

/// An event with the time since the start of the run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// When.
    pub at: Duration,
    /// What.
    pub event: Event,
}

/// The record of a run. Clones write to the same one.
#[derive(Debug, Clone)]
pub struct History {
    begun: Instant,
    records: Arc<Mutex<Vec<Record>>>,
}

impl History {
    /// An empty history that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: Instant::now(), records: Arc::default() }
    }

    /// Notes what happens now.
    pub fn note(&self, event: Event) {
        let at = self.begun.elapsed();
        self.lock().push(Record { at, event });
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Everything so far.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.lock().clone()
    }

    /// A digest of everything so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.lock().hash(&mut hasher);
        hasher.finish()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The times in which nothing was wrong and had not been for `settle`, up to `end`.
#[must_use]
pub fn quiet(records: &[Record], settle: Duration, end: Duration) -> Vec<Range<Duration>> {
    let mut quiet = Vec::new();
    let mut calm_since = None;
    for record in records {
        match record.event {
            Event::Calm => calm_since = calm_since.or(Some(record.at)),
            Event::Fault(_) => quiet.extend(calm_since.take().map(|since| since + settle..record.at)),
            _ => {}
        }
    }
    quiet.extend(calm_since.map(|since| since + settle..end));
    quiet.retain(|period| !period.is_empty());
    quiet
}

/// The records as text, a line each, in order.
#[must_use]
pub fn tell(records: &[Record]) -> String {
    records.iter().map(|record| format!("{:>9.3} s  {}\n", record.at.as_secs_f64(), record.event)).collect()
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(message) => write!(f, "{message} sent"),
            Self::Acked(message) => write!(f, "{message} acked"),
            Self::Failed(message, why) => write!(f, "{message} failed: {why}"),
            Self::Subscribed(who) => write!(f, "{who} subscribed"),
            Self::Received(who, message) => write!(f, "{who} got {message}"),
            Self::Foreign(who, what) => write!(f, "{who} got what nobody sent: {what}"),
            Self::Dropped(who, count) => write!(f, "{who} was told of {count} dropped"),
            Self::Up(who, node) => write!(f, "{who} is with {node}"),
            Self::Down(who, why) => write!(f, "{who} has no session: {why}"),
            Self::Ended(who, why) => write!(f, "{who} ended: {why}"),
            Self::Fault(what) => write!(f, "--- {what}"),
            Self::Mended(what) => write!(f, "--- over: {what}"),
            Self::Calm => write!(f, "--- calm"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, event: Event) -> Record {
        Record { at: Duration::from_secs(seconds), event }
    }

    #[test]
    fn payloads_name_their_message() {
        let message = MessageId { publisher: "fra-a".into(), count: 17 };
        assert_eq!(MessageId::of_payload(message.payload().as_bytes()), Some(message));
        for foreign in [&b"fra-a"[..], b"fra-a#x", b"\xff#1"] {
            assert_eq!(MessageId::of_payload(foreign), None);
        }
    }

    #[test]
    fn quiet_begins_some_time_after_the_calm_and_ends_with_a_fault() {
        let fault = || Event::Fault("storm".to_owned());
        let records = [
            at(1, Event::Calm),
            at(20, fault()),
            at(22, fault()),
            at(30, Event::Calm),
            at(35, fault()),
            at(40, Event::Calm),
        ];
        let seconds: Vec<_> = quiet(&records, Duration::from_secs(8), Duration::from_secs(60))
            .into_iter()
            .map(|period| period.start.as_secs()..period.end.as_secs())
            .collect();
        assert_eq!(seconds, [9..20, 48..60]);
    }
}
