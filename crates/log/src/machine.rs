//! openraft's state machine over `farwire_core::log`: runs the commands of one group's log, hands on what they say, and keeps
//! what they have made of the group on disk.
//!
//! The state is in memory, and on disk as of some command before: written every second while there are commands, after the
//! entries that made it, through the same queue and without a sync of its own, so that a crash leaves a state that the log on
//! disk is not behind of. What comes after it is applied again.
//!
//! Invariant: **a command that does not decode, or a disk that fails, stops the group here**: going on would give this
//! replica another state than the others have.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use farwire_core::log::{Applied, Delivery, Key, Log, RestoreError};
use farwire_wire::log::Command;
use farwire_wire::{Origin, Shard};
use futures_util::{Stream, StreamExt};
use openraft::impls::BasicNode;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, StoredMembership};
use tokio::time::Instant;

use crate::committer::{Job, Queue, Stopped};
use crate::engine::{EngineError, Scan, Space, Write};
use crate::records::{seal, unseal};
use crate::types::{
    Answers, Encoded, FormFault, LogId, Types, put_log_id, put_membership, take_log_id, take_membership,
};

type Membership = openraft::type_config::alias::StoredMembershipOf<Types>;
type Snapshot = openraft::type_config::alias::SnapshotOf<Types, Kept>;
type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// Who gets what a group's log delivers. Called in the order of the log, on the group's task: it must not block.
///
/// After a restart the newest messages may come again; each says where it is.
pub trait Receiver: Send + Sync + 'static {
    /// Messages that have been committed, of one command: at least one.
    fn deliver(&self, delivered: &Delivered<'_>);
}

/// What one command has put into a group's log.
#[derive(Debug)]
pub struct Delivered<'a> {
    /// Whose.
    pub shard: Shard,
    /// The log.
    pub origin: Origin,
    /// Where the command is in Raft's log.
    pub log_index: u64,
    /// The term that it was proposed in.
    pub term: u64,
    /// The log's time, in microseconds since the Unix epoch.
    pub log_time_us: u64,
    /// The messages, by position.
    pub deliveries: &'a [Delivery],
}

/// Why the state of a group cannot be had. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The disk could not be read.
    #[error("the state of a group cannot be read: {0}")]
    Unreadable(#[from] EngineError),
    /// A record does not verify, or they do not fit together: set the store aside, and let the node start anew.
    #[error("the state of shard {} is damaged: {what}", shard.0)]
    Damaged {
        /// Whose.
        shard: Shard,
        /// What is wrong.
        what: String,
    },
}

/// The state of a group, shared with whoever looks at it.
pub(crate) type State = Arc<Mutex<Log>>;

/// See the module.
pub(crate) struct Machine {
    shard: Shard,
    queue: Queue,
    receiver: Arc<dyn Receiver>,
    state: State,
    last: Option<LogId>,
    membership: Membership,
    /// What is not on disk as it is in memory, since when.
    changed: BTreeSet<Key>,
    written_at: Option<Instant>,
}

/// What a snapshot holds. None is made: no log is purged yet.
#[derive(Debug, Clone)]
pub(crate) struct Kept;

impl Machine {
    /// The state as the disk has it.
    pub(crate) fn load(shard: Shard, queue: Queue, receiver: Arc<dyn Receiver>) -> Result<Self, MachineError> {
        let damaged = |what: String| MachineError::Damaged { shard, what };
        let (mut records, mut mark) = (Vec::new(), (None, Membership::default()));
        let mut from = state_key(shard, &[]);
        loop {
            let scan = Scan {
                space: Space::State,
                from,
                to: state_key(shard, &[u8::MAX; KEY_BYTES_MAX]),
                reverse: false,
                items_max: RECORDS_AT_ONCE,
                bytes_max: usize::MAX,
            };
            let items = queue.shared().engine.scan(&scan)?;
            let Some((last, _)) = items.last() else { break };
            from = [&last[..], &[0]].concat().into();
            for (key, value) in &items {
                let body = unseal(key, value).ok_or_else(|| damaged("a record does not verify".to_owned()))?;
                match &key[SHARD_BYTES..] {
                    MARK => mark = take_mark(body).map_err(|fault| damaged(fault.to_string()))?,
                    _ => records.push((key.slice(SHARD_BYTES..), body)),
                }
            }
        }
        let log = Log::restore(records).map_err(|fault: RestoreError| damaged(fault.to_string()))?;
        let (last, membership) = mark;
        Ok(Self {
            shard,
            queue,
            receiver,
            state: Arc::new(Mutex::new(log)),
            last,
            membership,
            changed: BTreeSet::new(),
            written_at: None,
        })
    }

    /// The state, for others to look at.
    pub(crate) fn state(&self) -> State {
        self.state.clone()
    }

    fn run(&mut self, id: LogId, command: Encoded, applied: &mut Applied) -> io::Result<Answers> {
        let command = Command::decode(command.0).map_err(io::Error::other)?;
        let mut log = lock(&self.state);
        log.apply(id.index, &command, applied);
        if let (Some(origin), false) = (log.origin(), applied.deliveries.is_empty()) {
            self.receiver.deliver(&Delivered {
                shard: self.shard,
                origin,
                log_index: id.index,
                term: id.leader_id.term,
                log_time_us: applied.log_time_us,
                deliveries: &applied.deliveries,
            });
        }
        Ok(Answers { outcome: Some(applied.outcome), publishes: std::mem::take(&mut applied.answers) })
    }

    /// Every now and then writes what has changed, and up to where it goes, as one.
    async fn write_when_due(&mut self) -> Result<(), Stopped> {
        let now = Instant::now();
        let is_due = self.written_at.is_none_or(|at| now.duration_since(at) >= WRITE_EVERY);
        if !is_due && self.changed.len() < CHANGED_MAX {
            return Ok(());
        }
        let slot = self.queue.slot(0).await?;
        let mut writes: Vec<Write> = {
            let log = lock(&self.state);
            self.changed.iter().map(|key| write_of(self.shard, key, log.record(key))).collect()
        };
        let key = state_key(self.shard, MARK);
        let value = seal(&key, 64, |bytes| put_mark(bytes, self.last.as_ref(), &self.membership));
        writes.push(Write::Put { space: Space::State, key, value });
        slot.send(Job { writes, ..Job::default() });
        self.changed.clear();
        self.written_at = Some(now);
        Ok(())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Kept;
    type SnapshotBuilder = Kept;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut applied = Applied::default();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let answers = match entry.payload {
                EntryPayload::Blank => Answers::default(),
                EntryPayload::Normal(command) => self.run(entry.log_id, command, &mut applied)?,
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Answers::default()
                }
            };
            self.last = Some(entry.log_id);
            self.changed.extend(applied.changed.drain(..));
            if let Some(responder) = responder {
                responder.send(answers);
            }
        }
        self.write_when_due().await.map_err(io::Error::other)
    }

    async fn get_snapshot_builder(&mut self) -> Kept {
        Kept
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, _snapshot: Kept) -> io::Result<()> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Kept {
    type SnapshotData = Self;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        Err(no_snapshots())
    }
}

fn no_snapshots() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "no log is purged, so there are no snapshots")
}

pub(crate) fn lock(state: &State) -> MutexGuard<'_, Log> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_of(shard: Shard, key: &Key, record: Option<Vec<u8>>) -> Write {
    let key = state_key(shard, &key.to_bytes());
    match record {
        None => Write::Delete { space: Space::State, key },
        Some(record) => {
            let value = seal(&key, record.len(), |bytes| bytes.put_slice(&record));
            Write::Put { space: Space::State, key, value }
        }
    }
}

fn state_key(shard: Shard, key: &[u8]) -> Bytes {
    [&shard.0.to_be_bytes(), key].concat().into()
}

/// Up to where the state goes, and who is in the group as of then.
fn put_mark(bytes: &mut BytesMut, last: Option<&LogId>, membership: &Membership) {
    for id in [last, membership.log_id().as_ref()] {
        bytes.put_u8(u8::from(id.is_some()));
        if let Some(id) = id {
            put_log_id(bytes, id);
        }
    }
    put_membership(bytes, membership.membership());
}

fn take_mark(mut bytes: Bytes) -> Result<(Option<LogId>, Membership), FormFault> {
    let id = |bytes: &mut Bytes| -> Result<Option<LogId>, FormFault> {
        match bytes::Buf::try_get_u8(bytes)? {
            0 => Ok(None),
            1 => take_log_id(bytes).map(Some),
            other => Err(FormFault::Unknown(other)),
        }
    };
    let (last, of_membership) = (id(&mut bytes)?, id(&mut bytes)?);
    let membership: openraft::Membership<u64, BasicNode> = take_membership(&mut bytes)?;
    if bytes.is_empty() {
        Ok((last, StoredMembership::new(of_membership, membership)))
    } else {
        Err(FormFault::Long(bytes.len()))
    }
}

const SHARD_BYTES: usize = 2;
/// Less than any key of the state.
const MARK: &[u8] = &[0];
/// Above that of any key of the state.
const KEY_BYTES_MAX: usize = 300;
/// A lane's record has up to 2.5 KB, so writing it for each of its messages would be most of what is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
const CHANGED_MAX: usize = 8_192;
const RECORDS_AT_ONCE: usize = 4_096;
