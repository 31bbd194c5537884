//! The node's counters, in Prometheus' words. A channel is never a label: clients choose channels.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::queue::{Meter, QueueName};

/// Labels of a link's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PeerLabel {
    /// The other end.
    pub(crate) peer: String,
}

/// Labels of a certificate's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RoleLabel {
    /// `client` or `peer`.
    pub(crate) role: String,
}

/// Labels of the probe's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RegionLabel {
    /// Where the probe came from.
    pub(crate) from: String,
}

/// Labels of a queue's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct QueueLabel {
    /// Its name.
    pub(crate) queue: &'static str,
}

/// Labels of the watchdog's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WatchedLabel {
    /// A loop or a worker of the runtime.
    pub(crate) watched: String,
}

macro_rules! histogram {
    ($(#[$doc:meta])* $name:ident, $buckets:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name(Histogram);

        impl Default for $name {
            fn default() -> Self {
                Self(Histogram::new($buckets))
            }
        }

        impl $name {
            pub(crate) fn observe(&self, value: f64) {
                self.0.observe(value);
            }
        }

        impl EncodeMetric for $name {
            fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
                self.0.encode(encoder)
            }

            fn metric_type(&self) -> MetricType {
                self.0.metric_type()
            }
        }
    };
}

histogram!(
    /// How many things something was about.
    Sizes,
    [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0]
);
histogram!(
    /// Seconds that something took.
    Lags,
    [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]
);

macro_rules! metrics {
    ($($field:ident: $type:ty, $name:literal, $help:literal;)*) => {
        /// Every metric of a node.
        #[derive(Debug)]
        pub(crate) struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub(crate) $field: $type,)*
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("farwire");
                $(let $field = <$type>::default(); registry.register($name, $help, $field.clone());)*
                let metrics = Self { registry, $($field,)* };
                // Also those that nothing uses yet, so that a page without a queue means that there is none.
                for name in QueueName::ALL {
                    metrics.queue(*name);
                }
                metrics
            }
        }
    };
}

metrics! {
    published: Counter, "published_messages", "Messages taken from publishers on this node";
    delivered: Counter, "delivered_messages", "Messages written to subscribers on this node";
    delivered_bytes: Counter, "delivered_bytes", "Bytes of delivery frames written to subscribers";
    dropped: Counter, "dropped_messages", "Volatile messages that subscribers were too slow for";
    duplicates: Counter, "duplicate_messages", "Volatile messages not above the last of their publisher session and slot";
    undeliverable: Counter, "undeliverable_messages", "Messages of peers for which no owner could be reached";
    link_messages: Counter, "link_messages", "Messages written to links";
    link_batches: Counter, "link_batches", "Frames that they were written in";
    relayed: Counter, "relayed_messages", "Messages passed on for peers without a link to the receiver";
    link_shed: Counter, "link_shed_messages", "Messages shed because a link's queue was full or the link down";
    view_mismatches: Counter, "view_mismatches", "Batches of peers that were sent under another view";
    malformed: Counter, "malformed_entries", "Entries of peers that did not decode";
    publishes_over_limit: Counter, "publishes_over_limit", "Publishes refused because too many of their session waited for answers";
    sessions: Gauge, "sessions", "Sessions now";
    sessions_opened: Counter, "sessions_opened", "Sessions since the node started";
    sessions_refused: Counter, "sessions_refused", "Connections that did not become sessions";
    entry_lists: Counter, "entry_lists", "Lists of entry points sent to sessions because they had changed";
    proofs_asked: Counter, "address_proofs_asked", "Connections that were asked to prove their address first (QUIC Retry)";
    subscriptions: Gauge, "subscriptions", "Subscriptions now";
    links: Gauge, "links", "Links to peers that are up";
    link_rtt_us: Family<PeerLabel, Gauge>, "link_rtt_microseconds", "Smoothed round trip of a link";
    link_queue_bytes: Family<PeerLabel, Gauge>, "link_queue_bytes", "Bytes that wait for a link";
    queue_depth: Family<QueueLabel, Gauge>, "queue_depth", "Items that wait in the queues of a name now";
    queue_shed: Family<QueueLabel, Counter>, "queue_shed", "Items that queues of a name dropped because they were full";
    watchdog_late: Family<WatchedLabel, Gauge>, "watchdog_late_milliseconds", "How late the next sign of life of a loop is";
    watchdog_stalls: Family<WatchedLabel, Counter>, "watchdog_stalls", "Times that a loop was late enough for a warning";
    members: Gauge, "members", "Members known, this node included";
    swim_shed: Counter, "swim_shed_messages", "Membership messages dropped because a peer's queue was full or late";
    certificate_expiry_seconds: Family<RoleLabel, Gauge>, "certificate_expiry_seconds", "Seconds until a certificate expires";
    presence_occupancy: Gauge, "presence_occupancy", "Stays of this node's sessions on channels now";
    presence_channels: Gauge, "presence_channels", "Channels whose presence this node answers for now";
    presence_events: Counter, "presence_events", "Events of presence told to this region's subscribers";
    presence_unsent: Counter, "presence_unsent", "News of presence for peers that could not be queued";
    presence_merge_occupants: Sizes, "presence_merge_occupants", "Stays that news of a peer touched";
    presence_lag: Lags, "presence_lag_seconds", "From what a client did at another node to its arrival here, by both clocks";
    probe_received: Family<RegionLabel, Counter>, "probe_received", "Probes of another region received";
    probe_within_target: Family<RegionLabel, Counter>, "probe_within_250ms", "Probes received within 250 ms";
}

impl Metrics {
    /// How late a loop is, and how often it was.
    pub(crate) fn of_loop(&self, name: &str) -> (Gauge, Counter) {
        let label = WatchedLabel { watched: name.to_owned() };
        let late = self.watchdog_late.get_or_create(&label).clone();
        (late, self.watchdog_stalls.get_or_create(&label).clone())
    }

    /// The meter of the queues of a name.
    pub(crate) fn queue(&self, name: QueueName) -> Meter {
        let label = QueueLabel { queue: name.as_str() };
        Meter::new(self.queue_depth.get_or_create(&label).clone(), self.queue_shed.get_or_create(&label).clone())
    }

    /// The page that Prometheus reads.
    pub(crate) fn page(&self) -> String {
        let mut page = String::new();
        encode(&mut page, &self.registry).expect("writing to a string does not fail");
        page
    }
}
