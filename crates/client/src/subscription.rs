//! The live handle of what was subscribed to. It has no queue of messages of its own: the session hands it the delivery
//! stream, and `next` reads from QUIC. A subscriber that does not read stops its stream alone, by flow control; the node
//! notices and counts what goes by. Only datagrams, which have no flow control, wait in a short queue that sheds.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use farwire_transport::connection::Connection;
use farwire_transport::stream::{FrameReader, ReadError};
use farwire_wire::client::Delivery;
use farwire_wire::{ChannelName, Entry, ErrorCode, Filter, Pattern, PublisherId, RegionName};
use futures_util::Stream;
use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;

use crate::client::Handle;
use crate::error::SubscribeError;
use crate::seen::Seen;

/// Datagrams that wait for `next`. Policy: shed the newest and count them.
const DATAGRAMS_MAX: usize = 256;

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message on one of the channels.
    Message(Message),
    /// This many messages on volatile channels of this subscription went by, because they were not read in time. Which
    /// channels is known only if [`Subscription::patterns`] is one plain channel.
    Dropped {
        /// How many.
        count: u64,
    },
}

/// A message as its subscriber sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Where it was published.
    pub channel: ChannelName,
    /// The application's bytes. They share a received packet's memory: copy what is kept for long.
    pub payload: Bytes,
    /// Who numbered it.
    pub publisher: PublisherId,
    /// Its number among the publisher's messages on the channel, from 1.
    pub number: u64,
    /// When its node took it, in microseconds since the Unix epoch, by that node's clock.
    pub published_at_us: u64,
    /// Its publisher asked for datagrams.
    pub datagram: bool,
    /// It was delivered from the log, not live.
    pub replayed: bool,
}

impl From<Entry> for Message {
    fn from(entry: Entry) -> Self {
        Self {
            channel: entry.channel,
            payload: entry.payload,
            publisher: entry.publisher,
            number: entry.number,
            published_at_us: entry.published_at_us,
            datagram: entry.datagram,
            replayed: false,
        }
    }
}

/// A live subscription, from [`Client::subscribe`](crate::Client::subscribe). Dropping it unsubscribes. It lives over
/// reconnects, and keeps the client's session alive. Also a [`Stream`] of [`Event`]s.
///
/// What volatile channels carried while there was no session is gone, and no event here tells of that hole: the
/// [`Gap`](crate::Gap)s of [`Status::Resumed`](crate::Status::Resumed) do.
#[derive(Debug)]
pub struct Subscription {
    filter: Filter,
    shared: Arc<Shared>,
    datagrams: mpsc::Receiver<Entry>,
    stream: Option<DeliveryStream>,
    seen: Seen,
    _session: Arc<Handle>,
}

impl Subscription {
    pub(crate) fn new(filter: Filter, outlet: Outlet, session: Arc<Handle>) -> Self {
        let Outlet { shared, datagrams } = outlet;
        Self { filter, shared, datagrams, stream: None, seen: Seen::default(), _session: session }
    }

    /// What was subscribed to: each pattern once. What was [dropped](Event::Dropped) went by on one of these.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        self.filter.patterns()
    }

    /// The next event; `None` once the subscription has ended, for which [`Self::error`] has the cause. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Regions that had not confirmed when the subscription came into force the last time: from them messages may be
    /// missed until they can be reached.
    #[must_use]
    pub fn pending_regions(&self) -> Vec<RegionName> {
        self.shared.pending_regions()
    }

    /// Why the subscription has ended, if it has.
    #[must_use]
    pub fn error(&self) -> Option<&SubscribeError> {
        self.shared.end.get()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.shared.waker.register(cx.waker());
        let count = self.shared.shed.swap(0, Ordering::Relaxed);
        if count > 0 {
            return Poll::Ready(Some(Event::Dropped { count }));
        }
        // First, since they are few and wait for nobody.
        let datagrams_ended = loop {
            match self.datagrams.poll_recv(cx) {
                Poll::Ready(Some(entry)) if self.seen.is_new(&entry) => {
                    return Poll::Ready(Some(Event::Message(entry.into())));
                }
                Poll::Ready(Some(_seen_before)) => {}
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        while let Poll::Ready(delivery) = self.poll_streams(cx) {
            match delivery {
                Delivery::Entry(entry) if self.seen.is_new(&entry) => {
                    return Poll::Ready(Some(Event::Message(entry.into())));
                }
                Delivery::Entry(_seen_before) => {}
                Delivery::Dropped(count) => return Poll::Ready(Some(Event::Dropped { count })),
            }
        }
        let ended = datagrams_ended || self.shared.end.get().is_some();
        if ended { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Reads the stream to its end before it takes the one of the next session.
    fn poll_streams(&mut self, cx: &mut Context<'_>) -> Poll<Delivery> {
        loop {
            if self.stream.is_none() {
                self.stream = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
            let Some(stream) = &mut self.stream else { return Poll::Pending };
            match std::task::ready!(stream.poll_delivery(cx)) {
                Some(delivery) => return Poll::Ready(delivery),
                None => self.stream = None,
            }
        }
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

/// A delivery stream of one session, after its header.
#[derive(Debug)]
pub(crate) struct DeliveryStream {
    pub(crate) reader: FrameReader,
    pub(crate) connection: Connection,
}

impl DeliveryStream {
    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            // The state, and who is to be woken, live in the stream and not in this future.
            let frame = std::task::ready!(pin!(self.reader.next_frame()).poll(cx));
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => return Poll::Ready(self.give_up(ErrorCode::Closed)),
                Err(ReadError::Frame(error)) => return Poll::Ready(self.give_up(error.code())),
                Err(ReadError::Cut | ReadError::Slow(_) | ReadError::Reset(_)) => {
                    return Poll::Ready(self.give_up(ErrorCode::Closed));
                }
                Err(ReadError::Lost(_)) => return Poll::Ready(None),
            };
            match Delivery::decode(frame) {
                Ok(delivery) => return Poll::Ready(Some(delivery)),
                Err(error) => tracing::warn!(err = %error, "delivery skipped"),
            }
        }
    }

    /// A stream that ends before its subscription does would leave it mute: a new session mends that.
    fn give_up(&self, code: ErrorCode) -> Option<Delivery> {
        self.connection.close(code, "a delivery stream has ended");
        None
    }
}

/// What both sides of a subscription see.
#[derive(Debug, Default)]
struct Shared {
    /// The stream that waits to be taken. A newer one replaces it: its connection is lost.
    newest: Mutex<Option<DeliveryStream>>,
    waker: AtomicWaker,
    /// Datagrams shed and not yet told.
    shed: AtomicU64,
    pending_regions: Mutex<Vec<RegionName>>,
    end: OnceLock<SubscribeError>,
}

impl Shared {
    fn pending_regions(&self) -> Vec<RegionName> {
        self.pending_regions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The session's side of a subscription.
#[derive(Debug, Clone)]
pub(crate) struct Inlet {
    shared: Arc<Shared>,
    datagrams: mpsc::Sender<Entry>,
}

/// The application's side, before the subscription is in force.
#[derive(Debug)]
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    datagrams: mpsc::Receiver<Entry>,
}

/// The two sides of a new subscription.
pub(crate) fn pair() -> (Inlet, Outlet) {
    let (sender, receiver) = mpsc::channel(DATAGRAMS_MAX);
    let shared = Arc::<Shared>::default();
    (Inlet { shared: Arc::clone(&shared), datagrams: sender }, Outlet { shared, datagrams: receiver })
}

impl Inlet {
    pub(crate) fn hand_over(&self, stream: DeliveryStream) {
        let replaced = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner).replace(stream);
        drop(replaced);
        self.shared.waker.wake();
    }

    pub(crate) fn offer_datagram(&self, entry: Entry) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.datagrams.try_send(entry) {
            self.shared.shed.fetch_add(1, Ordering::Relaxed);
            self.shared.waker.wake();
        }
    }

    pub(crate) fn in_force(&self, pending_regions: Vec<RegionName>) {
        *self.shared.pending_regions.lock().unwrap_or_else(PoisonError::into_inner) = pending_regions;
    }

    pub(crate) fn pending_regions(&self) -> Vec<RegionName> {
        self.shared.pending_regions()
    }

    pub(crate) fn end(&self, error: SubscribeError) {
        let _ended_already = self.shared.end.set(error);
        self.shared.waker.wake();
    }

    /// Whether the application has dropped its side.
    pub(crate) fn is_dropped(&self) -> bool {
        self.datagrams.is_closed()
    }

    /// Waits until the application has dropped its side. Cancel safe.
    pub(crate) async fn dropped(&self) {
        self.datagrams.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        Entry {
            channel: ChannelName::parse("live.a").unwrap(),
            payload: Bytes::new(),
            publisher: PublisherId(1),
            number,
            published_at_us: 0,
            session: 0,
            count: number,
            datagram: true,
        }
    }

    #[test]
    fn datagrams_that_nobody_reads_are_shed_and_counted() {
        let (inlet, mut outlet) = pair();
        for number in 0..DATAGRAMS_MAX as u64 + 3 {
            inlet.offer_datagram(entry(number));
        }
        assert_eq!(outlet.shared.shed.load(Ordering::Relaxed), 3);
        assert_eq!(outlet.datagrams.try_recv().map(|entry| entry.number), Ok(0));
    }

    #[tokio::test]
    async fn the_session_learns_that_a_subscription_is_dropped() {
        let (inlet, outlet) = pair();
        assert!(!inlet.is_dropped());
        drop(outlet);
        inlet.dropped().await;
    }
}
