//! The uni streams of a link: their header, and the batches of volatile messages that one kind of them carries. Entries
//! are neither encoded nor decoded here: their bytes are passed on as they are.

use bytes::Bytes;
use prost::Message as _;

use super::{bad_name, malformed};
use crate::error::DecodeError;
use crate::frame::delimited;
use crate::ids::ViewDigest;
use crate::limits::HOPS_MAX;
use crate::names::NodeName;
use crate::proto::peer as proto;

/// What a uni stream of a link carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// [`Messages`].
    Messages,
    /// [`Addressed`](super::Addressed) presence frames.
    Presence,
}

impl StreamKind {
    /// The first frame of a stream, with its length in front.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let kind = match self {
            Self::Messages => proto::stream_header::Kind::Messages,
            Self::Presence => proto::stream_header::Kind::Presence,
        };
        delimited(&proto::StreamHeader { kind: kind.into() })
    }

    /// Reads the first frame of a stream, without its length.
    ///
    /// # Errors
    /// The frame is no header, or that of a kind which this version does not know.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let header = proto::StreamHeader::decode(frame).map_err(|_| malformed("a stream without a header"))?;
        match header.kind() {
            proto::stream_header::Kind::Messages => Ok(Self::Messages),
            proto::stream_header::Kind::Presence => Ok(Self::Presence),
            proto::stream_header::Kind::Unspecified => {
                Err(malformed("a stream of a kind that this version does not know"))
            }
        }
    }
}

/// Where volatile messages are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// To the slot's owner in the publisher's region.
    ToOwner,
    /// To the slot's owner in another region.
    ToRegion,
    /// To a node with interest, in the owner's region.
    ToNode,
}

/// A batch of volatile messages, the only frame of message streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages {
    /// Where they are on their way.
    pub step: Step,
    /// The sender's view.
    pub view: ViewDigest,
    /// How often a node that was not the owner has passed them on.
    pub hops: u32,
    /// Entries in their stored form.
    pub entries: Vec<Bytes>,
    /// The node that the receiver is to pass them on to; `None` when they are for the receiver.
    pub relay_to: Option<NodeName>,
}

impl Messages {
    /// The frame with its length in front.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        delimited(&self.to_proto())
    }

    /// The frame without a length, for a datagram.
    #[must_use]
    pub fn encode_datagram(&self) -> Bytes {
        self.to_proto().encode_to_vec().into()
    }

    fn to_proto(&self) -> proto::Messages {
        let step = match self.step {
            Step::ToOwner => proto::messages::Step::ToOwner,
            Step::ToRegion => proto::messages::Step::ToRegion,
            Step::ToNode => proto::messages::Step::ToNode,
        };
        proto::Messages {
            step: step.into(),
            view: self.view.0,
            hops: self.hops,
            entries: self.entries.clone(),
            relay_to: self.relay_to.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Reads a frame, without its length. The entries share its bytes and are not decoded here.
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let messages = proto::Messages::decode(frame).map_err(|_| malformed("messages do not decode"))?;
        let step = match messages.step() {
            proto::messages::Step::ToOwner => Step::ToOwner,
            proto::messages::Step::ToRegion => Step::ToRegion,
            proto::messages::Step::ToNode => Step::ToNode,
            proto::messages::Step::Unspecified => return Err(malformed("messages without a step")),
        };
        if messages.hops > HOPS_MAX {
            return Err(malformed("messages with more than two hops"));
        }
        let relay_to = match messages.relay_to.as_str() {
            "" => None,
            name => Some(NodeName::parse(name).map_err(bad_name)?),
        };
        Ok(Self { step, view: ViewDigest(messages.view), hops: messages.hops, entries: messages.entries, relay_to })
    }
}
