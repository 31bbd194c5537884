//! Which groups need which time bucket. A bucket that nobody needs is dropped whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use farwire_wire::Shard;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    needed: Mutex<BTreeMap<u64, BTreeSet<Shard>>>,
}

impl Buckets {
    /// A group has entries in a bucket.
    pub(crate) fn need(&self, bucket: u64, shard: Shard) {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner).entry(bucket).or_default().insert(shard);
    }

    /// A group has none there any more. Returns whether it was the last.
    pub(crate) fn release(&self, bucket: u64, shard: Shard) -> bool {
        let mut needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shards) = needed.get_mut(&bucket) else { return false };
        shards.remove(&shard);
        if !shards.is_empty() {
            return false;
        }
        needed.remove(&bucket);
        true
    }

    /// Whether any group has entries in a bucket.
    pub(crate) fn is_needed(&self, bucket: u64) -> bool {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&bucket)
    }
}
