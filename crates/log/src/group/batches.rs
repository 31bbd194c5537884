//! Publishes of one group, in batches: what has queued up while the last batch was on its way is the next one. There is no
//! timer, and one batch at a time, so that the log has the order in which messages were handed in.

use std::time::Duration;

use farwire_core::log::Answer;
use farwire_wire::limits::{LOG_BATCH_BYTES, LOG_BATCH_PUBLISHES_MAX};
use farwire_wire::log::{Batch, Command, Publish};
use farwire_wire::{NodeName, Offset, Origin, Place};
use openraft::errors::{ClientWriteError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{GroupOptions, GroupRaft};
use crate::machine::{State, lock};
use crate::store::Store;
use crate::types::{Answers, Encoded};

/// A publish that a majority has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Where it is; of a duplicate, the newest message of its lane, and its own place if that is still known.
    pub place: Place,
    /// Its number in its channel; `None` for a duplicate.
    pub offset: Option<Offset>,
    /// It was in the log before.
    pub is_duplicate: bool,
    /// Replicas that have it at the least: a majority.
    pub copies: usize,
    /// Whether this replica has it on disk, not only handed to the operating system.
    pub is_synced: bool,
}

/// Why a message was not published, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No majority has confirmed it within 2 s: it may or may not be published. Publish it again under the same number.
    #[error("no majority of the replicas has confirmed it within 2 s: publish it again under the same number")]
    NoQuorum,
    /// Another replica leads; nothing changed here. Ask that one.
    #[error("another node leads the group")]
    NotOwner {
        /// Which, if it is known.
        hint: Option<NodeName>,
    },
    /// The number is not the lane's next one; nothing changed. Publish from the one after `last` on.
    #[error("numbers are missing before it: the last one is {last}")]
    Gap {
        /// The lane's highest number.
        last: u64,
    },
    /// The number was taken with another payload; nothing changed.
    #[error("its number was taken by another message: a number is never used twice")]
    NumberReused,
    /// The publisher id belongs to another client; nothing changed.
    #[error("its publisher id is that of another client: draw another one")]
    OtherClient,
    /// The disk is 90 % full; nothing changed.
    #[error("the disk of this node is almost full: make room")]
    NoRoom,
    /// The group has failed or is closed: it may or may not be published. Ask another replica.
    #[error("the group does nothing any more on this node")]
    Failed,
}

/// A publish that waits for its batch.
pub(super) struct Waiting {
    publish: Publish,
    until: Instant,
    answer: oneshot::Sender<Result<Published, PublishError>>,
}

impl Waiting {
    pub(super) fn new(publish: Publish, answer: oneshot::Sender<Result<Published, PublishError>>) -> Self {
        Self { publish, until: Instant::now() + PATIENCE, answer }
    }
}

/// The task that makes batches. Ends with its queue.
pub(super) struct Batches {
    raft: GroupRaft,
    state: State,
    store: Store,
    options: GroupOptions,
    queued: mpsc::Receiver<Waiting>,
    /// Taken from the queue and too much for the last batch.
    left: Option<Waiting>,
}

impl Batches {
    pub(super) fn new(
        raft: GroupRaft,
        state: State,
        store: Store,
        options: GroupOptions,
        queued: mpsc::Receiver<Waiting>,
    ) -> Self {
        Self { raft, state, store, options, queued, left: None }
    }

    pub(super) async fn run(mut self) {
        while let Some(waiting) = self.collect().await {
            let (publishes, answers): (Vec<_>, Vec<_>) =
                waiting.into_iter().map(|waiting| (waiting.publish, (waiting.until, waiting.answer))).unzip();
            // All of a batch get the time of its first: what they waited for is the same.
            let until = answers.first().map_or_else(Instant::now, |(until, _)| *until);
            let result = self.publish(publishes, until).await;
            let results: Vec<_> = match result {
                Ok(answers) => answers.publishes.into_iter().map(|answer| self.published(answer)).collect(),
                Err(error) => vec![Err(error); answers.len()],
            };
            for ((_, answer), result) in answers.into_iter().zip(results) {
                // Whoever has given up does not miss it.
                let _ = answer.send(result);
            }
        }
    }

    /// The next batch: at least one publish, and all that wait, up to the bounds.
    async fn collect(&mut self) -> Option<Vec<Waiting>> {
        let first = match self.left.take() {
            Some(left) => left,
            None => self.queued.recv().await?,
        };
        let mut bytes = first.publish.stored().len();
        let mut batch = vec![first];
        while batch.len() < LOG_BATCH_PUBLISHES_MAX
            && let Ok(next) = self.queued.try_recv()
        {
            bytes += next.publish.stored().len();
            if bytes > LOG_BATCH_BYTES {
                self.left = Some(next);
                break;
            }
            batch.push(next);
        }
        Some(batch)
    }

    async fn publish(&self, publishes: Vec<Publish>, until: Instant) -> Result<Answers, PublishError> {
        if !self.store.has_room() {
            return Err(PublishError::NoRoom);
        }
        if lock(&self.state).origin().is_none() {
            let answers = self.propose(&Command::Open(Origin((self.options.draw)())), until).await?;
            tracing::info!(outcome = ?answers.outcome, "log opened");
        }
        self.propose(&Command::Batch(Batch { log_time_us: (self.options.wall_us)(), publishes }), until).await
    }

    async fn propose(&self, command: &Command, until: Instant) -> Result<Answers, PublishError> {
        let written = timeout_at(until, self.raft.client_write(Encoded(command.encode()))).await;
        match written.map_err(|_| PublishError::NoQuorum)? {
            Ok(response) => Ok(response.data),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                let hint = forward.leader_node.and_then(|node| NodeName::parse(&node.addr).ok());
                Err(PublishError::NotOwner { hint })
            }
            Err(RaftError::APIError(_)) => Err(PublishError::NoQuorum),
            Err(RaftError::Fatal(_)) => Err(PublishError::Failed),
        }
    }

    fn published(&self, answer: Answer) -> Result<Published, PublishError> {
        let voters = self.raft.voter_ids().count();
        let published = |place, offset, is_duplicate| Published {
            place,
            offset,
            is_duplicate,
            copies: voters / 2 + 1,
            is_synced: self.store.is_synced(),
        };
        match answer {
            Answer::Taken { place, offset } => Ok(published(place, Some(offset), false)),
            Answer::Duplicate { newest, .. } => Ok(published(newest, None, true)),
            Answer::Gap { last } => Err(PublishError::Gap { last }),
            Answer::NumberReused => Err(PublishError::NumberReused),
            Answer::OtherClient => Err(PublishError::OtherClient),
            Answer::NotOpen => Err(PublishError::NoQuorum),
        }
    }
}

/// Publishes that wait for their batch at a time; further ones wait for a place.
pub(super) const WAITING_MAX: usize = 8_192;

const PATIENCE: Duration = Duration::from_secs(2);
