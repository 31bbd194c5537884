//! How groups reach other nodes: a trait, which a node implements over its links and a simulation over queues.

use bytes::Bytes;
use tokio::sync::mpsc;

/// The two ends of a conversation between groups of two nodes: frames of at most
/// [`GROUP_FRAME_BYTES_MAX`](super::GROUP_FRAME_BYTES_MAX) bytes, in order, none lost while both ends are there.
///
/// A pipe that cannot be made, or that breaks, ends: nothing more comes in, and what goes out is refused.
#[derive(Debug)]
pub struct Pipe {
    /// To the other node. Whoever asked drops it when nothing more is asked.
    pub outgoing: mpsc::Sender<Bytes>,
    /// From the other node.
    pub incoming: mpsc::Receiver<Bytes>,
}

/// Frames that may wait in either direction of a [`Pipe`].
pub const PIPE_FRAMES_MAX: usize = 64;

/// Opens pipes to other nodes.
pub trait Peers: Send + Sync + 'static {
    /// A pipe to the groups of a node, by its name. Returns at once; a node that cannot be reached shows by the pipe's end.
    fn open(&self, node: &str) -> Pipe;
}
