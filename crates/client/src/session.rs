//! The task behind a client: owns the connection, replaces it when it is lost, and ends with the last handle. All state
//! is here and in the ledger, so that dropping an application's future loses nothing.
//!
//! While a session stands, four loops run side by side in this one task: answers, requests, delivery streams and
//! datagrams. The first that ends, ends the session. No loop waits for an application.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farwire_wire::ErrorCode;
use farwire_wire::client::Welcome;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::answers::Answers;
use crate::backoff::full_jitter;
use crate::connect::{Connector, Established};
use crate::deliveries::{accept_deliveries, take_datagrams};
use crate::error::ConnectError;
use crate::ledger::{Ledger, SubscriptionKey};
use crate::requests::Requests;
use crate::standing::{Command, Phase, Standing, Stay, until_closing};
use crate::status::{Status, StatusBoard};

/// A session that lasted for this long was a good one: pauses begin anew.
const LASTED: Duration = Duration::from_secs(10);
/// A client that is closed has this long to say so in good order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a session ended.
pub(crate) enum End {
    /// The connection or the node is gone, or one of them is of no use.
    Lost(Arc<str>),
    /// The node asked to go elsewhere, and the time for it has come.
    Moved(Arc<str>),
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
    in_flight_max: u32,
    ledger: SharedLedger,
    /// Resolves for each subscription that the application has dropped.
    dropped: FuturesUnordered<BoxFuture<'static, SubscriptionKey>>,
    attempt: u32,
}

/// The ledger, shared by the loops of one task: never contended, never held over an await.
#[derive(Debug)]
pub(crate) struct SharedLedger(Mutex<Ledger>);

impl SharedLedger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task and the handles share.
pub(crate) struct Shared {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) board: Arc<StatusBoard>,
}

impl Session {
    pub(crate) fn new(connector: Connector, shared: Shared, in_flight_max: u32) -> Self {
        let Shared { commands, closing, standing, board } = shared;
        let ledger = SharedLedger(Mutex::new(Ledger::new()));
        let dropped = FuturesUnordered::new();
        Self { connector, commands, closing, standing, board, in_flight_max, ledger, dropped, attempt: 0 }
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
        let mut end = self.serve(first, stay, None).await;
        loop {
            let (reason, pause) = match end {
                End::Closing => return None,
                End::Lost(reason) => (reason, true),
                End::Moved(reason) => (reason, false),
            };
            self.go_down(&reason);
            let mut closing = self.closing.clone();
            let established = tokio::select! { biased;
                () = until_closing(&mut closing) => return None,
                established = self.reconnect(reason, pause) => established,
            };
            let established = match established {
                Ok(established) => established,
                Err(error) => return Some(Arc::new(error)),
            };
            let welcome = &established.welcome;
            let resumed = Status::Resumed { node: welcome.node.clone(), region: welcome.region.clone() };
            let stay = Stay::new(welcome.clone(), established.connection.clone(), self.in_flight_max);
            end = self.serve(established, stay, Some(resumed)).await;
        }
    }

    /// One session, until it ends. `resumed` is announced as soon as every subscription is in force again.
    async fn serve(&mut self, established: Established, stay: Arc<Stay>, mut resumed: Option<Status>) -> End {
        let begun = Instant::now();
        let Established { connection, writer, reader, .. } = established;
        let welcome = &stay.welcome;
        tracing::info!(node = %welcome.node, region = %welcome.region, session = %welcome.session, "session begun");
        // Before the announcement: who hears it asks the client where it is.
        self.standing.send_replace(Standing { stay: Arc::clone(&stay), phase: Phase::Up });
        let batch = self.ledger.lock().resume();
        if batch.is_empty()
            && let Some(status) = resumed.take()
        {
            self.board.announce(status);
        }
        let mut answers = Answers::new(reader, &mut self.connector, &self.ledger, &self.board, resumed);
        let mut requests = Requests {
            writer,
            batch,
            stay,
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
        connection.close(ErrorCode::Closed, "");
        if begun.elapsed() >= LASTED {
            self.attempt = 0;
        }
        end
    }

    /// Tells everybody that the session is lost: first the standing, then the permits, so that who waits for a permit
    /// finds the standing changed.
    fn go_down(&mut self, reason: &Arc<str>) {
        self.standing.send_modify(|standing| standing.phase = Phase::Down);
        self.standing.borrow().stay.in_flight.close();
        self.ledger.lock().lose(reason);
    }

    /// Tries until a session stands, for ever; an error is one that no retry would change.
    async fn reconnect(&mut self, mut reason: Arc<str>, mut pause: bool) -> Result<Established, ConnectError> {
        let last: Welcome = self.standing.borrow().stay.welcome.clone();
        loop {
            self.attempt = self.attempt.saturating_add(1);
            tracing::info!(node = %last.node, attempt = self.attempt, err = %reason, "session lost");
            self.board.announce(Status::Reconnecting { attempt: self.attempt, reason: Arc::clone(&reason) });
            if std::mem::replace(&mut pause, true) {
                tokio::time::sleep(full_jitter(self.attempt, self.connector.rng.random())).await;
            }
            match Box::pin(self.connector.reconnect(&last)).await {
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
        self.board.announce(Status::Closed { error });
    }
}
