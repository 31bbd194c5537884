//! The uni streams that a peer opens on a link, told apart by their header: batches of messages, and presence. Also the
//! sending of presence. Each kind has its own limit, and a stream that waits for its task holds up no other.

use farwire_transport::{Connection, FrameReader};
use farwire_wire::limits::{PEER_FRAME_BYTES_MAX, PRESENCE_FRAME_BYTES_MAX};
use farwire_wire::peer::{Addressed, Messages, Relayed, StreamKind};
use farwire_wire::{ErrorCode, NodeName};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::{LinkError, protocol, take_messages};
use crate::peers::{Link, PresenceFrames};
use crate::shared::Shared;

/// Streams that a peer may have open at a time; one of each kind would do.
const STREAMS_MAX: usize = 8;
/// Largest header.
const HEADER_BYTES_MAX: usize = 64;

/// Reads every stream that the peer opens. Cancel safe between frames.
pub(super) async fn receive(shared: &Shared, link: &Link, connection: &Connection) -> Result<(), LinkError> {
    let mut streams = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = streams.next() => {
                let () = ended?;
                return Err(LinkError::Ended);
            }
            accepted = connection.accept_uni(HEADER_BYTES_MAX) => {
                if streams.len() >= STREAMS_MAX {
                    return Err(protocol(ErrorCode::ProtocolState, "more streams than kinds of streams"));
                }
                streams.push(read(shared, link, accepted?));
            }
        }
    }
}

async fn read(shared: &Shared, link: &Link, mut reader: FrameReader) -> Result<(), LinkError> {
    let header = reader.next_frame().await?.ok_or(LinkError::Ended)?;
    match StreamKind::decode(header).map_err(|error| LinkError::Protocol(error.error))? {
        StreamKind::Messages => {
            reader.set_frame_bytes_max(PEER_FRAME_BYTES_MAX);
            while let Some(frame) = reader.next_frame().await? {
                let messages = Messages::decode(frame).map_err(|error| LinkError::Protocol(error.error))?;
                take_messages(shared, link, messages, false);
            }
        }
        StreamKind::Presence => {
            reader.set_frame_bytes_max(PRESENCE_FRAME_BYTES_MAX);
            while let Some(frame) = reader.next_frame().await? {
                let addressed = Addressed::decode(frame).map_err(|error| LinkError::Protocol(error.error))?;
                take_presence(shared, &link.node, addressed).await;
            }
        }
    }
    Ok(())
}

/// Presence is for this node, or for one that the sender has no link to.
async fn take_presence(shared: &Shared, peer: &NodeName, Addressed { relayed, frame }: Addressed) {
    match relayed {
        Relayed::No => shared.presence.hear(peer.clone(), frame).await,
        Relayed::From(from) => shared.presence.hear(from, frame).await,
        Relayed::To(to) => {
            if !shared.peers.relay_presence(peer, &to, frame) {
                shared.metrics.presence_unsent.inc();
            }
        }
    }
}

/// Writes what waits for the peer, on a stream that is opened with the first of it.
pub(super) async fn send_presence(connection: &Connection, mut news: PresenceFrames) -> Result<(), LinkError> {
    let Some(first) = news.next().await else { return Err(LinkError::Ended) };
    let mut writer = connection.open_uni().await?;
    // Messages go first.
    writer.set_priority(-1);
    writer.write_batch(&mut vec![StreamKind::Presence.encode(), first]).await?;
    while let Some(frame) = news.next().await {
        writer.write(frame).await?;
    }
    Err(LinkError::Ended)
}
