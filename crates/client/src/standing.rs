//! What the handles of a client and its session task share: whether a session stands, with which node, and the commands
//! between them. Decides nothing.

use std::sync::Arc;

use farwire_transport::connection::Connection;
use farwire_wire::Filter;
use farwire_wire::client::{Publish, Welcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::error::{ConnectError, PublishError, SubscribeError};
use crate::ledger::{Entering, Leaving, Question, Updating};
use crate::publisher::Ack;
use crate::subscription::Inlet;

/// Requests that wait for the session task. Policy: wait.
pub(crate) const COMMANDS_MAX: usize = 64;

/// A handle's wish to the session task.
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Outgoing),
    Subscribe(Wanted),
    Enter(Entering),
    Update(Updating),
    Leave(Leaving),
    Ask(Question),
}

/// A numbered message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) publish: Publish,
    /// Held until the ack.
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) answer: oneshot::Sender<Result<Ack, PublishError>>,
}

/// A subscription that is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) filter: Filter,
    pub(crate) inlet: Inlet,
    pub(crate) answer: oneshot::Sender<Result<(), SubscribeError>>,
}

/// One session, as the handles see it.
#[derive(Debug)]
pub(crate) struct Stay {
    pub(crate) welcome: Welcome,
    pub(crate) connection: Connection,
}

/// A permit per publish that is not answered, over all sessions; closed when the client ends.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) max: u32,
}

impl InFlight {
    pub(crate) fn new(max: u32) -> Self {
        Self { permits: Arc::new(Semaphore::new(max as usize)), max }
    }
}

/// How the session is.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The session, or the last one.
    pub(crate) stay: Arc<Stay>,
    pub(crate) phase: Phase,
}

#[derive(Debug, Clone)]
pub(crate) enum Phase {
    Up,
    Down,
    Closed(Option<Arc<ConnectError>>),
}

/// The session, waiting for the next one while it is lost; the cause when the client has ended. Cancel safe.
pub(crate) async fn current_stay(standing: &watch::Receiver<Standing>) -> Result<Arc<Stay>, Option<Arc<ConnectError>>> {
    let mut standing = standing.clone();
    let settled = standing.wait_for(|standing| !matches!(standing.phase, Phase::Down)).await;
    let settled = settled.map_err(|_| None)?;
    match &settled.phase {
        Phase::Closed(error) => Err(error.clone()),
        Phase::Up | Phase::Down => Ok(Arc::clone(&settled.stay)),
    }
}

/// Waits until the client is to end: it was closed, or its last handle is gone. Cancel safe.
pub(crate) async fn until_closing(closing: &mut watch::Receiver<bool>) {
    drop(closing.wait_for(|closing| *closing).await);
}
