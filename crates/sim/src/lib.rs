//! The world that simulations run whole nodes in: a network in memory beneath real QUIC, faults drawn from a seed, a
//! history of what publishers and subscribers saw, and the invariants that it must satisfy. Time is tokio's, which the
//! simulation pauses: an hour without packets costs nothing.
//!
//! - [`net`]: the switch. Each direction between two hosts has a delay and a [`Weather`](net::Weather) of its own.
//! - [`faults`]: what goes wrong and when, as a function of the seed.
//! - [`history`], [`invariants`]: what happened on volatile channels, and what of it must not have.
//! - [`logged`]: the same for logged channels, for runs of real processes too.
//! - [`quiet`]: when everything must work.
//!
//! It knows neither nodes nor clients: `tests/sim` joins it with them. No part of the product.

pub mod faults;
pub mod history;
pub mod invariants;
pub mod logged;
pub mod net;
pub mod quiet;
