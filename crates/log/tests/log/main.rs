//! The log's storage as openraft and its groups see it: what counts, what is final, what a crash and a bad disk leave.
//!
//! Most run on the disk in memory, at virtual time; `disk` has what only a real one can show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod buckets;
mod corruption;
mod disk;
mod durability;
mod identity;
mod machine;
mod suite;
mod world;
