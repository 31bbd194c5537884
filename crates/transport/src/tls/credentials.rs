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

use arc_swap::{ArcSwap, ArcSwapOption};
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

/// What the two files of a certificate hold.
#[derive(Debug)]
pub struct Examined {
    /// The chain, the leaf first, whether or not it can be used; empty when it cannot be read.
    pub chain: Vec<CertificateDer<'static>>,
    /// The pair, or everything that is wrong with it: at least one fault.
    pub key: Result<ReloadingKey, Vec<TlsError>>,
}

struct Source {
    files: KeyFiles,
    /// On the peer port, who must have issued the certificate.
    issuers: ArcSwapOption<RootCertStore>,
    clock: TlsClock,
    loaded: Mutex<Option<Stamp>>,
}

/// Tells a file from its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([(Option<SystemTime>, u64, u64); 2]);

impl ReloadingKey {
    /// Takes the pair in `files`. With `issuers`, it must be a peer certificate that one of them issued: pass the peer authority on the peer
    /// port, `None` on the client port. Blocking file access.
    ///
    /// # Errors
    /// Says which file is wrong and what to do; the first fault when there are several.
    pub fn load(files: KeyFiles, issuers: Option<Arc<RootCertStore>>, clock: TlsClock) -> Result<Self, TlsError> {
        Self::examine(files, issuers, clock).key.map_err(first)
    }

    /// Like [`Self::load`], with all faults at once, and with the certificate in spite of them.
    #[must_use]
    pub fn examine(files: KeyFiles, issuers: Option<Arc<RootCertStore>>, clock: TlsClock) -> Examined {
        // Before the files are read: a change after this is seen by the first check for one.
        let loaded = Mutex::new(Stamp::of(&files).ok());
        let source = Source { files, issuers: ArcSwapOption::new(issuers), clock, loaded };
        let (chain, pair) = source.load();
        let key = pair.map(|pair| Self { current: ArcSwap::from_pointee(pair), source: Some(source) });
        Examined { chain, key }
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
        let now = Some(Stamp::of(&source.files)?);
        if now == *loaded {
            return Ok(false);
        }
        let (_, pair) = source.load();
        self.current.store(Arc::new(pair.map_err(first)?));
        *loaded = now;
        Ok(true)
    }

    /// From now on a new pair of the peer port must come from one of `issuers`. The pair in use stays.
    pub fn set_issuers(&self, issuers: Arc<RootCertStore>) {
        if let Some(source) = &self.source {
            source.issuers.store(Some(issuers));
        }
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
    /// The chain as far as it can be read, and the pair or all that is wrong with it.
    fn load(&self) -> (Vec<CertificateDer<'static>>, Result<CertifiedKey, Vec<TlsError>>) {
        let mut faults = Vec::new();
        let mut note = |fault| faults.push(fault);
        let chain = pem::load_certificates(&self.files.certificate).map_err(&mut note).unwrap_or_default();
        let key = pem::load_key(&self.files.key).map_err(&mut note).ok();
        let key = key.filter(|_| !chain.is_empty());
        let pair = key.and_then(|key| pair(chain.clone(), key, &self.files).map_err(&mut note).ok());
        if let Some((leaf, rest)) = chain.split_first() {
            self.check(leaf, rest).into_iter().for_each(note);
        }
        (chain, pair.filter(|_| faults.is_empty()).ok_or(faults))
    }

    /// What is wrong with the certificate as such.
    fn check(&self, leaf: &CertificateDer<'static>, rest: &[CertificateDer<'static>]) -> Vec<TlsError> {
        let path = &self.files.certificate;
        let Some(validity) = validity(leaf) else { return vec![TlsError::NoCertificate { path: path.clone() }] };
        // A clock that cannot be read would fail every handshake anyway.
        let now = or_system(self.clock.clone()).current_time().unwrap_or_else(UnixTime::now);
        let dates = check_dates(&validity, path, now);
        let issuers = self.issuers.load_full();
        let issuer = issuers.map(|issuers| check_issuer(leaf, rest, path, &issuers, within(&validity, now)));
        dates.err().into_iter().chain(issuer.and_then(Result::err)).collect()
    }
}

fn first(mut faults: Vec<TlsError>) -> TlsError {
    faults.swap_remove(0)
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

fn check_dates(validity: &Validity, path: &Path, now: UnixTime) -> Result<(), TlsError> {
    let path = path.to_owned();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return Err(TlsError::NotYetValid { path });
    }
    if now > validity.not_after.timestamp() { Err(TlsError::Expired { path }) } else { Ok(()) }
}

/// The moment nearest to `now` at which the certificate is in date: dates are a fault of their own.
fn within(validity: &Validity, now: UnixTime) -> UnixTime {
    let seconds = |time: i64| u64::try_from(time).unwrap_or_default();
    let (start, end) = (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().max(start).min(end)))
}

fn check_issuer(
    leaf: &CertificateDer<'static>,
    rest: &[CertificateDer<'static>],
    path: &Path,
    issuers: &Arc<RootCertStore>,
    now: UnixTime,
) -> Result<(), TlsError> {
    let path = path.to_owned();
    let verifier = WebPkiServerVerifier::builder_with_provider(issuers.clone(), provider()).build();
    let verifier = verifier.map_err(|_| TlsError::NoRoots)?;
    let name = ServerName::try_from(PEER_SERVER_NAME).expect("the constant is a host name");
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

fn validity(leaf: &CertificateDer<'_>) -> Option<Validity> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    Some(leaf.validity().clone())
}

/// The moment from which the leaf of `key` is refused; `None` if it cannot be read.
#[must_use]
pub fn not_after(key: &CertifiedKey) -> Option<SystemTime> {
    let seconds = validity(key.cert.first()?)?.not_after.timestamp();
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
