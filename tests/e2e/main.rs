//! Whole meshes with real clients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod certificates;
mod entry_list;
mod failover;
mod forgetting;
mod going_away;
mod in_flight;
mod leaving;
mod limits;
mod mortal;
mod moving;
mod presence;
mod python;
mod stuck;
mod views;
mod volatile;
