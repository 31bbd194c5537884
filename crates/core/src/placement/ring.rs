//! The hash circle of one region, and the walks along it. Lives only while a view is built; not a lookup structure.
//!
//! Invariant: points and keys are hashes of bytes that are spelled out here, one write each, so that every release
//! agrees. Walks come from the ring's order alone: the crate's `get_with_replicas` repeats nodes and clones the ring,
//! and its `remove` may take the wrong node on a collision. Called by [`View::build`](super::View::build).

use std::hash::{BuildHasher as _, Hash, Hasher};

use farwire_wire::ids::{Shard, Slot};
use farwire_wire::names::{LABEL_BYTES_MAX, NodeName};
use hashring::{DefaultHashBuilder, HashRing};

use super::view::{Member, MemberIndex};

/// Points that a node of weight 1 has on its region's ring: shares then differ by some 6 % (one standard deviation).
const POINTS_PER_WEIGHT: u32 = 256;

/// The ring of one region: its points in ring order, and its nodes.
pub(super) struct Ring {
    points: Vec<Point>,
    weighted: Vec<MemberIndex>,
    idle: Vec<MemberIndex>,
}

/// A place on the ring and the node there, as an index into `Ring::weighted`.
struct Point {
    key: u64,
    node: usize,
}

impl Ring {
    /// The ring of `nodes`, which are one region's members sorted by name, so that everybody breaks ties alike.
    pub(super) fn new(nodes: &[(MemberIndex, &Member)]) -> Self {
        let weighted: Vec<_> = nodes.iter().filter(|(_, member)| member.weight > 0).collect();
        let points = weighted.iter().enumerate().flat_map(|(node, (_, member))| VNode::all(node, member)).collect();
        let mut ring = HashRing::<VNode>::new();
        ring.batch_add(points);
        Self {
            points: ring.into_iter().map(|vnode| Point { key: key_of(&vnode), node: vnode.node }).collect(),
            weighted: weighted.iter().map(|(index, _)| *index).collect(),
            idle: nodes.iter().filter(|(_, member)| member.weight == 0).map(|(index, _)| *index).collect(),
        }
    }

    /// For each key the region's nodes in ring order from there, each once; nodes of weight 0 come last. All walks have
    /// the same length, the number of nodes, and lie one after the other.
    pub(super) fn walks(&self, keys: impl ExactSizeIterator<Item = u64>) -> Box<[MemberIndex]> {
        let mut walks = Vec::with_capacity(keys.len() * (self.weighted.len() + self.idle.len()));
        let mut met_in_round = vec![0_u32; self.weighted.len()];
        for (round, key) in (1..).zip(keys) {
            let (before, from_key) = self.points.split_at(self.points.partition_point(|point| point.key < key));
            let walk_end = walks.len() + self.weighted.len();
            for point in from_key.iter().chain(before) {
                if std::mem::replace(&mut met_in_round[point.node], round) == round {
                    continue;
                }
                walks.push(self.weighted[point.node]);
                if walks.len() == walk_end {
                    break;
                }
            }
            walks.extend_from_slice(&self.idle);
        }
        walks.into_boxed_slice()
    }
}

/// One point of a node before it is placed on the ring.
struct VNode {
    bytes: [u8; LABEL_BYTES_MAX + 4],
    node: usize,
}

impl VNode {
    fn all(node: usize, member: &Member) -> impl Iterator<Item = Self> {
        let name = member.name.clone();
        (0..u32::from(member.weight) * POINTS_PER_WEIGHT).map(move |number| Self::new(node, &name, number))
    }

    /// Names hold no zero byte, so the name, filled up with zeros, and the number stand for exactly one point.
    fn new(node: usize, name: &NodeName, number: u32) -> Self {
        let mut bytes = [0; LABEL_BYTES_MAX + 4];
        let name = name.as_str().as_bytes();
        bytes[..name.len()].copy_from_slice(name);
        bytes[LABEL_BYTES_MAX..].copy_from_slice(&number.to_be_bytes());
        Self { bytes, node }
    }
}

impl Hash for VNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.bytes);
    }
}

/// A place on the ring that is asked for. The tag keeps slots and shards apart.
struct Place {
    tag: u8,
    number: u16,
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [high, low] = self.number.to_be_bytes();
        state.write(&[self.tag, high, low]);
    }
}

/// Where each slot stands on every ring, in order.
pub(super) fn slot_keys() -> Vec<u64> {
    (0..).zip(Slot::all()).map(|(number, _)| key_of(&Place { tag: b's', number })).collect()
}

/// Where each of `shards` shards stands on every ring, in order.
pub(super) fn shard_keys(shards: u16) -> Vec<u64> {
    (0..shards).map(Shard).map(|shard| key_of(&Place { tag: b'h', number: shard.0 })).collect()
}

/// The key that `HashRing` itself gives to what stands on it.
fn key_of(place: &impl Hash) -> u64 {
    DefaultHashBuilder.hash_one(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::testing::member;

    #[test]
    fn walks_start_where_the_ring_itself_would_look() {
        let members: Vec<_> = (0..7).map(|i| member(&format!("n{i}"), "fra")).collect();
        let nodes: Vec<_> = (0..).map(MemberIndex::new).zip(&members).collect();
        let ring = Ring::new(&nodes);
        let mut reference = HashRing::<VNode>::new();
        reference.batch_add(members.iter().enumerate().flat_map(|(node, m)| VNode::all(node, m)).collect());

        let walks = ring.walks(slot_keys().into_iter());

        for (number, walk) in (0..).zip(walks.chunks(members.len())) {
            let expected = reference.get(&Place { tag: b's', number }).unwrap().node;
            assert_eq!(walk[0].index(), expected, "slot {number}");
        }
    }

    #[test]
    fn nodes_of_weight_zero_come_last() {
        let idle = Member { weight: 0, ..member("a", "fra") };
        let busy = [member("b", "fra"), member("c", "fra")];
        let nodes: Vec<_> = (0..).map(MemberIndex::new).zip([&idle, &busy[0], &busy[1]]).collect();
        let walks = Ring::new(&nodes).walks(slot_keys().into_iter());
        assert!(walks.chunks(3).all(|walk| walk[2] == MemberIndex::new(0)));

        let alone = Ring::new(&[(MemberIndex::new(0), &idle)]).walks([1, 2].into_iter());
        assert_eq!(*alone, [MemberIndex::new(0); 2]);
    }
}
