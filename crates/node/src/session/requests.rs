//! A session's requests: decodes them, asks the grant, hands them on and answers. Publishes that arrived together are
//! acknowledged together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use farwire_auth::Action;
use farwire_core::bucket::{Bucket, Rate};
use farwire_transport::{FrameReader, ReadError};
use farwire_wire::client::{AckLevel, ClientBody, ClientFrame, Publish, ServerBody, ServerFrame};
use farwire_wire::names::RESERVED_PREFIX;
use farwire_wire::{ChannelName, Entry, ErrorCode, Filter, RegionName, WireError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::in_flight::InFlight;
use super::presence::{self, Present};
use super::writer::Command;
use crate::fanout::{Cursor, Wake};
use crate::peers::{Link, Peers};
use crate::queue;
use crate::sessions::Session;
use crate::shared::Shared;

/// A subscription is confirmed at the latest after this time, with the regions that are pending then.
const IN_FORCE_PATIENCE: Duration = Duration::from_secs(1);

/// Reads requests until the client goes or breaks the protocol. Not cancel safe: a request may be half done.
pub(super) async fn run<'a>(
    shared: &'a Shared,
    session: &'a Session,
    mut reader: FrameReader,
    answers: &'a queue::Sender<Command>,
    wake: &'a Arc<Wake>,
    in_flight: &'a InFlight,
    present: &mut Present<'a>,
) -> WireError {
    let mut requests = Requests {
        shared,
        session,
        answers,
        wake,
        in_flight,
        last: 1,
        acks: None,
        subscriptions: BTreeSet::new(),
        subscribed: Bucket::default(),
        present,
    };
    take_all(&mut requests, &mut reader).await
}

async fn take_all(requests: &mut Requests<'_, '_>, reader: &mut FrameReader) -> WireError {
    let mut pending = FuturesUnordered::new();
    loop {
        let frame = tokio::select! {
            biased;
            Some(frames) = pending.next() => {
                for frame in frames {
                    if let Err(error) = requests.answer(frame).await {
                        return error;
                    }
                }
                continue;
            }
            frame = reader.next_frame() => frame,
        };
        let mut next = frame;
        loop {
            match next {
                Ok(Some(frame)) => match requests.handle(frame, pending.len()).await {
                    Ok(Some(answer)) => pending.push(answer),
                    Ok(None) => {}
                    Err(error) => return error,
                },
                Ok(None) => {
                    requests.present.has_left = true;
                    return ErrorCode::Closed.into();
                }
                Err(error) => return read_failed(&error),
            }
            match reader.buffered_frame() {
                Ok(None) => break,
                buffered => next = buffered,
            }
        }
        if let Err(error) = requests.flush_acks().await {
            return error;
        }
    }
}

fn read_failed(error: &ReadError) -> WireError {
    match error {
        ReadError::Frame(broken) => WireError::new(broken.code(), broken.to_string()),
        ReadError::Slow(_) => WireError::new(ErrorCode::FrameTimeout, error.to_string()),
        ReadError::Cut => WireError::new(ErrorCode::Malformed, error.to_string()),
        ReadError::Reset(_) | ReadError::Lost(_) => WireError::new(ErrorCode::Closed, error.to_string()),
    }
}

/// Takes publishes that come as datagrams: never acknowledged, dropped where a stream's would be refused.
pub(super) async fn datagrams(shared: &Shared, session: &Session) -> WireError {
    loop {
        let datagram = match session.connection.read_datagram().await {
            Ok(datagram) => datagram,
            Err(lost) => return WireError::new(ErrorCode::Closed, lost.to_string()),
        };
        if let Ok(ClientFrame { body: ClientBody::Publish(publish), .. }) = ClientFrame::decode(datagram) {
            let refused = take_publish(shared, session, publish, true).err();
            if let Some(error) = refused {
                tracing::trace!(session = %session.id, err = %error, "datagram refused");
            }
        }
    }
}

/// Publishes a message for the session, if it may.
fn take_publish(shared: &Shared, session: &Session, publish: Publish, datagram: bool) -> Result<(), WireError> {
    check_publish(shared, session, &publish)?;
    // Two counts under one name would overtake each other: datagrams count apart. Derived from the client's id, so
    // that no client can speak in another's session.
    let kind: &[u8] = if datagram { b"datagram" } else { b"stream" };
    let id = session.client_id.as_str().as_bytes();
    let entry = Entry {
        channel: publish.channel,
        payload: publish.payload,
        publisher: publish.publisher,
        number: publish.number,
        published_at_us: shared.local.clock.wall_us(),
        session: shared.local.derive(&[id, &session.instance.0.to_be_bytes(), kind]),
        count: publish.count,
        datagram,
    };
    shared.router.publish(entry)?;
    Session::count(&session.published, 1);
    Ok(())
}

fn check_publish(shared: &Shared, session: &Session, publish: &Publish) -> Result<(), WireError> {
    let forbidden = session.access.check(Action::Publish, &publish.channel);
    forbidden.map_err(|error| WireError::new(ErrorCode::Forbidden, error.to_string()))?;
    check_not_reserved(publish.channel.as_str())?;
    if publish.payload.len() > shared.config.limits.payload_bytes_max {
        let message = format!("the payload is above this node's {} bytes", shared.config.limits.payload_bytes_max);
        return Err(WireError::new(ErrorCode::FrameTooLarge, message));
    }
    if shared.config.namespaces.of(&publish.channel).log {
        return Err(not_built(shared));
    }
    if publish.level == Some(AckLevel::Geo) {
        let message = "a volatile channel has no `geo` ack: nothing of it is kept";
        return Err(WireError::new(ErrorCode::Unsupported, message));
    }
    Ok(())
}

pub(super) fn check_not_reserved(name: &str) -> Result<(), WireError> {
    if name.starts_with(RESERVED_PREFIX) {
        return Err(WireError::new(ErrorCode::Forbidden, "channels that begin with `farwire:` are the mesh's own"));
    }
    Ok(())
}

/// Takes one from a bucket, or says when there will be one.
pub(super) fn rate_limited(bucket: &mut Bucket, rate: &Rate, now: Duration, message: &str) -> Result<(), WireError> {
    if bucket.take(rate, now) {
        return Ok(());
    }
    // Rounded up: a client that waits this long finds room.
    let wait_ms = u32::try_from(bucket.wait(rate, now).as_millis() + 1).unwrap_or(u32::MAX);
    Err(WireError { retry_after_ms: wait_ms, ..WireError::new(ErrorCode::RateLimited, message) })
}

fn not_built(shared: &Shared) -> WireError {
    let prefixes: Vec<_> =
        shared.config.namespaces.iter().filter(|n| !n.log).filter_map(|n| n.prefix.as_ref()).collect();
    let use_instead = match prefixes.as_slice() {
        [] => "define a namespace with `log = false` in the node's config".to_owned(),
        prefixes => format!("use a channel under one of the volatile namespaces {prefixes:?}"),
    };
    let message = format!("the channel is logged, and the log is not built yet: {use_instead}");
    WireError::new(ErrorCode::Unsupported, message)
}

struct Requests<'a, 'p> {
    shared: &'a Shared,
    session: &'a Session,
    answers: &'a queue::Sender<Command>,
    wake: &'a Arc<Wake>,
    in_flight: &'a InFlight,
    /// The number of the newest request.
    last: u64,
    /// The first and last of the publishes taken and not acknowledged yet.
    acks: Option<(u64, u64)>,
    subscriptions: BTreeSet<u64>,
    /// How often it subscribed lately.
    subscribed: Bucket,
    present: &'p mut Present<'a>,
}

/// Resolves to the frames of an answer that takes time.
type Answer<'a> = std::pin::Pin<Box<dyn Future<Output = Vec<ServerFrame>> + Send + 'a>>;

fn answered<'a>(request: u64, bodies: impl Future<Output = Vec<ServerBody>> + Send + 'a) -> Answer<'a> {
    Box::pin(async move { bodies.await.into_iter().map(|body| ServerFrame { request, body }).collect() })
}

impl<'a> Requests<'a, '_> {
    /// Handles a frame; an error ends the session.
    /// `waiting` answers are still to come.
    async fn handle(&mut self, frame: bytes::Bytes, waiting: usize) -> Result<Option<Answer<'a>>, WireError> {
        let frame = match ClientFrame::decode(frame) {
            Ok(frame) => frame,
            Err(bad) if bad.request == 0 => return Err(bad.error),
            Err(bad) => {
                self.check_number(bad.request)?;
                self.refuse(bad.request, bad.error, 0).await?;
                return Ok(None);
            }
        };
        self.check_number(frame.request)?;
        match frame.body {
            ClientBody::Publish(publish) => match self.publish(publish) {
                Ok(()) => self.ack(frame.request).await?,
                Err(error) => self.refuse(frame.request, error, 1).await?,
            },
            ClientBody::Subscribe(filter) => match self.subscribe(frame.request, &filter).await? {
                Ok(in_force) => return Ok(Some(in_force)),
                Err(error) => self.refuse(frame.request, error, 0).await?,
            },
            ClientBody::Unsubscribe(subscription) => self.unsubscribe(frame.request, subscription).await?,
            ClientBody::Enter(enter) => match self.present.enter(enter).await {
                Ok(()) => self.confirm(frame.request, ServerBody::EnterOk).await?,
                Err(error) => self.refuse(frame.request, error, 0).await?,
            },
            ClientBody::Leave(channel) => match self.present.leave(channel).await {
                Ok(()) => self.confirm(frame.request, ServerBody::LeaveOk).await?,
                Err(error) => self.refuse(frame.request, error, 0).await?,
            },
            ClientBody::PresenceQuery(query) => match self.present.check_query(&query, waiting) {
                Ok(()) => return Ok(Some(answered(frame.request, presence::answer_query(self.shared, query)))),
                Err(error) => self.refuse(frame.request, error, 0).await?,
            },
            ClientBody::WhereQuery(client) => match presence::check_waiting(waiting) {
                Ok(()) => {
                    let answer = presence::answer_where(self.shared, self.session, client);
                    return Ok(Some(answered(frame.request, answer)));
                }
                Err(error) => self.refuse(frame.request, error, 0).await?,
            },
            ClientBody::Hello(_) => return Err(WireError::new(ErrorCode::ProtocolState, "a second hello")),
        }
        Ok(None)
    }

    fn publish(&self, publish: Publish) -> Result<(), WireError> {
        self.in_flight.arrived().inspect_err(|_| _ = self.shared.metrics.publishes_over_limit.inc())?;
        take_publish(self.shared, self.session, publish, false)
    }

    fn check_number(&mut self, request: u64) -> Result<(), WireError> {
        if request != self.last + 1 {
            return Err(WireError::new(ErrorCode::ProtocolState, "request numbers must grow by one"));
        }
        self.last = request;
        Ok(())
    }

    async fn ack(&mut self, request: u64) -> Result<(), WireError> {
        match &mut self.acks {
            Some((_, last)) if *last + 1 == request => *last = request,
            _ => {
                self.flush_acks().await?;
                self.acks = Some((request, request));
            }
        }
        Ok(())
    }

    async fn flush_acks(&mut self) -> Result<(), WireError> {
        match self.acks.take() {
            Some((first, request)) => {
                let body = ServerBody::PublishAck { first, level: AckLevel::Volatile };
                let frame = ServerFrame { request, body }.encode();
                let publishes = u32::try_from(request - first + 1).unwrap_or(u32::MAX);
                self.command(Command::Frame { frame, publishes }).await
            }
            None => Ok(()),
        }
    }

    /// Refuses a request that is a publish (1) or not (0).
    async fn refuse(&mut self, request: u64, error: WireError, publishes: u32) -> Result<(), WireError> {
        self.flush_acks().await?;
        let frame = ServerFrame { request, body: ServerBody::Error(error) }.encode();
        self.command(Command::Frame { frame, publishes }).await
    }

    /// Grants a request that is no publish.
    async fn confirm(&mut self, request: u64, body: ServerBody) -> Result<(), WireError> {
        self.flush_acks().await?;
        self.answer(ServerFrame { request, body }).await
    }

    async fn answer(&self, frame: ServerFrame) -> Result<(), WireError> {
        self.command(Command::Frame { frame: frame.encode(), publishes: 0 }).await
    }

    async fn command(&self, command: Command) -> Result<(), WireError> {
        self.answers.send(command).await.map_err(|_| ErrorCode::Closed.into())
    }

    async fn subscribe(&mut self, request: u64, filter: &Filter) -> Result<Result<Answer<'a>, WireError>, WireError> {
        if let Err(error) = self.check_subscribe(filter) {
            return Ok(Err(error));
        }
        self.subscriptions.insert(request);
        self.session.subscriptions.fetch_add(1, Ordering::Relaxed);
        let cursor = self.shared.fanout.subscribe(filter, request, self.wake);
        let guard = Subscribed { fanout: self.shared.fanout.clone(), cursor };
        self.command(Command::Subscribe { subscription: request, cursor: guard }).await?;
        let in_force = in_force(self.shared, filter);
        Ok(Ok(answered(request, async { vec![in_force.await] })))
    }

    fn check_subscribe(&mut self, filter: &Filter) -> Result<(), WireError> {
        let limits = &self.shared.config.limits;
        let max = limits.subscriptions_per_session_max;
        let rate = Rate::new(limits.subscribes_per_second_per_session_max, u32::try_from(max).unwrap_or(u32::MAX));
        let message = "the session subscribes too often: keep subscriptions open";
        rate_limited(&mut self.subscribed, &rate, self.shared.local.clock.now(), message)?;
        if self.subscriptions.len() >= max {
            let message = format!("the session has {max} subscriptions already: end some, or use patterns");
            return Err(WireError::new(ErrorCode::SubscriptionLimit, message));
        }
        for pattern in filter.patterns() {
            if let Some(subject) = pattern.subject() {
                let forbidden = self.session.access.check_pattern(Action::Presence, &subject);
                forbidden.map_err(|error| WireError::new(ErrorCode::Forbidden, error.to_string()))?;
                check_not_reserved(subject.as_str())?;
                continue;
            }
            let forbidden = self.session.access.check_pattern(Action::Subscribe, pattern);
            forbidden.map_err(|error| WireError::new(ErrorCode::Forbidden, error.to_string()))?;
            check_not_reserved(pattern.as_str())?;
            if self.shared.config.namespaces.reached_by(pattern).any(|namespace| namespace.log) {
                return Err(not_built(self.shared));
            }
        }
        Ok(())
    }

    async fn unsubscribe(&mut self, request: u64, subscription: u64) -> Result<(), WireError> {
        if !self.subscriptions.remove(&subscription) {
            let error = WireError::new(ErrorCode::ProtocolState, "no subscription has this number");
            return self.refuse(request, error, 0).await;
        }
        self.session.subscriptions.fetch_sub(1, Ordering::Relaxed);
        self.command(Command::Unsubscribe { subscription }).await?;
        self.answer(ServerFrame { request, body: ServerBody::UnsubscribeOk }).await
    }
}

/// A subscription's cursor, which ends the subscription when dropped.
#[derive(Debug)]
pub(super) struct Subscribed {
    fanout: Arc<crate::fanout::Fanout>,
    pub(super) cursor: Cursor,
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.fanout.unsubscribe(&self.cursor);
    }
}

/// Waits until every owner of what `filter` wants knows of it, and answers with the regions that do not yet.
fn in_force(shared: &Shared, filter: &Filter) -> impl Future<Output = ServerBody> + Send + use<> {
    let change = *shared.fanout.wishes().borrow();
    let (links, mut pending_regions) = concerned(shared, filter);
    async move {
        let late = Peers::confirmed(links, change, IN_FORCE_PATIENCE).await;
        pending_regions.extend(late.iter().map(|link| link.region.clone()));
        pending_regions.sort();
        pending_regions.dedup();
        ServerBody::SubscribeOk { pending_regions }
    }
}

/// The links to every owner of what `filter` wants, and the regions of which nobody can be reached.
fn concerned(shared: &Shared, filter: &Filter) -> (Vec<Arc<Link>>, Vec<RegionName>) {
    let routes = shared.topology.routes();
    let view = routes.view();
    let channels: Option<Vec<ChannelName>> = filter.patterns().iter().map(farwire_wire::Pattern::channel).collect();
    let all = shared.peers.ways();
    let dark = |region: &&RegionName| {
        let reached = |link: &Arc<Link>| link.region == **region;
        **region != shared.local.region && !all.iter().any(reached)
    };
    let pending = view.regions().iter().filter(dark).cloned().collect();
    let Some(channels) = channels else {
        return (all, pending);
    };
    let owners = channels.iter().flat_map(|channel| routes.owners_of(shared.local.slot(channel)).collect::<Vec<_>>());
    let names: BTreeSet<_> = owners.map(|(_, owner)| view.member(owner).name.clone()).collect();
    (all.into_iter().filter(|link| names.contains(&link.node)).collect(), pending)
}
