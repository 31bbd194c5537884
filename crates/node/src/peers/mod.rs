//! The other nodes as this one reaches them: their links and their wishes. What the router and the tasks of links share;
//! the tasks themselves are in `link`.

mod advice;
mod ask;
mod outbox;
mod view;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use farwire_core::interest::{Applied, InterestTable, PeerId, TooManyPeers};
use farwire_transport::Connection;
use farwire_wire::peer::{Interest, LinkState, PeerFrame, PeerHello};
use farwire_wire::{ChannelName, NodeName, RegionName, ViewDigest};
use tokio::sync::watch;

pub(crate) use advice::{OTHER_NODE_ADVICE, dial_advice};
pub(crate) use ask::{QUERY_TIMEOUT, ask};
pub(crate) use outbox::{Outbox, Parcel};
pub(crate) use view::PeerView;

use crate::queue::{self, Meter};
use crate::sync::lock;

/// Longest time for one dial of a peer.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Frames that wait for a control stream; whoever adds one waits for room.
const CONTROL_QUEUE: usize = 64;

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

/// The linked peers.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    interest: RwLock<InterestTable>,
    links: ArcSwap<Links>,
    /// Held while links change, so that the two above change together.
    changing: Mutex<()>,
}

/// The links that are up, by name and by the number that the interest table gave.
#[derive(Debug, Default, Clone)]
struct Links {
    by_name: BTreeMap<NodeName, Arc<Link>>,
    by_id: Vec<Option<Arc<Link>>>,
}

/// The meters of a link's queues.
#[derive(Debug)]
pub(crate) struct LinkMeters {
    pub(crate) control: Meter,
    pub(crate) messages: Meter,
}

/// A link that is up.
#[derive(Debug)]
pub(crate) struct Link {
    /// The peer.
    pub(crate) node: NodeName,
    /// Its region.
    pub(crate) region: RegionName,
    /// The connection.
    pub(crate) connection: Connection,
    /// Messages towards it.
    pub(crate) outbox: Outbox,
    /// Up to which change of local wishes the peer acts.
    pub(crate) confirmed: watch::Sender<u64>,
    /// Wishes told and not confirmed yet.
    pub(crate) outstanding: Outstanding,
    /// Frames for the control stream.
    pub(crate) control: queue::Sender<PeerFrame>,
    /// The view that the peer acts on.
    pub(crate) view: PeerView,
}

impl Link {
    /// A link to the peer that said `hello`, and the frames that are to be written to its control stream.
    pub(crate) fn new(
        hello: &PeerHello,
        connection: Connection,
        bytes_max: usize,
        meters: LinkMeters,
    ) -> (Self, queue::Receiver<PeerFrame>) {
        let (control, frames) = queue::bounded(CONTROL_QUEUE, meters.control);
        let link = Self {
            node: hello.node.clone(),
            region: hello.region.clone(),
            connection,
            control,
            outbox: Outbox::new(bytes_max, meters.messages),
            confirmed: watch::Sender::new(0),
            outstanding: Outstanding::default(),
            view: PeerView::default(),
        };
        (link, frames)
    }

    /// Puts a frame on the control stream, unless its queue is full.
    pub(crate) fn say(&self, frame: PeerFrame) {
        let _full_or_gone = self.control.offer(frame);
    }

    /// Queues a message; `false` when it was shed.
    pub(crate) fn send(&self, parcel: Parcel) -> bool {
        self.outbox.push(parcel)
    }

    /// The bytes that wait for the link.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// The link as it is told to others.
    pub(crate) fn state(&self) -> LinkState {
        let stats = self.connection.path_stats();
        LinkState {
            peer: self.node.clone(),
            rtt_us: u32::try_from(stats.rtt.as_micros()).unwrap_or(u32::MAX),
            lost_packets: stats.lost_packets,
            sent_packets: stats.sent_packets,
            sent_bytes: stats.sent_bytes,
            received_bytes: stats.received_bytes,
            view: self.view.told(),
        }
    }
}

impl Peers {
    /// A link came up. The one that it replaces, if any, is returned.
    pub(crate) fn add(&self, now: Duration, link: &Arc<Link>) -> Result<Option<Arc<Link>>, TooManyPeers> {
        let _changing = lock(&self.changing);
        let id = self.interest.write().unwrap_or_else(PoisonError::into_inner).add(now, &link.node)?;
        let mut links = Links::clone(&self.links.load());
        let replaced = links.remove(&link.node);
        links.insert(id, link.clone());
        self.links.store(Arc::new(links));
        Ok(replaced)
    }

    /// A link went down; `false` when another one has replaced it already.
    pub(crate) fn remove(&self, link: &Arc<Link>) -> bool {
        let _changing = lock(&self.changing);
        let mut links = Links::clone(&self.links.load());
        if !links.by_name.get(&link.node).is_some_and(|current| Arc::ptr_eq(current, link)) {
            return false;
        }
        links.remove(&link.node);
        self.interest.write().unwrap_or_else(PoisonError::into_inner).remove(&link.node);
        self.links.store(Arc::new(links));
        true
    }

    /// The link to a node, if it is up.
    pub(crate) fn find(&self, name: &NodeName) -> Option<Arc<Link>> {
        self.links.load().by_name.get(name).cloned()
    }

    /// All links that are up, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.links.load().by_name.values().cloned().collect()
    }

    /// Queues a message for a node; `false` when its link is down or full.
    pub(crate) fn send(&self, name: &NodeName, parcel: Parcel) -> bool {
        self.links.load().by_name.get(name).is_some_and(|link| link.send(parcel))
    }

    /// Calls `found` with the link of every peer that wants messages of `channel`.
    pub(crate) fn for_each_interested(&self, now: Duration, channel: &ChannelName, mut found: impl FnMut(&Arc<Link>)) {
        let peers = self.interest.read().unwrap_or_else(PoisonError::into_inner).interested(now, channel);
        if peers.is_empty() {
            return;
        }
        let links = self.links.load();
        peers.iter().filter_map(|peer| links.by_id.get(peer.index())?.as_ref()).for_each(&mut found);
    }

    /// A peer told its wishes.
    pub(crate) fn told(&self, name: &NodeName, interest: &Interest) -> Applied {
        self.interest.write().unwrap_or_else(PoisonError::into_inner).apply(name, interest)
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
    fn insert(&mut self, id: PeerId, link: Arc<Link>) {
        if self.by_id.len() <= id.index() {
            self.by_id.resize(id.index() + 1, None);
        }
        self.by_id[id.index()] = Some(link.clone());
        self.by_name.insert(link.node.clone(), link);
    }

    fn remove(&mut self, name: &NodeName) -> Option<Arc<Link>> {
        let link = self.by_name.remove(name)?;
        for place in &mut self.by_id {
            place.take_if(|other| Arc::ptr_eq(other, &link));
        }
        Some(link)
    }
}

/// Frames of wishes that the peer has not confirmed, and which local change each made known.
#[derive(Debug, Default)]
pub(crate) struct Outstanding(Mutex<std::collections::VecDeque<(u64, u64)>>);

impl Outstanding {
    /// A frame was sent: once `version` is confirmed, the peer acts on `change`.
    pub(crate) fn told(&self, version: u64, change: u64) {
        lock(&self.0).push_back((version, change));
    }

    /// The peer acts on all frames up to `version`.
    pub(crate) fn confirm(&self, version: u64, confirmed: &watch::Sender<u64>) {
        let mut sent = lock(&self.0);
        let mut change = None;
        while sent.front().is_some_and(|(sent_version, _)| *sent_version <= version) {
            change = sent.pop_front().map(|(_, change)| change);
        }
        if let Some(change) = change {
            confirmed.send_modify(|done| *done = change.max(*done));
        }
    }

    /// `change` needs no frame: it is confirmed with the newest one, or at once.
    pub(crate) fn nothing_new(&self, change: u64, confirmed: &watch::Sender<u64>) {
        let mut sent = lock(&self.0);
        match sent.back_mut() {
            Some((_, newest)) => *newest = change,
            None => {
                confirmed.send_modify(|done| *done = change.max(*done));
            }
        }
    }
}
