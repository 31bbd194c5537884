//! What the other nodes want of the volatile messages that this node owns. Soft state: each peer tells its wishes over
//! its link in numbered frames, repeats the number now and then, and tells everything anew when a number is missing.
//!
//! Pure; the caller passes the time. Invariant: a message is sent to a peer that might want it rather than missed by
//! one that does: while a peer has not yet told its wishes under the view in force, it counts as wanting everything,
//! for [`GRACE`] at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use farwire_wire::limits::MEMBERS_MAX;
use farwire_wire::peer::Interest;
use farwire_wire::{ChannelName, NodeName, Pattern, ViewDigest};

use crate::patterns::PatternMap;

/// How long a new owner sends everything to a peer whose wishes it does not know yet.
pub const GRACE: Duration = Duration::from_secs(2);
/// How often a node repeats the number of its newest wishes.
pub const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// The number that an [`InterestTable`] gave a peer: small, so that a set of peers is a few machine words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u8);

impl PeerId {
    /// The id as an index below [`MEMBERS_MAX`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerSet([u64; MEMBERS_MAX / 64]);

impl PeerSet {
    /// Adds a peer.
    pub fn insert(&mut self, peer: PeerId) {
        self.0[peer.index() / 64] |= 1 << (peer.index() % 64);
    }

    /// Takes a peer out.
    pub fn remove(&mut self, peer: PeerId) {
        self.0[peer.index() / 64] &= !(1 << (peer.index() % 64));
    }

    /// Whether the peer is in the set.
    #[must_use]
    pub fn contains(&self, peer: PeerId) -> bool {
        self.0[peer.index() / 64] & (1 << (peer.index() % 64)) != 0
    }

    /// Whether nobody is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The peers of both sets.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    /// The peers in order.
    pub fn iter(&self) -> impl Iterator<Item = PeerId> {
        let set = *self;
        (0..=u8::MAX).map(PeerId).filter(move |peer| set.contains(*peer))
    }
}

/// What became of a frame of wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// In force up to this version: acknowledge it.
    Yes(u64),
    /// A frame before it is missing: ask for everything.
    Missing,
}

/// More than [`MEMBERS_MAX`] peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mesh has at most {MEMBERS_MAX} members")]
pub struct TooManyPeers;

/// The wishes of all linked peers.
#[derive(Debug, Default)]
pub struct InterestTable {
    peers: BTreeMap<NodeName, Peer>,
    used: PeerSet,
    wishes: PatternMap<PeerId>,
    /// Peers that have not told their wishes under `view`, and until when they count as wanting everything.
    unsynced: PeerSet,
    grace_until: Duration,
    view: ViewDigest,
}

#[derive(Debug)]
struct Peer {
    id: PeerId,
    version: u64,
    patterns: BTreeSet<Pattern>,
}

impl InterestTable {
    /// A peer's link came up: it has told nothing yet. Its id is its own until [`remove`](Self::remove).
    ///
    /// # Errors
    /// Every id is taken; the peer is not added.
    pub fn add(&mut self, now: Duration, name: &NodeName) -> Result<PeerId, TooManyPeers> {
        self.remove(name);
        let id = (0..=u8::MAX).map(PeerId).find(|id| !self.used.contains(*id)).ok_or(TooManyPeers)?;
        self.used.insert(id);
        self.unsynced.insert(id);
        self.grace_until = self.grace_until.max(now + GRACE);
        self.peers.insert(name.clone(), Peer { id, version: 0, patterns: BTreeSet::new() });
        Ok(id)
    }

    /// A peer's link went down: its wishes are void.
    pub fn remove(&mut self, name: &NodeName) {
        if let Some(peer) = self.peers.remove(name) {
            peer.patterns.iter().for_each(|pattern| self.wishes.remove(pattern, peer.id));
            self.used.remove(peer.id);
            self.unsynced.remove(peer.id);
        }
    }

    /// Another view is in force: owners may have changed, so every peer has to tell its wishes under it.
    pub fn set_view(&mut self, now: Duration, view: ViewDigest) {
        if self.view != view {
            self.view = view;
            self.unsynced = self.used;
            self.grace_until = now + GRACE;
        }
    }

    /// Applies a frame of wishes of the peer.
    pub fn apply(&mut self, name: &NodeName, interest: &Interest) -> Applied {
        let Some(peer) = self.peers.get_mut(name) else {
            return Applied::Missing;
        };
        if !interest.whole && interest.version != peer.version + 1 {
            return Applied::Missing;
        }
        peer.version = interest.version;
        if interest.whole {
            std::mem::take(&mut peer.patterns).iter().for_each(|pattern| self.wishes.remove(pattern, peer.id));
        }
        for pattern in &interest.remove {
            if peer.patterns.remove(pattern) {
                self.wishes.remove(pattern, peer.id);
            }
        }
        for pattern in &interest.add {
            if peer.patterns.insert(pattern.clone()) {
                self.wishes.insert(pattern, peer.id);
            }
        }
        if interest.view == self.view {
            self.unsynced.remove(peer.id);
        }
        Applied::Yes(interest.version)
    }

    /// The peers that want messages of `channel`.
    #[must_use]
    pub fn interested(&self, now: Duration, channel: &ChannelName) -> PeerSet {
        let mut set = if now < self.grace_until { self.unsynced } else { PeerSet::default() };
        self.wishes.for_each_match(channel, |peer| set.insert(peer));
        set
    }

    /// The peers that have said that they want messages of `channel`.
    #[must_use]
    pub fn wishing(&self, channel: &ChannelName) -> PeerSet {
        let mut set = PeerSet::default();
        self.wishes.for_each_match(channel, |peer| set.insert(peer));
        set
    }

    /// All peers.
    #[must_use]
    pub fn everybody(&self) -> PeerSet {
        self.used
    }

    /// The names and numbers of wishes of all linked peers, for the admin page.
    pub fn peers(&self) -> impl Iterator<Item = (&NodeName, usize)> {
        self.peers.iter().map(|(name, peer)| (name, peer.patterns.len()))
    }

    /// The wishes of a peer.
    pub fn patterns_of(&self, name: &NodeName) -> impl Iterator<Item = &Pattern> {
        self.peers.get(name).into_iter().flat_map(|peer| peer.patterns.iter())
    }
}

/// The wishes that this node has told one peer, and what to tell it next.
#[derive(Debug, Default)]
pub struct Told {
    version: u64,
    patterns: BTreeSet<Pattern>,
    view: Option<ViewDigest>,
}

impl Told {
    /// The frame that makes the peer know `wanted` under `view`; `None` when it was told already.
    pub fn tell(&mut self, view: ViewDigest, wanted: BTreeSet<Pattern>) -> Option<Interest> {
        let whole = self.version == 0;
        let add: Vec<_> = wanted.difference(&self.patterns).cloned().collect();
        let remove: Vec<_> = self.patterns.difference(&wanted).cloned().collect();
        if !whole && add.is_empty() && remove.is_empty() && self.view == Some(view) {
            return None;
        }
        self.version += 1;
        self.patterns = wanted;
        self.view = Some(view);
        Some(Interest { version: self.version, view, whole, add, remove })
    }

    /// The frame that repeats the newest number, so that a peer that missed something notices.
    pub fn refresh(&mut self, view: ViewDigest) -> Interest {
        self.version += 1;
        self.view = Some(view);
        Interest { version: self.version, view, whole: false, add: Vec::new(), remove: Vec::new() }
    }

    /// The peer lacks a frame: tell everything next time.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What the peer has been told to send.
    #[must_use]
    pub fn patterns(&self) -> &BTreeSet<Pattern> {
        &self.patterns
    }

    /// The number of the newest frame.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LATER: Duration = Duration::from_secs(60);

    fn name(text: &str) -> NodeName {
        NodeName::parse(text).unwrap()
    }

    fn wanted(texts: &[&str]) -> BTreeSet<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    fn wants(table: &InterestTable, now: Duration, channel: &str) -> bool {
        !table.interested(now, &ChannelName::parse(channel).unwrap()).is_empty()
    }

    #[test]
    fn a_peer_that_has_told_nothing_wants_everything_for_two_seconds() {
        let mut table = InterestTable::default();
        table.add(Duration::ZERO, &name("b")).unwrap();
        assert!(wants(&table, Duration::from_millis(1_999), "x"));
        assert!(!wants(&table, Duration::from_millis(2_000), "x"));
    }

    #[test]
    fn a_new_view_asks_every_peer_again() {
        let mut table = InterestTable::default();
        let mut told = Told::default();
        table.add(Duration::ZERO, &name("b")).unwrap();
        table.set_view(Duration::ZERO, ViewDigest(1));
        table.apply(&name("b"), &told.tell(ViewDigest(1), wanted(&["y"])).unwrap());
        assert!(!wants(&table, Duration::from_millis(1), "x"), "told under the view in force");
        table.set_view(LATER, ViewDigest(2));
        assert!(wants(&table, LATER, "x"));
        table.apply(&name("b"), &told.tell(ViewDigest(2), wanted(&["y"])).unwrap());
        assert!(!wants(&table, LATER, "x"));
    }

    #[test]
    fn a_missing_frame_is_noticed_and_mended_by_telling_everything() {
        let mut table = InterestTable::default();
        let mut told = Told::default();
        table.add(Duration::ZERO, &name("b")).unwrap();
        table.apply(&name("b"), &told.tell(ViewDigest(1), wanted(&["x"])).unwrap());
        let _lost = told.tell(ViewDigest(1), wanted(&["x", "y"]));
        assert_eq!(table.apply(&name("b"), &told.refresh(ViewDigest(1))), Applied::Missing);
        told.forget();
        let whole = told.tell(ViewDigest(1), wanted(&["y"])).unwrap();
        assert_eq!(table.apply(&name("b"), &whole), Applied::Yes(1));
        assert!(wants(&table, LATER, "y") && !wants(&table, LATER, "x"));
    }

    #[test]
    fn ids_are_used_again_and_never_beyond_the_mesh_limit() {
        let mut table = InterestTable::default();
        for n in 0..MEMBERS_MAX {
            table.add(LATER, &name(&format!("n{n}"))).unwrap();
        }
        assert_eq!(table.add(LATER, &name("one-more")), Err(TooManyPeers));
        table.remove(&name("n7"));
        assert_eq!(table.add(LATER, &name("one-more")).map(PeerId::index), Ok(7));
    }

    proptest! {
        #[test]
        fn after_any_changes_the_table_knows_what_was_told_last(
            rounds in prop::collection::vec((prop::collection::btree_set(0..6_u8, 0..6), any::<bool>()), 1..20),
        ) {
            let mut table = InterestTable::default();
            let mut told = Told::default();
            table.add(Duration::ZERO, &name("b")).unwrap();
            for (set, lose) in rounds {
                let set: BTreeSet<_> = set.iter().map(|n| Pattern::parse(&format!("c{n}")).unwrap()).collect();
                let frame = told.tell(ViewDigest(1), set.clone());
                if let Some(frame) = frame.filter(|_| !lose) {
                    table.apply(&name("b"), &frame);
                }
                if table.apply(&name("b"), &told.refresh(ViewDigest(1))) == Applied::Missing {
                    told.forget();
                    let whole = told.tell(ViewDigest(1), set.clone()).expect("the first frame is whole");
                    table.apply(&name("b"), &whole);
                }
                prop_assert_eq!(table.patterns_of(&name("b")).cloned().collect::<BTreeSet<_>>(), set);
            }
        }
    }
}
