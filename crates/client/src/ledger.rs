//! What the client owes and is owed: publishes that wait for their ack, and subscriptions that must be in force. Pure
//! book-keeping: it makes frames and takes answers; it neither sends nor waits.
//!
//! Invariants: requests grow by one within a session; publishes are in the order of their requests; every publish that
//! was made into a frame is answered once, at the latest by [`Ledger::lose`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use farwire_wire::client::{AckLevel, ClientBody, ClientFrame};
use farwire_wire::{ErrorClass, Filter, RegionName, WireError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::connect::HELLO_REQUEST;
use crate::error::{ConnectError, PublishError, SubscribeError};
use crate::publisher::Ack;
use crate::standing::{Outgoing, Wanted};
use crate::subscription::Inlet;

/// Names a subscription over all sessions of a client; its request number changes from session to session.
pub(crate) type SubscriptionKey = u64;

#[derive(Debug)]
pub(crate) struct Ledger {
    last_request: u64,
    last_key: SubscriptionKey,
    publishes: VecDeque<InFlight>,
    subscriptions: BTreeMap<SubscriptionKey, Held>,
    by_request: HashMap<u64, SubscriptionKey>,
}

#[derive(Debug)]
struct InFlight {
    request: u64,
    number: u64,
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
    pub(crate) fn new() -> Self {
        Self {
            last_request: HELLO_REQUEST,
            last_key: 0,
            publishes: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            by_request: HashMap::new(),
        }
    }

    /// Begins a session: the frames that bring every subscription into force again.
    pub(crate) fn resume(&mut self) -> Vec<Bytes> {
        self.last_request = HELLO_REQUEST;
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
        frames
    }

    /// Whether what was in force before the session is in force again.
    pub(crate) fn is_resumed(&self) -> bool {
        !self.subscriptions.values().any(|held| matches!(held.state, State::Resuming))
    }

    pub(crate) fn publish(&mut self, outgoing: Outgoing) -> Bytes {
        let Outgoing { publish, permit, answer } = outgoing;
        self.last_request += 1;
        let request = self.last_request;
        self.publishes.push_back(InFlight { request, number: publish.number, answer, _permit: permit });
        ClientFrame { request, body: ClientBody::Publish(publish) }.encode()
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

    pub(crate) fn acked(&mut self, first: u64, last: u64, level: AckLevel) {
        let from = self.publishes.partition_point(|publish| publish.request < first);
        let to = self.publishes.partition_point(|publish| publish.request <= last);
        // An ack whose first is above its last acks nothing.
        for InFlight { number, answer, .. } in self.publishes.drain(from..to.max(from)) {
            let _nobody_waits = answer.send(Ok(Ack { number, level }));
        }
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
        if let Ok(at) = self.publishes.binary_search_by_key(&request, |publish| publish.request) {
            if let Some(publish) = self.publishes.remove(at) {
                let _nobody_waits = publish.answer.send(Err(PublishError::Refused(error)));
            }
            return Ok(());
        }
        let Some(key) = self.by_request.get(&request).copied() else { return Ok(()) };
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

    pub(crate) fn publishes_in_flight(&self) -> usize {
        self.publishes.len()
    }

    /// Ends a session: what was sent and not acked may or may not have been taken.
    pub(crate) fn lose(&mut self, reason: &Arc<str>) {
        for publish in self.publishes.drain(..) {
            let _nobody_waits = publish.answer.send(Err(PublishError::Unknown { reason: Arc::clone(reason) }));
        }
        self.by_request.clear();
    }

    /// Ends the client.
    pub(crate) fn end(&mut self, error: Option<&Arc<ConnectError>>) {
        for held in std::mem::take(&mut self.subscriptions).into_values() {
            held.end(SubscribeError::Closed(error.cloned()));
        }
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
    use farwire_wire::client::Publish;
    use farwire_wire::{ChannelName, ErrorCode, Pattern, PublisherId};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use tokio::sync::Semaphore;

    type Answer<T, E> = oneshot::Receiver<Result<T, E>>;

    fn published(ledger: &mut Ledger, number: u64) -> Answer<Ack, PublishError> {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (answer, pending) = oneshot::channel();
        let channel = ChannelName::parse("a").unwrap();
        let publisher = PublisherId(1);
        let publish = Publish { channel, payload: Bytes::new(), publisher, number, count: number, level: None };
        ledger.publish(Outgoing { publish, permit, answer });
        pending
    }

    fn subscribed(ledger: &mut Ledger) -> (u64, Outlet, Answer<(), SubscribeError>) {
        let (inlet, outlet) = pair();
        let (answer, pending) = oneshot::channel();
        let filter = Filter::from(Pattern::parse("a").unwrap());
        ledger.subscribe(Wanted { filter, inlet, answer });
        (ledger.last_request, outlet, pending)
    }

    fn frame(bytes: Bytes) -> ClientFrame {
        ClientFrame::decode(bytes.slice(1..)).unwrap()
    }

    #[test]
    fn an_ack_covers_its_range_and_no_more() {
        let mut ledger = Ledger::new();
        let mut pending: Vec<_> = (1..=4).map(|number| published(&mut ledger, number)).collect();
        ledger.acked(3, 4, AckLevel::Volatile);
        let acked: Vec<_> = pending.iter_mut().map(|p| p.try_recv().ok().map(|ack| ack.unwrap().number)).collect();
        assert_eq!(acked, [None, Some(2), Some(3), None]);
        ledger.acked(9, 1, AckLevel::Volatile);
        assert_eq!(ledger.publishes_in_flight(), 2);
    }

    #[test]
    fn what_is_not_acked_when_the_session_is_lost_is_unknown() {
        let mut ledger = Ledger::new();
        let mut pending = published(&mut ledger, 1);
        ledger.lose(&"gone".into());
        assert!(matches!(pending.try_recv(), Ok(Err(PublishError::Unknown { .. }))));
    }

    #[test]
    fn a_refusal_answers_its_request_only() {
        let mut ledger = Ledger::new();
        let (mut first, mut second) = (published(&mut ledger, 1), published(&mut ledger, 2));
        ledger.refused(HELLO_REQUEST + 1, ErrorCode::Forbidden.into()).unwrap();
        assert!(matches!(first.try_recv(), Ok(Err(PublishError::Refused(_)))));
        assert!(second.try_recv().is_err());
    }

    #[test]
    fn a_new_session_asks_for_every_subscription_that_is_still_held() {
        let mut ledger = Ledger::new();
        let (_, dropped, _pending) = subscribed(&mut ledger);
        let (request, _outlet, mut pending) = subscribed(&mut ledger);
        ledger.in_force(request, vec![]);
        assert!(matches!(pending.try_recv(), Ok(Ok(()))));
        drop(dropped);
        ledger.lose(&"gone".into());
        let frames: Vec<_> = ledger.resume().into_iter().map(frame).collect();
        assert_eq!(frames.len(), 1);
        assert_eq!((frames[0].request, ledger.is_resumed()), (HELLO_REQUEST + 1, false));
        ledger.in_force(frames[0].request, vec![]);
        assert!(ledger.is_resumed());
    }

    #[test]
    fn a_refused_resume_ends_the_subscription_or_else_the_session() {
        let mut ledger = Ledger::new();
        let (request, _outlet, _pending) = subscribed(&mut ledger);
        ledger.in_force(request, vec![]);
        ledger.resume();
        assert!(ledger.refused(request, ErrorCode::Overloaded.into()).is_err());
        assert!(ledger.refused(request, ErrorCode::Forbidden.into()).is_ok());
        assert!(ledger.inlet(request).is_none() && ledger.is_resumed());
    }

    /// The requests of a ledger grow, its publishes are in their order, and each is answered once.
    #[test]
    fn whatever_happens_every_publish_is_answered_once_and_requests_grow() {
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut ledger, mut waiting, mut answered, mut sent) = (Ledger::new(), Vec::new(), 0, 0);
            for _ in 0..100 {
                let before = ledger.last_request;
                let any = rng.random_range(0..before + 3);
                match rng.random_range(0..10) {
                    0..5 => {
                        sent += 1;
                        waiting.push(published(&mut ledger, sent));
                        assert_eq!(ledger.last_request, before + 1, "seed {seed}");
                    }
                    5 => drop(subscribed(&mut ledger)),
                    6 => ledger.acked(any, any + rng.random_range(0..4), AckLevel::Volatile),
                    7 => drop(ledger.refused(any, ErrorCode::Overloaded.into())),
                    8 => ledger.in_force(any, vec![]),
                    _ => {
                        ledger.lose(&"gone".into());
                        let frames = ledger.resume().len() as u64;
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
                assert!(ledger.publishes.iter().is_sorted_by(|a, b| a.request < b.request), "seed {seed}");
                assert_eq!(ledger.publishes_in_flight(), waiting.len(), "seed {seed}");
            }
            ledger.lose(&"gone".into());
            assert!(waiting.iter_mut().all(|answer| answer.try_recv().is_ok()), "seed {seed}");
            assert_eq!(answered + waiting.len() as u64, sent, "seed {seed}");
        }
    }

    #[test]
    fn unsubscribing_names_the_request_of_this_session() {
        let mut ledger = Ledger::new();
        let (_, _outlet, _pending) = subscribed(&mut ledger);
        published(&mut ledger, 1);
        let unsubscribe = frame(ledger.unsubscribe(1).unwrap());
        assert_eq!(unsubscribe.body, ClientBody::Unsubscribe(HELLO_REQUEST + 1));
        assert!(ledger.unsubscribe(1).is_none());
    }
}
