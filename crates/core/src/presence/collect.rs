//! That nothing is missing: the digests that show what a node should have from another, and the collecting of a new owner,
//! which asks everybody and is silent until they have told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use farwire_wire::names::{ChannelName, NodeName};
use farwire_wire::presence::{Exit, PresenceFrame, Writer};

use super::feeds::Collecting;
use super::{COLLECT_EVERY, COLLECT_FOR, Effect, Mesh, Presence};
use crate::hash::HashKey;

/// Hashes are compared between nodes of one mesh only to find what was lost, so the key may be known.
const DIGEST_KEY: HashKey = HashKey::new(*b"farwire presence");

impl Presence {
    /// Tells everybody what they should have from here.
    pub(super) fn tell_digests(&mut self, now: Duration, mesh: &impl Mesh, effects: &mut Vec<Effect>) {
        self.flush(now, mesh, effects);
        // Leases may be over.
        self.feed_all(now, mesh, effects);
        let mut told = self.told_to_all(mesh);
        let writer = self.local.writer().clone();
        for node in self.reachable_peers() {
            let hash = digest(told.remove(&node).unwrap_or_default().iter());
            effects.push(Effect::Send { to: node, frame: PresenceFrame::Digest { life: writer.life, hash } });
        }
    }

    /// The new owner says how things stand in the channels that it took over.
    pub(super) fn speak(&mut self, now: Duration, mesh: &impl Mesh, effects: &mut Vec<Effect>) {
        for (name, owned) in &mut self.owned {
            owned.speak(now, name, mesh.interval_above(name), effects);
            self.summing.insert(name.clone());
        }
    }

    pub(super) fn answer_collect(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        from: &NodeName,
        effects: &mut Vec<Effect>,
    ) {
        self.flush(now, mesh, effects);
        self.feed_all(now, mesh, effects);
        let told = self.told_to_all(mesh).remove(from).unwrap_or_default();
        for (channel, writer, _) in told {
            self.tell_whole(from, &channel, &writer, true, effects);
        }
        effects.push(Effect::Send { to: from.clone(), frame: PresenceFrame::Collected });
        // It has taken something over, and does not know what was asked of the owner before.
        self.fetch_anew(now, mesh, |node, _| node != from, effects);
    }

    pub(super) fn take_collected(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        from: &NodeName,
        effects: &mut Vec<Effect>,
    ) {
        self.feeds.heard.insert(from.clone(), now);
        if let Some(collecting) = &mut self.feeds.collecting {
            collecting.waiting.remove(from);
        }
        for (name, writer) in self.feeds.unconfirmed.remove(from).unwrap_or_default() {
            // An owner that died took along what only it knew of itself: its stays end when it is buried.
            if !self.is_reachable(&writer.node) {
                continue;
            }
            let mut events = Vec::new();
            if let Some(owned) = self.owned.get_mut(&name) {
                owned.fetched.remove(from);
                owned.channel.drop_writer(&writer, Exit::Left, &mut events);
            }
            self.tell_events(now, mesh, &name, events, effects);
        }
    }

    pub(super) fn compare_digest(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        from: &NodeName,
        hash: u64,
        effects: &mut Vec<Effect>,
    ) {
        let have = self.had_from(mesh, from);
        if digest(have.iter()) == hash {
            self.feeds.heard.insert(from.clone(), now);
        } else {
            self.ask_all(from, have, effects);
        }
    }

    fn ask_all(&mut self, from: &NodeName, have: BTreeSet<Told>, effects: &mut Vec<Effect>) {
        let unconfirmed = have.into_iter().map(|(channel, writer, _)| (channel, writer)).collect();
        self.feeds.unconfirmed.insert(from.clone(), unconfirmed);
        effects.push(Effect::Send { to: from.clone(), frame: PresenceFrame::Collect });
    }

    /// Asks everybody in reach for what the new owner of a slot should know.
    pub(super) fn collect(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let waiting = self.reachable_peers();
        if waiting.is_empty() {
            return;
        }
        effects.extend(waiting.iter().map(|node| Effect::Send { to: node.clone(), frame: PresenceFrame::Collect }));
        self.feeds.collecting =
            Some(Collecting { until: now + COLLECT_FOR, ask_again_at: now + COLLECT_EVERY, waiting });
    }

    /// Asks those again that have not answered, and waits no longer for who cannot be reached.
    pub(super) fn collect_on(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.feeds.collecting.as_ref().is_none_or(|collecting| now < collecting.ask_again_at) {
            return;
        }
        let reachable = self.reachable_peers();
        let Some(collecting) = &mut self.feeds.collecting else { return };
        collecting.ask_again_at = now + COLLECT_EVERY;
        collecting.waiting.retain(|node| reachable.contains(node));
        let ask = |node: &NodeName| Effect::Send { to: node.clone(), frame: PresenceFrame::Collect };
        effects.extend(collecting.waiting.iter().map(ask));
    }

    /// What each node should have from this one: of its own sessions the owners in this region, of the channels that
    /// it owns the owners in the regions that want them.
    fn told_to_all(&self, mesh: &impl Mesh) -> BTreeMap<NodeName, BTreeSet<Told>> {
        let mut told: BTreeMap<NodeName, BTreeSet<Told>> = BTreeMap::new();
        for (channel, op) in self.local.channels() {
            if let Some(owner) = self.owner_here(mesh.slot(channel)) {
                told.entry(owner).or_default().insert((channel.clone(), self.local.writer().clone(), op));
            }
        }
        for (channel, owned) in &self.owned {
            for owner in owned.fed.values() {
                let ours = owned.channel.writers().filter(|(_, region, _)| **region == self.region);
                let ours = ours.map(|(writer, _, op)| (channel.clone(), writer.clone(), op));
                told.entry(owner.clone()).or_default().extend(ours);
            }
        }
        told
    }

    /// What this node has from another that [`told_to_all`](Self::told_to_all) there should count.
    fn had_from(&self, mesh: &impl Mesh, from: &NodeName) -> BTreeSet<Told> {
        let mut had = BTreeSet::new();
        for (channel, owned) in &self.owned {
            for (writer, region, op) in owned.channel.writers() {
                let is_from = if *region == self.region {
                    writer.node == *from && self.lives.current(from) == Some(writer.life)
                } else {
                    self.owner_in(region, mesh.slot(channel)).as_ref() == Some(from)
                };
                if is_from {
                    had.insert((channel.clone(), writer.clone(), op));
                }
            }
        }
        had
    }

    /// Whether this node has taken over slots of which it may not know everything yet.
    pub(super) fn is_collecting(&self) -> bool {
        self.feeds.collecting.is_some()
    }

    fn reachable_peers(&self) -> BTreeSet<NodeName> {
        let view = self.routes.view();
        let others = view.members().iter().map(|member| &member.name).filter(|name| **name != self.local.writer().node);
        others.filter(|name| self.is_reachable(name)).cloned().collect()
    }

    fn is_reachable(&self, node: &NodeName) -> bool {
        self.routes.view().find(node.as_str()).is_some_and(|member| self.routes.is_reachable(member))
    }
}

/// A copy of a part: the channel, the writer, the op.
type Told = (ChannelName, Writer, u64);

fn digest<'a>(told: impl Iterator<Item = &'a Told>) -> u64 {
    // The order does not matter, so that each side may walk its own way.
    told.map(|(channel, writer, op)| {
        let life = writer.life.0.to_be_bytes();
        DIGEST_KEY.derive(&[channel.as_str().as_bytes(), writer.node.as_str().as_bytes(), &life, &op.to_be_bytes()])
    })
    .fold(0, u64::wrapping_add)
}
