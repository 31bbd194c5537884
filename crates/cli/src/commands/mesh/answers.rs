//! What the admin endpoint answers, as far as the tables and the doctor look at it. Fields that are not shown are passed over, so that newer nodes can be asked too.

use serde::Deserialize;

use crate::commands::presence::Counts;

/// `/v1/mesh`.
#[derive(Debug, Deserialize)]
pub(crate) struct Mesh {
    pub(crate) mesh: String,
    /// 16 hex digits, equal where views are.
    pub(crate) view: String,
    /// The node that answers.
    pub(crate) node: String,
    pub(crate) members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) state: String,
    /// Empty until it has told.
    pub(crate) version: String,
    /// None without a link, 0 for the node that answers.
    pub(crate) rtt_ms: Option<f64>,
    /// Sessions.
    pub(crate) load: u32,
    pub(crate) in_ring: bool,
    /// Seen from the node that answers.
    pub(crate) reachable: bool,
    pub(crate) weight: u16,
    /// Empty until it has told.
    pub(crate) client: String,
}

/// `/v1/links`.
#[derive(Debug, Deserialize)]
pub(crate) struct Links {
    pub(crate) links: Vec<Link>,
}

/// One end of a link.
#[derive(Debug, Deserialize)]
pub(crate) struct Link {
    pub(crate) from: String,
    pub(crate) from_region: String,
    pub(crate) to: String,
    pub(crate) to_region: String,
    pub(crate) rtt_ms: f64,
    /// A share, 0 to 1.
    pub(crate) loss: f64,
    #[serde(default)]
    pub(crate) sent_packets: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

/// `/v1/ring`.
#[derive(Debug, Deserialize)]
pub(crate) struct Ring {
    pub(crate) view: String,
    pub(crate) slots: u16,
    pub(crate) shards: u16,
    pub(crate) regions: Vec<RingRegion>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RingRegion {
    pub(crate) region: String,
    pub(crate) nodes: Vec<RingNode>,
    /// Slots that no reachable node owns.
    pub(crate) unowned: u32,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RingNode {
    pub(crate) name: String,
    pub(crate) weight: u16,
    pub(crate) reachable: bool,
    /// How many it owns.
    pub(crate) slots: u32,
}

/// `/v1/channels`.
#[derive(Debug, Deserialize)]
pub(crate) struct Channels {
    /// The busiest first.
    pub(crate) channels: Vec<ChannelRow>,
    pub(crate) total: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ChannelRow {
    pub(crate) channel: String,
    pub(crate) per_second: f64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// `/v1/channels/{name}`.
#[derive(Debug, Deserialize)]
pub(crate) struct Channel {
    pub(crate) channel: String,
    pub(crate) slot: u16,
    pub(crate) shard: u16,
    /// None for the default one.
    pub(crate) namespace: Option<String>,
    pub(crate) log: bool,
    pub(crate) regions: Vec<ChannelRegion>,
    /// Who is there; none when the region's owner did not say.
    pub(crate) presence: Option<Counts>,
    /// Nodes that did not answer in time.
    pub(crate) unanswered: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ChannelRegion {
    pub(crate) region: String,
    /// None when nobody is reachable.
    pub(crate) owner: Option<String>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) per_second: f64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) node: String,
    pub(crate) subscriptions: usize,
}

/// `/v1/sessions`.
#[derive(Debug, Deserialize)]
pub(crate) struct Sessions {
    pub(crate) sessions: Vec<Session>,
    pub(crate) total: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Session {
    pub(crate) session: String,
    pub(crate) client_id: String,
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) agent: String,
    /// Microseconds since the Unix epoch.
    pub(crate) since: u64,
    pub(crate) rtt_ms: f64,
    pub(crate) subscriptions: usize,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
}

/// `/v1/slo`.
#[derive(Debug, Deserialize)]
pub(crate) struct Slo {
    pub(crate) pairs: Vec<Pair>,
}

/// The probes of one region in another.
#[derive(Debug, Deserialize)]
pub(crate) struct Pair {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) received: u64,
    pub(crate) missed: u64,
    /// A share, 0 to 1.
    pub(crate) within_250ms: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// A line of `/v1/events`.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    /// Microseconds since the Unix epoch.
    pub(crate) at: Option<u64>,
    #[serde(flatten)]
    pub(crate) event: Event,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
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
