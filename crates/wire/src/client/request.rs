//! What a client sends: frames made by the SDK, decoded to checked requests at the node's border. A refusal carries the
//! number of its request. Whether the client may do what it asks is not decided here.

use std::ops::RangeInclusive;

use bytes::Bytes;
use prost::Message;

use super::presence::state_of;
use super::{AckLevel, bad_name};
use crate::error::{DecodeError, ErrorCode, printable};
use crate::frame::delimited;
use crate::ids::{Instance, PublisherId};
use crate::limits::{AGENT_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::names::{ChannelName, ClientId};
use crate::pattern::{FILTER_PATTERNS_MAX, Filter, Pattern};
use crate::presence::{PresenceState, channels_of};
use crate::proto::client as proto;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFrame {
    /// Grows by one with each frame of the session; answers carry it.
    pub request: u64,
    /// The request itself.
    pub body: ClientBody,
}

/// The requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientBody {
    /// The first frame: who is there.
    Hello(Hello),
    /// A message for a channel.
    Publish(Publish),
    /// Deliver what matches, until unsubscribed. The subscription's number is that of the request.
    Subscribe(Filter),
    /// End the subscription that the request with this number made.
    Unsubscribe(u64),
    /// Be present on a channel, or say something else of oneself there.
    Enter(Enter),
    /// Be present on a channel no more.
    Leave(ChannelName),
    /// Who is there?
    PresenceQuery(PresenceQuery),
    /// Where is this client present?
    WhereQuery(ClientId),
}

/// Who a client is and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions that the client speaks.
    pub versions: RangeInclusive<u32>,
    /// The signed right.
    pub token: String,
    /// When given, the token must carry the same.
    pub client_id: Option<ClientId>,
    /// The run of the client, kept over reconnects.
    pub instance: Instance,
    /// Name and version of the SDK.
    pub agent: String,
    /// How often this instance has said hello, this time included.
    pub connects: u32,
}

/// A session becomes present, or says something else of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enter {
    /// Where.
    pub channel: ChannelName,
    /// What it says.
    pub state: PresenceState,
}

/// Whose presence is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceQuery {
    /// 1–[`QUERY_CHANNELS_MAX`](crate::presence::QUERY_CHANNELS_MAX) channels, each once.
    pub channels: Vec<ChannelName>,
    /// List who is there.
    pub occupants: bool,
}

/// A message on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub channel: ChannelName,
    /// At most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Bytes,
    /// Who numbers the messages.
    pub publisher: PublisherId,
    /// Dense per publisher and channel, from 1.
    pub number: u64,
    /// Dense per instance over volatile publishes; datagrams count apart.
    pub count: u64,
    /// The wanted ack; `None`: the namespace's usual.
    pub level: Option<AckLevel>,
}

impl ClientFrame {
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

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// What to answer, and which request.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let frame = proto::ClientFrame::decode(frame).map_err(|_| DecodeError::malformed("a frame does not decode"))?;
        let request = frame.request;
        let body = frame.body.ok_or_else(|| DecodeError::malformed("a frame without a body that this version knows"));
        let body = body.and_then(|body| match body {
            proto::client_frame::Body::Hello(hello) => hello_of(hello).map(ClientBody::Hello),
            proto::client_frame::Body::Publish(publish) => publish_of(publish).map(ClientBody::Publish),
            proto::client_frame::Body::Subscribe(s) => filter_of(&s.patterns).map(ClientBody::Subscribe),
            proto::client_frame::Body::Unsubscribe(u) => Ok(ClientBody::Unsubscribe(u.subscription)),
            proto::client_frame::Body::Enter(enter) => enter_of(&enter).map(ClientBody::Enter),
            proto::client_frame::Body::Leave(leave) => channel_of(&leave.channel).map(ClientBody::Leave),
            proto::client_frame::Body::PresenceQuery(query) => query_of(&query).map(ClientBody::PresenceQuery),
            proto::client_frame::Body::WhereQuery(query) => {
                ClientId::parse(&query.client_id).map(ClientBody::WhereQuery).map_err(bad_name)
            }
        });
        match body {
            Ok(body) => Ok(Self { request, body }),
            Err(error) => Err(DecodeError { request, ..error }),
        }
    }

    fn to_proto(&self) -> proto::ClientFrame {
        let body = match &self.body {
            ClientBody::Hello(hello) => proto::client_frame::Body::Hello(proto::Hello {
                version_min: *hello.versions.start(),
                version_max: *hello.versions.end(),
                token: hello.token.clone(),
                client_id: hello.client_id.as_ref().map(ToString::to_string).unwrap_or_default(),
                instance: hello.instance.0,
                agent: hello.agent.clone(),
                connects: hello.connects,
            }),
            ClientBody::Publish(publish) => proto::client_frame::Body::Publish(proto::Publish {
                channel: publish.channel.as_str().to_owned(),
                payload: publish.payload.clone(),
                publisher: publish.publisher.0,
                number: publish.number,
                count: publish.count,
                level: publish.level.map_or(proto::AckLevel::Unspecified, AckLevel::to_proto).into(),
            }),
            ClientBody::Subscribe(filter) => proto::client_frame::Body::Subscribe(proto::Subscribe {
                patterns: filter.patterns().iter().map(ToString::to_string).collect(),
            }),
            ClientBody::Unsubscribe(subscription) => {
                proto::client_frame::Body::Unsubscribe(proto::Unsubscribe { subscription: *subscription })
            }
            ClientBody::Enter(enter) => proto::client_frame::Body::Enter(proto::Enter {
                channel: enter.channel.to_string(),
                state: enter.state.json().unwrap_or_default().to_owned(),
            }),
            ClientBody::Leave(channel) => {
                proto::client_frame::Body::Leave(proto::Leave { channel: channel.to_string() })
            }
            ClientBody::PresenceQuery(query) => proto::client_frame::Body::PresenceQuery(proto::PresenceQuery {
                channels: query.channels.iter().map(ToString::to_string).collect(),
                occupants: query.occupants,
            }),
            ClientBody::WhereQuery(client) => {
                proto::client_frame::Body::WhereQuery(proto::WhereQuery { client_id: client.to_string() })
            }
        };
        proto::ClientFrame { request: self.request, body: Some(body) }
    }
}

fn hello_of(hello: proto::Hello) -> Result<Hello, DecodeError> {
    let client_id = match hello.client_id.as_str() {
        "" => None,
        text => Some(ClientId::parse(text).map_err(bad_name)?),
    };
    if hello.version_min > hello.version_max {
        return Err(DecodeError::malformed("the hello's smallest version is above its largest"));
    }
    Ok(Hello {
        versions: hello.version_min..=hello.version_max,
        token: hello.token,
        client_id,
        instance: Instance(hello.instance),
        agent: printable(&hello.agent).chars().take(AGENT_BYTES_MAX).collect(),
        connects: hello.connects,
    })
}

fn enter_of(enter: &proto::Enter) -> Result<Enter, DecodeError> {
    Ok(Enter { channel: channel_of(&enter.channel)?, state: state_of(&enter.state)? })
}

fn query_of(query: &proto::PresenceQuery) -> Result<PresenceQuery, DecodeError> {
    let channels = channels_of(&query.channels)?;
    if channels.is_empty() {
        return Err(DecodeError::malformed("a presence query without a channel"));
    }
    Ok(PresenceQuery { channels, occupants: query.occupants })
}

fn channel_of(text: &str) -> Result<ChannelName, DecodeError> {
    ChannelName::parse(text).map_err(bad_name)
}

fn publish_of(publish: proto::Publish) -> Result<Publish, DecodeError> {
    if publish.payload.len() > PAYLOAD_BYTES_MAX {
        let message = "the payload is above 65,536 bytes: split it, or store it elsewhere and publish where";
        return Err(DecodeError::new(0, ErrorCode::FrameTooLarge, message));
    }
    Ok(Publish {
        channel: channel_of(&publish.channel)?,
        payload: publish.payload,
        publisher: PublisherId(publish.publisher),
        number: publish.number,
        count: publish.count,
        level: AckLevel::from_proto(publish.level)?,
    })
}

fn filter_of(patterns: &[String]) -> Result<Filter, DecodeError> {
    if patterns.len() > FILTER_PATTERNS_MAX {
        return Err(DecodeError::new(0, ErrorCode::BadChannel, "more than 16 patterns in one subscription"));
    }
    let patterns: Result<Vec<_>, _> = patterns.iter().map(|text| Pattern::parse(text)).collect();
    patterns.and_then(Filter::new).map_err(bad_name)
}
