//! Which SWIM messages count: those of this mesh whose sender is the node in the certificate that they came with. What
//! they say is for foca to judge.

use bytes::Bytes;
use farwire_wire::error::DecodeError;
use farwire_wire::peer::open_swim_envelope;
use farwire_wire::{MeshId, NodeName};
use foca::{Codec, Header, PostcardCodec};

use super::identity::Identity;

/// Why a message does not count. Nothing was changed by it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Another mesh or version, or no envelope at all.
    #[error(transparent)]
    Envelope(DecodeError),
    /// Not a SWIM message of this release.
    #[error("its head does not decode; run the same release on every node")]
    Head,
    /// A node speaks for another one.
    #[error("it names another sender than the certificate that it came with")]
    OtherSender,
}

/// The SWIM message in an envelope that came from `from`.
pub(super) fn admit(mesh: MeshId, from: &NodeName, envelope: Bytes) -> Result<Bytes, Refusal> {
    let message = open_swim_envelope(mesh, envelope).map_err(Refusal::Envelope)?;
    let head: Header<Identity> = PostcardCodec.decode_header(&message[..]).map_err(|_| Refusal::Head)?;
    if head.src.name == *from { Ok(message) } else { Err(Refusal::OtherSender) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::offline::OfflineMembership;
    use farwire_wire::peer::swim_envelope;

    const MESH: MeshId = MeshId(7);

    /// What iad-1 says when it joins the mesh.
    fn announcement() -> Bytes {
        let mut member = OfflineMembership::new(MESH, node("iad-1"), "iad".parse().expect("a name"));
        assert!(member.announce(node("fra-1")));
        member.sent().remove(0).1
    }

    fn node(name: &str) -> NodeName {
        name.parse().expect("a name")
    }

    #[test]
    fn a_message_counts_when_its_sender_is_the_node_of_the_certificate() {
        assert_eq!(admit(MESH, &node("iad-1"), announcement()).expect("counts"), announcement().slice(9..));
        assert!(matches!(admit(MESH, &node("sin-1"), announcement()), Err(Refusal::OtherSender)));
    }

    #[test]
    fn garbage_and_messages_of_another_mesh_do_not_count() {
        assert!(matches!(admit(MeshId(8), &node("iad-1"), announcement()), Err(Refusal::Envelope(_))));
        assert!(matches!(admit(MESH, &node("iad-1"), announcement().slice(..8)), Err(Refusal::Envelope(_))));
        assert!(matches!(admit(MESH, &node("iad-1"), swim_envelope(MESH, b"\xff\xff")), Err(Refusal::Head)));
    }
}
