//! What the tests of the whole mesh share: meshes within the test's process, over real sockets and real certificates.

pub mod http;
pub mod mesh;
pub mod wait;
