//! Which writer of each node counts: the newest life of a node that can be reached. Knows no channels.
//!
//! Invariant: a life that was buried is never admitted again (for as long as the [`BURIED_MAX`] newest graves are
//! remembered), so a node that comes back from out of sight cannot bring its ghosts along.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use farwire_wire::ids::Life;
use farwire_wire::names::{NodeName, RegionName};
use farwire_wire::presence::Writer;

use super::{GONE_FOR, MemberReach, UNSEEN_KEPT};

/// Graves that are remembered: four for each member of the largest mesh.
const BURIED_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Lives {
    members: BTreeMap<NodeName, Seen>,
    current: BTreeMap<NodeName, Life>,
    /// Earlier lives of nodes that began another, and when they are buried.
    earlier: BTreeMap<Writer, Duration>,
    buried: BTreeMap<Writer, Duration>,
}

#[derive(Debug)]
struct Seen {
    region: RegionName,
    gone_since: Option<Duration>,
}

/// Whether what a writer says counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It does. An earlier life of the node, if any, no longer does.
    Yes { earlier: Option<Writer> },
    /// The node has begun another life.
    Earlier,
    /// It was given up, and must know.
    Buried,
    /// Nobody knows the node yet.
    Unknown,
}

impl Lives {
    pub(super) fn new(node: NodeName, region: RegionName) -> Self {
        Self {
            members: BTreeMap::from([(node, Seen { region, gone_since: None })]),
            current: BTreeMap::new(),
            earlier: BTreeMap::new(),
            buried: BTreeMap::new(),
        }
    }

    pub(super) fn admit(&mut self, now: Duration, writer: &Writer) -> Admitted {
        if self.buried.contains_key(writer) {
            return Admitted::Buried;
        }
        if !self.members.contains_key(&writer.node) {
            return Admitted::Unknown;
        }
        if self.earlier.contains_key(writer) {
            return Admitted::Earlier;
        }
        let before = self.current.insert(writer.node.clone(), writer.life).filter(|life| *life != writer.life);
        let earlier = before.map(|life| Writer { node: writer.node.clone(), life });
        if let Some(earlier) = &earlier {
            self.earlier.insert(earlier.clone(), now + GONE_FOR);
        }
        Admitted::Yes { earlier }
    }

    /// The life of a node that counts.
    pub(super) fn current(&self, node: &NodeName) -> Option<Life> {
        self.current.get(node).copied()
    }

    pub(super) fn region_of(&self, node: &NodeName) -> Option<&RegionName> {
        self.members.get(node).map(|seen| &seen.region)
    }

    pub(super) fn is_gone(&self, node: &NodeName) -> bool {
        self.members.get(node).is_none_or(|seen| seen.gone_since.is_some())
    }

    /// Whether any node of the region can be reached.
    pub(super) fn is_in_sight(&self, region: &RegionName) -> bool {
        self.members.values().any(|seen| seen.region == *region && seen.gone_since.is_none())
    }

    /// The nodes of a region, in reach or not.
    pub(super) fn nodes_of(&self, region: &RegionName) -> impl Iterator<Item = &NodeName> {
        self.members.iter().filter(move |(_, seen)| seen.region == *region).map(|(node, _)| node)
    }

    /// Every region that has a member, in reach or not.
    pub(super) fn regions(&self) -> BTreeSet<&RegionName> {
        self.members.values().map(|seen| &seen.region).collect()
    }

    /// Learns who is in reach; returns the writers of nodes for which that changed, and whether they are gone now.
    pub(super) fn learn(&mut self, now: Duration, members: &[MemberReach]) -> Vec<(Writer, bool)> {
        let listed: BTreeMap<&NodeName, &MemberReach> = members.iter().map(|member| (&member.node, member)).collect();
        for member in members {
            let fresh = || Seen { region: member.region.clone(), gone_since: None };
            self.members.entry(member.node.clone()).or_insert_with(fresh).region = member.region.clone();
        }
        let mut changed = Vec::new();
        for (node, seen) in &mut self.members {
            // Who is not listed any more was forgotten.
            let is_gone = listed.get(node).is_none_or(|member| member.is_gone);
            if is_gone == seen.gone_since.is_some() {
                continue;
            }
            seen.gone_since = is_gone.then_some(now);
            if let Some(life) = self.current.get(node) {
                changed.push((Writer { node: node.clone(), life: *life }, is_gone));
            }
        }
        changed
    }

    /// Buries whoever is due; the stays of these writers end.
    pub(super) fn bury(&mut self, now: Duration) -> Vec<Writer> {
        let mut due: Vec<Writer> = self.earlier.iter().filter(|(_, at)| **at <= now).map(|(w, _)| w.clone()).collect();
        let gone = self.gone_writers().filter(|(_, at)| *at <= now).map(|(writer, _)| writer);
        due.extend(gone.collect::<Vec<_>>());
        for writer in &due {
            self.earlier.remove(writer);
            if self.current(&writer.node) == Some(writer.life) {
                self.current.remove(&writer.node);
            }
            self.buried.insert(writer.clone(), now);
        }
        while self.buried.len() > BURIED_MAX {
            let oldest = self.buried.iter().min_by_key(|(_, at)| **at).map(|(writer, _)| writer.clone());
            oldest.map(|writer| self.buried.remove(&writer));
        }
        due
    }

    /// When [`bury`](Self::bury) has something to do.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.earlier.values().copied().chain(self.gone_writers().map(|(_, at)| at)).min()
    }

    /// The writers that cannot be reached, and when they are given up.
    fn gone_writers(&self) -> impl Iterator<Item = (Writer, Duration)> {
        self.current.iter().filter_map(|(node, life)| {
            let seen = self.members.get(node)?;
            let kept = if self.is_in_sight(&seen.region) { GONE_FOR } else { UNSEEN_KEPT };
            Some((Writer { node: node.clone(), life: *life }, seen.gone_since? + kept))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_that_was_buried_never_counts_again() {
        let (node, region) = (NodeName::parse("fra-1").unwrap(), RegionName::parse("fra").unwrap());
        let writer = |life| Writer { node: node.clone(), life: Life(life) };
        let mut lives = Lives::new(node.clone(), region);
        let mut now = Duration::ZERO;
        assert_eq!(lives.admit(now, &writer(1)), Admitted::Yes { earlier: None });
        assert_eq!(lives.admit(now, &writer(2)), Admitted::Yes { earlier: Some(writer(1)) });
        assert_eq!(lives.admit(now, &writer(1)), Admitted::Earlier);
        now += GONE_FOR;
        assert_eq!(lives.bury(now), [writer(1)]);
        assert_eq!(lives.admit(now, &writer(1)), Admitted::Buried);
        assert_eq!(lives.admit(now, &writer(2)), Admitted::Yes { earlier: None });
        assert_eq!(lives.current(&node), Some(Life(2)));
    }
}
