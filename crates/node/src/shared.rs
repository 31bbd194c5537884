//! What the parts of a node share, and what it says of itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use farwire_auth::Verifier;
use farwire_core::placement::Report;
use farwire_transport::TlsClock;
use farwire_transport::tls::ReloadingKey;
use farwire_wire::client::EntryPoint;
use farwire_wire::peer::{LinkState, NodeState};
use farwire_wire::{NodeName, RegionName};
use rand::rngs::StdRng;

use crate::config::Config;
use crate::directory::Directory;
use crate::events::Events;
use crate::fanout::Fanout;
use crate::forgotten::Forgotten;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::presence::Presence;
use crate::probed::Probed;
use crate::router::Router;
use crate::sessions::Sessions;
use crate::sync::lock;
use crate::throttle::Throttle;
use crate::topology::{Change, Topology};

/// A node whose seeds do not answer is ready after this time: it may be the first one.
const ALONE_READY_AFTER: Duration = Duration::from_secs(10);

/// What the parts of a node share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) local: Arc<Local>,
    pub(crate) verifier: Verifier,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) topology: Topology,
    pub(crate) router: Router,
    pub(crate) sessions: Sessions,
    pub(crate) presence: Presence,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
    pub(crate) keys: Keys,
    pub(crate) addresses: BoundAddresses,
    pub(crate) probed: Probed,
    pub(crate) forgotten: Forgotten,
    pub(crate) rng: Mutex<StdRng>,
    /// For log lines that others can cause again and again.
    pub(crate) throttle: Arc<Throttle>,
    /// Counts what the node has told of itself.
    pub(crate) revision: AtomicU64,
    /// The node takes no further clients and sends those it has away.
    pub(crate) draining: AtomicBool,
    /// The node has no clients any more and is on its way out of the ring.
    pub(crate) leaving: AtomicBool,
}

/// The node's certificates, reloaded when their files change.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) client: Arc<ReloadingKey>,
    pub(crate) peer: Arc<ReloadingKey>,
    /// The clock that certificates are judged by.
    pub(crate) clock: TlsClock,
}

/// Where the node listens and where others reach it.
#[derive(Debug, Clone)]
pub struct BoundAddresses {
    /// `host:port` for clients.
    pub client: String,
    /// For peers.
    pub peer: SocketAddr,
    /// The admin endpoint.
    pub admin: SocketAddr,
}

impl Shared {
    /// The node's randomness.
    pub(crate) fn rng(&self) -> MutexGuard<'_, StdRng> {
        lock(&self.rng)
    }

    /// The node as it tells others about itself.
    pub(crate) fn state(&self) -> NodeState {
        // Without an address it is no entry point, and stays in the ring for the clients that it still has.
        let draining = self.draining.load(Ordering::Relaxed);
        NodeState {
            node: self.local.name.clone(),
            life: self.local.life,
            revision: self.revision.fetch_add(1, Ordering::Relaxed) + 1,
            client_address: if draining { String::new() } else { self.addresses.client.clone() },
            weight: self.config.weight,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sessions: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
            links: self.links(),
            leaving: self.leaving.load(Ordering::Relaxed),
            resting: self.topology.rests(&self.local.name),
            forgotten: self.forgotten.all(self.local.clock.wall_us()),
        }
    }

    fn links(&self) -> Vec<LinkState> {
        let members = self.topology.members();
        let flaps = |name: &NodeName| members.iter().find(|status| status.member.name == *name).map(|s| s.link_flaps);
        let links = self.peers.all();
        let states = links.iter().filter_map(|link| link.state());
        states.map(|link| LinkState { flaps: flaps(&link.peer).unwrap_or(0), ..link }).collect()
    }

    /// Learns what another node tells about itself over its link.
    pub(crate) async fn learn_state(&self, state: &NodeState, region: Option<&RegionName>) {
        self.directory.learn(state, region);
        state.forgotten.iter().for_each(|order| self.forgotten.learn(self.local.clock.wall_us(), order));
        if state.leaving {
            self.topology.tell(Change::Left(state.node.clone())).await;
            return;
        }
        let heard = state.links.iter().filter(|link| !link.silent);
        let flaps = state.links.iter().find(|link| link.peer == self.local.name).map_or(0, |link| link.flaps);
        let report = Report { links: heard.map(|link| link.peer.clone()).collect(), resting: state.resting, flaps };
        self.topology.tell(Change::Report(state.node.clone(), report)).await;
        self.topology.tell(Change::Weight(state.node.clone(), state.weight)).await;
    }

    /// Every node that takes clients now.
    pub(crate) fn entry_points(&self) -> Vec<EntryPoint> {
        let here = &self.local.name;
        self.directory.entry_points(|name| name == here || self.topology.is_reachable(name))
    }

    /// What keeps the node from being ready, if anything.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("the node is stopping");
        }
        if self.config.auth.issuers.is_empty() {
            return Some("no token issuer: put an issuer's public key file into [auth] issuers");
        }
        let alone = self.peers.all().is_empty() && !self.config.peer.seeds.is_empty();
        if alone && self.local.clock.now() < ALONE_READY_AFTER {
            return Some("looking for the mesh: no seed has answered yet");
        }
        None
    }
}
