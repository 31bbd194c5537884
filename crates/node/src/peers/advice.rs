//! What a person should check when a node cannot be reached. Text only.

use farwire_transport::endpoint::DialError;

/// For an address at which another node answers than the one that gave it.
pub(crate) const OTHER_NODE_ADVICE: &str = "the node's peer.advertise is the address of another node: correct it there";

/// For an address at which nobody answers.
const SILENT: &str =
    "is the node up, its peer port (UDP) open in both firewalls, and this address the one in its peer.advertise?";

/// For a node that answers, but not as one of this mesh.
const STRANGER: &str = "have both nodes the same mesh file, and certificates of the same peer authority?";

/// What to check after a dial that failed.
pub(crate) fn dial_advice(error: &DialError) -> &'static str {
    match error {
        DialError::TimedOut(_) | DialError::Connect(_) => SILENT,
        DialError::Closed(_) | DialError::Identity(_) => STRANGER,
    }
}
