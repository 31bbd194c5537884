//! The task behind a client: owns the connection, replaces it when it is lost, and ends with the last handle. All state
//! is here and in the ledger, so that dropping an application's future loses nothing.
//!
//! While a session stands, four loops run side by side in this one task: answers, requests, delivery streams and
//! datagrams. The first that ends, ends the session. No loop waits for an application.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farwire_wire::{ErrorCode, NodeName, RegionName};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rand::RngExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::answers::{Answers, Leave};
use crate::backoff::full_jitter;
use crate::connect::{Connector, Established};
use crate::deliveries::{accept_deliveries, take_datagrams};
use crate::error::ConnectError;
use crate::ledger::Ledger;
use crate::requests::{Dropped, Requests};
use crate::standing::{Command, InFlight, Phase, Standing, Stay, until_closing};
use crate::status::{Status, StatusBoard};

/// A session that lasted for this long was a good one: pauses begin anew.
const LASTED: Duration = Duration::from_secs(10);
/// A client that is closed has this long to say so in good order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a session ended.
pub(crate) enum End {
    /// The connection or the node is gone, or one of them is of no use, or the node asked to go elsewhere.
    Lost(Arc<str>),
    /// The client is to end.
    Closing,
}

impl End {
    pub(crate) fn lost(reason: impl std::fmt::Display) -> Self {
        Self::Lost(reason.to_string().into())
    }
}

/// The task's state.
pub(crate) struct Session {
    connector: Connector,
    commands: mpsc::Receiver<Command>,
    closing: watch::Receiver<bool>,
    standing: watch::Sender<Standing>,
    board: Arc<StatusBoard>,
    in_flight: InFlight,
    ledger: Arc<SharedLedger>,
    /// Resolves for each handle that the application has dropped.
    dropped: FuturesUnordered<BoxFuture<'static, Dropped>>,
    attempt: u32,
}

/// The ledger, shared by the loops of one task: never contended, never held over an await.
#[derive(Debug)]
pub(crate) struct SharedLedger {
    ledger: Mutex<Ledger>,
    /// Told when a publish that waited for room may be due.
    pub(crate) room: Notify,
}

impl SharedLedger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task and the handles share.
pub(crate) struct Shared {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) in_flight: InFlight,
}

impl Session {
    pub(crate) fn new(connector: Connector, shared: Shared) -> Self {
        let Shared { commands, closing, standing, board, in_flight } = shared;
        let ledger = Arc::new(SharedLedger { ledger: Mutex::new(Ledger::new(in_flight.max)), room: Notify::new() });
        let dropped = FuturesUnordered::new();
        Self { connector, commands, closing, standing, board, in_flight, ledger, dropped, attempt: 0 }
    }

    /// Runs until the client ends.
    pub(crate) async fn run(mut self, first: Established, stay: Arc<Stay>) {
        let mut closing = self.closing.clone();
        let overdue = async move {
            until_closing(&mut closing).await;
            tokio::time::sleep(CLOSE_TIMEOUT).await;
        };
        let error = tokio::select! { biased;
            error = self.live(first, stay) => error,
            () = overdue => None,
        };
        self.end(error).await;
    }

    /// Session after session. Returns why there is no further one; `None` when none is wanted.
    async fn live(&mut self, first: Established, stay: Arc<Stay>) -> Option<Arc<ConnectError>> {
        let (mut end, mut leave) = self.serve(first, stay, None).await;
        loop {
            let End::Lost(reason) = end else { return None };
            self.go_down(&reason);
            let (mut closing, ledger) = (self.closing.clone(), Arc::clone(&self.ledger));
            let established = tokio::select! { biased;
                () = until_closing(&mut closing) => return None,
                never = give_up_in_time(&ledger) => match never {},
                established = self.reconnect(reason, leave) => established,
            };
            let established = match established {
                Ok(established) => established,
                Err(error) => return Some(Arc::new(error)),
            };
            let welcome = established.welcome.clone();
            let resumed = (welcome.node.clone(), welcome.region.clone());
            let stay = Arc::new(Stay { welcome, connection: established.connection.clone() });
            (end, leave) = self.serve(established, stay, Some(resumed)).await;
        }
    }

    /// One session, until it ends, and what its node has wished for after it. `resumed` is announced as soon as every
    /// subscription is in force again, and the client present again.
    async fn serve(
        &mut self,
        established: Established,
        stay: Arc<Stay>,
        resumed: Option<(NodeName, RegionName)>,
    ) -> (End, Option<Leave>) {
        let begun = Instant::now();
        let Established { connection, writer, reader, .. } = established;
        let welcome = &stay.welcome;
        tracing::info!(node = %welcome.node, region = %welcome.region, session = %welcome.session, "session begun");
        // Before the announcement: who hears it asks the client where it is.
        self.standing.send_replace(Standing { stay: Arc::clone(&stay), phase: Phase::Up });
        let batch = self.ledger.lock().resume(stay.welcome.limits.publishes_in_flight_max.clamp(1, self.in_flight.max));
        let mut answers = Answers::new(reader, &mut self.connector, &self.ledger, &self.board, resumed);
        answers.announce_if_resumed();
        let mut requests = Requests {
            writer,
            batch,
            commands: &mut self.commands,
            dropped: &mut self.dropped,
            closing: &mut self.closing,
            ledger: &self.ledger,
        };
        let end = tokio::select! { biased;
            end = answers.take() => end,
            end = accept_deliveries(&connection, &self.ledger) => end,
            end = take_datagrams(&connection, &self.ledger) => end,
            end = requests.send() => end,
        };
        // By the code the node knows whether the client stays present for a moment, to go on elsewhere.
        let code = if matches!(end, End::Closing) { ErrorCode::Closed } else { ErrorCode::GoAway };
        connection.close(code, "");
        if begun.elapsed() >= LASTED {
            self.attempt = 0;
        }
        (end, answers.into_leave())
    }

    fn go_down(&mut self, reason: &Arc<str>) {
        self.standing.send_modify(|standing| standing.phase = Phase::Down);
        self.ledger.lock().lose(Instant::now(), reason);
    }

    /// Tries until a session stands, for ever; an error is one that no retry would change. Who is asked to leave comes when
    /// it was asked to: the node's jitter stands for ours.
    async fn reconnect(&mut self, mut reason: Arc<str>, leave: Option<Leave>) -> Result<Established, ConnectError> {
        let stay = Arc::clone(&self.standing.borrow().stay);
        let wish = self.connector.wish_after(&stay.welcome, leave.as_ref().map(|leave| leave.alternatives.as_slice()));
        let mut not_before = leave.map(|leave| leave.from);
        loop {
            self.attempt = self.attempt.saturating_add(1);
            tracing::info!(node = %stay.welcome.node, attempt = self.attempt, err = %reason, "session lost");
            self.board.announce(Status::Reconnecting { attempt: self.attempt, reason: Arc::clone(&reason) });
            match not_before.take() {
                Some(from) => tokio::time::sleep_until(from).await,
                None => tokio::time::sleep(full_jitter(self.attempt, self.connector.rng.random())).await,
            }
            match Box::pin(self.connector.reconnect(&wish)).await {
                Ok(established) => return Ok(established),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => reason = error.to_string().into(),
            }
        }
    }

    async fn end(mut self, error: Option<Arc<ConnectError>>) {
        self.go_down(&"the client was closed".into());
        self.ledger.lock().end(error.as_ref());
        if tokio::time::timeout(CLOSE_TIMEOUT, self.connector.dialer.close()).await.is_err() {
            tracing::debug!("the node did not confirm the end of the session");
        }
        self.standing.send_modify(|standing| standing.phase = Phase::Closed(error.clone()));
        // After the standing, so that who waits for a permit finds it changed.
        self.in_flight.permits.close();
        self.board.announce(Status::Closed { error });
    }
}

/// Gives up publishes while there is no session, each when it must not be sent again any more.
async fn give_up_in_time(ledger: &SharedLedger) -> Infallible {
    loop {
        let next = ledger.lock().next_give_up();
        match next {
            Some(at) => tokio::time::sleep_until(at).await,
            // None is added before there is a session.
            None => std::future::pending().await,
        }
        ledger.lock().give_up(Instant::now());
    }
}
