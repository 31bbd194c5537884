//! What the tests of the whole mesh share: meshes within the test's process, over real sockets and real certificates;
//! and the checks of the fuzz targets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

pub mod client;
pub mod fuzz;
pub mod http;
pub mod mesh;
pub mod peer;
pub mod wait;
