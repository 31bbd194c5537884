//! The handle that applications hold. Clones share one session, which lives in a task of its own and ends with the last
//! client, subscription and presence.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farwire_transport::endpoint::Dialer;
use farwire_wire::client::{ChannelPresence, PresenceQuery, WhereAnswer};
use farwire_wire::presence::{PresenceState, QUERY_CHANNELS_MAX};
use farwire_wire::{ChannelName, ClientId, ErrorClass, Filter, NodeName, Pattern, PublisherId, RegionName, SessionId};
use rand::RngExt;
use tokio::sync::{mpsc, oneshot, watch};

use crate::connect::Connector;
use crate::entry_points::EntryPoint;
use crate::error::{ConnectError, PresenceError, PublishError, SubscribeError};
use crate::ledger::Question;
use crate::options::ConnectOptions;
use crate::presence::{Presence, PresenceWatch, ask};
use crate::publisher::{Ack, PendingAck, Publisher};
use crate::session::{Session, Shared};
use crate::standing::{COMMANDS_MAX, Command, InFlight, Phase, Standing, Stay, Wanted, current_stay};
use crate::status::{Status, StatusBoard, StatusChanges};
use crate::subscription::{Subscription, pair};

/// What is under way when a client is closed has this long for its acks.
const CLOSE_ACKS_TIMEOUT: Duration = Duration::from_secs(5);

/// A question about presence has this long, over refusals and lost sessions.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
const QUESTION_PAUSE_MIN: Duration = Duration::from_millis(100);

/// A client of a mesh. Cheap to clone; clones share one session.
///
/// Dropping the last clone, the last subscription and the last presence ends the session; [`Client::close`] also waits for
/// acks.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// What keeps a session alive.
pub(crate) struct Handle {
    publisher: Publisher,
    commands: mpsc::Sender<Command>,
    standing: watch::Receiver<Standing>,
    board: Arc<StatusBoard>,
    entry_points: watch::Receiver<Vec<EntryPoint>>,
    dialer: Dialer,
    closing: watch::Sender<bool>,
}

impl Client {
    /// Connects to the mesh: to the preferred node or region if one is set, else to the nearest node that answers.
    /// Keeps asking for 10 s while the answer may still change: of who was silent, or full. A wished region or node that
    /// only the mesh knows is found through any of its nodes. Must be called on a tokio runtime, where the client's task
    /// then runs.
    ///
    /// Cancel safe: no session is left behind.
    ///
    /// # Errors
    /// The options cannot be used, no node could be reached or trusted, or one refused for a reason that holds for all.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        let mut connector = Connector::new(&options)?;
        let publisher_id = options.publisher.unwrap_or_else(|| PublisherId(connector.rng.random()));
        let established = Box::pin(connector.connect()).await?;
        let entry_points = connector.entry_points.told();
        let welcome = &established.welcome;
        let connected = Status::Connected { node: welcome.node.clone(), region: welcome.region.clone() };
        let stay = Arc::new(Stay { welcome: welcome.clone(), connection: established.connection.clone() });
        let in_flight_max = options.in_flight_max.min(welcome.limits.publishes_in_flight_max).max(1);
        let in_flight = InFlight::new(in_flight_max);
        let dialer = connector.dialer.clone();

        let board = Arc::new(StatusBoard::new(connected));
        let (commands, commands_out) = mpsc::channel(COMMANDS_MAX);
        let (closing, closing_out) = watch::channel(false);
        let (standing_in, standing) = watch::channel(Standing { stay: Arc::clone(&stay), phase: Phase::Up });
        let shared = Shared {
            commands: commands_out,
            closing: closing_out,
            standing: standing_in,
            board: Arc::clone(&board),
            in_flight: in_flight.clone(),
        };
        tokio::spawn(Session::new(connector, shared).run(established, stay));
        let publisher = Publisher::new(publisher_id, options.ack_level, commands.clone(), standing.clone(), in_flight);
        Ok(Self { handle: Arc::new(Handle { publisher, commands, standing, board, entry_points, dialer, closing }) })
    }

    /// Publishes `payload` to `channel` and waits for the ack; while reconnecting, for the next session first.
    ///
    /// Not cancel safe: once it has waited, the message may or may not be sent. Use [`Self::publish_pipelined`] where that matters.
    ///
    /// # Errors
    /// The message was not acked; the error's class says whether it may be delivered all the same.
    pub async fn publish(&self, channel: impl AsRef<str>, payload: impl Into<Bytes>) -> Result<Ack, PublishError> {
        self.publish_pipelined(channel, payload).await?.await
    }

    /// Publishes without waiting for the ack: only for a place among the publishes under way (256, unless set by
    /// [`ConnectOptions::in_flight_max`]), and while reconnecting for the next session. Messages are sent in the order
    /// in which calls return.
    ///
    /// Cancel safe: a dropped call has published nothing.
    ///
    /// # Errors
    /// The channel or the payload breaks a limit, or the client has ended; nothing was sent. All else comes with the ack.
    pub async fn publish_pipelined(
        &self,
        channel: impl AsRef<str>,
        payload: impl Into<Bytes>,
    ) -> Result<PendingAck, PublishError> {
        let channel = ChannelName::parse(channel.as_ref())?;
        self.handle.publisher.publish(channel, payload.into()).await
    }

    /// Publishes to a volatile channel by datagram: without an ack, and dropped rather than late. A message that does
    /// not fit a datagram (about 1,000 bytes) goes as [`Self::publish_pipelined`] sends it, with nobody waiting for its
    /// ack. Returns whether the message was sent; `false` while reconnecting and when the send buffer is full.
    ///
    /// Cancel safe: a dropped call has published nothing.
    ///
    /// # Errors
    /// The channel or the payload breaks a limit, or the client has ended; nothing was sent.
    pub async fn publish_datagram(
        &self,
        channel: impl AsRef<str>,
        payload: impl Into<Bytes>,
    ) -> Result<bool, PublishError> {
        let channel = ChannelName::parse(channel.as_ref())?;
        self.handle.publisher.publish_datagram(channel, payload.into()).await
    }

    /// Subscribes to the channels that `pattern` matches. Returns when the subscription is in force: what is published
    /// from now on arrives, but for the [`Subscription::pending_regions`].
    ///
    /// Cancel safe: a dropped call leaves no subscription.
    ///
    /// # Errors
    /// The pattern breaks its rules, the node refused, or the client has ended.
    pub async fn subscribe(&self, pattern: impl AsRef<str>) -> Result<Subscription, SubscribeError> {
        self.subscribe_all([pattern]).await
    }

    /// Subscribes to several patterns (1 to 16) at once: a message that matches more than one arrives once.
    ///
    /// Cancel safe: a dropped call leaves no subscription.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub async fn subscribe_all<P: AsRef<str>>(
        &self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<Subscription, SubscribeError> {
        let patterns: Result<Vec<_>, _> = patterns.into_iter().map(|text| Pattern::parse(text.as_ref())).collect();
        let filter = Filter::new(patterns?)?;
        current_stay(&self.handle.standing).await.map_err(SubscribeError::Closed)?;
        let (inlet, outlet) = pair();
        let (answer, answered) = oneshot::channel();
        let wanted = Command::Subscribe(Wanted { filter: filter.clone(), inlet, answer });
        self.handle.commands.send(wanted).await.map_err(|_| SubscribeError::Closed(None))?;
        answered.await.map_err(|_| SubscribeError::Closed(None))??;
        Ok(Subscription::new(filter, outlet, Arc::clone(&self.handle)))
    }

    /// Makes the client present on a channel, with a state that the others see: JSON of at most 1 KiB, from
    /// [`PresenceState::of`] a value or parsed from text, or nothing by its default. Returns when its node has it; the
    /// others hear of it about half a second later. One presence a channel, for all clones of a client:
    /// [`Presence::update`] changes the state.
    ///
    /// Cancel safe: a dropped call leaves again.
    ///
    /// # Errors
    /// A name breaks its rules, the client is present there already, the node refused, or the client has ended.
    pub async fn enter(&self, channel: impl AsRef<str>, state: PresenceState) -> Result<Presence, PresenceError> {
        let channel = ChannelName::parse(channel.as_ref())?;
        current_stay(&self.handle.standing).await.map_err(PresenceError::Closed)?;
        Presence::enter(channel, state, self.handle.commands.clone(), Arc::clone(&self.handle)).await
    }

    /// Who is on a channel, region by region, with their states. Like the other questions it outlives a lost session, and
    /// a refusal that may change: it is asked again for 10 s.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The name breaks its rules, the node refused, no answer came within 10 s, or the client has ended.
    pub async fn presence(&self, channel: impl AsRef<str>) -> Result<ChannelPresence, PresenceError> {
        let channel = ChannelName::parse(channel.as_ref())?;
        let answer = self.ask_presence(PresenceQuery { channels: vec![channel.clone()], occupants: true }).await?;
        let nobody = ChannelPresence { channel, occupancy: 0, clients: 0, regions: Vec::new(), occupants: Vec::new() };
        Ok(answer.into_iter().next().unwrap_or(nobody))
    }

    /// How many are on each of these channels (1 to 1,000), in their order and each once, without a list of them.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Self::presence`], or there are no channels or too many.
    pub async fn occupancy<C: AsRef<str>>(
        &self,
        channels: impl IntoIterator<Item = C>,
    ) -> Result<Vec<ChannelPresence>, PresenceError> {
        let channels: Result<Vec<_>, _> = channels.into_iter().map(|text| ChannelName::parse(text.as_ref())).collect();
        let channels = channels?;
        if channels.is_empty() || channels.len() > QUERY_CHANNELS_MAX {
            return Err(PresenceError::Channels);
        }
        self.ask_presence(PresenceQuery { channels, occupants: false }).await
    }

    /// The channels on which a client is present, of those whose presence this client may see.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Self::presence`].
    pub async fn locate(&self, client: impl AsRef<str>) -> Result<WhereAnswer, PresenceError> {
        let client = ClientId::parse(client.as_ref())?;
        self.persist(|answer| Question::Where { client: client.clone(), parts: WhereAnswer::default(), answer }).await
    }

    /// Watches who comes, goes and says something on the channels that `pattern` matches. Above the namespace's threshold
    /// of sessions a channel is summed up once a second. Who is there already is told by [`Self::presence`]: watch first,
    /// then ask.
    ///
    /// Cancel safe: a dropped call leaves no watch.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub async fn watch_presence(&self, pattern: impl AsRef<str>) -> Result<PresenceWatch, SubscribeError> {
        let pattern = Pattern::parse(pattern.as_ref())?.presence();
        Ok(PresenceWatch::new(self.subscribe(pattern.as_str()).await?))
    }

    /// Watches how many are on the channels that `pattern` matches: a sum once a second while that changes.
    ///
    /// Cancel safe: a dropped call leaves no watch.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub async fn watch_occupancy(&self, pattern: impl AsRef<str>) -> Result<PresenceWatch, SubscribeError> {
        let pattern = Pattern::parse(pattern.as_ref())?.counts();
        Ok(PresenceWatch::new(self.subscribe(pattern.as_str()).await?))
    }

    async fn ask_presence(&self, query: PresenceQuery) -> Result<Vec<ChannelPresence>, PresenceError> {
        self.persist(|answer| Question::Presence { query: query.clone(), parts: Vec::new(), answer }).await
    }

    /// Asks until there is an answer, or a refusal that will not change.
    async fn persist<T>(
        &self,
        question: impl Fn(oneshot::Sender<Result<T, PresenceError>>) -> Question,
    ) -> Result<T, PresenceError> {
        let asked = async {
            loop {
                current_stay(&self.handle.standing).await.map_err(PresenceError::Closed)?;
                match ask(&self.handle.commands, |answer| Command::Ask(question(answer))).await {
                    Err(PresenceError::Refused(error)) if error.code.class() == ErrorClass::Retryable => {
                        let pause = Duration::from_millis(error.retry_after_ms.into());
                        tokio::time::sleep(pause.max(QUESTION_PAUSE_MIN)).await;
                    }
                    answer => return answer,
                }
            }
        };
        tokio::time::timeout(QUESTION_TIMEOUT, asked).await.unwrap_or(Err(PresenceError::TimedOut(QUESTION_TIMEOUT)))
    }

    /// How the session is, and every change from now on.
    #[must_use]
    pub fn status(&self) -> StatusChanges {
        self.handle.board.listen()
    }

    /// The node of the session, or of the last one.
    #[must_use]
    pub fn node(&self) -> NodeName {
        self.handle.stay().welcome.node.clone()
    }

    /// The region of that node.
    #[must_use]
    pub fn region(&self) -> RegionName {
        self.handle.stay().welcome.region.clone()
    }

    /// The session, or the last one.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.handle.stay().welcome.session
    }

    /// Who the client is, as its token says.
    #[must_use]
    pub fn client_id(&self) -> ClientId {
        self.handle.stay().welcome.client_id.clone()
    }

    /// The mesh's name.
    #[must_use]
    pub fn mesh(&self) -> String {
        self.handle.stay().welcome.mesh.clone()
    }

    /// The nodes that can be reached, as the node of the session, or of the last one, told.
    #[must_use]
    pub fn entry_points(&self) -> Vec<EntryPoint> {
        self.handle.entry_points.borrow().clone()
    }

    /// Waits until a session stands; `false` when the client has ended. Cancel safe.
    pub async fn connected(&self) -> bool {
        current_stay(&self.handle.standing).await.is_ok()
    }

    /// Who numbers the messages of this client now; another id after 65,536 channels, see [`ConnectOptions::publisher`].
    #[must_use]
    pub fn publisher(&self) -> PublisherId {
        self.handle.publisher.id()
    }

    /// The round trip to the node, as QUIC measures it.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.handle.stay().connection.path_stats().rtt
    }

    /// Moves to a new local UDP socket, for a machine that knows before QUIC does that its network has changed. The session
    /// lives on, and nothing is lost. Not for clients on a simulated socket.
    ///
    /// # Errors
    /// There is no socket to be had, and the old one stays in use.
    pub fn rebind(&self) -> std::io::Result<()> {
        self.handle.dialer.rebind()
    }

    /// Ends the client and its clones: waits for the acks of what is under way, at most 5 s, and tells the node.
    /// Subscriptions end; what is still not acked becomes [`PublishError::Unknown`].
    ///
    /// Cancel safe: a dropped call leaves the client to end with its last handle.
    pub async fn close(self) {
        let _some_are_not = tokio::time::timeout(CLOSE_ACKS_TIMEOUT, self.handle.publisher.settled()).await;
        self.handle.closing.send_replace(true);
        let mut standing = self.handle.standing.clone();
        drop(standing.wait_for(|standing| matches!(standing.phase, Phase::Closed(_))).await);
    }
}

impl Handle {
    fn stay(&self) -> Arc<Stay> {
        Arc::clone(&self.standing.borrow().stay)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stay = self.stay();
        let (node, session) = (&stay.welcome.node, stay.welcome.session);
        f.debug_struct("Client").field("node", node).field("session", &session).finish_non_exhaustive()
    }
}
