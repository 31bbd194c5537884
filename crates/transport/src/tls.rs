//! TLS settings of every port: who shows which certificate and who checks it.
//!
//! TLS 1.3 only, one crypto provider (aws-lc-rs, post-quantum key exchange first) named explicitly, no 0-RTT anywhere. The peer port gives
//! no session tickets: a resumed session would not show its certificate again, so a withdrawn one would live on. Nodes dial each other by
//! address, so the standard verifier checks the fixed name [`PEER_SERVER_NAME`], which every peer certificate carries, and
//! [`peer_node_name`] then says whose certificate it was. A dial counts only after the other side has answered on the connection: in
//! TLS 1.3 a client is connected before the server has judged its certificate.
//! Called by the endpoints of this crate. Not here: QUIC's own settings.

mod client_port;
mod credentials;
mod error;
mod identity;
mod pem;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::DefaultTimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

pub use client_port::{client_port_node, covers};
pub use credentials::{Examined, KeyFiles, ReloadingKey, not_after, reset_secret};
pub use error::TlsError;
pub use identity::{PeerIdentityError, node_uri, peer_node_name};
pub use pem::{load_certificates, load_roots, parse_roots};
// So that a crate that keeps roots or fixes the clock need not name rustls.
pub use rustls::RootCertStore;
pub use rustls::time_provider::TimeProvider;
pub use rustls_pki_types::UnixTime;

/// The server name in every dial of a peer, and a name in every peer certificate. It resolves nowhere.
pub const PEER_SERVER_NAME: &str = "peer.farwire.invalid";

/// Where TLS reads the time: `None` is the system's clock.
pub type TlsClock = Option<Arc<dyn TimeProvider>>;

/// The client port of a node: shows `key`, asks for no certificate.
///
/// # Errors
/// `Settings` if rustls refuses the combination, which is a fault of Farwire.
pub fn client_port_server(key: Arc<ReloadingKey>, alpn: &[&[u8]], clock: TlsClock) -> Result<ServerConfig, TlsError> {
    let config = ServerConfig::builder_with_details(provider(), or_system(clock)).with_protocol_versions(&[&TLS13])?;
    let config = config.with_no_client_auth().with_cert_resolver(key);
    Ok(with_protocols(config, alpn))
}

/// The peer port of a node: shows `key`, and every connection must show a certificate of the peer authority. Does not say which
/// authorities it trusts.
///
/// # Errors
/// `NoRoots` if `roots` is empty.
pub fn peer_server(
    key: Arc<ReloadingKey>,
    roots: Arc<RootCertStore>,
    alpn: &[&[u8]],
    clock: TlsClock,
) -> Result<ServerConfig, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).clear_root_hint_subjects().build();
    let config = ServerConfig::builder_with_details(provider(), or_system(clock)).with_protocol_versions(&[&TLS13])?;
    let config = config.with_client_cert_verifier(verifier.map_err(|_| TlsError::NoRoots)?).with_cert_resolver(key);
    let mut config = with_protocols(config, alpn);
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// A node that dials a peer: shows `key`, and the peer must show a certificate of the peer authority. Dial with [`PEER_SERVER_NAME`].
///
/// # Errors
/// `NoRoots` if `roots` is empty.
pub fn peer_client(
    key: Arc<ReloadingKey>,
    roots: Arc<RootCertStore>,
    alpn: &[u8],
    clock: TlsClock,
) -> Result<ClientConfig, TlsError> {
    let config = client_builder(roots, clock)?.with_client_cert_resolver(key);
    let mut config = with_protocol(config, alpn);
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A client of the SDK: shows no certificate; the node must show one that `roots` vouch for, with the host name or address that was dialled.
///
/// # Errors
/// `NoRoots` if `roots` is empty.
pub fn sdk_client(roots: RootCertStore, alpn: &[u8], clock: TlsClock) -> Result<ClientConfig, TlsError> {
    Ok(with_protocol(client_builder(Arc::new(roots), clock)?.with_no_client_auth(), alpn))
}

/// The one crypto provider of Farwire.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

type ClientBuilder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn client_builder(roots: Arc<RootCertStore>, clock: TlsClock) -> Result<ClientBuilder, TlsError> {
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let config = ClientConfig::builder_with_details(provider(), or_system(clock)).with_protocol_versions(&[&TLS13])?;
    Ok(config.with_root_certificates(roots))
}

fn with_protocols(mut config: ServerConfig, alpn: &[&[u8]]) -> ServerConfig {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // quinn's own constructors would turn 0-RTT on.
    config.max_early_data_size = 0;
    config
}

fn with_protocol(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_early_data = false;
    config
}

fn or_system(clock: TlsClock) -> Arc<dyn TimeProvider> {
    clock.unwrap_or_else(|| Arc::new(DefaultTimeProvider))
}

#[cfg(test)]
mod tests;
