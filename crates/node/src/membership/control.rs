//! How SWIM messages travel: over a connection of their own per peer, so that bulk on a link cannot delay them, each on
//! a short stream with a deadline. A message that is late is worth nothing and is dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farwire_transport::{Connection, PeerConnection, PeerPort, PeerRole};
use farwire_wire::limits::SWIM_BYTES_MAX;
use farwire_wire::{ErrorCode, NodeName};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::peers::{DIAL_TIMEOUT, OTHER_NODE_ADVICE, dial_advice};
use crate::queue::{self, QueueName};
use crate::throttle::Throttle;

/// A message that has not been delivered by then is dropped.
const DEADLINE: Duration = Duration::from_secs(4);
/// Messages that wait for one peer; the newest are shed.
const PEER_QUEUE: usize = 64;
/// Streams under way to one peer; above it messages wait.
const STREAMS_MAX: usize = 32;
/// Failed dials in a row that are worth a line: the first may be a moment's, and after about two minutes it is known.
const WARNED_FAILURES: std::ops::Range<u32> = 2..40;
/// Bytes around a SWIM message.
const ENVELOPE_BYTES: usize = 9;

/// A SWIM message from a peer whose certificate names `from`.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) from: NodeName,
    pub(crate) envelope: Bytes,
}

/// The sending side: a task and a bounded queue per peer.
pub(crate) struct Senders {
    port: Arc<PeerPort>,
    metrics: Arc<Metrics>,
    throttle: Arc<Throttle>,
    tasks: JoinSet<()>,
    peers: BTreeMap<NodeName, Sender>,
}

struct Sender {
    address: SocketAddr,
    queue: queue::Sender<(Instant, Bytes)>,
    task: AbortHandle,
}

impl Senders {
    pub(crate) fn new(port: Arc<PeerPort>, metrics: Arc<Metrics>, throttle: Arc<Throttle>) -> Self {
        Self { port, metrics, throttle, tasks: JoinSet::new(), peers: BTreeMap::new() }
    }

    /// Sends a message to the node at `address`, or sheds it.
    pub(crate) fn send(&mut self, name: &NodeName, address: SocketAddr, envelope: Bytes) {
        self.sender(name, address, None);
        let late_after = Instant::now() + DEADLINE;
        let shed = self.peers.get(name).is_none_or(|sender| !sender.queue.offer((late_after, envelope)));
        if shed {
            self.metrics.swim_shed.inc();
        }
    }

    /// Makes sure that there is a sender for the node, with `connection` where one is open already.
    pub(crate) fn sender(&mut self, name: &NodeName, address: SocketAddr, connection: Option<Connection>) {
        if self.peers.get(name).is_some_and(|sender| sender.address == address) {
            return;
        }
        let (queue, messages) = queue::bounded(PEER_QUEUE, self.metrics.queue(QueueName::SwimSent));
        let peer = Peer {
            port: self.port.clone(),
            throttle: self.throttle.clone(),
            name: name.clone(),
            address,
            connection,
            failed: 0,
        };
        let task = self.tasks.spawn(peer.run(messages, self.metrics.clone()));
        if let Some(old) = self.peers.insert(name.clone(), Sender { address, queue, task }) {
            old.task.abort();
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Sends what waits, for as long as `patience` lasts.
    pub(crate) async fn finish(mut self, patience: Duration) {
        // Senders end when their queues are empty and closed.
        self.peers.clear();
        let sent = async { while self.tasks.join_next().await.is_some() {} };
        let _unreachable = tokio::time::timeout(patience, sent).await;
    }

    /// Ends the senders of nodes that are gone.
    pub(crate) fn retain(&mut self, is_known: impl Fn(&NodeName) -> bool) {
        self.peers.retain(|name, sender| {
            let keep = is_known(name);
            if !keep {
                sender.task.abort();
            }
            keep
        });
    }
}

struct Peer {
    port: Arc<PeerPort>,
    throttle: Arc<Throttle>,
    name: NodeName,
    address: SocketAddr,
    connection: Option<Connection>,
    /// Dials without success since the last one with it.
    failed: u32,
}

impl Peer {
    async fn run(mut self, mut messages: queue::Receiver<(Instant, Bytes)>, metrics: Arc<Metrics>) {
        let mut streams: FuturesUnordered<BoxFuture<'static, bool>> = FuturesUnordered::new();
        loop {
            let (late_after, envelope) = tokio::select! {
                biased;
                Some(sent) = streams.next() => {
                    if !sent {
                        metrics.swim_shed.inc();
                    }
                    continue;
                }
                message = messages.recv(), if streams.len() < STREAMS_MAX => match message {
                    Some(message) => message,
                    // No more to come: see what is under way off.
                    None => {
                        while streams.next().await.is_some() {}
                        return;
                    }
                },
            };
            match self.connected().await {
                Some(connection) => streams.push(Box::pin(send_one(connection, envelope, late_after))),
                None => _ = metrics.swim_shed.inc(),
            }
        }
    }

    async fn connected(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.as_ref().filter(|c| c.close_reason().is_none()) {
            return Some(connection.clone());
        }
        self.connection = match self.port.dial(self.address, PeerRole::Control, DIAL_TIMEOUT).await {
            Ok(peer) if peer.node == self.name => {
                self.failed = 0;
                Some(peer.connection)
            }
            Ok(peer) => {
                peer.connection.close(ErrorCode::PeerIdentity, "another node was expected here");
                self.warn(&format!("node {} answers there", peer.node), OTHER_NODE_ADVICE);
                None
            }
            Err(error) => {
                self.warn(&error.to_string(), dial_advice(&error));
                None
            }
        };
        self.connection.clone()
    }

    /// Tells of dials that fail again and again, but not for ever of a node that is down for good.
    fn warn(&mut self, fault: &str, advice: &str) {
        self.failed = self.failed.saturating_add(1);
        if !WARNED_FAILURES.contains(&self.failed) {
            return;
        }
        if let Some(suppressed) = self.throttle.pass("membership dial", &self.name) {
            let (peer, address) = (&self.name, self.address);
            tracing::warn!(%peer, %address, err = fault, advice, suppressed, "membership cannot reach a node");
        }
    }
}

async fn send_one(connection: Connection, envelope: Bytes, late_after: Instant) -> bool {
    let sending = async {
        let mut stream = connection.open_uni().await.ok()?;
        stream.write_raw(envelope).await.ok()?;
        stream.finish_and_wait().await;
        Some(())
    };
    // A stream that is dropped late is reset.
    matches!(tokio::time::timeout_at(late_after, sending).await, Ok(Some(())))
}

/// Reads the SWIM messages of one peer until its connection ends. Not cancel safe: dropping it closes the connection.
pub(crate) async fn receive(peer: PeerConnection, inbox: queue::Sender<Arrived>) {
    while let Ok(stream) = peer.connection.accept_uni(SWIM_BYTES_MAX).await {
        let message = tokio::time::timeout(DEADLINE, stream.read_to_end(SWIM_BYTES_MAX + ENVELOPE_BYTES)).await;
        let Ok(Ok(envelope)) = message else { continue };
        if inbox.send(Arrived { from: peer.node.clone(), envelope }).await.is_err() {
            return;
        }
    }
}
