//! The frames of the client protocol, `farwire/1`, as checked types: [`ClientFrame`] asks, [`ServerFrame`] answers,
//! [`Delivery`] brings messages. Bytes in, checked values out; what is sent when is for the SDK and the node to know.
//! Invariant: what decodes without an error keeps every rule of `proto/README.md` that one frame can keep.

mod answer;
mod delivery;
mod presence;
mod request;

use crate::error::{DecodeError, ErrorCode};
use crate::names::NameError;
use crate::proto::client as proto;

pub use answer::{EntryPoint, GoAway, ServerBody, ServerFrame, SessionLimits, Welcome};
pub use delivery::{Delivery, decode_delivery_header, delivery_header};
pub use presence::{ChannelPresence, ListedOccupant, Place, PresenceAnswer, RegionPresence, WhereAnswer};
pub use request::{ClientBody, ClientFrame, Enter, Hello, PresenceQuery, Publish};

/// The ALPN of the client protocol.
pub const CLIENT_ALPN: &[u8] = b"farwire/1";

/// How far a publish got before it was acked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AckLevel {
    /// On its way to the channel's owner; it may be lost.
    Volatile,
    /// Committed by the majority of the region's replicas.
    Region,
    /// Imported and committed in another region, too.
    Geo,
}

impl AckLevel {
    fn to_proto(self) -> proto::AckLevel {
        match self {
            Self::Volatile => proto::AckLevel::Volatile,
            Self::Region => proto::AckLevel::Region,
            Self::Geo => proto::AckLevel::Geo,
        }
    }

    fn from_proto(level: i32) -> Result<Option<Self>, DecodeError> {
        match proto::AckLevel::try_from(level) {
            Ok(proto::AckLevel::Unspecified) => Ok(None),
            Ok(proto::AckLevel::Volatile) => Ok(Some(Self::Volatile)),
            Ok(proto::AckLevel::Region) => Ok(Some(Self::Region)),
            Ok(proto::AckLevel::Geo) => Ok(Some(Self::Geo)),
            Err(_) => Err(DecodeError::malformed("an ack level that this version does not know")),
        }
    }
}

fn bad_name(error: NameError) -> DecodeError {
    DecodeError::new(0, ErrorCode::BadChannel, error.to_string())
}
