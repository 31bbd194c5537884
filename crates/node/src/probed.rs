//! What arrived of the other regions' probes, and how late.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use farwire_wire::RegionName;

use crate::sync::lock;

/// What the mesh is to achieve.
pub(crate) const TARGET: Duration = Duration::from_millis(250);
/// Probes that are remembered per region for the share: ten minutes.
const KEPT: usize = 600;

/// What was seen of each region's probes.
#[derive(Debug, Default)]
pub(crate) struct Probed {
    regions: Mutex<BTreeMap<RegionName, Seen>>,
}

/// The probes of one region.
#[derive(Debug, Default, Clone)]
struct Seen {
    latencies_us: VecDeque<u64>,
    last_count: u64,
    missed: u64,
}

/// One region's part of the answer.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub(crate) struct Share {
    /// Where the probes came from.
    pub(crate) from: String,
    /// Where they arrived.
    pub(crate) to: String,
    /// Probes received, of the last ten minutes at most.
    pub(crate) received: usize,
    /// Probes that never came.
    pub(crate) missed: u64,
    /// The share of all that arrived within 250 ms.
    pub(crate) within_250ms: f64,
    /// The median latency in microseconds.
    pub(crate) p50_us: u64,
    /// The 99th percentile in microseconds.
    pub(crate) p99_us: u64,
}

impl Probed {
    /// A probe of `region` has come, `number` by its publisher's count.
    pub(crate) fn received(&self, region: RegionName, number: u64, latency_us: u64) {
        let mut regions = lock(&self.regions);
        let seen = regions.entry(region).or_default();
        // A publisher that counts from one again is another node, or another run.
        if seen.last_count > 0 && number > seen.last_count {
            seen.missed += number - seen.last_count - 1;
        }
        seen.last_count = number;
        seen.latencies_us.push_back(latency_us);
        if seen.latencies_us.len() > KEPT {
            seen.latencies_us.pop_front();
        }
    }

    /// What arrived here of each region's probes.
    pub(crate) fn shares(&self, to: &RegionName) -> Vec<Share> {
        let regions = lock(&self.regions);
        regions.iter().map(|(from, seen)| seen.share(from, to)).collect()
    }
}

impl Seen {
    fn share(&self, from: &RegionName, to: &RegionName) -> Share {
        let mut sorted: Vec<u64> = self.latencies_us.iter().copied().collect();
        sorted.sort_unstable();
        let within = sorted.iter().filter(|us| u128::from(**us) <= TARGET.as_micros()).count();
        let at =
            |hundredths: usize| sorted.get(sorted.len() * hundredths / 100).or(sorted.last()).copied().unwrap_or(0);
        #[allow(clippy::cast_precision_loss, reason = "a share for people")]
        let within_250ms = within as f64 / (sorted.len() as f64 + self.missed as f64).max(1.0);
        Share {
            from: from.to_string(),
            to: to.to_string(),
            received: sorted.len(),
            missed: self.missed,
            within_250ms,
            p50_us: at(50),
            p99_us: at(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_never_came_counts_against_the_share() {
        let seen = Seen { latencies_us: [44_000, 45_000, 300_000].into(), last_count: 4, missed: 1 };
        let share = seen.share(&RegionName::parse("fra").unwrap(), &RegionName::parse("iad").unwrap());
        assert!((share.within_250ms - 0.5).abs() < f64::EPSILON);
        assert_eq!((share.p50_us, share.p99_us), (45_000, 300_000));
    }
}
