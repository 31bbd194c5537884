//! A node's disk that its process can be torn from: what a dead process still does reaches nothing. Notes what becomes of
//! the logs on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use farwire_log::{DiskSpace, Engine, EngineError, Item, Memory, Probe, Scan, Space, Write};
use farwire_sim::logged::History;
use farwire_sim::logged::event::{Event, Name, Replica};

/// The disk as one life of a node has it.
pub(super) struct Mortal {
    disk: Arc<Memory>,
    history: History,
    node: Name,
    is_dead: AtomicBool,
    /// The last log index that was written, by shard, and is not synced.
    written: Mutex<BTreeMap<u16, u64>>,
}

impl Mortal {
    pub(super) fn new(disk: Arc<Memory>, history: History, node: Name) -> Arc<Self> {
        Arc::new(Self { disk, history, node, is_dead: AtomicBool::new(false), written: Mutex::default() })
    }

    pub(super) fn die(&self) {
        self.is_dead.store(true, SeqCst);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(SeqCst)
    }

    fn living(&self) -> Result<&Memory, EngineError> {
        if self.is_dead() { Err(EngineError::Stopped) } else { Ok(&self.disk) }
    }

    /// What a write does to the Raft logs.
    fn note_write(&self, write: &Write) {
        let mut written = self.written.lock().unwrap();
        match write {
            Write::Put { space: Space::Bodies(_), key, .. } => {
                let (shard, index) = place(key);
                written.insert(shard, index);
            }
            Write::Delete { space: space @ Space::Bodies(_), key } => {
                let ((shard, from), stored) = (place(key), self.disk.read(*space, key).unwrap());
                written.remove(&shard);
                if let Some(term) = stored.map(|stored| term(&stored)) {
                    self.note(Event::Truncated { replica: self.replica(shard), from, term });
                }
            }
            _ => {}
        }
    }

    fn replica(&self, shard: u16) -> Replica {
        Replica { node: self.node, shard: shard.into() }
    }

    fn note(&self, event: Event) {
        self.history.note(event).unwrap();
    }
}

/// A shard and a log index, as the key of an entry has them.
fn place(key: &[u8]) -> (u16, u64) {
    let (shard, index) = key.split_first_chunk().unwrap();
    (u16::from_be_bytes(*shard), u64::from_be_bytes(index.try_into().unwrap()))
}

/// The term of a stored entry: behind a checksum and a version.
fn term(stored: &[u8]) -> u64 {
    u64::from_be_bytes(stored[5..13].try_into().unwrap())
}

impl Engine for Mortal {
    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        let disk = self.living()?;
        writes.iter().for_each(|write| self.note_write(write));
        disk.write(writes)
    }

    fn sync(&self) -> Result<(), EngineError> {
        if let Err(error) = self.living()?.sync() {
            self.note(Event::SyncFailed { node: self.node });
            return Err(error);
        }
        let written = std::mem::take(&mut *self.written.lock().unwrap());
        for (shard, to) in written {
            self.note(Event::Synced { replica: self.replica(shard), to });
        }
        Ok(())
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.living()?.read(space, key)
    }

    fn scan(&self, scan: &Scan) -> Result<Vec<Item>, EngineError> {
        self.living()?.scan(scan)
    }

    fn buckets(&self) -> Vec<u64> {
        self.disk.buckets()
    }

    fn drop_bucket(&self, bucket: u64) -> Result<(), EngineError> {
        self.living()?.drop_bucket(bucket)
    }
}

impl Probe for Mortal {
    fn space(&self) -> std::io::Result<DiskSpace> {
        self.disk.space()
    }
}
