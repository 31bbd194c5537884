//! The other nodes as this one reaches them: their links and their wishes. What the router and the tasks of links share;
//! the tasks themselves are in `link`.

mod advice;
mod ask;
mod link;
mod outbox;
mod presence;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use farwire_core::interest::{Applied, InterestTable, TooManyPeers};
use farwire_wire::peer::{Addressed, Interest, Relayed};
use farwire_wire::presence::PresenceFrame;
use farwire_wire::{ChannelName, NodeName, RegionName, ViewDigest};

pub(crate) use advice::{OTHER_NODE_ADVICE, dial_advice};
pub(crate) use ask::{AskError, FRAMES_TIMEOUT, QUERY_TIMEOUT, ask, ask_frames};
pub(crate) use link::{Direct, Link, LinkMeters, Path};
pub(crate) use outbox::{Outbox, Parcel};
pub(crate) use presence::{PresenceFrames, PresenceOutbox};
pub(crate) use view::PeerView;

use crate::sync::lock;
use crate::sync::watch;

/// Longest time for one dial of a peer.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Where the members are, as SWIM tells.
pub(crate) type Addresses = BTreeMap<NodeName, Whereabouts>;

/// Where a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    /// What it advertises.
    pub(crate) address: SocketAddr,
    /// Whether SWIM takes it for alive, or only suspects it.
    pub(crate) alive: bool,
}

/// The peers that can be reached.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    interest: RwLock<InterestTable>,
    links: ArcSwap<Links>,
    /// Held while links change, so that the two above change together.
    changing: Mutex<()>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
    /// Counts the changes of what peers want of presence.
    presence_wishes: watch::Sender<u64>,
}

/// The links, and the ways that are used: a link that is heard, or a conversation through another peer. Ways are kept by
/// name and by the number that the interest table gave.
#[derive(Debug, Default, Clone)]
struct Links {
    direct: BTreeMap<NodeName, Arc<Link>>,
    ways: BTreeMap<NodeName, Arc<Link>>,
    by_id: Vec<Option<Arc<Link>>>,
}

impl Peers {
    /// A link came up. The one that it replaces, if any, is returned.
    pub(crate) fn add(&self, now: Duration, link: &Arc<Link>) -> Result<Option<Arc<Link>>, TooManyPeers> {
        self.change(|links, interest| {
            links.take_way(interest, now, link)?;
            Ok(links.direct.insert(link.node.clone(), link.clone()))
        })
    }

    /// A link went down; `false` when another one has replaced it already.
    pub(crate) fn remove(&self, link: &Arc<Link>) -> bool {
        self.change(|links, interest| {
            let current = links.is_direct(link);
            if current {
                links.direct.remove(&link.node);
                links.drop_way(interest, link);
            }
            current
        })
    }

    /// Nothing is heard over a link any more; `false` when that is no news, or another link has replaced it.
    pub(crate) fn silence(&self, link: &Arc<Link>) -> bool {
        self.change(|links, interest| {
            let Some(direct) = link.direct().filter(|_| links.is_direct(link)) else { return false };
            links.drop_way(interest, link);
            !direct.silent.swap(true, Ordering::Relaxed)
        })
    }

    /// A link is heard again; `false` when that is no news, or another link has replaced it.
    pub(crate) fn hear(&self, now: Duration, link: &Arc<Link>) -> bool {
        self.change(|links, interest| {
            let Some(direct) = link.direct().filter(|_| links.is_direct(link)) else { return false };
            direct.silent.swap(false, Ordering::Relaxed) && links.take_way(interest, now, link).is_ok()
        })
    }

    /// Begins a conversation through a relay; `false` when there is a live link.
    pub(crate) fn begin(&self, now: Duration, link: &Arc<Link>) -> bool {
        self.change(|links, interest| links.live(&link.node).is_none() && links.take_way(interest, now, link).is_ok())
    }

    /// Ends a conversation through a relay.
    pub(crate) fn end(&self, link: &Arc<Link>) {
        self.change(|links, interest| links.drop_way(interest, link));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Links, &mut InterestTable) -> T) -> T {
        let _changing = lock(&self.changing);
        let mut links = Links::clone(&self.links.load());
        let mut interest = self.interest.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut links, &mut interest);
        self.links.store(Arc::new(links));
        drop(interest);
        self.changes.send_modify(|count| *count += 1);
        self.presence_wishes.send_modify(|count| *count += 1);
        changed
    }

    /// The link to a node, if there is one.
    pub(crate) fn find(&self, name: &NodeName) -> Option<Arc<Link>> {
        self.links.load().direct.get(name).cloned()
    }

    /// All links, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.links.load().direct.values().cloned().collect()
    }

    /// The way to a node that is used now.
    pub(crate) fn way(&self, name: &NodeName) -> Option<Arc<Link>> {
        self.links.load().ways.get(name).cloned()
    }

    /// The way to each node that can be reached now, by name.
    pub(crate) fn ways(&self) -> Vec<Arc<Link>> {
        self.links.load().ways.values().cloned().collect()
    }

    /// Whether there is a link to a node over which it is heard.
    pub(crate) fn is_live(&self, name: &NodeName) -> bool {
        self.links.load().live(name).is_some()
    }

    /// Waits until there is such a link, or until there is none. Cancel safe.
    pub(crate) async fn until(&self, name: &NodeName, is_live: bool) {
        let mut changes = self.changes.subscribe();
        while self.is_live(name) != is_live {
            // The sender is part of the same value.
            let _never_ends = changes.changed().await;
        }
    }

    /// Queues a message for a node; `false` when there is no way to it, or its queue is full.
    pub(crate) fn send(&self, name: &NodeName, parcel: Parcel) -> bool {
        let links = self.links.load();
        links.ways.get(name).is_some_and(|link| links.send(link, parcel))
    }

    /// Queues messages that a peer without a link to `name` sent here for it, and returns how many were shed. They take
    /// the link to it or none, so that nothing goes in a circle.
    pub(crate) fn relay(&self, name: &NodeName, parcels: impl Iterator<Item = Parcel>) -> u64 {
        let links = self.links.load();
        let link = links.live(name);
        parcels.map(|parcel| u64::from(!link.is_some_and(|direct| direct.send(parcel)))).sum()
    }

    /// Calls `found` with the way to every peer that wants messages of `channel` (or to every peer, for `everybody`) and
    /// what queues a message on it.
    pub(crate) fn for_each_interested(
        &self,
        now: Duration,
        channel: &ChannelName,
        everybody: bool,
        mut found: impl FnMut(&Arc<Link>, &dyn Fn(Parcel) -> bool),
    ) {
        let interest = self.interest.read().unwrap_or_else(PoisonError::into_inner);
        let peers = if everybody { interest.everybody() } else { interest.interested(now, channel) };
        drop(interest);
        if peers.is_empty() {
            return;
        }
        let links = self.links.load();
        for link in peers.iter().filter_map(|peer| links.by_id.get(peer.index())?.as_ref()) {
            found(link, &|parcel| links.send(link, parcel));
        }
    }

    /// A peer told its wishes over `link`. `None`, and they are passed over, when that is not the way to it: they may be
    /// older than what came over the way, and once the link is the way again they are told anew.
    pub(crate) fn told(&self, link: &Arc<Link>, interest: &Interest) -> Option<Applied> {
        // The lock is held while ways change, see `change`.
        let mut table = self.interest.write().unwrap_or_else(PoisonError::into_inner);
        if !self.way(&link.node).is_some_and(|way| Arc::ptr_eq(&way, link)) {
            return None;
        }
        let applied = table.apply(&link.node, interest);
        drop(table);
        let mut patterns = interest.add.iter().chain(&interest.remove);
        if interest.whole || patterns.any(|pattern| pattern.subject().is_some()) {
            self.presence_wishes.send_modify(|count| *count += 1);
        }
        Some(applied)
    }

    /// Tells when what peers want of presence may have changed; the value counts the changes.
    pub(crate) fn presence_wishes(&self) -> watch::Receiver<u64> {
        self.presence_wishes.subscribe()
    }

    /// The regions of the peers that have said that they want messages of `channel`.
    pub(crate) fn regions_wishing(&self, channel: &ChannelName) -> BTreeSet<RegionName> {
        let wishing = self.interest.read().unwrap_or_else(PoisonError::into_inner).wishing(channel);
        if wishing.is_empty() {
            return BTreeSet::new();
        }
        let links = self.links.load();
        wishing
            .iter()
            .filter_map(|peer| links.by_id.get(peer.index())?.as_ref())
            .map(|link| link.region.clone())
            .collect()
    }

    /// Queues news of presence for a node, over its link or through another node's; `false` when there is no way to it,
    /// or no room.
    pub(crate) fn send_presence(&self, to: &NodeName, frame: PresenceFrame) -> bool {
        let links = self.links.load();
        let Some(link) = links.ways.get(to) else { return false };
        let (direct, relayed) = match &link.path {
            Path::Direct(direct) => (Some(direct), Relayed::No),
            Path::Through(relay) => (links.live(relay), Relayed::To(to.clone())),
        };
        direct.is_some_and(|direct| direct.presence.push(Addressed { relayed, frame }.encode()))
    }

    /// Queues what `from` sent here for a node that it has no link to. It takes the link to it or none, so that nothing
    /// goes in a circle.
    pub(crate) fn relay_presence(&self, from: &NodeName, to: &NodeName, frame: PresenceFrame) -> bool {
        let links = self.links.load();
        let frame = Addressed { relayed: Relayed::From(from.clone()), frame };
        links.live(to).is_some_and(|direct| direct.presence.push(frame.encode()))
    }

    /// Another view is in force.
    pub(crate) fn set_view(&self, now: Duration, view: ViewDigest) {
        self.interest.write().unwrap_or_else(PoisonError::into_inner).set_view(now, view);
    }

    /// Waits until every one of `links` acts on local change number `change`, at most for `patience`; returns the
    /// links that do not yet. Cancel safe.
    pub(crate) async fn confirmed(links: Vec<Arc<Link>>, change: u64, patience: Duration) -> Vec<Arc<Link>> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut late = Vec::new();
        for link in links {
            let mut confirmed = link.confirmed.subscribe();
            let waited = tokio::time::timeout_at(deadline, confirmed.wait_for(|done| *done >= change)).await;
            if !matches!(waited, Ok(Ok(_))) {
                late.push(link);
            }
        }
        late
    }
}

impl Links {
    /// The connection to a node over which it is heard.
    fn live(&self, name: &NodeName) -> Option<&Direct> {
        self.direct.get(name)?.direct().filter(|direct| !direct.is_silent())
    }

    fn is_direct(&self, link: &Arc<Link>) -> bool {
        self.direct.get(&link.node).is_some_and(|current| Arc::ptr_eq(current, link))
    }

    fn send(&self, link: &Link, parcel: Parcel) -> bool {
        match &link.path {
            Path::Direct(direct) => direct.send(parcel),
            Path::Through(relay) => {
                let relay_to = Some(link.node.clone());
                self.live(relay).is_some_and(|direct| direct.send(Parcel { relay_to, ..parcel }))
            }
        }
    }

    /// Makes `link` the way to its peer, which has told nothing over it yet.
    fn take_way(&mut self, interest: &mut InterestTable, now: Duration, link: &Arc<Link>) -> Result<(), TooManyPeers> {
        if let Some(old) = self.ways.get(&link.node).cloned() {
            self.drop_way(interest, &old);
        }
        let id = interest.add(now, &link.node)?;
        if self.by_id.len() <= id.index() {
            self.by_id.resize(id.index() + 1, None);
        }
        self.by_id[id.index()] = Some(link.clone());
        self.ways.insert(link.node.clone(), link.clone());
        Ok(())
    }

    /// `link` is no way to its peer any more, if it was the one.
    fn drop_way(&mut self, interest: &mut InterestTable, link: &Arc<Link>) {
        if self.ways.get(&link.node).is_some_and(|way| Arc::ptr_eq(way, link)) {
            self.ways.remove(&link.node);
            interest.remove(&link.node);
            for place in &mut self.by_id {
                place.take_if(|other| Arc::ptr_eq(other, link));
            }
        }
    }
}
