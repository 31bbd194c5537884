//! Questions about presence that have no answer yet. Part of the [`Ledger`](super::Ledger). A question outlives its session:
//! the next one asks it anew, for as long as somebody waits for the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use farwire_wire::client::{ChannelPresence, ClientBody, PresenceQuery, ServerBody, WhereAnswer};
use farwire_wire::{ClientId, WireError};
use tokio::sync::oneshot;

use super::{Requests, frame};
use crate::error::{ConnectError, PresenceError};

type Answer<T> = oneshot::Sender<Result<T, PresenceError>>;

/// A question, with what has come of its answer.
#[derive(Debug)]
pub(crate) enum Question {
    Presence { query: PresenceQuery, parts: Vec<ChannelPresence>, answer: Answer<Vec<ChannelPresence>> },
    Where { client: ClientId, parts: WhereAnswer, answer: Answer<WhereAnswer> },
}

#[derive(Debug, Default)]
pub(super) struct Questions {
    /// By request, in this session.
    asked: BTreeMap<u64, Question>,
    /// Without a session, the oldest first.
    unasked: Vec<Question>,
}

impl Questions {
    pub(super) fn resume(&mut self, requests: &mut Requests) -> Vec<Bytes> {
        let unasked = std::mem::take(&mut self.unasked);
        unasked.into_iter().filter(|question| !question.is_given_up()).map(|it| self.ask(it, requests)).collect()
    }

    pub(super) fn ask(&mut self, question: Question, requests: &mut Requests) -> Bytes {
        // A node that owes answers for long does not fill the memory.
        self.asked.retain(|_, asked| !asked.is_given_up());
        let request = requests.next();
        let frame = frame(request, question.body());
        self.asked.insert(request, question);
        frame
    }

    pub(super) fn has(&self, request: u64) -> bool {
        self.asked.contains_key(&request)
    }

    pub(super) fn answered(&mut self, request: u64, body: ServerBody) {
        let unfinished = self.asked.remove(&request).and_then(|question| question.take(body));
        self.asked.extend(unfinished.map(|question| (request, question)));
    }

    pub(super) fn refused(&mut self, request: u64, error: WireError) {
        if let Some(question) = self.asked.remove(&request) {
            question.fail(PresenceError::Refused(error));
        }
    }

    pub(super) fn lose(&mut self) {
        self.unasked.extend(std::mem::take(&mut self.asked).into_values().map(Question::afresh));
    }

    pub(super) fn end(&mut self, error: Option<&Arc<ConnectError>>) {
        self.lose();
        for question in std::mem::take(&mut self.unasked) {
            question.fail(PresenceError::Closed(error.cloned()));
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
