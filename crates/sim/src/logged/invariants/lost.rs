//! I1: nothing acked is lost. Each acked message is served at the end by every node that was drained, and lies in the dump
//! of every replica of its log, unless retention removed it there. What is missing is told per node and origin, and
//! whether it is the prefix (below all that is there), the suffix (above it) or the middle; and once more when no
//! node at all has it. A history with acks and no drained node proves nothing and is a violation itself.
//!
//! An ack that says `synced = false` promises less: it is forgiven when afterwards as many nodes as it names copies had
//! lost what they had not synced, and none of them was up again before the last of them went down.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::logged::event::{Ack, Event, Hex, Name, Publish};
use crate::logged::run::Run;

pub(super) fn violations(run: &Run) -> Vec<String> {
    let acked = Acked::of(run);
    let drained: BTreeSet<Name> = run
        .records
        .iter()
        .filter_map(|record| match record.event {
            Event::Drained { node } => Some(node),
            _ => None,
        })
        .collect();
    if drained.is_empty() && !acked.of_origin.is_empty() {
        return vec!["I1 unproven: messages were acked, and no node was drained at the end".to_owned()];
    }
    let mut found = Vec::new();
    let mut nowhere: Option<HashSet<Publish>> = None;
    for node in drained {
        let served = seen_at(run, |event| match event {
            Event::Served { node: at, entry } if *at == node => Some((entry.publish, entry.place.position)),
            _ => None,
        });
        let missing = acked.missing(run, node, "serve", &served, &mut found);
        nowhere = Some(nowhere.map_or(missing.clone(), |nowhere| nowhere.intersection(&missing).copied().collect()));
    }
    for (node, origins) in replicas(run) {
        let stored = seen_at(run, |event| match event {
            Event::Stored { node: at, entry } if *at == node => Some((entry.publish, entry.place.position)),
            _ => None,
        });
        acked.only(&origins).missing(run, node, "store", &stored, &mut found);
    }
    let nowhere = nowhere.unwrap_or_default();
    if let Some(first) = nowhere.iter().min() {
        found.push(format!("I1 lost: {} acked messages are on no node, the first is {first}", nowhere.len()));
    }
    found
}

/// The acked messages that must be there, by origin, with their positions where these are known.
struct Acked {
    of_origin: BTreeMap<Hex, BTreeMap<Publish, Option<u64>>>,
}

impl Acked {
    fn of(run: &Run) -> Self {
        let outages = Outages::of(run);
        let mut places = HashMap::new();
        let mut acks: Vec<&Ack> = Vec::new();
        for record in run.records {
            if let Event::Acked(ack) = &record.event
                && (ack.synced || outages.at_most_after(record.at_ns) < ack.copies as usize)
            {
                acks.push(ack);
            }
            if let Some((_, entry)) = record.event.seen() {
                places.entry(entry.publish).or_insert(entry.place.position);
            }
        }
        let mut of_origin: BTreeMap<Hex, BTreeMap<Publish, Option<u64>>> = BTreeMap::new();
        for Ack { publish, place, duplicate, .. } in acks {
            let position = if *duplicate { places.get(publish).copied() } else { Some(place.position) };
            let known = of_origin.entry(place.origin).or_default().entry(*publish).or_default();
            *known = known.or(position);
        }
        Self { of_origin }
    }

    fn only(&self, origins: &BTreeSet<Hex>) -> Self {
        let those = self.of_origin.iter().filter(|(origin, _)| origins.contains(origin));
        Self { of_origin: those.map(|(origin, acked)| (*origin, acked.clone())).collect() }
    }

    /// What a node lacks, with a line for each origin.
    fn missing(
        &self,
        run: &Run,
        node: Name,
        does: &str,
        there: &HashMap<Publish, u64>,
        found: &mut Vec<String>,
    ) -> HashSet<Publish> {
        let mut all = HashSet::new();
        for (origin, acked) in &self.of_origin {
            let low = run.low_water(node, *origin);
            // Without a known position it may lie where retention has been.
            let is_kept = |position: Option<u64>| position.map_or(low == 0, |position| position > low);
            let missing: Vec<_> =
                acked.iter().filter(|(publish, at)| is_kept(**at) && !there.contains_key(publish)).collect();
            let Some((first, _)) = missing.first() else { continue };
            let present = acked.keys().filter_map(|publish| there.get(publish).copied());
            let where_ = parts(missing.iter().filter_map(|(_, at)| **at), present);
            let (lost, of) = (missing.len(), acked.len());
            found.push(format!("I1 lost: {node} does not {does} {lost} of {of} acked messages of {origin} ({where_}), the first is {first}"));
            all.extend(missing.iter().map(|(publish, _)| **publish));
        }
        all
    }
}

/// Where what is missing lies among what is there.
fn parts(missing: impl Iterator<Item = u64>, present: impl Iterator<Item = u64> + Clone) -> String {
    let (first, last) = (present.clone().min(), present.max());
    let mut counts = BTreeMap::new();
    for position in missing {
        let part = match (first, last) {
            (Some(first), _) if position < first => "prefix",
            (_, Some(last)) if position > last => "suffix",
            (None, None) => "all",
            _ => "middle",
        };
        *counts.entry(part).or_insert(0) += 1;
    }
    let told: Vec<_> = counts.into_iter().map(|(part, count)| format!("{part} {count}")).collect();
    told.join(", ")
}

/// The nodes whose dumps are in the history, with the origins that they applied or store something of.
fn replicas(run: &Run) -> BTreeMap<Name, BTreeSet<Hex>> {
    let mut origins: BTreeMap<Name, BTreeSet<Hex>> = BTreeMap::new();
    let mut dumped = BTreeSet::new();
    for record in run.records {
        match &record.event {
            Event::Stored { node, entry } => {
                dumped.insert(*node);
                origins.entry(*node).or_default().insert(entry.place.origin);
            }
            Event::Applied { replica, origin, .. } => _ = origins.entry(replica.node).or_default().insert(*origin),
            _ => {}
        }
    }
    origins.retain(|node, _| dumped.contains(node));
    origins
}

fn seen_at(run: &Run, which: impl Fn(&Event) -> Option<(Publish, u64)>) -> HashMap<Publish, u64> {
    run.records.iter().filter_map(|record| which(&record.event)).collect()
}

/// How many nodes were down at once, with what they had not synced lost.
struct Outages {
    /// The time of each change and the most nodes that were down at once from it on.
    most_from: Vec<(u64, usize)>,
}

impl Outages {
    fn of(run: &Run) -> Self {
        let mut down = BTreeSet::new();
        let mut most_from = Vec::new();
        for record in run.records {
            match &record.event {
                Event::NodeCrashed { node, lost_unsynced: true } => _ = down.insert(*node),
                Event::NodeStarted { node, .. } => _ = down.remove(node),
                _ => continue,
            }
            most_from.push((record.at_ns, down.len()));
        }
        let mut most = 0;
        for (_, count) in most_from.iter_mut().rev() {
            most = most.max(*count);
            *count = most;
        }
        Self { most_from }
    }

    fn at_most_after(&self, at_ns: u64) -> usize {
        let next = self.most_from.partition_point(|(at, _)| *at < at_ns);
        self.most_from.get(next).map_or(0, |(_, most)| *most)
    }
}
