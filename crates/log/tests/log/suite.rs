//! openraft's own tests of a storage, on both engines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use farwire_log::{Disk, DiskOptions, GroupLog, Opened, Store, StoreOptions, Types};
use farwire_wire::Shard;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use crate::machine::Machine;
use crate::world::{OPTIONS, World};

struct InMemory;

impl StoreBuilder<Types, GroupLog, Machine, World> for InMemory {
    async fn build(&self) -> Result<(World, GroupLog, Machine), StorageError<Types>> {
        let world = World::new();
        let log = world.log(0);
        Ok((world, log, Machine::default()))
    }
}

/// A log of one store for each of the tests, without syncs: the disk would take most of the time.
struct OnDisk {
    store: Store,
    shards: AtomicU16,
}

impl StoreBuilder<Types, GroupLog, Machine> for OnDisk {
    async fn build(&self) -> Result<((), GroupLog, Machine), StorageError<Types>> {
        let shard = Shard(self.shards.fetch_add(1, Relaxed));
        Ok(((), self.store.log(shard), Machine::default()))
    }
}

#[tokio::test(start_paused = true)]
async fn storage_in_memory_is_what_openraft_asks_for() {
    Suite::test_all(InMemory).await.unwrap();
}

/// The clock is paused because the suite sleeps; nothing else here looks at it.
#[tokio::test(start_paused = true)]
async fn storage_on_disk_is_what_openraft_asks_for() {
    let place = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::open(place.path(), DiskOptions::default()).unwrap());
    let Opened { store, committer, .. } =
        Store::open(disk.clone(), disk, StoreOptions { sync: false, ..OPTIONS }).unwrap();
    committer.start_thread().unwrap();
    Suite::test_all(OnDisk { store, shards: AtomicU16::new(0) }).await.unwrap();
}
