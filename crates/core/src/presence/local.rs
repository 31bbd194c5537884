//! What this node's own sessions do on channels: the one place that writes this node's parts.
//!
//! It counts joins and leaves, lists who is there, and collects what changed since the last [`flush`](Local::flush)
//! into one [`PartChange`] per channel. A session whose connection was lost stays for [`GRACE`], so that a client that
//! comes back at once was never away. Sends nothing and reads no clock; [`Presence`](super::Presence) calls it.
//!
//! Invariants: joins − leaves equals the number of stays listed; ops grow within a life; the first change of a channel
//! after nobody was there is whole, so a copy of an older stretch cannot survive it. What one session does costs the same
//! however many others there are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use farwire_wire::ids::{Instance, Life};
use farwire_wire::names::{ChannelName, ClientId, NodeName};
use farwire_wire::presence::{Exit, Occupant, PartChange, PresenceId, PresenceState, Stamp, Writer};

/// How long a lost session is taken for one that comes back.
pub const GRACE: Duration = Duration::from_secs(10);
/// How far a stamp seen elsewhere may be ahead of this node's clock and still move it.
const STAMP_AHEAD_US: u64 = 500_000;

/// The sessions of this node and the channels that they are on.
#[derive(Debug)]
pub struct Local {
    writer: Writer,
    op: u64,
    stamp: Stamp,
    sessions: BTreeMap<PresenceId, Session>,
    /// The sessions with an end, in its order.
    ending: BTreeSet<(Duration, PresenceId)>,
    channels: BTreeMap<ChannelName, LocalPart>,
    dirty: BTreeSet<ChannelName>,
    /// Over all channels.
    stays: u64,
}

#[derive(Debug)]
struct Session {
    moves: u32,
    channels: BTreeSet<ChannelName>,
    /// The connection is lost; at this time the stays end.
    ends_at: Option<Duration>,
}

#[derive(Debug, Default)]
struct LocalPart {
    joins: u64,
    leaves: u64,
    occupants: BTreeMap<PresenceId, Occupant>,
    /// The newest op, and the one up to which it was flushed.
    op: u64,
    told: u64,
    touched: BTreeMap<PresenceId, Option<Exit>>,
}

impl Local {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(node: NodeName, life: Life) -> Self {
        Self {
            writer: Writer { node, life },
            op: 0,
            stamp: Stamp::default(),
            sessions: BTreeMap::new(),
            ending: BTreeSet::new(),
            channels: BTreeMap::new(),
            dirty: BTreeSet::new(),
            stays: 0,
        }
    }

    /// Under whose name the parts are told.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// A session of this node enters a channel, or says something else of itself there. `moves` counts the connections
    /// of the client's SDK; a session with fewer than another had here is stale and changes nothing.
    pub fn enter(&mut self, id: &PresenceId, moves: u32, channel: &ChannelName, state: PresenceState, wall_us: u64) {
        let fresh = || Session { moves, channels: BTreeSet::new(), ends_at: None };
        let session = self.sessions.entry(id.clone()).or_insert_with(fresh);
        if moves < session.moves {
            return;
        }
        session.moves = moves;
        if let Some(at) = session.ends_at.take() {
            self.ending.remove(&(at, id.clone()));
        }
        session.channels.insert(channel.clone());
        self.stamp = Stamp(wall_us.max(self.stamp.0 + 1));
        self.op += 1;
        let part = self.channels.entry(channel.clone()).or_default();
        part.op = self.op;
        let since_us = part.occupants.get(id).map_or(wall_us, |before| before.since_us);
        let occupant = Occupant { moves, since_us, stamp: self.stamp, state };
        if part.occupants.insert(id.clone(), occupant).is_none() {
            part.joins += 1;
            self.stays += 1;
        }
        part.touched.insert(id.clone(), None);
        self.dirty.insert(channel.clone());
    }

    /// A session leaves one channel.
    pub fn leave(&mut self, id: &PresenceId, moves: u32, channel: &ChannelName) {
        if self.sessions.get(id).is_some_and(|session| session.moves == moves) {
            self.exit(id, channel, Exit::Left);
        }
    }

    /// A session ended. In order: its stays end now. Lost: they end after [`GRACE`] unless it comes back.
    pub fn ended(&mut self, now: Duration, id: &PresenceId, moves: u32, in_order: bool) {
        let Some(session) = self.sessions.get_mut(id).filter(|session| session.moves == moves) else { return };
        if in_order {
            self.exit_all(id, Exit::Left);
        } else {
            let ends_at = now + GRACE;
            if let Some(before) = session.ends_at.replace(ends_at) {
                self.ending.remove(&(before, id.clone()));
            }
            self.ending.insert((ends_at, id.clone()));
        }
    }

    /// Another writer has the stay, with more moves: it ends here without an event.
    pub fn superseded(&mut self, id: &PresenceId, moves: u32, channel: &ChannelName) {
        if self.sessions.get(id).is_some_and(|session| session.moves < moves) {
            self.exit(id, channel, Exit::Moved);
        }
    }

    /// A stamp was seen elsewhere: later states are stamped above it, unless it is too far ahead to be true.
    pub fn observe(&mut self, stamp: Stamp, wall_us: u64) {
        self.stamp = self.stamp.max(Stamp(stamp.0.min(wall_us + STAMP_AHEAD_US)));
    }

    /// Ends the stays of sessions that did not come back by `now`.
    pub fn expire(&mut self, now: Duration) {
        while self.ending.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, id)) = self.ending.pop_first() {
                self.exit_all(&id, Exit::Timeout);
            }
        }
    }

    /// When [`expire`](Self::expire) has something to do next.
    #[must_use]
    pub fn expires_at(&self) -> Option<Duration> {
        self.ending.first().map(|(at, _)| *at)
    }

    /// Whether [`flush`](Self::flush) has something to tell.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What changed since the last call, one change per channel.
    pub fn flush(&mut self) -> Vec<PartChange> {
        let dirty = std::mem::take(&mut self.dirty);
        let changes = dirty.iter().filter_map(|channel| self.change(channel)).collect();
        for channel in dirty {
            if self.channels.get(&channel).is_some_and(|part| part.occupants.is_empty()) {
                self.channels.remove(&channel);
            }
        }
        changes
    }

    /// The whole part of one channel; empty where nobody is.
    #[must_use]
    pub fn whole(&self, channel: &ChannelName) -> PartChange {
        let nobody = LocalPart { op: self.op, ..LocalPart::default() };
        let part = self.channels.get(channel).unwrap_or(&nobody);
        PartChange {
            writer: self.writer.clone(),
            channel: channel.clone(),
            from: 0,
            to: part.op,
            whole: true,
            joins: part.joins,
            leaves: part.leaves,
            present: part.occupants.iter().map(|(id, occupant)| (id.clone(), occupant.clone())).collect(),
            gone: Vec::new(),
        }
    }

    /// The channels that anybody of this node is on, with the newest op of each.
    pub fn channels(&self) -> impl Iterator<Item = (&ChannelName, u64)> {
        self.channels.iter().map(|(channel, part)| (channel, part.op))
    }

    /// The channels that a client is on here, and since when.
    pub fn places(&self, client: &ClientId) -> impl Iterator<Item = (&ChannelName, u64)> {
        let first = PresenceId { client: client.clone(), instance: Instance(0) };
        let sessions = self.sessions.range(first..).take_while(move |(id, _)| id.client == *client);
        let since =
            |id: &PresenceId, channel: &ChannelName| Some(self.channels.get(channel)?.occupants.get(id)?.since_us);
        sessions.flat_map(move |(id, session)| {
            session.channels.iter().filter_map(move |channel| Some((channel, since(id, channel)?)))
        })
    }

    /// Stays of this node's sessions.
    #[must_use]
    pub fn stays(&self) -> u64 {
        self.stays
    }

    /// Whether anybody of this node is on a channel.
    #[must_use]
    pub fn is_on(&self, channel: &ChannelName) -> bool {
        self.channels.contains_key(channel)
    }

    /// Begins another life: the old one was buried elsewhere. Everybody who is here joins anew.
    pub fn renew(&mut self, life: Life) {
        self.writer.life = life;
        for (channel, part) in &mut self.channels {
            self.op += 1;
            part.op = self.op;
            part.joins = part.occupants.len() as u64;
            part.leaves = 0;
            part.told = 0;
            part.touched = part.occupants.keys().map(|id| (id.clone(), None)).collect();
            self.dirty.insert(channel.clone());
        }
    }

    fn exit_all(&mut self, id: &PresenceId, exit: Exit) {
        let channels = self.sessions.get(id).map(|session| session.channels.clone()).unwrap_or_default();
        channels.iter().for_each(|channel| self.exit(id, channel, exit));
    }

    fn exit(&mut self, id: &PresenceId, channel: &ChannelName, exit: Exit) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.channels.remove(channel);
            if session.channels.is_empty() {
                if let Some(at) = session.ends_at {
                    self.ending.remove(&(at, id.clone()));
                }
                self.sessions.remove(id);
            }
        }
        let Some(part) = self.channels.get_mut(channel) else { return };
        if part.occupants.remove(id).is_some() {
            self.op += 1;
            part.op = self.op;
            part.leaves += 1;
            self.stays -= 1;
            part.touched.insert(id.clone(), Some(exit));
            self.dirty.insert(channel.clone());
        }
    }

    fn change(&mut self, channel: &ChannelName) -> Option<PartChange> {
        let part = self.channels.get_mut(channel)?;
        let mut present = Vec::new();
        let mut gone = Vec::new();
        for (id, exit) in std::mem::take(&mut part.touched) {
            match (part.occupants.get(&id), exit) {
                (Some(occupant), _) => present.push((id, occupant.clone())),
                (None, exit) => gone.push((id, exit.unwrap_or(Exit::Left))),
            }
        }
        let from = std::mem::replace(&mut part.told, part.op);
        Some(PartChange {
            writer: self.writer.clone(),
            channel: channel.clone(),
            from,
            to: part.op,
            whole: from == 0,
            joins: part.joins,
            leaves: part.leaves,
            present,
            gone,
        })
    }
}
