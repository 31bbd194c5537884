//! What is wrong on purpose, against real processes: wrong use, wrong files, wrong bytes. Each gets its answer, nothing
//! panics, and whoever else uses the mesh does not notice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod beside;
mod clients;
mod commands;
mod nodes;
mod peers;
mod strangers;
