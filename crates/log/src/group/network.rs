//! openraft's network over [`Peers`]: appends are pipelined through a pipe of their own, all else asks once.
//!
//! Nothing is retried here and nothing is kept: openraft does both. Each request names the store that it is for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farwire_wire::Shard;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use openraft::base::BoxFuture;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::beats::Beats;
use super::frames::{Answer, Asked, Body, Request, decode_answers};
use super::peers::{PIPE_FRAMES_MAX, Peers, Pipe};
use crate::machine::Kept;
use crate::types::{Types, Vote};

type Error = RPCError<Types>;
type Snapshot = openraft::type_config::alias::SnapshotOf<Types, Kept>;

/// Makes the network of one group.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) shard: Shard,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) beats: Arc<Beats>,
}

/// The way to one replica.
pub(super) struct Way {
    network: Network,
    node: String,
    to: u64,
    is_for_beats: bool,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Way {
        Way { network: self.clone(), node: node.addr.clone(), to: target, is_for_beats: false }
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Way {
        Way { is_for_beats: true, ..self.new_client(target, node).await }
    }
}

impl Way {
    fn request(&self, body: Body) -> Request {
        Request { shard: self.network.shard, to: self.to, body }
    }

    async fn ask(&self, body: Body, option: &RPCOption) -> Result<Answer, Error> {
        let asked = Asked::One(self.request(body)).encode();
        let answer = timeout(option.soft_ttl(), ask_once(&*self.network.peers, &self.node, asked)).await;
        let answers = answer.map_err(|_| network("no answer in time"))??;
        only(answers)
    }

    async fn beat(&self, append: AppendEntriesRequest<Types>) -> Result<StreamAppendResult<Types>, Error> {
        let request = self.request(Body::Append(append));
        appended(self.network.beats.send(&*self.network.peers, &self.node, request).await?)
    }
}

impl NetStreamAppend<Types> for Way {
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, Error>>, Error>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        if self.is_for_beats {
            return Box::pin(async move {
                let beats = stream::unfold((self, input), async |(way, mut input)| {
                    let beat = input.next().await?;
                    Some((way.beat(beat).await, (way, input)))
                });
                Ok(beats.boxed())
            });
        }
        let pipe = self.network.peers.open(&self.node);
        let (shard, to) = (self.network.shard, self.to);
        Box::pin(async move {
            let (sent, unanswered) = mpsc::channel(PIPE_FRAMES_MAX);
            let sending = tokio::spawn(async move {
                while let Some(append) = input.next().await {
                    let frame = Asked::One(Request { shard, to, body: Body::Append(append) }).encode();
                    if pipe.outgoing.send(frame).await.is_err() || sent.send(()).await.is_err() {
                        return;
                    }
                }
            });
            let pipeline = Pipeline { incoming: pipe.incoming, unanswered, _sending: AbortOnDropHandle::new(sending) };
            Ok(stream::unfold(Some(pipeline), Pipeline::next).boxed())
        })
    }
}

/// Appends on their way, and the answers to them in the same order. Dropped, nothing more is sent.
struct Pipeline {
    incoming: mpsc::Receiver<Bytes>,
    unanswered: mpsc::Receiver<()>,
    _sending: AbortOnDropHandle<()>,
}

impl Pipeline {
    /// The next answer; none after the first that ends replication, or once all are there.
    async fn next(pipeline: Option<Self>) -> Option<(Result<StreamAppendResult<Types>, Error>, Option<Self>)> {
        let mut pipeline = pipeline?;
        pipeline.unanswered.recv().await?;
        let answer = match timeout(STALLED, pipeline.incoming.recv()).await {
            Err(_) => Err(network("a replica does not answer appends")),
            Ok(None) => Err(unreachable()),
            Ok(Some(frame)) => decoded(frame).and_then(only).and_then(appended),
        };
        let goes_on = matches!(answer, Ok(Ok(_)));
        Some((answer, goes_on.then_some(pipeline)))
    }
}

impl NetVote<Types> for Way {
    async fn vote(&mut self, vote: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, Error> {
        voted(self.ask(Body::Vote(vote), &option).await?)
    }

    async fn pre_vote(&mut self, vote: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, Error> {
        voted(self.ask(Body::PreVote(vote), &option).await?)
    }
}

impl NetTransferLeader<Types> for Way {
    async fn transfer_leader(
        &mut self,
        transfer: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, Error> {
        match self.ask(Body::Transfer(transfer), &option).await? {
            Answer::Transferred(true) => Ok(Ok(())),
            _ => Err(network("the replica does not take over")),
        }
    }
}

impl NetSnapshot<Types> for Way {
    type SnapshotData = Kept;

    /// Never called as long as no log is purged.
    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Network(NetworkError::from_string("this release does not send snapshots")))
    }
}

impl NetBackoff<Types> for Way {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

/// Asks through a pipe of its own.
pub(super) async fn ask_once(peers: &dyn Peers, node: &str, asked: Bytes) -> Result<Vec<Answer>, Error> {
    let Pipe { outgoing, mut incoming } = peers.open(node);
    outgoing.send(asked).await.map_err(|_| unreachable())?;
    drop(outgoing);
    decoded(incoming.recv().await.ok_or_else(unreachable)?)
}

fn decoded(frame: Bytes) -> Result<Vec<Answer>, Error> {
    decode_answers(frame).map_err(|fault| network(&format!("an answer does not decode: {fault}")))
}

fn only(mut answers: Vec<Answer>) -> Result<Answer, Error> {
    match (answers.pop(), answers.is_empty()) {
        (Some(answer), true) => Ok(answer),
        _ => Err(network("there is more or less than one answer")),
    }
}

fn appended(answer: Answer) -> Result<StreamAppendResult<Types>, Error> {
    match answer {
        Answer::Appended(result) => Ok(result),
        Answer::Refused => Err(unreachable()),
        _ => Err(network("the answer is to something else")),
    }
}

fn voted(answer: Answer) -> Result<VoteResponse<Types>, Error> {
    match answer {
        Answer::Voted(vote) => Ok(vote),
        Answer::Refused => Err(unreachable()),
        _ => Err(network("the answer is to something else")),
    }
}

/// openraft tries again after a pause.
pub(super) fn unreachable() -> Error {
    Unreachable::new(&AnyError::error("the replica cannot be reached")).into()
}

/// openraft tries again at once.
pub(super) fn network(what: &str) -> Error {
    NetworkError::from_string(what).into()
}

/// In a region an append is answered within a sync and a round trip; whoever takes so long is gone or stuck.
const STALLED: Duration = Duration::from_secs(2);
