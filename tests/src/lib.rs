//! What the tests of the whole mesh share: meshes within the test's process, over real sockets and real certificates;
//! and the checks of the fuzz targets.
//! What the tests of the whole mesh share: meshes within the test's process, over real sockets and real certificates, and
//! meshes of real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a test that fails says where to look")]

pub mod client;
pub mod fuzz;
pub mod exchange;
pub mod http;
pub mod mesh;
pub mod peer;
pub mod up;
pub mod wait;
