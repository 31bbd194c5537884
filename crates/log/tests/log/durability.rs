//! What counts, and when: syncs shared by groups, what a crash may take, and what is final.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farwire_log::{Entry, GroupLog, LogError, LogId, Memory, StoreOptions, Vote};
use farwire_wire::Shard;
use openraft::RaftLogReader;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::RaftLogStorage;

use crate::world::{OPTIONS, SYNC_TIME, World, append, begin_append, entries, entry, log_id, read_all};

fn vote(term: u64) -> Vote {
    Vote { leader_id: LeaderId { term, node_id: 7 }, committed: term.is_multiple_of(2) }
}

#[tokio::test(start_paused = true)]
async fn entries_can_be_read_at_once_and_count_once_they_are_synced() {
    let world = World::new();
    let log = world.log(0);
    let begun = tokio::time::Instant::now();
    let counts = begin_append(&log, entries(1, 1..=3)).await;
    assert_eq!(read_all(&log), entries(1, 1..=3));
    let mut counts = std::pin::pin!(counts);
    let early = tokio::time::timeout(SYNC_TIME - Duration::from_millis(1), &mut counts).await;
    assert!(early.is_err(), "nothing counts before the sync");
    assert_eq!(world.memory.unsynced_writes(), 1);
    counts.await.unwrap();
    assert_eq!(begun.elapsed(), SYNC_TIME);
    assert_eq!(world.memory.unsynced_writes(), 0);
    assert_eq!(read_all(&world.crash(0).log(0)), entries(1, 1..=3));
}

#[tokio::test(start_paused = true)]
async fn entries_that_replace_others_on_their_way_to_disk_are_the_ones_that_are_read() {
    let world = World::new();
    let log = world.log(0);
    let old = begin_append(&log, entries(1, 1..=3)).await;
    tokio::time::sleep(SYNC_TIME / 2).await;
    log.clone().truncate_after(Some(log_id(1, 1))).await.unwrap();
    let new = begin_append(&log, entries(2, 2..=4)).await;
    let expected = [entries(1, 1..=1), entries(2, 2..=4)].concat();
    assert_eq!(read_all(&log), expected);
    old.await.unwrap();
    assert_eq!(read_all(&log), expected, "the old ones are on disk, the new ones are not");
    new.await.unwrap();
    assert_eq!(read_all(&log), expected);
    assert_eq!(read_all(&world.crash(0).log(0)), expected);
}

#[tokio::test(start_paused = true)]
async fn one_sync_serves_all_groups_that_wait() {
    let world = World::new();
    let mut first = Box::pin(begin_append(&world.log(0), entries(1, 1..=1)).await);
    let early = tokio::time::timeout(Duration::from_millis(1), &mut first).await;
    assert!(early.is_err());
    let mut rest = Vec::new();
    for shard in 1..=16 {
        rest.push(begin_append(&world.log(shard), entries(1, 1..=2)).await);
    }
    first.await.unwrap();
    for counts in rest {
        counts.await.unwrap();
    }
    let counters = world.store.counters();
    assert_eq!(counters.sync_us.count(), 2);
    assert_eq!((counters.batch_jobs.count(), counters.batch_jobs.last()), (2, 16));
    assert_eq!(counters.sync_us.sum(), 20_000);
    assert!(counters.batch_bytes.sum() > 33 * 20, "{}", counters.batch_bytes.sum());
}

#[tokio::test(start_paused = true)]
async fn vote_is_synced_before_it_is_saved_and_the_commit_mark_is_not() {
    let world = World::new();
    let mut log = world.log(3);
    append(&log, entries(1, 1..=2)).await;
    log.save_vote(&vote(4)).await.unwrap();
    assert_eq!(world.memory.unsynced_writes(), 0);
    let syncs = world.store.counters().sync_us.count();
    log.save_committed(Some(log_id(1, 2))).await.unwrap();
    tokio::time::sleep(SYNC_TIME * 2).await;
    assert_eq!(world.memory.unsynced_writes(), 1);
    assert_eq!(world.store.counters().sync_us.count(), syncs);
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 2)));
    append(&log, entries(1, 3..=3)).await;

    let world = world.crash(0);
    let mut log = world.log(3);
    assert_eq!(log.read_vote().await.unwrap(), Some(vote(4)));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 2)), "the next sync took it along");
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (None, Some(log_id(1, 3))));
    assert_eq!(world.store.shards(), [Shard(3)]);
}

#[tokio::test(start_paused = true)]
async fn entries_that_leave_a_hole_are_refused() {
    let world = World::new();
    let mut log = world.log(0);
    append(&log, entries(1, 1..=3)).await;
    for wrong in [entries(1, 5..=6), entries(1, 3..=4), vec![entry(1, 4), entry(1, 6)]] {
        let error = log.append(wrong, openraft::storage::IOFlushed::noop()).await.unwrap_err();
        assert!(matches!(LogError::of(&error), Some(LogError::Hole { .. })), "{error}");
    }
    assert_eq!(read_all(&log), entries(1, 1..=3));
}

/// After the first failure: everything is refused at once and says so, nothing touches the disk, reads go on.
async fn assert_stopped(world: &World, log: &mut GroupLog, why: &str, readable: Vec<Entry>) {
    world.memory.fill(u64::MAX);
    let untouched = world.memory.unsynced_writes();
    let begun = tokio::time::Instant::now();
    let errors = [
        log.append(vec![entry(9, 99)], openraft::storage::IOFlushed::noop()).await.unwrap_err(),
        log.save_vote(&vote(9)).await.unwrap_err(),
        log.save_committed(None).await.unwrap_err(),
        log.truncate_after(None).await.unwrap_err(),
        log.purge(log_id(1, 1)).await.unwrap_err(),
        world.log(8).save_vote(&vote(9)).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(LogError::of(&error), Some(LogError::Stopped(_))), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(world.store.close().await.is_err());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(world.memory.unsynced_writes(), untouched);
    assert!(world.store.stopped().is_some() && !world.store.has_room());
    assert_eq!(read_all(log), readable);
}

#[tokio::test(start_paused = true)]
async fn first_failed_sync_is_final_and_reads_go_on() {
    let world = World::new();
    let mut log = world.log(0);
    append(&log, entries(1, 1..=3)).await;
    world.memory.fail_sync(1);
    let failed = begin_append(&log, entries(1, 4..=4)).await;
    let queued = begin_append(&log, entries(1, 5..=5)).await;
    let error = failed.await.unwrap_err();
    assert!(error.to_string().contains("a sync failed"), "{error}");
    assert!(queued.await.is_err());
    assert_stopped(&world, &mut log, "a sync failed", entries(1, 1..=5)).await;
    assert_eq!(read_all(&world.crash(0).log(0)), entries(1, 1..=3), "what failed to sync is lost");
}

#[tokio::test(start_paused = true)]
async fn first_failed_write_is_final_and_reads_go_on() {
    let world = World::new();
    let mut log = world.log(0);
    append(&log, entries(1, 1..=3)).await;
    world.memory.fail_write(1);
    let error = log.save_vote(&vote(1)).await.unwrap_err();
    assert!(error.to_string().contains("a write failed"), "{error}");
    assert_stopped(&world, &mut log, "a write failed", entries(1, 1..=3)).await;
}

#[tokio::test(start_paused = true)]
async fn new_messages_are_refused_before_the_disk_is_full_and_raft_writes_until_it_is() {
    let world = World::new();
    let mut log = world.log(0);
    append(&log, entries(1, 1..=100)).await;
    assert!(world.store.has_room());
    let used: u64 =
        farwire_log::Probe::space(&*world.memory).map(|space| space.total_bytes - space.free_bytes).unwrap();
    world.memory.fill(used * 100 / 95);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!world.store.has_room(), "95 % are in use");
    log.save_vote(&vote(1)).await.unwrap();
    assert!(world.store.stopped().is_none());

    let error = begin_append(&log, entries(1, 101..=120)).await.await.unwrap_err();
    assert!(error.to_string().contains("a write failed"), "{error}");
    assert_stopped(&world, &mut log, "a write failed", entries(1, 1..=120)).await;
}

#[tokio::test(start_paused = true)]
async fn without_syncs_entries_count_once_they_are_written() {
    let memory = Arc::new(Memory::new());
    let world = World::on(memory, StoreOptions { sync: false, ..OPTIONS });
    append(&world.log(0), entries(1, 1..=3)).await;
    assert!(!world.store.is_synced());
    assert_eq!((world.store.counters().sync_us.count(), world.memory.unsynced_writes()), (0, 1));
}

/// What a log says of itself: entries, vote, purge mark.
type Picture = (Vec<Entry>, Option<Vote>, Option<LogId>);

async fn picture(mut log: GroupLog) -> Picture {
    let vote = log.read_vote().await.unwrap();
    let purged = log.get_log_state().await.unwrap().last_purged_log_id;
    (read_all(&log), vote, purged)
}

/// Draws numbers below a bound.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A random act on a log. Returns whether it has been acknowledged as durable.
async fn act(log: &mut GroupLog, draw: &mut Draw, term: u64) -> bool {
    let state = log.get_log_state().await.unwrap();
    let last = state.last_log_id.map_or(0, |last| last.index);
    let purged = state.last_purged_log_id.map_or(0, |mark| mark.index);
    let kept = read_all(log);
    match draw.below(8) {
        0 => log.save_vote(&vote(term)).await.unwrap(),
        1 if !kept.is_empty() => {
            let at = usize::try_from(draw.below(kept.len() as u64)).unwrap();
            log.truncate_after(Some(kept[at].log_id)).await.unwrap();
            return false;
        }
        2 if last > purged + 4 => {
            log.purge(kept[1].log_id).await.unwrap();
            return false;
        }
        3 => {
            drop(begin_append(log, entries(term, last + 1..=last + 2)).await);
            return false;
        }
        _ => append(log, entries(term, last + 1..=last + 1 + draw.below(3))).await,
    }
    true
}

#[tokio::test(start_paused = true)]
async fn crash_takes_back_nothing_that_counted_and_leaves_a_moment_that_was() {
    for seed in 0..200 {
        let mut draw = Draw(seed);
        let mut world = World::new();
        let mut term = 0;
        for _ in 0..3 {
            let mut moments: BTreeMap<u16, Vec<Picture>> = BTreeMap::new();
            for shard in 0..3 {
                moments.insert(shard, vec![picture(world.log(shard)).await]);
            }
            for _ in 0..12 {
                term += 1;
                let shard = u16::try_from(draw.below(3)).unwrap();
                world.store.set_bucket(100 + draw.below(5));
                let counts = act(&mut world.log(shard), &mut draw, term).await;
                let now = picture(world.log(shard)).await;
                let moments = moments.get_mut(&shard).unwrap();
                if counts {
                    moments.clear();
                }
                moments.push(now);
            }
            world = world.crash(draw.below(u64::MAX));
            for (shard, moments) in moments {
                let found = picture(world.log(shard)).await;
                assert!(
                    moments.contains(&found),
                    "seed {seed}, shard {shard}: {found:?} was never so since it counted"
                );
            }
        }
    }
}
