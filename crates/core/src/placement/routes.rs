//! Who owns each slot right now: a view plus who this node can reach, worked out in advance so that the hot path is one
//! array read. It does not change; a new one replaces it.
//!
//! Invariant: an owner is reachable and is the first reachable node of its slot's walk. Made by
//! [`Placement`](super::Placement) when the view or the reach changes; read by routers through a shared pointer.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use farwire_wire::ids::Slot;
use farwire_wire::names::NodeName;

use super::view::{MemberIndex, RegionIndex, View};

/// The owners in force: a [`View`] and who can be reached from here, worked out for every slot and region.
pub struct Routes {
    view: Arc<View>,
    reachable: Box<[bool]>,
    /// One row per slot, one column per region.
    owners: Box<[Option<MemberIndex>]>,
}

impl Routes {
    /// The routes in `view` for a node that can reach `reachable` (itself among them). Costs one step per slot and
    /// region, and more where first choices are out of reach.
    #[must_use]
    pub fn new(view: Arc<View>, reachable: &BTreeSet<NodeName>) -> Self {
        let reachable: Box<[bool]> = view.members().iter().map(|member| reachable.contains(&member.name)).collect();
        let first_reachable = |walk: &[MemberIndex]| walk.iter().copied().find(|node| reachable[node.index()]);
        let owners = Slot::all()
            .flat_map(|slot| view.region_indexes().map(move |region| (region, slot)))
            .map(|(region, slot)| first_reachable(view.slot_walk(region, slot)))
            .collect();
        Self { view, reachable, owners }
    }

    /// The view that these routes are made of.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Whether this node has a live link to the member, or is it.
    #[must_use]
    pub fn is_reachable(&self, member: MemberIndex) -> bool {
        self.reachable.get(member.index()).copied().unwrap_or(false)
    }

    /// The slot's owner in the region: the first reachable node of its walk. `None` when no node of the region can be
    /// reached from here.
    #[must_use]
    pub fn owner(&self, region: RegionIndex, slot: Slot) -> Option<MemberIndex> {
        self.row(slot).get(region.index()).copied().flatten()
    }

    /// The slot's owner in every region that can be reached from here, in order of region.
    pub fn owners_of(&self, slot: Slot) -> impl Iterator<Item = (RegionIndex, MemberIndex)> {
        self.view.region_indexes().zip(self.row(slot)).filter_map(|(region, owner)| Some((region, (*owner)?)))
    }

    fn row(&self, slot: Slot) -> &[Option<MemberIndex>] {
        let regions = self.view.regions().len();
        &self.owners[slot.index() * regions..(slot.index() + 1) * regions]
    }
}

/// Leaves the owners out: they follow from the view and the reach.
impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.view.members().iter().zip(&self.reachable);
        let reachable: Vec<_> = members.filter(|(_, reachable)| **reachable).map(|(member, _)| &member.name).collect();
        f.debug_struct("Routes")
            .field("view", &self.view.digest())
            .field("reachable", &reachable)
            .finish_non_exhaustive()
    }
}
