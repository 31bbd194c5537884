//! Clients: accepts them, admits them, and runs their sessions. A session is one task: it reads requests and writes
//! answers and deliveries. There is no task and no queue per subscription.

mod entry_list;
mod go_away;
mod hello;
mod in_flight;
mod presence;
mod requests;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use farwire_core::admission::{self, Admission, Verdict, place_of};
use farwire_core::bucket::Rate;
use farwire_transport::endpoint::{Arrival, Knock};
use farwire_transport::{ClientPort, Connection};
use farwire_wire::client::{ServerBody, ServerFrame};
use farwire_wire::{ErrorCode, WireError};
use tokio::task::JoinSet;

use crate::events::Event;
use crate::fanout::Wake;
use crate::queue::{self, QueueName};
use crate::sessions::Session;
use crate::shared::Shared;
use crate::sync::watch;
use entry_list::EntryLists;
use hello::Greeted;
use in_flight::InFlight;

/// Answers and commands that wait for a session's writer; its reader waits for room.
const ANSWER_QUEUE: usize = 256;
/// Handshakes and hellos under way at a time.
const HANDSHAKES_MAX: usize = 1_024;
/// A client gets this long to receive the last words of a session.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Connections beyond the most sessions that are told so after their hello, and when to come again; with more of them
/// the handshake is refused.
const TURNED_AWAY_MAX: usize = 64;

/// Accepts clients until the port closes or `stopping` turns true; then sends every session away and waits for them.
/// Not cancel safe: sessions end with it.
pub(crate) async fn accept(shared: Arc<Shared>, port: Arc<ClientPort>, stopping: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    let mut admission = Admission::new(limits(&shared));
    let mut stop = stopping.clone();
    let entry_lists = Arc::new(EntryLists::new());
    let mut look = tokio::time::interval(entry_list::LOOK_EVERY);
    loop {
        tokio::select! {
            biased;
            Some(_) = tasks.join_next() => {}
            _ = stop.wait_for(|stopping| *stopping) => break,
            _ = look.tick() => entry_lists.refresh(&shared),
            knock = port.accept() => match knock {
                Some(knock) => admit(&shared, knock, &mut admission, &mut tasks, &entry_lists, &stopping),
                None => break,
            },
        }
    }
    // Who knocks now is to try the next node at once.
    while !tasks.is_empty() {
        tokio::select! {
            biased;
            Some(_) = tasks.join_next() => {}
            Some(knock) = port.accept() => knock.refuse(),
        }
    }
}

/// Decides on a knock before any work is spent on it.
fn admit(
    shared: &Arc<Shared>,
    knock: Knock,
    admission: &mut Admission,
    tasks: &mut JoinSet<()>,
    entry_lists: &Arc<EntryLists>,
    stopping: &watch::Receiver<bool>,
) {
    let limits = &shared.config.limits;
    let address = knock.remote_address().ip();
    let in_flight = tasks.len().saturating_sub(shared.sessions.len());
    let knocked = admission::Knock { address, proven: knock.is_address_proven(), in_flight };
    let verdict = admission.knock(shared.local.clock.now(), &knocked);
    if verdict == Verdict::Prove {
        shared.metrics.proofs_asked.inc();
        knock.ask_for_proof();
        return;
    }
    let room = tasks.len() < limits.sessions_max;
    let is_refused = verdict == Verdict::Refuse || tasks.len() >= limits.sessions_max + TURNED_AWAY_MAX;
    if is_refused || !shared.sessions.enter(place_of(address), limits.sessions_per_address_max) {
        shared.metrics.sessions_refused.inc();
        knock.refuse();
        return;
    }
    let (shared, entry_lists, stopping) = (shared.clone(), entry_lists.clone(), stopping.clone());
    tasks.spawn(async move {
        if let Err(error) = serve(&shared, knock, room, &entry_lists, stopping).await {
            shared.metrics.sessions_refused.inc();
            tracing::debug!(%address, err = %error, "connection did not become a session");
        }
        shared.sessions.leave(place_of(address));
    });
}

fn limits(shared: &Shared) -> admission::Limits {
    let config = &shared.config.limits;
    let (port, network) = (config.handshakes_per_second_max, config.handshakes_per_second_per_network_max);
    admission::Limits {
        in_flight_max: HANDSHAKES_MAX,
        port: Rate::new(port, port),
        // Clients of one network that lost a node together come back together.
        network: Rate::new(network, network.saturating_mul(5) / 2),
    }
}

/// Runs one connection to its end.
async fn serve(
    shared: &Arc<Shared>,
    knock: Knock,
    room: bool,
    entry_lists: &EntryLists,
    stopping: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Arrival::Native(connection) = knock.into_client().await?;
    let timeout = shared.config.limits.hello_timeout;
    let greeted = tokio::time::timeout(timeout, hello::greet_alone(shared, &connection, room, entry_lists)).await;
    let greeted = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(refusal)) => return Err(refuse(&connection, refusal).await.into()),
        Err(_) => {
            let late = WireError::from(ErrorCode::AuthTimeout);
            connection.close(late.code, &late.message);
            return Err(late.into());
        }
    };
    let session = greeted.session.clone();
    shared.sessions.open(&session);
    shared.metrics.sessions_opened.inc();
    shared.events.tell(Event::Session { session: session.id, client_id: session.client_id.clone(), open: true });
    let end = run(shared, greeted, stopping).await;
    tracing::debug!(session = %session.id, client = %session.client_id, err = %end, "session ended");
    shared.sessions.close(&session);
    shared.events.tell(Event::Session { session: session.id, client_id: session.client_id.clone(), open: false });
    connection.close(end.code, &end.message);
    Ok(())
}

/// Tells a client why it is refused: in a frame, and again in the connection's close.
async fn refuse(connection: &Connection, refusal: hello::Refusal) -> WireError {
    let hello::Refusal { request, error, writer } = refusal;
    if let Some(mut writer) = writer {
        let frame = ServerFrame { request, body: ServerBody::Error(error.clone()) }.encode();
        let _gone_or_slow = tokio::time::timeout(LAST_WORDS, async {
            if writer.write(frame).await.is_ok() {
                writer.finish_and_wait().await;
            }
        })
        .await;
    }
    connection.close(error.code, &error.message);
    error
}

/// Reads and writes until the client goes, breaks the protocol, its token expires, or the node stops.
async fn run(shared: &Shared, greeted: Greeted, stopping: watch::Receiver<bool>) -> WireError {
    let Greeted { session, writer, reader, entry_lists } = greeted;
    let (answers, commands) = queue::bounded(ANSWER_QUEUE, shared.metrics.queue(QueueName::Answers));
    let wake = Arc::new(Wake::default());
    let in_flight = InFlight::default();
    let writing = writer::run(shared, &session, writer, commands, wake.clone(), &in_flight);
    tokio::pin!(writing);
    let mut present = presence::Present::new(shared, &session);
    let mut is_written = false;
    let end = tokio::select! {
        biased;
        error = &mut writing => {
            is_written = true;
            error
        }
        error = requests::run(shared, &session, reader, &answers, &wake, &in_flight, &mut present) => error,
        error = requests::datagrams(shared, &session) => error,
        error = entry_list::tell(&shared.metrics.entry_lists, entry_lists, &answers) => error,
        () = expiry(shared, &session) => return ErrorCode::AuthExpired.into(),
        error = go_away::when_stopping(shared, stopping, &answers) => error,
    };
    present.end().await;
    // The writer ends once it has written what waits.
    drop(answers);
    if !is_written {
        let _slow_or_gone = tokio::time::timeout(LAST_WORDS, writing).await;
    }
    end
}

/// Waits until the session's token has expired.
async fn expiry(shared: &Shared, session: &Session) {
    loop {
        let now_s = shared.local.clock.wall_us() / 1_000_000;
        let left_s = session.access.expires_at_seconds().saturating_sub(now_s);
        if left_s == 0 {
            return;
        }
        // In steps, so that a clock that is set meanwhile counts.
        tokio::time::sleep(Duration::from_secs(left_s.min(60))).await;
    }
}
