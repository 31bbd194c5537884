//! What happens to the mesh as this node sees it, for whoever watches `/v1/events`. A watcher that is too slow is told
//! how many events it missed.

use farwire_core::placement::MemberState;
use farwire_wire::{ClientId, NodeName, SessionId, ViewDigest};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::local::Clock;
use crate::queue::Meter;

/// Events kept for slow watchers.
const EVENTS_KEPT: usize = 1_024;

/// One event.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// A member's state changed; `from` is null for a new one, `to` for one that is listed no more.
    Member {
        /// Whose.
        name: NodeName,
        /// Before.
        from: Option<Liveness>,
        /// Now.
        to: Option<Liveness>,
    },
    /// Another ring is in force.
    Ring {
        /// Its digest.
        view: ViewDigest,
    },
    /// A session began or ended on this node.
    Session {
        /// Which.
        session: SessionId,
        /// Whose.
        client_id: ClientId,
        /// Whether it began.
        open: bool,
    },
}

/// A member's state in the words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Liveness {
    /// It answers.
    Alive,
    /// It did not answer, but may yet.
    Suspect,
    /// It did not refute the suspicion.
    Down,
    /// It said that it goes.
    Left,
}

impl From<MemberState> for Liveness {
    fn from(state: MemberState) -> Self {
        match state {
            MemberState::Alive => Self::Alive,
            MemberState::Suspect => Self::Suspect,
            MemberState::Down => Self::Down,
            MemberState::Left => Self::Left,
        }
    }
}

/// An event and when it was seen.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seen {
    /// Microseconds since the Unix epoch.
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// Where events are told.
#[derive(Debug)]
pub(crate) struct Events {
    watchers: broadcast::Sender<Seen>,
    clock: Clock,
    queued: Meter,
}

/// One who watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    events: broadcast::Receiver<Seen>,
    queued: Meter,
}

impl Events {
    pub(crate) fn new(clock: Clock, queued: Meter) -> Self {
        Self { watchers: broadcast::Sender::new(EVENTS_KEPT), clock, queued }
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody watches: nobody is told.
        let _no_watcher = self.watchers.send(Seen { at: self.clock.wall_us(), event });
    }

    pub(crate) fn watch(&self) -> Watcher {
        Watcher { events: self.watchers.subscribe(), queued: self.queued.clone() }
    }

    /// Shows how far behind the slowest watcher is.
    pub(crate) fn measure(&self) {
        self.queued.set_depth(self.watchers.len());
    }
}

impl Watcher {
    /// The next event, or how many were missed since the last one. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Result<Seen, RecvError> {
        let next = self.events.recv().await;
        if let Err(RecvError::Lagged(missed)) = next {
            self.queued.shed(missed);
        }
        next
    }
}
