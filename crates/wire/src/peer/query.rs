//! Questions between nodes, one a bidi stream, for the admin endpoint and for presence.

use bytes::Bytes;
use prost::Message as _;

use super::{bad_name, malformed};
use crate::error::{DecodeError, WireError};
use crate::frame::delimited;
use crate::names::{ChannelName, ClientId, NodeName};
use crate::presence::channels_of;
use crate::proto::peer as proto;

/// A question to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerQuery {
    /// The channels that the peer knows of.
    Channels,
    /// One channel.
    Channel(ChannelName),
    /// The peer's sessions.
    Sessions,
    /// What the peer received of the probes.
    Slo,
    /// Who is on these channels, of which the peer is taken for the owner; answered by frames of the client protocol.
    Presence {
        /// At most [`QUERY_CHANNELS_MAX`](crate::presence::QUERY_CHANNELS_MAX), each once.
        channels: Vec<ChannelName>,
        /// List who is there.
        occupants: bool,
        /// The node that the receiver is to ask, because the sender has no link to it.
        relay_to: Option<NodeName>,
    },
    /// On which channels a client is present at the peer.
    Where(ClientId),
}

impl PeerQuery {
    /// The frame with its length in front.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use proto::peer_query::Kind;
        let of = |kind: Kind| proto::PeerQuery { kind: kind.into(), ..Default::default() };
        delimited(&match self {
            Self::Channels => of(Kind::Channels),
            Self::Channel(channel) => proto::PeerQuery { channel: channel.to_string(), ..of(Kind::Channel) },
            Self::Sessions => of(Kind::Sessions),
            Self::Slo => of(Kind::Slo),
            Self::Presence { channels, occupants, relay_to } => {
                let channels = channels.iter().map(ToString::to_string).collect();
                let relay_to = relay_to.as_ref().map(ToString::to_string).unwrap_or_default();
                proto::PeerQuery { channels, occupants: *occupants, relay_to, ..of(Kind::Presence) }
            }
            Self::Where(client) => proto::PeerQuery { client_id: client.to_string(), ..of(Kind::Where) },
        })
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// The frame is not a question that this version knows.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        use proto::peer_query::Kind;
        let query = proto::PeerQuery::decode(frame).map_err(|_| malformed("a query does not decode"))?;
        match query.kind() {
            Kind::Channels => Ok(Self::Channels),
            Kind::Channel => ChannelName::parse(&query.channel).map(Self::Channel).map_err(bad_name),
            Kind::Sessions => Ok(Self::Sessions),
            Kind::Slo => Ok(Self::Slo),
            Kind::Presence => {
                let relay_to = match query.relay_to.as_str() {
                    "" => None,
                    name => Some(NodeName::parse(name).map_err(bad_name)?),
                };
                let channels = channels_of(&query.channels)?;
                Ok(Self::Presence { channels, occupants: query.occupants, relay_to })
            }
            Kind::Where => ClientId::parse(&query.client_id).map(Self::Where).map_err(bad_name),
            Kind::Unspecified => Err(malformed("a query that this version does not know")),
        }
    }

    /// The answer's frame: JSON of the admin endpoint.
    #[must_use]
    pub fn encode_answer(json: Bytes) -> Bytes {
        delimited(&proto::PeerAnswer { json, error: None })
    }

    /// Reads the answer, without its length.
    ///
    /// # Errors
    /// The frame is not an answer, or the peer refused.
    pub fn decode_answer(frame: Bytes) -> Result<Bytes, DecodeError> {
        let answer = proto::PeerAnswer::decode(frame).map_err(|_| malformed("an answer does not decode"))?;
        match answer.error {
            Some(error) => Err(DecodeError { request: 0, error: WireError::from_proto(error) }),
            None => Ok(answer.json),
        }
    }
}
