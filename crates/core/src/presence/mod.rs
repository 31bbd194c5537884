//! Presence: who is on which channel, as one node decides it. Each node writes what its own sessions do ([`Local`]); the
//! owner of a channel in each region that cares keeps a copy of every writer's part ([`channel::Channel`]), answers from it and
//! says what changed. Sends nothing, reads no clock, knows no socket: the caller feeds [`Input`]s and runs [`Effect`]s.
//!
//! The way of news: node → the channel's owner in its region → the owners in the other regions that want the channel.
//! It is collected for [`FLUSH_EVERY`] at the node, so the cost grows with change and with interested regions.
//!
//! Invariants:
//! - A part is written by one node in one life; everybody else has copies, and a newer copy replaces an older one.
//! - What a lost frame leaves wrong is found by a digest every [`DIGEST_EVERY`] and told anew.
//! - An owner is silent about a channel that it has just taken over until it has collected, for [`COLLECT_FOR`] at most.
//! - A writer that cannot be reached counts for nothing at once; [`GONE_FOR`] later its stays end, unless nobody of its
//!   region can be seen: then they are kept, uncounted, for [`UNSEEN_KEPT`].
//! - A life that was buried never counts again.
//! - Parts of other regions are kept while somebody in this region watches the channel, or asked for it within
//!   [`LEASE`].

mod answer;
pub mod channel;
mod collect;
mod feeds;
mod fetch;
mod lives;
pub mod local;
mod owned;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use farwire_wire::ids::{Life, Slot};
use farwire_wire::names::{ChannelName, NodeName, RegionName};
use farwire_wire::presence::{PartChange, PresenceEvent, PresenceFrame, PresenceId, PresenceState};

pub use self::answer::{Answer, Counts, RegionAnswer};
pub use self::channel::Listed;
use self::feeds::Feeds;
use self::lives::Lives;
use self::local::Local;
use self::owned::Owned;
use crate::placement::Routes;

/// How long news is collected before it is told.
pub const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// How often the receivers of parts are told a digest of what they should have.
pub const DIGEST_EVERY: Duration = Duration::from_secs(5);
/// How long a new owner waits for those who know more, before it says what it has.
pub const COLLECT_FOR: Duration = Duration::from_secs(10);
/// How often it asks those again that have not answered: a link may have come up at one end only.
const COLLECT_EVERY: Duration = Duration::from_secs(1);
/// How long a node must be out of reach for its stays to end.
pub const GONE_FOR: Duration = Duration::from_secs(10);
/// How long the parts of a region out of sight are kept.
pub const UNSEEN_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the parts of other regions are kept up to date after somebody asked for a channel that nobody watches.
pub const LEASE: Duration = Duration::from_secs(60);
/// How often a channel with many occupants is summed up.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What happens to presence.
#[derive(Debug, Clone)]
pub enum Input {
    /// A session of this node enters a channel, or says something else of itself there.
    Enter {
        /// Whose session.
        id: PresenceId,
        /// How often the client has connected.
        moves: u32,
        /// Where.
        channel: ChannelName,
        /// What it says of itself.
        state: PresenceState,
        /// The wall clock, in microseconds since the epoch.
        wall_us: u64,
    },
    /// A session of this node leaves a channel.
    Leave {
        /// Whose session.
        id: PresenceId,
        /// How often the client has connected.
        moves: u32,
        /// Where.
        channel: ChannelName,
    },
    /// A session of this node ended.
    Ended {
        /// Whose session.
        id: PresenceId,
        /// How often the client has connected.
        moves: u32,
        /// The client said that it goes; otherwise it may come back.
        in_order: bool,
    },
    /// A peer says something of presence.
    Frame {
        /// Who.
        from: NodeName,
        /// What.
        frame: PresenceFrame,
        /// The wall clock, in microseconds since the epoch.
        wall_us: u64,
    },
    /// Other routes are in force.
    Routes(Arc<Routes>),
    /// All members, with their regions, and whether they are out of reach: down, and no live link to them.
    Members(Vec<MemberReach>),
    /// Another region wants other channels than before: ask [`Mesh::wanting`] anew.
    WantsChanged,
    /// Somebody asks for channels that this node owns: see [`Presence::is_current`].
    Asked(Vec<ChannelName>),
    /// Time has passed: see [`Presence::next_deadline`].
    Tick,
}

/// A member as presence needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberReach {
    /// Who.
    pub node: NodeName,
    /// Where.
    pub region: RegionName,
    /// Down, or left, and no live link to it.
    pub is_gone: bool,
}

/// What presence asks of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this to a peer; what cannot be sent is lost, which a digest finds.
    Send {
        /// To whom.
        to: NodeName,
        /// What.
        frame: PresenceFrame,
    },
    /// Tell the subscribers of the region who watch this channel.
    Tell {
        /// Which channel.
        channel: ChannelName,
        /// Which of them.
        detail: Detail,
        /// What changed.
        event: PresenceEvent,
    },
}

/// What a subscriber of presence has chosen to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detail {
    /// Each event, on channels with few occupants.
    Events,
    /// How many there are, once an interval while that changes.
    Counts,
}

/// What presence asks about the mesh while it works.
pub trait Mesh {
    /// The slot of a channel.
    fn slot(&self, channel: &ChannelName) -> Slot;
    /// The other regions in which somebody wants presence of the channel.
    fn wanting(&self, channel: &ChannelName) -> Vec<RegionName>;
    /// Whether somebody in this region wants presence of the channel.
    fn is_watched(&self, channel: &ChannelName) -> bool;
    /// Above so many sessions a channel is summed up in intervals.
    fn interval_above(&self, channel: &ChannelName) -> u64;
}

/// The presence of one node; see the [module](self).
#[derive(Debug)]
pub struct Presence {
    region: RegionName,
    routes: Arc<Routes>,
    local: Local,
    lives: Lives,
    feeds: Feeds,
    owned: BTreeMap<ChannelName, Owned>,
    /// The owned channels that have an interval to end.
    summing: BTreeSet<ChannelName>,
    /// When the next flush is due; it is not while there is nothing to tell.
    flush_at: Option<Duration>,
    /// With the next flush it is looked who wants each channel: that has changed.
    feed_due: bool,
    digest_at: Duration,
    next_life: u64,
}

impl Presence {
    /// Nobody is anywhere yet. `seed` draws further lives.
    #[must_use]
    pub fn new(node: NodeName, region: RegionName, life: Life, seed: u64, routes: Arc<Routes>) -> Self {
        Self {
            lives: Lives::new(node.clone(), region.clone()),
            local: Local::new(node, life),
            region,
            routes,
            feeds: Feeds::default(),
            owned: BTreeMap::new(),
            summing: BTreeSet::new(),
            flush_at: None,
            feed_due: false,
            digest_at: DIGEST_EVERY,
            next_life: seed,
        }
    }

    /// Takes one input, does what is due by `now`, and appends what the caller must do. `now` is the time since a start
    /// of the caller's choice.
    pub fn handle(&mut self, now: Duration, mesh: &impl Mesh, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Enter { id, moves, channel, state, wall_us } => {
                self.local.enter(&id, moves, &channel, state, wall_us);
            }
            Input::Leave { id, moves, channel } => self.local.leave(&id, moves, &channel),
            Input::Ended { id, moves, in_order } => self.local.ended(now, &id, moves, in_order),
            Input::Frame { from, frame, wall_us } => self.take_frame(now, mesh, &from, frame, wall_us, effects),
            Input::Routes(routes) => self.take_routes(now, mesh, routes, effects),
            Input::Members(members) => self.take_members(now, mesh, &members, effects),
            Input::WantsChanged => self.feed_soon(now),
            Input::Asked(channels) => self.take_asked(now, mesh, channels, effects),
            Input::Tick => {}
        }
        self.run_due(now, mesh, effects);
    }

    /// When a [`Input::Tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Duration {
        let intervals = self.summing.iter().filter_map(|name| self.owned.get(name)?.interval_due()).min();
        let others =
            [self.flush_at, self.local.expires_at(), self.lives.next_deadline(), self.feeds.deadline(), intervals];
        others.into_iter().flatten().fold(self.digest_at, Duration::min)
    }

    fn run_due(&mut self, now: Duration, mesh: &impl Mesh, effects: &mut Vec<Effect>) {
        self.local.expire(now);
        if self.local.is_dirty() {
            self.flush_soon(now);
        }
        self.bury_due(now, mesh, effects);
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.flush(now, mesh, effects);
            if std::mem::take(&mut self.feed_due) {
                self.feed_all(now, mesh, effects);
            }
        }
        self.collect_on(now, effects);
        if self.feeds.collecting_is_over(now) {
            self.speak(now, mesh, effects);
        }
        if self.digest_at <= now {
            self.digest_at = now + DIGEST_EVERY;
            self.drop_unwanted(now, mesh);
            self.owned.retain(|_, owned| !owned.is_idle(now));
            self.tell_digests(now, mesh, effects);
        }
        self.tell_intervals(now, effects);
    }

    fn tell_intervals(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.summing.retain(|channel| {
            let Some(owned) = self.owned.get_mut(channel) else { return false };
            owned.tell_interval(now, channel, effects);
            owned.interval_due().is_some()
        });
    }

    fn flush_soon(&mut self, now: Duration) {
        self.flush_at.get_or_insert(now + FLUSH_EVERY);
    }

    /// Others than before may want channels, or own them.
    fn feed_soon(&mut self, now: Duration) {
        self.feed_due = true;
        self.flush_soon(now);
    }

    /// Tells the owners in this region what happened here.
    fn flush(&mut self, now: Duration, mesh: &impl Mesh, effects: &mut Vec<Effect>) {
        for change in self.local.flush() {
            let owner = self.owner_here(mesh.slot(&change.channel));
            if !self.local.is_on(&change.channel) {
                self.feeds.forget_told(&change.channel);
            } else if let Some(owner) = &owner {
                self.feeds.told(&change.channel, owner.clone());
            }
            let Some(owner) = owner else { continue };
            self.tell_owner(now, mesh, owner, change, false, effects);
        }
    }

    fn tell_owner(
        &mut self,
        now: Duration,
        mesh: &impl Mesh,
        owner: NodeName,
        change: PartChange,
        catch_up: bool,
        effects: &mut Vec<Effect>,
    ) {
        if owner == self.local.writer().node {
            self.take_change(now, mesh, &owner, &change, catch_up, effects);
        } else {
            effects.push(Effect::Send { to: owner, frame: PresenceFrame::Change { change, catch_up } });
        }
    }

    fn owner_here(&self, slot: Slot) -> Option<NodeName> {
        self.owner_in(&self.region, slot)
    }

    fn owner_in(&self, region: &RegionName, slot: Slot) -> Option<NodeName> {
        let view = self.routes.view();
        let owner = self.routes.owner(view.region_index(region)?, slot)?;
        Some(view.member(owner).name.clone())
    }

    fn draw_life(&mut self) -> Life {
        // SplitMix64 (Steele, Lea, Flood 2014): lives of one node must differ, and a seed gives the same ones again.
        self.next_life = self.next_life.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.next_life ^ (self.next_life >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Life(mixed ^ (mixed >> 31))
    }
}
