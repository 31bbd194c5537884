//! Accepts nodes on the peer port: a link is run, a control connection is read.

use std::sync::Arc;

use farwire_transport::endpoint::Knock;
use farwire_transport::{PeerPort, PeerRole};
use tokio::task::JoinSet;

use super::Side;
use crate::membership::control::{self, Arrived};
use crate::queue;
use crate::shared::Shared;

/// Connections at a time: a link and a control connection of every other member, and as many that are being replaced.
const CONNECTIONS_MAX: usize = 4 * farwire_wire::limits::MEMBERS_MAX;

/// Accepts until the port closes. Not cancel safe: links that were accepted end with it.
pub(crate) async fn accept(shared: Arc<Shared>, port: Arc<PeerPort>, inbox: queue::Sender<Arrived>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = tasks.join_next() => {}
            knock = port.accept() => match knock {
                Some(knock) if tasks.len() < CONNECTIONS_MAX => {
                    tasks.spawn(serve(shared.clone(), knock, inbox.clone()));
                }
                Some(knock) => knock.refuse(),
                None => std::future::pending().await,
            },
        }
    }
}

async fn serve(shared: Arc<Shared>, knock: Knock, inbox: queue::Sender<Arrived>) {
    let address = knock.remote_address();
    match knock.into_peer(&shared.local.mesh.name).await {
        Ok(peer) if peer.role == PeerRole::Control => control::receive(peer, inbox).await,
        Ok(peer) => {
            let node = peer.node.clone();
            let error = super::run(shared, peer, Side::Listener).await;
            tracing::debug!(peer = %node, err = %error, "link ended");
        }
        // A dialer that gave up after its 2 s shows up here as well.
        Err(error) => {
            if let Some(suppressed) = shared.throttle.pass("peer refused", address.ip()) {
                tracing::warn!(%address, err = %error, suppressed, "peer refused");
            }
        }
    }
}
