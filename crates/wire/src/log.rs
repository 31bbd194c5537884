//! The commands that a group's log is made of, and their stored form. What a command does is for `farwire_core::log` to
//! say; Raft's own entries are not here. Made by the leader of a group, read by each of its replicas.
//!
//! Invariant: what decodes keeps the bounds of [`limits`](crate::limits), and each entry in it is a checked one. A command
//! that a replica cannot decode must stop it: whoever skips one has another state than the others from then on.

use bytes::Bytes;
use prost::Message as _;

use crate::entry::Entry;
use crate::error::DecodeError;
use crate::ids::Origin;
use crate::limits::{ENTRY_BYTES_MAX, LOG_BATCH_BYTES, LOG_BATCH_PUBLISHES_MAX, LOG_COMMAND_BYTES_MAX, LOG_MARKS_MAX};
use crate::names::{ChannelName, NameError};
use crate::place::{Offset, Position};
use crate::proto::peer as proto;
use crate::proto::peer::log_command::Body;

/// One command of a group's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The first of a group: its log has this name for ever.
    Open(Origin),
    /// Messages that want in.
    Batch(Batch),
    /// What is no longer kept.
    Mark(Mark),
}

/// Publishes in the order in which the leader took them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The leader's wall clock, in microseconds since the Unix epoch.
    pub log_time_us: u64,
    /// At least one, at most [`LOG_BATCH_PUBLISHES_MAX`]; their entries have at most [`LOG_BATCH_BYTES`] and one of
    /// [`ENTRY_BYTES_MAX`] more.
    pub publishes: Vec<Publish>,
}

/// A message as its publisher's node encoded it, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    entry: Entry,
    stored: Bytes,
    client: u64,
}

/// What is no longer kept. Made by a group's leader; `farwire_core::log` says how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Nothing of the log below this position.
    Log(Position),
    /// Nothing of these channels below these places: at least one, at most [`LOG_MARKS_MAX`].
    Channels(Vec<ChannelMark>),
}

/// The first message of a channel that is kept, or the place of the next one where none is.
///
/// All three numbers count from the log's beginning, so that a mark that is proposed twice, or overtaken by publishes,
/// says the same as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelMark {
    /// The channel.
    pub channel: ChannelName,
    /// Its position; where none is kept, the one after the channel's last.
    pub position: Position,
    /// Its offset.
    pub offset: Offset,
    /// Bytes of all entries of the channel before it.
    pub bytes_before: u64,
}

impl Publish {
    /// The message with this stored form, of the client with this keyed hash. Decodes it: the one time that it is.
    ///
    /// # Errors
    /// The bytes are not an entry that a log takes.
    pub fn new(stored: Bytes, client: u64) -> Result<Self, DecodeError> {
        if stored.len() > ENTRY_BYTES_MAX {
            return Err(malformed("an entry is above 66,560 bytes"));
        }
        let entry = Entry::decode(stored.clone())?;
        if entry.number == 0 {
            return Err(malformed("a publish without a number: they count from 1"));
        }
        Ok(Self { entry, stored, client })
    }

    /// The message.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Its stored form, as the node encoded it that took it from its publisher.
    #[must_use]
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// Keyed hash of the publisher's client id.
    #[must_use]
    pub fn client(&self) -> u64 {
        self.client
    }
}

impl Command {
    /// The stored form. Whoever makes a command keeps to the bounds, or it will not decode.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let body = match self {
            Self::Open(origin) => Body::Open(proto::LogOpen { origin: origin.0 }),
            Self::Batch(batch) => Body::Batch(batch.to_proto()),
            Self::Mark(mark) => Body::Mark(mark.to_proto()),
        };
        proto::LogCommand { body: Some(body) }.encode_to_vec().into()
    }

    /// Reads a stored form. Entries and payloads share its bytes. Takes at most twenty times its memory, for a moment, if
    /// it is one of empty publishes; the bytes have a bound, so that does.
    ///
    /// # Errors
    /// The bytes are not a command that this release knows, or one beyond its bounds: the replica has to stop.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > LOG_COMMAND_BYTES_MAX {
            return Err(malformed("a command is above 524,288 bytes"));
        }
        let command = proto::LogCommand::decode(bytes).map_err(|_| malformed("a command does not decode"))?;
        match command.body.ok_or_else(|| malformed("a command that this release does not know: run the newer one"))? {
            Body::Open(open) => Ok(Self::Open(Origin(open.origin))),
            Body::Batch(batch) => Batch::from_proto(batch).map(Self::Batch),
            Body::Mark(mark) => Mark::from_proto(&mark).map(Self::Mark),
        }
    }
}

impl Batch {
    fn to_proto(&self) -> proto::LogBatch {
        let publish = |publish: &Publish| proto::LogPublish { entry: publish.stored.clone(), client: publish.client };
        proto::LogBatch { log_time_us: self.log_time_us, publishes: self.publishes.iter().map(publish).collect() }
    }

    fn from_proto(batch: proto::LogBatch) -> Result<Self, DecodeError> {
        if !(1..=LOG_BATCH_PUBLISHES_MAX).contains(&batch.publishes.len()) {
            return Err(malformed("a batch has 1 to 8,192 publishes"));
        }
        let bytes: usize = batch.publishes.iter().map(|publish| publish.entry.len()).sum();
        if bytes > LOG_BATCH_BYTES + ENTRY_BYTES_MAX {
            return Err(malformed("the entries of a batch are above 328,704 bytes"));
        }
        let publish = |publish: proto::LogPublish| Publish::new(publish.entry, publish.client);
        let publishes = batch.publishes.into_iter().map(publish).collect::<Result<_, _>>()?;
        Ok(Self { log_time_us: batch.log_time_us, publishes })
    }
}

impl Mark {
    fn to_proto(&self) -> proto::LogMark {
        match self {
            Self::Log(below) => proto::LogMark { below: below.get(), channels: Vec::new() },
            Self::Channels(channels) => {
                proto::LogMark { below: 0, channels: channels.iter().map(ChannelMark::to_proto).collect() }
            }
        }
    }

    fn from_proto(mark: &proto::LogMark) -> Result<Self, DecodeError> {
        match (Position::new(mark.below), mark.channels.len()) {
            (Some(below), 0) => Ok(Self::Log(below)),
            (None, 1..=LOG_MARKS_MAX) => {
                mark.channels.iter().map(ChannelMark::from_proto).collect::<Result<_, _>>().map(Self::Channels)
            }
            _ => Err(malformed("a mark is about the whole log or about 1 to 1,024 channels")),
        }
    }
}

impl ChannelMark {
    fn to_proto(&self) -> proto::LogChannelMark {
        proto::LogChannelMark {
            channel: self.channel.to_string(),
            position: self.position.get(),
            offset: self.offset.get(),
            bytes_before: self.bytes_before,
        }
    }

    fn from_proto(mark: &proto::LogChannelMark) -> Result<Self, DecodeError> {
        let without_place = || malformed("a mark of a channel without a place");
        Ok(Self {
            channel: ChannelName::parse(&mark.channel).map_err(bad_channel)?,
            position: Position::new(mark.position).ok_or_else(without_place)?,
            offset: Offset::new(mark.offset).ok_or_else(without_place)?,
            bytes_before: mark.bytes_before,
        })
    }
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::malformed(what)
}

fn bad_channel(error: NameError) -> DecodeError {
    DecodeError::new(0, crate::ErrorCode::BadChannel, error.to_string())
}
