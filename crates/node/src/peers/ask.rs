//! Questions of the admin endpoint to other nodes, a stream each.

use std::time::Duration;

use bytes::Bytes;
use farwire_transport::{Closed, ReadError, WriteError};
use farwire_wire::error::DecodeError;
use farwire_wire::limits::PEER_FRAME_BYTES_MAX;
use farwire_wire::peer::PeerQuery;

use super::Link;

/// A question that is not asked and answered within this time is dropped, on both sides.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes of an answer's frame.
const ANSWER_FRAME_BYTES_MAX: usize = PEER_FRAME_BYTES_MAX + 16;

/// Why a peer has not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("there is no link to the node")]
    NoLink,
    #[error("no answer within 2 s")]
    TimedOut,
    #[error("the stream ended without an answer")]
    Ended,
    #[error(transparent)]
    Closed(#[from] Closed),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Asks a linked peer and returns its JSON. Cancel safe.
pub(crate) async fn ask(link: &Link, query: &PeerQuery) -> Result<Bytes, AskError> {
    let asked = async {
        let connection = &link.direct().ok_or(AskError::NoLink)?.connection;
        let (mut writer, mut reader) = connection.open_bi(ANSWER_FRAME_BYTES_MAX).await?;
        writer.write(query.encode()).await?;
        writer.finish();
        let frame = reader.next_frame().await?.ok_or(AskError::Ended)?;
        Ok(PeerQuery::decode_answer(frame)?)
    };
    tokio::time::timeout(QUERY_TIMEOUT, asked).await.unwrap_or(Err(AskError::TimedOut))
}
