//! I8: acks are honest. When a publish is acked as synced, the storage events of as many nodes as the ack names copies, and
//! of a majority of the group's voters, have shown the entry synced before; when acked as not synced, appended. As many
//! regions as it names have applied it, two at least for `geo`. What these copies rest on holds too: no store syncs after a
//! failed sync, until its node begins anew, and no replica takes back an entry that a node of its group has applied (entries of
//! one term are one leader's: what another term has at the same log index is another entry, and was never committed).
//!
//! The way from a message to a disk is `Applied` (position → log index) and `Synced` (log index). An ack without an
//! `Applied` cannot be followed; how many could is returned beside the lines. The voters are those named last, or
//! those before: a change takes a moment to be noted. Without any, only the copies are counted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::logged::event::{Ack, Event, Hex, Level, Name, Place, Replica};
use crate::logged::run::Run;

/// The lines, and how many acks could be followed.
pub(super) fn violations(run: &Run) -> (Vec<String>, usize) {
    let mut disks = Disks::new(run);
    for record in run.records {
        disks.take(&record.event);
    }
    (disks.found, disks.followed)
}

/// A region's group of a shard.
type Group = (Name, u32);

/// What a replica has of its Raft log.
#[derive(Default)]
struct Disk {
    appended: u64,
    synced: u64,
    damaged: BTreeSet<(u64, u64)>,
}

impl Disk {
    fn has(&self, index: u64, synced: bool) -> bool {
        let up_to = if synced { self.synced } else { self.appended };
        index <= up_to && !self.damaged.iter().any(|(from, to)| (*from..=*to).contains(&index))
    }
}

/// Where an entry's positions stand in the Raft log.
struct Batch {
    to: u64,
    shard: u32,
    log_index: u64,
}

struct Disks<'a> {
    run: &'a Run<'a>,
    /// Whether the history has any `Applied`: one of clients alone has none, and its acks cannot be followed.
    tells_applies: bool,
    disks: BTreeMap<Replica, Disk>,
    /// The nodes whose last sync failed.
    failed: HashSet<Name>,
    /// By region and origin, by the first position.
    batches: HashMap<(Name, Hex), BTreeMap<u64, Batch>>,
    /// The newest entry of each term that some node of a group applied.
    applied: HashMap<(Group, u64), u64>,
    /// The voters named last, and those before.
    voters: HashMap<Group, [Vec<Name>; 2]>,
    found: Vec<String>,
    followed: usize,
}

impl<'a> Disks<'a> {
    fn new(run: &'a Run<'a>) -> Self {
        Self {
            run,
            tells_applies: run.records.iter().any(|record| matches!(record.event, Event::Applied { .. })),
            disks: BTreeMap::new(),
            failed: HashSet::new(),
            batches: HashMap::new(),
            applied: HashMap::new(),
            voters: HashMap::new(),
            found: Vec::new(),
            followed: 0,
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Acked(ack) => self.ack(ack),
            Event::Appended { replica, to } => self.disks.entry(*replica).or_default().appended = *to,
            Event::Synced { replica, to } => self.sync(*replica, *to),
            Event::SyncFailed { node } => _ = self.failed.insert(*node),
            Event::NodeStarted { node, .. } => _ = self.failed.remove(node),
            Event::NodeCrashed { node, lost_unsynced: true } => {
                for (_, disk) in self.disks.iter_mut().filter(|(replica, _)| replica.node == *node) {
                    disk.appended = disk.synced;
                }
            }
            Event::Truncated { replica, from, term } => self.truncate(*replica, *from, *term),
            Event::Quarantined { replica, from, to } => {
                self.disks.entry(*replica).or_default().damaged.insert((*from, *to));
            }
            Event::Refetched { replica, from, to } => {
                let disk = self.disks.entry(*replica).or_default();
                disk.damaged.retain(|(first, last)| first < from || last > to);
            }
            Event::Applied { replica, log_index, term, origin, from, to } => {
                let (region, shard) = self.group(*replica);
                let newest = self.applied.entry(((region, shard), *term)).or_default();
                *newest = (*newest).max(*log_index);
                let batch = Batch { to: *to, shard, log_index: *log_index };
                self.batches.entry((region, *origin)).or_default().insert(*from, batch);
            }
            Event::Voters { replica, nodes } => {
                let [last, before] = self.voters.entry(self.group(*replica)).or_default();
                *before = std::mem::replace(last, nodes.clone());
            }
            _ => {}
        }
    }

    fn group(&self, replica: Replica) -> Group {
        (self.run.region(replica.node), replica.shard)
    }

    fn sync(&mut self, replica: Replica, to: u64) {
        if self.failed.contains(&replica.node) {
            self.found.push(format!("I8 worthless sync: {replica} synced up to {to} after a sync had failed"));
            return;
        }
        let disk = self.disks.entry(replica).or_default();
        disk.appended = disk.appended.max(to);
        disk.synced = to;
    }

    fn truncate(&mut self, replica: Replica, from: u64, term: u64) {
        let applied = self.applied.get(&(self.group(replica), term)).copied().unwrap_or(0);
        if from <= applied {
            self.found.push(format!("I8 taken back: {replica} truncated from {from} on, and {applied} was committed"));
        }
        let disk = self.disks.entry(replica).or_default();
        disk.appended = disk.appended.min(from.saturating_sub(1));
        disk.synced = disk.synced.min(from.saturating_sub(1));
    }

    fn ack(&mut self, ack: &Ack) {
        let groups = self.applied_in(ack.place);
        if groups.is_empty() {
            if self.tells_applies {
                self.found.push(format!(
                    "I8 too early: {} was acked at {} before any node applied it",
                    ack.publish, ack.place
                ));
            }
            return;
        }
        self.followed += 1;
        let has = |replica: &Replica, disk: &Disk, (group, index): &(Group, u64)| {
            self.group(*replica) == *group && disk.has(*index, ack.synced)
        };
        let nodes: BTreeSet<Name> = groups
            .iter()
            .flat_map(|at| {
                self.disks.iter().filter(|(replica, disk)| has(replica, disk, at)).map(|(replica, _)| replica.node)
            })
            .collect();
        let regions = if ack.level == Level::Geo { ack.regions.max(2) } else { ack.regions } as usize;
        let no_majority = !groups.iter().any(|(group, _)| self.is_majority(group, &nodes));
        if no_majority || nodes.len() < ack.copies as usize || groups.len() < regions {
            let what = if ack.synced { "synced" } else { "appended" };
            self.found.push(format!(
                "I8 dishonest: {} was acked at {} with {} copies and {} regions, {what}; it was on {} nodes{} and in {} regions",
                ack.publish,
                ack.place,
                ack.copies,
                ack.regions,
                nodes.len(),
                if no_majority { ", no majority," } else { "" },
                groups.len()
            ));
        }
    }

    /// The groups that have applied a message, and at which log index.
    fn applied_in(&self, place: Place) -> Vec<(Group, u64)> {
        let of_origin = self.batches.iter().filter(|((_, origin), _)| *origin == place.origin);
        let found = of_origin.filter_map(|((region, _), batches)| {
            let (_, batch) = batches.range(..=place.position).next_back()?;
            (place.position <= batch.to).then_some(((*region, batch.shard), batch.log_index))
        });
        found.collect()
    }

    fn is_majority(&self, group: &Group, nodes: &BTreeSet<Name>) -> bool {
        let Some(voters) = self.voters.get(group) else { return true };
        let is_one = |voters: &Vec<Name>| 2 * voters.iter().filter(|node| nodes.contains(node)).count() > voters.len();
        voters.iter().any(is_one)
    }
}
