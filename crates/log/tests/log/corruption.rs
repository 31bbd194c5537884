//! Bad entries: each is found, named, and mended; none is the end of the log.

use bytes::Bytes;
use farwire_log::{Engine, GroupLog, LogError, Space, Write};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;

use crate::world::{World, append, entries, log_id, read_all};

const BUCKET: Space = Space::Bodies(100);

/// A log of the entries 1 to 9, and their keys.
async fn nine() -> (World, GroupLog, Vec<Bytes>) {
    let world = World::new();
    let log = world.log(5);
    append(&log, entries(1, 1..=9)).await;
    let keys = world.keys(100);
    assert_eq!(keys.len(), 9);
    (world, log, keys)
}

/// The range that a read of everything names.
async fn corrupt_range(log: &GroupLog) -> Option<(u64, u64)> {
    let error = log.clone().try_get_log_entries(..).await.err()?;
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    match LogError::of(&error) {
        Some(LogError::Corrupt { shard, from, to }) if shard.0 == 5 => Some((*from, *to)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn flipped_entry_is_an_error_that_names_it_and_the_others_can_be_read() {
    let (world, log, keys) = nine().await;
    assert!(world.memory.flip(BUCKET, &keys[3]));
    assert_eq!(corrupt_range(&log).await, Some((4, 4)));
    assert_eq!(log.read(1, 9, usize::MAX).unwrap(), entries(1, 1..=3), "a bounded read stops before it");
    assert_eq!(log.read(5, 9, usize::MAX).unwrap(), entries(1, 5..=9));
    assert!(matches!(log.read(4, 9, usize::MAX), Err(LogError::Corrupt { from: 4, to: 4, .. })));
    assert_eq!(log.quarantined(), [(4, 4)]);
    assert_eq!(world.store.counters().corrupt_entries.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn corrupt_last_entry_is_not_the_end_of_the_log() {
    let (world, _, keys) = nine().await;
    world.memory.flip(BUCKET, &keys[7]);
    world.memory.flip(BUCKET, &keys[8]);
    let world = world.restart();
    let mut log = world.log(5);
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 9)));
    assert_eq!(corrupt_range(&log).await, Some((8, 9)));
}

#[tokio::test(start_paused = true)]
async fn missing_and_misplaced_entries_are_corrupt_too() {
    let (world, log, keys) = nine().await;
    world.memory.write(vec![Write::Delete { space: BUCKET, key: keys[8].clone() }]).unwrap();
    assert_eq!(corrupt_range(&log).await, Some((9, 9)));
    world.memory.misplace(BUCKET, &keys[1], &keys[2]);
    assert_eq!(corrupt_range(&log).await, Some((3, 3)));
    assert_eq!(log.quarantined(), [(3, 3), (9, 9)]);
}

#[tokio::test(start_paused = true)]
async fn damage_that_the_disk_finds_takes_its_entry_alone() {
    let (world, log, keys) = nine().await;
    world.memory.damage(BUCKET, &keys[4]);
    assert_eq!(corrupt_range(&log).await, Some((5, 5)));
    assert_eq!(log.read(6, 9, usize::MAX).unwrap(), entries(1, 6..=9));
}

#[tokio::test(start_paused = true)]
async fn quarantine_outlives_a_restart_and_ends_with_a_repair() {
    let (world, log, keys) = nine().await;
    world.memory.flip(BUCKET, &keys[3]);
    world.memory.flip(BUCKET, &keys[4]);
    assert_eq!(corrupt_range(&log).await, Some((4, 5)));
    append(&log, entries(1, 10..=10)).await;
    // The same bits again: only memory of the quarantine tells that these bytes were bad once.
    world.memory.flip(BUCKET, &keys[3]);
    world.memory.flip(BUCKET, &keys[4]);

    let world = world.restart();
    let log = world.log(5);
    assert_eq!(log.quarantined(), [(4, 5)]);
    assert_eq!(corrupt_range(&log).await, Some((4, 5)));
    assert!(matches!(log.repair(entries(1, 5..=6)).await, Err(LogError::NotBad { index: 6 })));
    log.repair(entries(1, 4..=4)).await.unwrap();
    assert_eq!(corrupt_range(&log).await, Some((5, 5)));
    log.repair(entries(1, 5..=5)).await.unwrap();
    assert_eq!(read_all(&log), entries(1, 1..=10));

    let log = world.crash(1).log(5);
    assert!(log.quarantined().is_empty());
    assert_eq!(read_all(&log), entries(1, 1..=10), "the repair was synced");
}

#[tokio::test(start_paused = true)]
async fn truncating_and_purging_lift_the_quarantine_of_what_they_remove() {
    let (world, mut log, keys) = nine().await;
    for key in [&keys[0], &keys[1], &keys[4], &keys[7]] {
        world.memory.flip(BUCKET, key);
    }
    assert_eq!(corrupt_range(&log).await, Some((1, 2)));
    assert_eq!(log.quarantined(), [(1, 2), (5, 5), (8, 8)]);
    log.purge(log_id(1, 3)).await.unwrap();
    log.truncate_after(Some(log_id(1, 6))).await.unwrap();
    assert_eq!(log.quarantined(), [(5, 5)]);
    append(&log, entries(2, 7..=9)).await;
    log.repair(entries(1, 5..=5)).await.unwrap();
    let log = world.crash(3).log(5);
    assert_eq!(read_all(&log), [entries(1, 4..=6), entries(2, 7..=9)].concat());
}

#[tokio::test(start_paused = true)]
async fn store_with_a_damaged_record_says_so_and_is_not_taken_for_an_empty_one() {
    for (key, is_lost) in [(&b"i"[..], false), (b"i", true), (b"s\0\x05\0\0\0\0\0\0\0\x64", false)] {
        let (world, _, _) = nine().await;
        if is_lost {
            let key = Bytes::copy_from_slice(key);
            world.memory.write(vec![Write::Delete { space: Space::Meta, key }]).unwrap();
        } else {
            assert!(world.memory.flip(Space::Meta, key));
        }
        let opened =
            farwire_log::Store::open(world.memory.clone(), world.memory.clone(), crate::world::OPTIONS).map(|_| ());
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
