//! What the admin endpoint answers, as far as the tables show it. Fields that are not shown are passed over, so that newer nodes can be asked too.

use serde::Deserialize;

/// `/v1/mesh`.
#[derive(Debug, Deserialize)]
pub(super) struct Mesh {
    pub(super) mesh: String,
    /// 16 hex digits, equal where views are.
    pub(super) view: String,
    /// The node that answers.
    pub(super) node: String,
    pub(super) members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) region: String,
    pub(super) state: String,
    /// Empty until it has told.
    pub(super) version: String,
    /// None without a link, 0 for the node that answers.
    pub(super) rtt_ms: Option<f64>,
    /// Sessions.
    pub(super) load: u32,
    pub(super) in_ring: bool,
    /// Seen from the node that answers.
    pub(super) reachable: bool,
    pub(super) weight: u16,
    /// Empty until it has told.
    pub(super) client: String,
}

/// `/v1/links`.
#[derive(Debug, Deserialize)]
pub(super) struct Links {
    pub(super) links: Vec<Link>,
}

/// One end of a link.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) from: String,
    pub(super) from_region: String,
    pub(super) to: String,
    pub(super) to_region: String,
    pub(super) rtt_ms: f64,
    /// A share, 0 to 1.
    pub(super) loss: f64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

/// `/v1/ring`.
#[derive(Debug, Deserialize)]
pub(super) struct Ring {
    pub(super) view: String,
    pub(super) slots: u16,
    pub(super) shards: u16,
    pub(super) regions: Vec<RingRegion>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RingRegion {
    pub(super) region: String,
    pub(super) nodes: Vec<RingNode>,
    /// Slots that no reachable node owns.
    pub(super) unowned: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct RingNode {
    pub(super) name: String,
    pub(super) weight: u16,
    pub(super) reachable: bool,
    /// How many it owns.
    pub(super) slots: u32,
}

/// `/v1/channels`.
#[derive(Debug, Deserialize)]
pub(super) struct Channels {
    /// The busiest first.
    pub(super) channels: Vec<ChannelRow>,
    pub(super) total: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChannelRow {
    pub(super) channel: String,
    pub(super) per_second: f64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// `/v1/channels/{name}`.
#[derive(Debug, Deserialize)]
pub(super) struct Channel {
    pub(super) channel: String,
    pub(super) slot: u16,
    pub(super) shard: u16,
    /// None for the default one.
    pub(super) namespace: Option<String>,
    pub(super) log: bool,
    pub(super) regions: Vec<ChannelRegion>,
    /// Nodes that did not answer in time.
    pub(super) unanswered: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChannelRegion {
    pub(super) region: String,
    /// None when nobody is reachable.
    pub(super) owner: Option<String>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) per_second: f64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Attachment {
    pub(super) node: String,
    pub(super) subscriptions: usize,
}

/// `/v1/sessions`.
#[derive(Debug, Deserialize)]
pub(super) struct Sessions {
    pub(super) sessions: Vec<Session>,
    pub(super) total: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Session {
    pub(super) session: String,
    pub(super) client_id: String,
    pub(super) node: String,
    pub(super) address: String,
    pub(super) agent: String,
    /// Microseconds since the Unix epoch.
    pub(super) since: u64,
    pub(super) rtt_ms: f64,
    pub(super) subscriptions: usize,
    pub(super) published: u64,
    pub(super) delivered: u64,
    pub(super) dropped: u64,
}

/// `/v1/slo`.
#[derive(Debug, Deserialize)]
pub(super) struct Slo {
    pub(super) pairs: Vec<Pair>,
}

/// The probes of one region in another.
#[derive(Debug, Deserialize)]
pub(super) struct Pair {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) received: u64,
    pub(super) missed: u64,
    /// A share, 0 to 1.
    pub(super) within_250ms: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

/// A line of `/v1/events`.
#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    /// Microseconds since the Unix epoch.
    pub(super) at: Option<u64>,
    #[serde(flatten)]
    pub(super) event: Event,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event {
    Member {
        name: String,
        from: Option<String>,
        to: Option<String>,
    },
    Ring {
        view: String,
    },
    Session {
        session: String,
        client_id: String,
        open: bool,
    },
    /// This watcher was too slow for so many events.
    Missed {
        count: u64,
    },
}
