//! What a node tells its peers of itself: in its hello, on the control stream of each link, and as a membership broadcast.
//! Texts for people are made printable while they are read.

use bytes::Bytes;
use prost::Message as _;

use super::{bad_name, malformed};
use crate::error::{DecodeError, printable};
use crate::ids::{Life, ViewDigest};
use crate::limits::MEMBERS_MAX;
use crate::names::NodeName;
use crate::proto::peer as proto;

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

    pub(super) fn to_proto(&self) -> proto::NodeState {
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

    pub(super) fn from_proto(state: proto::NodeState) -> Result<Self, DecodeError> {
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
