//! A node, put together: opens the ports, starts the tasks, and ends them in order. What each task owns is in the table
//! of ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farwire_auth::Verifier;
use farwire_core::placement::{self, Member, MemberStatus};
use farwire_transport::endpoint::{CLIENT_PORT_ALPN, PEER_PORT_ALPN};
use farwire_transport::tls::{self, TlsError};
use farwire_transport::{ClientPort, EndpointError, PeerPort, Socket, TlsClock};
use farwire_wire::client::ChannelPresence;
use farwire_wire::peer::PeerFrame;
use farwire_wire::{ChannelName, ErrorCode, Life, NodeName, ViewDigest, WireError};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::config::{Config, Faults, Opened};
use crate::directory::Directory;
use crate::events::Events;
use crate::fanout::Fanout;
use crate::forgotten::Forgotten;
use crate::link::{accepting, dialing, relaying};
use crate::local::{Clock, Local};
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::peers::{Addresses, Peers};
use crate::presence::{Keeping, Presence, Queued};
use crate::probed::Probed;
use crate::queue::{self, QueueName};
use crate::router::Router;
use crate::sessions::Sessions;
use crate::shared::{BoundAddresses, Keys, Shared};
use crate::sync::watch;
use crate::topology::{Placing, Topology};
use crate::watchdog::{self, Limits, Pulse, Watch, Watchdog, Watched};
use crate::{admin, presence, probe, session, upkeep};

/// SWIM messages that wait for membership; their connections wait for room.
const SWIM_QUEUE: usize = 256;
/// How long a stopping node waits for its goodbyes to be heard.
const GOODBYE: Duration = Duration::from_millis(500);

/// What a node runs on: real sockets and clocks, or simulated ones.
pub struct Surroundings {
    /// The client port's socket.
    pub client: Socket,
    /// The peer port's socket.
    pub peer: Socket,
    /// The admin endpoint's; a node without one answers no questions.
    pub admin: Option<TcpListener>,
    /// The clocks.
    pub clock: Clock,
    /// The clock of TLS.
    pub tls_clock: TlsClock,
    /// Seeds every random choice of the node.
    pub rng: StdRng,
}

/// How a node sees its mesh: for whoever runs it in their own process, and has no admin endpoint to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The digest of the view in force: nodes of one digest share the channels out alike.
    pub view: ViewDigest,
    /// Who is in the ring.
    pub in_ring: BTreeSet<NodeName>,
    /// Who can be reached, the node itself included.
    pub reachable: BTreeSet<NodeName>,
    /// Who is heard over a link, and not only reached through another node.
    pub linked: BTreeSet<NodeName>,
    /// The node wants to own nothing now, because most of its peers have lost it.
    pub rests: bool,
}

/// Why a node did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Files that the config names cannot be used.
    #[error("{0}")]
    Files(#[from] Faults),
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// A port cannot be opened.
    #[error("{0}")]
    Endpoint(#[from] EndpointError),
    /// An address cannot be bound.
    #[error("cannot bind the {port} port to {address}: {source}; is another node running there? Set `{port}.bind`")]
    Bind {
        /// Which port.
        port: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The data directory cannot be made.
    #[error("cannot make the data directory {path}: {source}; see the owner of its parent, or change data_dir")]
    DataDir {
        /// `data_dir`.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system gives no thread for the watchdog.
    #[error("the watchdog cannot start: {0}; raise the limit of threads of the node's user")]
    Watchdog(std::io::Error),
}

/// A running node. Dropping it stops it at once; [`shutdown`](Self::shutdown) says goodbye first.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    client_port: Arc<ClientPort>,
    peer_port: Arc<PeerPort>,
    tasks: JoinSet<()>,
    sessions: Option<tokio::task::JoinHandle<()>>,
    membership: Option<tokio::task::JoinHandle<()>>,
    stopping: watch::Sender<bool>,
    leave: Option<oneshot::Sender<()>>,
    /// The loops that a watchdog has to watch.
    loops: Vec<Watched>,
    watchdog: Option<Watchdog>,
}

impl Node {
    /// Starts a node on real sockets, with a watchdog: when the runtime, one of its workers or a loop of the node is
    /// stuck for ten seconds, it **aborts the process**. Must be called within a tokio runtime, whose tasks must not
    /// block. Not cancel safe: a start that is dropped leaves nothing running, but may have bound its ports.
    ///
    /// # Errors
    /// Says which file, certificate or port is at fault and what to do.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let opened = config.open_files(&None)?;
        make_dir(&config.data_dir).map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })?;
        let bind = |port: &'static str, address: SocketAddr| move |source| StartError::Bind { port, address, source };
        let (client, peer, admin) = (config.client.bind, config.peer.bind, config.admin.bind);
        let surroundings = Surroundings {
            client: Socket::bind(client).map_err(bind("client", client))?,
            peer: Socket::bind(peer).map_err(bind("peer", peer))?,
            admin: Some(TcpListener::bind(admin).await.map_err(bind("admin", admin))?),
            clock: Clock::system(),
            tls_clock: None,
            rng: rand::make_rng(),
        };
        let mut node = Self::start_with(config, opened, surroundings)?;
        node.watch(Limits::default()).map_err(StartError::Watchdog)?;
        Ok(node)
    }

    fn watch(&mut self, limits: Limits) -> std::io::Result<()> {
        let (runtime, beating) = watchdog::runtime_pulse();
        self.tasks.spawn(beating);
        let workers = tokio::runtime::Handle::current().metrics();
        let watch = Watch { limits, workers, runtime, loops: self.loops.clone() };
        self.watchdog = Some(Watchdog::start(watch, &self.shared.metrics)?);
        Ok(())
    }

    /// Starts a node in surroundings of the caller's choosing, and without a watchdog: their time may be one of their
    /// own. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_in(config: Config, surroundings: Surroundings) -> Result<Self, StartError> {
        let opened = config.open_files(&surroundings.tls_clock)?;
        Self::start_with(config, opened, surroundings)
    }

    fn start_with(config: Config, opened: Opened, surroundings: Surroundings) -> Result<Self, StartError> {
        let Surroundings { mut client, mut peer, admin, clock, tls_clock, mut rng } = surroundings;
        let Opened { mesh, roots, client: client_key, peer: peer_key, issuers } = opened;
        let keys = Keys { client: Arc::new(client_key), peer: Arc::new(peer_key), clock: tls_clock.clone() };
        client.reset_secret = Some(tls::reset_secret(&config.tls.client_key)?);
        peer.reset_secret = Some(tls::reset_secret(&config.tls.peer_key)?);
        let verifier = Verifier::new(issuers, mesh.id);
        let client_tls = tls::client_port_server(keys.client.clone(), CLIENT_PORT_ALPN, tls_clock.clone())?;
        let client_port = Arc::new(ClientPort::open(client, client_tls)?);
        let peer_tls = tls::peer_server(keys.peer.clone(), roots.clone(), PEER_PORT_ALPN, tls_clock.clone())?;
        let dialing_tls = |alpn: &[u8]| tls::peer_client(keys.peer.clone(), roots.clone(), alpn, tls_clock.clone());
        let peer_port = Arc::new(PeerPort::open(peer, mesh.name.clone(), peer_tls, dialing_tls)?);
        let addresses = BoundAddresses {
            client: match &config.client.advertise {
                Some(address) => address.to_string(),
                None => client_port.local_address().map_err(EndpointError::from)?.to_string(),
            },
            peer: match config.peer.advertise {
                Some(address) => address,
                None => peer_port.local_address().map_err(EndpointError::from)?,
            },
            admin: match &admin {
                Some(listener) => listener.local_addr().map_err(EndpointError::from)?,
                None => config.admin.bind,
            },
        };
        let life = Life(rng.random());
        let local = Arc::new(Local::new(mesh, config.name.clone(), config.region.clone(), life, clock));
        Ok(assemble(config, local, verifier, keys, addresses, rng, (client_port, peer_port, admin)))
    }

    /// Where the node listens and is reached.
    #[must_use]
    pub fn addresses(&self) -> &BoundAddresses {
        &self.shared.addresses
    }

    /// How the node sees the mesh now.
    #[must_use]
    pub fn sight(&self) -> Sight {
        let members = self.shared.topology.members();
        let names = |wanted: fn(&MemberStatus) -> bool| {
            members.iter().filter(|status| wanted(status)).map(|status| status.member.name.clone()).collect()
        };
        let is_live = |name: &NodeName| self.shared.peers.is_live(name);
        Sight {
            view: self.shared.topology.routes().view().digest(),
            in_ring: names(|status| status.in_ring),
            reachable: names(|status| status.reachable),
            linked: self.shared.peers.all().iter().map(|link| link.node.clone()).filter(is_live).collect(),
            rests: self.shared.topology.rests(&self.shared.local.name),
        }
    }

    /// Who is on these channels, as the node answers its clients: for whoever runs it in their own process. Cancel safe.
    ///
    /// # Errors
    /// The owner of a channel cannot be asked just now: ask again.
    pub async fn presence(&self, channels: &[ChannelName]) -> Result<Vec<ChannelPresence>, WireError> {
        let frames = presence::query(&self.shared, channels.to_vec(), true).await?;
        let mut joined: Vec<ChannelPresence> = Vec::new();
        frames.into_iter().for_each(|frame| frame.join_to(&mut joined));
        Ok(joined)
    }

    /// Waits until a task of the node has ended by itself, which is a fault. Cancel safe.
    pub async fn failed(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) => "a task ended".to_owned(),
            None => std::future::pending().await,
        }
    }

    /// Leaves the mesh in good order: sends clients away, tells the peers, closes the ports. Takes about a second, and
    /// as long before it as clients need to go, 2 s at most. Not cancel safe: dropping it stops the node at once.
    pub async fn shutdown(mut self) {
        tracing::info!("stopping: sending clients away");
        self.shared.draining.store(true, Ordering::Relaxed);
        for link in self.shared.peers.all() {
            link.say(PeerFrame::State(self.shared.state()));
        }
        self.stopping.send_replace(true);
        if let Some(sessions) = self.sessions.take() {
            let _panicked = sessions.await;
        }
        self.shared.leaving.store(true, Ordering::Relaxed);
        self.say_goodbye().await;
        self.client_port.close(ErrorCode::GoAway, "the node has stopped");
        self.peer_port.close(ErrorCode::GoAway, "the node has stopped");
        let idle = async {
            self.client_port.wait_idle().await;
            self.peer_port.wait_idle().await;
        };
        let _slow = tokio::time::timeout(GOODBYE, idle).await;
        self.tasks.shutdown().await;
        tracing::info!("stopped");
    }

    async fn say_goodbye(&mut self) {
        let links = self.shared.peers.all();
        for link in &links {
            link.say(PeerFrame::Leaving);
        }
        if let Some(leave) = self.leave.take() {
            let _membership_ended = leave.send(());
        }
        if let Some(membership) = self.membership.take() {
            let _panicked = membership.await;
        }
        // The goodbyes are on their way when the connections close: give them a round trip.
        let farthest =
            links.iter().filter_map(|link| Some(link.direct()?.connection.path_stats().rtt)).max().unwrap_or_default();
        tokio::time::sleep(farthest.min(GOODBYE)).await;
    }
}

/// Puts together what the parts share.
fn assemble(
    config: Config,
    local: Arc<Local>,
    verifier: Verifier,
    keys: Keys,
    addresses: BoundAddresses,
    rng: StdRng,
    (client_port, peer_port, admin): (Arc<ClientPort>, Arc<PeerPort>, Option<TcpListener>),
) -> Node {
    let member = Member { name: local.name.clone(), region: local.region.clone(), weight: config.weight };
    let ring = placement::Config { down_leaves_ring: config.membership.ring_leave_after, ..Default::default() };
    let metrics = Arc::new(Metrics::default());
    let (topology, placing) = Topology::new(member, local.mesh.shards, ring, metrics.queue(QueueName::Changes));
    let fanout = Arc::new(Fanout::new(local.mesh.shards, config.limits.tail_bytes_max));
    let peers = Arc::new(Peers::default());
    let routes = topology.routes_cell();
    let router = Router::new(local.clone(), routes, fanout.clone(), peers.clone(), metrics.clone());
    let (presences, presence_queued) = Presence::new(metrics.queue(QueueName::Presence));
    let shared = Arc::new(Shared {
        events: Events::new(local.clock.clone(), metrics.queue(QueueName::Events)),
        directory: Arc::new(Directory::default()),
        sessions: Sessions::default(),
        presence: presences,
        probed: Probed::default(),
        forgotten: Forgotten::default(),
        rng: Mutex::new(rng),
        throttle: Arc::default(),
        revision: AtomicU64::new(0),
        draining: AtomicBool::new(false),
        leaving: AtomicBool::new(false),
        config,
        local,
        verifier,
        fanout,
        peers,
        topology,
        router,
        metrics,
        keys,
        addresses,
    });
    shared.directory.learn(&shared.state(), Some(&shared.local.region));
    start_tasks(shared, (placing, presence_queued), (client_port, peer_port, admin))
}

/// Starts the tasks, in the order in which they need each other.
fn start_tasks(
    shared: Arc<Shared>,
    (placing, presence_queued): (Placing, Queued),
    (client_port, peer_port, admin): (Arc<ClientPort>, Arc<PeerPort>, Option<TcpListener>),
) -> Node {
    let stopping = watch::Sender::new(false);
    let (leave, left) = oneshot::channel();
    let (inbox, arrived) = queue::bounded(SWIM_QUEUE, shared.metrics.queue(QueueName::SwimReceived));
    let (members, dialed) = watch::channel(Addresses::new());
    let membership = Membership::new(shared.clone(), &peer_port, shared.addresses.peer, members);
    let mut tasks = JoinSet::new();
    let placed = shared.clone();
    let (placement_pulse, placement_watched) = Pulse::new("placement");
    let (membership_pulse, membership_watched) = Pulse::new("membership");
    tasks.spawn(async move {
        placing.run(&placed.topology, &placed.local, &placed.peers, &placed.events, placement_pulse).await;
    });
    let (presence_pulse, presence_watched) = Pulse::new("presence");
    tasks.spawn(Keeping::new(shared.clone(), presence_queued).run(presence_pulse));
    tasks.spawn(accepting::accept(shared.clone(), peer_port.clone(), inbox));
    tasks.spawn(dialing::run(shared.clone(), peer_port.clone(), dialed));
    tasks.spawn(relaying::run(shared.clone()));
    if let Some(listener) = admin {
        tasks.spawn(admin::serve(shared.clone(), listener));
    }
    tasks.spawn(upkeep::run(shared.clone(), peer_port.clone()));
    tasks.spawn(probe::run(shared.clone()));
    let sessions = tokio::spawn(session::accept(shared.clone(), client_port.clone(), stopping.subscribe()));
    let membership = tokio::spawn(membership.run(arrived, left, membership_pulse));
    tracing::info!(
        node = %shared.local.name, region = %shared.local.region, client = %shared.addresses.client,
        peer = %shared.addresses.peer, admin = %shared.addresses.admin, "node started"
    );
    Node {
        shared,
        client_port,
        peer_port,
        tasks,
        sessions: Some(sessions),
        membership: Some(membership),
        stopping,
        leave: Some(leave),
        loops: vec![placement_watched, membership_watched, presence_watched],
        watchdog: None,
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.sessions.iter().chain(&self.membership).for_each(tokio::task::JoinHandle::abort);
    }
}

/// What a node keeps is for its own user only.
fn make_dir(path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(path)
}
