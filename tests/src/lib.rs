//! What the tests of the whole mesh share: meshes within the test's process, over real sockets and real certificates;
//! meshes of real processes; and the checks of the fuzz targets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a test that fails says where to look")]

pub mod client;
pub mod exchange;
pub mod fuzz;
pub mod http;
pub mod mesh;
pub mod peer;
pub mod process;
pub mod up;
pub mod wait;
