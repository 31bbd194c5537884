//! Farwire's decisions, without IO: who owns what, who wants what, what was seen before, who may come in, what a log's
//! commands do.
//!
//! Everything here is a function of its arguments: no clock, no randomness, no sockets, no tasks. Time comes in as a
//! [`Duration`](std::time::Duration) since a start of the caller's choosing, so that a simulation can run the same code
//! in a thousand copies.

pub mod admission;
pub mod bucket;
pub mod hash;
pub mod interest;
pub mod log;
pub mod patterns;
pub mod placement;
pub mod presence;
pub mod pulse;
pub mod recent;
