//! What has to be looked at now and then: certificate files that changed, and gauges that nobody else sets.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use farwire_transport::tls::{self, ReloadingKey};

use crate::metrics::{PeerLabel, RoleLabel};
use crate::shared::Shared;

/// How often the gauges are set.
const GAUGES_EVERY: Duration = Duration::from_secs(2);
/// How often, in rounds of gauges, the certificate files are looked at.
const CERTIFICATES_EVERY: u32 = 5;

/// Looks after the node until dropped. Cancel safe.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(GAUGES_EVERY);
    let mut round = 0_u32;
    loop {
        every.tick().await;
        set_gauges(&shared);
        if round.is_multiple_of(CERTIFICATES_EVERY) {
            reload(&shared, "client", &shared.keys.client);
            reload(&shared, "peer", &shared.keys.peer);
        }
        round = round.wrapping_add(1);
    }
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
        Err(error) => tracing::warn!(role, err = %error, "changed certificate cannot be used; the old one stays"),
    }
    let expiry = tls::not_after(&key.current()).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let now = Duration::from_micros(shared.local.clock.wall_us());
    let left = expiry.map_or(0, |at| at.saturating_sub(now).as_secs());
    let label = RoleLabel { role: role.to_owned() };
    shared.metrics.certificate_expiry_seconds.get_or_create(&label).set(i64::try_from(left).unwrap_or(i64::MAX));
}
