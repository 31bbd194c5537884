//! A seed is a run: the same packets at the same times, the same history.

use crate::mixed::MIXED;
use crate::runs::play_one;

#[test]
fn the_same_seed_twice_gives_the_same_packets_and_the_same_history() {
    for seed in [3, 4] {
        let [first, second] = [(); 2].map(|()| play_one(MIXED, seed));
        let differs = first.records.iter().zip(&second.records).position(|(a, b)| a != b);
        if let Some(at) = differs {
            let here = |records: &[farwire_sim::history::Record]| {
                farwire_sim::history::tell(&records[at..records.len().min(at + 5)])
            };
            panic!("seed {seed} differs from record {at} on:\n{}\n{}", here(&first.records), here(&second.records));
        }
        assert_eq!(first.digest, second.digest, "seed {seed}: the packets differ");
    }
    assert_ne!(play_one(MIXED, 3).digest, play_one(MIXED, 4).digest);
}
