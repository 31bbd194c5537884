//! An authority in memory: makes itself, signs leafs. Touches no file and reads no clock, so a simulation can have certificates of any date.
//!
//! Invariants: an authority signs leafs only (path length 0); a leaf starts [`BACKDATED_BY`] before now and never outlives its authority.
//! Called by `certs::init` and `certs::issue`, and by tests that want certificates without a directory.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use farwire_wire::names::{MeshName, NodeName};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName};
use time::OffsetDateTime;

use super::{AUTHORITY_VALID_FOR, BACKDATED_BY, CERTIFICATE_BYTES_MAX, CertsError};
use crate::tls::{PEER_SERVER_NAME, node_uri};

/// An authority with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    not_after: OffsetDateTime,
}

/// What an authority is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKind {
    /// Vouches for nodes towards nodes.
    Peer,
    /// Vouches for nodes towards clients.
    Client,
}

/// What a leaf is for, and whose it is.
#[derive(Debug, Clone, Copy)]
pub enum Leaf<'a> {
    /// A node as a peer: both ends of a link use it.
    Peer {
        /// The mesh that the node belongs to.
        mesh: &'a MeshName,
        /// The node.
        node: &'a NodeName,
    },
    /// A node as clients see it.
    Client {
        /// The node.
        node: &'a NodeName,
        /// IP addresses and host names, besides `localhost`, `127.0.0.1` and `::1`, that clients use.
        addresses: &'a [String],
    },
}

/// A certificate and its private key, in PEM.
pub struct KeyPem {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS#8.
    pub key: String,
}

/// Why PEM texts are not an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAnAuthority {
    NoCertificate,
    KeyMismatch,
}

impl Authority {
    /// Draws a new key and makes the authority of `mesh`, valid for ten years.
    ///
    /// # Errors
    /// `Crypto` if the machine has no randomness.
    pub fn create(kind: AuthorityKind, mesh: &MeshName, now: SystemTime) -> Result<(Self, KeyPem), CertsError> {
        Self::with_key(KeyPair::generate()?, kind, mesh, now)
    }

    /// The same with an Ed25519 key, whose signatures are all of one size: for simulations, where a handshake must take the same packets
    /// every time.
    ///
    /// # Errors
    /// `Crypto` if the machine has no randomness.
    pub fn create_ed25519(kind: AuthorityKind, mesh: &MeshName, now: SystemTime) -> Result<(Self, KeyPem), CertsError> {
        Self::with_key(KeyPair::generate_for(&rcgen::PKCS_ED25519)?, kind, mesh, now)
    }

    fn with_key(
        key: KeyPair,
        kind: AuthorityKind,
        mesh: &MeshName,
        now: SystemTime,
    ) -> Result<(Self, KeyPem), CertsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, kind.of(mesh.as_str()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = earlier(now, BACKDATED_BY);
        params.not_after = later(now, AUTHORITY_VALID_FOR).unwrap_or(params.not_after);
        let certificate = params.self_signed(&key)?;
        let pem = KeyPem { certificate: certificate.pem(), key: key.serialize_pem() };
        let not_after = params.not_after;
        Ok((Self { certificate: certificate.into(), issuer: Issuer::new(params, key), not_after }, pem))
    }

    pub(super) fn from_pem(pem: &KeyPem) -> Result<Self, NotAnAuthority> {
        let no_certificate = |_| NotAnAuthority::NoCertificate;
        let certificate =
            CertificateDer::from_pem_slice(pem.certificate.as_bytes()).map_err(|_| NotAnAuthority::NoCertificate)?;
        let key = KeyPair::from_pem(&pem.key).map_err(|_| NotAnAuthority::KeyMismatch)?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|_| NotAnAuthority::NoCertificate)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(NotAnAuthority::KeyMismatch);
        }
        let not_after = parsed.validity().not_after.to_datetime();
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(no_certificate)?;
        Ok(Self { certificate, issuer, not_after })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Whether the authority may still sign at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        OffsetDateTime::from(now) < self.not_after
    }

    /// Draws a key of the authority's own kind and signs a certificate for it, valid until `now + valid_for` or as long as the authority.
    ///
    /// # Errors
    /// `Address` if one is neither IP nor host name, `TooLarge` if there are too many, `Crypto` if the machine has no randomness.
    pub fn sign(&self, leaf: Leaf<'_>, now: SystemTime, valid_for: Duration) -> Result<KeyPem, CertsError> {
        let key = KeyPair::generate_for(self.issuer.key().algorithm())?;
        let mut params = leaf.params()?;
        params.not_before = earlier(now, BACKDATED_BY);
        params.not_after = later(now, valid_for).map_or(self.not_after, |wanted| wanted.min(self.not_after));
        let certificate = params.signed_by(&key, &self.issuer)?;
        check_size(&certificate)?;
        Ok(KeyPem { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl AuthorityKind {
    /// The name of the authority of a mesh.
    pub(crate) fn of(self, mesh: &str) -> String {
        format!("Farwire {self} authority of {mesh}")
    }
}

impl Leaf<'_> {
    fn params(&self) -> Result<CertificateParams, CertsError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, self.node().as_str());
        params.subject_alt_names = self.names()?;
        params.extended_key_usages = match self {
            Self::Peer { .. } => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Self::Client { .. } => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        Ok(params)
    }

    fn node(&self) -> &NodeName {
        match self {
            Self::Peer { node, .. } | Self::Client { node, .. } => node,
        }
    }

    fn names(&self) -> Result<Vec<SanType>, CertsError> {
        match self {
            Self::Peer { mesh, node } => Ok(vec![
                SanType::URI(node_uri(mesh, node).as_str().try_into()?),
                SanType::DnsName(PEER_SERVER_NAME.try_into()?),
            ]),
            Self::Client { addresses, .. } => {
                let mut names: Vec<SanType> = Vec::new();
                for address in LOCAL_ADDRESSES.into_iter().chain(addresses.iter().map(String::as_str)) {
                    let name = address_name(address)?;
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                Ok(names)
            }
        }
    }
}

fn address_name(address: &str) -> Result<SanType, CertsError> {
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let refused = || CertsError::Address { address: address.to_owned() };
    let name = DnsName::try_from(address).map_err(|_| refused())?;
    Ok(SanType::DnsName(name.as_ref().try_into().map_err(|_| refused())?))
}

fn check_size(certificate: &Certificate) -> Result<(), CertsError> {
    match certificate.der().len() {
        bytes if bytes > CERTIFICATE_BYTES_MAX => Err(CertsError::TooLarge { bytes }),
        _ => Ok(()),
    }
}

fn earlier(now: SystemTime, by: Duration) -> OffsetDateTime {
    let now = OffsetDateTime::from(now);
    time::Duration::try_from(by).ok().and_then(|by| now.checked_sub(by)).unwrap_or(now)
}

fn later(now: SystemTime, by: Duration) -> Option<OffsetDateTime> {
    time::Duration::try_from(by).ok().and_then(|by| OffsetDateTime::from(now).checked_add(by))
}

impl fmt::Display for AuthorityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer => "peer",
            Self::Client => "client",
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPem").finish_non_exhaustive()
    }
}

/// What every certificate of the client port is good for.
pub(super) const LOCAL_ADDRESSES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
