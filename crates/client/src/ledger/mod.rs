//! What the client owes and is owed: publishes that wait for their ack, subscriptions that must be in force, where it is
//! present, and its questions. Pure book-keeping: it makes frames and takes answers; it neither sends nor waits, and time is
//! an argument. Each part is in a module of its own; here they get their request numbers, and answers find their part.
//!
//! Invariants: requests grow by one within a session; what the session before left open comes first in the next one, the
//! publishes last; everything asked for is answered once, at the latest by [`Ledger::end`].

use std::sync::Arc;

use bytes::Bytes;
use farwire_wire::client::{AckLevel, ClientBody, ClientFrame, ServerBody};
use farwire_wire::{ChannelName, RegionName, WireError};
use tokio::time::Instant;

mod presence;
mod publishes;
mod questions;
mod subscriptions;

pub(crate) use self::presence::{End, Entering, Gone, Leaving, PresenceKey, Updating};
pub(crate) use self::questions::Question;
pub(crate) use self::subscriptions::SubscriptionKey;

use self::presence::Presences;
use self::publishes::Publishes;
use self::questions::Questions;
use self::subscriptions::Subscriptions;
use crate::connect::HELLO_REQUEST;
use crate::error::ConnectError;
use crate::standing::{Outgoing, Wanted};
use crate::status::Gap;
use crate::subscription::Inlet;

#[derive(Debug)]
pub(crate) struct Ledger {
    requests: Requests,
    publishes: Publishes,
    subscriptions: Subscriptions,
    presences: Presences,
    questions: Questions,
}

/// Numbers the requests of a session.
#[derive(Debug)]
struct Requests {
    last: u64,
}

impl Requests {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Ledger {
    pub(crate) fn new(under_way_max: u32) -> Self {
        Self {
            requests: Requests { last: HELLO_REQUEST },
            publishes: Publishes::new(under_way_max),
            subscriptions: Subscriptions::default(),
            presences: Presences::default(),
            questions: Questions::default(),
        }
    }

    /// Begins a session with a node that allows `under_way_max` publishes: the frames that bring every subscription into
    /// force again, make the client present where it was, and ask what has no answer yet. The publishes of the sessions
    /// before are due after them.
    pub(crate) fn resume(&mut self, under_way_max: u32) -> Vec<Bytes> {
        self.requests = Requests { last: HELLO_REQUEST };
        self.publishes.resume(under_way_max);
        let mut frames = self.subscriptions.resume(&mut self.requests);
        frames.extend(self.presences.resume(&mut self.requests));
        frames.extend(self.questions.resume(&mut self.requests));
        frames
    }

    /// Whether what was in force before the session is in force again.
    pub(crate) fn is_resumed(&self) -> bool {
        self.subscriptions.are_resumed() && self.presences.are_resumed()
    }

    /// What the subscriptions that are in force again may have missed since the last session was lost.
    pub(crate) fn gaps(&self, now: Instant) -> Vec<Gap> {
        self.subscriptions.gaps(now)
    }

    /// Takes a publish to be sent in its turn: see [`Self::due`].
    pub(crate) fn publish(&mut self, outgoing: Outgoing) {
        self.publishes.add(outgoing);
    }

    /// The frame of the next publish, if there is one and the node allows it.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Bytes> {
        self.publishes.due(&mut self.requests, now)
    }

    pub(crate) fn subscribe(&mut self, wanted: Wanted) -> (SubscriptionKey, Bytes) {
        self.subscriptions.add(wanted, &mut self.requests)
    }

    /// Gives a subscription up; `None` when the node does not know it.
    pub(crate) fn unsubscribe(&mut self, key: SubscriptionKey) -> Option<Bytes> {
        self.subscriptions.drop_handle(key, &mut self.requests)
    }

    /// Enters a channel; `None` where the client is present already.
    pub(crate) fn enter(&mut self, entering: Entering) -> Option<(Bytes, Gone)> {
        self.presences.enter(entering, &mut self.requests)
    }

    /// Says something else on a channel; `None` where the client is not present any more.
    pub(crate) fn update(&mut self, updating: Updating) -> Option<Bytes> {
        self.presences.update(updating, &mut self.requests)
    }

    /// Leaves a channel; `None` where the client is not present any more.
    pub(crate) fn leave(&mut self, leaving: Leaving) -> Option<Bytes> {
        self.presences.leave(leaving, &mut self.requests)
    }

    /// Leaves a channel whose handle was dropped, if it was not left before.
    pub(crate) fn drop_presence(&mut self, channel: ChannelName, key: PresenceKey) -> Option<Bytes> {
        self.presences.drop_handle(channel, key, &mut self.requests)
    }

    pub(crate) fn ask(&mut self, question: Question) -> Bytes {
        self.questions.ask(question, &mut self.requests)
    }

    /// Takes an ack; whether it made room for a publish that waits.
    pub(crate) fn acked(&mut self, first: u64, last: u64, level: AckLevel) -> bool {
        self.publishes.acked(first, last, level)
    }

    pub(crate) fn in_force(&mut self, request: u64, pending_regions: Vec<RegionName>) {
        self.subscriptions.in_force(request, pending_regions);
    }

    /// Takes an answer to what was said or asked of presence.
    pub(crate) fn presence_answered(&mut self, request: u64, body: ServerBody) {
        match body {
            ServerBody::EnterOk => self.presences.entered(request),
            ServerBody::LeaveOk => self.presences.left(request),
            body => self.questions.answered(request, body),
        }
    }

    /// Takes the refusal of a request. Gives the error back when it is one for the whole session: something could not be
    /// resumed just now, so the session is of no use.
    pub(crate) fn refused(&mut self, request: u64, error: WireError) -> Result<(), WireError> {
        if self.publishes.has(request) {
            self.publishes.refused(request, error);
            Ok(())
        } else if self.questions.has(request) {
            self.questions.refused(request, error);
            Ok(())
        } else if self.presences.has(request) {
            self.presences.refused(request, error)
        } else {
            self.subscriptions.refused(request, error)
        }
    }

    /// The subscription that a delivery names by its request.
    pub(crate) fn inlet(&self, request: u64) -> Option<&Inlet> {
        self.subscriptions.inlet(request)
    }

    /// Publishes that are sent or to be sent, and not answered.
    pub(crate) fn publishes_in_flight(&self) -> usize {
        self.publishes.in_flight()
    }

    /// Ends a session: what was sent and not answered is to be sent again.
    pub(crate) fn lose(&mut self, now: Instant, reason: &Arc<str>) {
        self.publishes.lose(now, reason);
        self.subscriptions.lose(now);
        self.presences.lose();
        self.questions.lose();
    }

    /// When the oldest publish that would be sent again is to be given up.
    pub(crate) fn next_give_up(&self) -> Option<Instant> {
        self.publishes.next_give_up()
    }

    /// Gives up what was sent too long ago to be sent again: it may or may not have been taken.
    pub(crate) fn give_up(&mut self, now: Instant) {
        self.publishes.give_up(now);
    }

    /// Ends the client: of what was sent, the application learns that it may or may not have been taken.
    pub(crate) fn end(&mut self, error: Option<&Arc<ConnectError>>) {
        self.publishes.end(error);
        self.subscriptions.end(error);
        self.presences.end(error);
        self.questions.end(error);
    }
}

fn frame(request: u64, body: ClientBody) -> Bytes {
    ClientFrame { request, body }.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const ALLOWED: u32 = 1_000;

    pub(super) fn lose(ledger: &mut Ledger) {
        ledger.lose(Instant::now(), &"gone".into());
    }

    pub(super) fn decoded(bytes: Bytes) -> ClientFrame {
        // The length before it has one byte up to 127, two above.
        let length = if bytes[0] < 0x80 { 1 } else { 2 };
        ClientFrame::decode(bytes.slice(length..)).unwrap()
    }
}
