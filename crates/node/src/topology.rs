//! The shell of the placement: feeds it what SWIM, links and time tell, and publishes the routes that it decides on.
//! Everybody else reads a snapshot; nobody else interprets membership.

use std::sync::Arc;

use arc_swap::ArcSwap;
use farwire_core::placement::{Config, Effect, Member, MemberState, MemberStatus, Placement, Routes};
use farwire_wire::{ChannelName, NodeName};

use crate::events::{Event, Events};
use crate::local::Local;
use crate::peers::Peers;
use crate::queue::{self, Meter};
use crate::sync::watch;
use crate::watchdog::Pulse;

pub(crate) use farwire_core::placement::Input as Change;

/// Changes that wait for the placement; whoever adds one waits for room.
const CHANGE_QUEUE: usize = 1_024;

/// The routes in force and the members behind them.
#[derive(Debug)]
pub(crate) struct Topology {
    routes: Arc<ArcSwap<Routes>>,
    members: ArcSwap<Vec<MemberStatus>>,
    changes: queue::Sender<Change>,
    published: watch::Sender<u64>,
}

/// The task behind a [`Topology`].
#[derive(Debug)]
pub(crate) struct Placing {
    placement: Placement,
    changes: queue::Receiver<Change>,
}

impl Topology {
    pub(crate) fn new(local: Member, shards: u16, config: Config, queued: Meter) -> (Self, Placing) {
        let placement = Placement::new(local, shards, config);
        let (sender, changes) = queue::bounded(CHANGE_QUEUE, queued);
        let topology = Self {
            routes: Arc::new(ArcSwap::new(placement.routes().clone())),
            members: ArcSwap::from_pointee(placement.members_state()),
            changes: sender,
            published: watch::Sender::new(0),
        };
        (topology, Placing { placement, changes })
    }

    /// Hands the placement a change. Cancel safe.
    pub(crate) async fn tell(&self, change: Change) {
        // The receiver ends only with the node.
        let _node_ended = self.changes.send(change).await;
    }

    /// The routes in force.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// The place where the routes in force are, for the hot path.
    pub(crate) fn routes_cell(&self) -> Arc<ArcSwap<Routes>> {
        self.routes.clone()
    }

    /// The owner of a channel in this node's region.
    pub(crate) fn owner_in_region(&self, local: &Local, channel: &ChannelName) -> Option<NodeName> {
        let routes = self.routes.load();
        let view = routes.view();
        let owner = routes.owner(view.region_index(&local.region)?, local.slot(channel))?;
        Some(view.member(owner).name.clone())
    }

    /// Everybody who is known.
    pub(crate) fn members(&self) -> Arc<Vec<MemberStatus>> {
        self.members.load_full()
    }

    /// The state in which a member is listed.
    pub(crate) fn state_of(&self, name: &NodeName) -> Option<MemberState> {
        self.members.load().iter().find(|status| status.member.name == *name).map(|status| status.state)
    }

    /// Whether a node can be reached now.
    pub(crate) fn is_reachable(&self, name: &NodeName) -> bool {
        let routes = self.routes.load();
        routes.view().find(name.as_str()).is_some_and(|member| routes.is_reachable(member))
    }

    /// Whether a node wants to own nothing now.
    pub(crate) fn rests(&self, name: &NodeName) -> bool {
        let routes = self.routes.load();
        routes.view().find(name.as_str()).is_some_and(|member| routes.rests(member))
    }

    /// Tells when other routes are in force, or a member is in another state; the value counts the changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }
}

impl Placing {
    /// Runs the placement until the node ends. Cancel safe between changes; a change that was begun is applied whole.
    pub(crate) async fn run(
        mut self,
        topology: &Topology,
        local: &Local,
        peers: &Peers,
        events: &Events,
        pulse: Pulse,
    ) {
        let mut effects = Vec::new();
        let mut beats = Pulse::ticks();
        peers.set_view(local.clock.now(), topology.routes().view().digest());
        loop {
            pulse.beat();
            let deadline = self.placement.next_deadline().map(|at| local.clock.instant(at));
            let tick = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let change = tokio::select! {
                biased;
                change = self.changes.recv() => match change {
                    Some(change) => change,
                    None => return,
                },
                () = tick => Change::Tick,
                _ = beats.tick() => continue,
            };
            self.placement.handle(local.clock.now(), change, &mut effects);
            topology.members.store(Arc::new(self.placement.members_state()));
            effects.drain(..).for_each(|effect| apply(effect, topology, local, peers, events));
        }
    }
}

fn apply(effect: Effect, topology: &Topology, local: &Local, peers: &Peers, events: &Events) {
    match effect {
        Effect::Routes(routes) => {
            let digest = routes.view().digest();
            topology.routes.store(routes);
            peers.set_view(local.clock.now(), digest);
            topology.published.send_modify(|count| *count += 1);
        }
        Effect::RingChanged { digest } => {
            tracing::info!(view = %digest, "ring changed");
            events.tell(Event::Ring { view: digest });
        }
        Effect::Member { name, from, to } => {
            tracing::info!(node = %name, ?from, ?to, "member changed");
            events.tell(Event::Member { name, from: from.map(Into::into), to: to.map(Into::into) });
            topology.published.send_modify(|count| *count += 1);
        }
        Effect::MembersFull { name } => {
            tracing::warn!(node = %name, "mesh is full: a member is ignored; forget nodes that are gone for good");
        }
    }
}
