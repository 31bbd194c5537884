//! What a certificate of the client port says of itself: for which hosts it is good, and whose it is. Clients judge it in their handshake; this is
//! for the node, which finds out at start what its clients would refuse.
//!
//! It may come from an authority that is not the mesh's, so nothing in it but its names is relied on. Called by the node's config.

use farwire_wire::names::NodeName;
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::certs::authority::AuthorityKind;

/// Whether clients that dial `host`, a name or an IP address, accept the certificate for it.
#[must_use]
pub fn covers(leaf: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(name) = ServerName::try_from(host) else { return false };
    ParsedCertificate::try_from(leaf).is_ok_and(|leaf| verify_server_name(&leaf, &name).is_ok())
}

/// The node that `farwire certs issue` made the certificate for; none for one from elsewhere, which names no node.
#[must_use]
pub fn client_port_node(leaf: &CertificateDer<'_>) -> Option<NodeName> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let issuer = leaf.issuer().iter_common_name().next()?.as_str().ok()?;
    let subject = leaf.subject().iter_common_name().next()?.as_str().ok()?;
    let is_ours = issuer.starts_with(&AuthorityKind::Client.of(""));
    NodeName::parse(subject).ok().filter(|_| is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    use crate::certs::authority::{Authority, Leaf};
    use crate::tls::ReloadingKey;
    use farwire_wire::names::MeshName;

    fn leaf(kind: AuthorityKind, addresses: &[&str]) -> CertificateDer<'static> {
        let (mesh, node) = (MeshName::parse("demo").unwrap(), NodeName::parse("fra-1").unwrap());
        let (authority, _) = Authority::create(kind, &mesh, SystemTime::now()).unwrap();
        let addresses: Vec<_> = addresses.iter().map(|address| (*address).to_owned()).collect();
        let leaf = Leaf::Client { node: &node, addresses: &addresses };
        let pem = authority.sign(leaf, SystemTime::now(), Duration::from_secs(60)).unwrap();
        ReloadingKey::in_memory(&pem).unwrap().current().cert[0].clone()
    }

    #[test]
    fn a_certificate_is_good_for_its_names_and_no_others() {
        let leaf = leaf(AuthorityKind::Client, &["fra-1.example.com", "192.0.2.10", "2001:db8::1"]);
        for host in ["fra-1.example.com", "FRA-1.example.com", "192.0.2.10", "2001:db8::1", "localhost", "127.0.0.1"] {
            assert!(covers(&leaf, host), "{host}");
        }
        for host in ["fra-2.example.com", "x.fra-1.example.com", "192.0.2.11", "fra-1", ""] {
            assert!(!covers(&leaf, host), "{host}");
        }
    }

    #[test]
    fn only_a_certificate_of_the_client_authority_names_its_node() {
        let name = |kind| client_port_node(&leaf(kind, &[])).map(|name| name.to_string());
        assert_eq!(name(AuthorityKind::Client).as_deref(), Some("fra-1"));
        assert_eq!(name(AuthorityKind::Peer), None);
    }
}
