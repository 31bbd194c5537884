//! The state as records of an ordered key-value space, for the shell to persist: the log's own head, one record for each
//! channel, one for each lane. Keys sort in that order. Nothing here is written by itself: the shell asks for the records
//! that changed, when it wants to.

use farwire_wire::{ChannelName, Origin, Position, PublisherId, varint};

use super::LaneKey;

const OWN: u8 = b'a';
const CHANNEL: u8 = b'c';
const LANE: u8 = b'l';
const VERSION: u8 = 1;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The log itself: origin, last position, log time, low-water mark.
    Own,
    /// A channel's head.
    Channel(ChannelName),
    /// A lane.
    Lane(LaneKey),
}

impl Key {
    /// The key of the record, 1 to 280 bytes: no key is the beginning of another one but by a channel's name.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Own => vec![OWN],
            Self::Channel(channel) => [&[CHANNEL], channel.as_str().as_bytes()].concat(),
            Self::Lane(LaneKey { publisher, channel }) => {
                [&[LANE][..], &publisher.0.to_be_bytes(), channel.as_str().as_bytes()].concat()
            }
        }
    }

    /// Reads the key of a record; `None` if it is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let channel = |bytes| ChannelName::parse(str::from_utf8(bytes).ok()?).ok();
        match bytes.split_first()? {
            (&OWN, []) => Some(Self::Own),
            (&CHANNEL, name) => channel(name).map(Self::Channel),
            (&LANE, rest) => {
                let (publisher, name) = rest.split_first_chunk()?;
                let publisher = PublisherId(u64::from_be_bytes(*publisher));
                Some(Self::Lane(LaneKey { publisher, channel: channel(name)? }))
            }
            _ => None,
        }
    }
}

/// Why records do not make a state. Nothing was restored: set them aside, and get the state from another replica or out of
/// the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A key or a value is not what a log's state is made of.
    #[error("a record of the log's state does not decode: the store is damaged, or a newer release wrote it")]
    Unsound,
    /// Each record is sound, but together they are not the state of a log: this is what is wrong.
    #[error("the records of the log's state do not fit together: {0}")]
    Inconsistent(&'static str),
}

/// The log itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) origin: Origin,
    /// Of the newest message; 0 before the first.
    pub(super) last_position: u64,
    pub(super) log_time_us: u64,
    /// Nothing below it is kept.
    pub(super) low: Position,
}

impl Own {
    pub(super) fn new(origin: Origin) -> Self {
        Self { origin, last_position: 0, log_time_us: 0, low: Position::FIRST }
    }

    pub(super) fn next_position(&self) -> Position {
        Position::new(self.last_position).map_or(Position::FIRST, Position::next)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.origin.0.to_be_bytes());
        [self.last_position, self.log_time_us, self.low.get()].iter().for_each(|number| varint::put(*number, &mut out));
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (origin, mut rest) = rest.split_first_chunk()?;
        let origin = Origin(u64::from_be_bytes(*origin));
        let mut take = || varint::take(&mut rest);
        let own = Self { origin, last_position: take()?, log_time_us: take()?, low: Position::new(take()?)? };
        (version == VERSION && rest.is_empty() && own.low <= own.next_position()).then_some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_survive_and_sort_as_their_bytes(keys in prop::collection::vec((0..3_u8, 0..3_u64, "[a-c](\\.[ab]{1,2})?"), 2)) {
            let keys = keys.into_iter().map(|(kind, publisher, channel)| {
                let channel = ChannelName::parse(&channel).unwrap();
                match kind {
                    0 => Key::Own,
                    1 => Key::Channel(channel),
                    _ => Key::Lane(LaneKey { publisher: PublisherId(publisher), channel }),
                }
            });
            let keys: Vec<_> = keys.collect();
            let bytes: Vec<_> = keys.iter().map(Key::to_bytes).collect();
            prop_assert_eq!(keys[0].cmp(&keys[1]), bytes[0].cmp(&bytes[1]));
            prop_assert_eq!(Key::parse(&bytes[0]), Some(keys[0].clone()));
        }

        #[test]
        fn any_bytes_are_a_key_or_none(bytes in "[acl\\x00-\\xff]{0,14}") {
            if let Some(key) = Key::parse(bytes.as_bytes()) {
                prop_assert_eq!(key.to_bytes(), bytes.as_bytes());
            }
        }

        #[test]
        fn stored_own_heads_have_no_second_form(bytes in prop::collection::vec(any::<u8>(), 0..16), last in 0..200_u64, low in 1..200_u64) {
            if let Some(own) = Own::decode(&bytes) {
                prop_assert_eq!(own.encode(), bytes);
            }
            let own = Own { last_position: last, low: Position::new(low).unwrap(), ..Own::new(Origin(7)) };
            prop_assert_eq!(Own::decode(&own.encode()), (low <= last + 1).then_some(own));
            prop_assert_eq!(Own::decode(&[&own.encode()[..], &[0]].concat()), None);
        }
    }
}
