//! What a node answers who asks for a channel's presence: the sums, how fresh each region's part is, and who is there.

use std::collections::BTreeMap;
use std::time::Duration;

use farwire_wire::names::{ChannelName, RegionName};

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

    /// Whether every region in reach has told its part of the channel since `since`.
    #[must_use]
    pub fn is_current(&self, mesh: &impl Mesh, name: &ChannelName, since: Duration) -> bool {
        let slot = mesh.slot(name);
        let others = self.lives.regions().into_iter().filter(|region| **region != self.region);
        others
            .filter_map(|region| self.owner_in(region, slot))
            .all(|owner| self.feeds.heard(&owner).is_some_and(|at| at >= since))
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
        let as_of = if *region == self.region {
            Some(now)
        } else {
            let owner = self.owner_in(region, mesh.slot(name));
            let by_owner = owner.and_then(|owner| self.feeds.heard(&owner));
            by_owner.or_else(|| self.lives.nodes_of(region).filter_map(|node| self.feeds.heard(node)).max())
        };
        RegionAnswer { occupancy: if reachable { counted } else { channel.hidden_occupancy(region) }, as_of, reachable }
    }
}
