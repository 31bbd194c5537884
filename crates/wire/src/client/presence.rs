//! Presence for clients: the answers to queries, and the events that come as messages on channels of the mesh's own.
//! Frames are made by the node and decoded in the SDK; nodes pass answers to each other in the same form.

use bytes::Bytes;
use prost::Message;

use super::bad_name;
use crate::error::{DecodeError, printable};
use crate::limits::MEMBERS_MAX;
use crate::names::{ChannelName, ClientId, NodeName, RegionName};
use crate::presence::{PresenceEvent, PresenceState};
use crate::proto::client as proto;

/// Who is on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPresence {
    /// Which channel.
    pub channel: ChannelName,
    /// Sessions that are present, over the regions that can be reached.
    pub occupancy: u64,
    /// Distinct clients among them.
    pub clients: u64,
    /// Every region of the mesh.
    pub regions: Vec<RegionPresence>,
    /// Who is there, by client id; only if asked for.
    pub occupants: Vec<ListedOccupant>,
}

/// How many are on a channel in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionPresence {
    /// Which region.
    pub region: RegionName,
    /// Sessions there; of a region that cannot be reached, what was last heard, which the sums leave out.
    pub occupancy: u64,
    /// Until when this is known to be right, in microseconds since the epoch; `None` if nothing was ever heard.
    pub as_of_us: Option<u64>,
    /// Whether any of its nodes can be reached.
    pub reachable: bool,
}

/// A client that is on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOccupant {
    /// Who.
    pub client: ClientId,
    /// What it says of itself; of several sessions the newest word.
    pub state: PresenceState,
    /// The node with the session that spoke last.
    pub node: NodeName,
    /// When its first session entered, in microseconds since the epoch.
    pub since_us: u64,
}

/// A frame of the answer to a presence query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceAnswer {
    /// In the order of the query. A channel whose occupants do not fit comes again in the next frame, with the rest.
    pub channels: Vec<ChannelPresence>,
    /// Another frame follows.
    pub more: bool,
}

/// A channel on which a client is present.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which channel.
    pub channel: ChannelName,
    /// The node that has its session.
    pub node: NodeName,
    /// The region of that node.
    pub region: RegionName,
    /// When the session entered, in microseconds since the epoch.
    pub since_us: u64,
}

/// A frame of the answer to where a client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhereAnswer {
    /// Channels of which the asker may see presence.
    pub places: Vec<Place>,
    /// Another frame follows.
    pub more: bool,
    /// Nodes that could not be asked: the client may be there, too.
    pub unreachable: Vec<NodeName>,
}

impl PresenceAnswer {
    /// Adds the frame to the channels of those before it: a channel that comes again brings more occupants.
    pub fn join_to(self, joined: &mut Vec<ChannelPresence>) {
        for part in self.channels {
            match joined.last_mut().filter(|last| last.channel == part.channel) {
                Some(last) => last.occupants.extend(part.occupants),
                None => joined.push(part),
            }
        }
    }

    pub(super) fn to_proto(&self) -> proto::PresenceAnswer {
        let region = |region: &RegionPresence| proto::RegionPresence {
            region: region.region.to_string(),
            occupancy: region.occupancy,
            as_of_us: region.as_of_us.unwrap_or(0),
            reachable: region.reachable,
        };
        let occupant = |occupant: &ListedOccupant| proto::Occupant {
            client_id: occupant.client.to_string(),
            state: occupant.state.json().unwrap_or_default().to_owned(),
            node: occupant.node.to_string(),
            since_us: occupant.since_us,
        };
        let channel = |channel: &ChannelPresence| proto::ChannelPresence {
            channel: channel.channel.to_string(),
            occupancy: channel.occupancy,
            clients: channel.clients,
            regions: channel.regions.iter().map(region).collect(),
            occupants: channel.occupants.iter().map(occupant).collect(),
        };
        proto::PresenceAnswer { channels: self.channels.iter().map(channel).collect(), more: self.more }
    }

    pub(super) fn from_proto(answer: proto::PresenceAnswer) -> Result<Self, DecodeError> {
        let channels = answer.channels.into_iter().map(channel_of).collect::<Result<_, _>>()?;
        Ok(Self { channels, more: answer.more })
    }
}

fn channel_of(channel: proto::ChannelPresence) -> Result<ChannelPresence, DecodeError> {
    let region = |region: &proto::RegionPresence| {
        Ok(RegionPresence {
            region: RegionName::parse(&region.region)?,
            occupancy: region.occupancy,
            as_of_us: (region.as_of_us != 0).then_some(region.as_of_us),
            reachable: region.reachable,
        })
    };
    Ok(ChannelPresence {
        channel: ChannelName::parse(&channel.channel).map_err(bad_name)?,
        occupancy: channel.occupancy,
        clients: channel.clients,
        regions: channel.regions.iter().take(MEMBERS_MAX).map(region).collect::<Result<_, _>>().map_err(bad_name)?,
        occupants: channel.occupants.into_iter().map(occupant_of).collect::<Result<_, _>>()?,
    })
}

fn occupant_of(occupant: proto::Occupant) -> Result<ListedOccupant, DecodeError> {
    Ok(ListedOccupant {
        client: ClientId::parse(&occupant.client_id).map_err(bad_name)?,
        state: state_of(&occupant.state)?,
        node: NodeName::parse(&occupant.node).map_err(bad_name)?,
        since_us: occupant.since_us,
    })
}

impl WhereAnswer {
    pub(super) fn to_proto(&self) -> proto::WhereAnswer {
        let place = |place: &Place| proto::Place {
            channel: place.channel.to_string(),
            node: place.node.to_string(),
            region: place.region.to_string(),
            since_us: place.since_us,
        };
        proto::WhereAnswer {
            places: self.places.iter().map(place).collect(),
            more: self.more,
            unreachable: self.unreachable.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn from_proto(answer: &proto::WhereAnswer) -> Result<Self, DecodeError> {
        let place = |place: &proto::Place| {
            Ok(Place {
                channel: ChannelName::parse(&place.channel)?,
                node: NodeName::parse(&place.node)?,
                region: RegionName::parse(&place.region)?,
                since_us: place.since_us,
            })
        };
        let unreachable = answer.unreachable.iter().take(MEMBERS_MAX).map(|node| NodeName::parse(node));
        Ok(Self {
            places: answer.places.iter().map(place).collect::<Result<_, _>>().map_err(bad_name)?,
            more: answer.more,
            unreachable: unreachable.collect::<Result<_, _>>().map_err(bad_name)?,
        })
    }
}

pub(super) fn state_of(text: &str) -> Result<PresenceState, DecodeError> {
    PresenceState::parse(text).map_err(|error| DecodeError::malformed(&error.to_string()))
}

impl PresenceEvent {
    /// The payload of the message that tells it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use proto::presence_event::Kind;
        let single = |kind: Kind, client: &ClientId, occupancy: &u64| proto::PresenceEvent {
            kind: kind.into(),
            client_id: client.to_string(),
            occupancy: *occupancy,
            ..Default::default()
        };
        let with_state = |state: &PresenceState, event: proto::PresenceEvent| proto::PresenceEvent {
            state: state.json().unwrap_or_default().to_owned(),
            ..event
        };
        let event = match self {
            Self::Join { client, state, occupancy } => with_state(state, single(Kind::Join, client, occupancy)),
            Self::Leave { client, occupancy } => single(Kind::Leave, client, occupancy),
            Self::Timeout { client, occupancy } => single(Kind::Timeout, client, occupancy),
            Self::State { client, state, occupancy } => with_state(state, single(Kind::State, client, occupancy)),
            Self::Interval { occupancy, clients, joined, left } => proto::PresenceEvent {
                kind: Kind::Interval.into(),
                occupancy: *occupancy,
                clients: *clients,
                joined: *joined,
                left: *left,
                ..Default::default()
            },
        };
        event.encode_to_vec().into()
    }

    /// Reads the payload of a message on a channel of presence.
    ///
    /// # Errors
    /// The payload is no event, or one of a kind that this version does not know.
    pub fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        use proto::presence_event::Kind;
        let event = proto::PresenceEvent::decode(payload)
            .map_err(|_| DecodeError::malformed("a presence event does not decode"))?;
        let client = || ClientId::parse(&event.client_id).map_err(bad_name);
        let occupancy = event.occupancy;
        match event.kind() {
            Kind::Join => Ok(Self::Join { client: client()?, state: state_of(&event.state)?, occupancy }),
            Kind::Leave => Ok(Self::Leave { client: client()?, occupancy }),
            Kind::Timeout => Ok(Self::Timeout { client: client()?, occupancy }),
            Kind::State => Ok(Self::State { client: client()?, state: state_of(&event.state)?, occupancy }),
            Kind::Interval => {
                let (clients, joined, left) = (event.clients, event.joined, event.left);
                Ok(Self::Interval { occupancy, clients, joined, left })
            }
            Kind::Unspecified => {
                let kind = printable(&event.kind.to_string());
                Err(DecodeError::malformed(&format!(
                    "a presence event of kind {kind}, which this version does not know"
                )))
            }
        }
    }
}
