//! Ordered keyspaces with atomic writes: what everything above needs of a disk, and no more.
//!
//! Two implementations: [`Disk`] (fjall) and [`Memory`], which loses, fails, fills up and rots on demand. What is above is
//! the same code for both. Not here: when to sync (`committer`), what the bytes mean (`storage`).
//!
//! Invariants: writes become visible in the order of the calls; what a crash leaves is a prefix of them, with no write in
//! half; everything before the last `sync` that returned `Ok` is in that prefix. After a write or sync that failed nothing
//! may be believed: the caller stops writing for good.

mod disk;
mod journal;
mod memory;

use std::io;

use bytes::Bytes;

pub use disk::{Disk, DiskOptions};
pub use memory::Memory;

/// One ordered keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The small records: identity, votes, marks, segments.
    Meta,
    /// What the logs' commands have made of the groups: their records, of all groups.
    State,
    /// The log entries of one time bucket, of all groups. Exists from its first write until it is dropped.
    Bodies(u64),
}

/// One change within a [`write`](Engine::write).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets the value of a key.
    Put {
        /// Where.
        space: Space,
        /// The key; at most 64 KiB.
        key: Bytes,
        /// The value; at most 4 GiB.
        value: Bytes,
    },
    /// Removes a key; nothing if it is not there.
    Delete {
        /// Where.
        space: Space,
        /// The key.
        key: Bytes,
    },
}

impl Write {
    /// Bytes of key and value.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
        }
    }
}

/// A bounded question for a range of keys.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Where.
    pub space: Space,
    /// The least key, inclusive.
    pub from: Bytes,
    /// The greatest key, inclusive.
    pub to: Bytes,
    /// Greatest key first.
    pub reverse: bool,
    /// At most so many.
    pub items_max: usize,
    /// Stops after the item with which values reach so many bytes.
    pub bytes_max: usize,
}

/// A key and its value.
pub type Item = (Bytes, Bytes);

/// Why an engine could not do it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The operating system refused. After a write: nothing may be believed any more, stop the store.
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
    /// What is stored does not verify. Nothing changed; fetch it from a replica.
    #[error("stored bytes do not verify: {0}")]
    Damaged(String),
    /// An earlier write failed, and this one was not tried. Restart the process.
    #[error("writes have stopped since one failed")]
    Stopped,
}

/// A disk, to those above.
///
/// All calls block, for as long as the disk takes.
pub trait Engine: Send + Sync + 'static {
    /// Writes all, in this order, or nothing: visible at once, on disk after the next [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// Any error is final: see the invariants of this module.
    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError>;

    /// Returns once everything written before is on disk.
    ///
    /// # Errors
    ///
    /// Any error is final: the next sync would lie.
    fn sync(&self) -> Result<(), EngineError>;

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`EngineError::Damaged`] if its bytes do not verify.
    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// The items of a range, in order.
    ///
    /// # Errors
    ///
    /// [`EngineError::Damaged`] if any of them does not verify: ask for each alone.
    fn scan(&self, scan: &Scan) -> Result<Vec<Item>, EngineError>;

    /// The buckets that exist, ascending.
    fn buckets(&self) -> Vec<u64>;

    /// Drops a bucket with all that is in it, durably; nothing if it does not exist.
    ///
    /// # Errors
    ///
    /// Final, like those of a write.
    fn drop_bucket(&self, bucket: u64) -> Result<(), EngineError>;
}
