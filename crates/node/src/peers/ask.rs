//! Questions of the admin endpoint to other nodes, a stream each.

use std::time::Duration;

use bytes::Bytes;
use farwire_transport::{Closed, ReadError, WriteError};
use farwire_wire::WireError;
use farwire_wire::error::DecodeError;
use farwire_wire::limits::PEER_FRAME_BYTES_MAX;
use farwire_wire::peer::PeerQuery;

use super::Link;

/// A question that is not asked and answered within this time is dropped, on both sides. Whoever asks gives up before
/// that where the link's round trip promises an answer sooner.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// What a peer may take to make an answer.
const ANSWERING: Duration = Duration::from_millis(600);
/// An answer of many frames may itself wait for other regions.
pub(crate) const FRAMES_TIMEOUT: Duration = Duration::from_secs(4);
/// Most bytes of an answer's frame.
const ANSWER_FRAME_BYTES_MAX: usize = PEER_FRAME_BYTES_MAX + 16;

/// Why a peer has not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("there is no link to the node")]
    NoLink,
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
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
    #[error("the peer refused: {0}")]
    Refused(WireError),
}

/// Asks a linked peer and returns its JSON. Cancel safe.
pub(crate) async fn ask(link: &Link, query: &PeerQuery) -> Result<Bytes, AskError> {
    let direct = link.direct().ok_or(AskError::NoLink)?;
    let connection = &direct.connection;
    let asked = async {
        let (mut writer, mut reader) = connection.open_bi(ANSWER_FRAME_BYTES_MAX).await?;
        writer.write(query.encode()).await?;
        writer.finish();
        let frame = reader.next_frame().await?.ok_or(AskError::Ended)?;
        Ok(PeerQuery::decode_answer(frame)?)
    };
    let patience = patience(connection.path_stats().rtt);
    tokio::time::timeout(patience, asked).await.unwrap_or(Err(AskError::TimedOut(patience)))
}

/// Asks a linked peer and hands each frame of the answer to `take`, until it returns `false`. Cancel safe.
pub(crate) async fn ask_frames(
    link: &Link,
    query: &PeerQuery,
    mut take: impl FnMut(Bytes) -> Result<bool, AskError>,
) -> Result<(), AskError> {
    let direct = link.direct().ok_or(AskError::NoLink)?;
    let asked = async {
        let (mut writer, mut reader) = direct.connection.open_bi(ANSWER_FRAME_BYTES_MAX).await?;
        writer.write(query.encode()).await?;
        writer.finish();
        while let Some(frame) = reader.next_frame().await? {
            if !take(frame)? {
                return Ok(());
            }
        }
        Err(AskError::Ended)
    };
    tokio::time::timeout(FRAMES_TIMEOUT, asked).await.unwrap_or(Err(AskError::TimedOut(FRAMES_TIMEOUT)))
}

/// How long an answer may take over a link with this round trip: one for the answer, and two more should a packet be
/// lost on the way there or back. A link that was cut is up for seconds more, and nobody wants to wait for it.
fn patience(rtt: Duration) -> Duration {
    (ANSWERING + 3 * rtt).min(QUERY_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_over_an_ocean_has_longer_to_answer_and_none_has_for_ever() {
        let patience = [0, 200, 10_000].map(|rtt_ms| patience(Duration::from_millis(rtt_ms)).as_millis());
        assert_eq!(patience, [600, 1_200, 2_000]);
    }
}
