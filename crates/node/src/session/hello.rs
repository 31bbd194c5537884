//! The first frame of a client: who it is, what it speaks, what it may do. Until it is checked the client has one
//! stream and 8 KiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use farwire_auth::{Access, TokenError};
use farwire_transport::{Connection, FrameReader, FrameWriter, ReadError};
use farwire_wire::client::{
    ClientBody, ClientFrame, EntryPoint, Hello, ServerBody, ServerFrame, SessionLimits, Welcome,
};
use farwire_wire::limits::{CLIENT_FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX, PROTOCOL_VERSION, PUBLISHES_IN_FLIGHT_MAX};
use farwire_wire::{ErrorCode, SessionId, WireError};
use rand::RngExt;

use super::entry_list::{EntryLists, Listed};
use crate::sessions::Session;
use crate::shared::Shared;
use crate::sync::watch;

/// When a client may come back to a node that was full.
const FULL_RETRY_MS: u32 = 1_000;

/// Why a client did not get a session, and the stream to tell it on.
pub(super) struct Refusal {
    pub(super) request: u64,
    pub(super) error: WireError,
    pub(super) writer: Option<FrameWriter>,
}

/// A session that stands, with what it is run with.
pub(super) struct Greeted {
    pub(super) session: Arc<Session>,
    pub(super) writer: FrameWriter,
    pub(super) reader: FrameReader,
    /// Tells of entry points other than those of the welcome.
    pub(super) entry_lists: watch::Receiver<Listed>,
}

/// Greets a client that sends nothing but its hello: datagrams would wait in memory for a session that may never be. Not
/// cancel safe, as [`greet`].
pub(super) async fn greet_alone(
    shared: &Shared,
    connection: &Connection,
    room: bool,
    entry_lists: &EntryLists,
) -> Result<Greeted, Refusal> {
    tokio::select! {
        biased;
        greeted = greet(shared, connection, room, entry_lists) => greeted,
        Ok(_) = connection.read_datagram() => {
            let error = WireError::new(ErrorCode::ProtocolState, "a datagram before the hello was answered");
            Err(Refusal { request: 0, error, writer: None })
        }
    }
}

/// Reads the hello, checks it and answers with a welcome, if there is room for a session. Not cancel safe: the connection
/// is of no use afterwards.
async fn greet(
    shared: &Shared,
    connection: &Connection,
    room: bool,
    entry_lists: &EntryLists,
) -> Result<Greeted, Refusal> {
    let refusal = |request, error: WireError| Refusal { request, error, writer: None };
    let lost = |error: &dyn std::fmt::Display| refusal(0, WireError::new(ErrorCode::Closed, error.to_string()));
    let (mut writer, mut reader) = connection.accept_bi(HELLO_FRAME_BYTES_MAX).await.map_err(|error| lost(&error))?;
    let checked = match reader.next_frame().await {
        Ok(Some(frame)) => check(shared, frame, room),
        Ok(None) => Err(refusal(0, WireError::new(ErrorCode::ProtocolState, "the stream ended before a hello"))),
        Err(ReadError::Frame(error)) => Err(refusal(0, WireError::new(error.code(), error.to_string()))),
        Err(error) => Err(lost(&error)),
    };
    let (request, hello, access) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return Err(Refusal { writer: Some(writer), ..refusal }),
    };
    let session = Arc::new(open(shared, connection, hello, access));
    connection.widen(shared.config.limits.session_window_bytes);
    reader.set_frame_bytes_max(CLIENT_FRAME_BYTES_MAX);
    reader.set_frame_timeout(shared.config.limits.frame_timeout);
    let (entry_points, entry_lists) = entry_lists.for_welcome(shared);
    let frame = ServerFrame { request, body: ServerBody::Welcome(welcome(shared, &session, entry_points)) };
    writer.write(frame.encode()).await.map_err(|error| lost(&error))?;
    Ok(Greeted { session, writer, reader, entry_lists })
}

fn check(shared: &Shared, frame: bytes::Bytes, room: bool) -> Result<(u64, Hello, Access), Refusal> {
    let frame = ClientFrame::decode(frame);
    let frame = frame.map_err(|bad| Refusal { request: bad.request, error: bad.error, writer: None })?;
    let refuse = |error| Refusal { request: frame.request, error, writer: None };
    let ClientBody::Hello(hello) = frame.body else {
        return Err(refuse(WireError::new(ErrorCode::ProtocolState, "the first frame is not a hello")));
    };
    if !hello.versions.contains(&PROTOCOL_VERSION) {
        let (from, to) = (hello.versions.start(), hello.versions.end());
        let message = format!(
            "this node speaks protocol version {PROTOCOL_VERSION}, the client {from} to {to}: use an SDK of this release"
        );
        return Err(refuse(WireError::new(ErrorCode::UnsupportedVersion, message)));
    }
    if !room {
        let message = "the node has as many sessions as it may have: try another one, or this one later";
        let error = WireError::new(ErrorCode::TooManyConnections, message);
        return Err(refuse(WireError { retry_after_ms: FULL_RETRY_MS, ..error }));
    }
    let now_s = shared.local.clock.wall_us() / 1_000_000;
    let access = shared.verifier.verify(&hello.token, now_s).map_err(|error| refuse(token_refused(error)))?;
    if hello.client_id.as_ref().is_some_and(|id| id != access.client_id()) {
        let message = format!("the token is that of client {}: use its id, or none", access.client_id());
        return Err(refuse(WireError::new(ErrorCode::AuthInvalid, message)));
    }
    Ok((frame.request, hello, access))
}

fn token_refused(error: TokenError) -> WireError {
    let code = match error {
        TokenError::Expired { .. } => ErrorCode::AuthExpired,
        TokenError::NotYetValid { .. } => ErrorCode::ClockSkew,
        TokenError::NoIssuer
        | TokenError::TooLong
        | TokenError::Malformed(_)
        | TokenError::WrongIssuer
        | TokenError::BadSignature
        | TokenError::WrongMesh
        | TokenError::TooManyGrants => ErrorCode::AuthInvalid,
    };
    WireError::new(code, error.to_string())
}

fn open(shared: &Shared, connection: &Connection, hello: Hello, access: Access) -> Session {
    Session {
        id: SessionId(shared.rng().random()),
        client_id: access.client_id().clone(),
        instance: hello.instance,
        connects: hello.connects,
        agent: hello.agent,
        connection: connection.clone(),
        since_us: shared.local.clock.wall_us(),
        access,
        subscriptions: AtomicUsize::new(0),
        published: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
    }
}

fn welcome(shared: &Shared, session: &Session, entry_points: Vec<EntryPoint>) -> Welcome {
    let limits = &shared.config.limits;
    let limit = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Welcome {
        version: PROTOCOL_VERSION,
        session: session.id,
        mesh: shared.local.mesh.name.to_string(),
        node: shared.local.name.clone(),
        region: shared.local.region.clone(),
        client_id: session.client_id.clone(),
        limits: SessionLimits {
            payload_bytes_max: limit(limits.payload_bytes_max),
            subscriptions_max: limit(limits.subscriptions_per_session_max),
            publishes_in_flight_max: PUBLISHES_IN_FLIGHT_MAX,
        },
        entry_points,
    }
}
