//! Finds the mesh: dials the seeds for as long as the node is alone, and now and then later, so that two halves that
//! have lost each other meet again. A seed is an address; who answers there is read from its certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use farwire_transport::{Connection, DialError, PeerPort, PeerRole};
use farwire_wire::NodeName;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::HostPort;
use crate::peers::{DIAL_TIMEOUT, dial_advice};
use crate::throttle::Throttle;

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
    throttle: Arc<Throttle>,
    seeds: Vec<HostPort>,
    own: SocketAddr,
    dials: JoinSet<Result<Found, Failed>>,
    last_round: Option<Instant>,
}

impl Seeds {
    pub(crate) fn new(port: Arc<PeerPort>, throttle: Arc<Throttle>, seeds: Vec<HostPort>, own: SocketAddr) -> Self {
        Self { port, throttle, seeds, own, dials: JoinSet::new(), last_round: None }
    }

    /// The next node found at a seed's address; for ever without seeds. Cancel safe.
    pub(crate) async fn next(&mut self, alone: bool) -> Found {
        let pause = if alone { ALONE_EVERY } else { JOINED_EVERY };
        loop {
            let next_round = self.last_round.map_or_else(Instant::now, |last| last + pause);
            tokio::select! {
                biased;
                Some(dialed) = self.dials.join_next() => {
                    match dialed {
                        Ok(Ok(found)) => return found,
                        Ok(Err(failed)) => self.tell(&failed, alone),
                        Err(_) => {}
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
            let (port, seed, own) = (self.port.clone(), seed.clone(), self.own);
            self.dials.spawn(async move { dial(&port, &seed, own).await.map_err(|fault| Failed { seed, fault }) });
        }
    }

    /// A node that is alone needs its seeds; another one does without those that are down.
    fn tell(&self, Failed { seed, fault }: &Failed, alone: bool) {
        let advice = match fault {
            SeedFault::Own => return,
            SeedFault::Resolve(_) => "correct the name in peer.seeds, or the resolver",
            SeedFault::Dial(error) => dial_advice(error),
        };
        if !alone {
            tracing::debug!(%seed, err = %fault, "seed does not answer");
        } else if let Some(suppressed) = self.throttle.pass("seed", seed) {
            tracing::warn!(%seed, err = %fault, advice, suppressed, "not in the mesh: a seed does not answer");
        }
    }
}

/// A seed at which no node was found.
struct Failed {
    seed: HostPort,
    fault: SeedFault,
}

#[derive(Debug, thiserror::Error)]
enum SeedFault {
    #[error("the seed is this node itself")]
    Own,
    #[error("the name does not resolve: {0}")]
    Resolve(std::io::Error),
    #[error(transparent)]
    Dial(DialError),
}

async fn dial(port: &PeerPort, seed: &HostPort, own: SocketAddr) -> Result<Found, SeedFault> {
    let address = resolve(seed).await.map_err(SeedFault::Resolve)?;
    if address == own {
        return Err(SeedFault::Own);
    }
    let peer = port.dial(address, PeerRole::Control, DIAL_TIMEOUT).await.map_err(SeedFault::Dial)?;
    Ok(Found { name: peer.node, address, connection: peer.connection })
}

/// An address needs no resolver, so that a mesh of addresses works without one.
async fn resolve(seed: &HostPort) -> std::io::Result<SocketAddr> {
    if let Ok(address) = seed.as_str().parse() {
        return Ok(address);
    }
    let mut addresses = tokio::net::lookup_host(seed.as_str()).await?;
    addresses.next().ok_or_else(|| std::io::Error::other("it has no address"))
}
