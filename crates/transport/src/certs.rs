//! The certificates of a mesh: made once with [`init`], one pair of certificates per node with [`issue`], looked through with [`show`].
//!
//! ```text
//! DIR/mesh.toml                       the mesh file, for every node
//! DIR/peer-ca.pem,    peer-ca.key     vouches for nodes towards nodes; nodes get the .pem, never the .key
//! DIR/client-ca.pem,  client-ca.key   vouches for nodes towards clients; clients get the .pem
//! DIR/nodes/NAME/peer.pem, peer.key, client.pem, client.key
//! ```
//!
//! Two authorities, so that no certificate of the client port ever passes as a peer. Keys are ECDSA P-256 everywhere: small, and every
//! other TLS library reads them. A chain is one leaf of at most [`CERTIFICATE_BYTES_MAX`], so that the server's first flight fits what QUIC
//! lets it send to an address it has not validated. Blocking file access: for command lines and start-up. Called by `cli` and tests.

pub mod authority;
mod issue;
mod show;
pub(crate) mod store;

use std::path::{Path, PathBuf};
use std::time::Duration;

use farwire_wire::names::NodeName;

use crate::mesh_file::MeshFileError;

pub use issue::{InitRequest, InitSummary, IssueRequest, IssueSummary, init, issue};
pub use show::{CertificateRole, CertificateSummary, show, summary};

/// Life of a node's certificates unless the operator says otherwise.
pub const VALID_FOR_DEFAULT: Duration = Duration::from_hours(397 * 24);
/// Life of an authority.
pub const AUTHORITY_VALID_FOR: Duration = Duration::from_hours(3650 * 24);
/// Certificates are valid from this long before they are made: clocks of other machines are a little behind.
pub const BACKDATED_BY: Duration = Duration::from_hours(1);
/// Largest leaf in DER.
pub const CERTIFICATE_BYTES_MAX: usize = 1500;

/// Why certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// The directory has a mesh. Nothing was changed.
    #[error(
        "{path} exists: this directory has a mesh already; choose another directory, or delete the old mesh yourself"
    )]
    MeshExists {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// A file is missing or unreadable. Nothing was changed.
    #[error(
        "cannot read {path}: {source}; {}",
        store::remedy(source, "make the mesh with `farwire certs init`, or run this where its authorities are kept")
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written; the old one, if any, is unchanged, but files written before it are new.
    #[error("cannot write {path}: {source}; check the directory's owner and free space, then run the command again")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The mesh file is missing, or the mesh that is asked for cannot be.
    #[error(transparent)]
    Mesh(#[from] MeshFileError),
    /// A file holds no usable certificate.
    #[error("{path} holds no certificate in PEM form; restore it from a backup, or issue it again")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file of an authority does not hold the key of its certificate.
    #[error("{key} is not the private key of {certificate}; restore both from one backup")]
    KeyMismatch {
        /// The authority's certificate.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The authority's own certificate has run out.
    #[error("the authority {path} has expired; make a new mesh with `farwire certs init` and issue its nodes again")]
    AuthorityExpired {
        /// The authority's certificate.
        path: PathBuf,
    },
    /// The certificate that is to be replaced cannot be read.
    #[error("{path} cannot be read, so the addresses that it is good for are not known; give them all with --address")]
    OldAddresses {
        /// The certificate of the client port.
        path: PathBuf,
    },
    /// Not an address that a certificate can carry.
    #[error("{} is neither an IP address nor a host name; give it without a port", .address.escape_debug())]
    Address {
        /// What was given.
        address: String,
    },
    /// Too many or too long addresses.
    #[error("the certificate would have {bytes} bytes, more than {CERTIFICATE_BYTES_MAX}; give fewer addresses")]
    TooLarge {
        /// Size in DER.
        bytes: usize,
    },
    /// The crypto library failed: no randomness, or a name that it cannot encode.
    #[error("cannot make a key or certificate: {0}; this is a fault of the machine or of Farwire")]
    Crypto(#[from] rcgen::Error),
}

/// Where everything is in a directory of certificates.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// The layout of `dir`, which need not exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The mesh file.
    #[must_use]
    pub fn mesh_file(&self) -> PathBuf {
        self.dir.join("mesh.toml")
    }

    /// Certificate of the authority that nodes check nodes against.
    #[must_use]
    pub fn peer_authority(&self) -> PathBuf {
        self.dir.join("peer-ca.pem")
    }

    /// Certificate of the authority that clients check nodes against.
    #[must_use]
    pub fn client_authority(&self) -> PathBuf {
        self.dir.join("client-ca.pem")
    }

    /// The folder of all nodes.
    #[must_use]
    pub fn nodes(&self) -> PathBuf {
        self.dir.join("nodes")
    }

    /// Certificate of `node` for the peer port; the key is beside it.
    #[must_use]
    pub fn node_peer(&self, node: &NodeName) -> PathBuf {
        self.nodes().join(node.as_str()).join("peer.pem")
    }

    /// Certificate of `node` for the client port; the key is beside it.
    #[must_use]
    pub fn node_client(&self, node: &NodeName) -> PathBuf {
        self.nodes().join(node.as_str()).join("client.pem")
    }

    /// The key file beside a certificate.
    #[must_use]
    pub fn key_of(certificate: &Path) -> PathBuf {
        certificate.with_extension("key")
    }
}

#[cfg(test)]
mod tests;
