//! A QUIC connection with framed streams: what sessions, links and the SDK share. Says in our words why it ended.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use farwire_wire::ErrorCode;

use crate::stream::{FrameReader, FrameWriter};

/// Why a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Closed {
    /// We closed it.
    #[error("closed by this side")]
    Here,
    /// The other side closed it with a code of the error table (or a number that this release does not know).
    #[error("closed by the other side: {} ({reason})", code_name(*code))]
    There {
        /// The number, as in the error table.
        code: u64,
        /// The other side's text, made printable.
        reason: String,
    },
    /// Nothing was heard for the idle timeout: the other side or the network is gone.
    #[error("nothing heard for the idle timeout")]
    TimedOut,
    /// The other side has restarted and does not know the connection.
    #[error("the other side has restarted")]
    Reset,
    /// The other side's certificate is not one to trust; nothing was sent.
    #[error("its certificate {0}")]
    Certificate(CertificateFault),
    /// TLS or QUIC refused the connection, here or there.
    #[error("refused: {0}")]
    Refused(String),
}

/// Why a certificate is not one to trust.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// Its last day is over, by this machine's clock.
    #[error("has expired")]
    Expired,
    /// Its first day has not come, by this machine's clock.
    #[error("is not valid yet")]
    NotYetValid,
    /// None of the authorities given has issued it.
    #[error("is of an authority that is not trusted here")]
    Authority,
    /// It is for another name or address, or otherwise not what it must be.
    #[error("is not the right one: {0}")]
    Other(String),
}

impl Closed {
    /// The row of the error table, when the other side gave one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::There { code, .. } => u32::try_from(*code).ok().and_then(ErrorCode::of_number),
            _ => None,
        }
    }
}

fn code_name(code: u64) -> String {
    let known = u32::try_from(code).ok().and_then(ErrorCode::of_number);
    known.map_or_else(|| format!("code {code:#x}"), |code| code.name().to_owned())
}

impl From<quinn::ConnectionError> for Closed {
    fn from(error: quinn::ConnectionError) -> Self {
        match error {
            quinn::ConnectionError::LocallyClosed => Self::Here,
            quinn::ConnectionError::TimedOut => Self::TimedOut,
            quinn::ConnectionError::Reset => Self::Reset,
            quinn::ConnectionError::ApplicationClosed(close) => Self::There {
                code: close.error_code.into_inner(),
                reason: printable(&String::from_utf8_lossy(&close.reason)),
            },
            quinn::ConnectionError::TransportError(error) if error.reason.starts_with(CERTIFICATE_REFUSED) => {
                Self::Certificate(CertificateFault::of(error.code.into(), &error.reason))
            }
            other => Self::Refused(printable(&other.to_string())),
        }
    }
}

/// How rustls begins when it is the other side's certificate that it refuses.
const CERTIFICATE_REFUSED: &str = "invalid peer certificate: ";

impl CertificateFault {
    /// QUIC carries TLS alerts as 0x100 and the alert (RFC 9001 section 4.8). The alert says what is wrong but for the side
    /// of the dates, which only the text has.
    fn of(code: u64, reason: &str) -> Self {
        const CERTIFICATE_EXPIRED: u64 = 0x100 | 45;
        const UNKNOWN_CA: u64 = 0x100 | 48;
        // The signature is not that of the authority of this name.
        const DECRYPT_ERROR: u64 = 0x100 | 51;
        match code {
            CERTIFICATE_EXPIRED if reason.contains("not valid yet") => Self::NotYetValid,
            CERTIFICATE_EXPIRED => Self::Expired,
            UNKNOWN_CA | DECRYPT_ERROR => Self::Authority,
            _ => Self::Other(printable(reason.strip_prefix(CERTIFICATE_REFUSED).unwrap_or(reason))),
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(256).collect()
}

/// Counters of a connection since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathStats {
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Packets that QUIC declared lost.
    pub lost_packets: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// UDP payload bytes sent.
    pub sent_bytes: u64,
    /// UDP payload bytes received.
    pub received_bytes: u64,
    /// Largest UDP payload that is known to get through.
    pub mtu: u16,
}

/// An established connection. Clones share it; dropping the last one closes it.
#[derive(Debug, Clone)]
pub struct Connection(quinn::Connection);

impl Connection {
    pub(crate) fn new(connection: quinn::Connection) -> Self {
        Self(connection)
    }

    /// Opens a stream in both directions, waiting while the other side allows no more. Cancel safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn open_bi(&self, frame_bytes_max: usize) -> Result<(FrameWriter, FrameReader), Closed> {
        let (send, recv) = self.0.open_bi().await?;
        Ok((FrameWriter::new(send), FrameReader::new(recv, frame_bytes_max)))
    }

    /// The next stream in both directions that the other side opens. Cancel safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn accept_bi(&self, frame_bytes_max: usize) -> Result<(FrameWriter, FrameReader), Closed> {
        let (send, recv) = self.0.accept_bi().await?;
        Ok((FrameWriter::new(send), FrameReader::new(recv, frame_bytes_max)))
    }

    /// Opens a stream towards the other side, waiting while it allows no more. Cancel safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn open_uni(&self) -> Result<FrameWriter, Closed> {
        Ok(FrameWriter::new(self.0.open_uni().await?))
    }

    /// The next stream towards us that the other side opens. Cancel safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn accept_uni(&self, frame_bytes_max: usize) -> Result<FrameReader, Closed> {
        Ok(FrameReader::new(self.0.accept_uni().await?, frame_bytes_max))
    }

    /// Sends a datagram if it fits the path and the small send buffer; `false` when it was dropped.
    #[must_use]
    pub fn send_datagram(&self, datagram: Bytes) -> bool {
        self.0.send_datagram(datagram).is_ok()
    }

    /// The next datagram. Cancel safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn read_datagram(&self) -> Result<Bytes, Closed> {
        Ok(self.0.read_datagram().await?)
    }

    /// Largest datagram that fits the path now; `None` when the other side takes none.
    #[must_use]
    pub fn datagram_bytes_max(&self) -> Option<usize> {
        self.0.max_datagram_size()
    }

    /// Ends the connection. What is still unsent is dropped: finish streams first.
    pub fn close(&self, code: ErrorCode, reason: &str) {
        self.0.close(code.number().into(), reason.as_bytes());
    }

    /// Waits until the connection has ended. Cancel safe.
    pub async fn closed(&self) -> Closed {
        self.0.closed().await.into()
    }

    /// Why the connection has ended, if it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<Closed> {
        self.0.close_reason().map(Into::into)
    }

    /// The other side's address now; it changes when a client moves.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Counters. Takes the connection's lock: not for every message.
    #[must_use]
    pub fn path_stats(&self) -> PathStats {
        let stats = self.0.stats();
        PathStats {
            rtt: self.0.rtt(),
            lost_packets: stats.path.lost_packets,
            sent_packets: stats.path.sent_packets,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            mtu: stats.path.current_mtu,
        }
    }

    /// Opens the window to that of an authenticated client, who may have `receive_window` bytes under way.
    pub fn widen(&self, receive_window: u32) {
        self.0.set_receive_window(receive_window.into());
    }
}
