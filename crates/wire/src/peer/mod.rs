//! The frames between nodes, `farwire-peer/1`, as checked types, and the envelope of SWIM messages on `farwire-ctl/1`.
//! Bytes in, checked values out; what is sent when is for the node to know.

mod messages;
mod presence;
mod query;
mod state;

use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;

use crate::error::{DecodeError, ErrorCode, WireError};
use crate::frame::delimited;
use crate::ids::{Life, MeshId, ViewDigest};
use crate::names::{NameError, NodeName, RegionName};
use crate::pattern::Pattern;
use crate::proto::peer as proto;

pub use messages::{Messages, Step, StreamKind};
pub use presence::{Addressed, Relayed};
pub use query::PeerQuery;
pub use state::{Forgotten, LinkState, NodeState};

/// The ALPN of links.
pub const PEER_ALPN: &[u8] = b"farwire-peer/1";
/// The ALPN of membership.
pub const CONTROL_ALPN: &[u8] = b"farwire-ctl/1";

/// Version of the envelope around SWIM messages.
const SWIM_VERSION: u8 = 1;

/// A frame on the control stream of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerFrame {
    /// The first frame of both sides.
    Hello(PeerHello),
    /// What may change while a node runs.
    State(NodeState),
    /// A change of the sender's wish for volatile messages.
    Interest(Interest),
    /// The receiver acts on the interest of this version.
    InterestAck(u64),
    /// The sender leaves on purpose.
    Leaving,
    /// To a relay: for a node that the sender has no link to.
    Relay {
        /// Who it is for.
        to: NodeName,
        /// What is passed on.
        frame: RelayFrame,
    },
    /// From a relay: of a node that the receiver has no link to.
    Relayed {
        /// Who sent it.
        from: NodeName,
        /// What was passed on.
        frame: RelayFrame,
    },
    /// A sign of life, with the newest one of the receiver that the sender has seen.
    Ping {
        /// Grows by one with each ping of the link.
        number: u64,
        /// The newest number of the other side; 0 before the first.
        seen: u64,
    },
    /// The view that the sender acts on, in answer to messages that came under another one.
    ViewAnswer(ViewDigest),
    /// The link is about to be closed, for this reason.
    Error(WireError),
}

/// What two nodes without a link send each other through a third.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayFrame {
    /// As [`PeerFrame::Interest`].
    Interest(Interest),
    /// As [`PeerFrame::InterestAck`].
    InterestAck(u64),
}

/// Who a peer is and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerHello {
    /// Protocol versions that the peer speaks.
    pub versions: RangeInclusive<u32>,
    /// Its mesh.
    pub mesh: MeshId,
    /// Its name: that of its certificate.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// Its run.
    pub life: Life,
    /// Its state at this moment.
    pub state: NodeState,
}

/// A change of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interest {
    /// Grows by one with each frame of the link.
    pub version: u64,
    /// The view under which the sender chose whom to tell.
    pub view: ViewDigest,
    /// Replaces all that was told before.
    pub whole: bool,
    /// New patterns; plain channels are patterns, too.
    pub add: Vec<Pattern>,
    /// Patterns that are no longer wanted.
    pub remove: Vec<Pattern>,
}

impl PeerFrame {
    /// The frame with its length in front.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use proto::peer_frame::Body;
        let body = match self {
            Self::Hello(hello) => Body::Hello(proto::PeerHello {
                version_min: *hello.versions.start(),
                version_max: *hello.versions.end(),
                mesh: hello.mesh.0,
                node: hello.node.to_string(),
                region: hello.region.to_string(),
                life: hello.life.0,
                state: Some(hello.state.to_proto()),
            }),
            Self::State(state) => Body::State(state.to_proto()),
            Self::Interest(interest) => Body::Interest(interest.to_proto()),
            Self::InterestAck(version) => Body::InterestAck(proto::InterestAck { version: *version }),
            Self::Leaving => Body::Leaving(proto::Leaving::default()),
            Self::Relay { to, frame } => Body::Relay(frame.to_proto(to)),
            Self::Relayed { from, frame } => Body::Relayed(frame.to_proto(from)),
            Self::Ping { number, seen } => Body::Ping(proto::Ping { number: *number, seen: *seen }),
            Self::ViewAnswer(view) => Body::ViewAnswer(proto::ViewAnswer { view: view.0 }),
            Self::Error(error) => Body::Error(error.to_proto()),
        };
        delimited(&proto::PeerFrame { body: Some(body) })
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// The peer broke the protocol: close the link with the error's code.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        use proto::peer_frame::Body;
        let frame = proto::PeerFrame::decode(frame).map_err(|_| malformed("a frame does not decode"))?;
        match frame.body.ok_or_else(|| malformed("a frame without a body that this version knows"))? {
            Body::Hello(hello) => hello_of(hello).map(Self::Hello),
            Body::State(state) => NodeState::from_proto(state).map(Self::State),
            Body::Interest(interest) => Interest::from_proto(&interest).map(Self::Interest),
            Body::InterestAck(ack) => Ok(Self::InterestAck(ack.version)),
            Body::Leaving(_) => Ok(Self::Leaving),
            Body::Relay(relay) => relay_of(relay).map(|(to, frame)| Self::Relay { to, frame }),
            Body::Relayed(relay) => relay_of(relay).map(|(from, frame)| Self::Relayed { from, frame }),
            Body::Ping(ping) => Ok(Self::Ping { number: ping.number, seen: ping.seen }),
            Body::ViewAnswer(answer) => Ok(Self::ViewAnswer(ViewDigest(answer.view))),
            Body::Error(error) => Ok(Self::Error(WireError::from_proto(error))),
        }
    }
}

impl Interest {
    fn to_proto(&self) -> proto::Interest {
        proto::Interest {
            version: self.version,
            view: self.view.0,
            whole: self.whole,
            add: self.add.iter().map(ToString::to_string).collect(),
            remove: self.remove.iter().map(ToString::to_string).collect(),
        }
    }

    fn from_proto(interest: &proto::Interest) -> Result<Self, DecodeError> {
        Ok(Self {
            version: interest.version,
            view: ViewDigest(interest.view),
            whole: interest.whole,
            add: patterns_of(&interest.add)?,
            remove: patterns_of(&interest.remove)?,
        })
    }
}

impl RelayFrame {
    fn to_proto(&self, node: &NodeName) -> proto::Relay {
        let body = match self {
            Self::Interest(interest) => proto::relay::Body::Interest(interest.to_proto()),
            Self::InterestAck(version) => proto::relay::Body::InterestAck(proto::InterestAck { version: *version }),
        };
        proto::Relay { node: node.to_string(), body: Some(body) }
    }
}

fn relay_of(relay: proto::Relay) -> Result<(NodeName, RelayFrame), DecodeError> {
    let node = NodeName::parse(&relay.node).map_err(bad_name)?;
    let frame = match relay.body.ok_or_else(|| malformed("a relay without a body that this version knows"))? {
        proto::relay::Body::Interest(interest) => RelayFrame::Interest(Interest::from_proto(&interest)?),
        proto::relay::Body::InterestAck(ack) => RelayFrame::InterestAck(ack.version),
    };
    Ok((node, frame))
}

fn hello_of(hello: proto::PeerHello) -> Result<PeerHello, DecodeError> {
    let state = hello.state.ok_or_else(|| malformed("a hello without a state"))?;
    if hello.version_min > hello.version_max {
        return Err(malformed("the hello's smallest version is above its largest"));
    }
    Ok(PeerHello {
        versions: hello.version_min..=hello.version_max,
        mesh: MeshId(hello.mesh),
        node: NodeName::parse(&hello.node).map_err(bad_name)?,
        region: RegionName::parse(&hello.region).map_err(bad_name)?,
        life: Life(hello.life),
        state: NodeState::from_proto(state)?,
    })
}

fn patterns_of(texts: &[String]) -> Result<Vec<Pattern>, DecodeError> {
    texts.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>().map_err(bad_name)
}

/// Puts a SWIM message into its envelope.
#[must_use]
pub fn swim_envelope(mesh: MeshId, swim: &[u8]) -> Bytes {
    let mut envelope = BytesMut::with_capacity(swim.len() + 9);
    envelope.put_u8(SWIM_VERSION);
    envelope.put_u64(mesh.0);
    envelope.put_slice(swim);
    envelope.freeze()
}

/// Takes a SWIM message out of its envelope.
///
/// # Errors
/// Another version or another mesh.
pub fn open_swim_envelope(mesh: MeshId, mut envelope: Bytes) -> Result<Bytes, DecodeError> {
    if envelope.len() < 9 {
        return Err(malformed("a SWIM message without its envelope"));
    }
    if envelope.get_u8() != SWIM_VERSION {
        let message = "the peer speaks another version of membership: run the same release";
        return Err(DecodeError::new(0, ErrorCode::UnsupportedVersion, message));
    }
    if envelope.get_u64() != mesh.0 {
        return Err(DecodeError::new(0, ErrorCode::MeshMismatch, "the peer belongs to another mesh"));
    }
    Ok(envelope)
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::malformed(what)
}

fn bad_name(error: NameError) -> DecodeError {
    DecodeError::new(0, ErrorCode::BadChannel, error.to_string())
}
