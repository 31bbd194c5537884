//! Questions for channels that nobody watches: the owner here fetches what the owners in the other regions have, keeps it
//! up to date for a while, and lets it go.

use std::collections::BTreeMap;
use std::time::Duration;

use farwire_wire::ids::Slot;
use farwire_wire::names::{ChannelName, NodeName};
use farwire_wire::presence::{PresenceFrame, QUERY_CHANNELS_MAX};

use super::owned::Owned;
use super::{Effect, LEASE, Mesh, Presence};

impl Presence {
    /// Whether every region in reach has told its part of the channel lately enough to answer from the copies. It will
    /// have about a round trip after [`Input::Asked`](super::Input::Asked).
    #[must_use]
    pub fn is_current(&self, now: Duration, mesh: &impl Mesh, name: &ChannelName) -> bool {
        let Some(owned) = self.owned.get(name) else { return false };
        !owned.is_silent() && self.other_owners(mesh, name).iter().all(|owner| owned.is_fetched(now, owner))
    }

    pub(super) fn take_asked(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        channels: Vec<ChannelName>,
        effects: &mut Vec<Effect>,
    ) {
        let silent = self.is_collecting();
        for name in &channels {
            let owned = self.owned.entry(name.clone()).or_insert_with(|| Owned::new(silent));
            owned.asked_until = Some(now + LEASE);
        }
        self.fetch(now, mesh, &channels, effects);
    }

    /// Fetches what is missing of channels for which somebody asked.
    fn fetch(&self, now: Duration, mesh: &impl Mesh, channels: &[ChannelName], effects: &mut Vec<Effect>) {
        let mut missing: BTreeMap<NodeName, Vec<ChannelName>> = BTreeMap::new();
        for name in channels {
            let Some(owned) = self.owned.get(name) else { continue };
            for owner in self.other_owners(mesh, name).into_iter().filter(|owner| !owned.is_fetched(now, owner)) {
                missing.entry(owner).or_default().push(name.clone());
            }
        }
        for (to, channels) in missing {
            let frames = channels.chunks(QUERY_CHANNELS_MAX).map(|chunk| PresenceFrame::Fetch(chunk.to_vec()));
            effects.extend(frames.map(|frame| Effect::Send { to: to.clone(), frame }));
        }
    }

    /// Tells a node that answers for channels in another region all parts of this one, and each change for [`LEASE`].
    pub(super) fn answer_fetch(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        from: &NodeName,
        channels: Vec<ChannelName>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(region) = self.lives.region_of(from).filter(|region| **region != self.region).cloned() else { return };
        self.flush(now, mesh, effects);
        let silent = self.is_collecting();
        for name in &channels {
            let owned = self.owned.entry(name.clone()).or_insert_with(|| Owned::new(silent));
            owned.leases.insert(region.clone(), now + LEASE);
            self.feed(now, mesh, name, true, effects);
        }
        effects.push(Effect::Send { to: from.clone(), frame: PresenceFrame::Fetched(channels) });
    }

    pub(super) fn take_fetched(&mut self, now: Duration, from: &NodeName, channels: &[ChannelName]) {
        let Some(region) = self.lives.region_of(from).cloned() else { return };
        for name in channels {
            if let Some(owned) = self.owned.get_mut(name) {
                owned.fetched.insert(from.clone(), now);
                owned.known.insert(region.clone(), now);
            }
        }
    }

    /// Owners have changed: a new one does not know what was fetched from the one before, and one that lost a channel and
    /// got it back has forgotten. `is_trusted` says of a node whether it has owned a slot throughout.
    pub(super) fn fetch_anew(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        is_trusted: impl Fn(&NodeName, Slot) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let mut asked = Vec::new();
        for (name, owned) in self.owned.iter_mut().filter(|(_, owned)| owned.is_asked(now)) {
            let slot = mesh.slot(name);
            owned.fetched.retain(|node, _| is_trusted(node, slot));
            asked.push(name.clone());
        }
        self.fetch(now, mesh, &asked, effects);
    }

    /// Lets the parts of other regions go where nobody wants them any more. What is kept of a region out of sight stays.
    pub(super) fn drop_unwanted(&mut self, now: Duration, mesh: &impl Mesh) {
        for (name, owned) in &mut self.owned {
            if mesh.is_watched(name) || owned.is_asked(now) {
                continue;
            }
            owned.fetched.clear();
            let others = owned.channel.writers().filter(|(_, region, _)| **region != self.region);
            let in_sight = others.filter(|(_, region, _)| self.lives.is_in_sight(region));
            let unwanted: Vec<_> = in_sight.map(|(writer, _, _)| writer.clone()).collect();
            unwanted.iter().for_each(|writer| owned.channel.forget(writer));
        }
    }

    /// The owners of a channel in the other regions that can be reached.
    fn other_owners(&self, mesh: &impl Mesh, name: &ChannelName) -> Vec<NodeName> {
        let slot = mesh.slot(name);
        let others = self.lives.regions().into_iter().filter(|region| **region != self.region);
        others.filter_map(|region| self.owner_in(region, slot)).collect()
    }
}

impl Owned {
    /// Whether an owner has told its parts so lately that it still tells each change.
    fn is_fetched(&self, now: Duration, owner: &NodeName) -> bool {
        self.fetched.get(owner).is_some_and(|at| now < *at + LEASE / 2)
    }
}
