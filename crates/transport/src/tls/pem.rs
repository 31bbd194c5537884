//! Reading certificates, keys and authorities from PEM.

use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Reads the authorities in the file at `path`: all certificates in it, so that two of them overlap while one replaces the other.
///
/// # Errors
/// `Read` or `NoCertificate`.
pub fn load_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    roots_of(load_certificates(path)?, path)
}

/// Takes the authorities from PEM text; `from` is where it came from, for errors.
///
/// # Errors
/// `NoCertificate` if there is none, or one that cannot be read.
pub fn parse_roots(pem: &[u8], from: &Path) -> Result<RootCertStore, TlsError> {
    roots_of(parse_certificates(pem, from)?, from)
}

fn roots_of(certificates: Vec<CertificateDer<'static>>, from: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|_| TlsError::NoCertificate { path: from.to_owned() })?;
    }
    Ok(roots)
}

/// Reads all certificates in the file at `path`.
///
/// # Errors
/// `Read` or `NoCertificate`.
pub fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    parse_certificates(&read(path)?, path)
}

pub(super) fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    parse_key(&read(path)?, path)
}

pub(super) fn parse_key(pem: &[u8], from: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::NoKey { path: from.to_owned() })
}

pub(super) fn parse_certificates(pem: &[u8], from: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.ok().filter(|found| !found.is_empty());
    certificates.ok_or_else(|| TlsError::NoCertificate { path: from.to_owned() })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
