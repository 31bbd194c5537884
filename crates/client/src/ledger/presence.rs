//! Where the client is present. Part of the [`Ledger`](super::Ledger). A presence lives over sessions: a new one enters every
//! channel again with the newest state, whether the node before had taken that or not.
//!
//! Invariants: one presence a channel; each says in a new session what its application said last and no node refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use farwire_wire::client::{ClientBody, Enter};
use farwire_wire::presence::PresenceState;
use farwire_wire::{ChannelName, ErrorClass, WireError};
use tokio::sync::oneshot;

use super::{Requests, frame};
use crate::error::{ConnectError, PresenceError};

/// Names a presence over all sessions of a client: another one on the same channel later has another key.
pub(crate) type PresenceKey = u64;

type Answer<T> = oneshot::Sender<Result<T, PresenceError>>;

/// A presence that is asked for.
#[derive(Debug)]
pub(crate) struct Entering {
    pub(crate) channel: ChannelName,
    pub(crate) state: PresenceState,
    pub(crate) end: End,
    /// Resolves when the application has dropped its handle.
    pub(crate) gone: oneshot::Receiver<()>,
    pub(crate) answer: Answer<PresenceKey>,
}

/// A presence says something else.
#[derive(Debug)]
pub(crate) struct Updating {
    pub(crate) channel: ChannelName,
    pub(crate) key: PresenceKey,
    pub(crate) state: PresenceState,
    pub(crate) answer: Answer<()>,
}

/// A presence is to end.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) channel: ChannelName,
    pub(crate) key: PresenceKey,
    pub(crate) answer: Answer<()>,
}

/// Why a presence ended without the application's wish, once it has.
pub(crate) type End = Arc<OnceLock<PresenceError>>;

/// Resolves when the handle of a presence is dropped.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) channel: ChannelName,
    pub(crate) key: PresenceKey,
    pub(crate) gone: oneshot::Receiver<()>,
}

#[derive(Debug, Default)]
pub(super) struct Presences {
    last_key: PresenceKey,
    held: BTreeMap<ChannelName, Held>,
    /// By request, in this session.
    asked: HashMap<u64, Asked>,
}

#[derive(Debug)]
struct Held {
    key: PresenceKey,
    end: End,
    /// What a node has taken, or is asked to with `entering`.
    state: PresenceState,
    entering: Option<Answer<PresenceKey>>,
    /// In the order of asking.
    updates: Vec<Update>,
    /// The session before had it in force, and this one not yet.
    is_resuming: bool,
}

/// What is to be said, and has no answer yet.
#[derive(Debug)]
struct Update {
    request: u64,
    state: PresenceState,
    answer: Answer<()>,
}

#[derive(Debug)]
enum Asked {
    Enter(ChannelName, PresenceKey),
    Leave(Answer<()>),
}

impl Presences {
    pub(super) fn resume(&mut self, requests: &mut Requests) -> Vec<Bytes> {
        self.asked.clear();
        let mut frames = Vec::with_capacity(self.held.len());
        for (channel, held) in &mut self.held {
            let request = requests.next();
            held.is_resuming = held.entering.is_none();
            held.updates.iter_mut().for_each(|update| update.request = request);
            self.asked.insert(request, Asked::Enter(channel.clone(), held.key));
            frames.push(enter_frame(request, channel, held.newest()));
        }
        frames
    }

    pub(super) fn are_resumed(&self) -> bool {
        !self.held.values().any(|held| held.is_resuming)
    }

    pub(super) fn enter(&mut self, entering: Entering, requests: &mut Requests) -> Option<(Bytes, Gone)> {
        let Entering { channel, state, end, gone, answer } = entering;
        if self.held.contains_key(&channel) {
            let _nobody_waits = answer.send(Err(PresenceError::AlreadyPresent));
            return None;
        }
        self.last_key += 1;
        let (key, request) = (self.last_key, requests.next());
        let frame = enter_frame(request, &channel, &state);
        let held = Held { key, end, state, entering: Some(answer), updates: Vec::new(), is_resuming: false };
        self.held.insert(channel.clone(), held);
        self.asked.insert(request, Asked::Enter(channel.clone(), key));
        Some((frame, Gone { channel, key, gone }))
    }

    /// One that has ended gets no answer: its handle says why.
    pub(super) fn update(&mut self, updating: Updating, requests: &mut Requests) -> Option<Bytes> {
        let Updating { channel, key, state, answer } = updating;
        let held = self.held.get_mut(&channel).filter(|held| held.key == key)?;
        let request = requests.next();
        let frame = enter_frame(request, &channel, &state);
        held.updates.push(Update { request, state, answer });
        self.asked.insert(request, Asked::Enter(channel, key));
        Some(frame)
    }

    /// As [`Self::update`].
    pub(super) fn leave(&mut self, leaving: Leaving, requests: &mut Requests) -> Option<Bytes> {
        let Leaving { channel, key, answer } = leaving;
        self.held.get(&channel).filter(|held| held.key == key)?;
        self.held.remove(&channel);
        let request = requests.next();
        self.asked.insert(request, Asked::Leave(answer));
        Some(frame(request, ClientBody::Leave(channel)))
    }

    /// Leaves, if the channel was not left before.
    pub(super) fn drop_handle(
        &mut self,
        channel: ChannelName,
        key: PresenceKey,
        requests: &mut Requests,
    ) -> Option<Bytes> {
        let (answer, _nobody_waits) = oneshot::channel();
        self.leave(Leaving { channel, key, answer }, requests)
    }

    pub(super) fn has(&self, request: u64) -> bool {
        self.asked.contains_key(&request)
    }

    pub(super) fn entered(&mut self, request: u64) {
        let Some(Asked::Enter(channel, key)) = self.asked.remove(&request) else { return };
        let Some(held) = self.held.get_mut(&channel).filter(|held| held.key == key) else { return };
        held.is_resuming = false;
        if let Some(answer) = held.entering.take() {
            let _nobody_waits = answer.send(Ok(key));
        }
        for update in held.updates.extract_if(.., |update| update.request <= request) {
            held.state = update.state;
            let _nobody_waits = update.answer.send(Ok(()));
        }
    }

    pub(super) fn left(&mut self, request: u64) {
        if let Some(Asked::Leave(answer)) = self.asked.remove(&request) {
            let _nobody_waits = answer.send(Ok(()));
        }
    }

    /// Gives the error back when a presence could not be resumed just now, so that the session is of no use.
    pub(super) fn refused(&mut self, request: u64, error: WireError) -> Result<(), WireError> {
        match self.asked.remove(&request) {
            Some(Asked::Enter(channel, key)) => self.enter_refused(request, &channel, key, error),
            Some(Asked::Leave(answer)) => {
                let _nobody_waits = answer.send(Err(PresenceError::Refused(error)));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn enter_refused(
        &mut self,
        request: u64,
        channel: &ChannelName,
        key: PresenceKey,
        error: WireError,
    ) -> Result<(), WireError> {
        let Some(held) = self.held.get_mut(channel).filter(|held| held.key == key) else { return Ok(()) };
        if held.is_resuming && error.code.class() != ErrorClass::Definite {
            return Err(error);
        }
        let error = PresenceError::Refused(error);
        if held.is_resuming || held.entering.is_some() {
            if let Some(held) = self.held.remove(channel) {
                held.end(&error);
            }
            return Ok(());
        }
        // What the node has taken stands.
        for update in held.updates.extract_if(.., |update| update.request == request) {
            let _nobody_waits = update.answer.send(Err(error.clone()));
        }
        Ok(())
    }

    pub(super) fn lose(&mut self) {
        for asked in std::mem::take(&mut self.asked).into_values() {
            match asked {
                // A new session enters again.
                Asked::Enter(..) => {}
                // The mesh forgets who does not come back.
                Asked::Leave(answer) => _ = answer.send(Ok(())),
            }
        }
    }

    pub(super) fn end(&mut self, error: Option<&Arc<ConnectError>>) {
        self.lose();
        let closed = PresenceError::Closed(error.cloned());
        std::mem::take(&mut self.held).into_values().for_each(|held| held.end(&closed));
    }
}

impl Held {
    /// What the application said last.
    fn newest(&self) -> &PresenceState {
        self.updates.last().map_or(&self.state, |update| &update.state)
    }

    fn end(self, error: &PresenceError) {
        let _ended_already = self.end.set(error.clone());
        if let Some(answer) = self.entering {
            let _nobody_waits = answer.send(Err(error.clone()));
        }
        for update in self.updates {
            let _nobody_waits = update.answer.send(Err(error.clone()));
        }
    }
}

fn enter_frame(request: u64, channel: &ChannelName, state: &PresenceState) -> Bytes {
    frame(request, ClientBody::Enter(Enter { channel: channel.clone(), state: state.clone() }))
}

#[cfg(test)]
mod tests {
    use super::super::Ledger;
    use super::super::tests::{ALLOWED, decoded, lose};
    use super::*;
    use crate::connect::HELLO_REQUEST;
    use farwire_wire::ErrorCode;
    use farwire_wire::client::ServerBody;

    const FIRST: u64 = HELLO_REQUEST + 1;

    type Told<T> = oneshot::Receiver<Result<T, PresenceError>>;

    /// The handle's side.
    struct Handle {
        key: PresenceKey,
        end: End,
        entered: Told<PresenceKey>,
    }

    fn room() -> ChannelName {
        ChannelName::parse("room").unwrap()
    }

    fn state(text: &str) -> PresenceState {
        text.parse().unwrap()
    }

    fn entering(ledger: &mut Ledger, text: &str) -> Handle {
        let (_held, gone) = oneshot::channel();
        let (answer, entered) = oneshot::channel();
        let end = End::default();
        let asked = ledger.enter(Entering { channel: room(), state: state(text), end: end.clone(), gone, answer });
        Handle { key: asked.map_or(0, |(_, gone)| gone.key), end, entered }
    }

    fn present(ledger: &mut Ledger, text: &str) -> Handle {
        let mut handle = entering(ledger, text);
        ledger.presence_answered(ledger.requests.last, ServerBody::EnterOk);
        assert_eq!(handle.entered.try_recv().unwrap().unwrap(), handle.key);
        handle
    }

    /// The request of the update, and what becomes of it.
    fn updated(ledger: &mut Ledger, handle: &Handle, text: &str) -> (u64, Told<()>) {
        let (answer, told) = oneshot::channel();
        let update = Updating { channel: room(), key: handle.key, state: state(text), answer };
        ledger.update(update).unwrap();
        (ledger.requests.last, told)
    }

    fn left(ledger: &mut Ledger, handle: &Handle) -> (Option<Bytes>, Told<()>) {
        let (answer, told) = oneshot::channel();
        (ledger.leave(Leaving { channel: room(), key: handle.key, answer }), told)
    }

    /// The states with which a new session enters.
    fn resumed(ledger: &mut Ledger) -> Vec<String> {
        let said = |bytes: Bytes| match decoded(bytes).body {
            ClientBody::Enter(enter) => enter.state.json().unwrap_or_default().to_owned(),
            other => panic!("not an enter: {other:?}"),
        };
        ledger.resume(ALLOWED).into_iter().map(said).collect()
    }

    #[test]
    fn a_new_session_enters_with_what_was_said_last_and_answers_all_that_was_said() {
        let mut ledger = Ledger::new(ALLOWED);
        let handle = present(&mut ledger, "1");
        let (request, mut taken) = updated(&mut ledger, &handle, "2");
        ledger.presence_answered(request, ServerBody::EnterOk);
        assert!(matches!(taken.try_recv(), Ok(Ok(()))));
        lose(&mut ledger);
        assert_eq!((resumed(&mut ledger), ledger.is_resumed()), (vec!["2".to_owned()], false));
        ledger.presence_answered(FIRST, ServerBody::EnterOk);
        assert!(ledger.is_resumed());

        let (_, mut third) = updated(&mut ledger, &handle, "3");
        let (_, mut fourth) = updated(&mut ledger, &handle, "4");
        lose(&mut ledger);
        assert_eq!(resumed(&mut ledger), ["4"]);
        assert!(third.try_recv().is_err() && fourth.try_recv().is_err(), "nobody has said yes");
        ledger.presence_answered(FIRST, ServerBody::EnterOk);
        assert!(matches!((third.try_recv(), fourth.try_recv()), (Ok(Ok(())), Ok(Ok(())))));
        lose(&mut ledger);
        assert_eq!(resumed(&mut ledger), ["4"]);
    }

    #[test]
    fn what_a_node_refused_is_not_said_in_the_next_session() {
        let mut ledger = Ledger::new(ALLOWED);
        let handle = present(&mut ledger, "1");
        let (request, mut refused) = updated(&mut ledger, &handle, "2");
        ledger.refused(request, ErrorCode::RateLimited.into()).unwrap();
        assert!(matches!(refused.try_recv(), Ok(Err(PresenceError::Refused(_)))));
        assert!(handle.end.get().is_none(), "it is present as before");
        lose(&mut ledger);
        assert_eq!(resumed(&mut ledger), ["1"]);
    }

    #[test]
    fn a_refused_resume_ends_the_presence_or_else_the_session() {
        let mut ledger = Ledger::new(ALLOWED);
        let handle = present(&mut ledger, "1");
        lose(&mut ledger);
        ledger.resume(ALLOWED);
        assert!(ledger.refused(FIRST, ErrorCode::Overloaded.into()).is_err());
        lose(&mut ledger);
        assert_eq!(resumed(&mut ledger), ["1"], "the next session tries again");
        assert!(ledger.refused(FIRST, ErrorCode::Forbidden.into()).is_ok() && ledger.is_resumed());
        assert!(matches!(handle.end.get(), Some(PresenceError::Refused(error)) if error.code == ErrorCode::Forbidden));
        assert!(left(&mut ledger, &handle).0.is_none());
        lose(&mut ledger);
        assert!(ledger.resume(ALLOWED).is_empty());
    }

    #[test]
    fn a_refused_enter_leaves_nothing_behind() {
        let mut ledger = Ledger::new(ALLOWED);
        let mut handle = entering(&mut ledger, "1");
        ledger.refused(FIRST, ErrorCode::Overloaded.into()).unwrap();
        assert!(matches!(handle.entered.try_recv(), Ok(Err(PresenceError::Refused(_)))));
        assert!(ledger.drop_presence(room(), handle.key).is_none());
        lose(&mut ledger);
        assert!(ledger.resume(ALLOWED).is_empty());
    }

    #[test]
    fn who_leaves_is_not_entered_again_and_a_lost_session_is_an_answer() {
        let mut ledger = Ledger::new(ALLOWED);
        let handle = present(&mut ledger, "1");
        let (frame, mut told) = left(&mut ledger, &handle);
        assert_eq!(decoded(frame.unwrap()).body, ClientBody::Leave(room()));
        assert!(ledger.drop_presence(room(), handle.key).is_none(), "once is enough");
        lose(&mut ledger);
        assert!(matches!(told.try_recv(), Ok(Ok(()))));
        assert!(ledger.resume(ALLOWED).is_empty());
    }

    #[test]
    fn a_channel_has_one_presence_and_answers_to_the_one_before_are_not_its_own() {
        let mut ledger = Ledger::new(ALLOWED);
        let first = entering(&mut ledger, "1");
        let mut second = entering(&mut ledger, "2");
        assert!(matches!(second.entered.try_recv(), Ok(Err(PresenceError::AlreadyPresent))));
        ledger.drop_presence(room(), first.key).unwrap();
        let mut third = entering(&mut ledger, "3");
        ledger.presence_answered(FIRST, ServerBody::EnterOk);
        assert!(third.entered.try_recv().is_err());
        assert!(ledger.drop_presence(room(), first.key).is_none(), "a handle drops its own only");
        ledger.presence_answered(ledger.requests.last, ServerBody::EnterOk);
        assert!(matches!(third.entered.try_recv(), Ok(Ok(_))));
    }

    #[test]
    fn the_end_of_the_client_is_told_to_all() {
        let mut ledger = Ledger::new(ALLOWED);
        let handle = present(&mut ledger, "1");
        let (_, mut update) = updated(&mut ledger, &handle, "2");
        ledger.end(None);
        assert!(matches!(update.try_recv(), Ok(Err(PresenceError::Closed(None)))));
        assert!(matches!(handle.end.get(), Some(PresenceError::Closed(None))));
    }
}
