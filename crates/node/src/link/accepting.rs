//! Accepts nodes on the peer port: a link is run, a control connection is read. Strangers can knock here as well: who
//! has not shown a certificate of this mesh takes no place from those who have.

use std::sync::Arc;

use farwire_core::admission::{self, Admission, Verdict};
use farwire_core::bucket::Rate;
use farwire_transport::endpoint::Knock;
use farwire_transport::{PeerConnection, PeerPort, PeerRole};
use farwire_wire::ErrorCode;
use tokio::task::JoinSet;

use super::Side;
use crate::membership::control::{self, Arrived};
use crate::queue;
use crate::shared::Shared;

/// Connections at a time: a link and a control connection of every other member, and as many that are being replaced.
const CONNECTIONS_MAX: usize = 4 * farwire_wire::limits::MEMBERS_MAX;
/// Handshakes under way at a time.
const HANDSHAKES_MAX: usize = 512;
/// Handshakes in a second, and at once: enough for all members to come back together, with both of their connections.
const PER_SECOND: u32 = 512;
const _: () = assert!(PER_SECOND as usize >= 2 * farwire_wire::limits::MEMBERS_MAX);
/// The same of one network, which may be a whole region.
const PER_SECOND_OF_NETWORK: u32 = 100;

/// Accepts until the port closes. Not cancel safe: links that were accepted end with it.
pub(crate) async fn accept(shared: Arc<Shared>, port: Arc<PeerPort>, inbox: queue::Sender<Arrived>) {
    let (mut handshakes, mut tasks) = (JoinSet::new(), JoinSet::new());
    let mut admission = Admission::new(admission::Limits {
        in_flight_max: HANDSHAKES_MAX,
        port: Rate::new(PER_SECOND, PER_SECOND),
        network: Rate::new(PER_SECOND_OF_NETWORK, PER_SECOND_OF_NETWORK),
    });
    loop {
        tokio::select! {
            biased;
            Some(_) = tasks.join_next() => {}
            Some(shaken) = handshakes.join_next() => if let Ok(Some(peer)) = shaken {
                admit(&shared, peer, &inbox, &mut tasks);
            },
            knock = port.accept() => match knock {
                Some(knock) => begin(&shared, knock, &mut admission, &mut handshakes),
                None => std::future::pending().await,
            },
        }
    }
}

async fn shake(shared: &Shared, knock: Knock) -> Option<PeerConnection> {
    let address = knock.remote_address();
    let peer = knock.into_peer(&shared.local.mesh.name).await;
    // A dialer that gave up after its 2 s shows up here as well.
    if let Err(error) = &peer
        && let Some(suppressed) = shared.throttle.pass("peer refused", address.ip())
    {
        tracing::warn!(%address, err = %error, suppressed, "peer refused");
    }
    peer.ok()
}

/// Decides on a knock before any work is spent on it.
fn begin(
    shared: &Arc<Shared>,
    knock: Knock,
    admission: &mut Admission,
    handshakes: &mut JoinSet<Option<PeerConnection>>,
) {
    let address = knock.remote_address().ip();
    let knocked = admission::Knock { address, proven: knock.is_address_proven(), in_flight: handshakes.len() };
    match admission.knock(shared.local.clock.now(), &knocked) {
        Verdict::Prove => {
            shared.metrics.proofs_asked.inc();
            knock.ask_for_proof();
        }
        Verdict::Refuse => knock.refuse(),
        Verdict::Admit => {
            let shared = shared.clone();
            handshakes.spawn(async move { shake(&shared, knock).await });
        }
    }
}

fn admit(shared: &Arc<Shared>, peer: PeerConnection, inbox: &queue::Sender<Arrived>, tasks: &mut JoinSet<()>) {
    if tasks.len() < CONNECTIONS_MAX {
        tasks.spawn(serve(shared.clone(), peer, inbox.clone()));
    } else {
        peer.connection.close(ErrorCode::TooManyConnections, "the node has as many connections of peers as it may");
    }
}

async fn serve(shared: Arc<Shared>, peer: PeerConnection, inbox: queue::Sender<Arrived>) {
    if peer.role == PeerRole::Control {
        control::receive(peer, inbox).await;
    } else {
        let node = peer.node.clone();
        let error = super::run(shared, peer, Side::Listener).await;
        tracing::debug!(peer = %node, err = %error, "link ended");
    }
}
