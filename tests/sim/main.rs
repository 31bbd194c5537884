//! The whole node in simulation: real QUIC over a network in memory, virtual time, everything drawn from a seed. A run
//! that fails prints the command that repeats it; tests/README.md tells how to run more seeds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a run that is repeated tells its history")]

mod client;
mod determinism;
mod files;
mod groups;
mod mesh;
mod mixed;
mod occupant;
mod presence;
mod region;
mod runs;
mod stories;
mod ways;
