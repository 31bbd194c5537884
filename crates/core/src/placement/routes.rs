//! Who owns each slot right now, and how everybody is reached: a view plus this node's reach, worked out in advance so that
//! the hot path is one array read. It does not change; a new one replaces it.
//!
//! Invariants: an owner is reachable; it is the first reachable node of its slot's walk that does not rest, or the first
//! one where all of them rest. Made by [`Placement`](super::Placement) when the view or the reach changes; read by routers
//! through a shared pointer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use farwire_wire::ids::Slot;
use farwire_wire::names::RegionName;

use super::reach::{Reach, Way};
use super::view::{MemberIndex, RegionIndex, View};

/// The owners in force: a [`View`] and who can be reached from here, worked out for every slot and region.
pub struct Routes {
    view: Arc<View>,
    reach: Reach,
    /// One row per slot, one column per region: who owns it, and who would if nobody rested.
    owners: Box<[Option<MemberIndex>]>,
    heirs: Box<[Option<MemberIndex>]>,
    /// By slot, since when the local node has owned it in its region.
    owned_since: Box<[Option<Duration>]>,
}

impl Routes {
    /// The routes in `view` of a node of region `here`, in force from `now` on after `before`. Costs one step per slot and
    /// region, and more where first choices are out of reach.
    pub(super) fn new(now: Duration, view: Arc<View>, reach: Reach, here: &RegionName, before: Option<&Self>) -> Self {
        let is_reached = |node: &MemberIndex| reach.ways[node.index()] != Way::None;
        let is_awake = |node: &MemberIndex| is_reached(node) && !reach.rests[node.index()];
        let first_reached = |walk: &[MemberIndex]| walk.iter().copied().find(is_reached);
        let first_awake = |walk: &[MemberIndex]| walk.iter().copied().find(is_awake);
        let walks = || Slot::all().flat_map(|slot| view.region_indexes().map(move |region| (region, slot)));
        let heirs: Box<[_]> = walks().map(|(region, slot)| first_reached(view.slot_walk(region, slot))).collect();
        let owners = walks().zip(&heirs).map(|((region, slot), heir)| match heir {
            Some(heir) if reach.rests[heir.index()] => first_awake(view.slot_walk(region, slot)).or(Some(*heir)),
            _ => *heir,
        });
        let owners = owners.collect();
        let mut routes = Self { view, reach, owners, heirs, owned_since: Box::default() };
        let region = routes.view.region_index(here);
        let since = |slot| {
            let owner = routes.owner(region?, slot)?;
            let is_here = routes.reach.ways[owner.index()] == Way::Here;
            is_here.then(|| before.and_then(|before| before.owned_since(slot)).unwrap_or(now))
        };
        routes.owned_since = Slot::all().map(since).collect();
        routes
    }

    /// The view that these routes are made of.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// How this node reaches the member.
    #[must_use]
    pub fn way(&self, member: MemberIndex) -> Way {
        self.reach.ways.get(member.index()).copied().unwrap_or(Way::None)
    }

    /// Whether this node reaches the member: over a link, through a node that has one, or because it is the member.
    #[must_use]
    pub fn is_reachable(&self, member: MemberIndex) -> bool {
        self.way(member) != Way::None
    }

    /// Whether the member owns only what nobody else can own, for the time being.
    #[must_use]
    pub fn rests(&self, member: MemberIndex) -> bool {
        self.reach.rests.get(member.index()).copied().unwrap_or(false)
    }

    /// The slot's owner in the region: the first reachable node of its walk, but for those that rest. `None` when no node
    /// of the region can be reached from here.
    #[must_use]
    pub fn owner(&self, region: RegionIndex, slot: Slot) -> Option<MemberIndex> {
        self.row(&self.owners, slot).get(region.index()).copied().flatten()
    }

    /// Who owns the slot as soon as nobody rests any more; mostly the owner itself. Wishes are told to both, so that the
    /// heir has them when it takes over.
    #[must_use]
    pub fn heir(&self, region: RegionIndex, slot: Slot) -> Option<MemberIndex> {
        self.row(&self.heirs, slot).get(region.index()).copied().flatten()
    }

    /// The slot's owner in every region that can be reached from here, in order of region.
    pub fn owners_of(&self, slot: Slot) -> impl Iterator<Item = (RegionIndex, MemberIndex)> {
        let owners = self.row(&self.owners, slot);
        self.view.region_indexes().zip(owners).filter_map(|(region, owner)| Some((region, (*owner)?)))
    }

    /// Since when this node has owned the slot in its region; `None` when it does not.
    #[must_use]
    pub fn owned_since(&self, slot: Slot) -> Option<Duration> {
        self.owned_since.get(slot.index()).copied().flatten()
    }

    fn row<'r>(&self, of: &'r [Option<MemberIndex>], slot: Slot) -> &'r [Option<MemberIndex>] {
        let regions = self.view.regions().len();
        &of[slot.index() * regions..(slot.index() + 1) * regions]
    }
}

/// Leaves the owners out: they follow from the view and the reach.
impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.view.members().iter().map(|member| &member.name);
        let ways: Vec<_> = members.zip(&self.reach.ways).zip(&self.reach.rests).collect();
        f.debug_struct("Routes").field("view", &self.view.digest()).field("ways", &ways).finish_non_exhaustive()
    }
}
