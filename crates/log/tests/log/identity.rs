//! Who a store is: always the same, unless it may have forgotten what it promised.

use farwire_log::{Identity, StoreOptions};

use crate::world::{OPTIONS, World, append, entries, read_all};

const UNSYNCED: StoreOptions = StoreOptions { sync: false, ..OPTIONS };

/// The next start: another id is drawn.
const fn next(options: StoreOptions) -> StoreOptions {
    StoreOptions { drawn_id: 2, ..options }
}

/// The next start, after the machine's own.
const fn rebooted(options: StoreOptions) -> StoreOptions {
    StoreOptions { boot: 2, ..next(options) }
}

fn unsynced() -> World {
    World::on(std::sync::Arc::default(), UNSYNCED)
}

#[tokio::test(start_paused = true)]
async fn empty_store_takes_the_drawn_id_and_keeps_it_through_power_cuts() {
    let world = World::new();
    assert_eq!((world.store.id(), world.identity), (1, Identity::New { previous: None }));
    assert_eq!(world.memory.unsynced_writes(), 0, "its id is synced before anybody hears of it");
    world.memory.crash(0);
    let world = world.restart_with(rebooted(OPTIONS));
    assert_eq!((world.store.id(), world.identity), (1, Identity::Same));
}

#[tokio::test(start_paused = true)]
async fn store_without_syncs_that_lost_power_is_somebody_else() {
    let world = unsynced();
    append(&world.log(0), entries(1, 1..=3)).await;
    let world = world.restart_with(rebooted(UNSYNCED));
    assert_eq!((world.store.id(), world.identity), (2, Identity::New { previous: Some(1) }));
    let world = world.restart_with(StoreOptions { drawn_id: 3, boot: 2, ..UNSYNCED });
    assert_eq!((world.store.id(), world.identity), (2, Identity::Same), "the new id stays");
}

#[tokio::test(start_paused = true)]
async fn store_without_syncs_whose_process_alone_died_is_the_same() {
    let world = unsynced();
    append(&world.log(0), entries(1, 1..=3)).await;
    let world = world.restart_with(next(UNSYNCED));
    assert_eq!((world.store.id(), world.identity), (1, Identity::Same));
}

#[tokio::test(start_paused = true)]
async fn store_without_syncs_that_was_closed_is_the_same_and_has_lost_nothing() {
    let world = unsynced();
    append(&world.log(0), entries(1, 1..=3)).await;
    world.store.close().await.unwrap();
    world.memory.crash(0);
    let world = world.restart_with(rebooted(UNSYNCED));
    assert_eq!((world.store.id(), world.identity), (1, Identity::Same));
    assert_eq!(read_all(&world.log(0)), entries(1, 1..=3));
    let world = world.restart_with(StoreOptions { drawn_id: 4, boot: 3, ..UNSYNCED });
    assert_eq!(world.identity, Identity::New { previous: Some(1) }, "one good end does not cover the next");
}

#[tokio::test(start_paused = true)]
async fn what_counts_is_how_the_store_ran_and_not_how_it_is_opened() {
    let world = unsynced().restart_with(rebooted(OPTIONS));
    assert_eq!(world.identity, Identity::New { previous: Some(1) });
    let world = World::new().restart_with(rebooted(UNSYNCED));
    assert_eq!(world.identity, Identity::Same);
}
