//! What the client owes and is owed: publishes that wait for their ack, and subscriptions that must be in force. Pure
//! book-keeping: it makes frames and takes answers; it neither sends nor waits, and time is an argument.
//!
//! A publish keeps its numbers over sessions: what is not acked when one is lost is sent again in the next, oldest first and
//! before anything newer. The nodes drop what they had taken, for as long as they remember its publisher session; a publish
//! whose first sending is longer ago than [`RESEND_WITHIN`] is given up instead, so that none is delivered twice.
//!
//! Invariants: requests grow by one within a session; publishes are sent in the order in which they were numbered, in every
//! session; every publish is answered once, at the latest by [`Ledger::end`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farwire_wire::client::{AckLevel, ClientBody, ClientFrame, Publish, ServerBody};
use farwire_wire::{ChannelName, ErrorClass, Filter, RegionName, WireError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

mod presence;

pub(crate) use self::presence::{End, Entering, Gone, PresenceKey, Question, Wish};

use self::presence::Presences;
use crate::connect::HELLO_REQUEST;
use crate::error::{ConnectError, PublishError, SubscribeError};
use crate::publisher::Ack;
use crate::standing::{Outgoing, Wanted};
use crate::status::Gap;
use crate::subscription::Inlet;

/// A publish is sent again so long after its first sending. Nodes remember a publisher session for 60 s.
pub(crate) const RESEND_WITHIN: Duration = Duration::from_secs(45);

/// Names a subscription over all sessions of a client; its request number changes from session to session.
pub(crate) type SubscriptionKey = u64;

#[derive(Debug)]
pub(crate) struct Ledger {
    last_request: u64,
    last_key: SubscriptionKey,
    /// Sent in this session and not answered, by request.
    under_way: VecDeque<InFlight>,
    /// To be sent in this session, the oldest first.
    waiting: VecDeque<InFlight>,
    /// Most under way that the node allows.
    under_way_max: usize,
    subscriptions: BTreeMap<SubscriptionKey, Held>,
    by_request: HashMap<u64, SubscriptionKey>,
    presences: Presences,
    lost: Option<Lost>,
}

/// How and when the last session was lost.
#[derive(Debug, Clone)]
struct Lost {
    at: Instant,
    reason: Arc<str>,
}

#[derive(Debug)]
struct InFlight {
    request: u64,
    publish: Publish,
    first_sent: Option<Instant>,
    answer: oneshot::Sender<Result<Ack, PublishError>>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Held {
    filter: Filter,
    inlet: Inlet,
    request: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The application waits for it.
    Asked(oneshot::Sender<Result<(), SubscribeError>>),
    /// It was in force in the session before.
    Resuming,
    InForce,
}

impl Ledger {
    pub(crate) fn new(under_way_max: u32) -> Self {
        Self {
            last_request: HELLO_REQUEST,
            last_key: 0,
            under_way: VecDeque::new(),
            waiting: VecDeque::new(),
            under_way_max: under_way_max as usize,
            subscriptions: BTreeMap::new(),
            by_request: HashMap::new(),
            presences: Presences::default(),
            lost: None,
        }
    }

    /// Begins a session with a node that allows `under_way_max` publishes: the frames that bring every subscription into
    /// force again. The publishes of the sessions before are due after them.
    pub(crate) fn resume(&mut self, under_way_max: u32) -> Vec<Bytes> {
        self.last_request = HELLO_REQUEST;
        self.under_way_max = under_way_max as usize;
        self.by_request.clear();
        self.subscriptions.retain(|_, held| !held.inlet.is_dropped());
        let mut frames = Vec::with_capacity(self.subscriptions.len());
        for (key, held) in &mut self.subscriptions {
            self.last_request += 1;
            held.request = self.last_request;
            if matches!(held.state, State::InForce) {
                held.state = State::Resuming;
            }
            self.by_request.insert(held.request, *key);
            frames.push(subscribe_frame(held.request, held.filter.clone()));
        }
        let bodies = self.presences.resume(|| {
            self.last_request += 1;
            self.last_request
        });
        frames.extend(bodies.into_iter().map(|(request, body)| ClientFrame { request, body }.encode()));
        frames
    }

    /// Whether what was in force before the session is in force again.
    pub(crate) fn is_resumed(&self) -> bool {
        !self.subscriptions.values().any(|held| matches!(held.state, State::Resuming)) && self.presences.is_resumed()
    }

    /// What the subscriptions that are in force again may have missed since the last session was lost.
    pub(crate) fn gaps(&self, now: Instant) -> Vec<Gap> {
        let Some(lost) = &self.lost else { return Vec::new() };
        let lasted = now.saturating_duration_since(lost.at);
        let in_force = self.subscriptions.values().filter(|held| matches!(held.state, State::InForce));
        let gap = |held: &Held| Gap {
            patterns: held.filter.patterns().to_vec(),
            lasted,
            pending_regions: held.inlet.pending_regions(),
        };
        in_force.map(gap).collect()
    }

    /// Takes a publish to be sent in its turn: see [`Self::due`].
    pub(crate) fn publish(&mut self, outgoing: Outgoing) {
        let Outgoing { publish, permit, answer } = outgoing;
        self.waiting.push_back(InFlight { request: 0, publish, first_sent: None, answer, _permit: permit });
    }

    /// The frame of the next publish, if there is one and the node allows it.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Bytes> {
        if self.under_way.len() >= self.under_way_max {
            return None;
        }
        let mut next = self.waiting.pop_front()?;
        self.last_request += 1;
        next.request = self.last_request;
        next.first_sent.get_or_insert(now);
        // Taken out for the frame, and put back: a payload is shared, a channel's name would be copied.
        let frame = ClientFrame { request: next.request, body: ClientBody::Publish(next.publish) };
        let bytes = frame.encode();
        if let ClientBody::Publish(publish) = frame.body {
            self.under_way.push_back(InFlight { publish, ..next });
        }
        Some(bytes)
    }

    pub(crate) fn subscribe(&mut self, wanted: Wanted) -> (SubscriptionKey, Bytes) {
        let Wanted { filter, inlet, answer } = wanted;
        self.last_request += 1;
        self.last_key += 1;
        let request = self.last_request;
        let frame = subscribe_frame(request, filter.clone());
        self.by_request.insert(request, self.last_key);
        self.subscriptions.insert(self.last_key, Held { filter, inlet, request, state: State::Asked(answer) });
        (self.last_key, frame)
    }

    /// Gives a subscription up; `None` when the node does not know it.
    pub(crate) fn unsubscribe(&mut self, key: SubscriptionKey) -> Option<Bytes> {
        let held = self.subscriptions.remove(&key)?;
        self.by_request.remove(&held.request)?;
        self.last_request += 1;
        let body = ClientBody::Unsubscribe(held.request);
        Some(ClientFrame { request: self.last_request, body }.encode())
    }

    /// Enters a channel; `None` where the client is present already.
    pub(crate) fn enter(&mut self, entering: Entering) -> Option<(Bytes, Gone)> {
        let (body, gone) = self.presences.enter(self.last_request + 1, entering)?;
        Some((self.frame(body), gone))
    }

    /// Takes a wish of presence; the frame, if there is something to say.
    pub(crate) fn wish(&mut self, wish: Wish) -> Option<Bytes> {
        let body = self.presences.take(self.last_request + 1, wish)?;
        Some(self.frame(body))
    }

    /// Leaves a channel whose handle was dropped, if it was not left before.
    pub(crate) fn drop_presence(&mut self, channel: &ChannelName, key: PresenceKey) -> Option<Bytes> {
        let body = self.presences.drop_handle(self.last_request + 1, channel, key)?;
        Some(self.frame(body))
    }

    /// Takes an answer to what was said or asked of presence.
    pub(crate) fn presence_answered(&mut self, request: u64, body: ServerBody) {
        self.presences.answered(request, body);
    }

    fn frame(&mut self, body: ClientBody) -> Bytes {
        self.last_request += 1;
        ClientFrame { request: self.last_request, body }.encode()
    }

    /// Takes an ack; whether it made room for a publish that waits.
    pub(crate) fn acked(&mut self, first: u64, last: u64, level: AckLevel) -> bool {
        let from = self.under_way.partition_point(|publish| publish.request < first);
        let to = self.under_way.partition_point(|publish| publish.request <= last);
        // An ack whose first is above its last acks nothing.
        for InFlight { publish, answer, .. } in self.under_way.drain(from..to.max(from)) {
            let _nobody_waits = answer.send(Ok(Ack { number: publish.number, level }));
        }
        !self.waiting.is_empty()
    }

    pub(crate) fn in_force(&mut self, request: u64, pending_regions: Vec<RegionName>) {
        let held = self.by_request.get(&request).and_then(|key| self.subscriptions.get_mut(key));
        let Some(held) = held else { return };
        held.inlet.in_force(pending_regions);
        if let State::Asked(answer) = std::mem::replace(&mut held.state, State::InForce) {
            let _nobody_waits = answer.send(Ok(()));
        }
    }

    /// Takes the refusal of a request. Gives the error back when it is one for the whole session: a subscription could
    /// not be resumed just now, so the session is of no use.
    pub(crate) fn refused(&mut self, request: u64, error: WireError) -> Result<(), WireError> {
        if let Ok(at) = self.under_way.binary_search_by_key(&request, |publish| publish.request) {
            if let Some(publish) = self.under_way.remove(at) {
                let _nobody_waits = publish.answer.send(Err(PublishError::Refused(error)));
            }
            return Ok(());
        }
        let Some(key) = self.by_request.get(&request).copied() else { return self.presences.refused(request, error) };
        let state = self.subscriptions.get(&key).map(|held| &held.state);
        if matches!(state, Some(State::Resuming)) && error.code.class() != ErrorClass::Definite {
            return Err(error);
        }
        self.by_request.remove(&request);
        if let Some(held) = self.subscriptions.remove(&key) {
            held.end(SubscribeError::Refused(error));
        }
        Ok(())
    }

    /// The subscription that a delivery names by its request.
    pub(crate) fn inlet(&self, request: u64) -> Option<&Inlet> {
        self.by_request.get(&request).and_then(|key| self.subscriptions.get(key)).map(|held| &held.inlet)
    }

    /// Publishes that are sent or to be sent, and not answered.
    pub(crate) fn publishes_in_flight(&self) -> usize {
        self.under_way.len() + self.waiting.len()
    }

    /// Ends a session: what was sent and not acked is to be sent again.
    pub(crate) fn lose(&mut self, now: Instant, reason: &Arc<str>) {
        self.lost = Some(Lost { at: now, reason: Arc::clone(reason) });
        let newer = std::mem::take(&mut self.waiting);
        self.waiting = std::mem::take(&mut self.under_way);
        self.waiting.extend(newer);
        self.by_request.clear();
        self.presences.lose();
        self.give_up(now);
    }

    /// When the oldest publish that would be sent again is to be given up.
    pub(crate) fn next_give_up(&self) -> Option<Instant> {
        self.waiting.front().and_then(|publish| publish.first_sent).map(|first| first + RESEND_WITHIN)
    }

    /// Gives up what was sent too long ago to be sent again: it may or may not have been taken.
    pub(crate) fn give_up(&mut self, now: Instant) {
        while self.next_give_up().is_some_and(|due| due <= now)
            && let Some(publish) = self.waiting.pop_front()
        {
            let _nobody_waits = publish.answer.send(Err(self.unknown()));
        }
    }

    fn unknown(&self) -> PublishError {
        let reason = self.lost.as_ref().map(|lost| Arc::clone(&lost.reason));
        PublishError::Unknown { reason: reason.unwrap_or_else(|| "the client was closed".into()) }
    }

    /// Ends the client: what was sent may or may not have been taken, what was not is not.
    pub(crate) fn end(&mut self, error: Option<&Arc<ConnectError>>) {
        for publish in std::mem::take(&mut self.under_way).into_iter().chain(std::mem::take(&mut self.waiting)) {
            let closed = || PublishError::Closed(error.cloned());
            let fate = publish.first_sent.map_or_else(closed, |_| self.unknown());
            let _nobody_waits = publish.answer.send(Err(fate));
        }
        for held in std::mem::take(&mut self.subscriptions).into_values() {
            held.end(SubscribeError::Closed(error.cloned()));
        }
        self.presences.end(error);
    }
}

impl Held {
    fn end(self, error: SubscribeError) {
        self.inlet.end(error.clone());
        if let State::Asked(answer) = self.state {
            let _nobody_waits = answer.send(Err(error));
        }
    }
}

fn subscribe_frame(request: u64, filter: Filter) -> Bytes {
    ClientFrame { request, body: ClientBody::Subscribe(filter) }.encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::{Outlet, pair};
    use farwire_wire::{ChannelName, ErrorCode, Pattern, PublisherId};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use tokio::sync::Semaphore;

    type Answer<T, E> = oneshot::Receiver<Result<T, E>>;

    const ALLOWED: u32 = 1_000;

    fn ledger() -> Ledger {
        Ledger::new(ALLOWED)
    }

    /// Numbers a publish without sending it.
    fn handed_in(ledger: &mut Ledger, number: u64) -> Answer<Ack, PublishError> {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (answer, pending) = oneshot::channel();
        let channel = ChannelName::parse("a").unwrap();
        let publisher = PublisherId(1);
        let publish = Publish { channel, payload: Bytes::new(), publisher, number, count: number, level: None };
        ledger.publish(Outgoing { publish, permit, answer });
        pending
    }

    fn published(ledger: &mut Ledger, number: u64) -> Answer<Ack, PublishError> {
        let pending = handed_in(ledger, number);
        ledger.due(Instant::now()).unwrap();
        pending
    }

    fn subscribed(ledger: &mut Ledger) -> (u64, Outlet, Answer<(), SubscribeError>) {
        let (inlet, outlet) = pair();
        let (answer, pending) = oneshot::channel();
        let filter = Filter::from(Pattern::parse("a").unwrap());
        ledger.subscribe(Wanted { filter, inlet, answer });
        (ledger.last_request, outlet, pending)
    }

    fn lose(ledger: &mut Ledger) {
        ledger.lose(Instant::now(), &"gone".into());
    }

    fn frame(bytes: Bytes) -> ClientFrame {
        ClientFrame::decode(bytes.slice(1..)).unwrap()
    }

    /// Request and number of all that is due.
    fn sent(ledger: &mut Ledger) -> Vec<(u64, u64)> {
        let frames = std::iter::from_fn(|| ledger.due(Instant::now()));
        let publish = |frame: ClientFrame| match frame.body {
            ClientBody::Publish(publish) => (frame.request, publish.number),
            other => panic!("not a publish: {other:?}"),
        };
        frames.map(|bytes| publish(frame(bytes))).collect()
    }

    #[test]
    fn an_ack_covers_its_range_and_no_more() {
        let mut ledger = ledger();
        let mut pending: Vec<_> = (1..=4).map(|number| published(&mut ledger, number)).collect();
        ledger.acked(3, 4, AckLevel::Volatile);
        let acked: Vec<_> = pending.iter_mut().map(|p| p.try_recv().ok().map(|ack| ack.unwrap().number)).collect();
        assert_eq!(acked, [None, Some(2), Some(3), None]);
        ledger.acked(9, 1, AckLevel::Volatile);
        assert_eq!(ledger.publishes_in_flight(), 2);
    }

    #[test]
    fn what_is_not_acked_when_the_session_is_lost_is_sent_again_first_and_in_order() {
        let mut ledger = ledger();
        let mut pending: Vec<_> = (1..=4).map(|number| published(&mut ledger, number)).collect();
        ledger.acked(3, 3, AckLevel::Volatile);
        pending.push(handed_in(&mut ledger, 5));
        lose(&mut ledger);
        pending.push(handed_in(&mut ledger, 6));
        assert!(ledger.resume(ALLOWED).is_empty());
        assert_eq!(sent(&mut ledger), [(2, 1), (3, 3), (4, 4), (5, 5), (6, 6)]);
        ledger.acked(2, 6, AckLevel::Volatile);
        let acked: Vec<_> = pending.iter_mut().map(|p| p.try_recv().unwrap().unwrap().number).collect();
        assert_eq!(acked, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_node_that_allows_less_gets_no_more_than_that_under_way() {
        let mut ledger = ledger();
        let _pending: Vec<_> = (1..=4).map(|number| published(&mut ledger, number)).collect();
        lose(&mut ledger);
        ledger.resume(2);
        assert_eq!(sent(&mut ledger), [(2, 1), (3, 2)]);
        assert!(ledger.acked(2, 2, AckLevel::Volatile), "there is room, and something waits for it");
        assert_eq!(sent(&mut ledger), [(4, 3)]);
        ledger.acked(3, 4, AckLevel::Volatile);
        assert_eq!(sent(&mut ledger), [(5, 4)]);
        assert!(!ledger.acked(5, 5, AckLevel::Volatile));
    }

    #[test]
    fn what_was_sent_longer_ago_than_nodes_remember_is_unknown() {
        let mut ledger = ledger();
        let begin = Instant::now();
        let mut first = handed_in(&mut ledger, 1);
        ledger.due(begin).unwrap();
        let mut second = handed_in(&mut ledger, 2);
        ledger.due(begin + Duration::from_secs(1)).unwrap();
        let mut unsent = handed_in(&mut ledger, 3);
        ledger.lose(begin + Duration::from_secs(2), &"gone".into());
        assert_eq!(ledger.next_give_up(), Some(begin + RESEND_WITHIN));
        ledger.give_up(begin + RESEND_WITHIN);
        assert!(matches!(first.try_recv(), Ok(Err(PublishError::Unknown { reason })) if &*reason == "gone"));
        assert!(second.try_recv().is_err());
        ledger.give_up(begin + Duration::from_secs(100));
        assert!(matches!(second.try_recv(), Ok(Err(PublishError::Unknown { .. }))));
        assert!(ledger.next_give_up().is_none() && unsent.try_recv().is_err(), "what was never sent can wait");
    }

    #[test]
    fn at_the_end_what_was_never_sent_is_told_from_what_may_be_delivered() {
        let mut ledger = ledger();
        let (mut sent, mut unsent) = (published(&mut ledger, 1), handed_in(&mut ledger, 2));
        lose(&mut ledger);
        ledger.end(None);
        assert!(matches!(sent.try_recv(), Ok(Err(PublishError::Unknown { .. }))));
        assert!(matches!(unsent.try_recv(), Ok(Err(PublishError::Closed(None)))));
    }

    #[test]
    fn a_refusal_answers_its_request_only() {
        let mut ledger = ledger();
        let (mut first, mut second) = (published(&mut ledger, 1), published(&mut ledger, 2));
        ledger.refused(HELLO_REQUEST + 1, ErrorCode::Forbidden.into()).unwrap();
        assert!(matches!(first.try_recv(), Ok(Err(PublishError::Refused(_)))));
        assert!(second.try_recv().is_err());
    }

    #[test]
    fn a_new_session_asks_for_every_subscription_that_is_still_held_and_then_tells_the_gap() {
        let mut ledger = ledger();
        let (_, dropped, _pending) = subscribed(&mut ledger);
        let (request, _outlet, mut pending) = subscribed(&mut ledger);
        ledger.in_force(request, vec![]);
        assert!(matches!(pending.try_recv(), Ok(Ok(()))));
        drop(dropped);
        let lost_at = Instant::now();
        assert!(ledger.gaps(lost_at).is_empty());
        ledger.lose(lost_at, &"gone".into());
        let frames: Vec<_> = ledger.resume(ALLOWED).into_iter().map(frame).collect();
        assert_eq!(frames.len(), 1);
        assert_eq!((frames[0].request, ledger.is_resumed()), (HELLO_REQUEST + 1, false));
        let dark = vec![RegionName::parse("iad").unwrap()];
        ledger.in_force(frames[0].request, dark.clone());
        assert!(ledger.is_resumed());
        let lasted = Duration::from_secs(3);
        let patterns = vec![Pattern::parse("a").unwrap()];
        assert_eq!(ledger.gaps(lost_at + lasted), [Gap { patterns, lasted, pending_regions: dark }]);
    }

    #[test]
    fn a_refused_resume_ends_the_subscription_or_else_the_session() {
        let mut ledger = ledger();
        let (request, _outlet, _pending) = subscribed(&mut ledger);
        ledger.in_force(request, vec![]);
        ledger.resume(ALLOWED);
        assert!(ledger.refused(request, ErrorCode::Overloaded.into()).is_err());
        assert!(ledger.refused(request, ErrorCode::Forbidden.into()).is_ok());
        assert!(ledger.inlet(request).is_none() && ledger.is_resumed());
    }

    /// The requests of a ledger grow, its publishes are in their order, and each is answered once.
    #[test]
    fn whatever_happens_every_publish_is_answered_once_and_in_order_of_number() {
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut ledger, mut waiting, mut answered, mut handed) = (ledger(), Vec::new(), 0, 0);
            let mut now = Instant::now();
            for _ in 0..100 {
                now += Duration::from_secs(rng.random_range(0..10));
                let before = ledger.last_request;
                let any = rng.random_range(0..before + 3);
                match rng.random_range(0..12) {
                    0..5 => {
                        handed += 1;
                        waiting.push(handed_in(&mut ledger, handed));
                    }
                    5 | 6 => drop(std::iter::from_fn(|| ledger.due(now)).count()),
                    7 => drop(subscribed(&mut ledger)),
                    8 => drop(ledger.acked(any, any + rng.random_range(0..4), AckLevel::Volatile)),
                    9 => drop(ledger.refused(any, ErrorCode::Overloaded.into())),
                    10 => ledger.in_force(any, vec![]),
                    _ => {
                        ledger.lose(now, &"gone".into());
                        let frames = ledger.resume(rng.random_range(1..10)).len() as u64;
                        assert_eq!(ledger.last_request, HELLO_REQUEST + frames, "seed {seed}");
                    }
                }
                // A publish whose side was dropped without an answer would say so here.
                waiting.retain_mut(|answer| match answer.try_recv() {
                    Err(oneshot::error::TryRecvError::Empty) => true,
                    told => {
                        assert!(told.is_ok(), "seed {seed}: dropped without an answer");
                        answered += 1;
                        false
                    }
                });
                let all: Vec<_> = ledger.under_way.iter().chain(&ledger.waiting).collect();
                assert!(all.is_sorted_by(|a, b| a.publish.number < b.publish.number), "seed {seed}");
                assert!(ledger.under_way.iter().is_sorted_by(|a, b| a.request < b.request), "seed {seed}");
                assert!(ledger.under_way.len() <= ledger.under_way_max, "seed {seed}");
                assert_eq!(ledger.publishes_in_flight(), waiting.len(), "seed {seed}");
            }
            ledger.end(None);
            assert!(waiting.iter_mut().all(|answer| answer.try_recv().is_ok()), "seed {seed}");
            assert_eq!(answered + waiting.len() as u64, handed, "seed {seed}");
        }
    }

    #[test]
    fn unsubscribing_names_the_request_of_this_session() {
        let mut ledger = ledger();
        let (_, _outlet, _pending) = subscribed(&mut ledger);
        published(&mut ledger, 1);
        let unsubscribe = frame(ledger.unsubscribe(1).unwrap());
        assert_eq!(unsubscribe.body, ClientBody::Unsubscribe(HELLO_REQUEST + 1));
        assert!(ledger.unsubscribe(1).is_none());
    }
}
