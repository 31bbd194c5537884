//! Short ways to make members, inputs and time in this module's tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use farwire_wire::ids::Slot;
use farwire_wire::names::{NodeName, RegionName};

use super::reach::Reach;
use super::{
    Config, Effect, Input, Member, MemberState, MemberStatus, Placement, Report, Routes, SwimState, View, Way,
};

pub(super) fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

pub(super) fn member(name: &str, region: &str) -> Member {
    Member { name: node(name), region: RegionName::parse(region).unwrap(), weight: 1 }
}

/// Routes of a node that is no member of `view` and has links to `linked`; nobody rests.
pub(super) fn routes(view: View, linked: &BTreeSet<NodeName>) -> Routes {
    let local = member("not-a-member", "nowhere");
    let reach = Reach::new(&view, &local, linked, &BTreeMap::new(), |_| false);
    Routes::new(Duration::ZERO, Arc::new(view), reach, &local.region, None)
}

/// Routes of `local` in `view`, which has links to `linked`; nobody rests.
pub(crate) fn routes_of(view: Arc<View>, local: &Member, linked: &BTreeSet<NodeName>) -> Routes {
    let reach = Reach::new(&view, local, linked, &BTreeMap::new(), |_| false);
    Routes::new(Duration::ZERO, view, reach, &local.region, None)
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A placement, usually that of node `a` of region `fra`, and the time that it was told last.
pub(super) struct World {
    pub(super) placement: Placement,
    pub(super) now: Duration,
    pub(super) bump: u64,
}

impl World {
    pub(super) fn new(config: Config) -> Self {
        Self::of(Placement::new(member("a", "fra"), 16, config))
    }

    pub(super) fn of(placement: Placement) -> Self {
        Self { placement, now: Duration::ZERO, bump: 0 }
    }

    /// A world in which region `fra` is no longer young, and its ring never changed.
    pub(super) fn old() -> Self {
        let mut world = Self::new(Config::default());
        world.input(Input::Tick);
        world.pass(secs(3600));
        world
    }

    pub(super) fn input(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.placement.handle(self.now, input, &mut effects);
        effects
    }

    /// SWIM's opinion of a member of region `fra`, under the bump in force.
    pub(super) fn swim(&mut self, name: &str, state: SwimState) -> Vec<Effect> {
        self.input(Input::Swim { member: member(name, "fra"), state, bump: self.bump })
    }

    /// A member that left comes back in another run.
    pub(super) fn comes_back(&mut self, name: &str) -> Vec<Effect> {
        self.bump += 1;
        self.swim(name, SwimState::Alive)
    }

    pub(super) fn left(&mut self, name: &str) -> Vec<Effect> {
        self.input(Input::Left(node(name)))
    }

    pub(super) fn link_up(&mut self, name: &str) -> Vec<Effect> {
        self.input(Input::LinkUp(node(name)))
    }

    pub(super) fn link_down(&mut self, name: &str) -> Vec<Effect> {
        self.input(Input::LinkDown(node(name)))
    }

    /// A peer says to whom it has links, whether it rests, and how often it lost this node.
    pub(super) fn reports(&mut self, name: &str, links: &[&str], resting: bool, flaps: u32) -> Vec<Effect> {
        let links = links.iter().map(|name| node(name)).collect();
        self.input(Input::Report(node(name), Report { links, resting, flaps }))
    }

    /// How this node reaches a member of the ring.
    pub(super) fn way(&self, name: &str) -> String {
        let routes = self.placement.routes();
        match routes.view().find(name).map(|member| routes.way(member)) {
            Some(Way::Via(relay)) => format!("via {}", routes.view().member(relay).name),
            Some(way) => format!("{way:?}").to_lowercase(),
            None => "not in the ring".to_owned(),
        }
    }

    /// How many slots of region `fra` each member owns.
    pub(super) fn owned(&self) -> BTreeMap<&str, usize> {
        let routes = self.placement.routes();
        let fra = routes.view().region_index(&member("a", "fra").region).unwrap();
        let mut owned = BTreeMap::new();
        for owner in Slot::all().filter_map(|slot| routes.owner(fra, slot)) {
            *owned.entry(routes.view().member(owner).name.as_str()).or_default() += 1;
        }
        owned
    }

    /// Who owns slots of region `fra`, in order of name.
    pub(super) fn owners(&self) -> String {
        self.owned().into_keys().collect::<Vec<_>>().join(" ")
    }

    /// Lets time pass as a shell would: one tick per deadline, and one at the end.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Effect> {
        let end = self.now + time;
        let mut effects = Vec::new();
        while let Some(deadline) = self.placement.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            effects.extend(self.input(Input::Tick));
            assert_ne!(self.placement.next_deadline(), Some(deadline), "a tick at the deadline must settle it");
        }
        self.now = end;
        effects.extend(self.input(Input::Tick));
        effects
    }

    /// The names in the ring, in order, separated by spaces.
    pub(super) fn ring(&self) -> String {
        let view = self.placement.routes().view();
        view.members().iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn status(&self, name: &str) -> Option<MemberStatus> {
        self.placement.members_state().into_iter().find(|status| status.member.name == node(name))
    }

    pub(super) fn state(&self, name: &str) -> Option<MemberState> {
        self.status(name).map(|status| status.state)
    }
}
