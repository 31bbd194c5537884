//! Facts about handshakes: two ends in memory, no socket.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use farwire_wire::names::{MeshName, NodeName, RegionName};
use rustls::{CertificateError, ClientConnection, NamedGroup, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName};

use super::*;
use crate::certs::authority::{Authority, AuthorityKind, KeyPem, Leaf};
use crate::certs::{InitRequest, IssueRequest, VALID_FOR_DEFAULT, init, issue};

const ALPN: &[u8] = b"farwire-peer/1";

/// A directory with a mesh `demo` and certificates of `fra-1`.
struct Mesh {
    dir: tempfile::TempDir,
}

impl Mesh {
    fn new() -> Self {
        let mesh = Self { dir: tempfile::tempdir().unwrap() };
        let regions = vec![(RegionName::parse("fra").unwrap(), vec![node()])];
        let dir = mesh.dir.path().to_owned();
        init(InitRequest { dir, mesh: mesh_name(), regions, shards: 16 }).unwrap();
        mesh.issue();
        mesh
    }

    fn issue(&self) {
        let dir = self.dir.path().to_owned();
        issue(&IssueRequest { dir, node: node(), addresses: Vec::new(), valid_for: VALID_FOR_DEFAULT }).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn files(&self, role: &str) -> KeyFiles {
        let of = |end| self.path(&format!("nodes/fra-1/{role}.{end}"));
        KeyFiles { certificate: of("pem"), key: of("key") }
    }

    fn peer_roots(&self) -> Arc<RootCertStore> {
        Arc::new(load_roots(&self.path("peer-ca.pem")).unwrap())
    }

    fn peer_key(&self) -> Arc<ReloadingKey> {
        Arc::new(ReloadingKey::load(self.files("peer"), Some(self.peer_roots()), None).unwrap())
    }

    fn client_port_key(&self) -> Arc<ReloadingKey> {
        Arc::new(ReloadingKey::load(self.files("client"), None, None).unwrap())
    }
}

fn mesh_name() -> MeshName {
    MeshName::parse("demo").unwrap()
}

fn node() -> NodeName {
    NodeName::parse("fra-1").unwrap()
}

struct Ends {
    client: ClientConnection,
    server: ServerConnection,
}

/// Carries bytes both ways until neither end has anything to say.
fn shake_hands(client: ClientConfig, server: ServerConfig, name: &'static str) -> Result<Ends, rustls::Error> {
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        feed(&bytes, |read| server.read_tls(read).unwrap());
        server.process_new_packets()?;
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        feed(&bytes, |read| client.read_tls(read).unwrap());
        client.process_new_packets()?;
    }
    Ok(Ends { client, server })
}

fn feed(mut bytes: &[u8], mut read: impl FnMut(&mut &[u8]) -> usize) {
    while !bytes.is_empty() {
        assert_ne!(read(&mut bytes), 0);
    }
}

fn dial_peer(dialling: &Mesh, listening: &Mesh, trusted: [Arc<RootCertStore>; 2]) -> Result<Ends, rustls::Error> {
    let [by_client, by_server] = trusted;
    let client = peer_client(dialling.peer_key(), by_client, ALPN, None).unwrap();
    let server = peer_server(listening.peer_key(), by_server, &[ALPN], None).unwrap();
    shake_hands(client, server, PEER_SERVER_NAME)
}

#[test]
fn peers_of_one_mesh_know_each_other() {
    let mesh = Mesh::new();
    let ends = dial_peer(&mesh, &mesh, [mesh.peer_roots(), mesh.peer_roots()]).unwrap();
    for (chain, protocol) in [
        (ends.client.peer_certificates(), ends.client.alpn_protocol()),
        (ends.server.peer_certificates(), ends.server.alpn_protocol()),
    ] {
        assert_eq!(peer_node_name(chain.unwrap(), &mesh_name()), Ok(node()));
        assert_eq!(protocol, Some(ALPN));
    }
    assert_eq!(ends.client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(ends.client.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    assert_eq!(ends.client.tls13_tickets_received(), 0);
}

#[test]
fn a_peer_of_another_authority_is_refused_by_both_ends() {
    let (ours, theirs) = (Mesh::new(), Mesh::new());
    // Both authorities have one name, so the signature tells them apart.
    let unknown = rustls::Error::InvalidCertificate(CertificateError::BadSignature);
    let by_client = dial_peer(&ours, &theirs, [ours.peer_roots(), theirs.peer_roots()]);
    assert_eq!(by_client.err(), Some(unknown.clone()));
    let by_server = dial_peer(&theirs, &ours, [ours.peer_roots(), ours.peer_roots()]);
    assert_eq!(by_server.err(), Some(unknown));
}

#[test]
fn two_authorities_overlap_while_one_replaces_the_other() {
    let (old, new) = (Mesh::new(), Mesh::new());
    let both = [&old, &new].map(|mesh| fs::read(mesh.path("peer-ca.pem")).unwrap()).concat();
    let both = Arc::new(parse_roots(&both, Path::new("(memory)")).unwrap());
    for (dialling, listening) in [(&old, &new), (&new, &old), (&new, &new)] {
        dial_peer(dialling, listening, [both.clone(), both.clone()]).unwrap();
    }
}

#[test]
fn a_dial_without_a_certificate_never_becomes_a_peer() {
    let mesh = Mesh::new();
    let client = sdk_client(load_roots(&mesh.path("peer-ca.pem")).unwrap(), ALPN, None).unwrap();
    let server = peer_server(mesh.peer_key(), mesh.peer_roots(), &[ALPN], None).unwrap();
    let refused = shake_hands(client, server, PEER_SERVER_NAME).err();
    assert_eq!(refused, Some(rustls::Error::NoCertificatesPresented));
}

#[test]
fn the_client_port_asks_for_no_certificate_and_is_no_peer() {
    let mesh = Mesh::new();
    let server = || client_port_server(mesh.client_port_key(), &[b"farwire/1"], None).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        let roots = load_roots(&mesh.path("client-ca.pem")).unwrap();
        let ends = shake_hands(sdk_client(roots, b"farwire/1", None).unwrap(), server(), name).unwrap();
        assert_eq!(ends.server.peer_certificates(), None);
        let chain = ends.client.peer_certificates().unwrap();
        assert_eq!(peer_node_name(chain, &mesh_name()), Err(PeerIdentityError::Role));
    }
    let roots = load_roots(&mesh.path("client-ca.pem")).unwrap();
    assert!(shake_hands(sdk_client(roots, b"farwire/1", None).unwrap(), server(), "example.org").is_err());
}

#[test]
fn a_dial_with_another_protocol_is_refused() {
    let mesh = Mesh::new();
    let client = peer_client(mesh.peer_key(), mesh.peer_roots(), b"farwire/1", None).unwrap();
    let server = peer_server(mesh.peer_key(), mesh.peer_roots(), &[ALPN], None).unwrap();
    let refused = shake_hands(client, server, PEER_SERVER_NAME).err();
    assert_eq!(refused, Some(rustls::Error::NoApplicationProtocol));
}

#[test]
fn the_peer_port_does_not_say_whom_it_trusts() {
    let mesh = Mesh::new();
    let hidden = |seen: &[u8]| !seen.windows(14).any(|bytes| bytes == b"peer authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(mesh.peer_roots(), provider());
    let named = verifier.build().unwrap().root_hint_subjects().iter().any(|name| !hidden(name.as_ref()));
    assert!(named, "the authority's name would be in the hints");
    let hints: Arc<Hints> = Arc::default();
    let mut client = peer_client(mesh.peer_key(), mesh.peer_roots(), ALPN, None).unwrap();
    client.client_auth_cert_resolver = hints.clone();
    let server = peer_server(mesh.peer_key(), mesh.peer_roots(), &[ALPN], None).unwrap();
    assert!(shake_hands(client, server, PEER_SERVER_NAME).is_err());
    assert_eq!(*hints.0.lock().unwrap(), Some(0));
}

/// Counts the hints that a server gives; shows no certificate.
#[derive(Debug, Default)]
struct Hints(std::sync::Mutex<Option<usize>>);

impl rustls::client::ResolvesClientCert for Hints {
    fn resolve(&self, hints: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        *self.0.lock().unwrap() = Some(hints.len());
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[test]
fn a_renewed_certificate_is_taken_without_a_restart() {
    let mesh = Mesh::new();
    let key = mesh.peer_key();
    let before = key.current().cert[0].clone();
    assert!(!key.check_for_change().unwrap());
    let server = peer_server(key.clone(), mesh.peer_roots(), &[ALPN], None).unwrap();
    mesh.issue();
    assert!(key.check_for_change().unwrap());
    assert!(!key.check_for_change().unwrap());
    let client = peer_client(mesh.peer_key(), mesh.peer_roots(), ALPN, None).unwrap();
    let ends = shake_hands(client, server, PEER_SERVER_NAME).unwrap();
    let shown: &CertificateDer<'_> = &ends.client.peer_certificates().unwrap()[0];
    assert_ne!(*shown, before);
    assert_eq!(*shown, key.current().cert[0]);
}

#[test]
fn a_broken_renewal_keeps_the_old_certificate_until_it_is_mended() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let key = mesh.peer_key();
    let before = key.current().cert.clone();
    let KeyFiles { certificate, key: key_file } = mesh.files("peer");
    let (old_certificate, old_key) = (fs::read(&certificate).unwrap(), fs::read(&key_file).unwrap());

    fs::write(&certificate, "half a fi").unwrap();
    assert!(matches!(key.check_for_change(), Err(TlsError::NoCertificate { .. })));
    assert!(matches!(key.check_for_change(), Err(TlsError::NoCertificate { .. })));
    fs::copy(mesh.path("nodes/fra-1/client.pem"), &certificate).unwrap();
    assert!(matches!(key.check_for_change(), Err(TlsError::KeyMismatch { .. })));
    fs::copy(mesh.path("nodes/fra-1/client.key"), &key_file).unwrap();
    assert!(matches!(key.check_for_change(), Err(TlsError::NotIssued { .. })));
    fs::copy(other.path("nodes/fra-1/peer.pem"), &certificate).unwrap();
    fs::copy(other.path("nodes/fra-1/peer.key"), &key_file).unwrap();
    assert!(matches!(key.check_for_change(), Err(TlsError::NotIssued { .. })));
    fs::remove_file(&key_file).unwrap();
    assert!(matches!(key.check_for_change(), Err(TlsError::Read { .. })));
    fs::write(&key_file, "no key").unwrap();
    assert!(matches!(key.check_for_change(), Err(TlsError::NoKey { .. })));
    assert_eq!(key.current().cert, before);

    fs::write(&key_file, old_key).unwrap();
    fs::write(&certificate, old_certificate).unwrap();
    assert!(key.check_for_change().unwrap());
    assert_eq!(key.current().cert, before);
}

/// A clock that stands still.
#[derive(Debug)]
struct Fixed(SystemTime);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

fn clock(now: SystemTime) -> TlsClock {
    Some(Arc::new(Fixed(now)))
}

#[test]
fn dates_are_checked_against_the_given_clock() {
    let mesh = Mesh::new();
    let load = |now| ReloadingKey::load(mesh.files("client"), None, clock(now)).map(drop);
    let now = SystemTime::now();
    assert!(load(now).is_ok());
    assert!(matches!(load(now + VALID_FOR_DEFAULT + Duration::from_secs(2)), Err(TlsError::Expired { .. })));
    assert!(matches!(load(now - Duration::from_hours(2)), Err(TlsError::NotYetValid { .. })));
}

#[test]
fn an_examination_finds_all_faults_at_once_and_shows_the_certificate_in_spite_of_them() {
    let (ours, theirs) = (Mesh::new(), Mesh::new());
    let files = KeyFiles { certificate: ours.files("peer").certificate, key: ours.files("client").key };
    let late = clock(SystemTime::now() + VALID_FOR_DEFAULT + Duration::from_secs(2));
    let examined = ReloadingKey::examine(files, Some(theirs.peer_roots()), late);
    let faults = examined.key.map(drop).unwrap_err();
    let [TlsError::KeyMismatch { .. }, TlsError::Expired { .. }, TlsError::NotIssued { .. }] = &faults[..] else {
        panic!("{faults:?}");
    };
    assert_eq!(peer_node_name(&examined.chain, &mesh_name()), Ok(node()));

    let missing = KeyFiles { certificate: ours.path("no.pem"), key: ours.path("no.key") };
    let examined = ReloadingKey::examine(missing, None, None);
    assert_eq!((examined.chain.len(), examined.key.map(drop).unwrap_err().len()), (0, 2));
}

/// A mesh without files, of any date.
fn simulated(now: SystemTime) -> (KeyPem, Arc<RootCertStore>) {
    let (authority, pem) = Authority::create(AuthorityKind::Peer, &mesh_name(), now).unwrap();
    let leaf = Leaf::Peer { mesh: &mesh_name(), node: &node() };
    let key = authority.sign(leaf, now, VALID_FOR_DEFAULT).unwrap();
    (key, Arc::new(parse_roots(pem.certificate.as_bytes(), Path::new("(memory)")).unwrap()))
}

#[test]
fn a_simulation_has_its_own_date_and_no_files() {
    let then = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 40);
    let (pem, roots) = simulated(then);
    let shake = |client_now, server_now| {
        let key = || Arc::new(ReloadingKey::in_memory(&pem).unwrap());
        let client = peer_client(key(), roots.clone(), ALPN, clock(client_now)).unwrap();
        let server = peer_server(key(), roots.clone(), &[ALPN], clock(server_now)).unwrap();
        shake_hands(client, server, PEER_SERVER_NAME).map(drop)
    };
    let late = then + VALID_FOR_DEFAULT + Duration::from_secs(2);
    assert_eq!(shake(then, then), Ok(()));
    for refused in [shake(late, then), shake(then, late)] {
        let Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })) = refused else {
            panic!("{refused:?}");
        };
    }
}

#[test]
fn another_role_of_the_same_authority_is_refused_as_a_peer_key() {
    let mesh = Mesh::new();
    let roots = Arc::new(load_roots(&mesh.path("client-ca.pem")).unwrap());
    let refused = ReloadingKey::load(mesh.files("client"), Some(roots), None).map(drop);
    assert!(matches!(refused, Err(TlsError::WrongRole { .. })), "{refused:?}");
}

#[test]
fn the_expiry_of_a_pair_can_be_read() {
    let mesh = Mesh::new();
    let left = not_after(&mesh.peer_key().current()).unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(left > VALID_FOR_DEFAULT - Duration::from_mins(1) && left <= VALID_FOR_DEFAULT);
}

#[test]
fn post_quantum_key_exchange_is_preferred() {
    assert_eq!(provider().kx_groups[0].name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn no_port_takes_early_data_and_the_peer_port_gives_no_tickets() {
    let mesh = Mesh::new();
    let clients = client_port_server(mesh.client_port_key(), &[b"farwire/1"], None).unwrap();
    let peers = peer_server(mesh.peer_key(), mesh.peer_roots(), &[ALPN], None).unwrap();
    assert_eq!((clients.max_early_data_size, peers.max_early_data_size, peers.send_tls13_tickets), (0, 0, 0));
    assert!(!peer_client(mesh.peer_key(), mesh.peer_roots(), ALPN, None).unwrap().enable_early_data);
}

#[test]
fn errors_name_the_file_and_trust_in_nobody_is_refused() {
    let mesh = Mesh::new();
    let missing = load_roots(&mesh.path("no.pem")).unwrap_err().to_string();
    assert!(missing.contains("no.pem") && missing.contains("farwire certs"), "{missing}");
    let key_for_certificate = load_roots(&mesh.path("peer-ca.key")).unwrap_err();
    assert!(matches!(key_for_certificate, TlsError::NoCertificate { .. }));
    let nobody = Arc::new(RootCertStore::empty());
    assert!(matches!(peer_client(mesh.peer_key(), nobody.clone(), ALPN, None), Err(TlsError::NoRoots)));
    assert!(matches!(peer_server(mesh.peer_key(), nobody, &[ALPN], None), Err(TlsError::NoRoots)));
}
