//! SWIM messages from peers whose certificates are sound, and the timers between them.
//!
//! Input: steps. A step is a byte: what happens and, for a message, from whom; then its length in two bytes, low byte
//! first, and the message without its envelope. A node of one peer takes them.

use farwire_node::OfflineMembership;
use farwire_wire::limits::SWIM_BYTES_MAX;
use farwire_wire::peer::swim_envelope;
use farwire_wire::{MeshId, NodeName, RegionName};

/// The mesh of the nodes.
pub const MESH: MeshId = MeshId(7);
/// Bytes of an envelope.
const ENVELOPE_BYTES: usize = 9;
/// Steps beyond these are not taken.
const STEPS_MAX: usize = 24;

/// Panics when a rule is broken.
///
/// # Panics
/// See above.
pub fn check(input: &[u8]) {
    let (mut node, peers) = introduced();
    let mut rest = input;
    for _ in 0..STEPS_MAX {
        let [kind, after @ ..] = rest else { return };
        rest = after;
        if kind % 4 == 0 {
            node.run_timer();
        } else {
            let [low, high, after @ ..] = rest else { return };
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len()).min(SWIM_BYTES_MAX);
            let (message, after) = after.split_at(length);
            rest = after;
            node.receive(&peers[usize::from(kind % 4) - 1], swim_envelope(MESH, message));
        }
        for (_, envelope) in node.sent() {
            assert!(envelope.len() <= SWIM_BYTES_MAX + ENVELOPE_BYTES, "a message of {} bytes", envelope.len());
        }
    }
}

/// A node, the peer that it has met, and two that it has not.
fn introduced() -> (OfflineMembership, [NodeName; 3]) {
    let name = |name: &str| NodeName::parse(name).expect("a name");
    let peers = [name("iad-1"), name("sin-1"), name("fra-2")];
    let mut node = member("fra-1", "fra");
    let mut peer = member("iad-1", "iad");
    assert!(peer.announce(name("fra-1")));
    exchange(&mut node, &mut peer);
    assert_eq!((node.alive(), peer.alive()), (1, 1), "the two have met");
    (node, peers)
}

/// A node that knows nobody.
///
/// # Panics
/// When a name is not one.
#[must_use]
pub fn member(name: &str, region: &str) -> OfflineMembership {
    OfflineMembership::new(MESH, NodeName::parse(name).expect("a name"), RegionName::parse(region).expect("a name"))
}

/// Carries messages to and fro until both are silent.
fn exchange(node: &mut OfflineMembership, peer: &mut OfflineMembership) {
    let (fra, iad) = (NodeName::parse("fra-1").expect("a name"), NodeName::parse("iad-1").expect("a name"));
    loop {
        let (to_node, to_peer) = (peer.sent(), node.sent());
        if to_node.is_empty() && to_peer.is_empty() {
            return;
        }
        to_node.into_iter().for_each(|(_, envelope)| assert!(node.receive(&iad, envelope)));
        to_peer.into_iter().for_each(|(_, envelope)| assert!(peer.receive(&fra, envelope)));
    }
}
