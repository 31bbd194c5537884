//! A node's store: who it is, what is in it, and the logs of its groups.
//!
//! The id of a store is the Raft node id of all its groups, so it has to change whenever the store may have forgotten what
//! it promised: when it is empty, and when it ran without syncs and comes up after a power cut. Who it was before never
//! votes again.
//!
//! No clock and no randomness: the id, the machine's boot and the time bucket are arguments.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use farwire_wire::Shard;
use tokio::sync::oneshot;

use crate::buckets::Buckets;
use crate::committer::{Committer, Job, Queue, Shared, Stopped};
use crate::counters::Counters;
use crate::engine::{Engine, EngineError, Scan, Space, Write};
use crate::machine::{Machine, MachineError, Receiver};
use crate::records::{Record, Round, unseal};
use crate::room::{Probe, Room};
use crate::storage::{GroupLog, Segment, State, take_ranges};
use crate::types::{FormFault, take_all, take_log_id, take_vote};

/// The width of a time bucket, unless somebody wants another.
pub const BUCKET_WIDTH: Duration = Duration::from_hours(1);

/// The bucket of a moment.
#[must_use]
pub fn bucket_at(since_epoch: Duration, width: Duration) -> u64 {
    u64::try_from(since_epoch.as_micros() / width.as_micros().max(1)).unwrap_or(u64::MAX)
}

/// How a store is opened.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Drawn at random by the caller: the id of this store if it needs a new one.
    pub drawn_id: u64,
    /// Names this start of the machine (`/proc/sys/kernel/random/boot_id` on Linux).
    pub boot: u128,
    /// Whether votes and entries are synced before they count. Without, a power cut may take what was acked.
    pub sync: bool,
    /// The time bucket that entries go to; see [`bucket_at`].
    pub bucket: u64,
}

/// Whether a store is the one that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// It keeps its id, and all that it promised.
    Same,
    /// It has the id that was drawn. It rejoins its groups as a learner; who it was has to be removed from them.
    New {
        /// Who it was; `None` if the store was empty.
        previous: Option<u64>,
    },
}

/// Why a store was not opened. Nothing but its identity record may have been written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error("the store cannot be opened: {0}")]
    Engine(#[from] EngineError),
    /// A record that the store cannot do without does not verify.
    #[error("the store's record {record} is damaged; move the store away, kept, and let this node start anew")]
    Damaged {
        /// Which.
        record: String,
    },
}

/// What [`Store::open`] gives.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Nothing is written before it runs: start its thread, or spawn its future.
    pub committer: Committer,
    /// Whether the store is the one that it was.
    pub identity: Identity,
}

/// See the module. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    id: u64,
    options: StoreOptions,
    queue: Queue,
    room: Arc<Room>,
    bucket: Arc<AtomicU64>,
    logs: Arc<Mutex<Logs>>,
}

struct Logs {
    /// As found on disk, of groups that nobody has asked for yet.
    found: BTreeMap<Shard, State>,
    open: BTreeMap<Shard, GroupLog>,
}

impl Store {
    /// Reads what an engine holds, and settles who the store is. Blocks: reads all small records, writes and syncs one.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(engine: Arc<dyn Engine>, probe: Arc<dyn Probe>, options: StoreOptions) -> Result<Opened, OpenError> {
        let records = Records::load(&*engine)?;
        let (id, identity) = settle(&*engine, records.identity, options)?;
        let buckets = Buckets::default();
        for (shard, state) in &records.states {
            state.segments.iter().for_each(|segment| buckets.need(segment.bucket, *shard));
        }
        bury(&*engine, &buckets, &records.dead)?;
        let round = Round { store: id, number: records.round, synced: records.round };
        let (committer, queue) = Committer::new(Arc::new(Shared::new(engine, buckets, options.sync)), round);
        let logs = Logs { found: records.states, open: BTreeMap::new() };
        let store = Self {
            id,
            options,
            queue,
            room: Arc::new(Room::new(probe)),
            bucket: Arc::new(AtomicU64::new(options.bucket)),
            logs: Arc::new(Mutex::new(logs)),
        };
        Ok(Opened { store, committer, identity })
    }

    /// Who this store is.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The log of a group; an empty one if the store has none.
    #[must_use]
    pub fn log(&self, shard: Shard) -> GroupLog {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.open.get(&shard) {
            return log.clone();
        }
        let state = logs.found.remove(&shard).unwrap_or_else(|| State::new(shard));
        let log = GroupLog::new(state, self.queue.clone(), self.bucket.clone());
        logs.open.insert(shard, log.clone());
        log
    }

    /// What the log of a group has made of it, as the store knows it. Blocks for as long as the disk takes.
    ///
    /// # Errors
    ///
    /// See [`MachineError`].
    pub(crate) fn machine(&self, shard: Shard, receiver: Arc<dyn Receiver>) -> Result<Machine, MachineError> {
        Machine::load(shard, self.queue.clone(), receiver)
    }

    /// The shards that the store had a log of when it was opened, or that were asked for since.
    #[must_use]
    pub fn shards(&self) -> Vec<Shard> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shards: Vec<Shard> = logs.found.keys().chain(logs.open.keys()).copied().collect();
        shards.sort_unstable();
        shards
    }

    /// Entries go to this bucket from now on; never back to an older one.
    pub fn set_bucket(&self, bucket: u64) {
        self.bucket.fetch_max(bucket, Relaxed);
    }

    /// Whether new publishes may be proposed: the store writes, and the disk is less than 90 % full. Asks the disk once a
    /// second at most. What Raft has to write for others is written all the same.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.stopped().is_none() && self.room.has_room()
    }

    /// Why nothing is written any more, if so.
    #[must_use]
    pub fn stopped(&self) -> Option<Stopped> {
        self.queue.shared().stopped().cloned()
    }

    /// Whether votes and entries are synced before they count.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.queue.shared().is_synced()
    }

    /// What the committer has done.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.queue.shared().counters
    }

    /// Marks the store as closed in good order, once all that was sent before is on disk. For the end of the process: what
    /// is written after it is not covered by the mark.
    ///
    /// Not cancel safe: the mark may or may not be written.
    ///
    /// # Errors
    ///
    /// The store has stopped; it was not closed in good order then.
    pub async fn close(&self) -> Result<(), Stopped> {
        let slot = self.queue.slot(0).await?;
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(|result| {
            // Whoever has stopped waiting does not need the answer.
            let _ = sender.send(result);
        });
        let mark = Owner { is_clean: true, ..Owner::of(self.id, self.options) }.put();
        slot.send(Job { writes: vec![mark], sync: true, done: Some(done), ..Job::default() });
        receiver.await.unwrap_or_else(|_| Err(Stopped::committer_gone()))?;
        let engine = self.queue.shared().engine.clone();
        if !self.is_synced() {
            engine.sync().map_err(|error| self.queue.shared().stop("a sync", &error))?;
        }
        Ok(())
    }
}

/// The identity record.
#[derive(Debug, Clone, Copy)]
struct Owner {
    id: u64,
    boot: u128,
    is_synced: bool,
    is_clean: bool,
}

impl Owner {
    fn of(id: u64, options: StoreOptions) -> Self {
        Self { id, boot: options.boot, is_synced: options.sync, is_clean: false }
    }

    fn put(self) -> Write {
        Record::Identity.put(|bytes| {
            bytes.put_u64(self.id);
            bytes.put_u128(self.boot);
            bytes.put_u8(u8::from(self.is_synced));
            bytes.put_u8(u8::from(self.is_clean));
        })
    }

    fn take(bytes: &mut Bytes) -> Result<Self, FormFault> {
        Ok(Self {
            id: bytes.try_get_u64()?,
            boot: bytes.try_get_u128()?,
            is_synced: bytes.try_get_u8()? != 0,
            is_clean: bytes.try_get_u8()? != 0,
        })
    }

    /// Whether a power cut may have taken what it had promised.
    fn may_have_forgotten(self, boot: u128) -> bool {
        !self.is_synced && !self.is_clean && self.boot != boot
    }
}

/// Decides who the store is, and writes it down, synced.
fn settle(engine: &dyn Engine, found: Option<Owner>, options: StoreOptions) -> Result<(u64, Identity), EngineError> {
    let (id, identity) = match found {
        None => (options.drawn_id, Identity::New { previous: None }),
        Some(owner) if owner.may_have_forgotten(options.boot) => {
            tracing::warn!(previous = owner.id, "store ran without syncs and was cut off, takes a new id");
            (options.drawn_id, Identity::New { previous: Some(owner.id) })
        }
        Some(owner) => (owner.id, Identity::Same),
    };
    engine.write(vec![Owner::of(id, options).put()])?;
    engine.sync()?;
    Ok((id, identity))
}

/// Drops the buckets that the last process had no time to drop.
fn bury(engine: &dyn Engine, buckets: &Buckets, dead: &[u64]) -> Result<(), EngineError> {
    for bucket in dead {
        if !buckets.is_needed(*bucket) {
            engine.drop_bucket(*bucket)?;
        }
        engine.write(vec![Record::Dead(*bucket).delete()])?;
    }
    Ok(())
}

/// All small records of a store.
#[derive(Default)]
struct Records {
    identity: Option<Owner>,
    states: BTreeMap<Shard, State>,
    dead: Vec<u64>,
    /// The newest write of the committer.
    round: u64,
}

impl Records {
    fn load(engine: &dyn Engine) -> Result<Self, OpenError> {
        let mut records = Self::default();
        let mut from = Bytes::new();
        loop {
            let items = engine.scan(&Scan {
                space: Space::Meta,
                from: from.clone(),
                to: Bytes::from_static(&[u8::MAX]),
                reverse: false,
                items_max: RECORDS_AT_ONCE,
                bytes_max: usize::MAX,
            })?;
            let is_last = items.len() < RECORDS_AT_ONCE;
            for (key, value) in items {
                records.take(&key, &value).map_err(|Damaged| damaged(&key))?;
                from = [&key[..], &[0]].concat().into();
            }
            if is_last {
                break;
            }
        }
        records.check(engine)
    }

    /// A store that has something but does not know who it is must not be taken for an empty one.
    fn check(mut self, engine: &dyn Engine) -> Result<Self, OpenError> {
        let is_empty = self.states.is_empty() && engine.buckets().is_empty();
        if self.identity.is_none() && !is_empty {
            return Err(damaged(&Record::Identity.key()));
        }
        for state in self.states.values_mut() {
            state.segments.sort_unstable_by_key(|segment| segment.bucket);
            let is_dense = state.segments.windows(2).all(|pair| match pair {
                [older, newer] => older.last.index.checked_add(1) == Some(newer.first),
                _ => true,
            });
            if !is_dense {
                return Err(OpenError::Damaged { record: format!("segments of shard {}", state.shard.0) });
            }
        }
        Ok(self)
    }

    fn take(&mut self, key: &Bytes, value: &Bytes) -> Result<(), Damaged> {
        let body = unseal(key, value).ok_or(Damaged)?;
        match Record::of_key(key).ok_or(Damaged)? {
            Record::Identity => self.identity = Some(take_all(body, Owner::take)?),
            Record::Vote(shard) => self.state(shard).vote = Some(take_all(body, take_vote)?),
            Record::Committed(shard) => self.state(shard).committed = Some(take_all(body, take_log_id)?),
            Record::Purged(shard) => self.state(shard).purged = Some(take_all(body, take_log_id)?),
            Record::Quarantine(shard) => self.state(shard).quarantine = take_all(body, take_ranges)?,
            Record::Segment(shard, bucket) => {
                let (first, last) = take_all(body, Segment::take)?;
                self.state(shard).segments.push(Segment { bucket, first, last });
            }
            Record::Dead(bucket) => self.dead.push(bucket),
            Record::Round => self.round = take_all(body, Round::take)?.number,
        }
        Ok(())
    }

    fn state(&mut self, shard: Shard) -> &mut State {
        self.states.entry(shard).or_insert_with(|| State::new(shard))
    }
}

/// A record that does not verify.
struct Damaged;

impl From<FormFault> for Damaged {
    fn from(_: FormFault) -> Self {
        Self
    }
}

/// The key as hex: it may be rubbish.
fn damaged(key: &[u8]) -> OpenError {
    use std::fmt::Write as _;
    let record = key.iter().fold(String::new(), |mut hex, byte| {
        // Writing into a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    OpenError::Damaged { record }
}

const RECORDS_AT_ONCE: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Memory;
    use crate::records::body_key;

    const OPTIONS: StoreOptions = StoreOptions { drawn_id: 1, boot: 1, sync: true, bucket: 1 };

    fn body(bucket: u64) -> Write {
        Write::Put { space: Space::Bodies(bucket), key: body_key(Shard(0), 1), value: Bytes::from_static(b"?") }
    }

    #[test]
    fn bucket_whose_drop_was_cut_short_goes_at_the_next_start_and_no_other() {
        let memory = Arc::new(Memory::new());
        drop(Store::open(memory.clone(), memory.clone(), OPTIONS).expect("opens"));
        let last = crate::types::LogId::new(openraft::impls::leader_id_adv::LeaderId { term: 1, node_id: 1 }, 1);
        let needed = Segment { bucket: 6, first: 1, last }.put(Shard(0));
        let dead = |bucket| Record::Dead(bucket).put(|_| {});
        memory.write(vec![body(5), body(6), body(7), dead(5), dead(6), needed]).expect("is written");
        for _ in 0..2 {
            drop(Store::open(memory.clone(), memory.clone(), OPTIONS).expect("opens"));
            assert_eq!(memory.buckets(), [6, 7], "6 is needed again, and of 7 nobody said that it may go");
        }
        memory.write(vec![Record::Segment(Shard(0), 6).delete()]).expect("is written");
        drop(Store::open(memory.clone(), memory.clone(), OPTIONS).expect("opens"));
        assert_eq!(memory.buckets(), [6, 7], "the order to drop it was given once");
    }

    #[test]
    fn moments_fall_into_the_bucket_of_their_hour() {
        let hour = BUCKET_WIDTH;
        assert_eq!(bucket_at(hour * 5, hour), 5);
        assert_eq!(bucket_at(hour * 6 - Duration::from_micros(1), hour), 5);
    }
}
