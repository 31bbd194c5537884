//! What other nodes ask of the groups here: pipes come in, their frames go to the group that they are for.
//!
//! Whoever calls has checked that the pipe is a peer's. A frame that does not decode ends its pipe; a group or a store that is
//! not here is refused.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use farwire_wire::Shard;
use futures_util::future::{join_all, ready};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::frames::{Answer, Asked, Body, Request, encode_answers};
use super::peers::Pipe;
use super::{GroupRaft, RaftStream};

/// The groups of a node that others may ask.
#[derive(Default)]
pub(super) struct Serving {
    groups: Mutex<BTreeMap<(Shard, u64), GroupRaft>>,
}

impl Serving {
    pub(super) fn insert(&self, shard: Shard, store: u64, raft: GroupRaft) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert((shard, store), raft);
    }

    pub(super) fn remove(&self, shard: Shard, store: u64) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&(shard, store));
    }

    /// Answers what comes through a pipe until the other side has no more to ask. Cancel safe: the pipe breaks.
    pub(super) async fn serve(&self, pipe: Pipe) {
        let Pipe { outgoing, mut incoming } = pipe;
        while let Some(frame) = incoming.recv().await {
            let answers = match Asked::decode(frame) {
                Err(fault) => {
                    tracing::warn!(err = %fault, "a frame of a group does not decode");
                    return;
                }
                Ok(Asked::One(request)) if matches!(request.body, Body::Append(_)) => {
                    return self.serve_appends(request, Pipe { outgoing, incoming }).await;
                }
                Ok(Asked::One(request)) => vec![self.answer(request).await],
                Ok(Asked::Beats(requests)) => join_all(requests.into_iter().map(|request| self.answer(request))).await,
            };
            if outgoing.send(encode_answers(&answers)).await.is_err() {
                return;
            }
        }
    }

    /// Appends of one group follow each other without waiting for the answers.
    async fn serve_appends(&self, first: Request, pipe: Pipe) {
        let Pipe { outgoing, incoming } = pipe;
        let Some(raft) = self.group(&first) else {
            refuse(&outgoing).await;
            return;
        };
        let place = (first.shard, first.to);
        let later = stream::unfold(incoming, async |mut incoming: mpsc::Receiver<Bytes>| {
            let frame = incoming.recv().await?;
            Some((Asked::decode(frame), incoming))
        });
        let appends = stream::once(async { Ok(Asked::One(first)) }).chain(later).scan((), move |(), asked| {
            ready(match asked {
                Ok(Asked::One(Request { shard, to, body: Body::Append(append) })) => {
                    ((shard, to) == place).then_some(append)
                }
                _ => None,
            })
        });
        let mut answers: RaftStream = raft.stream_append(appends).boxed();
        while let Some(answer) = answers.next().await {
            let Ok(result) = answer else {
                refuse(&outgoing).await;
                return;
            };
            if outgoing.send(encode_answers(&[Answer::Appended(result)])).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, request: Request) -> Answer {
        let Some(raft) = self.group(&request) else { return Answer::Refused };
        let answer = match request.body {
            Body::Append(append) => {
                let last = append.prev_log_id;
                let answer = raft.append_entries(append).await.ok();
                answer.map(|answer| Answer::Appended(answer.into_stream_result(last, last)))
            }
            Body::Vote(vote) => raft.vote(vote).await.ok().map(Answer::Voted),
            Body::PreVote(vote) => raft.pre_vote(vote).await.ok().map(Answer::Voted),
            Body::Transfer(transfer) => {
                let answer = raft.handle_transfer_leader(transfer).await.ok();
                answer.map(|answer| Answer::Transferred(answer.is_ok()))
            }
        };
        answer.unwrap_or(Answer::Refused)
    }

    fn group(&self, request: &Request) -> Option<GroupRaft> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).get(&(request.shard, request.to)).cloned()
    }
}

/// Nobody may be there to hear it.
async fn refuse(outgoing: &mpsc::Sender<Bytes>) {
    let _ = outgoing.send(encode_answers(&[Answer::Refused])).await;
}
