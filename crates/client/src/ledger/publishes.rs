//! Publishes that wait for their ack. Part of the [`Ledger`](super::Ledger).
//!
//! A publish keeps its numbers over sessions: what is not acked when one is lost is sent again in the next, oldest first and
//! before anything newer. The nodes drop what they had taken, for as long as they remember its publisher session; a publish
//! whose first sending is longer ago than [`RESEND_WITHIN`] is given up instead, so that none is delivered twice.
//!
//! Invariants: publishes are sent in the order in which they were numbered, in every session; every publish is answered
//! once, at the latest by [`Publishes::end`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farwire_wire::WireError;
use farwire_wire::client::{AckLevel, ClientBody, ClientFrame, Publish};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::Requests;
use crate::error::{ConnectError, PublishError};
use crate::publisher::Ack;
use crate::standing::Outgoing;

/// A publish is sent again so long after its first sending. Nodes remember a publisher session for 60 s.
const RESEND_WITHIN: Duration = Duration::from_secs(45);

#[derive(Debug)]
pub(super) struct Publishes {
    /// Sent in this session and not answered, by request.
    under_way: VecDeque<InFlight>,
    /// To be sent in this session, the oldest first.
    waiting: VecDeque<InFlight>,
    /// Most under way that the node allows.
    under_way_max: usize,
    /// How the last session was lost.
    lost_by: Option<Arc<str>>,
}

#[derive(Debug)]
struct InFlight {
    request: u64,
    publish: Publish,
    first_sent: Option<Instant>,
    answer: oneshot::Sender<Result<Ack, PublishError>>,
    _permit: OwnedSemaphorePermit,
}

impl Publishes {
    pub(super) fn new(under_way_max: u32) -> Self {
        Self {
            under_way: VecDeque::new(),
            waiting: VecDeque::new(),
            under_way_max: under_way_max as usize,
            lost_by: None,
        }
    }

    pub(super) fn resume(&mut self, under_way_max: u32) {
        self.under_way_max = under_way_max as usize;
    }

    pub(super) fn add(&mut self, outgoing: Outgoing) {
        let Outgoing { publish, permit, answer } = outgoing;
        self.waiting.push_back(InFlight { request: 0, publish, first_sent: None, answer, _permit: permit });
    }

    pub(super) fn due(&mut self, requests: &mut Requests, now: Instant) -> Option<Bytes> {
        if self.under_way.len() >= self.under_way_max {
            return None;
        }
        let mut next = self.waiting.pop_front()?;
        next.request = requests.next();
        next.first_sent.get_or_insert(now);
        // Taken out for the frame, and put back: a payload is shared, a channel's name would be copied.
        let frame = ClientFrame { request: next.request, body: ClientBody::Publish(next.publish) };
        let bytes = frame.encode();
        if let ClientBody::Publish(publish) = frame.body {
            self.under_way.push_back(InFlight { publish, ..next });
        }
        Some(bytes)
    }

    pub(super) fn acked(&mut self, first: u64, last: u64, level: AckLevel) -> bool {
        let from = self.under_way.partition_point(|publish| publish.request < first);
        let to = self.under_way.partition_point(|publish| publish.request <= last);
        // An ack whose first is above its last acks nothing.
        for InFlight { publish, answer, .. } in self.under_way.drain(from..to.max(from)) {
            let _nobody_waits = answer.send(Ok(Ack { number: publish.number, level }));
        }
        !self.waiting.is_empty()
    }

    pub(super) fn has(&self, request: u64) -> bool {
        self.place_of(request).is_ok()
    }

    pub(super) fn refused(&mut self, request: u64, error: WireError) {
        let publish = self.place_of(request).ok().and_then(|at| self.under_way.remove(at));
        if let Some(publish) = publish {
            let _nobody_waits = publish.answer.send(Err(PublishError::Refused(error)));
        }
    }

    fn place_of(&self, request: u64) -> Result<usize, usize> {
        self.under_way.binary_search_by_key(&request, |publish| publish.request)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.under_way.len() + self.waiting.len()
    }

    pub(super) fn lose(&mut self, now: Instant, reason: &Arc<str>) {
        self.lost_by = Some(Arc::clone(reason));
        let newer = std::mem::take(&mut self.waiting);
        self.waiting = std::mem::take(&mut self.under_way);
        self.waiting.extend(newer);
        self.give_up(now);
    }

    pub(super) fn next_give_up(&self) -> Option<Instant> {
        self.waiting.front().and_then(|publish| publish.first_sent).map(|first| first + RESEND_WITHIN)
    }

    pub(super) fn give_up(&mut self, now: Instant) {
        while self.next_give_up().is_some_and(|due| due <= now)
            && let Some(publish) = self.waiting.pop_front()
        {
            let _nobody_waits = publish.answer.send(Err(self.unknown()));
        }
    }

    fn unknown(&self) -> PublishError {
        PublishError::Unknown { reason: self.lost_by.clone().unwrap_or_else(|| "the client was closed".into()) }
    }

    /// What was sent may or may not have been taken, what was not is not.
    pub(super) fn end(&mut self, error: Option<&Arc<ConnectError>>) {
        for publish in std::mem::take(&mut self.under_way).into_iter().chain(std::mem::take(&mut self.waiting)) {
            let closed = || PublishError::Closed(error.cloned());
            let fate = publish.first_sent.map_or_else(closed, |_| self.unknown());
            let _nobody_waits = publish.answer.send(Err(fate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ledger;
    use super::super::tests::{ALLOWED, decoded, lose};
    use super::*;
    use crate::connect::HELLO_REQUEST;
    use crate::ledger::subscriptions::tests::subscribed;
    use farwire_wire::{ChannelName, ErrorCode, PublisherId};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use tokio::sync::Semaphore;

    fn ledger() -> Ledger {
        Ledger::new(ALLOWED)
    }

    type Answer = oneshot::Receiver<Result<Ack, PublishError>>;

    /// Numbers a publish without sending it.
    fn handed_in(ledger: &mut Ledger, number: u64) -> Answer {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (answer, pending) = oneshot::channel();
        let channel = ChannelName::parse("a").unwrap();
        let publisher = PublisherId(1);
        let publish = Publish { channel, payload: Bytes::new(), publisher, number, count: number, level: None };
        ledger.publish(Outgoing { publish, permit, answer });
        pending
    }

    fn published(ledger: &mut Ledger, number: u64) -> Answer {
        let pending = handed_in(ledger, number);
        ledger.due(Instant::now()).unwrap();
        pending
    }

    /// Request and number of all that is due.
    fn sent(ledger: &mut Ledger) -> Vec<(u64, u64)> {
        let frames = std::iter::from_fn(|| ledger.due(Instant::now()));
        let publish = |frame: ClientFrame| match frame.body {
            ClientBody::Publish(publish) => (frame.request, publish.number),
            other => panic!("not a publish: {other:?}"),
        };
        frames.map(|bytes| publish(decoded(bytes))).collect()
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

    /// The requests of a ledger grow, its publishes are in their order, and each is answered once.
    #[test]
    fn whatever_happens_every_publish_is_answered_once_and_in_order_of_number() {
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut ledger, mut waiting, mut answered, mut handed) = (ledger(), Vec::new(), 0, 0);
            let mut now = Instant::now();
            for _ in 0..100 {
                now += Duration::from_secs(rng.random_range(0..10));
                let before = ledger.requests.last;
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
                        assert_eq!(ledger.requests.last, HELLO_REQUEST + frames, "seed {seed}");
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
                let all: Vec<_> = ledger.publishes.under_way.iter().chain(&ledger.publishes.waiting).collect();
                assert!(all.is_sorted_by(|a, b| a.publish.number < b.publish.number), "seed {seed}");
                assert!(ledger.publishes.under_way.iter().is_sorted_by(|a, b| a.request < b.request), "seed {seed}");
                assert!(ledger.publishes.under_way.len() <= ledger.publishes.under_way_max, "seed {seed}");
                assert_eq!(ledger.publishes_in_flight(), waiting.len(), "seed {seed}");
            }
            ledger.end(None);
            assert!(waiting.iter_mut().all(|answer| answer.try_recv().is_ok()), "seed {seed}");
            assert_eq!(answered + waiting.len() as u64, handed, "seed {seed}");
        }
    }
}
