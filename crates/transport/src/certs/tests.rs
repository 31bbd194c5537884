//! Facts about directories of certificates.

use std::fs;

use farwire_wire::names::{MeshName, NodeName, RegionName};

use super::store::tests::mode_of;
use super::*;

fn request(dir: &Path) -> InitRequest {
    let node = |name| NodeName::parse(name).unwrap();
    let region = |name| RegionName::parse(name).unwrap();
    InitRequest {
        dir: dir.to_owned(),
        mesh: MeshName::parse("demo").unwrap(),
        regions: vec![(region("fra"), vec![node("fra-1"), node("fra-2")]), (region("iad"), vec![node("iad-1")])],
        shards: 16,
    }
}

fn issue_request(dir: &Path, addresses: &[&str]) -> IssueRequest {
    IssueRequest {
        dir: dir.to_owned(),
        node: NodeName::parse("fra-1").unwrap(),
        addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
        valid_for: VALID_FOR_DEFAULT,
    }
}

#[test]
fn what_is_made_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("deep/certs");
    let made = init(request(dir)).unwrap();
    let issued = issue(&issue_request(dir, &["192.0.2.7", "fra.example.org", "localhost"])).unwrap();
    assert_eq!(crate::mesh_file::MeshFile::load(&made.mesh_file).unwrap(), made.mesh);
    assert_eq!(issued.region.unwrap().as_str(), "fra");

    let shown = show(dir).unwrap();
    let roles: Vec<_> = shown.iter().map(|c| c.role.to_string()).collect();
    assert_eq!(roles, ["peer authority", "client authority", "peer", "client"]);
    assert_eq!(shown[0].subject, "Farwire peer authority of demo");
    assert_eq!(shown[2].names, ["farwire://demo/node/fra-1", "peer.farwire.invalid"]);
    assert_eq!(shown[3].names, ["localhost", "127.0.0.1", "::1", "192.0.2.7", "fra.example.org"]);
    assert_eq!((shown[0].days_left, shown[3].days_left), (3649, 396));
    assert!(shown.iter().all(|c| c.fingerprint.len() == 64 && c.path.exists()));
}

#[test]
fn an_empty_directory_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(show(dir.path()).unwrap().is_empty());
    assert!(show(&dir.path().join("missing")).unwrap().is_empty());
}

#[test]
fn a_broken_certificate_is_named() {
    let dir = tempfile::tempdir().unwrap();
    init(request(dir.path())).unwrap();
    fs::write(dir.path().join("client-ca.pem"), "nothing").unwrap();
    let broken = show(dir.path()).unwrap_err().to_string();
    assert!(broken.contains("client-ca.pem"), "{broken}");
}

#[test]
fn keys_and_folders_are_for_the_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("certs");
    init(request(dir)).unwrap();
    issue(&issue_request(dir, &[])).unwrap();
    let keys = ["peer-ca.key", "client-ca.key", "nodes/fra-1/peer.key", "nodes/fra-1/client.key"];
    for key in keys {
        assert_eq!(mode_of(&dir.join(key)), 0o600, "{key}");
    }
    for folder in ["", "nodes", "nodes/fra-1"] {
        assert_eq!(mode_of(&dir.join(folder)), 0o700, "{folder}");
    }
}

#[test]
fn a_mesh_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    init(request(dir.path())).unwrap();
    let files = ["mesh.toml", "peer-ca.pem", "peer-ca.key", "client-ca.pem", "client-ca.key"];
    let before = files.map(|file| fs::read(dir.path().join(file)).unwrap());
    // Each part of a mesh alone stops it too.
    for keep in files {
        let refused = init(request(dir.path())).unwrap_err();
        assert!(matches!(refused, CertsError::MeshExists { .. }), "{refused}");
        for other in files.iter().filter(|file| **file != keep) {
            fs::rename(dir.path().join(other), dir.path().join(format!("{other}.aside"))).unwrap();
        }
        assert!(matches!(init(request(dir.path())), Err(CertsError::MeshExists { .. })), "{keep}");
        for other in files.iter().filter(|file| **file != keep) {
            fs::rename(dir.path().join(format!("{other}.aside")), dir.path().join(other)).unwrap();
        }
    }
    assert_eq!(files.map(|file| fs::read(dir.path().join(file)).unwrap()), before);
}

#[test]
fn a_mesh_that_cannot_be_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut bad = request(&dir.path().join("certs"));
    bad.shards = 0;
    bad.regions[1].1 = vec![NodeName::parse("fra-1").unwrap()];
    let refused = init(bad).unwrap_err().to_string();
    assert!(refused.contains("2 fault(s)") && refused.contains("shards"), "{refused}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn addresses_are_checked_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    init(request(dir.path())).unwrap();
    for bad in ["fra.example.org:4433", "", "a b", "*.example.org", "\u{1b}[31m"] {
        let refused = issue(&issue_request(dir.path(), &[bad])).unwrap_err();
        assert!(matches!(refused, CertsError::Address { .. }), "{bad:?}");
        assert!(!refused.to_string().contains('\u{1b}'));
    }
    let many: Vec<String> = (0..60).map(|n| format!("a-long-name-{n}.example.org")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(issue(&issue_request(dir.path(), &many)), Err(CertsError::TooLarge { .. })));
    assert!(!dir.path().join("nodes").exists());
}

#[test]
fn a_renewal_without_addresses_keeps_those_of_the_old_certificate() {
    let dir = tempfile::tempdir().unwrap();
    init(request(dir.path())).unwrap();
    let names =
        |summary: &IssueSummary| super::summary(&summary.client_certificate, CertificateRole::Client).unwrap().names;
    let first = issue(&issue_request(dir.path(), &["192.0.2.7", "fra.example.org"])).unwrap();
    let before = (names(&first), fs::read(&first.client_certificate).unwrap());
    let renewed = issue(&issue_request(dir.path(), &[])).unwrap();
    assert_eq!((renewed.carried_over, &renewed.addresses), (true, &first.addresses));
    assert_eq!(names(&renewed), before.0);
    assert_ne!(fs::read(&renewed.client_certificate).unwrap(), before.1);

    let moved = issue(&issue_request(dir.path(), &["192.0.2.8"])).unwrap();
    assert_eq!((moved.carried_over, moved.addresses), (false, vec!["192.0.2.8".to_owned()]));
    fs::write(&first.client_certificate, "nothing").unwrap();
    let refused = issue(&issue_request(dir.path(), &[])).unwrap_err().to_string();
    assert!(refused.contains("client.pem") && refused.contains("--address"), "{refused}");
    assert_eq!(fs::read(&first.client_certificate).unwrap(), b"nothing");
}

#[test]
fn a_key_without_the_right_to_read_it_is_not_to_be_made_again() {
    let denied = || std::io::ErrorKind::PermissionDenied.into();
    let errors = [
        CertsError::Read { path: "a".into(), source: denied() }.to_string(),
        MeshFileError::Read { path: "a".into(), source: denied() }.to_string(),
        crate::tls::TlsError::Read { path: "a".into(), source: denied() }.to_string(),
    ];
    assert!(errors.iter().all(|error| error.contains("chown") && !error.contains("certs i")), "{errors:?}");
}

#[test]
fn an_authority_with_the_wrong_key_signs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    init(request(dir.path())).unwrap();
    fs::copy(dir.path().join("client-ca.key"), dir.path().join("peer-ca.key")).unwrap();
    let refused = issue(&issue_request(dir.path(), &[])).unwrap_err();
    assert!(matches!(refused, CertsError::KeyMismatch { .. }), "{refused}");
}

#[test]
fn without_an_authority_the_remedy_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let no_mesh = issue(&issue_request(dir.path(), &[])).unwrap_err().to_string();
    assert!(no_mesh.contains("farwire certs init"), "{no_mesh}");
    init(request(dir.path())).unwrap();
    fs::remove_file(dir.path().join("peer-ca.key")).unwrap();
    let no_key = issue(&issue_request(dir.path(), &[])).unwrap_err().to_string();
    assert!(no_key.contains("peer-ca.key") && no_key.contains("authorities are kept"), "{no_key}");
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    use authority::{Authority, AuthorityKind, Leaf};
    let (mesh, node) = (MeshName::parse("demo").unwrap(), NodeName::parse("fra-1").unwrap());
    let now = std::time::SystemTime::now();
    let (authority, _) = Authority::create(AuthorityKind::Peer, &mesh, now).unwrap();
    let leaf = authority.sign(Leaf::Peer { mesh: &mesh, node: &node }, now, Duration::MAX).unwrap();
    let key = crate::tls::ReloadingKey::in_memory(&leaf).unwrap();
    let life = crate::tls::not_after(&key.current()).unwrap().duration_since(now).unwrap();
    assert!(life <= AUTHORITY_VALID_FOR && life + Duration::from_secs(2) > AUTHORITY_VALID_FOR);
    assert!(!authority.is_valid_at(now + AUTHORITY_VALID_FOR));
}
