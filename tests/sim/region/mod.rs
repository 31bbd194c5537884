//! A region of three replicas of one group, in virtual time: real Raft, real storage code over disks in memory, a network of
//! pipes. Everything that happens goes into a history of logged channels, which the invariants judge.

mod mortal;
mod pipes;
mod publisher;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farwire_core::log::{Applied, Log};
use farwire_log::{Delivered, Group, GroupOptions, Groups, Memory, Opened, Receiver, Store, StoreOptions};
use farwire_sim::logged::event::{self, Event, Hex, Name, Replica};
use farwire_sim::logged::{History, Terms, Verdict, judge};
use farwire_wire::log::Command;
use farwire_wire::{NodeName, Origin, Shard};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use mortal::Mortal;
use pipes::{Door, Net};
use publisher::Publishing;

pub(crate) const NODES: [&str; 3] = ["fra-1", "fra-2", "fra-3"];
const SHARD: Shard = Shard(0);

/// The region, and whoever publishes in it.
pub(crate) struct Region {
    pub(crate) history: History,
    begun: Instant,
    net: Net,
    nodes: Vec<Node>,
    /// The groups of the nodes that run, for publishers to ask.
    open: Arc<Mutex<BTreeMap<&'static str, Arc<Group>>>>,
    rng: Arc<Mutex<StdRng>>,
    publishing: Vec<Publishing>,
    lives: u64,
}

struct Node {
    name: &'static str,
    disk: Arc<Memory>,
    running: Option<Running>,
}

struct Running {
    disk: Arc<Mortal>,
    store: Store,
    group: Arc<Group>,
    committer: AbortHandle,
}

impl Region {
    /// Three nodes, one of which has founded the group.
    pub(crate) async fn start(seed: u64) -> Self {
        let node = |name| Node { name, disk: Arc::new(Memory::new()), running: None };
        let mut region = Self {
            history: History::simulated(WALL_AT_START),
            begun: Instant::now(),
            net: Net::new(seed),
            nodes: NODES.into_iter().map(node).collect(),
            open: Arc::default(),
            rng: Arc::new(Mutex::new(StdRng::seed_from_u64(seed ^ 0x10c))),
            publishing: Vec::new(),
            lives: 0,
        };
        for node in NODES {
            region.boot(node).await;
        }
        let replicas = region.nodes.iter().map(|node| {
            let running = node.running.as_ref().unwrap();
            (running.store.id(), NodeName::parse(node.name).unwrap())
        });
        let replicas: BTreeMap<u64, NodeName> = replicas.collect();
        let voters = NODES.map(Name::new).to_vec();
        region.note(Event::Voters { replica: replica(NODES[0]), nodes: voters });
        region.nodes[0].running.as_ref().unwrap().group.found(replicas).await.unwrap();
        region
    }

    /// Some publishers, each on a channel of its own and on one that all share.
    pub(crate) fn publish(&mut self, publishers: u64) {
        for number in 1..=publishers {
            let publishing = Publishing::start(number, self.open.clone(), self.history.clone(), self.rng.clone());
            self.publishing.push(publishing);
        }
    }

    /// Lets time pass.
    pub(crate) async fn pass_until(&self, at: Duration) {
        sleep_until(self.begun + at).await;
    }

    /// Starts a node on its disk.
    pub(crate) async fn boot(&mut self, name: &'static str) {
        self.lives += 1;
        let life = self.lives;
        let node = Name::new(name);
        self.note(Event::NodeStarted { node, region: Name::new("fra") });
        let options = StoreOptions { drawn_id: self.draw(), boot: life.into(), sync: true, bucket: life };
        let of = self.nodes.iter_mut().find(|node| node.name == name).unwrap();
        let disk = Mortal::new(of.disk.clone(), self.history.clone(), node);
        let Opened { store, committer, .. } = Store::open(disk.clone(), disk.clone(), options).unwrap();
        let committer = tokio::spawn(committer.run(SYNC_TIME)).abort_handle();
        let (rng, begun) = (self.rng.clone(), self.begun);
        let options = GroupOptions {
            wall_us: Arc::new(move || u64::try_from((WALL_AT_START + begun.elapsed()).as_micros()).unwrap()),
            draw: Arc::new(move || rng.lock().unwrap().random()),
        };
        let door = Arc::new(Door { net: self.net.clone(), node: name, life });
        let groups = Groups::new(store.clone(), door, options);
        let seen = Arc::new(Seen { history: self.history.clone(), node, disk: disk.clone() });
        let group = Arc::new(groups.open(SHARD, seen).await.unwrap());
        self.net.up(name, life, groups);
        self.open.lock().unwrap().insert(name, group.clone());
        of.running = Some(Running { disk, store, group, committer });
    }

    /// A node's process dies, and if the power goes, so does what its disk had not synced.
    pub(crate) fn crash(&mut self, name: &'static str, lost_unsynced: bool) {
        let seed = self.draw();
        let node = self.nodes.iter_mut().find(|node| node.name == name).unwrap();
        let Some(running) = node.running.take() else { return };
        running.disk.die();
        running.committer.abort();
        self.net.down(name);
        self.open.lock().unwrap().remove(name);
        if lost_unsynced {
            node.disk.crash(seed);
        }
        self.note(Event::NodeCrashed { node: Name::new(name), lost_unsynced });
        // What is left of it sees a dead disk and a dead network, and ends.
        tokio::spawn(async move {
            if let Some(group) = Arc::into_inner(running.group) {
                group.close().await;
            }
        });
    }

    /// The node that leads, as far as the first of those that run knows.
    pub(crate) fn leader(&self) -> Option<&'static str> {
        let leader = self.nodes.iter().find_map(|node| node.running.as_ref()?.group.leader())?;
        NODES.into_iter().find(|name| leader.as_str() == *name)
    }

    /// Cuts or mends one direction.
    pub(crate) fn set_cut(&self, from: &'static str, to: &'static str, is_cut: bool) {
        self.net.set_cut(from, to, is_cut);
    }

    /// The next failure of a node's disk.
    pub(crate) fn fail_next_sync(&self, name: &str) {
        self.nodes.iter().find(|node| node.name == name).unwrap().disk.fail_sync(1);
    }

    pub(crate) fn note(&self, event: Event) {
        self.history.note(event).unwrap();
    }

    fn draw(&self) -> u64 {
        self.rng.lock().unwrap().random()
    }

    /// Stops publishing, waits until all replicas have as much, drains each and judges the run.
    pub(crate) async fn end(mut self) -> Verdict {
        for publishing in std::mem::take(&mut self.publishing) {
            publishing.stop().await;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut extra = Vec::new();
        while let Err(why) = self.agreement() {
            if Instant::now() > deadline {
                extra.push(format!("replicas do not agree in the end: {why}"));
                break;
            }
            sleep_until(Instant::now() + Duration::from_millis(100)).await;
        }
        for node in &self.nodes {
            extra.extend(self.drain(node));
        }
        let mut verdict = judge(&self.history.records(), &Terms::default());
        verdict.violations.extend(extra);
        verdict
    }

    fn agreement(&self) -> Result<(), String> {
        let of = |node: &Node| {
            let group = &node.running.as_ref()?.group;
            Some((group.last(), group.digest()))
        };
        let states: Vec<_> = self.nodes.iter().map(of).collect();
        if states.iter().all(|state| state.is_some() && *state == states[0]) {
            Ok(())
        } else {
            Err(format!("{states:?}"))
        }
    }

    /// Reads a node's Raft log from its beginning and applies it anew: what it serves to who asks for everything. The state
    /// that it kept over its restarts must be the same.
    fn drain(&self, node: &Node) -> Option<String> {
        let name = Name::new(node.name);
        let Some(running) = &node.running else { return Some(format!("{name} is down in the end")) };
        let log = running.store.log(SHARD);
        let (mut state, mut applied, mut next) = (Log::new(), Applied::default(), 0);
        loop {
            let (commands, after) = match log.commands(next, 1 << 20) {
                Ok(commands) => commands,
                Err(error) => return Some(format!("{name} cannot read its log: {error}")),
            };
            if after == next {
                break;
            }
            next = after;
            for (index, command) in commands {
                state.apply(index, &Command::decode(command).unwrap(), &mut applied);
                for delivery in &applied.deliveries {
                    let entry = seen(state.origin().unwrap(), delivery);
                    self.note(Event::Stored { node: name, entry });
                    self.note(Event::Served { node: name, entry });
                }
            }
        }
        self.note(Event::Drained { node: name });
        let (kept, anew) = (running.group.digest(), state.digest());
        (kept != anew).then(|| format!("{name} kept another state than its log makes: {kept:016x}, {anew:016x}"))
    }
}

/// Notes what a replica applies.
struct Seen {
    history: History,
    node: Name,
    disk: Arc<Mortal>,
}

impl Receiver for Seen {
    fn deliver(&self, delivered: &Delivered<'_>) {
        if self.disk.is_dead() {
            return;
        }
        let position = |delivery: Option<&farwire_core::log::Delivery>| delivery.unwrap().position.get();
        let event = Event::Applied {
            replica: Replica { node: self.node, shard: delivered.shard.0.into() },
            log_index: delivered.log_index,
            term: delivered.term,
            origin: Hex(delivered.origin.0),
            from: position(delivered.deliveries.first()),
            to: position(delivered.deliveries.last()),
        };
        self.history.note(event).unwrap();
    }
}

fn seen(origin: Origin, delivery: &farwire_core::log::Delivery) -> event::Entry {
    let entry = farwire_wire::Entry::decode(delivery.entry.clone()).unwrap();
    event::Entry {
        place: event::Place { origin: Hex(origin.0), position: delivery.position.get() },
        offset: delivery.offset.get(),
        publish: event::Publish {
            publisher: Name::new(&entry.publisher.to_string()),
            channel: Name::new(entry.channel.as_str()),
            number: entry.number,
        },
        hash: publisher::hash(&entry.payload),
    }
}

fn replica(node: &str) -> Replica {
    Replica { node: Name::new(node), shard: SHARD.0.into() }
}

const WALL_AT_START: Duration = Duration::from_secs(1_800_000_000);
const SYNC_TIME: Duration = Duration::from_millis(1);
