//! Who is told what: what comes from a node goes into the copies, to subscribers and on to other regions. `collect` sees
//! that nothing of it is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use farwire_wire::ids::Slot;
use farwire_wire::names::{ChannelName, NodeName, RegionName};
use farwire_wire::presence::{Exit, PartChange, PresenceFrame, Writer};

use super::channel::{Channel, Event, Merged};
use super::lives::Admitted;
use super::owned::Owned;
use super::{Effect, MemberReach, Mesh, Presence};
use crate::placement::Routes;

#[derive(Debug, Default)]
pub(super) struct Feeds {
    /// Whom this node told of each channel that its own sessions are on.
    told: BTreeMap<ChannelName, NodeName>,
    /// When each node was last known to have told everything.
    pub(super) heard: BTreeMap<NodeName, Duration>,
    /// What may be outdated of what each node told, while it tells everything anew.
    pub(super) unconfirmed: BTreeMap<NodeName, BTreeSet<(ChannelName, Writer)>>,
    pub(super) collecting: Option<Collecting>,
}

#[derive(Debug)]
pub(super) struct Collecting {
    pub(super) until: Duration,
    pub(super) ask_again_at: Duration,
    pub(super) waiting: BTreeSet<NodeName>,
}

impl Feeds {
    pub(super) fn heard(&self, node: &NodeName) -> Option<Duration> {
        self.heard.get(node).copied()
    }

    /// This node told `owner` what its own sessions do on a channel.
    pub(super) fn told(&mut self, channel: &ChannelName, owner: NodeName) {
        self.told.insert(channel.clone(), owner);
    }

    /// None of this node's sessions is on the channel any more.
    pub(super) fn forget_told(&mut self, channel: &ChannelName) {
        self.told.remove(channel);
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.collecting.as_ref().map(|collecting| collecting.until.min(collecting.ask_again_at))
    }

    pub(super) fn collecting_is_over(&mut self, now: Duration) -> bool {
        let is_over = |collecting: &mut Collecting| collecting.until <= now || collecting.waiting.is_empty();
        self.collecting.take_if(is_over).is_some()
    }
}

impl Presence {
    pub(super) fn take_frame(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        from: &NodeName,
        frame: PresenceFrame,
        wall_us: u64,
        effects: &mut Vec<Effect>,
    ) {
        match frame {
            PresenceFrame::Change { change, catch_up } => {
                change.present.iter().for_each(|(_, occupant)| self.local.observe(occupant.stamp, wall_us));
                self.take_change(now, mesh, from, &change, catch_up, effects);
            }
            PresenceFrame::Ask { channel, writer } => self.tell_whole(from, &channel, &writer, false, effects),
            PresenceFrame::Collect => self.answer_collect(now, mesh, from, effects),
            PresenceFrame::Collected => self.take_collected(now, mesh, from, effects),
            PresenceFrame::Digest { life, hash } => {
                let writer = Writer { node: from.clone(), life };
                if self.admit(now, mesh, &writer, effects) {
                    self.compare_digest(now, mesh, from, hash, effects);
                }
            }
            PresenceFrame::Superseded { channel, id, moves } => self.local.superseded(&id, moves, &channel),
            PresenceFrame::Fetch(channels) => self.answer_fetch(now, mesh, from, channels, effects),
            PresenceFrame::Fetched(channels) => self.take_fetched(now, from, &channels),
            PresenceFrame::Buried(writer) => {
                if writer == *self.local.writer() {
                    let life = self.draw_life();
                    self.local.renew(life);
                }
            }
        }
    }

    /// Takes news of a part into the copy, passes it on to the regions that want it, and says what changed.
    pub(super) fn take_change(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        from: &NodeName,
        change: &PartChange,
        catch_up: bool,
        effects: &mut Vec<Effect>,
    ) {
        if !self.admit(now, mesh, &change.writer, effects) {
            return;
        }
        let Some(region) = self.lives.region_of(&change.writer.node).cloned() else { return };
        let is_hidden = self.lives.is_gone(&change.writer.node);
        let silent = self.is_collecting();
        let owned = self.owned.entry(change.channel.clone()).or_insert_with(|| Owned::new(silent));
        if change.whole
            && let Some(unconfirmed) = self.feeds.unconfirmed.get_mut(from)
        {
            unconfirmed.remove(&(change.channel.clone(), change.writer.clone()));
        }
        // Who is told again because a link was lost hears of what happened meanwhile.
        let is_news = !catch_up || owned.channel.has(&change.writer) && !owned.is_silent();
        let is_first = !owned.channel.writers().any(|(_, region, _)| *region == self.region);
        let mut events = Vec::new();
        match owned.channel.merge(&region, change, &mut events) {
            Merged::Known => return,
            Merged::Gap => {
                let frame = PresenceFrame::Ask { channel: change.channel.clone(), writer: change.writer.clone() };
                effects.push(Effect::Send { to: from.clone(), frame });
                return;
            }
            Merged::Applied => {}
        }
        owned.channel.set_hidden(&change.writer, is_hidden, &mut events);
        if !is_news {
            events.clear();
            owned.summarize(now);
            self.summing.insert(change.channel.clone());
        }
        let superseded = owned.channel.superseded(change.present.iter().map(|(id, _)| id));
        for (writer, id, moves) in superseded {
            let channel = change.channel.clone();
            self.tell_superseded(writer, PresenceFrame::Superseded { channel, id, moves }, effects);
        }
        self.tell_events(now, mesh, &change.channel, events, effects);
        if region == self.region {
            self.pass_on(now, mesh, change, is_first, effects);
        }
    }

    /// Other routes: parts move to their new owners, and what this node owns no more is let go.
    pub(super) fn take_routes(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        routes: Arc<Routes>,
        effects: &mut Vec<Effect>,
    ) {
        let before = std::mem::replace(&mut self.routes, routes);
        let after = self.routes.clone();
        let (owned_before, owned_now) = (self.owns(&before), self.owns(&after));
        let gained = Slot::all().any(|slot| owned_now(slot) && !owned_before(slot));
        self.owned.retain(|channel, _| owned_now(mesh.slot(channel)));
        // News may have come before the routes.
        for (_, owned) in self.owned.iter_mut().filter(|(channel, _)| !owned_before(mesh.slot(channel))) {
            owned.hush();
        }
        if gained {
            self.collect(now, effects);
        }
        self.tell_moved(now, mesh, effects);
        let is_trusted =
            |node: &NodeName, slot| owns_in_its_region(&before, node, slot) && owns_in_its_region(&after, node, slot);
        self.fetch_anew(now, mesh, is_trusted, effects);
        self.feed_soon(now);
    }

    /// Whether this node owns a slot in its region by these routes.
    fn owns<'a>(&self, routes: &'a Routes) -> impl Fn(Slot) -> bool + use<'a> {
        let view = routes.view();
        let (region, node) = (view.region_index(&self.region), view.find(self.local.writer().node.as_str()));
        move |slot| region.is_some_and(|region| node.is_some() && routes.owner(region, slot) == node)
    }

    /// Tells the new owners of channels whose owner changed what this node's sessions do there.
    fn tell_moved(&mut self, now: Duration, mesh: &impl Mesh, effects: &mut Vec<Effect>) {
        let here = self.local.channels().map(|(channel, _)| channel);
        let moved: Vec<(ChannelName, NodeName)> = here
            .filter_map(|channel| Some((channel.clone(), self.owner_here(mesh.slot(channel))?)))
            .filter(|(channel, owner)| self.feeds.told.get(channel).is_some_and(|told| told != owner))
            .collect();
        for (channel, owner) in moved {
            self.feeds.told(&channel, owner.clone());
            let whole = self.local.whole(&channel);
            self.tell_owner(now, mesh, owner, whole, true, effects);
        }
    }

    pub(super) fn take_members(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        members: &[MemberReach],
        effects: &mut Vec<Effect>,
    ) {
        for (writer, is_gone) in self.lives.learn(now, members) {
            self.for_each_channel(now, mesh, effects, |channel, events| channel.set_hidden(&writer, is_gone, events));
        }
    }

    pub(super) fn bury_due(&mut self, now: Duration, mesh: &impl Mesh, effects: &mut Vec<Effect>) {
        for writer in self.lives.bury(now) {
            self.for_each_channel(now, mesh, effects, |channel, events| {
                channel.drop_writer(&writer, Exit::Timeout, events);
            });
        }
    }

    /// Sees that the owners of the regions that want a channel have this region's parts of it.
    pub(super) fn feed_all(&mut self, now: Duration, mesh: &impl Mesh, effects: &mut Vec<Effect>) {
        let channels: Vec<ChannelName> = self.owned.keys().cloned().collect();
        channels.iter().for_each(|channel| {
            self.feed(now, mesh, channel, true, effects);
        });
    }

    /// Whether a writer counts; sees to it that an earlier life of its node does not, and that a buried one knows.
    fn admit(&mut self, now: Duration, mesh: &impl Mesh, writer: &Writer, effects: &mut Vec<Effect>) -> bool {
        match self.lives.admit(now, writer) {
            Admitted::Yes { earlier } => {
                if let Some(earlier) = earlier {
                    self.for_each_channel(now, mesh, effects, |channel, events| {
                        channel.set_hidden(&earlier, true, events);
                    });
                }
                true
            }
            Admitted::Buried if writer == self.local.writer() => {
                let life = self.draw_life();
                self.local.renew(life);
                false
            }
            Admitted::Buried => {
                effects.push(Effect::Send { to: writer.node.clone(), frame: PresenceFrame::Buried(writer.clone()) });
                false
            }
            Admitted::Earlier | Admitted::Unknown => false,
        }
    }

    fn for_each_channel(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        effects: &mut Vec<Effect>,
        mut change: impl FnMut(&mut Channel, &mut Vec<Event>),
    ) {
        for (name, owned) in &mut self.owned {
            let mut events = Vec::new();
            change(&mut owned.channel, &mut events);
            owned.tell(now, name, mesh.interval_above(name), events, effects);
            if owned.interval_due().is_some() {
                self.summing.insert(name.clone());
            }
        }
    }

    pub(super) fn tell_events(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        name: &ChannelName,
        events: Vec<Event>,
        effects: &mut Vec<Effect>,
    ) {
        // While views differ two nodes may take themselves for the owner; who knows that it is not is silent.
        if self.owner_here(mesh.slot(name)).is_some_and(|owner| owner == self.local.writer().node)
            && let Some(owned) = self.owned.get_mut(name)
        {
            owned.tell(now, name, mesh.interval_above(name), events, effects);
            self.summing.insert(name.clone());
        }
    }

    fn tell_superseded(&mut self, writer: Writer, frame: PresenceFrame, effects: &mut Vec<Effect>) {
        if writer != *self.local.writer() {
            effects.push(Effect::Send { to: writer.node, frame });
        } else if let PresenceFrame::Superseded { channel, id, moves } = frame {
            self.local.superseded(&id, moves, &channel);
        }
    }

    /// Passes a change of this region on to the owners in the regions that want the channel.
    /// The region's first part of a channel is news to all of them.
    fn pass_on(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        change: &PartChange,
        is_first: bool,
        effects: &mut Vec<Effect>,
    ) {
        let fed_before = self.owned.get(&change.channel).map(|owned| owned.fed.clone()).unwrap_or_default();
        let fed_now = self.feed(now, mesh, &change.channel, !is_first, effects);
        for (region, owner) in fed_now {
            // Who was fed just now has the change within the whole part.
            if fed_before.get(&region) == Some(&owner) {
                effects.push(Effect::Send {
                    to: owner,
                    frame: PresenceFrame::Change { change: change.clone(), catch_up: false },
                });
            }
        }
    }

    /// Tells the whole parts of this region to the owners in the regions that want the channel and did not before.
    pub(super) fn feed(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        name: &ChannelName,
        catch_up: bool,
        effects: &mut Vec<Effect>,
    ) -> BTreeMap<RegionName, NodeName> {
        let slot = mesh.slot(name);
        let mut wanting: BTreeSet<RegionName> = mesh.wanting(name).into_iter().collect();
        wanting.extend(self.owned.get(name).into_iter().flat_map(|owned| owned.leased(now).cloned()));
        let wanting = wanting.into_iter().filter(|region| *region != self.region);
        let fed: BTreeMap<RegionName, NodeName> =
            wanting.filter_map(|region| self.owner_in(&region, slot).map(|owner| (region, owner))).collect();
        let Some(owned) = self.owned.get_mut(name) else { return fed };
        let before = std::mem::replace(&mut owned.fed, fed.clone());
        for (_, owner) in fed.iter().filter(|(region, owner)| before.get(*region) != Some(*owner)) {
            let ours = owned.channel.writers().filter(|(_, region, _)| **region == self.region);
            let wholes = ours.filter_map(|(writer, _, _)| owned.channel.whole(name, writer));
            effects.extend(
                wholes.map(|change| Effect::Send {
                    to: owner.clone(),
                    frame: PresenceFrame::Change { change, catch_up },
                }),
            );
        }
        fed
    }

    /// Tells a whole part. After a gap it is news, otherwise it happened before.
    pub(super) fn tell_whole(
        &mut self,
        to: &NodeName,
        channel: &ChannelName,
        writer: &Writer,
        catch_up: bool,
        effects: &mut Vec<Effect>,
    ) {
        let whole = if writer == self.local.writer() {
            Some(self.local.whole(channel))
        } else {
            self.owned.get(channel).and_then(|owned| owned.channel.whole(channel, writer))
        };
        if let Some(change) = whole {
            let frame = PresenceFrame::Change { change, catch_up };
            effects.push(Effect::Send { to: to.clone(), frame });
        }
    }
}

/// Whether a node owns a slot in its region by these routes.
fn owns_in_its_region(routes: &Routes, node: &NodeName, slot: Slot) -> bool {
    let view = routes.view();
    let Some(member) = view.find(node.as_str()) else { return false };
    let region = view.region_index(&view.member(member).region);
    region.is_some_and(|region| routes.owner(region, slot) == Some(member))
}
