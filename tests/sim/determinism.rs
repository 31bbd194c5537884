//! A seed is a run: the same packets at the same times, the same history.

use std::fmt::Debug;

use crate::mixed::MIXED;
use crate::runs::play_one;

#[test]
fn the_same_seed_twice_gives_the_same_packets_and_the_same_history() {
    // One with faults one by one, and two with many at once.
    for seed in [3, 4, 5] {
        let [first, second] = [(); 2].map(|()| play_one(MIXED, seed));
        same(seed, &first.packets, &second.packets);
        same(seed, &first.records, &second.records);
    }
}

#[test]
fn another_seed_is_another_run() {
    let [one, other] = [3, 4].map(|seed| play_one(MIXED, seed));
    assert!(one.packets != other.packets && one.records != other.records);
}

/// Shows where two runs part.
fn same<T: Debug + PartialEq>(seed: u64, first: &[T], second: &[T]) {
    assert!(!first.is_empty());
    let parts_at = first.iter().zip(second).position(|(a, b)| a != b);
    let at = parts_at.unwrap_or(first.len().min(second.len()));
    let near = |run: &[T]| run[at..run.len().min(at + 6)].iter().map(|one| format!("\n  {one:?}")).collect::<String>();
    assert!(first == second, "seed {seed}: the runs part at number {at}:{}\nand{}", near(first), near(second));
}
