//! Makes the admin endpoint's answers out of what the node knows, and, where the whole mesh is asked for, out of what
//! the other nodes answer over their links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use farwire_core::placement::Routes;
use farwire_wire::peer::{LinkState, PeerQuery};
use farwire_wire::{ChannelName, NodeName, RegionName, SLOTS, Shard, Slot};
use futures_util::future::join_all;

use super::answers::{
    Attachment, Channel, ChannelHere, ChannelOccupancy, ChannelRegion, ChannelRow, Channels, LinkAnswer, Links,
    MemberAnswer, Mesh, NodeAnswer, Ring, RingNode, RingRegion, SessionAnswer, Sessions, Slo,
};
use crate::peers::ask;
use crate::presence;
use crate::shared::Shared;

/// Most sessions that one node lists.
const SESSIONS_MAX: usize = 1_000;

pub(crate) fn mesh(shared: &Shared) -> Mesh {
    let routes = shared.topology.routes();
    let member = |status: &farwire_core::placement::MemberStatus| {
        let name = &status.member.name;
        let told = shared.directory.find(name).map(|listing| listing.state);
        let is_here = *name == shared.local.name;
        let link = shared.peers.find(name).and_then(|link| link.state()).map(|link| millis(link.rtt_us));
        MemberAnswer {
            name: name.to_string(),
            region: status.member.region.to_string(),
            state: status.state.into(),
            version: told.as_ref().map(|state| state.version.clone()).unwrap_or_default(),
            rtt_ms: if is_here { Some(0.0) } else { link },
            load: if is_here { sessions_count(shared) } else { told.as_ref().map_or(0, |state| state.sessions) },
            in_ring: status.in_ring,
            reachable: status.reachable,
            weight: status.member.weight,
            client: told.map(|state| state.client_address).unwrap_or_default(),
        }
    };
    Mesh {
        mesh: shared.local.mesh.name.to_string(),
        view: routes.view().digest().to_string(),
        node: shared.local.name.to_string(),
        members: shared.topology.members().iter().map(member).collect(),
    }
}

pub(crate) fn node(shared: &Shared) -> NodeAnswer {
    let unready = shared.unready();
    NodeAnswer {
        name: shared.local.name.to_string(),
        region: shared.local.region.to_string(),
        mesh: shared.local.mesh.name.to_string(),
        mesh_id: shared.local.mesh.id.to_string(),
        life: shared.local.life.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: shared.local.clock.now().as_secs(),
        client: shared.addresses.client.clone(),
        peer: shared.addresses.peer.to_string(),
        view: shared.topology.routes().view().digest().to_string(),
        ready: unready.is_none(),
        unready: unready.map(ToOwned::to_owned),
        sessions: shared.sessions.len(),
        subscriptions: shared.metrics.subscriptions.get(),
        links: shared.peers.all().len(),
        published: shared.metrics.published.get(),
        delivered: shared.metrics.delivered.get(),
        dropped: shared.metrics.dropped.get(),
    }
}

pub(crate) fn ring(shared: &Shared) -> Ring {
    let routes = shared.topology.routes();
    let view = routes.view();
    let regions = view.region_indexes().map(|region| {
        let mut owned: BTreeMap<&NodeName, usize> = BTreeMap::new();
        for owner in Slot::all().filter_map(|slot| routes.owner(region, slot)) {
            *owned.entry(&view.member(owner).name).or_default() += 1;
        }
        let name = &view.regions()[region.index()];
        let members = view.members().iter().filter(|member| member.region == *name);
        let nodes = members.map(|member| RingNode {
            name: member.name.to_string(),
            weight: member.weight,
            reachable: shared.topology.is_reachable(&member.name),
            slots: owned.get(&member.name).copied().unwrap_or(0),
        });
        let unowned = usize::from(SLOTS) - owned.values().sum::<usize>();
        RingRegion { region: name.to_string(), nodes: nodes.collect(), unowned }
    });
    Ring { view: view.digest().to_string(), slots: SLOTS, shards: view.shards(), regions: regions.collect() }
}

/// The links of every node: this one's as they are now, the others' as they told last.
pub(crate) fn links(shared: &Shared) -> Links {
    let members = shared.topology.members();
    let region_of = |name: &NodeName| -> String {
        let member = members.iter().find(|status| status.member.name == *name);
        member.map(|status| status.member.region.to_string()).unwrap_or_default()
    };
    let answer = |from: &NodeName, link: &LinkState| LinkAnswer {
        from: from.to_string(),
        from_region: region_of(from),
        to: link.peer.to_string(),
        to_region: region_of(&link.peer),
        rtt_ms: millis(link.rtt_us),
        loss: share(link.lost_packets, link.sent_packets),
        sent_packets: link.sent_packets,
        lost_packets: link.lost_packets,
        sent_bytes: link.sent_bytes,
        received_bytes: link.received_bytes,
        view: link.view.map(|view| view.to_string()),
    };
    let mut links = Vec::new();
    for status in members.iter().filter(|status| status.reachable) {
        let name = &status.member.name;
        if *name == shared.local.name {
            links.extend(shared.peers.all().iter().filter_map(|link| link.state()).map(|link| answer(name, &link)));
        } else if let Some(listing) = shared.directory.find(name) {
            links.extend(listing.state.links.iter().map(|link| answer(name, link)));
        }
    }
    Links { links }
}

pub(crate) async fn channels(shared: &Shared) -> Channels {
    let (theirs, _unanswered) = ask_all(shared, &PeerQuery::Channels).await;
    Channels::merge(theirs.into_iter().chain([channels_here(shared)]))
}

fn channels_here(shared: &Shared) -> Channels {
    let now = shared.local.clock.now();
    let mut rows = Vec::new();
    for shard in (0..shared.local.mesh.shards).map(Shard) {
        let state = shared.fanout.shard(shard);
        let visible = state.rates.iter().filter(|(channel, _)| !channel.is_reserved());
        rows.extend(visible.map(|(channel, rate)| ChannelRow::new(channel, *rate, now)));
    }
    Channels::merge([Channels { total: rows.len(), channels: rows }])
}

pub(crate) async fn channel(shared: &Shared, channel: &ChannelName) -> Channel {
    let query = PeerQuery::Channel(channel.clone());
    let (asked, present) =
        tokio::join!(ask_all::<ChannelHere>(shared, &query), presence::query(shared, vec![channel.clone()], false),);
    let (mut here, unanswered) = asked;
    here.push(channel_here(shared, channel));
    let slot = shared.local.slot(channel);
    let namespace = shared.config.namespaces.of(channel);
    let routes = shared.topology.routes();
    let regions = routes.view().regions().iter().map(|region| channel_region(&routes, region, slot, &here));
    Channel {
        channel: channel.to_string(),
        slot: slot.number(),
        shard: shared.local.shard(slot).0,
        namespace: namespace.prefix.as_ref().map(ToString::to_string),
        log: namespace.log,
        regions: regions.collect(),
        presence: present.ok().and_then(|frames| Some(ChannelOccupancy::new(frames.first()?.channels.first()?))),
        unanswered: unanswered.iter().map(ToString::to_string).collect(),
    }
}

fn channel_region(routes: &Routes, region: &RegionName, slot: Slot, here: &[ChannelHere]) -> ChannelRegion {
    let view = routes.view();
    let owner = view.region_index(region).and_then(|index| routes.owner(index, slot)).map(|owner| view.member(owner));
    let of_region = |node: &NodeName| view.members().iter().any(|m| m.name == *node && m.region == *region);
    let attached = here.iter().filter(|part| part.subscriptions > 0 && of_region(&part.node));
    let attachments =
        attached.map(|part| Attachment { node: part.node.to_string(), subscriptions: part.subscriptions });
    let of_owner = here.iter().find(|part| owner.is_some_and(|owner| owner.name == part.node));
    let ordered = of_owner.and_then(|part| part.ordered.as_ref());
    ChannelRegion {
        region: region.to_string(),
        owner: owner.map(|owner| owner.name.to_string()),
        reachable: owner.is_some(),
        attachments: attachments.collect(),
        per_second: ordered.map_or(0.0, |row| row.per_second),
        messages: ordered.map_or(0, |row| row.messages),
        bytes: ordered.map_or(0, |row| row.bytes),
    }
}

fn channel_here(shared: &Shared, channel: &ChannelName) -> ChannelHere {
    let shard = shared.local.shard(shared.local.slot(channel));
    let rate = shared.fanout.shard(shard).rates.of(channel);
    ChannelHere {
        node: shared.local.name.clone(),
        subscriptions: shared.fanout.subscribers(channel),
        ordered: rate.map(|rate| ChannelRow::new(channel, rate, shared.local.clock.now())),
    }
}

pub(crate) async fn sessions(shared: &Shared) -> Sessions {
    let (theirs, _unanswered) = ask_all::<Sessions>(shared, &PeerQuery::Sessions).await;
    let mut all = sessions_here(shared);
    for part in theirs {
        all.total += part.total;
        all.sessions.extend(part.sessions);
    }
    all
}

fn sessions_here(shared: &Shared) -> Sessions {
    let open = shared.sessions.all();
    let answer = |session: &Arc<crate::sessions::Session>| SessionAnswer {
        session: session.id.to_string(),
        client_id: session.client_id.to_string(),
        node: shared.local.name.to_string(),
        region: shared.local.region.to_string(),
        address: session.connection.remote_address().to_string(),
        agent: session.agent.clone(),
        since: session.since_us,
        rtt_ms: session.connection.path_stats().rtt.as_secs_f64() * 1_000.0,
        subscriptions: session.subscriptions.load(Ordering::Relaxed),
        published: session.published.load(Ordering::Relaxed),
        delivered: session.delivered.load(Ordering::Relaxed),
        dropped: session.dropped.load(Ordering::Relaxed),
    };
    Sessions { total: open.len(), sessions: open.iter().take(SESSIONS_MAX).map(answer).collect() }
}

pub(crate) async fn slo(shared: &Shared) -> Slo {
    let (theirs, unanswered) = ask_all::<Slo>(shared, &PeerQuery::Slo).await;
    let mut pairs = shared.probed.shares(&shared.local.region);
    pairs.extend(theirs.into_iter().flat_map(|part| part.pairs));
    // Several nodes of a region answer for one pair: the worst counts.
    pairs.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)).then(a.within_250ms.total_cmp(&b.within_250ms)));
    pairs.dedup_by(|a, b| (&a.from, &a.to) == (&b.from, &b.to));
    Slo { pairs, unanswered: unanswered.iter().map(ToString::to_string).collect() }
}

/// This node's part of an answer, for a peer that asks.
pub(crate) fn local_answer(shared: &Shared, query: &PeerQuery) -> Bytes {
    let json = match query {
        PeerQuery::Channels => serde_json::to_vec(&channels_here(shared)),
        PeerQuery::Channel(channel) => serde_json::to_vec(&channel_here(shared, channel)),
        PeerQuery::Sessions => serde_json::to_vec(&sessions_here(shared)),
        // Answered in frames, by `presence`.
        PeerQuery::Presence { .. } | PeerQuery::Where(_) => Ok(Vec::new()),
        PeerQuery::Slo => {
            serde_json::to_vec(&Slo { pairs: shared.probed.shares(&shared.local.region), unanswered: Vec::new() })
        }
    };
    json.expect("an answer has only string keys").into()
}

/// Asks every linked peer at once; those that do not answer in time are named.
async fn ask_all<T: serde::de::DeserializeOwned>(shared: &Shared, query: &PeerQuery) -> (Vec<T>, Vec<NodeName>) {
    let links = shared.peers.all();
    let asked = links.iter().map(|link| async {
        let answer = ask(link, query).await.ok()?;
        serde_json::from_slice(&answer).ok()
    });
    let (mut answers, mut unanswered) = (Vec::new(), Vec::new());
    for (answer, link) in join_all(asked).await.into_iter().zip(&links) {
        match answer {
            Some(answer) => answers.push(answer),
            None => unanswered.push(link.node.clone()),
        }
    }
    (answers, unanswered)
}

fn sessions_count(shared: &Shared) -> u32 {
    u32::try_from(shared.sessions.len()).unwrap_or(u32::MAX)
}

fn millis(us: u32) -> f64 {
    f64::from(us) / 1_000.0
}

fn share(part: u64, whole: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    let share = part as f64 / (whole.max(1)) as f64;
    share
}
