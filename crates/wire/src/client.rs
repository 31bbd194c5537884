//! The frames of the client protocol, `farwire/1`, as checked types.

use std::ops::RangeInclusive;

use bytes::Bytes;
use prost::Message;

use crate::entry::Entry;
use crate::error::{DecodeError, ErrorCode, WireError, printable};
use crate::frame::delimited;
use crate::ids::{Instance, PublisherId, SessionId};
use crate::limits::{AGENT_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::names::{ChannelName, ClientId, NameError, NodeName, RegionName};
use crate::pattern::{Filter, Pattern};
use crate::proto::{client as proto, types};

/// The ALPN of the client protocol.
pub const CLIENT_ALPN: &[u8] = b"farwire/1";

/// How far a publish got before it was acked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AckLevel {
    /// On its way to the channel's owner; it may be lost.
    Volatile,
    /// Committed by the majority of the region's replicas.
    Region,
    /// Imported and committed in another region, too.
    Geo,
}

impl AckLevel {
    fn to_proto(self) -> proto::AckLevel {
        match self {
            Self::Volatile => proto::AckLevel::Volatile,
            Self::Region => proto::AckLevel::Region,
            Self::Geo => proto::AckLevel::Geo,
        }
    }

    fn from_proto(level: i32) -> Result<Option<Self>, DecodeError> {
        match proto::AckLevel::try_from(level) {
            Ok(proto::AckLevel::Unspecified) => Ok(None),
            Ok(proto::AckLevel::Volatile) => Ok(Some(Self::Volatile)),
            Ok(proto::AckLevel::Region) => Ok(Some(Self::Region)),
            Ok(proto::AckLevel::Geo) => Ok(Some(Self::Geo)),
            Err(_) => Err(DecodeError::malformed("an ack level that this version does not know")),
        }
    }
}

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
    })
}

fn publish_of(publish: proto::Publish) -> Result<Publish, DecodeError> {
    if publish.payload.len() > PAYLOAD_BYTES_MAX {
        let message = "the payload is above 65,536 bytes: split it, or store it elsewhere and publish where";
        return Err(DecodeError::new(0, ErrorCode::FrameTooLarge, message));
    }
    Ok(Publish {
        channel: ChannelName::parse(&publish.channel).map_err(bad_name)?,
        payload: publish.payload,
        publisher: PublisherId(publish.publisher),
        number: publish.number,
        count: publish.count,
        level: AckLevel::from_proto(publish.level)?,
    })
}

fn filter_of(patterns: &[String]) -> Result<Filter, DecodeError> {
    if patterns.len() > crate::pattern::FILTER_PATTERNS_MAX {
        return Err(DecodeError::new(0, ErrorCode::BadChannel, "more than 16 patterns in one subscription"));
    }
    let patterns: Result<Vec<_>, _> = patterns.iter().map(|text| Pattern::parse(text)).collect();
    patterns.and_then(Filter::new).map_err(bad_name)
}

fn bad_name(error: NameError) -> DecodeError {
    DecodeError::new(0, ErrorCode::BadChannel, error.to_string())
}

/// What a node sends back on the session's first stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFrame {
    /// The request answered; 0 where none was.
    pub request: u64,
    /// The answer itself.
    pub body: ServerBody,
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerBody {
    /// The session stands.
    Welcome(Welcome),
    /// Every publish from `first` to the frame's request has reached `level`.
    PublishAck {
        /// The first request acked.
        first: u64,
        /// How far they got.
        level: AckLevel,
    },
    /// The subscription is in force, but for these regions.
    SubscribeOk {
        /// Regions that did not confirm in time.
        pending_regions: Vec<RegionName>,
    },
    /// The subscription has ended.
    UnsubscribeOk,
    /// The request was refused; without a request, the session is.
    Error(WireError),
    /// Reconnect elsewhere.
    GoAway(GoAway),
    /// The entry points have changed.
    EntryList(Vec<EntryPoint>),
}

/// What a client learns on arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The version in force.
    pub version: u32,
    /// The session.
    pub session: SessionId,
    /// The mesh's name.
    pub mesh: String,
    /// The node that took the session.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// The token's client id.
    pub client_id: ClientId,
    /// What the session may do.
    pub limits: SessionLimits,
    /// Every node that takes clients.
    pub entry_points: Vec<EntryPoint>,
}

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Largest payload.
    pub payload_bytes_max: u32,
    /// Most subscriptions at a time.
    pub subscriptions_max: u32,
    /// Most publishes sent and not yet acked.
    pub publishes_in_flight_max: u32,
}

/// A node that takes clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPoint {
    /// Its name.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// `host:port` of its client port.
    pub address: String,
}

/// The node is about to end the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoAway {
    /// Not before.
    pub retry_after_ms: u32,
    /// After a random share of this on top.
    pub jitter_ms: u32,
    /// Where to go.
    pub alternatives: Vec<EntryPoint>,
    /// Why, for people.
    pub reason: String,
}

impl ServerFrame {
    /// The frame with its length in front.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use proto::server_frame::Body;
        let body = match &self.body {
            ServerBody::Welcome(welcome) => Body::Welcome(welcome_to_proto(welcome)),
            ServerBody::PublishAck { first, level } => {
                Body::PublishAck(proto::PublishAck { first: *first, level: level.to_proto().into() })
            }
            ServerBody::SubscribeOk { pending_regions } => Body::SubscribeOk(proto::SubscribeOk {
                pending_regions: pending_regions.iter().map(ToString::to_string).collect(),
            }),
            ServerBody::UnsubscribeOk => Body::UnsubscribeOk(proto::UnsubscribeOk {}),
            ServerBody::Error(error) => Body::Error(error.to_proto()),
            ServerBody::GoAway(go_away) => Body::GoAway(proto::GoAway {
                retry_after_ms: go_away.retry_after_ms,
                jitter_ms: go_away.jitter_ms,
                alternatives: go_away.alternatives.iter().map(entry_point_to_proto).collect(),
                reason: go_away.reason.clone(),
            }),
            ServerBody::EntryList(list) => {
                Body::EntryList(proto::EntryList { entry_points: list.iter().map(entry_point_to_proto).collect() })
            }
        };
        delimited(&proto::ServerFrame { request: self.request, body: Some(body) })
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// The node broke the protocol.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        use proto::server_frame::Body;
        let frame = proto::ServerFrame::decode(frame).map_err(|_| DecodeError::malformed("a frame does not decode"))?;
        let body =
            frame.body.ok_or_else(|| DecodeError::malformed("a frame without a body that this version knows"))?;
        let body = match body {
            Body::Welcome(welcome) => ServerBody::Welcome(welcome_of(welcome)?),
            Body::PublishAck(ack) => ServerBody::PublishAck {
                first: ack.first,
                level: AckLevel::from_proto(ack.level)?
                    .ok_or_else(|| DecodeError::malformed("an ack without a level"))?,
            },
            Body::SubscribeOk(ok) => ServerBody::SubscribeOk {
                pending_regions: ok
                    .pending_regions
                    .iter()
                    .map(|r| RegionName::parse(r))
                    .collect::<Result<_, _>>()
                    .map_err(bad_name)?,
            },
            Body::UnsubscribeOk(_) => ServerBody::UnsubscribeOk,
            Body::Error(error) => ServerBody::Error(WireError::from_proto(error)),
            Body::GoAway(go_away) => ServerBody::GoAway(GoAway {
                retry_after_ms: go_away.retry_after_ms,
                jitter_ms: go_away.jitter_ms,
                alternatives: entry_points_of(&go_away.alternatives)?,
                reason: printable(&go_away.reason),
            }),
            Body::EntryList(list) => ServerBody::EntryList(entry_points_of(&list.entry_points)?),
        };
        Ok(Self { request: frame.request, body })
    }
}

fn welcome_to_proto(welcome: &Welcome) -> proto::Welcome {
    proto::Welcome {
        version: welcome.version,
        session: welcome.session.0,
        mesh: welcome.mesh.clone(),
        node: welcome.node.to_string(),
        region: welcome.region.to_string(),
        limits: Some(proto::Limits {
            payload_bytes_max: welcome.limits.payload_bytes_max,
            subscriptions_max: welcome.limits.subscriptions_max,
            publishes_in_flight_max: welcome.limits.publishes_in_flight_max,
        }),
        entry_points: welcome.entry_points.iter().map(entry_point_to_proto).collect(),
        client_id: welcome.client_id.to_string(),
    }
}

fn welcome_of(welcome: proto::Welcome) -> Result<Welcome, DecodeError> {
    let limits = welcome.limits.ok_or_else(|| DecodeError::malformed("a welcome without limits"))?;
    Ok(Welcome {
        version: welcome.version,
        session: SessionId(welcome.session),
        mesh: printable(&welcome.mesh),
        node: NodeName::parse(&welcome.node).map_err(bad_name)?,
        region: RegionName::parse(&welcome.region).map_err(bad_name)?,
        client_id: ClientId::parse(&welcome.client_id).map_err(bad_name)?,
        limits: SessionLimits {
            payload_bytes_max: limits.payload_bytes_max,
            subscriptions_max: limits.subscriptions_max,
            publishes_in_flight_max: limits.publishes_in_flight_max,
        },
        entry_points: entry_points_of(&welcome.entry_points)?,
    })
}

fn entry_point_to_proto(entry: &EntryPoint) -> types::EntryPoint {
    types::EntryPoint { node: entry.node.to_string(), region: entry.region.to_string(), address: entry.address.clone() }
}

fn entry_points_of(list: &[types::EntryPoint]) -> Result<Vec<EntryPoint>, DecodeError> {
    let entry_point = |entry: &types::EntryPoint| {
        Ok(EntryPoint {
            node: NodeName::parse(&entry.node)?,
            region: RegionName::parse(&entry.region)?,
            address: printable(&entry.address),
        })
    };
    list.iter().take(crate::limits::MEMBERS_MAX).map(entry_point).collect::<Result<_, _>>().map_err(bad_name)
}

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
