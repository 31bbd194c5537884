//! The world that simulations run whole nodes in: a network in memory beneath real QUIC, faults drawn from a seed, a
//! history of what publishers and subscribers saw, and the invariants that it must satisfy. Time is tokio's, which the
//! simulation pauses: an hour without packets costs nothing.
//!
//! - [`net`]: the switch. Each direction between two hosts has a delay and a [`Weather`](net::Weather) of its own.
//! - [`faults`]: what goes wrong and when, as a function of the seed.
//! - [`history`], [`invariants`]: what happened, and what of it must not have.
//!
//! It knows neither nodes nor clients: `tests/sim` joins it with them. No part of the product.

pub mod faults;
pub mod history;
pub mod invariants;
pub mod net;
