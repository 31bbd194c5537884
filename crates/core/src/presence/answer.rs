//! What a node answers who asks for a channel's presence: the sums, how fresh each region's part is, and who is there.

use std::collections::BTreeMap;
use std::time::Duration;

use farwire_wire::names::{ChannelName, ClientId, NodeName, RegionName};

use super::{Mesh, Presence};
use crate::presence::channel::{Channel, Listed};

/// A channel's presence, as its owner in one region sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Sessions, over the regions that can be reached.
    pub occupancy: u64,
    /// Distinct clients among them.
    pub clients: u64,
    /// Region by region.
    pub regions: BTreeMap<RegionName, RegionAnswer>,
}

/// One region's part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionAnswer {
    /// Sessions there; of a region out of sight, the last that was heard, which the total leaves out.
    pub occupancy: u64,
    /// When the region was last known to be as told; `None` if it never was.
    pub as_of: Option<Duration>,
    /// Whether any of its nodes can be reached.
    pub reachable: bool,
}

/// How much a node keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Stays of its own sessions, over all channels.
    pub stays_here: u64,
    /// Channels that it answers for.
    pub channels_owned: usize,
}

impl Presence {
    /// How many are on a channel that this node owns. Costs a step per region and writer.
    #[must_use]
    pub fn answer(&self, now: Duration, mesh: &impl Mesh, name: &ChannelName) -> Answer {
        let nobody = Channel::default();
        let channel = self.owned.get(name).map_or(&nobody, |owned| &owned.channel);
        let regions = self.lives.regions().into_iter();
        Answer {
            occupancy: channel.occupancy(),
            clients: channel.clients(),
            regions: regions
                .map(|region| (region.clone(), self.region_answer(now, mesh, name, channel, region)))
                .collect(),
        }
    }

    /// Who is on a channel that this node owns, by client id.
    pub fn listed(&self, name: &ChannelName) -> impl Iterator<Item = Listed> {
        self.owned.get(name).into_iter().flat_map(|owned| owned.channel.listed())
    }

    /// The channels that a client is on at this node, and since when, in microseconds since the epoch.
    pub fn places(&self, client: &ClientId) -> impl Iterator<Item = (&ChannelName, u64)> {
        self.local.places(client)
    }

    /// Whether this node answers for a channel in its region.
    #[must_use]
    pub fn owns_channel(&self, mesh: &impl Mesh, name: &ChannelName) -> bool {
        self.owner_here(mesh.slot(name)).is_some_and(|owner| owner == self.local.writer().node)
    }

    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { stays_here: self.local.stays(), channels_owned: self.owned.len() }
    }

    fn region_answer(
        &self,
        now: Duration,
        mesh: &impl Mesh,
        name: &ChannelName,
        channel: &Channel,
        region: &RegionName,
    ) -> RegionAnswer {
        let reachable = self.lives.is_in_sight(region);
        let counted = channel.occupancy_by_region().get(region).copied().unwrap_or(0);
        let owned = self.owned.get(name);
        let fetched = owned.and_then(|owned| owned.known.get(region).copied());
        let heard = |node: &NodeName| self.feeds.heard(node).max(fetched);
        let as_of = if *region == self.region {
            let is_known = owned.is_none_or(|owned| !owned.is_silent());
            is_known.then_some(now)
        } else {
            let owner = self.owner_in(region, mesh.slot(name));
            owner.and_then(|owner| heard(&owner)).or_else(|| self.lives.nodes_of(region).filter_map(heard).max())
        };
        RegionAnswer { occupancy: if reachable { counted } else { channel.hidden_occupancy(region) }, as_of, reachable }
    }
}
