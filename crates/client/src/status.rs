//! How the client is: what it tells the application about its session. A bounded log of changes per listener, so that
//! none is missed while it is read now and then; a listener that falls far behind skips the oldest.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use farwire_wire::{NodeName, Pattern, RegionName};
use tokio::sync::broadcast;

use crate::error::ConnectError;

/// Changes kept for a listener that does not read.
const CHANGES_KEPT: usize = 64;

/// How the client is.
#[derive(Debug, Clone)]
pub enum Status {
    /// The first session stands.
    Connected {
        /// With this node.
        node: NodeName,
        /// Of this region.
        region: RegionName,
    },
    /// The session is lost, and a new one is sought. Messages on volatile channels pass by meanwhile.
    Reconnecting {
        /// Counts from 1 until a session has lasted for a while.
        attempt: u32,
        /// What went wrong last.
        reason: Arc<str>,
    },
    /// A new session stands, every subscription is in force again, and the client is present where it was.
    Resumed {
        /// With this node.
        node: NodeName,
        /// Of this region.
        region: RegionName,
        /// What may have been missed, for each subscription that was in force before and is again.
        gaps: Vec<Gap>,
    },
    /// The client has ended.
    Closed {
        /// Why; `None` when the application closed it.
        error: Option<Arc<ConnectError>>,
    },
}

/// A time that a subscription did not see: what volatile channels carried then is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// What the subscription is for.
    pub patterns: Vec<Pattern>,
    /// From when the loss of the session was noticed, which takes up to 5 s when a node or the network dies without a word.
    pub lasted: Duration,
    /// Regions that have not confirmed: from them messages may be missed until they can be reached.
    pub pending_regions: Vec<RegionName>,
}

/// The changes of a client's status, from [`Client::status`](crate::Client::status).
#[derive(Debug)]
pub struct StatusChanges {
    first: Option<Status>,
    changes: broadcast::Receiver<Status>,
    ended: bool,
}

impl StatusChanges {
    /// The next change; the first time, the status as it is. `None` after [`Status::Closed`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Status> {
        if self.ended {
            return None;
        }
        let status = match self.first.take() {
            Some(status) => status,
            None => self.next_change().await?,
        };
        self.ended = matches!(status, Status::Closed { .. });
        Some(status)
    }

    async fn next_change(&mut self) -> Option<Status> {
        loop {
            match self.changes.recv().await {
                Ok(status) => return Some(status),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Where the session writes what listeners read.
#[derive(Debug)]
pub(crate) struct StatusBoard {
    current: Mutex<Status>,
    changes: broadcast::Sender<Status>,
}

impl StatusBoard {
    pub(crate) fn new(status: Status) -> Self {
        Self { current: Mutex::new(status), changes: broadcast::Sender::new(CHANGES_KEPT) }
    }

    pub(crate) fn announce(&self, status: Status) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = status.clone();
        // Under the lock, so that no listener sees a change twice or not at all.
        let _nobody_listens = self.changes.send(status);
    }

    pub(crate) fn listen(&self) -> StatusChanges {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        StatusChanges { first: Some(current.clone()), changes: self.changes.subscribe(), ended: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(attempt: u32) -> Status {
        Status::Reconnecting { attempt, reason: "lost".into() }
    }

    #[tokio::test]
    async fn a_listener_gets_what_is_then_every_change_and_an_end() {
        let board = StatusBoard::new(attempt(1));
        board.announce(attempt(2));
        let mut changes = board.listen();
        board.announce(attempt(3));
        board.announce(Status::Closed { error: None });
        for expected in [2, 3] {
            assert!(matches!(changes.next().await, Some(Status::Reconnecting { attempt, .. }) if attempt == expected));
        }
        assert!(matches!(changes.next().await, Some(Status::Closed { .. })));
        assert!(changes.next().await.is_none());
    }

    #[tokio::test]
    async fn who_does_not_listen_skips_to_what_is_kept() {
        let board = StatusBoard::new(attempt(0));
        let mut changes = board.listen();
        for i in 1..=1_000 {
            board.announce(attempt(i));
        }
        changes.next().await;
        assert!(matches!(changes.next().await, Some(Status::Reconnecting { attempt, .. }) if attempt > 900));
    }
}
