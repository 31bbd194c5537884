//! Time buckets: what is purged goes with its bucket, whole; what is not stays.

use farwire_log::Engine;
use openraft::storage::RaftLogStorage;

use crate::world::{World, append, entries, log_id, read_all};

/// Three buckets of a group: 1 to 3, 4 to 6, 7 to 9.
async fn three_buckets(world: &World, shard: u16) {
    for (bucket, first) in [(100, 1), (101, 4), (102, 7)] {
        world.store.set_bucket(bucket);
        append(&world.log(shard), entries(1, first..=first + 2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bucket_is_dropped_once_all_groups_have_purged_it() {
    let world = World::new();
    append(&world.log(1), entries(1, 1..=2)).await;
    three_buckets(&world, 0).await;
    assert_eq!(world.memory.buckets(), [100, 101, 102]);

    world.log(0).purge(log_id(1, 7)).await.unwrap();
    append(&world.log(0), entries(1, 10..=10)).await;
    assert_eq!(world.memory.buckets(), [100, 102], "the other group has entries in the oldest");
    assert_eq!(world.keys(102).len(), 4, "purging deletes nothing by itself");
    assert_eq!(read_all(&world.log(0)), entries(1, 8..=10));
    assert_eq!(read_all(&world.log(1)), entries(1, 1..=2));

    world.log(1).purge(log_id(1, 2)).await.unwrap();
    append(&world.log(0), entries(1, 11..=11)).await;
    assert_eq!(world.memory.buckets(), [102]);
    assert_eq!(world.store.counters().buckets_dropped.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn purge_mark_outlives_a_crash() {
    let world = World::new();
    three_buckets(&world, 0).await;
    world.log(0).purge(log_id(1, 5)).await.unwrap();
    append(&world.log(0), entries(1, 10..=10)).await;
    let world = world.crash(0);
    let mut log = world.log(0);
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(1, 5)), Some(log_id(1, 10))));
    assert_eq!(read_all(&log), entries(1, 6..=10));
    assert_eq!(world.memory.buckets(), [101, 102]);
}

#[tokio::test(start_paused = true)]
async fn purging_beyond_the_end_leaves_an_empty_log_that_goes_on_there() {
    let world = World::new();
    three_buckets(&world, 0).await;
    world.log(0).purge(log_id(2, 50)).await.unwrap();
    let state = world.log(0).get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(2, 50)), Some(log_id(2, 50))));
    append(&world.log(0), entries(2, 51..=52)).await;
    let world = world.crash(0);
    assert_eq!(read_all(&world.log(0)), entries(2, 51..=52));
    assert_eq!(world.memory.buckets(), [102]);
}

#[tokio::test(start_paused = true)]
async fn conflicting_suffix_is_cut_across_buckets() {
    for kept in 0..=9 {
        let world = World::new();
        three_buckets(&world, 0).await;
        let mut log = world.log(0);
        log.truncate_after((kept > 0).then(|| log_id(1, kept))).await.unwrap();
        let old = if kept == 0 { Vec::new() } else { entries(1, 1..=kept) };
        assert_eq!(read_all(&log), old);
        append(&log, entries(2, kept + 1..=kept + 2)).await;
        let all = [old, entries(2, kept + 1..=kept + 2)].concat();
        assert_eq!(read_all(&log), all);
        let world = world.crash(kept);
        assert_eq!(read_all(&world.log(0)), all, "{kept} kept");
    }
}

#[tokio::test(start_paused = true)]
async fn group_that_comes_back_to_a_bucket_in_time_keeps_it() {
    let world = World::new();
    three_buckets(&world, 0).await;
    let mut log = world.log(0);
    log.truncate_after(Some(log_id(1, 6))).await.unwrap();
    append(&log, entries(2, 7..=8)).await;
    assert_eq!(world.memory.buckets(), [100, 101, 102]);
    assert_eq!(read_all(&log), [entries(1, 1..=6), entries(2, 7..=8)].concat());
    let world = world.restart();
    assert_eq!(read_all(&world.log(0)), [entries(1, 1..=6), entries(2, 7..=8)].concat());
}

#[tokio::test(start_paused = true)]
async fn bucket_number_that_goes_back_does_not_take_entries_back() {
    let world = World::new();
    three_buckets(&world, 0).await;
    world.store.set_bucket(50);
    append(&world.log(0), entries(1, 10..=10)).await;
    assert_eq!(world.memory.buckets(), [100, 101, 102]);
    // A restart under a clock that is behind.
    let world = world.restart_with(farwire_log::StoreOptions { bucket: 7, ..crate::world::OPTIONS });
    append(&world.log(0), entries(1, 11..=11)).await;
    assert_eq!(world.memory.buckets(), [100, 101, 102]);
    assert_eq!(read_all(&world.restart().log(0)), entries(1, 1..=11));
}
