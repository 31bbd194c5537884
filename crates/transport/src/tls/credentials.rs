//! A certificate with its key that is renewed while the node runs.
//!
//! Invariant: what is in use was whole, matching, in date and, on the peer port, issued by the mesh's authority when it was taken; a new pair
//! that is not keeps the old one in use. Connections that exist keep the certificate they were made with. Nothing here runs by itself: the
//! node calls [`ReloadingKey::check_for_change`] from time to time.

use std::fmt;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::Validity;

use super::{PEER_SERVER_NAME, TlsClock, TlsError, or_system, pem, provider};

/// A certificate with its key, taken anew from its files when they change.
pub struct ReloadingKey {
    current: ArcSwap<CertifiedKey>,
    source: Option<Source>,
}

/// The two files of a certificate.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    /// The chain in PEM, the leaf first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

struct Source {
    files: KeyFiles,
    /// On the peer port, who must have issued the certificate.
    issuers: Option<Arc<RootCertStore>>,
    clock: TlsClock,
    loaded: Mutex<Stamp>,
}

/// Tells a file from its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([(Option<SystemTime>, u64, u64); 2]);

impl ReloadingKey {
    /// Takes the pair in `files`. With `issuers`, it must be a peer certificate that one of them issued: pass the peer authority on the peer
    /// port, `None` on the client port. Blocking file access.
    ///
    /// # Errors
    /// Says which file is wrong and what to do.
    pub fn load(files: KeyFiles, issuers: Option<Arc<RootCertStore>>, clock: TlsClock) -> Result<Self, TlsError> {
        let loaded = Mutex::new(Stamp::of(&files)?);
        let source = Source { files, issuers, clock, loaded };
        let current = ArcSwap::from_pointee(source.load()?);
        Ok(Self { current, source: Some(source) })
    }

    /// A pair that never changes, from PEM texts, unchecked but for the key belonging to the certificate: for worlds without files.
    ///
    /// # Errors
    /// `NoCertificate`, `NoKey` or `KeyMismatch`, with `(memory)` for the file.
    pub fn in_memory(pem: &crate::certs::authority::KeyPem) -> Result<Self, TlsError> {
        let place = Path::new("(memory)");
        let files = KeyFiles { certificate: place.to_owned(), key: place.to_owned() };
        let chain = pem::parse_certificates(pem.certificate.as_bytes(), place)?;
        let key = pair(chain, pem::parse_key(pem.key.as_bytes(), place)?, &files)?;
        Ok(Self { current: ArcSwap::from_pointee(key), source: None })
    }

    /// Takes the pair anew if a file has changed since it was taken; `true` if it did. Blocking file access: two `stat` calls while nothing
    /// changes, so once a minute is plenty.
    ///
    /// # Errors
    /// As [`Self::load`]; the old pair stays in use, and the next call tries again. Between the two steps of a renewal the files do not match for
    /// a moment: an error that is gone at the next call means nothing.
    pub fn check_for_change(&self) -> Result<bool, TlsError> {
        let Some(source) = &self.source else { return Ok(false) };
        let mut loaded = source.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the files are read: a change after this is seen by the next call.
        let now = Stamp::of(&source.files)?;
        if now == *loaded {
            return Ok(false);
        }
        self.current.store(Arc::new(source.load()?));
        *loaded = now;
        Ok(true)
    }

    /// The pair in use.
    #[must_use]
    pub fn current(&self) -> Arc<CertifiedKey> {
        self.current.load_full()
    }
}

/// A secret of a node that stays the same for as long as its private key does: for QUIC's stateless resets. Each port
/// has a key, hence a secret, of its own. Blocking file access.
///
/// # Errors
/// `Read` if the file cannot be read.
pub fn reset_secret(key_file: &Path) -> Result<[u8; 32], TlsError> {
    let pem = std::fs::read(key_file).map_err(|source| TlsError::Read { path: key_file.to_owned(), source })?;
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"farwire stateless reset");
    context.update(&pem);
    let mut secret = [0; 32];
    secret.copy_from_slice(context.finish().as_ref());
    Ok(secret)
}

impl Source {
    fn load(&self) -> Result<CertifiedKey, TlsError> {
        let path = &self.files.certificate;
        let key = pair(pem::load_certificates(path)?, pem::load_key(&self.files.key)?, &self.files)?;
        let clock = or_system(self.clock.clone());
        // A clock that cannot be read would fail every handshake anyway.
        let now = clock.current_time().unwrap_or_else(UnixTime::now);
        check_dates(&key, path, now)?;
        if let Some(issuers) = &self.issuers {
            check_issuer(&key, path, issuers, now)?;
        }
        Ok(key)
    }
}

impl Stamp {
    fn of(files: &KeyFiles) -> Result<Self, TlsError> {
        Ok(Self([stamp_of(&files.certificate)?, stamp_of(&files.key)?]))
    }
}

fn stamp_of(path: &Path) -> Result<(Option<SystemTime>, u64, u64), TlsError> {
    let metadata = std::fs::metadata(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    Ok((metadata.modified().ok(), metadata.len(), file_number(&metadata)))
}

/// Two renewals within one tick of the file system's clock may have the same time and length, but are different files.
#[cfg(unix)]
fn file_number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn file_number(_: &Metadata) -> u64 {
    0
}

fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: rustls_pki_types::PrivateKeyDer<'static>,
    files: &KeyFiles,
) -> Result<CertifiedKey, TlsError> {
    let KeyFiles { certificate, key: key_path } = files.clone();
    let signer = provider().key_provider.load_private_key(key);
    let pair = CertifiedKey::new(chain, signer.map_err(|_| TlsError::NoKey { path: key_path.clone() })?);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch { certificate, key: key_path }),
        Err(_) => Err(TlsError::NoCertificate { path: certificate }),
    }
}

fn check_dates(key: &CertifiedKey, path: &Path, now: UnixTime) -> Result<(), TlsError> {
    let path = path.to_owned();
    let Some(validity) = validity(key) else { return Err(TlsError::NoCertificate { path }) };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return Err(TlsError::NotYetValid { path });
    }
    if now > validity.not_after.timestamp() { Err(TlsError::Expired { path }) } else { Ok(()) }
}

fn check_issuer(key: &CertifiedKey, path: &Path, issuers: &Arc<RootCertStore>, now: UnixTime) -> Result<(), TlsError> {
    let path = path.to_owned();
    let verifier = WebPkiServerVerifier::builder_with_provider(issuers.clone(), provider()).build();
    let verifier = verifier.map_err(|_| TlsError::NoRoots)?;
    let name = ServerName::try_from(PEER_SERVER_NAME).expect("the constant is a host name");
    let Some((leaf, rest)) = key.cert.split_first() else { return Err(TlsError::NoCertificate { path }) };
    match verifier.verify_server_cert(leaf, rest, &name, &[], now) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(fault)) if is_role_fault(&fault) => Err(TlsError::WrongRole { path }),
        Err(_) => Err(TlsError::NotIssued { path }),
    }
}

fn is_role_fault(fault: &CertificateError) -> bool {
    use CertificateError::{InvalidPurpose, InvalidPurposeContext, NotValidForName, NotValidForNameContext};
    matches!(fault, InvalidPurpose | InvalidPurposeContext { .. } | NotValidForName | NotValidForNameContext { .. })
}

fn validity(key: &CertifiedKey) -> Option<Validity> {
    let (_, leaf) = x509_parser::parse_x509_certificate(key.cert.first()?).ok()?;
    Some(leaf.validity().clone())
}

/// The moment from which the leaf of `key` is refused; `None` if it cannot be read.
#[must_use]
pub fn not_after(key: &CertifiedKey) -> Option<SystemTime> {
    let seconds = validity(key)?.not_after.timestamp();
    u64::try_from(seconds).ok().and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
}

impl ResolvesServerCert for ReloadingKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for ReloadingKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for ReloadingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.source.as_ref().map(|source| &source.files);
        f.debug_struct("ReloadingKey").field("files", &files).finish_non_exhaustive()
    }
}
