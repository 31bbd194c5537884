//! What a node sends on the streams of subscriptions and in datagrams: a header, then deliveries. Entries are not encoded
//! here: their bytes are shared by all subscribers and made once, by [`crate::entry::delivery_frame`].

use bytes::Bytes;
use prost::Message;

use crate::entry::Entry;
use crate::error::DecodeError;
use crate::frame::delimited;
use crate::proto::client as proto;

/// The first frame of a delivery stream: which subscription it serves.
#[must_use]
pub fn delivery_header(subscription: u64) -> Bytes {
    delimited(&proto::DeliveryHeader { subscription })
}

/// Reads the first frame of a delivery stream.
///
/// # Errors
/// The frame is not a header.
pub fn decode_delivery_header(frame: Bytes) -> Result<u64, DecodeError> {
    let header = proto::DeliveryHeader::decode(frame);
    header.map(|h| h.subscription).map_err(|_| DecodeError::malformed("a delivery stream without a header"))
}

/// One frame of a delivery stream, after the header. Entries are made by [`crate::entry::delivery_frame`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A message.
    Entry(Entry),
    /// The subscriber fell behind, and this many volatile messages went by.
    Dropped(u64),
}

impl Delivery {
    /// The frame that tells of dropped messages.
    #[must_use]
    pub fn dropped_frame(count: u64) -> Bytes {
        let body = Some(proto::delivery::Body::Dropped(proto::Dropped { count }));
        delimited(&proto::Delivery { body })
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// The frame is not a delivery.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let delivery =
            proto::Delivery::decode(frame).map_err(|_| DecodeError::malformed("a delivery does not decode"))?;
        match delivery.body {
            Some(proto::delivery::Body::Entry(entry)) => Entry::from_proto(entry).map(Self::Entry),
            Some(proto::delivery::Body::Dropped(dropped)) => Ok(Self::Dropped(dropped.count)),
            None => Err(DecodeError::malformed("a delivery without a body that this version knows")),
        }
    }

    /// Reads a delivery datagram: the subscription and the entry.
    ///
    /// # Errors
    /// The datagram is not a delivery.
    pub fn decode_datagram(datagram: Bytes) -> Result<(u64, Entry), DecodeError> {
        let malformed = || DecodeError::malformed("a datagram does not decode");
        let datagram = proto::DeliveryDatagram::decode(datagram).map_err(|_| malformed())?;
        Ok((datagram.subscription, Entry::from_proto(datagram.entry.ok_or_else(malformed)?)?))
    }
}
