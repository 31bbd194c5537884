//! Subscriptions that must be in force, in every session. Part of the [`Ledger`](super::Ledger).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use farwire_wire::client::ClientBody;
use farwire_wire::{ErrorClass, Filter, RegionName, WireError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Requests, frame};
use crate::error::{ConnectError, SubscribeError};
use crate::standing::Wanted;
use crate::status::Gap;
use crate::subscription::Inlet;

/// Names a subscription over all sessions of a client; its request number changes from session to session.
pub(crate) type SubscriptionKey = u64;

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    last_key: SubscriptionKey,
    held: BTreeMap<SubscriptionKey, Held>,
    by_request: HashMap<u64, SubscriptionKey>,
    /// When the last session was lost.
    lost_at: Option<Instant>,
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

impl Subscriptions {
    pub(super) fn resume(&mut self, requests: &mut Requests) -> Vec<Bytes> {
        self.by_request.clear();
        self.held.retain(|_, held| !held.inlet.is_dropped());
        let mut frames = Vec::with_capacity(self.held.len());
        for (key, held) in &mut self.held {
            held.request = requests.next();
            if matches!(held.state, State::InForce) {
                held.state = State::Resuming;
            }
            self.by_request.insert(held.request, *key);
            frames.push(frame(held.request, ClientBody::Subscribe(held.filter.clone())));
        }
        frames
    }

    pub(super) fn are_resumed(&self) -> bool {
        !self.held.values().any(|held| matches!(held.state, State::Resuming))
    }

    pub(super) fn gaps(&self, now: Instant) -> Vec<Gap> {
        let Some(lost_at) = self.lost_at else { return Vec::new() };
        let lasted = now.saturating_duration_since(lost_at);
        let in_force = self.held.values().filter(|held| matches!(held.state, State::InForce));
        let gap = |held: &Held| Gap {
            patterns: held.filter.patterns().to_vec(),
            lasted,
            pending_regions: held.inlet.pending_regions(),
        };
        in_force.map(gap).collect()
    }

    pub(super) fn add(&mut self, wanted: Wanted, requests: &mut Requests) -> (SubscriptionKey, Bytes) {
        let Wanted { filter, inlet, answer } = wanted;
        self.last_key += 1;
        let request = requests.next();
        let frame = frame(request, ClientBody::Subscribe(filter.clone()));
        self.by_request.insert(request, self.last_key);
        self.held.insert(self.last_key, Held { filter, inlet, request, state: State::Asked(answer) });
        (self.last_key, frame)
    }

    pub(super) fn drop_handle(&mut self, key: SubscriptionKey, requests: &mut Requests) -> Option<Bytes> {
        let held = self.held.remove(&key)?;
        self.by_request.remove(&held.request)?;
        Some(frame(requests.next(), ClientBody::Unsubscribe(held.request)))
    }

    pub(super) fn in_force(&mut self, request: u64, pending_regions: Vec<RegionName>) {
        let held = self.by_request.get(&request).and_then(|key| self.held.get_mut(key));
        let Some(held) = held else { return };
        held.inlet.in_force(pending_regions);
        if let State::Asked(answer) = std::mem::replace(&mut held.state, State::InForce) {
            let _nobody_waits = answer.send(Ok(()));
        }
    }

    pub(super) fn refused(&mut self, request: u64, error: WireError) -> Result<(), WireError> {
        let Some(key) = self.by_request.get(&request).copied() else { return Ok(()) };
        let state = self.held.get(&key).map(|held| &held.state);
        if matches!(state, Some(State::Resuming)) && error.code.class() != ErrorClass::Definite {
            return Err(error);
        }
        self.by_request.remove(&request);
        if let Some(held) = self.held.remove(&key) {
            held.end(SubscribeError::Refused(error));
        }
        Ok(())
    }

    pub(super) fn inlet(&self, request: u64) -> Option<&Inlet> {
        self.by_request.get(&request).and_then(|key| self.held.get(key)).map(|held| &held.inlet)
    }

    pub(super) fn lose(&mut self, now: Instant) {
        self.lost_at = Some(now);
        self.by_request.clear();
    }

    pub(super) fn end(&mut self, error: Option<&Arc<ConnectError>>) {
        for held in std::mem::take(&mut self.held).into_values() {
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

#[cfg(test)]
pub(super) mod tests {
    use super::super::Ledger;
    use super::super::tests::{ALLOWED, decoded};
    use super::*;
    use crate::connect::HELLO_REQUEST;
    use crate::subscription::{Outlet, pair};
    use farwire_wire::{ErrorCode, Pattern};
    use std::time::Duration;

    type Answer = oneshot::Receiver<Result<(), SubscribeError>>;

    fn ledger() -> Ledger {
        Ledger::new(ALLOWED)
    }

    pub(in crate::ledger) fn subscribed(ledger: &mut Ledger) -> (u64, Outlet, Answer) {
        let (inlet, outlet) = pair();
        let (answer, pending) = oneshot::channel();
        let filter = Filter::from(Pattern::parse("a").unwrap());
        ledger.subscribe(Wanted { filter, inlet, answer });
        (ledger.requests.last, outlet, pending)
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
        let frames: Vec<_> = ledger.resume(ALLOWED).into_iter().map(decoded).collect();
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

    #[test]
    fn unsubscribing_names_the_request_of_this_session() {
        let mut ledger = ledger();
        let (_, _outlet, _pending) = subscribed(&mut ledger);
        let unsubscribe = decoded(ledger.unsubscribe(1).unwrap());
        assert_eq!(unsubscribe.body, ClientBody::Unsubscribe(HELLO_REQUEST + 1));
        assert!(ledger.unsubscribe(1).is_none());
    }
}
