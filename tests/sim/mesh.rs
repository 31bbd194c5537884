//! The simulated mesh: five nodes in three regions, their clients, and what goes wrong among them. Reads like a story:
//! `begin` and `end` faults, `pass` time, and `check` the history at the end.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farwire_node::{Clock, Node, Sight, Surroundings};
use farwire_sim::faults::{Fault, Host};
use farwire_sim::history::{Event, History};
use farwire_sim::invariants::{self, Terms};
use farwire_sim::net::{Delays, Net, Weather};
use farwire_transport::Socket;
use farwire_wire::ChannelName;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Publishes, SimClient, Start, Wants};
use crate::files::{BEGINNING_S, CLIENT_PORT, PEER_PORT, REGIONS, files, node_hosts};
use crate::occupant::Occupant;
use crate::runs::Outcome;

/// How long after a change for the better or the worse everything works again.
const SETTLE: Duration = Duration::from_secs(8);
/// How long a publish waits for its ack and a message for its subscribers at most, while nothing is wrong.
const WITHIN: Duration = Duration::from_secs(3);
const TWICE_A_SECOND: Publishes = Publishes { every: Duration::from_millis(500), bytes: 0 };
/// A node that was killed leaves no ghost for longer.
pub(crate) const AFTER_A_KILL: Duration = Duration::from_secs(20);
/// How long a mesh may take to come up.
const COMES_UP_WITHIN: Duration = Duration::from_secs(15);

/// The mesh and its world.
pub(crate) struct Mesh {
    pub(crate) history: History,
    net: Arc<Net>,
    rng: StdRng,
    wall: Instant,
    hosts: Vec<Host>,
    nodes: BTreeMap<String, Node>,
    clients: BTreeMap<String, SimClient>,
    occupants: BTreeMap<String, Occupant>,
    /// How far each node's wall clock is ahead.
    ahead_us: BTreeMap<String, Arc<AtomicU64>>,
    faults: Vec<Fault>,
    /// How long after the last fault every node lists exactly who is there.
    pub(crate) settle_presence: Duration,
    leaving: JoinSet<()>,
}

impl Mesh {
    /// Starts all nodes and waits until everybody sees everybody.
    pub(crate) async fn start(seed: u64) -> Self {
        let mut mesh = Self {
            history: History::begin(),
            net: Net::start(seed, delays()),
            rng: StdRng::seed_from_u64(seed),
            wall: Instant::now(),
            hosts: node_hosts(),
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
            occupants: BTreeMap::new(),
            ahead_us: BTreeMap::new(),
            faults: Vec::new(),
            settle_presence: AFTER_A_KILL,
            leaving: JoinSet::new(),
        };
        for host in node_hosts() {
            mesh.start_node(&host.name);
        }
        mesh.agrees_within(COMES_UP_WITHIN).await;
        mesh
    }

    /// Adds a client of a region.
    pub(crate) async fn client(&mut self, name: &str, region: &str, wants: Wants, publishes: Option<Publishes>) {
        let start = self.newcomer(name, region, wants, publishes);
        let client = SimClient::start(start, self.history.clone()).await;
        self.clients.insert(name.to_owned(), client);
    }

    /// Adds a client of a region that is present on channels, as told by the test or at random.
    pub(crate) async fn occupant(&mut self, name: &str, region: &str) {
        let start = self.newcomer(name, region, Wants::Everything, None);
        let occupant = Occupant::start(start, self.history.clone()).await;
        self.occupants.insert(name.to_owned(), occupant);
    }

    /// A client that was added before.
    pub(crate) fn present(&mut self, name: &str) -> &mut Occupant {
        self.occupants.get_mut(name).expect("the client was added")
    }

    /// A client's process ends. Whoever is to hear of it must be told otherwise.
    pub(crate) fn drop_occupant(&mut self, name: &str) {
        drop(self.occupants.remove(name));
    }

    fn newcomer(&mut self, name: &str, region: &str, wants: Wants, publishes: Option<Publishes>) -> Start {
        let node = self.hosts.iter().find(|host| host.region == region).expect("the region has a node");
        let IpAddr::V4(of_region) = node.address else { panic!("nodes have IPv4 addresses") };
        let number = u8::try_from(self.clients.len() + self.occupants.len() + 1).unwrap();
        let address = [10, of_region.octets()[1], 1, number].into();
        let host = Host { name: name.to_owned(), region: region.to_owned(), address };
        self.hosts.push(host.clone());
        let socket = self.socket(address, 5_000);
        Start { host, wants, publishes, socket, seed: self.rng.random() }
    }

    /// Has every node that runs say who is on some channels.
    pub(crate) async fn list(&self, channels: &[ChannelName]) {
        let listed = self.nodes.iter().map(async |(name, node)| (name, node.presence(channels).await));
        for (name, answer) in futures_util::future::join_all(listed).await {
            for (n, channel) in channels.iter().enumerate() {
                let who = match &answer {
                    Ok(answer) => {
                        Ok(answer[n].occupants.iter().map(|occupant| occupant.client.as_str().into()).collect())
                    }
                    Err(error) => Err(error.to_string()),
                };
                let (node, channel) = (name.as_str().into(), channel.as_str().into());
                self.history.note(Event::Listed { node, channel, who });
            }
        }
    }

    /// A node's wall clock jumps to so far ahead of the true time.
    pub(crate) fn set_clock_ahead(&self, node: &str, ahead: Duration) {
        self.ahead_us[node].store(u64::try_from(ahead.as_micros()).unwrap(), Ordering::Relaxed);
    }

    /// Adds two clients of each region that publish twice a second: `fra-a` hears whatever is live, `fra-b` asks for each
    /// channel by its name.
    pub(crate) async fn usual_clients(&mut self) {
        let clients = usual_clients();
        let names: Vec<_> = clients.iter().map(|client| client.name.clone()).collect();
        for Host { name, region, .. } in clients {
            let wants = if name.ends_with('a') { Wants::Everything } else { Wants::Those(names.clone()) };
            self.client(&name, &region, wants, Some(TWICE_A_SECOND)).await;
        }
    }

    /// Everybody is there: from now on the invariants hold.
    pub(crate) fn begun(&self) {
        self.history.note(Event::Begun);
    }

    /// Something goes wrong.
    pub(crate) fn begin(&mut self, fault: Fault) {
        let way_around = fault.has_a_way_around(&node_hosts());
        self.history.note(Event::Fault { what: fault.to_string(), way_around });
        match &fault {
            Fault::Crash(node) => self.crash(node),
            Fault::Leave(node) => self.leave(node),
            _ => {}
        }
        self.faults.push(fault);
        self.set_weather();
    }

    /// It is over. A node that is gone comes back, unless it is gone for another reason too.
    pub(crate) fn end(&mut self, fault: &Fault) {
        let at = self.faults.iter().position(|other| other == fault).expect("the fault has begun");
        self.faults.remove(at);
        self.history.note(Event::Mended(fault.to_string()));
        if let Fault::Crash(node) | Fault::Leave(node) = fault
            && !self.faults.iter().any(|other| matches!(other, Fault::Crash(n) | Fault::Leave(n) if n == node))
        {
            self.start_node(node);
        }
        self.set_weather();
    }

    /// Lets virtual time pass.
    pub(crate) async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Lets virtual time pass up to this time of the run.
    pub(crate) async fn pass_until(&self, at: Duration) {
        tokio::time::sleep(at.saturating_sub(self.history.now())).await;
    }

    /// Has a client read its subscription, or leave it lie.
    pub(crate) fn set_reads(&self, client: &str, reads: bool) {
        self.clients[client].set_reads(reads);
    }

    /// The node of a client's session.
    pub(crate) fn node_of(&self, client: &str) -> String {
        self.clients[client].node()
    }

    /// How a node that runs sees the mesh.
    pub(crate) fn sight(&self, node: &str) -> Sight {
        self.nodes[node].sight()
    }

    /// Starts a node that does not run.
    pub(crate) fn start_node(&mut self, name: &str) {
        let host = self.host(name).clone();
        let config = files().config(&host);
        let begun = self.wall;
        let ahead_us = self.ahead_us.entry(name.to_owned()).or_default().clone();
        let surroundings = Surroundings {
            client: self.socket(host.address, CLIENT_PORT),
            peer: self.socket(host.address, PEER_PORT),
            admin: None,
            clock: Clock::new(move || wall_us(begun) + ahead_us.load(Ordering::Relaxed)),
            tls_clock: None,
            rng: StdRng::seed_from_u64(self.rng.random()),
        };
        let node = Node::start_in(config, surroundings).unwrap();
        let replaced = self.nodes.insert(name.to_owned(), node);
        assert!(replaced.is_none(), "{name} runs already");
    }

    /// What is wrong with the run up to now, as a line each.
    async fn violations(&mut self, settle: Duration) -> Vec<String> {
        let settle_presence = self.settle_presence;
        let terms = Terms { settle, within: WITHIN, settle_presence, end: self.history.now() };
        let mut found = invariants::violations(&self.history.records(), &terms);
        found.extend(self.discord());
        for (name, node) in &mut self.nodes {
            // Without waiting: a node that is well never resolves.
            if let Ok(why) = tokio::time::timeout(Duration::ZERO, node.failed()).await {
                found.push(format!("failed: {name}: {why}"));
            }
        }
        for (name, occupant) in &mut self.occupants {
            if occupant.has_failed() {
                found.push(format!("failed: the test's client {name}"));
            }
        }
        for (name, client) in &mut self.clients {
            if client.has_failed() {
                found.push(format!("failed: the test's client {name}"));
            }
        }
        found
    }

    /// Whatever is wrong, the invariants hold from now on.
    pub(crate) fn no_excuse(&self) {
        self.history.note(Event::NoExcuse);
    }

    /// Ends the run: what the invariants say of it, with the usual time to settle, and what the story itself has found.
    pub(crate) async fn outcome(self, found: Vec<String>) -> Outcome {
        self.outcome_settled_in(SETTLE, found).await
    }

    /// The same with another time to settle.
    pub(crate) async fn outcome_settled_in(mut self, settle: Duration, found: Vec<String>) -> Outcome {
        let mut violations = self.violations(settle).await;
        violations.extend(found);
        Outcome { violations, records: self.history.records(), packets: self.net.packets() }
    }

    /// Waits until all nodes that run agree.
    ///
    /// # Panics
    /// When they do not in time.
    pub(crate) async fn agrees_within(&self, time: Duration) {
        let patience = Instant::now() + time;
        while !self.discord().is_empty() {
            assert!(Instant::now() < patience, "{}", self.discord().join("\n"));
            self.pass(0.05).await;
        }
    }

    /// In what the nodes that run do not agree.
    fn discord(&self) -> Vec<String> {
        let sights: Vec<_> = self.nodes.iter().map(|(name, node)| (name, node.sight())).collect();
        let names = || self.nodes.keys().map(String::as_str);
        let mut found = Vec::new();
        for (name, sight) in &sights {
            let reached: Vec<_> = sight.reachable.iter().map(farwire_wire::NodeName::as_str).collect();
            if !names().eq(reached.iter().copied()) {
                found.push(format!("discord: {name} reaches {reached:?}"));
            }
            if sight.view != sights[0].1.view || sight.in_ring.len() < self.nodes.len() {
                found.push(format!("discord: {name} has {:?} in its ring, view {}", sight.in_ring, sight.view));
            }
        }
        found
    }

    fn crash(&mut self, node: &str) {
        let address = self.host(node).address;
        self.net.unplug(address);
        drop(self.nodes.remove(node));
    }

    /// It is given its time to say goodbye, while the story goes on.
    fn leave(&mut self, node: &str) {
        if let Some(running) = self.nodes.remove(node) {
            self.leaving.spawn(running.shutdown());
        }
    }

    fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).expect("the host exists")
    }

    fn socket(&mut self, address: IpAddr, port: u16) -> Socket {
        Socket::over(self.net.socket(SocketAddr::new(address, port)), self.rng.random())
    }

    /// Puts together what all faults do to each link.
    fn set_weather(&self) {
        for from in &self.hosts {
            for to in &self.hosts {
                let all = self.faults.iter().map(|fault| fault.weather(from, to));
                self.net.set(from.address, to.address, all.fold(Weather::default(), Weather::and));
            }
        }
    }
}

/// The hosts of [`Mesh::usual_clients`], whose addresses are given when they come.
pub(crate) fn usual_clients() -> Vec<Host> {
    let of_region = |(region, _)| {
        ["a", "b"].map(|letter| Host {
            name: format!("{region}-{letter}"),
            region: String::from(region),
            address: [0, 0, 0, 0].into(),
        })
    };
    REGIONS.into_iter().flat_map(of_region).collect()
}

fn delays() -> Delays {
    let ms = Duration::from_millis;
    let between = BTreeMap::from([((1, 2), ms(44)), ((1, 3), ms(80)), ((2, 3), ms(110))]);
    Delays { local: ms(1), far: ms(100), between }
}

fn wall_us(begun: Instant) -> u64 {
    BEGINNING_S * 1_000_000 + u64::try_from(begun.elapsed().as_micros()).unwrap()
}
