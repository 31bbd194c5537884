//! Who is a member, who is in the ring, and who can be reached: the one place that turns SWIM events, links and time
//! into a [`View`] and [`Routes`]. It sends nothing, reads no clock and moves no data: the caller feeds [`Input`]s with
//! the time since a start of its choice, and runs the [`Effect`]s.
//!
//! Two speeds. Links decide at once who is *reachable*, and nothing else does: this node's own, and those of its peers,
//! through which it reaches a node that it cannot see itself. A node that comes back owns nothing for a moment, and longer
//! each time that most of its peers have lost it. The *ring* changes slowly: joins are batched, at most one change in 10 s touches a region that is not young, a member that is down
//! leaves only after 10 minutes, never while a link to it lives, and one that flaps waits longer each time.
//!
//! Invariants:
//! - The local node is always reachable, and in the ring until it is told that it left.
//! - Once all deadlines have passed, the ring depends only on the last fact about each member and link, not on the
//!   order or repetition of facts. So nodes that know the same have the same view.
//! - A member that left has left for good under that bump of its identity, whatever is still heard of it: a goodbye that
//!   did not reach everybody is followed by suspicions of the others. It comes back under a greater bump.
//! - Everything kept is bounded by [`Config::members_max`].
//!
//! One task of the node owns the [`Placement`]; the `Routes` that it emits are shared with everybody.

mod config;
mod known;
mod links;
mod reach;
mod rest;
mod ring;
mod routes;
mod view;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod reach_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use farwire_wire::ids::ViewDigest;
use farwire_wire::names::{NodeName, RegionName};

pub use self::config::Config;
use self::known::{Known, RegionAge};
use self::reach::Reach;
pub use self::reach::{Report, Way};
use self::rest::Rest;
pub use self::routes::Routes;
pub use self::view::{Member, MemberIndex, REPLICAS, RegionIndex, View, WEIGHT_MAX};

/// What SWIM says of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwimState {
    /// It answers.
    Alive,
    /// It did not answer, but may yet.
    Suspect,
    /// It did not refute the suspicion.
    Down,
}

/// The state of a member as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// It answers.
    Alive,
    /// It did not answer, but may yet.
    Suspect,
    /// It did not refute the suspicion.
    Down,
    /// It said that it goes.
    Left,
}

impl From<SwimState> for MemberState {
    fn from(state: SwimState) -> Self {
        match state {
            SwimState::Alive => Self::Alive,
            SwimState::Suspect => Self::Suspect,
            SwimState::Down => Self::Down,
        }
    }
}

/// What happens to a [`Placement`]. Repeating any of them changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// SWIM's present opinion of a member, with what is known of it now. An unknown member joins by it; a weight or
    /// region that differs replaces the old one. Nothing happens for the local node, for a smaller bump than the last,
    /// and for the bump under which the member left.
    Swim {
        /// Name, region and weight as of now.
        member: Member,
        /// What SWIM says.
        state: SwimState,
        /// The number of the member's identity: it grows with each run, and each time that a run has to come back.
        bump: u64,
    },
    /// The member's weight is this now. Nothing happens for one that is not known.
    Weight(NodeName, u16),
    /// The member said that it goes, under the bump last heard. The local node says so of itself when it drains.
    Left(NodeName),
    /// The operator says that the member will not come back. Nothing happens for the local node.
    Forget(NodeName),
    /// There is a live authenticated link to this node.
    LinkUp(NodeName),
    /// There is no link to this node any more, or nothing is heard over it.
    LinkDown(NodeName),
    /// A linked peer said this of itself. It counts from then on, but only while there is a link.
    Report(NodeName, Report),
    /// Time has passed: see [`Placement::next_deadline`].
    Tick,
}

/// What a [`Placement`] asks of its caller, in the order in which they are emitted.
#[derive(Debug, Clone)]
pub enum Effect {
    /// For the event stream: a member's listed state changed. `from` is `None` for a new member, `to` for one that is
    /// no longer listed.
    Member {
        /// Whose state it is.
        name: NodeName,
        /// The state before.
        from: Option<MemberState>,
        /// The state now.
        to: Option<MemberState>,
    },
    /// For the event stream: there are as many members as fit, so this node is ignored. Repeat the input later.
    MembersFull {
        /// Who is ignored.
        name: NodeName,
    },
    /// Publish these routes in place of the last ones; at most one per call.
    Routes(Arc<Routes>),
    /// For the event stream: the ring of the routes just published differs from the last one.
    RingChanged {
        /// The digest of the new view.
        digest: ViewDigest,
    },
}

/// What is known of one member, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Name, region and weight as last heard; the ring may not have them yet.
    pub member: Member,
    /// What SWIM says, or that it left.
    pub state: MemberState,
    /// Whether the ring has it now.
    pub in_ring: bool,
    /// Whether it is this node, there is a live link to it, or there is one to a node that has.
    pub reachable: bool,
    /// How often the link to it was lost lately.
    pub link_flaps: u32,
}

/// Turns SWIM events, links and time into routes; see the [module](self).
#[derive(Debug)]
pub struct Placement {
    local: Member,
    shards: u16,
    config: Config,
    known: BTreeMap<NodeName, Known>,
    ages: BTreeMap<RegionName, RegionAge>,
    /// The local node and everybody with a live link, members or not.
    linked: BTreeSet<NodeName>,
    /// What linked peers said last, and those that were linked.
    reports: BTreeMap<NodeName, Report>,
    /// Until when members that can be reached again own nothing.
    held: BTreeMap<NodeName, Duration>,
    rest: Rest,
    /// What the next view is built of; always a subset of `known` by name.
    ring: BTreeMap<NodeName, Member>,
    routes: Arc<Routes>,
    ring_touched: bool,
    reach_touched: bool,
}

impl Placement {
    /// A placement in which the local node is the only member, already in the ring: see [`Self::routes`].
    #[must_use]
    pub fn new(local: Member, shards: u16, config: Config) -> Self {
        let name = local.name.clone();
        let linked = BTreeSet::from([name.clone()]);
        let view = Arc::new(View::build(vec![local.clone()], shards));
        let reach = Reach::new(&view, &local, &linked, &BTreeMap::new(), |_| false);
        let known = Known::new(Duration::ZERO, local.clone(), SwimState::Alive, 0, false);
        Self {
            shards,
            config,
            known: BTreeMap::from([(name.clone(), known)]),
            ages: BTreeMap::new(),
            routes: Arc::new(Routes::new(Duration::ZERO, view, reach, &local.region, None)),
            linked,
            reports: BTreeMap::new(),
            held: BTreeMap::new(),
            rest: Rest::default(),
            ring: BTreeMap::from([(name, local.clone())]),
            local,
            ring_touched: false,
            reach_touched: false,
        }
    }

    /// Takes one input, applies what is due by `now`, and appends what the caller must do. `now` is the time since any
    /// fixed start and does not go backwards.
    pub fn handle(&mut self, now: Duration, input: Input, effects: &mut Vec<Effect>) {
        self.ages.entry(self.local.region.clone()).or_insert_with(|| RegionAge::new(now));
        match input {
            Input::Swim { member, state, bump } => self.observe(now, member, state, bump, effects),
            Input::Weight(name, weight) => self.reweigh(now, &name, weight),
            Input::Left(name) => self.leave(now, name, effects),
            Input::Forget(name) if name != self.local.name => self.forget(now, &name, effects),
            Input::LinkUp(name) => self.link_up(now, name, effects),
            Input::LinkDown(name) => self.link_down(now, &name),
            Input::Report(name, report) => self.report(now, name, report),
            Input::Forget(_) | Input::Tick => {}
        }
        self.apply_due_changes(now);
        self.drop_long_gone(now, effects);
        self.end_holds(now);
        self.publish(now, effects);
    }

    /// When to call [`Self::handle`] with [`Input::Tick`] if nothing else happens; `None` when time alone changes
    /// nothing.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let changes = self.due_changes().into_values();
        let listings = self.known.values().filter_map(|known| self.listed_until(known));
        changes.chain(listings).chain(self.held.values().copied()).chain(self.rest.until()).min()
    }

    /// The routes in force, which are those emitted last.
    #[must_use]
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// All known members, in the ring or not, sorted by name.
    #[must_use]
    pub fn members_state(&self) -> Vec<MemberStatus> {
        let status = |(name, known): (&NodeName, &Known)| MemberStatus {
            member: known.member.clone(),
            state: known.state,
            in_ring: self.ring.contains_key(name),
            reachable: self.linked.contains(name) || self.is_routed(name),
            link_flaps: known.link.flaps,
        };
        self.known.iter().map(status).collect()
    }

    fn observe(&mut self, now: Duration, member: Member, state: SwimState, bump: u64, effects: &mut Vec<Effect>) {
        let name = member.name.clone();
        if name == self.local.name {
            return;
        }
        let linked = self.linked.contains(&name);
        let Some(known) = self.known.get_mut(&name) else {
            return self.join(now, member, state, bump, effects);
        };
        if known.is_past(bump) {
            return;
        }
        let from = known.state;
        if known.member != member {
            self.ages.entry(member.region.clone()).or_insert_with(|| RegionAge::new(now));
            if self.ring.get(&name) == Some(&known.member) {
                known.changed_at = now;
            }
            let moved = known.member.region != member.region;
            known.member = member;
            if moved {
                known.change_region(now, &self.config);
                self.take_out(now, &name);
                self.prune_ages();
            }
        }
        let Some(known) = self.known.get_mut(&name) else { return };
        known.observe(now, state, bump, linked, &self.config);
        note_state(name, from, known.state, effects);
    }

    fn reweigh(&mut self, now: Duration, name: &NodeName, weight: u16) {
        let Some(known) = self.known.get_mut(name).filter(|known| known.member.weight != weight) else { return };
        if self.ring.get(name) == Some(&known.member) {
            known.changed_at = now;
        }
        known.member.weight = weight;
    }

    fn join(&mut self, now: Duration, member: Member, state: SwimState, bump: u64, effects: &mut Vec<Effect>) {
        let name = member.name.clone();
        if self.known.len() >= self.config.members_max && !self.make_room(state, effects) {
            effects.push(Effect::MembersFull { name });
            return;
        }
        self.ages.entry(member.region.clone()).or_insert_with(|| RegionAge::new(now));
        let known = Known::new(now, member, state, bump, self.linked.contains(&name));
        effects.push(Effect::Member { name: name.clone(), from: None, to: Some(known.state) });
        self.known.insert(name, known);
    }

    /// Gives the place of the member that is gone for longest to one that lives.
    fn make_room(&mut self, state: SwimState, effects: &mut Vec<Effect>) -> bool {
        let gone = self.known.iter().filter(|(_, known)| self.listed_until(known).is_some());
        let longest_gone = gone.min_by_key(|(_, known)| known.turned_at).map(|(name, _)| name.clone());
        match longest_gone {
            Some(name) if state != SwimState::Down => {
                self.unlist(&name, effects);
                true
            }
            _ => false,
        }
    }

    fn leave(&mut self, now: Duration, name: NodeName, effects: &mut Vec<Effect>) {
        let Some(known) = self.known.get_mut(&name) else { return };
        let from = known.state;
        known.leave(now, &self.config);
        self.take_out(now, &name);
        note_state(name, from, MemberState::Left, effects);
    }

    fn forget(&mut self, now: Duration, name: &NodeName, effects: &mut Vec<Effect>) {
        self.take_out(now, name);
        self.unlist(name, effects);
    }

    /// Since when the ring should hold something else for this member; `None` when it holds what it should.
    fn change_ready_at(&self, known: &Known) -> Option<Duration> {
        match (known.present, self.ring.get(&known.member.name)) {
            (true, None) => Some(known.turned_at.saturating_add(self.config.rejoin_wait(known.flaps))),
            (true, Some(in_ring)) if *in_ring != known.member => Some(known.changed_at),
            (false, Some(_)) => Some(known.turned_at.saturating_add(self.config.down_leaves_ring)),
            (true, Some(_)) | (false, None) => None,
        }
    }

    /// For each region whose ring should change, when it may.
    fn due_changes(&self) -> BTreeMap<&RegionName, Duration> {
        let mut due = BTreeMap::new();
        for known in self.known.values() {
            let Some(ready_at) = self.change_ready_at(known) else { continue };
            let first_ready_at = due.entry(&known.member.region).or_insert(ready_at);
            *first_ready_at = ready_at.min(*first_ready_at);
        }
        for (region, at) in &mut due {
            *at = self.ages.get(*region).map_or(*at, |age| age.due(*at, &self.config));
        }
        due
    }

    fn apply_due_changes(&mut self, now: Duration) {
        let mut regions = self.due_changes();
        regions.retain(|_, due| *due <= now);
        if regions.is_empty() {
            return;
        }
        let is_ready = |known: &Known| self.change_ready_at(known).is_some_and(|ready_at| ready_at <= now);
        let in_due_region = self.known.values().filter(|known| regions.contains_key(&known.member.region));
        let ready: Vec<_> =
            in_due_region.filter(|known| is_ready(known)).map(|k| (k.member.clone(), k.present)).collect();
        for (member, present) in ready {
            self.take_out(now, &member.name);
            if present {
                self.put_in(now, member);
            }
        }
    }

    fn put_in(&mut self, now: Duration, member: Member) {
        self.note_ring_change(now, &member.region);
        self.ring.insert(member.name.clone(), member);
    }

    fn take_out(&mut self, now: Duration, name: &NodeName) {
        if let Some(member) = self.ring.remove(name) {
            self.note_ring_change(now, &member.region);
        }
    }

    fn note_ring_change(&mut self, now: Duration, region: &RegionName) {
        self.ring_touched = true;
        if let Some(age) = self.ages.get_mut(region) {
            age.note_change(now);
        }
    }

    /// Until when a member is listed that is gone: not present and not in the ring. The local node is never dropped.
    fn listed_until(&self, known: &Known) -> Option<Duration> {
        let name = &known.member.name;
        let gone = !known.present && !self.ring.contains_key(name) && *name != self.local.name;
        gone.then(|| known.turned_at.saturating_add(self.config.gone_listed))
    }

    fn drop_long_gone(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let over = |known: &Known| self.listed_until(known).is_some_and(|until| until <= now);
        let names: Vec<_> = self.known.iter().filter(|(_, known)| over(known)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.unlist(&name, effects);
        }
    }

    /// Drops the record of a member that is not in the ring, and that of its region when it was the last one.
    fn unlist(&mut self, name: &NodeName, effects: &mut Vec<Effect>) {
        let Some(known) = self.known.remove(name) else { return };
        self.reports.remove(name);
        effects.push(Effect::Member { name: name.clone(), from: Some(known.state), to: None });
        self.prune_ages();
    }

    fn prune_ages(&mut self) {
        let known = &self.known;
        self.ages.retain(|region, _| known.values().any(|k| k.member.region == *region));
    }

    fn publish(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let ring_touched = std::mem::take(&mut self.ring_touched);
        let reach_touched = std::mem::take(&mut self.reach_touched);
        if !ring_touched && !reach_touched {
            return;
        }
        let old = self.routes.clone();
        let built = ring_touched.then(|| Arc::new(View::build(self.ring.values().cloned().collect(), self.shards)));
        // A weight above the maximum may change without any effect on the ring.
        let changed = built.filter(|new| new.digest() != old.view().digest());
        let digest = changed.as_ref().map(|view| view.digest());
        if digest.is_none() && !reach_touched {
            return;
        }
        let view = changed.unwrap_or_else(|| Arc::clone(old.view()));
        let reach = self.reach(now, &view);
        self.routes = Arc::new(Routes::new(now, view, reach, &self.local.region, Some(&old)));
        effects.push(Effect::Routes(Arc::clone(&self.routes)));
        effects.extend(digest.map(|digest| Effect::RingChanged { digest }));
    }
}

fn note_state(name: NodeName, from: MemberState, to: MemberState, effects: &mut Vec<Effect>) {
    if from != to {
        effects.push(Effect::Member { name, from: Some(from), to: Some(to) });
    }
}
