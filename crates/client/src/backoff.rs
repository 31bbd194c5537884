//! How long to pause before the next try. Pure: chance is an argument. Called by the connector, between its rounds, and
//! by the session task, between sessions.

use std::time::Duration;

/// "Full jitter": random from zero to a bound that doubles with each attempt (from 1), so that clients that were lost
/// together come back apart. `random` is from 0 to 1. Marc Brooker, "Exponential Backoff And Jitter", 2015.
pub(crate) fn full_jitter(attempt: u32, random: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(DOUBLINGS_MAX);
    FIRST_MAX.saturating_mul(1 << doublings).min(PAUSE_MAX).mul_f64(random.clamp(0.0, 1.0))
}

/// The bound of the first pause.
const FIRST_MAX: Duration = Duration::from_millis(250);
/// The bound that no pause exceeds.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// 250 ms doubled so often is above any bound, and still fits.
const DOUBLINGS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn the_bound_doubles_from_250_ms_to_30_s() {
        let bounds: Vec<_> = (1..=9).map(|attempt| full_jitter(attempt, 1.0).as_millis()).collect();
        assert_eq!(bounds, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(full_jitter(u32::MAX, 1.0), PAUSE_MAX);
        assert_eq!(full_jitter(0, 1.0), FIRST_MAX);
    }

    #[test]
    fn pauses_fill_the_whole_range_below_the_bound() {
        let mut rng = StdRng::seed_from_u64(7);
        let pauses: Vec<_> = (0..10_000).map(|_| full_jitter(3, rng.random()).as_millis()).collect();
        assert!(pauses.iter().all(|pause| *pause <= 1_000));
        for tenth in 0..10 {
            let within = pauses.iter().filter(|pause| **pause / 100 == tenth).count();
            assert!((800..1_200).contains(&within), "{within} of 10,000 are in tenth {tenth}");
        }
    }
}
