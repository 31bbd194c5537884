//! The vocabulary and the protocol of Farwire: checked names, ids, patterns, frames, error codes and limits.
//!
//! Everything that comes from outside becomes one of these types at the border, or an error that says which rule it
//! broke; behind the border nothing is checked twice. The generated protobuf types stay private to this crate. No IO,
//! no async, no clock.
//!
//! - [`names`], [`pattern`], [`ids`]: what things are called.
//! - [`place`], [`cursor`]: where a message is in a log, and how far a subscription has read.
//! - [`log`]: what a group's log is made of.
//! - [`frame`]: how frames are cut out of a stream of bytes.
//! - [`client`], [`peer`]: the frames of the two protocols; [`entry`]: a message in its stored form.
//! - [`presence`]: who is on a channel.
//! - [`error`]: one table of error codes in three classes; [`limits`]: every bound of the protocol.
//! - [`varint`]: numbers in the formats that are not protobuf.

pub mod client;
pub mod cursor;
pub mod entry;
pub mod error;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod log;
pub mod names;
pub mod pattern;
pub mod peer;
pub mod place;
pub mod presence;
mod proto;
pub mod varint;

pub use cursor::Cursor;
pub use entry::Entry;
pub use error::{ErrorClass, ErrorCode, WireError};
pub use ids::{Instance, Life, MeshId, Origin, PublisherId, SLOTS, SessionId, Shard, Slot, ViewDigest};
pub use names::{ChannelName, ClientId, MeshName, NameError, NodeName, RegionName};
pub use pattern::{Filter, Pattern};
pub use place::{Offset, Place, Position};
