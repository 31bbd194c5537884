//! Whose peer certificate it is: the node's name from the URI `farwire://MESH/node/NAME` in the leaf.
//!
//! The TLS library has checked the signature, the dates and the fixed server name before; this checks the mesh, the role and the form, before
//! the first frame of the peer is parsed. Structural and exact: no pattern, no common name, no second URI to choose from. It does not know
//! which nodes are members.

use farwire_wire::names::{MeshName, NodeName};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Why a certificate is not that of a peer of this mesh. Close the connection; nothing of it may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdentityError {
    /// No certificate was shown.
    #[error("the peer showed no certificate; it must dial the peer port as a node")]
    Missing,
    /// The certificate cannot be read.
    #[error("the peer's certificate cannot be read; issue it again with `farwire certs issue`")]
    Malformed,
    /// The certificate is not for both ends of a peer link.
    #[error("the peer's certificate is not for the peer port; use the node's peer.pem")]
    Role,
    /// There is not exactly one URI in it, or it is not that of a node.
    #[error("the peer's certificate names no node; issue it with `farwire certs issue`")]
    NoNode,
    /// It is a node of another mesh.
    #[error("the peer belongs to another mesh; check the seeds in the config")]
    OtherMesh,
}

/// The URI that names `node` in its peer certificate.
#[must_use]
pub fn node_uri(mesh: &MeshName, node: &NodeName) -> String {
    format!("{SCHEME}{mesh}{NODE}{node}")
}

/// The node whose peer certificate opens `chain`, if it is one of `mesh`. The chain must have passed the handshake.
///
/// # Errors
/// Says which condition failed.
pub fn peer_node_name(chain: &[CertificateDer<'_>], mesh: &MeshName) -> Result<NodeName, PeerIdentityError> {
    let leaf = chain.first().ok_or(PeerIdentityError::Missing)?;
    let (rest, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|_| PeerIdentityError::Malformed)?;
    if !rest.is_empty() {
        return Err(PeerIdentityError::Malformed);
    }
    check_role(&leaf)?;
    let (named_mesh, node) = parse_node_uri(the_uri(&leaf)?).ok_or(PeerIdentityError::NoNode)?;
    if named_mesh == *mesh { Ok(node) } else { Err(PeerIdentityError::OtherMesh) }
}

fn check_role(leaf: &X509Certificate<'_>) -> Result<(), PeerIdentityError> {
    let usage = leaf.extended_key_usage().map_err(|_| PeerIdentityError::Malformed)?;
    let usage = usage.ok_or(PeerIdentityError::Role)?.value;
    let is_peer = usage.server_auth && usage.client_auth && !usage.any && !leaf.is_ca();
    if is_peer { Ok(()) } else { Err(PeerIdentityError::Role) }
}

fn the_uri<'a>(leaf: &'a X509Certificate<'_>) -> Result<&'a str, PeerIdentityError> {
    let names = leaf.subject_alternative_name().map_err(|_| PeerIdentityError::Malformed)?;
    let names = &names.ok_or(PeerIdentityError::NoNode)?.value.general_names;
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Ok(uri),
        _ => Err(PeerIdentityError::NoNode),
    }
}

fn parse_node_uri(uri: &str) -> Option<(MeshName, NodeName)> {
    // Neither name can hold a slash, so there is one way to read it.
    let (mesh, node) = uri.strip_prefix(SCHEME)?.split_once(NODE)?;
    Some((MeshName::parse(mesh).ok()?, NodeName::parse(node).ok()?))
}

const SCHEME: &str = "farwire://";
const NODE: &str = "/node/";

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose as Usage, KeyPair, SanType};

    fn mesh(name: &str) -> MeshName {
        MeshName::parse(name).unwrap()
    }

    fn name_in(uris: &[&str], usages: &[Usage]) -> Result<String, PeerIdentityError> {
        let mut params = CertificateParams::new(["peer.farwire.invalid".to_owned()]).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.extended_key_usages = usages.to_vec();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        peer_node_name(&[certificate.into()], &mesh("demo")).map(|node| node.to_string())
    }

    const BOTH: [Usage; 2] = [Usage::ServerAuth, Usage::ClientAuth];

    #[test]
    fn a_peer_of_this_mesh_is_known_by_its_uri() {
        assert_eq!(name_in(&["farwire://demo/node/fra-1"], &BOTH).as_deref(), Ok("fra-1"));
    }

    #[test]
    fn a_peer_of_another_mesh_is_refused() {
        for other in ["farwire://demo2/node/fra-1", "farwire://dem/node/fra-1"] {
            assert_eq!(name_in(&[other], &BOTH), Err(PeerIdentityError::OtherMesh));
        }
    }

    #[test]
    fn only_one_exact_uri_names_a_node() {
        let inexact = [
            "farwire://demo/node/",
            "farwire://demo/node/fra-1/",
            "farwire://demo/node/fra-1?x",
            "farwire://demo/node/Fra-1",
            "farwire://demo/node/a/node/b",
            "farwire://x@demo/node/fra-1",
            "FARWIRE://demo/node/fra-1",
            "https://demo/node/fra-1",
            " farwire://demo/node/fra-1",
        ];
        for uri in inexact {
            assert_eq!(name_in(&[uri], &BOTH), Err(PeerIdentityError::NoNode), "{uri}");
        }
        assert_eq!(name_in(&[], &BOTH), Err(PeerIdentityError::NoNode));
        let two = ["farwire://demo/node/fra-1", "farwire://demo/node/fra-2"];
        assert_eq!(name_in(&two, &BOTH), Err(PeerIdentityError::NoNode));
    }

    #[test]
    fn a_certificate_of_another_role_is_refused() {
        let uri = ["farwire://demo/node/fra-1"];
        for usages in [&[][..], &[Usage::ServerAuth], &[Usage::ClientAuth], &[Usage::Any]] {
            assert_eq!(name_in(&uri, usages), Err(PeerIdentityError::Role));
        }
        assert_eq!(peer_node_name(&[], &mesh("demo")), Err(PeerIdentityError::Missing));
        assert_eq!(peer_node_name(&[vec![48, 0].into()], &mesh("demo")), Err(PeerIdentityError::Malformed));
    }
}
