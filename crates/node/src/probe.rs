//! The promise, measured all the time: in every region one node publishes a stamped message a second, through the same
//! router as everybody's, and every node counts what arrives from each other region and how much of it within 250 ms.
//! Clocks of nodes are compared here: where they are apart, so is the result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farwire_wire::names::RESERVED_PREFIX;
use farwire_wire::{ChannelName, Entry, Filter, Pattern, PublisherId, RegionName};

use crate::fanout::Wake;
use crate::metrics::RegionLabel;
use crate::probed::TARGET;
use crate::shared::Shared;

/// One probe a second per region.
const EVERY: Duration = Duration::from_secs(1);

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
    shared.probed.received(region, entry.publisher, entry.number, latency_us);
}
