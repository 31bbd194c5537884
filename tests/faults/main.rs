//! What happens to real processes behind the WAN of `farwire up`: kill -9, SIGSTOP, cuts, loss, restart. Every story waits for
//! conditions and says how long they may take.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cuts;
mod nodes;
mod support;
