//! How each member of a view is reached from here: over a link, or through one other node that has a link to it, when two
//! nodes cannot see each other. And who may own slots: a node that came back a moment ago, or says that it rests, owns
//! nothing as long as somebody else can.
//!
//! Pure functions of what links and peers tell; made by [`Placement`](super::Placement), read by
//! [`Routes`](super::Routes).
//!
//! Invariant: a relay is a node with a live link to this one that says it has a live link to the member. It passes on over
//! that link and no other, so nothing that is relayed can go in a circle, and nothing is relayed twice.

use std::collections::{BTreeMap, BTreeSet};

use farwire_wire::names::{NodeName, RegionName};

use super::view::{Member, MemberIndex, View};

/// How a member is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is this node.
    Here,
    /// Over the link to it.
    Direct,
    /// Through this node, which has links to both.
    Via(MemberIndex),
    /// Not at all.
    None,
}

/// What a linked peer said of itself last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Whom it has live links to.
    pub links: BTreeSet<NodeName>,
    /// It wants to own nothing now.
    pub resting: bool,
    /// How often it lost its link to the local node lately.
    pub flaps: u32,
}

/// How the members of one view are reached, and who of them may own slots, by index.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    pub(super) ways: Box<[Way]>,
    pub(super) rests: Box<[bool]>,
}

impl Reach {
    /// The reach of `local` in `view`. `links` are its live links (and itself), `reports` what peers said; `rests` says who
    /// is to own nothing for the time being.
    pub(super) fn new(
        view: &View,
        local: &Member,
        links: &BTreeSet<NodeName>,
        reports: &BTreeMap<NodeName, Report>,
        rests: impl Fn(&NodeName) -> bool,
    ) -> Self {
        let way = |member: &Member| {
            if member.name == local.name {
                Way::Here
            } else if links.contains(&member.name) {
                Way::Direct
            } else {
                let has_link =
                    |name: &&NodeName| reports.get(*name).is_some_and(|report| report.links.contains(&member.name));
                let candidates = links.iter().filter(|name| **name != local.name).filter(has_link);
                candidates
                    .filter_map(|name| view.find(name.as_str()))
                    .min_by_key(|relay| detour(&view.member(*relay).region, &local.region, &member.region))
                    .map_or(Way::None, Way::Via)
            }
        };
        let ways: Box<[Way]> = view.members().iter().map(way).collect();
        Self { ways, rests: view.members().iter().map(|member| rests(&member.name)).collect() }
    }
}

/// How far out of the way a relay in `relay` is: one at either end costs no trip to a third region.
fn detour(relay: &RegionName, from: &RegionName, to: &RegionName) -> u8 {
    if relay == from {
        0
    } else if relay == to {
        1
    } else {
        2
    }
}
