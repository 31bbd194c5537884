//! Farwire on the wire: QUIC endpoints, TLS, certificates and framed streams. The only crate that names quinn, rustls
//! and rcgen; everything else speaks of connections, readers and writers.
//!
//! - [`endpoint`]: the client port, the peer port and the SDK's dialer, over a socket that may be simulated.
//! - [`packets`]: what a simulation puts in the socket's place.
//! - [`connection`], [`stream`]: what they yield. The settings of QUIC are chosen here and nowhere else.
//! - [`tls`]: who shows which certificate and who checks it; reloaded without restart.
//! - [`certs`], [`mesh_file`]: what `farwire certs` makes.

pub mod certs;
pub mod connection;
pub mod endpoint;
pub mod mesh_file;
pub mod packets;
mod settings;
pub mod stream;
pub mod tls;

pub use connection::{CertificateFault, Closed, Connection, PathStats};
pub use endpoint::{ClientPort, DialError, Dialer, EndpointError, PeerConnection, PeerPort, PeerRole, Socket};
pub use mesh_file::MeshFile;
pub use stream::{FrameReader, FrameWriter, ReadError, WriteError};
pub use tls::TlsClock;
