//! One way to one peer: a link over a connection of its own, or a conversation through a peer that has a link to it. Queues
//! and cells only; the tasks are in `link`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use farwire_transport::Connection;
use farwire_wire::peer::{LinkState, PeerFrame, PeerHello};
use farwire_wire::{NodeName, RegionName};
use tokio::sync::Notify;

use super::{Outbox, Parcel, PeerView, PresenceFrames, PresenceOutbox};
use crate::queue::{self, Meter};
use crate::sync::lock;
use crate::sync::watch;

/// Frames that wait for a control stream; whoever adds one waits for room.
const CONTROL_QUEUE: usize = 64;

/// The meters of a link's queues.
#[derive(Debug)]
pub(crate) struct LinkMeters {
    pub(crate) control: Meter,
    pub(crate) messages: Meter,
    pub(crate) presence: Meter,
}

/// A way to a peer.
#[derive(Debug)]
pub(crate) struct Link {
    /// The peer.
    pub(crate) node: NodeName,
    /// Its region.
    pub(crate) region: RegionName,
    /// What it goes over.
    pub(crate) path: Path,
    /// Up to which change of local wishes the peer acts.
    pub(crate) confirmed: watch::Sender<u64>,
    /// Wishes told and not confirmed yet.
    pub(crate) outstanding: Outstanding,
    /// The peer lacks wishes: they are to be told anew.
    pub(crate) asked_whole: Notify,
    /// Frames for the control stream.
    pub(crate) control: queue::Sender<PeerFrame>,
    /// The view that the peer acts on.
    pub(crate) view: PeerView,
}

/// What a way to a peer goes over.
#[derive(Debug)]
pub(crate) enum Path {
    /// A connection of its own.
    Direct(Direct),
    /// The link to this peer.
    Through(NodeName),
}

/// A connection to a peer.
#[derive(Debug)]
pub(crate) struct Direct {
    /// The connection.
    pub(crate) connection: Connection,
    /// Messages towards the peer.
    pub(crate) outbox: Outbox,
    /// Presence towards the peer.
    pub(crate) presence: PresenceOutbox,
    /// Nothing is heard over it.
    pub(super) silent: AtomicBool,
}

impl Link {
    /// A link to the peer that said `hello`, and the frames that are to be written to its control stream and to that of
    /// presence.
    pub(crate) fn new(
        hello: &PeerHello,
        connection: Connection,
        bytes_max: usize,
        meters: LinkMeters,
    ) -> (Self, queue::Receiver<PeerFrame>, PresenceFrames) {
        let outbox = Outbox::new(bytes_max, meters.messages);
        let (presence, news) = PresenceOutbox::new(meters.presence);
        let path = Path::Direct(Direct { connection, outbox, presence, silent: AtomicBool::new(false) });
        let (link, frames) = Self::over(path, hello.node.clone(), hello.region.clone(), meters.control);
        (link, frames, news)
    }

    /// A conversation with a peer through `relay`, and the frames that are to be sent there.
    pub(crate) fn through(
        relay: NodeName,
        node: NodeName,
        region: RegionName,
        control: Meter,
    ) -> (Self, queue::Receiver<PeerFrame>) {
        Self::over(Path::Through(relay), node, region, control)
    }

    fn over(path: Path, node: NodeName, region: RegionName, meter: Meter) -> (Self, queue::Receiver<PeerFrame>) {
        let (control, frames) = queue::bounded(CONTROL_QUEUE, meter);
        let link = Self {
            node,
            region,
            path,
            control,
            confirmed: watch::Sender::new(0),
            outstanding: Outstanding::default(),
            asked_whole: Notify::new(),
            view: PeerView::default(),
        };
        (link, frames)
    }

    /// Puts a frame on the control stream, unless its queue is full.
    pub(crate) fn say(&self, frame: PeerFrame) {
        let _full_or_gone = self.control.offer(frame);
    }

    /// The connection, if it has one of its own.
    pub(crate) fn direct(&self) -> Option<&Direct> {
        match &self.path {
            Path::Direct(direct) => Some(direct),
            Path::Through(_) => None,
        }
    }

    /// The link as it is told to others, if it has a connection of its own.
    pub(crate) fn state(&self) -> Option<LinkState> {
        let direct = self.direct()?;
        let stats = direct.connection.path_stats();
        Some(LinkState {
            peer: self.node.clone(),
            rtt_us: u32::try_from(stats.rtt.as_micros()).unwrap_or(u32::MAX),
            lost_packets: stats.lost_packets,
            sent_packets: stats.sent_packets,
            sent_bytes: stats.sent_bytes,
            received_bytes: stats.received_bytes,
            view: self.view.told(),
            flaps: 0,
            silent: direct.is_silent(),
        })
    }
}

impl Direct {
    /// Whether nothing is heard over the connection.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Queues a message; `false` when it was shed.
    pub(crate) fn send(&self, parcel: Parcel) -> bool {
        self.outbox.push(parcel)
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
