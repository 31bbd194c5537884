//! Keeps a link to every member. Of two nodes the one with the smaller name dials, again and again with jitter, each
//! dial limited to 2 s: QUIC's own attempts back off far too slowly for a link that healed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use farwire_transport::{PeerPort, PeerRole};
use farwire_wire::NodeName;
use rand::RngExt;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::Side;
use crate::peers::{Addresses, DIAL_TIMEOUT};
use crate::shared::Shared;

/// Shortest and longest pause between two dials.
const PAUSE_MS: std::ops::Range<u64> = 100..1_000;

/// Dials every member in `addresses` that this node has to dial, until dropped. Cancel safe.
pub(crate) async fn run(shared: Arc<Shared>, port: Arc<PeerPort>, mut addresses: watch::Receiver<Addresses>) {
    let mut tasks = JoinSet::new();
    let mut dialing: BTreeMap<NodeName, (SocketAddr, AbortHandle)> = BTreeMap::new();
    loop {
        let wanted = addresses.borrow_and_update().clone();
        dialing.retain(|name, (address, task)| {
            let keep = wanted.get(name) == Some(address);
            if !keep {
                task.abort();
            }
            keep
        });
        for (name, address) in wanted.into_iter().filter(|(name, _)| shared.local.name < *name) {
            dialing.entry(name.clone()).or_insert_with(|| {
                let task = tasks.spawn(keep_link(shared.clone(), port.clone(), name, address));
                (address, task)
            });
        }
        // Tasks end only by being aborted: reap those while waiting.
        loop {
            tokio::select! {
                biased;
                changed = addresses.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

async fn keep_link(shared: Arc<Shared>, port: Arc<PeerPort>, name: NodeName, address: SocketAddr) {
    loop {
        match port.dial(address, PeerRole::Link, DIAL_TIMEOUT).await {
            Ok(peer) if peer.node == name => {
                super::run(shared.clone(), peer, Side::Dialer).await;
            }
            Ok(peer) => {
                peer.connection.close(farwire_wire::ErrorCode::PeerIdentity, "another node was expected here");
                tracing::warn!(peer = %name, found = %peer.node, %address, "another node answers at the peer's address");
            }
            Err(error) => tracing::debug!(peer = %name, %address, err = %error, "dial failed"),
        }
        let pause = shared.rng().random_range(PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
