//! The protobuf types that prost makes of `proto/` at build time. Private: other modules turn them into checked types.
#![allow(missing_docs, unreachable_pub, reason = "generated from proto/, which carries the comments")]
#![allow(clippy::all, reason = "generated code is not ours to style")]

pub mod farwire {
    pub mod types {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/farwire.types.v1.rs"));
        }
    }
    pub mod client {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/farwire.client.v1.rs"));
        }
    }
    pub mod peer {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/farwire.peer.v1.rs"));
        }
    }
}

pub use farwire::client::v1 as client;
pub use farwire::peer::v1 as peer;
pub use farwire::types::v1 as types;
