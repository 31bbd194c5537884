//! The session's loops of what is delivered: each stream and datagram goes to the subscription that it names. Reads no
//! further than a stream's header: the rest is read by the subscription itself.

use std::time::Duration;

use farwire_transport::connection::Connection;
use farwire_transport::stream::{FrameReader, ReadError};
use farwire_wire::ErrorCode;
use farwire_wire::client::{Delivery, decode_delivery_header};
use farwire_wire::limits::CLIENT_FRAME_BYTES_MAX;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::session::{End, SharedLedger};
use crate::subscription::DeliveryStream;

/// Streams whose header is awaited. Policy: wait; QUIC holds back further ones.
const HEADERS_PENDING_MAX: usize = 64;
/// A header takes no longer than this, or the session is of no use.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Hands each delivery stream to its subscription.
pub(crate) async fn accept_deliveries(connection: &Connection, ledger: &SharedLedger) -> End {
    let mut headers = FuturesUnordered::new();
    loop {
        tokio::select! { biased;
            Some(header) = headers.next() => match header {
                Ok(Some((subscription, reader))) => hand_over(connection, ledger, subscription, reader),
                Ok(None) => {}
                Err(end) => return end,
            },
            stream = connection.accept_uni(CLIENT_FRAME_BYTES_MAX), if headers.len() < HEADERS_PENDING_MAX => {
                match stream {
                    Ok(reader) => headers.push(read_header(reader)),
                    Err(closed) => return End::lost(closed),
                }
            }
        }
    }
}

/// `None` when the node gave the stream up, as it does when a subscription ends early.
async fn read_header(mut reader: FrameReader) -> Result<Option<(u64, FrameReader)>, End> {
    let header = tokio::time::timeout(HEADER_TIMEOUT, reader.next_frame()).await;
    match header.map_err(|_| End::lost("a delivery stream without a header"))? {
        Ok(Some(frame)) => Ok(Some((decode_delivery_header(frame).map_err(End::lost)?, reader))),
        Ok(None) | Err(ReadError::Reset(_)) => Ok(None),
        Err(error) => Err(End::lost(error)),
    }
}

fn hand_over(connection: &Connection, ledger: &SharedLedger, subscription: u64, mut reader: FrameReader) {
    match ledger.lock().inlet(subscription) {
        Some(inlet) => inlet.hand_over(DeliveryStream { reader, connection: connection.clone() }),
        // It was dropped while the stream was on its way.
        None => reader.stop(ErrorCode::Closed),
    }
}

/// Hands each datagram to its subscription. Datagrams may be lost, so what makes no sense is passed over.
pub(crate) async fn take_datagrams(connection: &Connection, ledger: &SharedLedger) -> End {
    loop {
        let datagram = match connection.read_datagram().await {
            Ok(datagram) => datagram,
            Err(closed) => return End::lost(closed),
        };
        match Delivery::decode_datagram(datagram) {
            Ok((subscription, entry)) => {
                if let Some(inlet) = ledger.lock().inlet(subscription) {
                    inlet.offer_datagram(entry);
                }
            }
            Err(error) => tracing::debug!(err = %error, "datagram skipped"),
        }
    }
}
