//! What the committer counts, for metrics: cheap to write, readable at any time, never wrong by more than a batch.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Values in buckets of powers of two, with their sum, greatest and last.
#[derive(Debug, Default)]
pub struct Histogram {
    /// `buckets[i]` counts values below `2^i`, and not below `2^(i-1)`; the last takes all that are greater.
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
    last: AtomicU64,
}

impl Histogram {
    pub(crate) fn note(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(count) = self.buckets.get(bucket.min(BUCKETS - 1)) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
        self.max.fetch_max(value, Relaxed);
        self.last.store(value, Relaxed);
    }

    pub(crate) fn note_time(&self, time: Duration) {
        self.note(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// The greatest.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// The last.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Relaxed)
    }

    /// Pairs of an exclusive upper bound and how many values are below it and not below the one before.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.buckets.iter().enumerate().map(|(power, count)| (1 << power, count.load(Relaxed)))
    }
}

/// What the committer has done since the store was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Time of each sync, µs. Its count is the number of syncs.
    pub sync_us: Histogram,
    /// Jobs (appends, votes, marks) answered by one write.
    pub batch_jobs: Histogram,
    /// Bytes of keys and values in one write.
    pub batch_bytes: Histogram,
    /// Entries found to be bad since the store was opened.
    pub corrupt_entries: AtomicU64,
    /// Buckets dropped whole.
    pub buckets_dropped: AtomicU64,
}

/// Up to 2^30: 1 GiB, or 18 minutes in µs.
const BUCKETS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_below_whose_bound_they_are() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, u64::MAX] {
            histogram.note(value);
        }
        let filled: Vec<(u64, u64)> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(1, 1), (2, 1), (4, 2), (8, 1), (1 << 31, 1)]);
        assert_eq!((histogram.count(), histogram.max(), histogram.last()), (6, u64::MAX, u64::MAX));
    }
}
