//! The Raft groups of a node: one for each shard that it keeps a log of.
//!
//! [`Groups`] opens them over one [`Store`] and answers what other nodes ask of them; a [`Group`] takes publishes. What
//! the log says goes to the [`Receiver`]. Sockets are behind [`Peers`].
//!
//! Not here: who is to be a replica, who may publish, who reads.

mod batches;
mod beats;
mod frames;
mod network;
mod peers;
mod serving;

use std::collections::BTreeMap;
use std::sync::Arc;

use farwire_wire::log::Publish;
use farwire_wire::{NodeName, Origin, Place, Shard};
use futures_util::stream::BoxStream;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Fatal, InitializeError, RaftError};
use openraft::impls::BasicNode;
use openraft::raft::StreamAppendResult;
use openraft::{Config, Raft, SnapshotPolicy, StepDownPolicy};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::machine::{Machine, MachineError, Receiver, State, lock};
use crate::store::Store;
use crate::types::{Types, seeded};
use batches::{Batches, Waiting};
pub use batches::{PublishError, Published};
use beats::Beats;
pub use frames::GROUP_FRAME_BYTES_MAX;
use network::Network;
pub use peers::{PIPE_FRAMES_MAX, Peers, Pipe};
use serving::Serving;

type GroupRaft = Raft<Types, Machine>;
type RaftStream = BoxStream<'static, Result<StreamAppendResult<Types>, Fatal<Types>>>;

/// What groups have of the world outside.
#[derive(Clone)]
pub struct GroupOptions {
    /// The wall clock, in microseconds since the Unix epoch.
    pub wall_us: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Draws a random number: the origin of a log that this node opens, and what openraft's timeouts are drawn from.
    pub draw: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// Why a group could not be opened or founded.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The state cannot be had; nothing changed.
    #[error(transparent)]
    State(#[from] MachineError),
    /// The group has failed and does nothing any more, for example because the disk has: restart the node.
    #[error("the group of shard {} has failed: {why}", shard.0)]
    Failed {
        /// Whose.
        shard: Shard,
        /// Why.
        why: String,
    },
    /// The group is there already, on this node or as far as it knows; nothing changed.
    #[error("the group of shard {} has been founded before", shard.0)]
    Founded {
        /// Whose.
        shard: Shard,
    },
}

/// The groups of a node. Clones are the same groups.
#[derive(Clone)]
pub struct Groups {
    store: Store,
    peers: Arc<dyn Peers>,
    beats: Arc<Beats>,
    serving: Arc<Serving>,
    options: GroupOptions,
}

/// A group, as one of its replicas has it. Dropped, it goes on until [`Group::close`].
pub struct Group {
    shard: Shard,
    raft: GroupRaft,
    state: State,
    serving: Arc<Serving>,
    store: u64,
    queue: mpsc::Sender<Waiting>,
    _batches: AbortOnDropHandle<()>,
}

impl Groups {
    /// None yet; the store says which there were.
    #[must_use]
    pub fn new(store: Store, peers: Arc<dyn Peers>, options: GroupOptions) -> Self {
        Self { store, peers, beats: Arc::default(), serving: Arc::default(), options }
    }

    /// Opens the group of a shard, with what the store has of it: an empty replica if it has nothing, which waits until
    /// somebody makes it a part of the group. Spawns its tasks.
    ///
    /// Not cancel safe: the group may or may not be open.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn open(&self, shard: Shard, receiver: Arc<dyn Receiver>) -> Result<Group, GroupError> {
        let machine = self.store.machine(shard, receiver)?;
        let state = machine.state();
        let network = Network { shard, peers: self.peers.clone(), beats: self.beats.clone() };
        let (id, log) = (self.store.id(), self.store.log(shard));
        let raft = GroupRaft::new(id, Arc::new(config()), network, log, machine);
        let raft = seeded(self.seed(), raft).await.map_err(|fatal| failed(shard, &fatal))?;
        self.serving.insert(shard, id, raft.clone());
        let (queue, queued) = mpsc::channel(batches::WAITING_MAX);
        let batches = Batches::new(raft.clone(), state.clone(), self.store.clone(), self.options.clone(), queued);
        let batches = AbortOnDropHandle::new(tokio::spawn(seeded(self.seed(), batches.run())));
        Ok(Group { shard, raft, state, serving: self.serving.clone(), store: id, queue, _batches: batches })
    }

    /// Answers a pipe that another node has opened, until it has no more to ask. The caller has checked that it is a peer.
    /// Cancel safe: the pipe breaks.
    pub async fn serve(&self, pipe: Pipe) {
        seeded(self.seed(), self.serving.serve(pipe)).await;
    }

    fn seed(&self) -> u64 {
        (self.options.draw)()
    }
}

impl Group {
    /// Founds the group: these stores, each on a node, are its first replicas. Once for a group, ever, by one of them.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn found(&self, replicas: BTreeMap<u64, NodeName>) -> Result<(), GroupError> {
        let replicas = replicas.into_iter().map(|(store, node)| (store, BasicNode::new(node.as_str())));
        let founded = seeded(self.store, self.raft.initialize(replicas.collect::<BTreeMap<_, _>>())).await;
        founded.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(_)) => GroupError::Founded { shard: self.shard },
            other => failed(self.shard, &other),
        })
    }

    /// Publishes a message: returns once a majority of the replicas has it on disk and it is in the log here. Messages that
    /// are handed in one after the other go into the log in that order. Waits while 8,192 are waiting.
    ///
    /// Cancel safe in that the message may or may not be published; publish it again under the same number.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, publish: Publish) -> Result<Published, PublishError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Waiting::new(publish, answer)).await.map_err(|_| PublishError::Failed)?;
        answered.await.unwrap_or(Err(PublishError::Failed))
    }

    /// The node that leads the group, as far as this one knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeName> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let node = metrics.membership_config.membership().get_node(&metrics.current_leader?)?;
        NodeName::parse(&node.addr).ok()
    }

    /// Whether this replica leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    /// The name of the group's log; `None` before it is open.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        lock(&self.state).origin()
    }

    /// The newest message of the log here.
    #[must_use]
    pub fn last(&self) -> Option<Place> {
        let log = lock(&self.state);
        Some(Place { origin: log.origin()?, position: log.last_position()? })
    }

    /// A hash of the group's state: the same on all replicas that have applied as much.
    #[must_use]
    pub fn digest(&self) -> u64 {
        lock(&self.state).digest()
    }

    /// Ends this replica's tasks; what is written stays. Not cancel safe: some may go on.
    pub async fn close(self) {
        self.serving.remove(self.shard, self.store);
        if let Err(error) = seeded(self.store, self.raft.shutdown()).await {
            tracing::warn!(shard = self.shard.0, err = %error, "a group did not end well");
        }
    }
}

/// `notes` on each value: see the constants.
fn config() -> Config {
    Config {
        cluster_name: "farwire".to_owned(),
        heartbeat_interval: 200,
        election_timeout_min: 600,
        election_timeout_max: 900,
        // The log is the message store: only retention removes from it.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // A leader that has lost entries of its term, which its followers have, must not give out their places again.
        enable_leader_restore: Some(false),
        // Who leads next is named by whoever hands over.
        removed_leader_step_down: StepDownPolicy::Never,
        ..Config::default()
    }
}

fn failed(shard: Shard, why: &dyn std::error::Error) -> GroupError {
    GroupError::Failed { shard, why: why.to_string() }
}
