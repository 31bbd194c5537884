//! A token bucket in one number: when it will be full again. Whoever takes a token moves that time on; it may lie ahead
//! of now by as much as the bucket holds (the generic cell rate algorithm of ATM Forum TM 4.0, in virtual scheduling).

use std::time::Duration;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// `per_second` tokens a second, and `burst` at once after a rest. Of either there is at least one.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), burst: burst.max(1) }
    }

    fn whole(&self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }
}

/// A bucket, full at first. The rate is the caller's, so that a thousand buckets of one rate store it once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Takes a token; `false` when there is none.
    pub fn take(&mut self, rate: &Rate, now: Duration) -> bool {
        let full_at = self.full_at.max(now) + rate.interval;
        let has_one = full_at - now <= rate.whole();
        if has_one {
            self.full_at = full_at;
        }
        has_one
    }

    /// Whether a token is there, and at least half of all.
    #[must_use]
    pub fn is_half_full(&self, rate: &Rate, now: Duration) -> bool {
        (self.full_at.max(now) + rate.interval - now) * 2 <= rate.whole()
    }

    /// Whether there is a token.
    #[must_use]
    pub fn has_one(&self, rate: &Rate, now: Duration) -> bool {
        Self::take(&mut self.clone(), rate, now)
    }

    /// Whether nothing has been taken that has not come back: a new bucket is the same.
    #[must_use]
    pub fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }

    /// How long until there is a token.
    #[must_use]
    pub fn wait(&self, rate: &Rate, now: Duration) -> Duration {
        (self.full_at.max(now) + rate.interval - now).saturating_sub(rate.whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_at_once_and_then_the_rate() {
        let (rate, mut bucket) = (Rate::new(10, 3), Bucket::default());
        let at = ms(5_000);
        assert_eq!((0..5).filter(|_| bucket.take(&rate, at)).count(), 3);
        assert_eq!(bucket.wait(&rate, at), ms(100));
        assert!(!bucket.take(&rate, at + ms(99)) && bucket.take(&rate, at + ms(100)));
        assert!(!bucket.is_full(at + ms(399)) && bucket.is_full(at + ms(400)));
    }

    #[test]
    fn half_of_the_tokens_are_left_for_others() {
        let (rate, mut bucket) = (Rate::new(10, 4), Bucket::default());
        let before: Vec<bool> = (0..4).map(|_| bucket.is_half_full(&rate, ms(0)) & bucket.take(&rate, ms(0))).collect();
        assert_eq!(before, [true, true, false, false]);
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_the_burst_and_the_rate(gaps in prop::collection::vec(0..50_u64, 1..300)) {
            let (rate, mut bucket) = (Rate::new(100, 7), Bucket::default());
            let mut now = 0;
            let mut taken = Vec::new();
            for gap in gaps {
                now += gap;
                if bucket.take(&rate, ms(now)) {
                    taken.push(now);
                }
            }
            for (n, start) in taken.iter().enumerate() {
                for (m, end) in taken.iter().enumerate().skip(n) {
                    // 100 a second are one in 10 ms.
                    prop_assert!((m - n + 1) as u64 <= 7 + (end - start) / 10);
                }
            }
        }
    }
}
