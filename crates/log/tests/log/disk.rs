//! What only a real disk can show: files that rot, tails that a crash tore, buckets whose files go.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use farwire_log::{Disk, DiskOptions, Encoded, Engine, Entry, LogError, Opened, Probe, Store};
use farwire_wire::Shard;
use openraft::EntryPayload;
use openraft::storage::RaftLogStorage;

use crate::world::{OPTIONS, append, entries, log_id, read_all};

/// Memtables of 1 MiB, so that a test reaches the tables with little.
const SMALL: DiskOptions = DiskOptions { memtable_bytes_max: 1 << 20, cache_bytes_max: 1 << 20 };

struct OnDisk {
    disk: Arc<Disk>,
    store: Store,
    committer: std::thread::JoinHandle<()>,
}

impl OnDisk {
    fn open(place: &Path) -> Self {
        let disk = Arc::new(Disk::open(place, SMALL).unwrap());
        let Opened { store, committer, .. } = Store::open(disk.clone(), disk.clone(), OPTIONS).unwrap();
        Self { disk, store, committer: committer.start_thread().unwrap() }
    }

    /// Ends all that holds the files open.
    fn end(self) {
        drop(self.store);
        self.committer.join().unwrap();
        assert_eq!(Arc::strong_count(&self.disk), 1);
    }
}

/// An entry of 6,000 bytes, all of them its index: they find it in a file, and lie there as a blob.
fn wide_entry(index: u64) -> Entry {
    let bytes: Vec<u8> = index.to_be_bytes().repeat(750);
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Encoded(Bytes::from(bytes))) }
}

fn files(place: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(place).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// As it is on the disk now, if the process died.
fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
    for item in fs::read_dir(from.join("keyspaces")).unwrap() {
        let name = item.unwrap().file_name();
        fs::create_dir_all(to.join("keyspaces").join(name).join("blobs")).unwrap();
    }
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|window| window == what)
}

/// Flips a bit in the bytes of an entry, in the tables, blobs and journals of a store. Returns in how many files.
fn flip_in_files(place: &Path, index: u64, is_in: impl Fn(&str) -> bool) -> usize {
    let marks = index.to_be_bytes().repeat(4);
    let mut flipped = 0;
    for file in files(place).into_iter().filter(|file| is_in(&file.to_string_lossy())) {
        let mut bytes = fs::read(&file).unwrap();
        if let Some(at) = find(&bytes, &marks) {
            bytes[at + 100] ^= 4;
            fs::write(&file, bytes).unwrap();
            flipped += 1;
        }
    }
    flipped
}

#[tokio::test]
async fn rotten_file_costs_its_entry_alone() {
    let place = tempfile::tempdir().unwrap();
    let world = OnDisk::open(place.path());
    let log = world.store.log(Shard(0));
    for first in (1_000..2_000).step_by(100) {
        append(&log, (first..first + 100).map(wide_entry).collect()).await;
    }
    drop(log);
    world.end();
    assert_eq!(flip_in_files(place.path(), 1_050, |file| file.contains("keyspaces")), 1);

    let world = OnDisk::open(place.path());
    let log = world.store.log(Shard(0));
    assert_eq!(log.read(1_000, 1_999, usize::MAX).unwrap().len(), 50);
    assert!(matches!(log.read(1_050, 1_999, usize::MAX), Err(LogError::Corrupt { from: 1_050, to: 1_050, .. })));
    assert_eq!(log.read(1_051, 1_999, usize::MAX).unwrap(), (1_051..2_000).map(wide_entry).collect::<Vec<_>>());
    log.repair(vec![wide_entry(1_050)]).await.unwrap();
    assert_eq!(log.read(1_000, 1_999, usize::MAX).unwrap().len(), 1_000);
}

#[tokio::test]
async fn store_opens_whatever_a_power_cut_left_of_the_last_write() {
    let place = tempfile::tempdir().unwrap();
    let world = OnDisk::open(place.path());
    let log = world.store.log(Shard(0));
    append(&log, entries(1, 1..=5)).await;
    let before = end_of_journal(place.path());
    append(&log, entries(1, 6..=8)).await;
    let after = end_of_journal(place.path());
    assert!(after > before + 100);
    for (hole, length) in
        [(before, 20), (before + 60, 20), (before + 90, 20), (before + 1, after - before - 1), (after - 3, 3)]
    {
        let torn = tempfile::tempdir().unwrap();
        copy(place.path(), torn.path());
        change_journal(torn.path(), hole, &vec![0; length]);
        let world = OnDisk::open(torn.path());
        let log = world.store.log(Shard(0));
        assert_eq!(read_all(&log), entries(1, 1..=5), "{length} zeros from {hole}");
        append(&log, entries(2, 6..=20)).await;
        drop(log);
        world.end();
        let log = OnDisk::open(torn.path()).store.log(Shard(0));
        assert_eq!(read_all(&log), [entries(1, 1..=5), entries(2, 6..=20)].concat());
    }
}

#[tokio::test]
async fn damage_to_what_was_synced_is_not_taken_for_the_end_of_the_journal() {
    let place = tempfile::tempdir().unwrap();
    let world = OnDisk::open(place.path());
    let log = world.store.log(Shard(0));
    append(&log, entries(1, 1..=5)).await;
    let begin = end_of_journal(place.path());
    append(&log, entries(1, 6..=8)).await;
    append(&log, entries(1, 9..=9)).await;
    for at in [begin, begin + 13, begin + 40] {
        let hurt = tempfile::tempdir().unwrap();
        copy(place.path(), hurt.path());
        change_journal(hurt.path(), at, b"!");
        let end = end_of_journal(hurt.path());
        let error = Disk::open(hurt.path(), SMALL).err().unwrap().to_string();
        assert!(error.contains("before the end of what was synced"), "{error}");
        assert_eq!(end_of_journal(hurt.path()), end, "nothing was changed");
    }
}

fn change_journal(place: &Path, at: usize, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(journal(place)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, at as u64).unwrap();
}

fn journal(place: &Path) -> PathBuf {
    let is_journal = |file: &PathBuf| file.extension().is_some_and(|kind| kind == "jnl");
    files(place).into_iter().rfind(is_journal).unwrap()
}

fn end_of_journal(place: &Path) -> usize {
    let bytes = fs::read(journal(place)).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[tokio::test]
async fn dropped_bucket_leaves_no_files_and_stays_away() {
    let place = tempfile::tempdir().unwrap();
    let world = OnDisk::open(place.path());
    let mut log = world.store.log(Shard(0));
    append(&log, (1..=500).map(wide_entry).collect()).await;
    world.store.set_bucket(101);
    append(&log, (501..=510).map(wide_entry).collect()).await;
    assert_eq!(world.disk.buckets(), [100, 101]);
    log.purge(log_id(1, 500)).await.unwrap();
    // The bucket is dropped after the batch of the purge was answered, and before the next one is.
    append(&log, vec![wide_entry(511)]).await;
    append(&log, vec![wide_entry(512)]).await;
    assert_eq!(world.disk.buckets(), [101]);
    drop(log);
    world.end();

    let world = OnDisk::open(place.path());
    assert_eq!(world.disk.buckets(), [101]);
    assert_eq!(read_all(&world.store.log(Shard(0))), (501..=512).map(wide_entry).collect::<Vec<_>>());
    let kept: u64 = files(&place.path().join("keyspaces")).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(kept < 1_000_000, "{kept} bytes are left of 3 MB that were dropped");
}

#[test]
fn directory_has_one_owner_and_says_how_full_its_disk_is() {
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::open(place.path(), SMALL).unwrap();
    let space = disk.space().unwrap();
    assert!(space.free_bytes > 0 && space.free_bytes < space.total_bytes);
    let error = Disk::open(place.path(), SMALL).err().unwrap().to_string();
    assert!(error.contains("another process"), "{error}");
}
