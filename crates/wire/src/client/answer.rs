//! What a node sends back on a session's first stream: frames made by the node, decoded in the SDK. Texts for people are
//! made printable while they are read, so that a node cannot write to a client's terminal.

use bytes::Bytes;
use prost::Message;

use super::{AckLevel, PresenceAnswer, WhereAnswer, bad_name};
use crate::error::{DecodeError, WireError, printable};
use crate::frame::delimited;
use crate::ids::SessionId;
use crate::limits::MEMBERS_MAX;
use crate::names::{ClientId, NodeName, RegionName};
use crate::proto::{client as proto, types};

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
    /// The session is present, as it asked.
    EnterOk,
    /// The session is present there no more.
    LeaveOk,
    /// Who is there; more frames may follow.
    PresenceAnswer(PresenceAnswer),
    /// Where the client is; more frames may follow.
    WhereAnswer(WhereAnswer),
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
            ServerBody::EnterOk => Body::EnterOk(proto::EnterOk {}),
            ServerBody::LeaveOk => Body::LeaveOk(proto::LeaveOk {}),
            ServerBody::PresenceAnswer(answer) => Body::PresenceAnswer(answer.to_proto()),
            ServerBody::WhereAnswer(answer) => Body::WhereAnswer(answer.to_proto()),
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
            Body::EnterOk(_) => ServerBody::EnterOk,
            Body::LeaveOk(_) => ServerBody::LeaveOk,
            Body::PresenceAnswer(answer) => ServerBody::PresenceAnswer(PresenceAnswer::from_proto(answer)?),
            Body::WhereAnswer(answer) => ServerBody::WhereAnswer(WhereAnswer::from_proto(&answer)?),
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
    list.iter().take(MEMBERS_MAX).map(entry_point).collect::<Result<_, _>>().map_err(bad_name)
}
