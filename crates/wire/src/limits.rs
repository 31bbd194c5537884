//! Every bound of the protocol in one place. A limit is checked before anything is allocated for what it bounds.

use std::time::Duration;

/// The protocol version that this release speaks, to clients and to peers.
pub const PROTOCOL_VERSION: u32 = 1;
/// Largest payload of a message.
pub const PAYLOAD_BYTES_MAX: usize = 65_536;
/// Largest frame before a client is authenticated: a `Hello`.
pub const HELLO_FRAME_BYTES_MAX: usize = 8 * 1024;
/// Largest frame of an authenticated client, and of a delivery: a payload, its channel and its numbers.
pub const CLIENT_FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1024;
/// Largest frame that a node sends a client outside of deliveries: a `Welcome` with 256 entry points.
pub const SERVER_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Largest frame between peers.
pub const PEER_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Largest frame of presence between peers: a channel with 16,384 occupants that all say as much as they may.
pub const PRESENCE_FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most stays that one frame of presence lists: more than a node can have sessions.
pub const PRESENCE_STAYS_MAX: usize = 1 << 20;
/// Largest first frame of a peer, before its hello is checked.
pub const PEER_HELLO_BYTES_MAX: usize = 64 * 1024;
/// Largest question of a peer: about the presence of 1,000 channels.
pub const PEER_QUERY_BYTES_MAX: usize = 512 * 1024;
/// Largest SWIM message.
pub const SWIM_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of entries that a node packs into one frame to a peer.
pub const PEER_BATCH_BYTES: usize = 256 * 1024;
/// Most bytes of a message in its stored form: a payload, its channel and its numbers.
pub const ENTRY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1024;
/// A batch of a group's log is full once its entries have this many bytes, and takes no more of them.
pub const LOG_BATCH_BYTES: usize = 256 * 1024;
/// Most publishes in a batch of a group's log: a batch of tiny messages must not take many times its size in memory.
pub const LOG_BATCH_PUBLISHES_MAX: usize = 8_192;
/// Most channels that one mark of a group's log names.
pub const LOG_MARKS_MAX: usize = 1_024;
/// Largest command of a group's log: a batch that was all but full when a message of the largest size came, with 17 bytes
/// around each entry.
pub const LOG_COMMAND_BYTES_MAX: usize = 512 * 1024;
/// A client has this long from its handshake to a complete `Hello`.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Most publishes that a client may have sent and not yet seen acked.
pub const PUBLISHES_IN_FLIGHT_MAX: u32 = 4096;
/// Most nodes in one mesh.
pub const MEMBERS_MAX: usize = 256;
/// Longest agent text of a `Hello`; longer ones are cut.
pub const AGENT_BYTES_MAX: usize = 64;
/// A forwarded message passes at most this many nodes that are not its owner.
pub const HOPS_MAX: u32 = 2;
/// Largest message that travels as a datagram; larger ones take a stream.
pub const DATAGRAM_BYTES_MAX: usize = 1100;

const _: () = assert!(CLIENT_FRAME_BYTES_MAX > PAYLOAD_BYTES_MAX + crate::names::CHANNEL_BYTES_MAX + 64);
const _: () = assert!(PEER_FRAME_BYTES_MAX > PEER_BATCH_BYTES + CLIENT_FRAME_BYTES_MAX);
const _: () = assert!(LOG_COMMAND_BYTES_MAX > LOG_BATCH_BYTES + ENTRY_BYTES_MAX + LOG_BATCH_PUBLISHES_MAX * 17 + 32);
const _: () = assert!(LOG_COMMAND_BYTES_MAX > LOG_MARKS_MAX * (crate::names::CHANNEL_BYTES_MAX + 64) + 32);
