//! What arrived of the other regions' probes, and how late.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use farwire_wire::{PublisherId, RegionName};

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
    /// The latency of each probe; `None` for one that never came.
    probes: VecDeque<Option<u64>>,
    last: Option<(PublisherId, u64)>,
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
    /// Probes of those ten minutes that never came. What a node did not send since it was down is none.
    pub(crate) missed: usize,
    /// The share of all that arrived within 250 ms.
    pub(crate) within_250ms: f64,
    /// The median latency in microseconds.
    pub(crate) p50_us: u64,
    /// The 99th percentile in microseconds.
    pub(crate) p99_us: u64,
}

impl Probed {
    /// A probe of `region` has come, `number` by the count of `publisher`, which is another one in each run of a node.
    pub(crate) fn received(&self, region: RegionName, publisher: PublisherId, number: u64, latency_us: u64) {
        lock(&self.regions).entry(region).or_default().received(publisher, number, latency_us);
    }

    /// What arrived here of each region's probes.
    pub(crate) fn shares(&self, to: &RegionName) -> Vec<Share> {
        let regions = lock(&self.regions);
        regions.iter().map(|(from, seen)| seen.share(from, to)).collect()
    }
}

impl Seen {
    fn received(&mut self, publisher: PublisherId, number: u64, latency_us: u64) {
        // Each run of each node counts its own probes: only within one does a gap in the count mean a loss.
        let last = self.last.filter(|(last_publisher, _)| *last_publisher == publisher).map(|(_, number)| number);
        let missed = last.map_or(0, |last| number.saturating_sub(last + 1));
        let missed = usize::try_from(missed).unwrap_or(KEPT).min(KEPT);
        self.probes.extend(std::iter::repeat_n(None, missed));
        self.probes.push_back(Some(latency_us));
        self.probes.drain(..self.probes.len().saturating_sub(KEPT));
        self.last = Some((publisher, number));
    }

    fn share(&self, from: &RegionName, to: &RegionName) -> Share {
        let mut sorted: Vec<u64> = self.probes.iter().flatten().copied().collect();
        sorted.sort_unstable();
        let within = sorted.iter().filter(|us| u128::from(**us) <= TARGET.as_micros()).count();
        let at =
            |hundredths: usize| sorted.get(sorted.len() * hundredths / 100).or(sorted.last()).copied().unwrap_or(0);
        #[allow(clippy::cast_precision_loss, reason = "a share for people")]
        let within_250ms = within as f64 / (self.probes.len() as f64).max(1.0);
        Share {
            from: from.to_string(),
            to: to.to_string(),
            received: sorted.len(),
            missed: self.probes.len() - sorted.len(),
            within_250ms,
            p50_us: at(50),
            p99_us: at(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: PublisherId = PublisherId(1);

    fn share_of(probes: impl IntoIterator<Item = (PublisherId, u64, u64)>) -> Share {
        let mut seen = Seen::default();
        probes.into_iter().for_each(|(publisher, number, latency_us)| seen.received(publisher, number, latency_us));
        seen.share(&RegionName::parse("fra").unwrap(), &RegionName::parse("iad").unwrap())
    }

    #[test]
    fn a_probe_that_never_came_counts_against_the_share() {
        let share = share_of([(RUN, 1, 44_000), (RUN, 2, 45_000), (RUN, 4, 300_000)]);
        assert!((share.within_250ms - 0.5).abs() < f64::EPSILON);
        assert_eq!((share.p50_us, share.p99_us, share.received, share.missed), (45_000, 300_000, 3, 1));
    }

    #[test]
    fn another_run_or_another_node_counts_for_itself() {
        let other = PublisherId(2);
        let share = share_of([(RUN, 400, 1), (other, 1, 1), (other, 2, 1), (RUN, 500, 1), (PublisherId(3), 900, 1)]);
        assert_eq!((share.received, share.missed), (5, 0));
    }

    #[test]
    fn what_was_missed_is_forgotten_as_what_was_received() {
        let share =
            share_of([(RUN, 1, 1), (RUN, 100, 1)].into_iter().chain((101..=800).map(|number| (RUN, number, 1))));
        assert_eq!((share.received, share.missed), (KEPT, 0));
        let share = share_of([(RUN, 1, 1), (RUN, u64::MAX, 1)]);
        assert_eq!((share.received, share.missed), (1, KEPT - 1));
    }
}
