//! What is wrong with a certificate, a key or a list of authorities: which file, and what to do.

use std::path::PathBuf;

use crate::certs::store::remedy;

/// Why TLS cannot be set up, or a new certificate was not taken. Whatever was in use before is still in use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing or unreadable.
    #[error(
        "cannot read {path}: {source}; {}",
        remedy(source, "correct the path in the config, or issue it with `farwire certs issue`")
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no certificate in the file, or one that cannot be read.
    #[error("{path} holds no certificate in PEM form; issue it again with `farwire certs issue`")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is no private key in the file, or one of a kind that cannot be used.
    #[error("{path} holds no usable private key in PEM form; issue it again with `farwire certs issue`")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The two files do not belong together.
    #[error("{key} is not the private key of {certificate}; copy both files of one `farwire certs issue`")]
    KeyMismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The certificate has run out.
    #[error(
        "the certificate {path} has expired; issue it again with `farwire certs issue`, and check this machine's clock"
    )]
    Expired {
        /// The certificate file.
        path: PathBuf,
    },
    /// The certificate is not valid yet.
    #[error("the certificate {path} is not valid yet; check this machine's clock")]
    NotYetValid {
        /// The certificate file.
        path: PathBuf,
    },
    /// The authority of the mesh did not issue the certificate.
    #[error(
        "the peer authority of this mesh did not issue {path}; issue it with `farwire certs issue` where the mesh's authorities are"
    )]
    NotIssued {
        /// The certificate file.
        path: PathBuf,
    },
    /// The authority issued the certificate, but not for the peer port.
    #[error("{path} is no peer certificate; use the node's peer.pem")]
    WrongRole {
        /// The certificate file.
        path: PathBuf,
    },
    /// No authority is trusted, so nobody could connect.
    #[error("no authority is trusted; name a file with the mesh's authority")]
    NoRoots,
    /// rustls refuses our settings.
    #[error("TLS settings refused: {0}; this is a fault of Farwire")]
    Settings(#[from] rustls::Error),
}
