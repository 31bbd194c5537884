//! A world for this module's tests: nodes in regions, each with its own [`Presence`], over links that keep order, take
//! time, can be cut, and lose what was under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use farwire_wire::ids::{Instance, Life, Slot};
use farwire_wire::names::{ChannelName, ClientId, NodeName, RegionName};
use farwire_wire::presence::{PresenceEvent, PresenceFrame, PresenceId, PresenceState};

use super::{Answer, Detail, Effect, Input, MemberReach, Mesh, Presence};
use crate::hash::{HashKey, slot_of};
use crate::placement::testing::routes_of;
use crate::placement::{Member, View};

const DELAY: Duration = Duration::from_millis(100);
/// How long a cut lasts before SWIM says Down.
const DOWN_AFTER: Duration = Duration::from_secs(12);
const KEY: HashKey = HashKey::new([7; 16]);

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub(super) fn id(client: &str, instance: u64) -> PresenceId {
    PresenceId { client: ClientId::parse(client).unwrap(), instance: Instance(instance) }
}

/// What one node asks: every region wants every channel unless the world says otherwise.
pub(super) struct Wants {
    pub(super) regions: Vec<RegionName>,
    pub(super) above: u64,
}

impl Mesh for Wants {
    fn slot(&self, channel: &ChannelName) -> Slot {
        slot_of(&KEY, channel)
    }

    fn wanting(&self, _channel: &ChannelName) -> Vec<RegionName> {
        self.regions.clone()
    }

    fn is_watched(&self, channel: &ChannelName) -> bool {
        !self.wanting(channel).is_empty()
    }

    fn interval_above(&self, _channel: &ChannelName) -> u64 {
        self.above
    }
}

pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) region: RegionName,
    pub(super) presence: Presence,
    pub(super) is_up: bool,
    pub(super) told: Vec<(ChannelName, PresenceEvent)>,
    pub(super) counts: Vec<(ChannelName, PresenceEvent)>,
    /// Since when each other node is out of reach.
    out: BTreeMap<usize, Duration>,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) nodes: Vec<Node>,
    pub(super) wants: Wants,
    pub(super) sent: usize,
    wires: BTreeMap<(usize, usize), VecDeque<(Duration, PresenceFrame)>>,
    cuts: BTreeSet<(usize, usize)>,
    lives: u64,
    view: Arc<View>,
}

impl World {
    /// `per_region` nodes in each of `regions`.
    pub(super) fn new(regions: &[&str], per_region: usize) -> Self {
        let named = |region: &&str| {
            let region = RegionName::parse(region).unwrap();
            (1..=per_region).map(move |n| (NodeName::parse(&format!("{region}-{n}")).unwrap(), region.clone()))
        };
        let regions_of: Vec<_> = regions.iter().flat_map(named).collect();
        let member =
            |(name, region): &(NodeName, RegionName)| Member { name: name.clone(), region: region.clone(), weight: 1 };
        let mut world = Self {
            now: Duration::ZERO,
            nodes: Vec::new(),
            wants: Wants { regions: regions.iter().map(|r| RegionName::parse(r).unwrap()).collect(), above: 100 },
            sent: 0,
            wires: BTreeMap::new(),
            cuts: BTreeSet::new(),
            lives: 0,
            view: Arc::new(View::build(regions_of.iter().map(member).collect(), 16)),
        };
        for (name, region) in regions_of {
            let presence = world.fresh(&name, &region);
            world.nodes.push(Node {
                name,
                region,
                presence,
                is_up: true,
                told: Vec::new(),
                counts: Vec::new(),
                out: BTreeMap::new(),
            });
        }
        world.reroute();
        world
    }

    fn fresh(&mut self, name: &NodeName, region: &RegionName) -> Presence {
        self.lives += 1;
        let member = Member { name: name.clone(), region: region.clone(), weight: 1 };
        let view = Arc::new(View::build(vec![member.clone()], 16));
        let alone = routes_of(view, &member, &BTreeSet::from([name.clone()]));
        Presence::new(name.clone(), region.clone(), Life(self.lives), self.lives << 32, Arc::new(alone))
    }

    pub(super) fn find(&self, name: &str) -> usize {
        self.nodes.iter().position(|node| node.name.as_str() == name).unwrap()
    }

    pub(super) fn input(&mut self, node: usize, input: Input) {
        let mut effects = Vec::new();
        self.nodes[node].presence.handle(self.now, &self.wants, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => {
                    let to = self.find(to.as_str());
                    if self.is_linked(node, to) {
                        self.sent += 1;
                        self.wires.entry((node, to)).or_default().push_back((self.now + DELAY, frame));
                    }
                }
                Effect::Tell { channel, detail: Detail::Events, event } => self.nodes[node].told.push((channel, event)),
                Effect::Tell { channel, detail: Detail::Counts, event } => {
                    self.nodes[node].counts.push((channel, event));
                }
            }
        }
    }

    pub(super) fn enter(&mut self, node: usize, id: &PresenceId, moves: u32, on: &str, state: &str) {
        let (channel, state) = (channel(on), PresenceState::parse(state).unwrap());
        let wall_us = self.wall_us();
        self.input(node, Input::Enter { id: id.clone(), moves, channel, state, wall_us });
    }

    pub(super) fn leave(&mut self, node: usize, id: &PresenceId, moves: u32, on: &str) {
        self.input(node, Input::Leave { id: id.clone(), moves, channel: channel(on) });
    }

    pub(super) fn end(&mut self, node: usize, id: &PresenceId, moves: u32, in_order: bool) {
        self.input(node, Input::Ended { id: id.clone(), moves, in_order });
    }

    /// Lets time pass: frames arrive, deadlines are met.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = self.next().clamp(self.now, until);
            self.deliver();
            self.tell_members();
            for node in 0..self.nodes.len() {
                if self.nodes[node].is_up && self.nodes[node].presence.next_deadline() <= self.now {
                    self.input(node, Input::Tick);
                }
            }
        }
    }

    /// When something happens next.
    fn next(&self) -> Duration {
        let arrivals = self.wires.values().filter_map(|wire| wire.front()).map(|(at, _)| *at);
        let up = || self.nodes.iter().filter(|node| node.is_up);
        let downs =
            up().flat_map(|node| node.out.values()).map(|since| *since + DOWN_AFTER).filter(|at| *at > self.now);
        let deadlines = up().map(|node| node.presence.next_deadline());
        arrivals.chain(downs).chain(deadlines).min().unwrap_or(Duration::MAX)
    }

    fn deliver(&mut self) {
        let links: Vec<(usize, usize)> = self.wires.keys().copied().collect();
        for (from, to) in links {
            while let Some((_, frame)) =
                self.wires.get_mut(&(from, to)).and_then(|wire| wire.pop_front_if(|(at, _)| *at <= self.now))
            {
                let (from, wall_us) = (self.nodes[from].name.clone(), self.wall_us());
                self.input(to, Input::Frame { from, frame, wall_us });
            }
        }
    }

    pub(super) fn wall_us(&self) -> u64 {
        1_000_000_000 + u64::try_from(self.now.as_micros()).unwrap()
    }

    pub(super) fn is_linked(&self, a: usize, b: usize) -> bool {
        let is_cut = self.cuts.contains(&(a.min(b), a.max(b)));
        self.nodes[a].is_up && self.nodes[b].is_up && !is_cut
    }

    /// Loses whatever is under way from `from` to `to`, as a full queue would.
    pub(super) fn lose(&mut self, from: usize, to: usize) {
        self.wires.remove(&(from, to));
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cuts.insert((a.min(b), a.max(b)));
        self.lose(a, b);
        self.lose(b, a);
        self.reroute();
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
        self.reroute();
    }

    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].is_up = false;
        self.wires.retain(|(from, to), _| *from != node && *to != node);
        self.reroute();
    }

    pub(super) fn restart(&mut self, node: usize) {
        let (name, region) = (self.nodes[node].name.clone(), self.nodes[node].region.clone());
        let presence = self.fresh(&name, &region);
        let out = BTreeMap::new();
        self.nodes[node] = Node { name, region, presence, is_up: true, told: Vec::new(), counts: Vec::new(), out };
        self.reroute();
    }

    fn member(&self, node: usize) -> Member {
        let Node { name, region, .. } = &self.nodes[node];
        Member { name: name.clone(), region: region.clone(), weight: 1 }
    }

    /// Tells everybody who can be reached: links change at once.
    fn reroute(&mut self) {
        for node in (0..self.nodes.len()).filter(|node| self.nodes[*node].is_up).collect::<Vec<_>>() {
            for other in 0..self.nodes.len() {
                if other == node || self.is_linked(node, other) {
                    self.nodes[node].out.remove(&other);
                } else {
                    let now = self.now;
                    self.nodes[node].out.entry(other).or_insert(now);
                }
            }
            self.tell_members_of(node);
            let out = &self.nodes[node].out;
            let reachable = (0..self.nodes.len()).filter(|other| !out.contains_key(other));
            let reachable: BTreeSet<NodeName> = reachable.map(|other| self.nodes[other].name.clone()).collect();
            let local = self.member(node);
            self.input(node, Input::Routes(Arc::new(routes_of(self.view.clone(), &local, &reachable))));
        }
    }

    fn tell_members(&mut self) {
        for node in 0..self.nodes.len() {
            let is_due = self.nodes[node].out.values().any(|since| *since + DOWN_AFTER == self.now);
            if self.nodes[node].is_up && is_due {
                self.tell_members_of(node);
            }
        }
    }

    fn tell_members_of(&mut self, node: usize) {
        let out = &self.nodes[node].out;
        let is_gone = |other: usize| out.get(&other).is_some_and(|since| *since + DOWN_AFTER <= self.now);
        let reach = |(other, member): (usize, &Node)| MemberReach {
            node: member.name.clone(),
            region: member.region.clone(),
            is_gone: is_gone(other),
        };
        let members = self.nodes.iter().enumerate().map(reach).collect();
        self.input(node, Input::Members(members));
    }

    /// The node that owns a channel in a region, as `node` sees it.
    pub(super) fn owner(&self, region: &str, on: &str) -> usize {
        let region = RegionName::parse(region).unwrap();
        let up = self.nodes.iter().filter(|node| node.is_up).map(|node| node.name.clone()).collect();
        let onlooker = Member { name: NodeName::parse("onlooker").unwrap(), region: region.clone(), weight: 1 };
        let routes = routes_of(self.view.clone(), &onlooker, &up);
        let owner = routes.owner(self.view.region_index(&region).unwrap(), self.wants.slot(&channel(on))).unwrap();
        self.find(self.view.member(owner).name.as_str())
    }

    /// Asks a region's owner who is on a channel that nobody may watch.
    pub(super) fn ask(&mut self, region: &str, on: &str) {
        let owner = self.owner(region, on);
        self.input(owner, Input::Asked(vec![channel(on)]));
    }

    /// Whether a region's owner has all that it needs for an answer.
    pub(super) fn is_current(&self, region: &str, on: &str) -> bool {
        self.nodes[self.owner(region, on)].presence.is_current(self.now, &self.wants, &channel(on))
    }

    /// Everybody watches from now on, or nobody.
    pub(super) fn watch(&mut self, regions: &[&str]) {
        self.wants.regions = regions.iter().map(|r| RegionName::parse(r).unwrap()).collect();
        (0..self.nodes.len()).for_each(|node| self.input(node, Input::WantsChanged));
    }

    /// Who would own a channel if its owner died.
    pub(super) fn heir_of(&mut self, region: &str, on: &str) -> usize {
        let owner = self.owner(region, on);
        self.nodes[owner].is_up = false;
        let heir = self.owner(region, on);
        self.nodes[owner].is_up = true;
        heir
    }

    pub(super) fn answer(&self, region: &str, on: &str) -> Answer {
        let owner = &self.nodes[self.owner(region, on)].presence;
        owner.answer(self.now, &self.wants, &channel(on))
    }

    /// The clients that a region's owner lists, with their states.
    pub(super) fn listed(&self, region: &str, on: &str) -> BTreeMap<String, String> {
        let owner = &self.nodes[self.owner(region, on)].presence;
        let text = |state: &PresenceState| state.json().unwrap_or_default().to_owned();
        owner.listed(&channel(on)).map(|listed| (listed.client.to_string(), text(&listed.state))).collect()
    }

    /// When a client's stay began, as a region's owner lists it.
    pub(super) fn since(&self, region: &str, on: &str, client: &str) -> Option<u64> {
        let owner = &self.nodes[self.owner(region, on)].presence;
        owner.listed(&channel(on)).find(|listed| listed.client.as_str() == client).map(|listed| listed.since_us)
    }

    /// What the subscribers of a node's region heard of a channel from this node since the last call.
    pub(super) fn heard(&mut self, node: usize, on: &str) -> Vec<PresenceEvent> {
        let on = channel(on);
        let told = std::mem::take(&mut self.nodes[node].told);
        told.into_iter().filter(|(channel, _)| *channel == on).map(|(_, news)| news).collect()
    }

    /// The same for those who want counts.
    pub(super) fn counted(&mut self, node: usize, on: &str) -> Vec<PresenceEvent> {
        let on = channel(on);
        let told = std::mem::take(&mut self.nodes[node].counts);
        told.into_iter().filter(|(channel, _)| *channel == on).map(|(_, news)| news).collect()
    }
}
