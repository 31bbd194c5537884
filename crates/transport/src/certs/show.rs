//! What certificates a directory has, and how long they last. Reads certificates only, never a key; checks no signature.
//!
//! Called by `farwire certs show` and `farwire doctor`.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::{CertsError, Layout};

/// One certificate of the directory.
#[derive(Debug, Clone)]
pub struct CertificateSummary {
    /// The file.
    pub path: PathBuf,
    /// What its place in the directory says it is for.
    pub role: CertificateRole,
    /// The subject's name.
    pub subject: String,
    /// Alternative names: URIs, host names and IP addresses. Empty for an authority.
    pub names: Vec<String>,
    /// The moment from which it is refused.
    pub not_after: SystemTime,
    /// Whole days until then, negative once it has passed.
    pub days_left: i64,
    /// SHA-256 of the certificate, 64 hex digits.
    pub fingerprint: String,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateRole {
    /// Vouches for nodes towards nodes.
    PeerAuthority,
    /// Vouches for nodes towards clients.
    ClientAuthority,
    /// A node towards nodes.
    Peer,
    /// A node towards clients.
    Client,
}

/// Summarises every certificate that is in `dir`: the authorities, then the nodes by name. What is missing is left out.
///
/// # Errors
/// `Read` or `NoCertificate` name the first file that is there and cannot be read.
pub fn show(dir: &Path) -> Result<Vec<CertificateSummary>, CertsError> {
    let layout = Layout::new(dir);
    let mut files = vec![
        (layout.peer_authority(), CertificateRole::PeerAuthority),
        (layout.client_authority(), CertificateRole::ClientAuthority),
    ];
    for node in node_dirs(&layout.nodes())? {
        files.push((node.join("peer.pem"), CertificateRole::Peer));
        files.push((node.join("client.pem"), CertificateRole::Client));
    }
    let now = OffsetDateTime::now_utc();
    files.into_iter().filter(|(path, _)| path.exists()).map(|(path, role)| summarise(path, role, now)).collect()
}

/// Summarises the certificate at `path`. Blocking file access.
///
/// # Errors
/// `Read` or `NoCertificate`.
pub fn summary(path: &Path, role: CertificateRole) -> Result<CertificateSummary, CertsError> {
    summarise(path.to_owned(), role, OffsetDateTime::now_utc())
}

fn node_dirs(nodes: &Path) -> Result<Vec<PathBuf>, CertsError> {
    let failed = |source| CertsError::Read { path: nodes.to_owned(), source };
    if !nodes.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(nodes).map_err(failed)?;
    let mut dirs = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    dirs.sort();
    Ok(dirs)
}

fn summarise(path: PathBuf, role: CertificateRole, now: OffsetDateTime) -> Result<CertificateSummary, CertsError> {
    let pem = std::fs::read(&path).map_err(|source| CertsError::Read { path: path.clone(), source })?;
    let unusable = || CertsError::NoCertificate { path: path.clone() };
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| unusable())?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|_| unusable())?;
    let not_after = certificate.validity().not_after.to_datetime();
    let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    Ok(CertificateSummary {
        role,
        subject: common_name.unwrap_or_default().escape_debug().to_string(),
        names: alternative_names(&certificate),
        not_after: not_after.into(),
        days_left: (not_after - now).whole_days(),
        fingerprint: fingerprint(&der),
        path,
    })
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    names.value.general_names.iter().map(name_text).collect()
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(text) | GeneralName::DNSName(text) => text.escape_debug().to_string(),
        GeneralName::IPAddress(bytes) => address_text(bytes),
        _ => "(another kind of name)".into(),
    }
}

fn address_text(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.map_or_else(|_| "(no IP address)".into(), |address| address.to_string())
}

fn fingerprint(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for CertificateRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PeerAuthority => "peer authority",
            Self::ClientAuthority => "client authority",
            Self::Peer => "peer",
            Self::Client => "client",
        })
    }
}
