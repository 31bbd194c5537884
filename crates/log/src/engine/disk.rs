//! The real disk: fjall, one database a node, one keyspace a [`Space`].
//!
//! Values from 4 KiB on lie in files of their own (fjall's blobs), so that compaction does not copy them again and again.
//! Caches are small: the tails in memory answer most reads, and the page cache does the rest.
//!
//! fjall keeps its own checksums; what fails them is [`EngineError::Damaged`]. A write that a crash tore is cut off before
//! fjall reads the journal (`journal`). fjall stops ("poisons") itself after a write or sync that failed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::{Engine, EngineError, Item, Scan, Space, Write, journal};
use crate::room::{DiskSpace, Probe};

/// What a disk may use.
#[derive(Debug, Clone, Copy)]
pub struct DiskOptions {
    /// Recent writes of one keyspace, before they go to a table. Default 8 MiB.
    pub memtable_bytes_max: u64,
    /// Cache of blocks and blobs for the whole database. Default 8 MiB.
    pub cache_bytes_max: u64,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { memtable_bytes_max: 8 << 20, cache_bytes_max: 8 << 20 }
    }
}

/// See the module.
pub struct Disk {
    database: Database,
    meta: Keyspace,
    state: Keyspace,
    buckets: Mutex<BTreeMap<u64, Keyspace>>,
    options: DiskOptions,
    path: PathBuf,
}

impl Disk {
    /// Opens the database in a directory, or makes it. Reads what was written since the last tables: seconds at most.
    ///
    /// # Errors
    ///
    /// The directory cannot be used, another process has it, or its journal is damaged. Nothing was changed.
    pub fn open(path: &Path, options: DiskOptions) -> Result<Self, EngineError> {
        journal::mend(path)?;
        let database = Database::builder(path)
            .cache_size(options.cache_bytes_max)
            .manual_journal_persist(true)
            .open()
            .map_err(fault)?;
        let meta = database.keyspace("meta", || keyspace_options(options)).map_err(fault)?;
        let state = database.keyspace("state", || keyspace_options(options)).map_err(fault)?;
        let mut buckets = BTreeMap::new();
        for name in database.list_keyspace_names() {
            if let Some(bucket) = bucket_of(&name) {
                let keyspace = database.keyspace(&name, || keyspace_options(options)).map_err(fault)?;
                buckets.insert(bucket, keyspace);
            }
        }
        Ok(Self { database, meta, state, buckets: Mutex::new(buckets), options, path: path.to_owned() })
    }

    /// The keyspace of a space that exists.
    fn existing(&self, space: Space) -> Option<Keyspace> {
        match space {
            Space::Meta => Some(self.meta.clone()),
            Space::State => Some(self.state.clone()),
            Space::Bodies(bucket) => self.buckets.lock().unwrap_or_else(PoisonError::into_inner).get(&bucket).cloned(),
        }
    }

    fn existing_or_new(&self, space: Space) -> Result<Keyspace, EngineError> {
        let bucket = match (self.existing(space), space) {
            (Some(keyspace), _) => return Ok(keyspace),
            (None, Space::Bodies(bucket)) => bucket,
            (None, Space::Meta | Space::State) => unreachable!("both exist from the start"),
        };
        let keyspace =
            self.database.keyspace(&bucket_name(bucket), || keyspace_options(self.options)).map_err(fault)?;
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).insert(bucket, keyspace.clone());
        Ok(keyspace)
    }
}

impl Engine for Disk {
    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        let mut batch = self.database.batch();
        for write in writes {
            match write {
                Write::Put { space, key, value } => batch.insert(&self.existing_or_new(space)?, key, value),
                Write::Delete { space, key } => {
                    if let Some(keyspace) = self.existing(space) {
                        batch.remove(&keyspace, key);
                    }
                }
            }
        }
        // To the operating system at once: what only the process's own buffer holds would not survive its death.
        batch.durability(Some(PersistMode::Buffer)).commit().map_err(fault)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.database.persist(PersistMode::SyncData).map_err(fault)
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let Some(keyspace) = self.existing(space) else { return Ok(None) };
        let value = keyspace.get(key).map_err(fault)?;
        Ok(value.map(Bytes::from))
    }

    fn scan(&self, scan: &Scan) -> Result<Vec<Item>, EngineError> {
        let Some(keyspace) = self.existing(scan.space).filter(|_| scan.from <= scan.to) else {
            return Ok(Vec::new());
        };
        let range = keyspace.range(scan.from.clone()..=scan.to.clone());
        if scan.reverse { bounded(scan, range.rev()) } else { bounded(scan, range) }
    }

    fn buckets(&self) -> Vec<u64> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn drop_bucket(&self, bucket: u64) -> Result<(), EngineError> {
        let keyspace = self.buckets.lock().unwrap_or_else(PoisonError::into_inner).remove(&bucket);
        keyspace.map_or(Ok(()), |keyspace| self.database.delete_keyspace(keyspace).map_err(fault))
    }
}

impl Probe for Disk {
    fn space(&self) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(DiskSpace {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

fn bounded(scan: &Scan, guards: impl Iterator<Item = fjall::Guard>) -> Result<Vec<Item>, EngineError> {
    let mut items = Vec::new();
    let mut bytes = 0;
    for guard in guards.take(scan.items_max) {
        let (key, value) = guard.into_inner().map_err(fault)?;
        bytes += value.len();
        items.push((Bytes::from(key), Bytes::from(value)));
        if bytes >= scan.bytes_max {
            break;
        }
    }
    Ok(items)
}

fn keyspace_options(options: DiskOptions) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(options.memtable_bytes_max)
        .manual_journal_persist(true)
        .with_kv_separation(Some(KvSeparationOptions::default().separation_threshold(BLOB_BYTES_MIN)))
}

fn bucket_name(bucket: u64) -> String {
    format!("{BUCKET_PREFIX}{bucket}")
}

fn bucket_of(name: &str) -> Option<u64> {
    name.strip_prefix(BUCKET_PREFIX)?.parse().ok()
}

fn fault(error: fjall::Error) -> EngineError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => io_fault(error),
        fjall::Error::Poisoned => EngineError::Stopped,
        fjall::Error::Locked => EngineError::Io(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process has this directory; stop it, or give this node one of its own",
        )),
        other => EngineError::Damaged(other.to_string()),
    }
}

/// A file that ends too early, or that the disk cannot read back, is damage: the bytes are gone.
fn io_fault(error: io::Error) -> EngineError {
    let is_unreadable = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => EngineError::Damaged(error.to_string()),
        _ if is_unreadable => EngineError::Damaged(error.to_string()),
        _ => EngineError::Io(error),
    }
}

const BLOB_BYTES_MIN: u32 = 4 << 10;

const BUCKET_PREFIX: &str = "bodies_";
