//! The session's loop of what comes back on the first stream: acks, refusals, and where to go.

use std::sync::Arc;
use std::time::Duration;

use farwire_transport::stream::FrameReader;
use farwire_wire::client::{GoAway, ServerBody, ServerFrame};
use farwire_wire::{NodeName, RegionName};
use rand::RngExt;
use tokio::time::Instant;

use crate::connect::Connector;
use crate::entry_points::EntryPoint;
use crate::session::{End, SharedLedger};
use crate::status::{Status, StatusBoard};

/// No node may bind a client for longer than this by its wish to leave.
const LEAVE_MAX: Duration = Duration::from_secs(60);
/// Publishes under way when a session is left on purpose have this long for their acks.
const ACKS_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Answers<'a> {
    reader: FrameReader,
    connector: &'a mut Connector,
    ledger: &'a SharedLedger,
    board: &'a StatusBoard,
    /// Where the client is again, to be announced when it has all that it had.
    resumed: Option<(NodeName, RegionName)>,
    leave: Option<Leave>,
}

/// The node's wish that the client goes elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Leave {
    /// Not before.
    pub(crate) from: Instant,
    pub(crate) reason: Arc<str>,
    /// Where to rather; nowhere in particular if there are none.
    pub(crate) alternatives: Vec<EntryPoint>,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(
        reader: FrameReader,
        connector: &'a mut Connector,
        ledger: &'a SharedLedger,
        board: &'a StatusBoard,
        resumed: Option<(NodeName, RegionName)>,
    ) -> Self {
        Self { reader, connector, ledger, board, resumed, leave: None }
    }

    /// What the node has wished, if it has.
    pub(crate) fn into_leave(self) -> Option<Leave> {
        self.leave
    }

    /// Takes answers until the session ends. Cancel safe.
    pub(crate) async fn take(&mut self) -> End {
        loop {
            if let Some(end) = self.end_by_leave() {
                return end;
            }
            let next_look = self.next_look();
            let frame = tokio::select! { biased;
                frame = self.reader.next_frame() => frame,
                () = sleep_until(next_look) => continue,
            };
            let end = match frame {
                Ok(Some(frame)) => match ServerFrame::decode(frame) {
                    Ok(frame) => self.take_one(frame),
                    Err(error) => Some(End::lost(error)),
                },
                Ok(None) => Some(End::lost("the node ended the session")),
                Err(error) => Some(End::lost(error)),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn take_one(&mut self, frame: ServerFrame) -> Option<End> {
        match frame.body {
            ServerBody::PublishAck { first, level } => {
                if self.ledger.lock().acked(first, frame.request, level) {
                    self.ledger.room.notify_one();
                }
            }
            ServerBody::SubscribeOk { pending_regions } => {
                self.ledger.lock().in_force(frame.request, pending_regions);
                self.announce_if_resumed();
            }
            ServerBody::Error(error) if frame.request == 0 => return Some(End::lost(error)),
            ServerBody::Error(error) => {
                let refused = self.ledger.lock().refused(frame.request, error);
                if let Err(error) = refused {
                    return Some(End::lost(error));
                }
                self.ledger.room.notify_one();
                self.announce_if_resumed();
            }
            ServerBody::GoAway(go_away) => self.go_away(go_away),
            ServerBody::EntryList(list) => self.connector.entry_points.learn(list),
            ServerBody::UnsubscribeOk => {}
            body @ (ServerBody::EnterOk
            | ServerBody::LeaveOk
            | ServerBody::PresenceAnswer(_)
            | ServerBody::WhereAnswer(_)) => {
                self.ledger.lock().presence_answered(frame.request, body);
                self.announce_if_resumed();
            }
            ServerBody::Welcome(_) => return Some(End::lost("a second welcome")),
        }
        None
    }

    /// Announces the new session once it has all that the one before had.
    pub(crate) fn announce_if_resumed(&mut self) {
        let ledger = self.ledger.lock();
        if ledger.is_resumed()
            && let Some((node, region)) = self.resumed.take()
        {
            let gaps = ledger.gaps(Instant::now());
            self.board.announce(Status::Resumed { node, region, gaps });
        }
    }

    fn go_away(&mut self, go_away: GoAway) {
        let jitter = Duration::from_millis(go_away.jitter_ms.into()).mul_f64(self.connector.rng.random());
        let wait = Duration::from_millis(go_away.retry_after_ms.into()) + jitter;
        let alternatives = go_away.alternatives.iter().cloned().map(EntryPoint::from).collect();
        self.connector.entry_points.learn_also(go_away.alternatives);
        tracing::info!(wait_ms = wait.as_millis(), "the node asks to go elsewhere");
        let reason = format!("the node asked to go elsewhere: {}", go_away.reason).into();
        self.leave = Some(Leave { from: Instant::now() + wait.min(LEAVE_MAX), reason, alternatives });
    }

    /// A session is left when nothing is under way, or when its acks take too long.
    fn end_by_leave(&self) -> Option<End> {
        let leave = self.leave.as_ref()?;
        let now = Instant::now();
        let idle = self.ledger.lock().publishes_in_flight() == 0;
        let due = (now >= leave.from && idle) || now >= leave.from + ACKS_TIMEOUT;
        due.then(|| End::Lost(Arc::clone(&leave.reason)))
    }

    fn next_look(&self) -> Option<Instant> {
        let leave = self.leave.as_ref()?;
        Some(if Instant::now() < leave.from { leave.from } else { leave.from + ACKS_TIMEOUT })
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
