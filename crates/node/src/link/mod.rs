//! Runs one link: the hello of both sides, then wishes and node states on its control stream, messages on a stream of
//! their own, and questions of the admin page on a stream each. Only this module speaks peer frames. [`accepting`] and
//! [`dialing`] make the connections; [`relaying`] talks through a third node to those that cannot be seen.
//!
//! Everything of a link runs in one task and ends with it. A link that is stuck fills its own queue and delays nobody; one
//! over which nothing is heard any more is routed around, and stays open while the dialer tries for a new one.

pub(crate) mod accepting;
pub(crate) mod dialing;
pub(crate) mod relaying;
mod streams;
mod wishes;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use farwire_core::interest::Applied;
use farwire_core::pulse::{PING_EVERY, Ping, Pulse, Turn};
use farwire_transport::{Closed, Connection, FrameReader, FrameWriter, PeerConnection, ReadError, WriteError};
use farwire_wire::limits::{PEER_FRAME_BYTES_MAX, PEER_HELLO_BYTES_MAX, PEER_QUERY_BYTES_MAX, PROTOCOL_VERSION};
use farwire_wire::peer::{Messages, PeerFrame, PeerHello, PeerQuery, StreamKind};
use farwire_wire::{ErrorCode, NodeName, ViewDigest, WireError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;

use crate::peers::{FRAMES_TIMEOUT, Link, LinkMeters, Parcel, PresenceFrames, QUERY_TIMEOUT};
use crate::presence;
use crate::queue::{self, QueueName};
use crate::shared::Shared;
use crate::sync::lock;
use crate::topology::Change;

/// Both hellos must have passed within this time.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions of one peer that are answered at a time.
const ANSWERS_MAX: usize = 8;
/// How often a node tells its peers its state when nothing changes: load and round trips.
const STATE_EVERY: Duration = Duration::from_secs(2);

/// Which side opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// This node dialed.
    Dialer,
    /// The peer dialed.
    Listener,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("no hello within 5 s")]
    NoHello,
    #[error("the peer broke the protocol: {0}")]
    Protocol(WireError),
    #[error("the peer refused the link: {0}")]
    Refused(WireError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Closed(#[from] Closed),
    #[error("the peer ended its control stream")]
    Ended,
}

impl LinkError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoHello | Self::Read(ReadError::Slow(_)) => ErrorCode::FrameTimeout,
            Self::Protocol(error) => error.code,
            Self::Read(ReadError::Frame(error)) => error.code(),
            _ => ErrorCode::Closed,
        }
    }
}

/// Runs a link from its hello to its end. Not cancel safe: dropping it closes the connection, but leaves the placement
/// to be told.
pub(crate) async fn run(shared: Arc<Shared>, peer: PeerConnection, side: Side) -> LinkError {
    let connection = peer.connection.clone();
    let error = match tokio::time::timeout(HELLO_TIMEOUT, greet(&shared, &peer, side)).await {
        Err(_) => LinkError::NoHello,
        Ok(Err(error)) => error,
        Ok(Ok((hello, writer, reader))) => serve(&shared, hello, connection.clone(), writer, reader).await,
    };
    connection.close(error.code(), &error.to_string());
    error
}

/// Exchanges hellos on the first stream and checks the peer's.
async fn greet(
    shared: &Shared,
    peer: &PeerConnection,
    side: Side,
) -> Result<(PeerHello, FrameWriter, FrameReader), LinkError> {
    let (mut writer, mut reader) = match side {
        Side::Dialer => peer.connection.open_bi(PEER_HELLO_BYTES_MAX).await?,
        Side::Listener => peer.connection.accept_bi(PEER_HELLO_BYTES_MAX).await?,
    };
    let hello = PeerHello {
        versions: PROTOCOL_VERSION..=PROTOCOL_VERSION,
        mesh: shared.local.mesh.id,
        node: shared.local.name.clone(),
        region: shared.local.region.clone(),
        life: shared.local.life,
        state: shared.state(),
    };
    writer.write(PeerFrame::Hello(hello).encode()).await?;
    let frame = reader.next_frame().await?.ok_or(LinkError::Ended)?;
    let theirs = match PeerFrame::decode(frame).map_err(|error| LinkError::Protocol(error.error))? {
        PeerFrame::Hello(hello) => hello,
        PeerFrame::Error(error) => return Err(LinkError::Refused(error)),
        _ => return Err(protocol(ErrorCode::ProtocolState, "the first frame is not a hello")),
    };
    if let Err(error) = check_hello(shared, peer, &theirs) {
        writer.write(PeerFrame::Error(error.clone()).encode()).await?;
        let _ = tokio::time::timeout(Duration::from_millis(500), writer.finish_and_wait()).await;
        return Err(LinkError::Protocol(error));
    }
    reader.set_frame_bytes_max(PEER_FRAME_BYTES_MAX);
    reader.set_frame_timeout(shared.config.limits.frame_timeout);
    Ok((theirs, writer, reader))
}

fn check_hello(shared: &Shared, peer: &PeerConnection, hello: &PeerHello) -> Result<(), WireError> {
    let refuse = |code, message: String| Err(WireError::new(code, message));
    if !hello.versions.contains(&PROTOCOL_VERSION) {
        let message = format!("this node speaks version {PROTOCOL_VERSION}: run releases that share one");
        return refuse(ErrorCode::UnsupportedVersion, message);
    }
    if hello.mesh != shared.local.mesh.id {
        return refuse(ErrorCode::MeshMismatch, "another mesh id: give every node the same mesh file".to_owned());
    }
    if hello.node != peer.node || hello.state.node != peer.node {
        return refuse(ErrorCode::PeerIdentity, format!("the certificate is that of {}", peer.node));
    }
    if hello.node == shared.local.name {
        let message = "two nodes have this name: issue another certificate and set `name`".to_owned();
        return refuse(ErrorCode::PeerIdentity, message);
    }
    Ok(())
}

/// Registers the link and runs its parts until the first one ends.
async fn serve(
    shared: &Arc<Shared>,
    hello: PeerHello,
    connection: Connection,
    writer: FrameWriter,
    reader: FrameReader,
) -> LinkError {
    let bytes_max = shared.config.limits.link_queue_bytes_max;
    let meters = LinkMeters {
        control: shared.metrics.queue(QueueName::LinkControl),
        messages: shared.metrics.queue(QueueName::LinkMessages),
        presence: shared.metrics.queue(QueueName::LinkPresence),
    };
    let (link, frames, news) = Link::new(&hello, connection.clone(), bytes_max, meters);
    let link = Arc::new(link);
    match shared.peers.add(shared.local.clock.now(), &link) {
        Ok(replaced) => {
            if let Some(replaced) = replaced.as_ref().and_then(|link| link.direct()) {
                replaced.connection.close(ErrorCode::Closed, "replaced by a newer link");
            }
        }
        Err(error) => return protocol(ErrorCode::Overloaded, &error.to_string()),
    }
    shared.learn_state(&hello.state, Some(&hello.region)).await;
    tracing::info!(peer = %link.node, region = %link.region, "link up");
    tell_reach(shared, &link.node).await;
    let error = run_parts(shared, &link, connection, Control { writer, frames, reader }, news).await;
    if shared.peers.remove(&link) {
        tracing::info!(peer = %link.node, err = %error, "link down");
        tell_reach(shared, &link.node).await;
    }
    error
}

/// Tells the placement whether there is a link over which the node is heard. Two tasks may tell of an old link and a new
/// one at the same time: whoever tells last has looked last.
async fn tell_reach(shared: &Shared, node: &NodeName) {
    loop {
        let is_live = shared.peers.is_live(node);
        let change = if is_live { Change::LinkUp } else { Change::LinkDown };
        shared.topology.tell(change(node.clone())).await;
        if shared.peers.is_live(node) == is_live {
            return;
        }
    }
}

/// The control stream of a link.
struct Control {
    writer: FrameWriter,
    frames: queue::Receiver<PeerFrame>,
    reader: FrameReader,
}

async fn run_parts(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    connection: Connection,
    Control { writer, frames, reader }: Control,
    news: PresenceFrames,
) -> LinkError {
    let pulse = Mutex::new(Pulse::default());
    let ended = tokio::select! {
        biased;
        closed = connection.closed() => Err(closed.into()),
        ended = write_control(writer, frames) => ended,
        ended = read_control(shared, link, reader, &pulse) => ended,
        ended = beat(shared, link, &pulse) => ended,
        ended = wishes::tell(shared, link) => ended,
        ended = tell_state(shared, link) => ended,
        ended = send_messages(shared, link, &connection) => ended,
        ended = streams::send_presence(&connection, news) => ended,
        ended = streams::receive(shared, link, &connection) => ended,
        ended = receive_datagrams(shared, link, &connection) => ended,
        ended = answer_queries(shared, &connection) => ended,
    };
    ended.err().unwrap_or(LinkError::Ended)
}

async fn write_control(mut writer: FrameWriter, mut frames: queue::Receiver<PeerFrame>) -> Result<(), LinkError> {
    // Wishes and acks are small and others wait for them.
    writer.set_priority(1);
    while let Some(frame) = frames.recv().await {
        writer.write(frame.encode()).await?;
    }
    Ok(())
}

async fn read_control(
    shared: &Shared,
    link: &Arc<Link>,
    mut reader: FrameReader,
    pulse: &Mutex<Pulse>,
) -> Result<(), LinkError> {
    while let Some(frame) = reader.next_frame().await? {
        match PeerFrame::decode(frame).map_err(|error| LinkError::Protocol(error.error))? {
            PeerFrame::State(state) => {
                if state.node != link.node {
                    return Err(protocol(ErrorCode::PeerIdentity, "a state of another node"));
                }
                shared.learn_state(&state, Some(&link.region)).await;
            }
            PeerFrame::Interest(interest) => {
                link.view.learn(interest.view);
                let version = match shared.peers.told(link, &interest) {
                    Some(Applied::Yes(version)) => version,
                    Some(Applied::Missing) => 0,
                    None => continue,
                };
                let _link_ended = link.control.send(PeerFrame::InterestAck(version)).await;
            }
            PeerFrame::InterestAck(0) => link.asked_whole.notify_one(),
            PeerFrame::InterestAck(version) => link.outstanding.confirm(version, &link.confirmed),
            PeerFrame::Ping { number, seen } => {
                let turn = lock(pulse).hear(Ping { number, seen });
                if turn == Some(Turn::Heard) {
                    heard_again(shared, link).await;
                }
            }
            PeerFrame::Relay { to, frame } => relaying::pass_on(shared, &link.node, &to, frame),
            PeerFrame::Relayed { from, frame } => relaying::hear(shared, link, &from, frame),
            PeerFrame::ViewAnswer(view) => view_answered(shared, link, view).await,
            PeerFrame::Leaving => shared.topology.tell(Change::Left(link.node.clone())).await,
            PeerFrame::Error(error) => return Err(LinkError::Refused(error)),
            PeerFrame::Hello(_) => return Err(protocol(ErrorCode::ProtocolState, "a second hello")),
        }
    }
    Err(LinkError::Ended)
}

/// The peer acts on another view than this node did a moment ago. A weight that only one of the two has is all that a
/// link can mend; who is in the ring is for membership to agree on.
async fn view_answered(shared: &Shared, link: &Link, view: ViewDigest) {
    link.view.learn(view);
    if view != shared.topology.routes().view().digest() {
        tracing::debug!(peer = %link.node, %view, "peer acts on another view");
        let _link_ended = link.control.send(PeerFrame::State(shared.state())).await;
    }
}

/// Sends the signs of life, and routes around the link when none comes back.
async fn beat(shared: &Shared, link: &Arc<Link>, pulse: &Mutex<Pulse>) -> Result<(), LinkError> {
    let mut every = tokio::time::interval(PING_EVERY);
    // A process that was stopped beats once when it goes on, see `Pulse`.
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let (Ping { number, seen }, turn) = lock(pulse).beat();
        if turn == Some(Turn::Silent) && shared.peers.silence(link) {
            tracing::warn!(peer = %link.node, "nothing is heard over a link: it is routed around");
            tell_reach(shared, &link.node).await;
        }
        // With the queue full, there is enough to be heard by; the peer's answer to it is what counts.
        link.say(PeerFrame::Ping { number, seen });
    }
}

async fn heard_again(shared: &Shared, link: &Arc<Link>) {
    if shared.peers.hear(shared.local.clock.now(), link) {
        tracing::info!(peer = %link.node, "a link is heard again");
        tell_reach(shared, &link.node).await;
        // What was told meanwhile went another way, in both directions.
        link.asked_whole.notify_one();
        let _link_ended = link.control.send(PeerFrame::InterestAck(0)).await;
    }
}

/// Tells the node's state now and then, and at once when the routes change: the peer may be a relay, or need one.
async fn tell_state(shared: &Shared, link: &Link) -> Result<(), LinkError> {
    let mut every = tokio::time::interval(STATE_EVERY);
    let mut routes = shared.topology.changes();
    loop {
        tokio::select! {
            biased;
            changed = routes.changed() => changed.map_err(|_| LinkError::Ended)?,
            _ = every.tick() => {}
        }
        link.control.send(PeerFrame::State(shared.state())).await.map_err(|_| LinkError::Ended)?;
    }
}

async fn send_messages(shared: &Shared, link: &Link, connection: &Connection) -> Result<(), LinkError> {
    let direct = link.direct().ok_or(LinkError::Ended)?;
    let mut writer = connection.open_uni().await?;
    writer.write(StreamKind::Messages.encode()).await?;
    loop {
        let batch = direct.outbox.batch(|| shared.topology.routes().view().digest()).await;
        shared.metrics.link_batches.inc();
        shared.metrics.link_messages.inc_by(batch.messages.entries.len() as u64);
        if !batch.datagram || !connection.send_datagram(batch.messages.encode_datagram()) {
            writer.write(batch.messages.encode()).await?;
        }
    }
}

async fn receive_datagrams(shared: &Shared, link: &Link, connection: &Connection) -> Result<(), LinkError> {
    loop {
        let datagram = connection.read_datagram().await?;
        let messages = Messages::decode(datagram).map_err(|error| LinkError::Protocol(error.error))?;
        take_messages(shared, link, messages, true);
    }
}

/// Messages are for this node, or for one that the sender has no link to.
fn take_messages(shared: &Shared, link: &Link, messages: Messages, datagram: bool) {
    let Messages { step, hops, entries, relay_to: Some(to), .. } = messages else {
        return shared.router.arrived(link, messages);
    };
    let parcels = entries.into_iter().map(|entry| Parcel { step, hops, entry, datagram, relay_to: None });
    shared.metrics.relayed.inc_by(parcels.len() as u64);
    shared.metrics.undeliverable.inc_by(shared.peers.relay(&to, parcels));
}

async fn answer_queries(shared: &Arc<Shared>, connection: &Connection) -> Result<(), LinkError> {
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(_answered) = answers.next() => {}
            // A peer that asks much waits, and costs no more than so many answers.
            asked = connection.accept_bi(PEER_QUERY_BYTES_MAX), if answers.len() < ANSWERS_MAX => {
                let (writer, reader) = asked?;
                answers.push(tokio::time::timeout(FRAMES_TIMEOUT, answer(shared, writer, reader)));
            }
        }
    }
}

async fn answer(shared: &Shared, mut writer: FrameWriter, mut reader: FrameReader) -> Result<(), LinkError> {
    let frame = reader.next_frame().await?.ok_or(LinkError::Ended)?;
    match PeerQuery::decode(frame).map_err(|error| LinkError::Protocol(error.error))? {
        PeerQuery::Presence { channels, occupants, relay_to: Some(to) } => {
            let query = PeerQuery::Presence { channels, occupants, relay_to: None };
            presence::relay_query(shared, writer, &to, &query).await?;
        }
        PeerQuery::Presence { channels, occupants, relay_to: None } => {
            presence::serve_query(shared, writer, channels, occupants).await?;
        }
        PeerQuery::Where(client) => presence::serve_places(shared, writer, client).await?,
        query => {
            let answered = async {
                writer.write(PeerQuery::encode_answer(crate::admin::local_answer(shared, &query))).await?;
                writer.finish_and_wait().await;
                Ok::<_, LinkError>(())
            };
            let _too_slow = tokio::time::timeout(QUERY_TIMEOUT, answered).await;
        }
    }
    Ok(())
}

fn protocol(code: ErrorCode, message: &str) -> LinkError {
    LinkError::Protocol(WireError::new(code, message))
}
