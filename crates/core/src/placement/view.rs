//! An immutable snapshot of the members in the ring, with every walk worked out in advance. It knows nothing of links
//! or time: who is reachable is [`Routes`](super::Routes)' business.
//!
//! Invariant: a view is a pure function of the set of its members and the number of shards, so nodes with the same
//! members have the same digest and the same walks. Built by [`Placement`](super::Placement) when the ring changes,
//! which is rare; read everywhere.

use std::fmt;
use std::ops::Range;

use farwire_wire::ids::{Shard, Slot, ViewDigest};
use farwire_wire::names::{NodeName, RegionName};
use siphasher::sip::SipHasher24;

use super::ring::{Ring, shard_keys, slot_keys};

/// Replicas of a shard in a region; all nodes of the region where it has fewer.
pub const REPLICAS: usize = 3;
/// The largest weight that counts; a greater one counts as this.
pub const WEIGHT_MAX: u16 = 16;

/// A node as the ring knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Unique in the mesh.
    pub name: NodeName,
    /// Whose ring it stands on.
    pub region: RegionName,
    /// Its share of the region relative to others: 1 is usual, [`WEIGHT_MAX`] the most that counts. A node of weight 0
    /// comes after all others in every walk.
    pub weight: u16,
}

/// A member's place in one [`View`], sorted by name. It means nothing in another view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberIndex(u16);

impl MemberIndex {
    pub(super) const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The place as an index into [`View::members`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A region's place in one [`View`], sorted by name. It means nothing in another view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionIndex(u16);

impl RegionIndex {
    /// The place as an index into [`View::regions`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The members in the ring, with all walks: a pure function of the set of members and the number of shards.
pub struct View {
    members: Box<[Member]>,
    regions: Box<[RegionName]>,
    walks: Box<[RegionWalks]>,
    shards: u16,
    digest: ViewDigest,
}

/// All walks of one region, one after the other; each is as long as the region has nodes.
struct RegionWalks {
    nodes: usize,
    slots: Box<[MemberIndex]>,
    shards: Box<[MemberIndex]>,
}

impl View {
    /// The view of these members, whatever their order; of two with one name the lesser counts. A mesh has at least one
    /// shard. Costs milliseconds and a few bytes per slot and member: not for the hot path.
    #[must_use]
    pub fn build(mut members: Vec<Member>, shards: u16) -> Self {
        let shards = shards.max(1);
        members.iter_mut().for_each(|member| member.weight = member.weight.min(WEIGHT_MAX));
        members.sort_unstable();
        members.dedup_by(|a, b| a.name == b.name);
        let mut regions: Vec<_> = members.iter().map(|member| member.region.clone()).collect();
        regions.sort_unstable();
        regions.dedup();
        let (slot_keys, shard_keys) = (slot_keys(), shard_keys(shards));
        let walks = regions.iter().map(|region| RegionWalks::new(region, &members, &slot_keys, &shard_keys)).collect();
        let digest = digest_of(&members, shards);
        Self { members: members.into(), regions: regions.into(), walks, shards, digest }
    }

    /// Equal digests mean equal members, weights and shards, hence equal owners.
    #[must_use]
    pub fn digest(&self) -> ViewDigest {
        self.digest
    }

    /// The number of shards of the mesh, at least 1.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// All members, sorted by name.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member at `index`.
    ///
    /// # Panics
    /// Possible when `index` comes from another view, which is a bug of the caller.
    #[must_use]
    pub fn member(&self, index: MemberIndex) -> &Member {
        &self.members[index.index()]
    }

    /// Where the member named `name` is, if the ring has it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<MemberIndex> {
        let index = self.members.binary_search_by(|member| member.name.as_str().cmp(name)).ok()?;
        u16::try_from(index).ok().map(MemberIndex)
    }

    /// The regions that have members, sorted by name.
    #[must_use]
    pub fn regions(&self) -> &[RegionName] {
        &self.regions
    }

    /// Where `region` is, if it has members.
    #[must_use]
    pub fn region_index(&self, region: &RegionName) -> Option<RegionIndex> {
        let index = self.regions.binary_search(region).ok()?;
        u16::try_from(index).ok().map(RegionIndex)
    }

    /// The index of every region, in order.
    pub fn region_indexes(&self) -> impl ExactSizeIterator<Item = RegionIndex> + use<> {
        // `indexed` gave at most `u16::MAX` members their places, so regions have places too.
        (0..u16::try_from(self.regions.len()).unwrap_or(u16::MAX)).map(RegionIndex)
    }

    /// All nodes of the region, each once, in ring order from `slot`. The first reachable one owns the slot. Empty for
    /// a region that the view does not have.
    #[must_use]
    pub fn slot_walk(&self, region: RegionIndex, slot: Slot) -> &[MemberIndex] {
        self.walks.get(region.index()).and_then(|walks| walks.slots.get(walks.at(slot.index()))).unwrap_or_default()
    }

    /// All nodes of the region, each once, in ring order from `shard`: its replicas and who would follow them. Empty
    /// for a region or shard that the view does not have.
    #[must_use]
    pub fn shard_walk(&self, region: RegionIndex, shard: Shard) -> &[MemberIndex] {
        self.walks.get(region.index()).and_then(|walks| walks.shards.get(walks.at(shard.index()))).unwrap_or_default()
    }

    /// The nodes that keep the shard's log in the region: [`REPLICAS`] of them, or all where there are fewer. The first
    /// is the preferred owner. Empty for a region or shard that the view does not have.
    #[must_use]
    pub fn replicas(&self, region: RegionIndex, shard: Shard) -> &[MemberIndex] {
        let walk = self.shard_walk(region, shard);
        &walk[..walk.len().min(REPLICAS)]
    }
}

/// Leaves the walks out: they follow from the members.
impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut view = f.debug_struct("View");
        view.field("digest", &self.digest).field("shards", &self.shards).field("members", &self.members);
        view.finish_non_exhaustive()
    }
}

impl RegionWalks {
    fn new(region: &RegionName, members: &[Member], slot_keys: &[u64], shard_keys: &[u64]) -> Self {
        let nodes: Vec<_> = indexed(members).filter(|(_, member)| member.region == *region).collect();
        let ring = Ring::new(&nodes);
        Self {
            nodes: nodes.len(),
            slots: ring.walks(slot_keys.iter().copied()),
            shards: ring.walks(shard_keys.iter().copied()),
        }
    }

    fn at(&self, place: usize) -> Range<usize> {
        place * self.nodes..(place + 1) * self.nodes
    }
}

/// Members with their places; a mesh has 256 at most, so all of them get one.
fn indexed(members: &[Member]) -> impl Iterator<Item = (MemberIndex, &Member)> {
    (0..=u16::MAX).map(MemberIndex::new).zip(members)
}

/// SipHash-2-4 without a key, over the shards and each member in order of name. Labels hold no zero byte, so a zero
/// ends them without doubt.
fn digest_of(members: &[Member], shards: u16) -> ViewDigest {
    let mut bytes = shards.to_be_bytes().to_vec();
    for Member { name, region, weight } in members {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(region.as_str().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&weight.to_be_bytes());
    }
    ViewDigest(SipHasher24::new().hash(&bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::slice::from_ref;

    use farwire_wire::ids::SLOTS;

    use super::*;
    use crate::placement::testing::member;

    fn dozen() -> Vec<Member> {
        (1..=12).map(|i| member(&format!("fra-{i}"), "fra")).collect()
    }

    fn owned(view: &View, region: &str, name: &str) -> usize {
        let region = view.region_index(&member("x", region).region).unwrap();
        let node = view.find(name).unwrap();
        Slot::all().filter(|slot| view.slot_walk(region, *slot)[0] == node).count()
    }

    #[test]
    fn views_are_the_same_in_every_release() {
        let mut members = dozen();
        members.extend([member("iad-1", "iad"), Member { weight: 3, ..member("iad-2", "iad") }]);
        let view = View::build(members, 16);
        let first = |region: RegionIndex, walk: fn(&View, RegionIndex, u16) -> &[MemberIndex]| -> Vec<_> {
            (0..8).map(|place| view.member(walk(&view, region, place)[0]).name.as_str()).collect()
        };
        let slots: fn(&View, RegionIndex, u16) -> &[MemberIndex] =
            |view, region, place| view.slot_walk(region, Slot::of_hash(u64::from(place) * 512));
        let shards: fn(&View, RegionIndex, u16) -> &[MemberIndex] =
            |view, region, place| view.shard_walk(region, Shard(place * 2));

        assert_eq!(view.digest().to_string(), "49c65d2534596258");
        assert_eq!(first(RegionIndex(0), slots).join(" "), "fra-7 fra-6 fra-10 fra-8 fra-7 fra-7 fra-6 fra-12");
        assert_eq!(first(RegionIndex(1), slots).join(" "), "iad-2 iad-1 iad-2 iad-1 iad-2 iad-1 iad-1 iad-1");
        assert_eq!(first(RegionIndex(0), shards).join(" "), "fra-7 fra-12 fra-12 fra-5 fra-9 fra-7 fra-7 fra-3");
        assert_eq!(first(RegionIndex(1), shards).join(" "), "iad-2 iad-2 iad-1 iad-2 iad-2 iad-1 iad-2 iad-2");
    }

    #[test]
    fn shares_of_a_dozen_nodes_are_within_35_percent() {
        let view = View::build(dozen(), 16);
        let fair = f64::from(SLOTS) / 12.0;
        for member in view.members() {
            let share = owned(&view, "fra", member.name.as_str()) as f64 / fair;
            assert!((0.65..1.35).contains(&share), "{} has {share}", member.name);
        }
    }

    #[test]
    fn a_heavier_node_owns_more() {
        let view = View::build(vec![member("a", "fra"), Member { weight: 3, ..member("b", "fra") }], 16);
        let share = owned(&view, "fra", "b");
        assert!((2750..3400).contains(&share), "3072 would be fair, {share}");
    }

    #[test]
    fn weights_beyond_the_maximum_count_as_the_maximum() {
        let of = |weight| View::build(vec![Member { weight, ..member("a", "fra") }], 16);
        assert_eq!(of(WEIGHT_MAX).digest(), of(u16::MAX).digest());
        assert_ne!(of(WEIGHT_MAX).digest(), of(WEIGHT_MAX - 1).digest());
    }

    #[test]
    fn whatever_distinguishes_members_changes_the_digest() {
        let digest = |members: &[Member], shards| View::build(members.to_vec(), shards).digest();
        let (a, b) = (member("a", "fra"), member("b", "fra"));
        let digests = BTreeSet::from([
            digest(&[], 16),
            digest(from_ref(&a), 16),
            digest(from_ref(&a), 17),
            digest(from_ref(&b), 16),
            digest(&[a.clone(), b.clone()], 16),
            digest(&[member("a", "iad")], 16),
            digest(&[Member { weight: 2, ..a }], 16),
        ]);
        assert_eq!(digests.len(), 7);
    }

    #[test]
    fn an_empty_view_has_no_owners() {
        let view = View::build(Vec::new(), 0);
        assert_eq!(view.shards(), 1);
        assert!(view.regions().is_empty() && view.find("a").is_none());
        assert!(view.slot_walk(RegionIndex(0), Slot::of_hash(0)).is_empty());
        assert!(view.replicas(RegionIndex(0), Shard(0)).is_empty());
    }

    #[test]
    fn the_largest_mesh_is_built() {
        let members = (0..240).map(|i| member(&format!("node-{i}"), &format!("region-{}", i % 20))).collect();
        let view = View::build(members, 16);
        assert_eq!((view.members().len(), view.regions().len()), (240, 20));
        assert!(view.region_indexes().all(|region| view.slot_walk(region, Slot::of_hash(7)).len() == 12));
    }
}
