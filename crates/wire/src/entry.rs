//! A message in its stored form. The node that takes a message encodes it once; those bytes travel, are kept and are
//! delivered unchanged, so nothing in them belongs to one subscriber.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::encoded_len_varint;

use crate::error::DecodeError;
use crate::ids::PublisherId;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::names::ChannelName;
use crate::proto::types;
use crate::{ErrorCode, NameError};

/// A checked entry. Its payload shares the bytes that it was decoded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was published.
    pub channel: ChannelName,
    /// The application's bytes.
    pub payload: Bytes,
    /// Who numbers the messages.
    pub publisher: PublisherId,
    /// The publisher's count in this channel, from 1.
    pub number: u64,
    /// When the node took it, in microseconds since the Unix epoch.
    pub published_at_us: u64,
    /// The publisher session that `count` counts in.
    pub session: u64,
    /// The message's count in its publisher session: receivers drop what is not above the last.
    pub count: u64,
    /// The publisher asked for datagrams.
    pub datagram: bool,
}

impl Entry {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = types::Entry {
            channel: self.channel.as_str().to_owned(),
            payload: self.payload.clone(),
            publisher: self.publisher.0,
            number: self.number,
            published_at_us: self.published_at_us,
            session: self.session,
            count: self.count,
            datagram: self.datagram,
        };
        message.encode_to_vec().into()
    }

    /// Reads a stored form.
    ///
    /// # Errors
    /// The bytes are not an entry, or one of its fields breaks its rules.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let message = types::Entry::decode(bytes).map_err(|_| DecodeError::malformed("an entry does not decode"))?;
        Self::from_proto(message)
    }

    pub(crate) fn from_proto(message: types::Entry) -> Result<Self, DecodeError> {
        let bad_channel = |e: NameError| DecodeError::new(0, ErrorCode::BadChannel, e.to_string());
        if message.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(DecodeError::new(0, ErrorCode::FrameTooLarge, "a payload is above 65,536 bytes"));
        }
        Ok(Self {
            channel: ChannelName::parse(&message.channel).map_err(bad_channel)?,
            payload: message.payload,
            publisher: PublisherId(message.publisher),
            number: message.number,
            published_at_us: message.published_at_us,
            session: message.session,
            count: message.count,
            datagram: message.datagram,
        })
    }
}

/// The frame that delivers an entry to a subscriber, the same for all of them: made once a node, then shared.
#[must_use]
pub fn delivery_frame(entry: &[u8]) -> Bytes {
    let body_length = 1 + encoded_len_varint(entry.len() as u64) + entry.len();
    let mut frame = BytesMut::with_capacity(body_length + 5);
    prost::encoding::encode_varint(body_length as u64, &mut frame);
    put_entry_field(1, entry, &mut frame);
    frame.freeze()
}

/// The datagram that delivers an entry to one subscription.
#[must_use]
pub fn delivery_datagram(subscription: u64, entry: &[u8]) -> Bytes {
    let mut datagram = BytesMut::with_capacity(entry.len() + 20);
    prost::encoding::uint64::encode(1, &subscription, &mut datagram);
    put_entry_field(2, entry, &mut datagram);
    datagram.freeze()
}

fn put_entry_field(tag: u32, entry: &[u8], out: &mut BytesMut) {
    prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, out);
    prost::encoding::encode_varint(entry.len() as u64, out);
    out.put_slice(entry);
}
