//! What has to be looked at now and then: certificate files that changed, and gauges that nobody else sets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use farwire_transport::endpoint::PEER_PORT_ALPN;
use farwire_transport::mesh_file::mesh_id;
use farwire_transport::tls::{self, ReloadingKey, TlsError};
use farwire_transport::{EndpointError, PeerPort};

use crate::metrics::{PeerLabel, RoleLabel};
use crate::shared::Shared;

/// How often the gauges are set and the files looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks after the node until dropped. Cancel safe.
pub(crate) async fn run(shared: Arc<Shared>, port: Arc<PeerPort>) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    let mut authorities = Vec::new();
    loop {
        every.tick().await;
        set_gauges(&shared);
        // Before the certificates: a new one may come from a new authority.
        match trust(&shared, &port, &mut authorities) {
            Ok(true) => tracing::info!("peer authorities loaded"),
            Ok(false) => {}
            Err(error) => tracing::warn!(err = %error, "changed peer authorities cannot be used; the old ones stay"),
        }
        reload(&shared, "client", &shared.keys.client);
        reload(&shared, "peer", &shared.keys.peer);
    }
}

/// Why the changed authorities are not taken.
#[derive(Debug, thiserror::Error)]
enum TrustError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The node would not start again with them.
    #[error("{}: the authority that the mesh file was made with must be among them", path.display())]
    WithoutFounder { path: PathBuf },
}

/// Takes the peer authorities anew if their file is another than `last`; links that are up stay.
fn trust(shared: &Shared, port: &PeerPort, last: &mut Vec<u8>) -> Result<bool, TrustError> {
    let (path, keys) = (&shared.config.tls.peer_ca, &shared.keys);
    let pem = std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source })?;
    if pem == *last {
        return Ok(false);
    }
    // What cannot be used is told once.
    *last = pem;
    let roots = Arc::new(tls::parse_roots(last, path)?);
    let mesh = &shared.local.mesh;
    if tls::load_certificates(path)?.iter().all(|authority| mesh_id(&mesh.name, authority) != mesh.id) {
        return Err(TrustError::WithoutFounder { path: path.clone() });
    }
    let accepting = tls::peer_server(keys.peer.clone(), roots.clone(), PEER_PORT_ALPN, keys.clock.clone())?;
    let dialing = |alpn: &[u8]| tls::peer_client(keys.peer.clone(), roots.clone(), alpn, keys.clock.clone());
    port.set_tls(accepting, dialing)?;
    keys.peer.set_issuers(roots.clone());
    Ok(true)
}

fn set_gauges(shared: &Shared) {
    let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let links = shared.peers.all();
    shared.metrics.sessions.set(gauge(shared.sessions.len()));
    shared.metrics.links.set(gauge(links.len()));
    shared.metrics.members.set(gauge(shared.topology.members().len()));
    shared.events.measure();
    shared.metrics.link_rtt_us.clear();
    shared.metrics.link_queue_bytes.clear();
    for link in &links {
        let Some(direct) = link.direct() else { continue };
        let label = PeerLabel { peer: link.node.to_string() };
        let rtt_us = direct.connection.path_stats().rtt.as_micros();
        shared.metrics.link_rtt_us.get_or_create(&label).set(i64::try_from(rtt_us).unwrap_or(i64::MAX));
        shared.metrics.link_queue_bytes.get_or_create(&label).set(gauge(direct.outbox.bytes()));
    }
}

fn reload(shared: &Shared, role: &str, key: &ReloadingKey) {
    match key.check_for_change() {
        Ok(true) => tracing::info!(role, "certificate reloaded"),
        Ok(false) => {}
        Err(error) => {
            if let Some(suppressed) = shared.throttle.pass("certificate", role) {
                tracing::warn!(role, suppressed, err = %error, "changed certificate cannot be used; the old one stays");
            }
        }
    }
    let expiry = tls::not_after(&key.current()).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let now = Duration::from_micros(shared.local.clock.wall_us());
    let left = expiry.map_or(0, |at| at.saturating_sub(now).as_secs());
    let label = RoleLabel { role: role.to_owned() };
    shared.metrics.certificate_expiry_seconds.get_or_create(&label).set(i64::try_from(left).unwrap_or(i64::MAX));
}
