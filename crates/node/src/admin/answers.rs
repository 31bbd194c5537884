//! What the admin endpoint answers, as types: the shapes are a contract that scripts rely on, and become the OpenAPI
//! description. Fields may be added, never renamed.

use std::collections::BTreeMap;

use farwire_wire::client::{ChannelPresence, RegionPresence};
use farwire_wire::{ChannelName, NodeName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use crate::events::Liveness;
pub(crate) use crate::probed::Share;

/// `/v1/mesh`: everybody who is known.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Mesh {
    /// The mesh's name.
    pub(crate) mesh: String,
    /// The digest of the view in force: 16 hex digits, equal where views are.
    pub(crate) view: String,
    /// The node that answers.
    pub(crate) node: String,
    pub(crate) members: Vec<MemberAnswer>,
}

/// One member.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberAnswer {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) state: Liveness,
    /// The release it runs; empty until it has told.
    pub(crate) version: String,
    /// Round trip of the link from the answering node; null without one, 0 for itself.
    pub(crate) rtt_ms: Option<f64>,
    /// Sessions on it.
    pub(crate) load: u32,
    /// Whether the ring has it.
    pub(crate) in_ring: bool,
    /// Whether the answering node reaches it.
    pub(crate) reachable: bool,
    pub(crate) weight: u16,
    /// `host:port` for clients; empty until it has told, and once it takes no more of them.
    pub(crate) client: String,
}

/// `/v1/node`: the node that answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeAnswer {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) mesh: String,
    pub(crate) mesh_id: String,
    /// This run: 16 hex digits.
    pub(crate) life: String,
    pub(crate) version: String,
    pub(crate) uptime_s: u64,
    pub(crate) client: String,
    pub(crate) peer: String,
    pub(crate) view: String,
    pub(crate) ready: bool,
    /// Why it is not ready; null when it is.
    pub(crate) unready: Option<String>,
    pub(crate) sessions: usize,
    pub(crate) subscriptions: i64,
    pub(crate) links: usize,
    /// Messages taken from publishers here.
    pub(crate) published: u64,
    /// Messages written to subscribers here.
    pub(crate) delivered: u64,
    /// Messages that subscribers here were too slow for.
    pub(crate) dropped: u64,
}

/// `/v1/ring`: who owns how much.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ring {
    pub(crate) view: String,
    pub(crate) slots: u16,
    pub(crate) shards: u16,
    pub(crate) regions: Vec<RingRegion>,
}

/// One region's ring.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RingRegion {
    pub(crate) region: String,
    pub(crate) nodes: Vec<RingNode>,
    /// Slots that no reachable node owns.
    pub(crate) unowned: usize,
}

/// One node's part of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RingNode {
    pub(crate) name: String,
    pub(crate) weight: u16,
    pub(crate) reachable: bool,
    /// Slots that it owns now.
    pub(crate) slots: usize,
}

/// `/v1/links`: every link of the mesh, from both of its ends.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Links {
    pub(crate) links: Vec<LinkAnswer>,
}

/// One end of a link; counts are since it came up.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinkAnswer {
    pub(crate) from: String,
    pub(crate) from_region: String,
    pub(crate) to: String,
    pub(crate) to_region: String,
    pub(crate) rtt_ms: f64,
    /// The share of sent packets that was lost.
    pub(crate) loss: f64,
    pub(crate) sent_packets: u64,
    pub(crate) lost_packets: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    /// The view that the other end acts on, as it last told: 16 hex digits; null until it has.
    pub(crate) view: Option<String>,
}

/// `/v1/channels`: the channels that were published to lately.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Channels {
    /// The busiest first, a thousand at most.
    pub(crate) channels: Vec<ChannelRow>,
    /// How many there are in all.
    pub(crate) total: usize,
}

/// One channel.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct ChannelRow {
    pub(crate) channel: String,
    /// Messages per second, in the region where the most were ordered.
    pub(crate) per_second: f64,
    /// Messages that the owner there has ordered.
    pub(crate) messages: u64,
    /// Their payload bytes.
    pub(crate) bytes: u64,
}

/// `/v1/channels/{name}`: one channel everywhere.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Channel {
    pub(crate) channel: String,
    pub(crate) slot: u16,
    pub(crate) shard: u16,
    /// The prefix of its namespace; null for the default one.
    pub(crate) namespace: Option<String>,
    /// Whether it is logged.
    pub(crate) log: bool,
    pub(crate) regions: Vec<ChannelRegion>,
    /// Who is there, as this region's owner knows it; null when it did not say.
    pub(crate) presence: Option<ChannelOccupancy>,
    /// Nodes that did not answer in time.
    pub(crate) unanswered: Vec<String>,
}

/// How many are present on a channel.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChannelOccupancy {
    /// Sessions, over the regions that can be reached.
    pub(crate) occupancy: u64,
    /// Distinct clients among them.
    pub(crate) clients: u64,
    pub(crate) regions: BTreeMap<String, RegionOccupancy>,
}

/// How many are present on a channel in one region.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegionOccupancy {
    /// Of a region that cannot be reached: what was last heard, which the sums leave out.
    pub(crate) occupancy: u64,
    /// Until when this is known to be right, in microseconds since the Unix epoch; null if nothing was ever heard.
    pub(crate) as_of: Option<u64>,
    pub(crate) reachable: bool,
}

/// One region's part of a channel.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChannelRegion {
    pub(crate) region: String,
    /// Who orders it there; null when nobody is reachable.
    pub(crate) owner: Option<String>,
    pub(crate) reachable: bool,
    /// Nodes of the region with subscriptions to it.
    pub(crate) attachments: Vec<Attachment>,
    /// What the owner has ordered.
    pub(crate) per_second: f64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// A node with subscriptions to a channel.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Attachment {
    pub(crate) node: String,
    pub(crate) subscriptions: usize,
}

/// What one node says of one channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChannelHere {
    pub(crate) node: NodeName,
    pub(crate) subscriptions: usize,
    pub(crate) ordered: Option<ChannelRow>,
}

/// `/v1/sessions`: every session of the mesh.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Sessions {
    /// A thousand a node at most.
    pub(crate) sessions: Vec<SessionAnswer>,
    /// How many there are in all.
    pub(crate) total: usize,
}

/// One session.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct SessionAnswer {
    pub(crate) session: String,
    pub(crate) client_id: String,
    pub(crate) node: String,
    pub(crate) region: String,
    /// Where the client is now.
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

/// `DELETE /v1/members/{name}`: a member that will not come back was forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForgottenAnswer {
    /// Who is no member any more.
    pub(crate) forgotten: String,
    /// The nodes that were told at once.
    pub(crate) told: Vec<String>,
    /// Members that cannot be reached now: they hear of it when they can be, for a day.
    pub(crate) later: Vec<String>,
}

/// `/v1/slo`: what share of the probes arrived within 250 ms.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Slo {
    pub(crate) pairs: Vec<Share>,
    /// Nodes that did not answer in time: what they received is not here.
    #[serde(default)]
    pub(crate) unanswered: Vec<String>,
}

impl Channels {
    /// Most rows in an answer.
    pub(crate) const ROWS_MAX: usize = 1_000;

    /// Puts the answers of several nodes together: a channel counts where it is busiest.
    pub(crate) fn merge(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut rows: BTreeMap<String, ChannelRow> = BTreeMap::new();
        for row in parts.into_iter().flat_map(|part| part.channels) {
            let known = rows.entry(row.channel.clone()).or_insert_with(|| row.clone());
            if row.messages > known.messages {
                *known = row;
            }
        }
        let total = rows.len();
        let mut channels: Vec<_> = rows.into_values().collect();
        channels.sort_by(|a, b| b.per_second.total_cmp(&a.per_second).then(b.messages.cmp(&a.messages)));
        channels.truncate(Self::ROWS_MAX);
        Self { channels, total }
    }
}

impl ChannelRow {
    pub(crate) fn new(channel: &ChannelName, rate: crate::rates::Rate, now: std::time::Duration) -> Self {
        let per_second = (rate.per_second(now) * 10.0).round() / 10.0;
        Self { channel: channel.to_string(), per_second, messages: rate.messages, bytes: rate.bytes }
    }
}

impl ChannelOccupancy {
    pub(crate) fn new(presence: &ChannelPresence) -> Self {
        let region = |region: &RegionPresence| {
            let RegionPresence { occupancy, as_of_us, reachable, .. } = *region;
            (region.region.to_string(), RegionOccupancy { occupancy, as_of: as_of_us, reachable })
        };
        Self {
            occupancy: presence.occupancy,
            clients: presence.clients,
            regions: presence.regions.iter().map(region).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_counts_once_where_it_is_busiest() {
        let row = |channel: &str, messages| ChannelRow { channel: channel.into(), per_second: 1.0, messages, bytes: 0 };
        let part = |rows: Vec<ChannelRow>| Channels { total: rows.len(), channels: rows };
        let merged = Channels::merge([part(vec![row("a", 5), row("b", 9)]), part(vec![row("a", 7)])]);
        let seen: Vec<_> = merged.channels.iter().map(|row| (row.channel.as_str(), row.messages)).collect();
        assert_eq!((seen, merged.total), (vec![("b", 9), ("a", 7)], 2));
    }
}
