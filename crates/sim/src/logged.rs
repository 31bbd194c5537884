//! Runs over logged channels: what is recorded of them, and what must hold of the record. For simulated runs and for those of
//! real processes alike.
//!
//! - [`event`]: what a history can say. [`history`]: how it is written and read.
//! - [`run`]: a history arranged for the invariants. [`invariants`]: a file each, from I1 to I11.
//!
//! Volatile channels and presence have a [`history`](crate::history) of their own: nothing there has a place in a log.
//! Invariant: a verdict is a function of the records and the terms alone.

pub mod event;
pub mod history;
pub mod invariants;
mod name;
pub mod run;

pub use history::History;
pub use invariants::{Terms, Totals, Verdict, judge};

#[cfg(test)]
mod tests;
