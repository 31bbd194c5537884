//! A store on a disk in memory, with a committer whose syncs take 10 ms of virtual time.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farwire_log::{
    Encoded, Engine, Entry, GroupLog, Identity, LogId, Memory, Opened, Scan, Space, Store, StoreOptions, Types,
};
use farwire_wire::Shard;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, OptionalSend};
use tokio::task::JoinHandle;

pub(crate) const SYNC_TIME: Duration = Duration::from_millis(10);

pub(crate) const OPTIONS: StoreOptions = StoreOptions { drawn_id: 1, boot: 1, sync: true, bucket: 100 };

pub(crate) struct World {
    pub(crate) memory: Arc<Memory>,
    pub(crate) store: Store,
    pub(crate) identity: Identity,
    committer: JoinHandle<()>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(Memory::new()), OPTIONS)
    }

    pub(crate) fn on(memory: Arc<Memory>, options: StoreOptions) -> Self {
        let Opened { store, committer, identity } =
            Store::open(memory.clone(), memory.clone(), options).expect("opens");
        Self { memory, store, identity, committer: tokio::spawn(committer.run(SYNC_TIME)) }
    }

    pub(crate) fn log(&self, shard: u16) -> GroupLog {
        self.store.log(Shard(shard))
    }

    /// The process dies, and another one opens the same disk.
    pub(crate) fn restart(self) -> Self {
        self.restart_with(OPTIONS)
    }

    pub(crate) fn restart_with(self, options: StoreOptions) -> Self {
        self.committer.abort();
        Self::on(self.memory, options)
    }

    /// The power goes, and comes back.
    pub(crate) fn crash(self, seed: u64) -> Self {
        self.committer.abort();
        self.memory.crash(seed);
        Self::on(self.memory, OPTIONS)
    }

    /// The keys that a bucket has.
    pub(crate) fn keys(&self, bucket: u64) -> Vec<Bytes> {
        keys(&*self.memory, bucket)
    }
}

pub(crate) fn keys(engine: &dyn Engine, bucket: u64) -> Vec<Bytes> {
    let scan = Scan {
        space: Space::Bodies(bucket),
        from: Bytes::new(),
        to: Bytes::from_static(&[0xff; 16]),
        reverse: false,
        items_max: usize::MAX,
        bytes_max: usize::MAX,
    };
    engine.scan(&scan).expect("the bucket can be read").into_iter().map(|(key, _)| key).collect()
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

/// An entry whose bytes name its term and index.
pub(crate) fn entry(term: u64, index: u64) -> Entry {
    let text = format!("entry {index} of term {term}");
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Encoded(text.into())) }
}

pub(crate) fn entries(term: u64, indexes: RangeInclusive<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(term, index)).collect()
}

/// Appends and waits until it counts.
pub(crate) async fn append(log: &GroupLog, entries: Vec<Entry>) {
    log.clone().blocking_append(entries).await.expect("the log takes it");
}

/// Appends, and returns what tells that it counts.
pub(crate) async fn begin_append(
    log: &GroupLog,
    entries: Vec<Entry>,
) -> impl Future<Output = Result<(), std::io::Error>> + OptionalSend + use<> {
    let (sender, receiver) = Types::oneshot();
    log.clone().append(entries, IOFlushed::signal(sender)).await.expect("the log takes it");
    async { receiver.await.expect("the committer answers") }
}

pub(crate) fn read_all(log: &GroupLog) -> Vec<Entry> {
    log.read(0, u64::MAX, usize::MAX).expect("the log can be read")
}
