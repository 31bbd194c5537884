//! The way of a volatile message: from the publisher's node to the owner of its slot, from there to the nodes of the
//! region that want it and once to each other region that does, and there from its owner to the region's nodes.
//!
//! The router asks the placement who owns what and the peers' interest who wants what; it decides nothing else. An
//! owner orders: under the shard's lock it drops what it has seen, appends to its own tail and hands the message to
//! the links, so that every node of the region sees one order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use farwire_core::interest::GRACE;
use farwire_core::placement::{RegionIndex, Routes};
use farwire_core::presence::Detail;
use farwire_wire::limits::HOPS_MAX;
use farwire_wire::peer::{Messages, PeerFrame, Step};
use farwire_wire::presence::PresenceEvent;
use farwire_wire::{ChannelName, Entry, ErrorCode, PublisherId, Slot, ViewDigest, WireError};

use crate::fanout::Fanout;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::peers::{Link, Parcel, Peers};
use crate::tail::Stored;

/// When to try again: a node that starts is in the ring after about this time.
const NOT_IN_RING_RETRY_MS: u32 = 1_000;
/// Views that differ agree within a moment.
const OTHER_VIEW_RETRY_MS: u32 = 250;
/// A link that is full drains a good part of its queue in this time; one that is down is noticed by then.
const LINK_RETRY_MS: u32 = 250;

/// Routes messages.
#[derive(Debug)]
pub(crate) struct Router {
    local: Arc<Local>,
    routes: Arc<ArcSwap<Routes>>,
    fanout: Arc<Fanout>,
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
    /// Under which the node publishes events of presence, and how many it has.
    presence_session: u64,
    presence_count: AtomicU64,
}

/// A message with what is needed to route it.
struct Message {
    entry: Entry,
    bytes: Bytes,
    slot: Slot,
}

impl Router {
    pub(crate) fn new(
        local: Arc<Local>,
        routes: Arc<ArcSwap<Routes>>,
        fanout: Arc<Fanout>,
        peers: Arc<Peers>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let parts: [&[u8]; 3] = [b"presence", local.name.as_str().as_bytes(), &local.life.0.to_be_bytes()];
        let presence_session = local.derive(&parts);
        Self { local, routes, fanout, peers, metrics, presence_session, presence_count: AtomicU64::new(0) }
    }

    /// Takes a message from a publisher on this node.
    ///
    /// # Errors
    /// Nobody owns the channel just now, or the link to its owner is full: nothing was sent.
    pub(crate) fn publish(&self, entry: Entry) -> Result<(), WireError> {
        let message = Message { slot: self.local.slot(&entry.channel), bytes: entry.encode(), entry };
        self.metrics.published.inc();
        self.to_owner(message, Step::ToOwner, 0)
    }

    /// Tells this region's subscribers of a channel's presence what happened there. For the channel's owner, and for one
    /// task: events keep the order of the calls.
    pub(crate) fn tell_presence(&self, channel: &ChannelName, detail: Detail, event: &PresenceEvent) {
        let about = match detail {
            Detail::Events => channel.presence(),
            Detail::Counts => channel.counts(),
        };
        let count = self.presence_count.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Entry {
            channel: about,
            payload: event.encode(),
            publisher: PublisherId(self.presence_session),
            number: count,
            published_at_us: self.local.clock.wall_us(),
            session: self.presence_session,
            count,
            datagram: false,
        };
        let message = Message { slot: self.local.slot(&entry.channel), bytes: entry.encode(), entry };
        self.own(&message, Step::ToRegion, &self.routes.load());
    }

    /// Takes messages from a peer.
    pub(crate) fn arrived(&self, from: &Link, messages: Messages) {
        self.compare_views(from, messages.view);
        for bytes in messages.entries {
            let Ok(entry) = Entry::decode(bytes.clone()) else {
                self.metrics.malformed.inc();
                continue;
            };
            let message = Message { slot: self.local.slot(&entry.channel), bytes, entry };
            let sent = match messages.step {
                // This node is one that the message was passed to.
                step @ (Step::ToOwner | Step::ToRegion) => self.to_owner(message, step, messages.hops + 1),
                Step::ToNode => {
                    self.deliver(&message);
                    Ok(())
                }
            };
            if sent.is_err() {
                self.metrics.undeliverable.inc();
            }
        }
    }

    /// Tells a peer that acts on another view which one this node acts on: its messages may take a way too long.
    fn compare_views(&self, from: &Link, theirs: ViewDigest) {
        from.view.learn(theirs);
        let ours = self.routes.load().view().digest();
        if theirs == ours {
            return;
        }
        self.metrics.view_mismatches.inc();
        if from.view.answer_is_due(self.local.clock.now()) {
            from.say(PeerFrame::ViewAnswer(ours));
        }
    }

    /// Acts as the owner in this region, or passes the message on to it, which `hops` nodes have done before.
    fn to_owner(&self, message: Message, step: Step, hops: u32) -> Result<(), WireError> {
        let routes = self.routes.load();
        let view = routes.view();
        let here = view.region_index(&self.local.region);
        let owner = here.and_then(|region| routes.owner(region, message.slot)).map(|owner| view.member(owner));
        let Some(owner) = owner else {
            let error = WireError::new(ErrorCode::NotOwner, "the node is not in the ring yet: try again in a second");
            return Err(WireError { retry_after_ms: NOT_IN_RING_RETRY_MS, ..error });
        };
        if owner.name == self.local.name {
            self.own(&message, step, &routes);
            return Ok(());
        }
        if hops > HOPS_MAX {
            let message = format!("the channel's owner seems to be {}: views differ, try again", owner.name);
            return Err(WireError {
                retry_after_ms: OTHER_VIEW_RETRY_MS,
                ..WireError::new(ErrorCode::NotOwner, message)
            });
        }
        let parcel = Parcel { step, hops, entry: message.bytes, datagram: message.entry.datagram, relay_to: None };
        if self.peers.send(&owner.name, parcel) {
            Ok(())
        } else {
            let message = format!("the link to {} is full or down: slow down, or try again", owner.name);
            Err(WireError { retry_after_ms: LINK_RETRY_MS, ..WireError::new(ErrorCode::Overloaded, message) })
        }
    }

    /// Orders a message: this node owns its slot.
    fn own(&self, message: &Message, step: Step, routes: &Routes) {
        let shard = self.local.shard(message.slot);
        let now = self.local.clock.now();
        let mut state = self.fanout.shard(shard);
        if !state.recent.take(now, message.entry.session, message.slot, message.entry.count) {
            self.metrics.duplicates.inc();
            return;
        }
        state.rates.count(now, &message.entry.channel, message.entry.payload.len());
        self.to_interested(message, step, routes);
        let stored = Stored::new(&message.bytes, message.entry.datagram);
        self.fanout.append(shard, &mut state.tail, &message.entry.channel, stored);
    }

    /// Hands a message to the links of everybody who wants it: to this region's nodes, and to the owners of the other
    /// regions if this is the publisher's.
    fn to_interested(&self, message: &Message, step: Step, routes: &Routes) {
        let parcel = |step| {
            let (entry, datagram) = (message.bytes.clone(), message.entry.datagram);
            Parcel { step, hops: 0, entry, datagram, relay_to: None }
        };
        let now = self.local.clock.now();
        // A new owner does not know yet what the others want of it.
        let is_new = routes.owned_since(message.slot).is_some_and(|since| now < since + GRACE);
        let mut regions: Vec<RegionIndex> = Vec::new();
        self.peers.for_each_interested(now, &message.entry.channel, is_new, |link, send| {
            if link.region == self.local.region {
                self.count_shed(send(parcel(Step::ToNode)));
            } else if step == Step::ToOwner
                && let Some(region) = routes.view().region_index(&link.region)
                && !regions.contains(&region)
            {
                regions.push(region);
            }
        });
        for region in regions {
            let owner = routes.owner(region, message.slot);
            let sent =
                owner.is_some_and(|owner| self.peers.send(&routes.view().member(owner).name, parcel(Step::ToRegion)));
            self.count_shed(sent);
        }
    }

    /// Takes a message that this region's owner has ordered.
    fn deliver(&self, message: &Message) {
        let shard = self.local.shard(message.slot);
        let mut state = self.fanout.shard(shard);
        if !state.recent.take(self.local.clock.now(), message.entry.session, message.slot, message.entry.count) {
            self.metrics.duplicates.inc();
            return;
        }
        let stored = Stored::new(&message.bytes, message.entry.datagram);
        self.fanout.append(shard, &mut state.tail, &message.entry.channel, stored);
    }

    fn count_shed(&self, sent: bool) {
        if !sent {
            self.metrics.link_shed.inc();
        }
    }
}
