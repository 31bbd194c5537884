//! What happened in a run: every publish and its outcome, every delivery, every change of a session and every fault,
//! with its virtual time. Records, and judges nothing: that is what [`invariants`](crate::invariants) do.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::quiet::{self, Turn};

/// A message of a run: the count-th of its publisher, from 1. Its payload says so, whatever the product makes of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The client that published it.
    pub publisher: Arc<str>,
    /// Its number among that client's messages.
    pub count: u64,
}

impl MessageId {
    /// The message as a payload of at least `bytes_min`.
    #[must_use]
    pub fn payload(&self, bytes_min: usize) -> String {
        format!("{:bytes_min$}", self.to_string())
    }

    /// The message that a payload names, if it is one of a run.
    #[must_use]
    pub fn of_payload(payload: &[u8]) -> Option<Self> {
        let (publisher, count) = std::str::from_utf8(payload).ok()?.trim_end().rsplit_once('#')?;
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
    /// The client is present on a channel from now on.
    Present(Arc<str>, Arc<str>),
    /// The client is present on a channel no more.
    Absent(Arc<str>, Arc<str>),
    /// A node says who is on a channel.
    Listed {
        /// Which node.
        node: Arc<str>,
        /// Which channel.
        channel: Arc<str>,
        /// Who, by name; or why it does not say.
        who: Result<Vec<Arc<str>>, String>,
    },
    /// A watch yielded an event of presence.
    Told(Arc<str>, String),
    /// Everybody is there: from now on the invariants hold, unless something is wrong.
    Begun,
    /// Something goes wrong from now on.
    Fault {
        /// What.
        what: String,
        /// Whether the mesh must find a way around it.
        way_around: bool,
    },
    /// This is over.
    Mended(String),
    /// Whatever is wrong, the invariants hold from now on.
    NoExcuse,
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

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The times up to `end` in which everything must work, see [`quiet::quiet`].
#[must_use]
pub fn quiet(records: &[Record], settle: Duration, end: Duration) -> Vec<Range<Duration>> {
    quiet::quiet(records.iter().filter_map(|record| Some((record.at, record.event.turn()?))), settle, end)
}

/// The records as text, a line each, in order.
#[must_use]
pub fn tell(records: &[Record]) -> String {
    records.iter().map(|record| format!("{:>9.3} s  {}\n", record.at.as_secs_f64(), record.event)).collect()
}

impl Event {
    fn turn(&self) -> Option<Turn<'_>> {
        match self {
            Self::Begun => Some(Turn::Begun),
            Self::Fault { what, way_around } => Some(Turn::Fault { what, way_around: *way_around }),
            Self::Mended(what) => Some(Turn::Mended(what)),
            Self::NoExcuse => Some(Turn::NoExcuse),
            _ => None,
        }
    }
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
            Self::Present(who, channel) => write!(f, "{who} is on {channel}"),
            Self::Absent(who, channel) => write!(f, "{who} is not on {channel} any more"),
            Self::Listed { node, channel, who: Ok(who) } => write!(f, "{node} lists on {channel}: {}", who.join(" ")),
            Self::Listed { node, channel, who: Err(why) } => write!(f, "{node} lists nobody on {channel}: {why}"),
            Self::Told(who, event) => write!(f, "{who} is told: {event}"),
            Self::Begun => write!(f, "--- begun"),
            Self::Fault { what, .. } => write!(f, "--- {what}"),
            Self::Mended(what) => write!(f, "--- over: {what}"),
            Self::NoExcuse => write!(f, "--- no excuse from now on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_name_their_message() {
        let message = MessageId { publisher: "fra-a".into(), count: 17 };
        for bytes in [0, 100] {
            let payload = message.payload(bytes);
            assert!(payload.len() >= bytes);
            assert_eq!(MessageId::of_payload(payload.as_bytes()), Some(message.clone()));
        }
        for foreign in [&b"fra-a"[..], b"fra-a#x", b"\xff#1"] {
            assert_eq!(MessageId::of_payload(foreign), None);
        }
    }
}
