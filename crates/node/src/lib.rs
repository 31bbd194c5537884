//! A Farwire node: it accepts clients, keeps links to the other nodes of its mesh, routes messages to whoever wants them,
//! and shows what it sees.
//!
//! Start one with [`Node::start`] from a checked [`Config`]; a simulation uses [`Node::start_in`] with surroundings of
//! its own. Decisions are made in `farwire-core`; this crate does their side effects. ARCHITECTURE.md has the map of the
//! modules, the way of one message and the table of tasks.

mod admin;
pub mod config;
mod directory;
mod events;
mod fanout;
mod forgotten;
mod link;
mod local;
mod membership;
mod metrics;
mod node;
mod peers;
mod presence;
mod probe;
mod probed;
mod queue;
mod rates;
mod router;
mod session;
mod sessions;
mod shared;
mod sync;
mod tail;
mod throttle;
mod topology;
mod upkeep;
mod watchdog;

pub use config::Config;
pub use local::Clock;
#[doc(hidden)]
pub use membership::offline::OfflineMembership;
pub use node::{Node, Sight, StartError, Surroundings};
pub use shared::BoundAddresses;
