//! The frames between nodes, `farwire-peer/1`, as checked types, and the envelope of SWIM messages on `farwire-ctl/1`.

use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;

use crate::error::{DecodeError, ErrorCode, WireError, printable};
use crate::frame::delimited;
use crate::ids::{Life, MeshId, ViewDigest};
use crate::limits::{HOPS_MAX, MEMBERS_MAX};
use crate::names::{ChannelName, NameError, NodeName, RegionName};
use crate::pattern::Pattern;
use crate::proto::peer as proto;

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

/// What a node tells about itself; the greatest (life's start, revision) is the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Whose state.
    pub node: NodeName,
    /// In which run.
    pub life: Life,
    /// Grows with each change in a life.
    pub revision: u64,
    /// `host:port` for clients; empty once it takes no more of them.
    pub client_address: String,
    /// The node's share of the ring.
    pub weight: u16,
    /// The release it runs.
    pub version: String,
    /// Sessions on it.
    pub sessions: u32,
    /// Its links.
    pub links: Vec<LinkState>,
    /// It is on its way out.
    pub leaving: bool,
    /// It wants to own nothing now.
    pub resting: bool,
    /// Members that the operator has said will not come back; at most [`MEMBERS_MAX`] are read.
    pub forgotten: Vec<Forgotten>,
}

/// A run of a node that is over for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// The node.
    pub node: NodeName,
    /// The newest run that is meant; later ones have a greater number.
    pub run: u64,
    /// When it was said, in microseconds since the Unix epoch.
    pub at_us: u64,
}

/// One link as one of its ends sees it; counts are since the link came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// The other end.
    pub peer: NodeName,
    /// Smoothed round trip in microseconds.
    pub rtt_us: u32,
    /// Packets that QUIC declared lost.
    pub lost_packets: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// UDP payload bytes sent.
    pub sent_bytes: u64,
    /// UDP payload bytes received.
    pub received_bytes: u64,
    /// The view that the other end acts on; `None` until it has told.
    pub view: Option<ViewDigest>,
    /// How often the link was lost and came back lately.
    pub flaps: u32,
    /// Nothing is heard over it.
    pub silent: bool,
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

/// A question to a peer, for the admin endpoint.
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

impl NodeState {
    /// The state as bytes, for a membership broadcast.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.to_proto().encode_to_vec().into()
    }

    /// Reads a state.
    ///
    /// # Errors
    /// The bytes are not a state.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let state = proto::NodeState::decode(bytes).map_err(|_| malformed("a node state does not decode"))?;
        Self::from_proto(state)
    }

    fn to_proto(&self) -> proto::NodeState {
        let link = |link: &LinkState| proto::LinkState {
            peer: link.peer.to_string(),
            rtt_us: link.rtt_us,
            lost_packets: link.lost_packets,
            sent_packets: link.sent_packets,
            sent_bytes: link.sent_bytes,
            received_bytes: link.received_bytes,
            view: link.view.map_or(0, |view| view.0),
            flaps: link.flaps,
            silent: link.silent,
        };
        let forgotten =
            |gone: &Forgotten| proto::Forgotten { node: gone.node.to_string(), run: gone.run, at_us: gone.at_us };
        proto::NodeState {
            node: self.node.to_string(),
            life: self.life.0,
            revision: self.revision,
            client_address: self.client_address.clone(),
            weight: self.weight.into(),
            version: self.version.clone(),
            sessions: self.sessions,
            links: self.links.iter().map(link).collect(),
            leaving: self.leaving,
            resting: self.resting,
            forgotten: self.forgotten.iter().map(forgotten).collect(),
        }
    }

    fn from_proto(state: proto::NodeState) -> Result<Self, DecodeError> {
        let link = |link: &proto::LinkState| {
            Ok(LinkState {
                peer: NodeName::parse(&link.peer)?,
                rtt_us: link.rtt_us,
                lost_packets: link.lost_packets,
                sent_packets: link.sent_packets,
                sent_bytes: link.sent_bytes,
                received_bytes: link.received_bytes,
                view: (link.view != 0).then_some(ViewDigest(link.view)),
                flaps: link.flaps,
                silent: link.silent,
            })
        };
        let forgotten = |gone: &proto::Forgotten| {
            Ok(Forgotten { node: NodeName::parse(&gone.node)?, run: gone.run, at_us: gone.at_us })
        };
        let forgotten = state.forgotten.iter().take(MEMBERS_MAX).map(forgotten).collect::<Result<_, _>>();
        Ok(Self {
            node: NodeName::parse(&state.node).map_err(bad_name)?,
            life: Life(state.life),
            revision: state.revision,
            client_address: printable(&state.client_address),
            weight: u16::try_from(state.weight).map_err(|_| malformed("a weight above 65,535"))?,
            version: printable(&state.version),
            sessions: state.sessions,
            links: state.links.iter().take(MEMBERS_MAX).map(link).collect::<Result<_, _>>().map_err(bad_name)?,
            leaving: state.leaving,
            resting: state.resting,
            forgotten: forgotten.map_err(bad_name)?,
        })
    }
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

impl PeerQuery {
    /// The frame with its length in front.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (kind, channel) = match self {
            Self::Channels => (proto::peer_query::Kind::Channels, String::new()),
            Self::Channel(channel) => (proto::peer_query::Kind::Channel, channel.to_string()),
            Self::Sessions => (proto::peer_query::Kind::Sessions, String::new()),
            Self::Slo => (proto::peer_query::Kind::Slo, String::new()),
        };
        delimited(&proto::PeerQuery { kind: kind.into(), channel })
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// The frame is not a question that this version knows.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let query = proto::PeerQuery::decode(frame).map_err(|_| malformed("a query does not decode"))?;
        match query.kind() {
            proto::peer_query::Kind::Channels => Ok(Self::Channels),
            proto::peer_query::Kind::Channel => ChannelName::parse(&query.channel).map(Self::Channel).map_err(bad_name),
            proto::peer_query::Kind::Sessions => Ok(Self::Sessions),
            proto::peer_query::Kind::Slo => Ok(Self::Slo),
            proto::peer_query::Kind::Unspecified => Err(malformed("a query that this version does not know")),
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
