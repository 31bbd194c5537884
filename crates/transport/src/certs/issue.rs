//! Making a mesh and its nodes' certificates in a directory.
//!
//! Invariants: a mesh is never overwritten; the mesh file is written last, so a directory that has it is whole; issuing again replaces each
//! file in one step, and a node that runs picks the new pair up. Called by `farwire certs` and `farwire up`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use farwire_wire::names::{MeshName, NodeName, RegionName};

use super::authority::{Authority, AuthorityKind, KeyPem, LOCAL_ADDRESSES, Leaf, NotAnAuthority};
use super::store::{self, Access};
use super::{CertificateRole, CertsError, Layout, show};
use crate::mesh_file::{MeshFile, RegionSpec, mesh_id};

/// A mesh to make.
#[derive(Debug, Clone)]
pub struct InitRequest {
    /// Where; made if missing.
    pub dir: PathBuf,
    /// The mesh's name.
    pub mesh: MeshName,
    /// The regions with their first nodes. A witness is added to the mesh file by hand.
    pub regions: Vec<(RegionName, Vec<NodeName>)>,
    /// Number of shards, fixed for the life of the mesh.
    pub shards: u16,
}

/// A mesh that was made.
#[derive(Debug, Clone)]
pub struct InitSummary {
    /// What the mesh file says.
    pub mesh: MeshFile,
    /// Where the mesh file is.
    pub mesh_file: PathBuf,
    /// The certificate that clients need to know.
    pub client_authority: PathBuf,
    /// The certificate that nodes need to know.
    pub peer_authority: PathBuf,
}

/// A node to issue certificates for.
#[derive(Debug, Clone)]
pub struct IssueRequest {
    /// The directory of the mesh, with its authorities.
    pub dir: PathBuf,
    /// The node. It need not be in the mesh file: a region grows after it was founded.
    pub node: NodeName,
    /// IP addresses and host names that clients use for the node, besides those of the loopback. Empty: those of the certificate that is
    /// replaced, if there is one.
    pub addresses: Vec<String>,
    /// Life of the certificates, cut to that of the authority: [`super::VALID_FOR_DEFAULT`] unless there is a reason.
    pub valid_for: Duration,
}

/// Where a node's certificates are; each key is beside its certificate.
#[derive(Debug, Clone)]
pub struct IssueSummary {
    /// Certificate of the peer port.
    pub peer_certificate: PathBuf,
    /// Key of the peer port.
    pub peer_key: PathBuf,
    /// Certificate of the client port.
    pub client_certificate: PathBuf,
    /// Key of the client port.
    pub client_key: PathBuf,
    /// The region that the mesh file puts the node in, if it names the node.
    pub region: Option<RegionName>,
    /// What the certificate of the client port is good for, besides the loopback.
    pub addresses: Vec<String>,
    /// Whether these were taken over from the certificate that was replaced.
    pub carried_over: bool,
}

/// Makes the two authorities and the mesh file.
///
/// # Errors
/// `MeshExists` if there is a part of a mesh in the directory, `Mesh` with all faults of the request; both before anything is written.
/// After `Write` the directory may hold a part of the mesh: delete it.
pub fn init(request: InitRequest) -> Result<InitSummary, CertsError> {
    let layout = Layout::new(&request.dir);
    refuse_existing(&layout)?;
    let now = SystemTime::now();
    let (peer, peer_pem) = Authority::create(AuthorityKind::Peer, &request.mesh, now)?;
    let (_, client_pem) = Authority::create(AuthorityKind::Client, &request.mesh, now)?;
    let mesh = mesh_of(request, &peer)?;
    let mesh_file = layout.mesh_file();
    mesh.check(&mesh_file)?;
    make_dir(&layout.dir)?;
    write_authority(&layout.peer_authority(), &peer_pem)?;
    write_authority(&layout.client_authority(), &client_pem)?;
    mesh.save(&mesh_file)?;
    Ok(InitSummary {
        mesh,
        mesh_file,
        client_authority: layout.client_authority(),
        peer_authority: layout.peer_authority(),
    })
}

/// Issues, or renews, the certificates of one node: new keys every time.
///
/// # Errors
/// `Read` if the directory has no mesh, `KeyMismatch` or `AuthorityExpired` if an authority cannot sign, `OldAddresses` if they are wanted and
/// cannot be read, `Address` or `TooLarge` if the addresses do not fit, all before anything is written. After `Write` run it again.
pub fn issue(request: &IssueRequest) -> Result<IssueSummary, CertsError> {
    let layout = Layout::new(&request.dir);
    let mesh = MeshFile::load(&layout.mesh_file())?;
    let (node, now) = (&request.node, SystemTime::now());
    let (peer_certificate, client_certificate) = (layout.node_peer(node), layout.node_client(node));
    let old = if request.addresses.is_empty() { addresses_of(&client_certificate)? } else { Vec::new() };
    let carried_over = !old.is_empty();
    let addresses = if carried_over { old } else { request.addresses.clone() };
    let peer = read_authority(&layout.peer_authority(), now)?.sign(
        Leaf::Peer { mesh: &mesh.name, node },
        now,
        request.valid_for,
    )?;
    let client = read_authority(&layout.client_authority(), now)?.sign(
        Leaf::Client { node, addresses: &addresses },
        now,
        request.valid_for,
    )?;
    make_dir(&layout.nodes().join(node.as_str()))?;
    Ok(IssueSummary {
        peer_key: replace_pair(&peer_certificate, &peer)?,
        client_key: replace_pair(&client_certificate, &client)?,
        peer_certificate,
        client_certificate,
        region: mesh.region_of(node).cloned(),
        addresses,
        carried_over,
    })
}

/// What the certificate at `path` is good for besides the loopback; nothing when there is none.
fn addresses_of(path: &Path) -> Result<Vec<String>, CertsError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let old = show::summary(path, CertificateRole::Client);
    let old = old.map_err(|_| CertsError::OldAddresses { path: path.to_owned() })?;
    Ok(old.names.into_iter().filter(|name| !LOCAL_ADDRESSES.contains(&name.as_str())).collect())
}

fn refuse_existing(layout: &Layout) -> Result<(), CertsError> {
    let authorities = [layout.peer_authority(), layout.client_authority()];
    let keys = authorities.each_ref().map(|certificate| Layout::key_of(certificate));
    let mut files = authorities.into_iter().chain(keys).chain([layout.mesh_file()]);
    files.find(|path| path.exists()).map_or(Ok(()), |path| Err(CertsError::MeshExists { path }))
}

fn mesh_of(request: InitRequest, peer: &Authority) -> Result<MeshFile, CertsError> {
    let mut hash_key = [0; 16];
    aws_lc_rs::rand::fill(&mut hash_key).map_err(|_| rcgen::Error::RingUnspecified)?;
    let regions = request.regions.into_iter().map(|(name, nodes)| RegionSpec { name, nodes, witness: None }).collect();
    let id = mesh_id(&request.mesh, peer.certificate());
    Ok(MeshFile { name: request.mesh, id, hash_key, shards: request.shards, regions })
}

fn write_authority(certificate: &Path, pem: &KeyPem) -> Result<(), CertsError> {
    write_new(&Layout::key_of(certificate), &pem.key, Access::Owner)?;
    write_new(certificate, &pem.certificate, Access::Everybody)
}

fn read_authority(certificate: &Path, now: SystemTime) -> Result<Authority, CertsError> {
    let key = Layout::key_of(certificate);
    let pem = KeyPem { certificate: read(certificate)?, key: read(&key)? };
    let authority = Authority::from_pem(&pem).map_err(|e| match e {
        NotAnAuthority::NoCertificate => CertsError::NoCertificate { path: certificate.to_owned() },
        NotAnAuthority::KeyMismatch => CertsError::KeyMismatch { certificate: certificate.to_owned(), key },
    })?;
    match authority.is_valid_at(now) {
        true => Ok(authority),
        false => Err(CertsError::AuthorityExpired { path: certificate.to_owned() }),
    }
}

/// Key first: whoever loads between the two steps sees a pair that does not match, and keeps the old one.
fn replace_pair(certificate: &Path, pem: &KeyPem) -> Result<PathBuf, CertsError> {
    let key = Layout::key_of(certificate);
    let failed = |path: &Path, source| CertsError::Write { path: path.to_owned(), source };
    store::replace(&key, pem.key.as_bytes(), Access::Owner).map_err(|e| failed(&key, e))?;
    store::replace(certificate, pem.certificate.as_bytes(), Access::Everybody).map_err(|e| failed(certificate, e))?;
    Ok(key)
}

fn write_new(path: &Path, text: &str, access: Access) -> Result<(), CertsError> {
    store::write_new(path, text.as_bytes(), access)
        .map_err(|source| CertsError::Write { path: path.to_owned(), source })
}

fn make_dir(path: &Path) -> Result<(), CertsError> {
    store::make_dir(path).map_err(|source| CertsError::Write { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<String, CertsError> {
    std::fs::read_to_string(path).map_err(|source| CertsError::Read { path: path.to_owned(), source })
}
