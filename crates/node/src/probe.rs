//! The promise, measured all the time: in every region one node publishes a stamped message a second, through the same
//! router as everybody's, and every node counts what arrives from each other region and how much of it within 250 ms.
//! Clocks of nodes are compared here: where they are apart, so is the result.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use farwire_wire::{ChannelName, Entry, Filter, Pattern, PublisherId, RegionName};

use crate::fanout::{Wake, lock};
use crate::metrics::RegionLabel;
use crate::node::Shared;
use crate::session::RESERVED_PREFIX;

/// One probe a second per region.
const EVERY: Duration = Duration::from_secs(1);
/// What the mesh is to achieve.
const TARGET: Duration = Duration::from_millis(250);
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
    latencies_us: std::collections::VecDeque<u64>,
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

/// Publishes and receives probes until dropped. Cancel safe.
pub(crate) async fn run(shared: Arc<Shared>) {
    let wake = Arc::new(Wake::default());
    let pattern = Pattern::parse(&format!("{RESERVED_PREFIX}probe.*")).expect("the probe's pattern is well formed");
    let mut cursor = shared.fanout.subscribe(&Filter::from(pattern), 1, &wake);
    let channel = format!("{RESERVED_PREFIX}probe.{}", shared.local.region);
    let channel = ChannelName::parse(&channel).expect("a region is a segment");
    let mut every = tokio::time::interval(EVERY);
    let mut count = 0;
    loop {
        tokio::select! {
            biased;
            _ = wake.ready() => {
                let mut stored = Vec::new();
                while !shared.fanout.read(&mut cursor, usize::MAX, &mut stored).drained {}
                for message in stored {
                    receive(&shared, message.entry);
                }
            }
            _ = every.tick() => {
                if owns(&shared, &channel) {
                    count += 1;
                    publish(&shared, &channel, count);
                }
            }
        }
    }
}

/// One node per region probes: the owner of its channel.
fn owns(shared: &Shared, channel: &ChannelName) -> bool {
    let routes = shared.topology.routes();
    let view = routes.view();
    let region = view.region_index(&shared.local.region);
    let owner = region.and_then(|region| routes.owner(region, shared.local.slot(channel)));
    owner.is_some_and(|owner| view.member(owner).name == shared.local.name)
}

fn publish(shared: &Shared, channel: &ChannelName, count: u64) {
    let session = shared.local.derive(&[b"probe", &shared.local.life.0.to_be_bytes()]);
    let entry = Entry {
        channel: channel.clone(),
        payload: Bytes::new(),
        publisher: PublisherId(shared.local.life.0),
        number: count,
        published_at_us: shared.local.clock.wall_us(),
        session,
        count,
        datagram: false,
    };
    let _not_in_the_ring_yet = shared.router.publish(entry);
}

fn receive(shared: &Shared, entry: Bytes) {
    let Ok(entry) = Entry::decode(entry) else { return };
    let region = entry.channel.as_str().rsplit('.').next().and_then(|name| RegionName::parse(name).ok());
    let Some(region) = region.filter(|region| *region != shared.local.region) else { return };
    let latency_us = shared.local.clock.wall_us().saturating_sub(entry.published_at_us);
    let label = RegionLabel { from: region.to_string() };
    shared.metrics.probe_received.get_or_create(&label).inc();
    if u128::from(latency_us) <= TARGET.as_micros() {
        shared.metrics.probe_within_target.get_or_create(&label).inc();
    }
    let mut regions = lock(&shared.probed.regions);
    let seen = regions.entry(region).or_default();
    // A publisher that counts from one again is another node, or another run.
    if seen.last_count > 0 && entry.number > seen.last_count {
        seen.missed += entry.number - seen.last_count - 1;
    }
    seen.last_count = entry.number;
    seen.latencies_us.push_back(latency_us);
    if seen.latencies_us.len() > KEPT {
        seen.latencies_us.pop_front();
    }
}

impl Probed {
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
