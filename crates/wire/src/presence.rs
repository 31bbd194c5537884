//! Who is on a channel, in checked types: what nodes tell each other of it, and what clients read.
//!
//! A *writer* is one run of one node; it alone writes what its own clients do. A *part* is what one writer says of one
//! channel, and a [`PartChange`] brings a copy of a part from one op to a later one. Merging is `core::presence`'s.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::error::{DecodeError, ErrorCode};
use crate::ids::{Instance, Life};
use crate::names::{ChannelName, ClientId, NodeName};

/// Longest state of an occupant, in bytes of JSON.
pub const STATE_BYTES_MAX: usize = 1024;
/// Most channels in one query.
pub const QUERY_CHANNELS_MAX: usize = 1_000;

/// A client's stay on channels, kept over reconnects and moves to other nodes. The client id comes from the token, so
/// nobody can speak for another client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PresenceId {
    /// The token's client id.
    pub client: ClientId,
    /// The run of the client's SDK.
    pub instance: Instance,
}

/// One run of one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer {
    /// The node.
    pub node: NodeName,
    /// Its run.
    pub life: Life,
}

/// What a client says of itself on a channel: JSON of at most [`STATE_BYTES_MAX`] bytes, or nothing.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PresenceState(Option<Arc<str>>);

/// Why a text is no state. The text is not echoed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Longer than the limit.
    #[error("a presence state has at most {STATE_BYTES_MAX} bytes of JSON")]
    TooLong,
    /// Not JSON.
    #[error("a presence state is a JSON value")]
    NotJson,
}

impl PresenceState {
    /// Checks a text; the empty one is the state of who said nothing.
    ///
    /// # Errors
    /// Too long, or not one JSON value.
    pub fn parse(text: &str) -> Result<Self, StateError> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        if text.len() > STATE_BYTES_MAX {
            return Err(StateError::TooLong);
        }
        // Into a value, not `IgnoredAny`: that takes lone surrogates and numbers without bounds, at which readers fail.
        serde_json::from_str::<serde_json::Value>(text).map_err(|_| StateError::NotJson)?;
        Ok(Self(Some(text.into())))
    }

    /// The JSON of a value.
    ///
    /// # Errors
    /// Too long, or a value that JSON cannot say, such as a map whose keys are no texts.
    pub fn of(value: &impl serde::Serialize) -> Result<Self, StateError> {
        Self::parse(&serde_json::to_string(value).map_err(|_| StateError::NotJson)?)
    }

    /// The JSON; `None` of who said nothing.
    #[must_use]
    pub fn json(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl std::str::FromStr for PresenceState {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::parse(text)
    }
}

impl fmt::Debug for PresenceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted and escaped: it comes from a client, and ends in logs.
        match self.json() {
            Some(json) => fmt::Debug::fmt(json, f),
            None => f.write_str("-"),
        }
    }
}

/// Orders the states that a client set on different nodes: microseconds since the epoch, never smaller than what was
/// seen before and never far ahead of the wall clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

/// One stay on one channel, as the writer that has the session tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupant {
    /// Grows each time that the client connects: of two writers that both list a stay, the greater one has it.
    pub moves: u32,
    /// When the stay began, in microseconds since the epoch; kept over moves.
    pub since_us: u64,
    /// Orders `state` among the stays of the client.
    pub stamp: Stamp,
    /// What the client says of itself.
    pub state: PresenceState,
}

/// How a stay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// The client left, or closed its connection.
    Left,
    /// The connection was lost, and the client did not come back in time.
    Timeout,
    /// The client goes on at another node: no event.
    Moved,
}

/// Brings a copy of a part from op `from` to op `to`. What happened in between is collapsed: each stay that was touched
/// appears once, as it is at `to`. So it applies to every copy whose op is in `from..to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartChange {
    /// Whose part.
    pub writer: Writer,
    /// Of which channel.
    pub channel: ChannelName,
    /// The op that a copy needs at least, below `to`; without meaning when `whole`.
    pub from: u64,
    /// The op of a copy afterwards. Ops grow within a life.
    pub to: u64,
    /// `present` is everybody: it replaces what a copy has.
    pub whole: bool,
    /// Stays that ever began here.
    pub joins: u64,
    /// Stays that ever ended here: `joins` less those that go on, of which there are at most
    /// [`PRESENCE_STAYS_MAX`](crate::limits::PRESENCE_STAYS_MAX).
    pub leaves: u64,
    /// Stays that began or changed, as they are now.
    pub present: Vec<(PresenceId, Occupant)>,
    /// Stays that ended.
    pub gone: Vec<(PresenceId, Exit)>,
}

/// What nodes tell each other of presence: a node tells the owner of a channel in its region, and that owner tells the
/// owners in the regions that want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceFrame {
    /// News of a part.
    Change {
        /// The news.
        change: PartChange,
        /// The receiver has just begun to want the channel: what it learns by this happened before.
        catch_up: bool,
    },
    /// A change before one that arrived is missing: send the whole part.
    Ask {
        /// Of which channel.
        channel: ChannelName,
        /// Whose part.
        writer: Writer,
    },
    /// The sender owns channels of which it knows nothing: tell it everything, then `Collected`.
    Collect,
    /// Everything was told that the sender has for the receiver.
    Collected,
    /// What the receiver should have from the sender by now. Where it has something else, it answers `Collect`, and what
    /// is not told before the `Collected` that follows is no more.
    Digest {
        /// The life under which the sender writes.
        life: Life,
        /// A hash over what it has told.
        hash: u64,
    },
    /// A copy lists a stay that went on to another node.
    Superseded {
        /// On which channel.
        channel: ChannelName,
        /// Which stay.
        id: PresenceId,
        /// The moves of the newest.
        moves: u32,
    },
    /// The writer was given up for dead, and its stays were ended: it must go on under another life.
    Buried(Writer),
    /// The sender answers for these channels, at most [`QUERY_CHANNELS_MAX`]: tell it what the receiver's region does
    /// there, now and for a minute.
    Fetch(Vec<ChannelName>),
    /// All parts of these channels were told.
    Fetched(Vec<ChannelName>),
}

/// Something that the subscribers of a channel's presence hear: the payload of the messages on the channel's
/// [`presence`](ChannelName::presence) and [`counts`](ChannelName::counts).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceEvent {
    /// A client came.
    Join {
        /// Who.
        client: ClientId,
        /// What it says of itself.
        state: PresenceState,
        /// Sessions now.
        occupancy: u64,
    },
    /// A client went.
    Leave {
        /// Who.
        client: ClientId,
        /// Sessions now.
        occupancy: u64,
    },
    /// A client was lost and did not come back in time.
    Timeout {
        /// Who.
        client: ClientId,
        /// Sessions now.
        occupancy: u64,
    },
    /// A client says something else of itself.
    State {
        /// Who.
        client: ClientId,
        /// What it says now.
        state: PresenceState,
        /// Sessions now.
        occupancy: u64,
    },
    /// What happened in an interval on a channel with many occupants, or how things stand after the channel's owner
    /// changed.
    Interval {
        /// Sessions now.
        occupancy: u64,
        /// Clients now.
        clients: u64,
        /// Clients that came.
        joined: u64,
        /// Clients that went.
        left: u64,
    },
}

/// Checks the channels of a query. Who names one twice is answered once: an answer may be a thousand times its question.
pub(crate) fn channels_of(texts: &[String]) -> Result<Vec<ChannelName>, DecodeError> {
    if texts.len() > QUERY_CHANNELS_MAX {
        return Err(DecodeError::malformed("more than 1,000 channels in one query"));
    }
    let channels = texts.iter().map(|text| ChannelName::parse(text)).collect::<Result<Vec<_>, _>>();
    let mut channels = channels.map_err(|error| DecodeError::new(0, ErrorCode::BadChannel, error.to_string()))?;
    let mut seen = BTreeSet::new();
    channels.retain(|channel| seen.insert(channel.clone()));
    Ok(channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_json_within_its_limit_or_nothing() {
        assert_eq!(PresenceState::parse("").unwrap().json(), None);
        assert_eq!(PresenceState::parse(r#"{"typing":true}"#).unwrap().json(), Some(r#"{"typing":true}"#));
        assert_eq!(PresenceState::parse("{"), Err(StateError::NotJson));
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(PresenceState::parse(&nested(127)).is_ok());
        for bad in ["1 2", "\"\\ud800\"", "1e999", &nested(128)] {
            assert_eq!(PresenceState::parse(bad), Err(StateError::NotJson), "{bad}");
        }
        let longest = format!("\"{}\"", "a".repeat(STATE_BYTES_MAX - 2));
        assert!(PresenceState::parse(&longest).is_ok());
        assert_eq!(PresenceState::parse(&format!(" {longest}")), Err(StateError::TooLong));
    }

    #[test]
    fn any_value_that_json_can_say_is_a_state() {
        let state = PresenceState::of(&serde_json::json!({"typing": true})).unwrap();
        assert_eq!(state.json(), Some(r#"{"typing":true}"#));
        assert_eq!(PresenceState::of(&""), PresenceState::parse("\"\""), "an empty text is something that is said");
        assert_eq!(PresenceState::of(&"a".repeat(STATE_BYTES_MAX)), Err(StateError::TooLong));
        assert_eq!(PresenceState::of(&std::collections::BTreeMap::from([((1, 2), 3)])), Err(StateError::NotJson));
    }

    #[test]
    fn a_state_reaches_no_log_raw() {
        let state = PresenceState::parse("\n\"\u{9b}2J\"").unwrap();
        assert_eq!(format!("{state:?}"), r#""\n\"\u{9b}2J\"""#);
    }
}
