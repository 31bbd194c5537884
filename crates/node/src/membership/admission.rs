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
