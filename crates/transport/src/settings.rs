//! Every QUIC limit, set on purpose. quinn's defaults trust the other side with unlimited windows and megabytes of
//! buffers; these do not.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// Nothing heard for this long: the connection is dead. Keep-alives come more than three times in it.
const IDLE_TIMEOUT_MS: u32 = 5_000;

/// Bytes that a new link may send before the first acknowledgement.
const LINK_INITIAL_WINDOW: u64 = 256 * 1024;

/// What a node grants a client before and after authentication.
pub(crate) mod client_port {
    /// Before the hello is checked a client may have 8 KiB under way, on one stream.
    pub(crate) const PRE_AUTH_RECEIVE_WINDOW: u32 = 8 * 1024;
    /// One stream's share. Below 1,024 packets, so that honest loss never meets QUIC's limit on gaps.
    pub(crate) const STREAM_RECEIVE_WINDOW: u32 = 512 * 1024;
    /// All requests go over the first stream, before and after authentication. A client that can open no other cannot
    /// make the node work by opening and resetting them.
    pub(crate) const BIDI_STREAMS: u32 = 1;
    /// Clients have no uni streams to open.
    pub(crate) const UNI_STREAMS: u32 = 0;
    /// Unacknowledged bytes towards one client: with the tails this bounds what a slow one costs.
    pub(crate) const SEND_WINDOW: u64 = 1024 * 1024;
    /// Datagrams are for what is fresh: a small buffer lets nothing old arrive late.
    pub(crate) const DATAGRAM_SEND_BUFFER: usize = 32 * 1024;
    pub(crate) const DATAGRAM_RECEIVE_BUFFER: usize = 64 * 1024;
}

/// The node's side of a client connection. The client keeps it alive, so that a client that is gone is forgotten.
pub(crate) fn client_port() -> Arc<TransportConfig> {
    let mut config = base();
    config
        .max_concurrent_bidi_streams(client_port::BIDI_STREAMS.into())
        .max_concurrent_uni_streams(client_port::UNI_STREAMS.into())
        .receive_window(client_port::PRE_AUTH_RECEIVE_WINDOW.into())
        .stream_receive_window(client_port::STREAM_RECEIVE_WINDOW.into())
        .send_window(client_port::SEND_WINDOW)
        .datagram_send_buffer_size(client_port::DATAGRAM_SEND_BUFFER)
        .datagram_receive_buffer_size(Some(client_port::DATAGRAM_RECEIVE_BUFFER));
    Arc::new(config)
}

/// The SDK's side: it trusts the node that it authenticated with wide windows, and keeps the connection alive.
pub(crate) fn sdk() -> Arc<TransportConfig> {
    let mut config = base();
    config
        .keep_alive_interval(Some(Duration::from_millis(1_500)))
        // A delivery stream per subscription.
        .max_concurrent_uni_streams(VarInt::from_u32(1_024))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        // Only streams are bounded: with a bound for all of them, a few subscriptions that nobody reads would hold up
        // the acks. At most 1,024 streams x 512 KiB.
        .receive_window(VarInt::MAX)
        .stream_receive_window(VarInt::from_u32(512 * 1024))
        .send_window(4 * 1024 * 1024)
        .datagram_send_buffer_size(client_port::DATAGRAM_SEND_BUFFER)
        .datagram_receive_buffer_size(Some(256 * 1024));
    Arc::new(config)
}

/// Links between nodes: both sides are trusted with wide windows, and both keep the link alive.
pub(crate) fn peer_port() -> Arc<TransportConfig> {
    let mut config = base();
    // A link carries a region's traffic from its first second on: starting with ten packets a round trip, it would
    // take a second to catch up over an ocean.
    let mut eager = quinn::congestion::CubicConfig::default();
    eager.initial_window(LINK_INITIAL_WINDOW);
    config
        .keep_alive_interval(Some(Duration::from_secs(1)))
        .max_concurrent_bidi_streams(VarInt::from_u32(64))
        .max_concurrent_uni_streams(VarInt::from_u32(64))
        .receive_window(VarInt::from_u32(16 * 1024 * 1024))
        // Near the default: larger windows meet QUIC's limit on gaps in a stream when much is lost.
        .stream_receive_window(VarInt::from_u32(1_300_000))
        .send_window(16 * 1024 * 1024)
        .congestion_controller_factory(Arc::new(eager))
        .datagram_send_buffer_size(64 * 1024)
        .datagram_receive_buffer_size(Some(256 * 1024));
    Arc::new(config)
}

fn base() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        // 1,200 bytes pass everywhere, also with the two-packet hello of post-quantum key exchange; discovery raises it.
        .initial_mtu(1_200)
        .crypto_buffer_size(16 * 1024);
    config
}

/// How much a port keeps for handshakes that it has not accepted yet.
pub(crate) fn bound_incoming(config: &mut quinn::ServerConfig, incoming_max: usize) {
    config.max_incoming(incoming_max).incoming_buffer_size(16 * 1024).incoming_buffer_size_total(8 * 1024 * 1024);
}
