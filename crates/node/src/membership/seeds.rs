//! Finds the mesh: dials the seeds for as long as the node is alone, and now and then later, so that two halves that
//! have lost each other meet again. A seed is an address; who answers there is read from its certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use farwire_transport::{Connection, PeerPort, PeerRole};
use farwire_wire::NodeName;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::HostPort;
use crate::peers::DIAL_TIMEOUT;

/// Pause between two rounds while the node is alone.
const ALONE_EVERY: Duration = Duration::from_millis(1_500);
/// Pause between two rounds otherwise.
const JOINED_EVERY: Duration = Duration::from_secs(20);

/// A node that answered at a seed's address.
pub(crate) struct Found {
    pub(crate) name: NodeName,
    pub(crate) address: SocketAddr,
    pub(crate) connection: Connection,
}

/// The seeds and the dials under way.
pub(crate) struct Seeds {
    port: Arc<PeerPort>,
    seeds: Vec<HostPort>,
    own: SocketAddr,
    dials: JoinSet<Option<Found>>,
    last_round: Option<Instant>,
}

impl Seeds {
    pub(crate) fn new(port: Arc<PeerPort>, seeds: Vec<HostPort>, own: SocketAddr) -> Self {
        Self { port, seeds, own, dials: JoinSet::new(), last_round: None }
    }

    /// The next node found at a seed's address; for ever without seeds. Cancel safe.
    pub(crate) async fn next(&mut self, alone: bool) -> Found {
        let pause = if alone { ALONE_EVERY } else { JOINED_EVERY };
        loop {
            let next_round = self.last_round.map_or_else(Instant::now, |last| last + pause);
            tokio::select! {
                biased;
                Some(dialed) = self.dials.join_next() => {
                    if let Ok(Some(found)) = dialed {
                        return found;
                    }
                }
                () = tokio::time::sleep_until(next_round), if self.dials.is_empty() && !self.seeds.is_empty() => {
                    self.last_round = Some(Instant::now());
                    self.start_round();
                }
                else => std::future::pending().await,
            }
        }
    }

    fn start_round(&mut self) {
        for seed in &self.seeds {
            self.dials.spawn(dial(self.port.clone(), seed.clone(), self.own));
        }
    }
}

async fn dial(port: Arc<PeerPort>, seed: HostPort, own: SocketAddr) -> Option<Found> {
    let address = resolve(&seed).await?;
    if address == own {
        return None;
    }
    match port.dial(address, PeerRole::Control, DIAL_TIMEOUT).await {
        Ok(peer) => Some(Found { name: peer.node, address, connection: peer.connection }),
        Err(error) => {
            tracing::debug!(seed = %seed, err = %error, "seed does not answer");
            None
        }
    }
}

/// An address needs no resolver, so that a mesh of addresses works without one.
async fn resolve(seed: &HostPort) -> Option<SocketAddr> {
    if let Ok(address) = seed.as_str().parse() {
        return Some(address);
    }
    match tokio::net::lookup_host(seed.as_str()).await {
        Ok(mut addresses) => addresses.next(),
        Err(error) => {
            tracing::warn!(seed = %seed, err = %error, "seed's name does not resolve");
            None
        }
    }
}
