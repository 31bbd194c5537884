//! Where the client is present, and its questions about who is where. Part of the [`Ledger`](super::Ledger), which numbers
//! the requests. All of it lives over sessions: a new one enters every channel again with the newest state, and asks every
//! question that has no answer anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use farwire_wire::client::{ChannelPresence, ClientBody, Enter, PresenceQuery, ServerBody, WhereAnswer};
use farwire_wire::presence::PresenceState;
use farwire_wire::{ChannelName, ClientId, ErrorClass, WireError};
use tokio::sync::oneshot;

use crate::error::{ConnectError, PresenceError};

/// Names a presence over all sessions of a client: another one on the same channel later has another key.
pub(crate) type PresenceKey = u64;

type Answer<T> = oneshot::Sender<Result<T, PresenceError>>;

/// What the handles of presence ask for.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Say something else.
    Update { channel: ChannelName, key: PresenceKey, state: PresenceState, answer: Answer<()> },
    /// Be present no more.
    Leave { channel: ChannelName, key: PresenceKey, answer: Answer<()> },
    /// Ask.
    Ask(Question),
}

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

/// Why a presence ended without the application's wish, once it has.
pub(crate) type End = Arc<OnceLock<PresenceError>>;

/// Resolves when the handle of a presence is dropped.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) channel: ChannelName,
    pub(crate) key: PresenceKey,
    pub(crate) gone: oneshot::Receiver<()>,
}

/// A question, with what has come of its answer.
#[derive(Debug)]
pub(crate) enum Question {
    Presence { query: PresenceQuery, parts: Vec<ChannelPresence>, answer: Answer<Vec<ChannelPresence>> },
    Where { client: ClientId, parts: WhereAnswer, answer: Answer<WhereAnswer> },
}

#[derive(Debug, Default)]
pub(super) struct Presences {
    last_key: PresenceKey,
    held: BTreeMap<ChannelName, Held>,
    /// Of this session.
    asked: HashMap<u64, Asked>,
    /// Without a session.
    unasked: Vec<Question>,
}

#[derive(Debug)]
struct Held {
    key: PresenceKey,
    state: PresenceState,
    end: End,
    /// Who waits for which request.
    entering: Option<Answer<PresenceKey>>,
    updating: Vec<(u64, Answer<()>)>,
    /// The session before had it in force, and this one not yet.
    is_resuming: bool,
}

#[derive(Debug)]
enum Asked {
    Enter(ChannelName),
    Leave(Answer<()>),
    Question(Question),
}

impl Presences {
    /// What is to be said in a new session; `number` draws requests.
    pub(super) fn resume(&mut self, mut number: impl FnMut() -> u64) -> Vec<(u64, ClientBody)> {
        self.asked.clear();
        let mut bodies = Vec::new();
        for (channel, held) in &mut self.held {
            let request = number();
            held.is_resuming = held.entering.is_none();
            held.updating.iter_mut().for_each(|(asked, _)| *asked = request);
            self.asked.insert(request, Asked::Enter(channel.clone()));
            bodies.push((request, enter(channel, &held.state)));
        }
        for question in std::mem::take(&mut self.unasked).into_iter().filter(|question| !question.is_given_up()) {
            let request = number();
            bodies.push((request, question.body()));
            self.asked.insert(request, Asked::Question(question));
        }
        bodies
    }

    pub(super) fn is_resumed(&self) -> bool {
        !self.held.values().any(|held| held.is_resuming)
    }

    /// Enters a channel; `None` where the client is present already.
    pub(super) fn enter(&mut self, request: u64, entering: Entering) -> Option<(ClientBody, Gone)> {
        let Entering { channel, state, end, gone, answer } = entering;
        if self.held.contains_key(&channel) {
            let _nobody_waits = answer.send(Err(PresenceError::AlreadyPresent));
            return None;
        }
        self.last_key += 1;
        let key = self.last_key;
        let body = enter(&channel, &state);
        let held = Held { key, state, end, entering: Some(answer), updating: Vec::new(), is_resuming: false };
        self.held.insert(channel.clone(), held);
        self.asked.insert(request, Asked::Enter(channel.clone()));
        Some((body, Gone { channel, key, gone }))
    }

    /// Takes a wish; the body of the request, if it takes one.
    pub(super) fn take(&mut self, request: u64, wish: Wish) -> Option<ClientBody> {
        match wish {
            Wish::Update { channel, key, state, answer } => {
                // One that has ended says so by its handle.
                let held = self.held.get_mut(&channel).filter(|held| held.key == key)?;
                held.state = state;
                held.updating.push((request, answer));
                let body = enter(&channel, &held.state);
                self.asked.insert(request, Asked::Enter(channel));
                Some(body)
            }
            Wish::Leave { channel, key, answer } => {
                self.held.get(&channel).filter(|held| held.key == key)?;
                self.held.remove(&channel);
                self.asked.insert(request, Asked::Leave(answer));
                Some(ClientBody::Leave(channel))
            }
            Wish::Ask(question) => {
                let body = question.body();
                self.asked.insert(request, Asked::Question(question));
                Some(body)
            }
        }
    }

    /// The handle of a presence was dropped: leaves, if it is still held.
    pub(super) fn drop_handle(&mut self, request: u64, channel: &ChannelName, key: PresenceKey) -> Option<ClientBody> {
        let (answer, _nobody_waits) = oneshot::channel();
        self.take(request, Wish::Leave { channel: channel.clone(), key, answer })
    }

    /// Takes an answer.
    pub(super) fn answered(&mut self, request: u64, body: ServerBody) {
        match (self.asked.remove(&request), body) {
            (Some(Asked::Enter(channel)), ServerBody::EnterOk) => {
                let Some(held) = self.held.get_mut(&channel) else { return };
                held.is_resuming = false;
                if let Some(answer) = held.entering.take() {
                    let _nobody_waits = answer.send(Ok(held.key));
                }
                for (_, answer) in held.updating.extract_if(.., |(asked, _)| *asked <= request) {
                    let _nobody_waits = answer.send(Ok(()));
                }
            }
            (Some(Asked::Leave(answer)), ServerBody::LeaveOk) => {
                let _nobody_waits = answer.send(Ok(()));
            }
            (Some(Asked::Question(question)), body) => {
                if let Some(unfinished) = question.take(body) {
                    self.asked.insert(request, Asked::Question(unfinished));
                }
            }
            _ => {}
        }
    }

    /// Takes a refusal. Gives the error back when it is one for the whole session: a presence could not be resumed just
    /// now, so the session is of no use.
    pub(super) fn refused(&mut self, request: u64, error: WireError) -> Result<(), WireError> {
        match self.asked.remove(&request) {
            Some(Asked::Enter(channel)) => self.enter_refused(request, &channel, error),
            Some(Asked::Leave(answer)) => {
                let _nobody_waits = answer.send(Err(PresenceError::Refused(error)));
                Ok(())
            }
            Some(Asked::Question(question)) => {
                question.fail(PresenceError::Refused(error));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn enter_refused(&mut self, request: u64, channel: &ChannelName, error: WireError) -> Result<(), WireError> {
        let Some(held) = self.held.get_mut(channel) else { return Ok(()) };
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
        // What was said last stands.
        for (_, answer) in held.updating.extract_if(.., |(asked, _)| *asked == request) {
            let _nobody_waits = answer.send(Err(error.clone()));
        }
        Ok(())
    }

    /// Ends a session.
    pub(super) fn lose(&mut self) {
        for asked in std::mem::take(&mut self.asked).into_values() {
            match asked {
                // A new session enters again.
                Asked::Enter(_) => {}
                // The node forgets who does not come back.
                Asked::Leave(answer) => _ = answer.send(Ok(())),
                Asked::Question(question) => self.unasked.push(question.afresh()),
            }
        }
    }

    /// Ends the client.
    pub(super) fn end(&mut self, error: Option<&Arc<ConnectError>>) {
        self.lose();
        let closed = PresenceError::Closed(error.cloned());
        std::mem::take(&mut self.unasked).into_iter().for_each(|question| question.fail(closed.clone()));
        std::mem::take(&mut self.held).into_values().for_each(|held| held.end(&closed));
    }
}

impl Held {
    fn end(self, error: &PresenceError) {
        let _ended_already = self.end.set(error.clone());
        if let Some(answer) = self.entering {
            let _nobody_waits = answer.send(Err(error.clone()));
        }
        for (_, answer) in self.updating {
            let _nobody_waits = answer.send(Err(error.clone()));
        }
    }
}

impl Question {
    fn body(&self) -> ClientBody {
        match self {
            Self::Presence { query, .. } => ClientBody::PresenceQuery(query.clone()),
            Self::Where { client, .. } => ClientBody::WhereQuery(client.clone()),
        }
    }

    fn is_given_up(&self) -> bool {
        match self {
            Self::Presence { answer, .. } => answer.is_closed(),
            Self::Where { answer, .. } => answer.is_closed(),
        }
    }

    /// Without what has come of the answer.
    fn afresh(self) -> Self {
        match self {
            Self::Presence { query, answer, .. } => Self::Presence { query, parts: Vec::new(), answer },
            Self::Where { client, answer, .. } => Self::Where { client, parts: WhereAnswer::default(), answer },
        }
    }

    /// Adds a frame of the answer; the question itself, if more are to come.
    fn take(self, body: ServerBody) -> Option<Self> {
        match (self, body) {
            (Self::Presence { query, mut parts, answer }, ServerBody::PresenceAnswer(frame)) => {
                let more = frame.more;
                frame.join_to(&mut parts);
                if more {
                    return Some(Self::Presence { query, parts, answer });
                }
                let _nobody_waits = answer.send(Ok(parts));
                None
            }
            (Self::Where { client, mut parts, answer }, ServerBody::WhereAnswer(frame)) => {
                parts.places.extend(frame.places);
                parts.unreachable.extend(frame.unreachable);
                if frame.more {
                    return Some(Self::Where { client, parts, answer });
                }
                let _nobody_waits = answer.send(Ok(parts));
                None
            }
            // An answer of another kind is none.
            (question, _) => Some(question),
        }
    }

    fn fail(self, error: PresenceError) {
        match self {
            Self::Presence { answer, .. } => _ = answer.send(Err(error)),
            Self::Where { answer, .. } => _ = answer.send(Err(error)),
        }
    }
}

fn enter(channel: &ChannelName, state: &PresenceState) -> ClientBody {
    ClientBody::Enter(Enter { channel: channel.clone(), state: state.clone() })
}
