//! How each answer looks to people: text that ends with a line break. Pure: no clock, no output.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::answers::{Channel, Channels, Link, Links, Member, Mesh, Ring, Sessions, Slo};
use crate::table::Column::{Left, Right};
use crate::table::{Table, marked};
use crate::units::{NONE, bytes, count, date, micros, millis, percent, rate, shown};

/// The mesh at a glance: its members, and the worst link between each two regions.
pub(super) fn summary(mesh: &Mesh, links: &Links) -> String {
    let mut table =
        Table::new([Left("  NAME"), Left("REGION"), Left("STATE"), Right("RTT"), Right("SESSIONS"), Left("VERSION")]);
    for member in sorted(mesh) {
        let load = member.load.to_string();
        let [name, state, rtt] = [marked_name(member), state(member), rtt(member)];
        table.row([name, member.region.clone(), state, rtt, load, or_none(&member.version)]);
    }
    format!("{}{}\n{}", heading(mesh), table.render(), worst_links(mesh, links))
}

/// Everything about the members.
pub(super) fn nodes(mesh: &Mesh) -> String {
    let mut table = Table::new([
        Left("  NAME"),
        Left("REGION"),
        Left("STATE"),
        Left("IN RING"),
        Right("WEIGHT"),
        Right("RTT"),
        Right("SESSIONS"),
        Left("VERSION"),
        Left("CLIENTS AT"),
    ]);
    for member in sorted(mesh) {
        table.row([
            marked_name(member),
            member.region.clone(),
            state(member),
            yes_no(member.in_ring),
            member.weight.to_string(),
            rtt(member),
            member.load.to_string(),
            or_none(&member.version),
            or_none(&member.client),
        ]);
    }
    heading(mesh) + &table.render()
}

/// Every link, from both of its ends.
pub(super) fn links(mut answer: Links) -> String {
    if answer.links.is_empty() {
        return "no links: the node that answers is alone, or reaches nobody\n".to_owned();
    }
    answer.links.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    let mut table =
        Table::new([Left("FROM"), Left("TO"), Right("RTT"), Right("LOSS"), Right("SENT"), Right("RECEIVED")]);
    for link in answer.links {
        let (sent, received) = (bytes(link.sent_bytes), bytes(link.received_bytes));
        table.row([link.from, link.to, millis(link.rtt_ms), percent(link.loss), sent, received]);
    }
    table.render()
}

/// Who owns how much, in each region.
pub(super) fn ring(answer: &Ring) -> String {
    let share = |slots: u32| percent(f64::from(slots) / f64::from(answer.slots.max(1)));
    let mut table =
        Table::new([Left("REGION"), Left("  NODE"), Right("SLOTS"), Right("SHARE"), Right("WEIGHT"), Left("STATE")]);
    for region in &answer.regions {
        let mut nodes: Vec<_> = region.nodes.iter().collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        for node in nodes {
            let state = if node.reachable { "reachable" } else { "unreachable" }.to_owned();
            let [name, region] = [marked(&node.name, node.reachable), region.region.clone()];
            table.row([region, name, node.slots.to_string(), share(node.slots), node.weight.to_string(), state]);
        }
        if region.unowned > 0 {
            let [name, none] = [marked("nobody", false), NONE.to_owned()];
            let slots = region.unowned.to_string();
            table.row([region.region.clone(), name, slots, share(region.unowned), none.clone(), none]);
        }
    }
    let view = shown(&answer.view);
    let (slots, shards) = (count(answer.slots.into(), "slot"), count(answer.shards.into(), "shard"));
    format!("ring of view {view}: {slots}, {shards}\n\n{}", table.render())
}

/// The busiest channels.
pub(super) fn channels(answer: &Channels) -> String {
    if answer.channels.is_empty() {
        return "no channel was published to lately\n".to_owned();
    }
    let mut table = Table::new([Left("CHANNEL"), Right("RATE"), Right("MESSAGES"), Right("BYTES")]);
    let shown = answer.channels.iter().take(CHANNELS_SHOWN_MAX);
    for row in shown.clone() {
        table.row([row.channel.clone(), rate(row.per_second), row.messages.to_string(), bytes(row.bytes)]);
    }
    table.render() + &rest(shown.len(), answer.total, "channel", "; --json lists more of them")
}

/// One channel everywhere. `now_us` is in microseconds since the Unix epoch.
pub(super) fn channel(answer: &Channel, now_us: u64) -> String {
    let namespace = answer.namespace.as_deref().map_or_else(|| "the default one".to_owned(), shown);
    let logged = if answer.log { "yes" } else { "no: volatile" };
    let mut table = Table::new([
        Left("REGION"),
        Left("OWNER"),
        Right("RATE"),
        Right("MESSAGES"),
        Right("BYTES"),
        Left("ATTACHED (SUBSCRIPTIONS)"),
    ]);
    for part in &answer.regions {
        let mut attached: Vec<String> =
            part.attachments.iter().map(|at| format!("{} ({})", at.node, at.subscriptions)).collect();
        attached.sort();
        let owner = part.owner.clone().unwrap_or_else(|| "! nobody reachable".to_owned());
        let (messages, attached) = (part.messages.to_string(), or_none(&attached.join(", ")));
        table.row([part.region.clone(), owner, rate(part.per_second), messages, bytes(part.bytes), attached]);
    }
    let channel = shown(&answer.channel);
    let (slot, shard) = (answer.slot, answer.shard);
    let (present, who) = match &answer.presence {
        Some(counts) => (counts.summary(), format!("\n{}", counts.table(now_us))),
        None => ("! unknown: the owner in this region did not say".to_owned(), String::new()),
    };
    let head = format!("channel    {channel}\nslot       {slot}\nshard      {shard}\n");
    let head = format!("{head}namespace  {namespace}\nlogged     {logged}\npresent    {present}\n");
    format!("{head}\n{}{who}{}", table.render(), unanswered(&answer.unanswered))
}

/// Every session.
pub(super) fn sessions(mut answer: Sessions) -> String {
    if answer.sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    answer.sessions.sort_by(|a, b| (&a.node, &a.client_id, a.since).cmp(&(&b.node, &b.client_id, b.since)));
    let (listed, total) = (answer.sessions.len(), answer.total);
    let mut table = Table::new([
        Left("NODE"),
        Left("CLIENT"),
        Left("ADDRESS"),
        Right("RTT"),
        Right("SUBSCRIPTIONS"),
        Right("PUBLISHED"),
        Right("DELIVERED"),
        Right("DROPPED"),
        Left("SINCE (UTC)"),
        Left("AGENT"),
        Left("SESSION"),
    ]);
    for session in answer.sessions {
        table.row([
            session.node,
            session.client_id,
            session.address,
            millis(session.rtt_ms),
            session.subscriptions.to_string(),
            session.published.to_string(),
            session.delivered.to_string(),
            session.dropped.to_string(),
            date(session.since),
            or_none(&session.agent),
            session.session,
        ]);
    }
    table.render() + &rest(listed, total, "session", "")
}

/// What share of the probes came in time, for each two regions.
pub(super) fn slo(mut answer: Slo) -> String {
    if answer.pairs.is_empty() {
        return "no probe has arrived yet: a mesh with one region has none, others send one a second\n".to_owned();
    }
    answer.pairs.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    let mut table = Table::new([
        Left("FROM"),
        Left("TO"),
        Right("WITHIN 250 MS"),
        Right("P50"),
        Right("P99"),
        Right("RECEIVED"),
        Right("MISSED"),
    ]);
    for pair in answer.pairs {
        let (p50, p99) = (micros(pair.p50_us), micros(pair.p99_us));
        let (received, missed) = (pair.received.to_string(), pair.missed.to_string());
        table.row([pair.from, pair.to, percent(pair.within_250ms), p50, p99, received, missed]);
    }
    table.render()
}

fn heading(mesh: &Mesh) -> String {
    let members = mesh.members.len();
    let out_of_reach: Vec<String> =
        sorted(mesh).into_iter().filter(|member| !member.reachable).map(|member| shown(&member.name)).collect();
    let reach = match out_of_reach.len() {
        0 => count(members, "member"),
        _ => format!("{}, ! unreachable: {}", count(members, "member"), out_of_reach.join(", ")),
    };
    let [name, view, node] = [&mesh.mesh, &mesh.view, &mesh.node].map(|text| shown(text));
    format!("mesh {name}, view {view}, as {node} sees it: {reach}\n\n")
}

fn sorted(mesh: &Mesh) -> Vec<&Member> {
    let mut members: Vec<_> = mesh.members.iter().collect();
    members.sort_by(|a, b| (&a.region, &a.name).cmp(&(&b.region, &b.name)));
    members
}

/// For each two regions, and within each that has several nodes, the link that is worst off: by loss in whole percent, then by round trip.
fn worst_links(mesh: &Mesh, links: &Links) -> String {
    let mut pairs: BTreeMap<(&str, &str), Vec<&Link>> = BTreeMap::new();
    let regions: BTreeSet<&str> = mesh.members.iter().map(|member| member.region.as_str()).collect();
    for from in &regions {
        pairs.extend(regions.range::<&str, _>(from..).filter(|to| *to != from).map(|to| ((*from, *to), Vec::new())));
    }
    for link in &links.links {
        let (a, b) = (link.from_region.as_str(), link.to_region.as_str());
        pairs.entry((a.min(b), a.max(b))).or_default().push(link);
    }
    if pairs.is_empty() {
        return "no links: the mesh has one node\n".to_owned();
    }
    let mut table = Table::new([Left("REGIONS"), Left("WORST LINK"), Right("RTT"), Right("LOSS")]);
    for ((a, b), between) in pairs {
        let regions = if a == b { format!("within {a}") } else { format!("{a} - {b}") };
        let badness = |link: &Link| ((link.loss * 100.0).floor(), link.rtt_ms);
        let compare = |x: &&Link, y: &&Link| badness(x).partial_cmp(&badness(y)).unwrap_or(Ordering::Equal);
        let worst = between.into_iter().max_by(compare);
        match worst {
            Some(link) => {
                let ends = format!("{} - {}", link.from, link.to);
                table.row([regions, ends, millis(link.rtt_ms), percent(link.loss)]);
            }
            None => table.row([regions, "! none".to_owned(), NONE.to_owned(), NONE.to_owned()]),
        }
    }
    table.render()
}

fn marked_name(member: &Member) -> String {
    marked(&member.name, member.reachable)
}

fn state(member: &Member) -> String {
    if member.reachable { member.state.clone() } else { format!("{}, unreachable", member.state) }
}

fn rtt(member: &Member) -> String {
    member.rtt_ms.map_or_else(|| NONE.to_owned(), millis)
}

fn or_none(text: &str) -> String {
    if text.is_empty() { NONE } else { text }.to_owned()
}

fn yes_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn rest(listed: usize, total: usize, one: &str, remedy: &str) -> String {
    match total.saturating_sub(listed) {
        0 => String::new(),
        more => format!("\nand {more} more of {}{remedy}\n", count(total, one)),
    }
}

fn unanswered(nodes: &[String]) -> String {
    if nodes.is_empty() {
        return String::new();
    }
    format!("\n! did not answer in time, and are missing above: {}\n", shown(&nodes.join(", ")))
}

/// About a screen of them.
const CHANNELS_SHOWN_MAX: usize = 50;

#[cfg(test)]
mod tests;
