//! What the files of a config say, with a real mesh's files: each fault with its line, its cause and its remedy, and all of them at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use farwire_auth::IssuerKey;
use farwire_transport::certs::{self, InitRequest, IssueRequest, VALID_FOR_DEFAULT};
use farwire_transport::tls::{TimeProvider, UnixTime};
use farwire_wire::MeshName;
use tempfile::TempDir;

use super::*;

/// A directory with a mesh of fra-1, fra-2 and iad-1, and the config of fra-1 in it.
struct Mesh {
    dir: TempDir,
    text: String,
}

impl Mesh {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let node = |name| NodeName::parse(name).expect("a name");
        let region = |name| RegionName::parse(name).expect("a name");
        let regions = vec![(region("fra"), vec![node("fra-1"), node("fra-2")]), (region("iad"), vec![node("iad-1")])];
        let mesh = MeshName::parse("demo").expect("a name");
        certs::init(InitRequest { dir: dir.path().to_owned(), mesh, regions, shards: 16 }).expect("made");
        let issuer = IssuerKey::generate().expect("randomness");
        std::fs::write(dir.path().join("issuer.pub"), issuer.public().to_paserk()).expect("written");
        let mesh = Self { dir, text: LEAST.to_owned() };
        mesh.issue("fra-1", "fra-1.example.com");
        mesh
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Issues the certificates of a node and lays those of fra-1 where the config expects them.
    fn issue(&self, name: &str, address: &str) {
        let node = NodeName::parse(name).expect("a name");
        let (dir, addresses) = (self.dir.path().to_owned(), vec![address.to_owned()]);
        certs::issue(&IssueRequest { dir, node, addresses, valid_for: VALID_FOR_DEFAULT }).expect("issued");
        if name == "fra-1" {
            ["client.pem", "client.key", "peer.pem", "peer.key"]
                .iter()
                .for_each(|file| self.copy(&format!("nodes/fra-1/{file}"), file));
        }
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).expect("copied");
    }

    fn set(mut self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "{from}");
        self.text = self.text.replacen(from, to, 1);
        self
    }

    fn config(&self) -> Config {
        Config::parse(&self.text, &self.path("node.toml"), |_| None, &[]).expect("sound by itself")
    }

    /// Every fault without the path of the directory, a line each.
    fn faults(&self) -> Vec<String> {
        let faults = self.config().check_files().map_err(|faults| faults.to_string()).err().unwrap_or_default();
        faults.replace(&format!("{}/", self.dir.path().display()), "").lines().map(str::to_owned).collect()
    }

    fn at(&self, now: SystemTime) -> String {
        let faults = self.config().open_files(&Some(Arc::new(Fixed(now)))).expect_err("faults");
        faults.to_string()
    }
}

#[derive(Debug)]
struct Fixed(SystemTime);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

#[test]
fn the_files_of_one_mesh_are_sound() {
    let mesh = Mesh::new();
    assert_eq!(mesh.faults(), [""; 0]);
    let joins_later = mesh.set("name = \"fra-1\"", "name = \"fra-9\"");
    joins_later.issue("fra-9", "fra-1.example.com");
    ["client.pem", "client.key", "peer.pem", "peer.key"]
        .iter()
        .for_each(|file| joins_later.copy(&format!("nodes/fra-9/{file}"), file));
    assert_eq!(joins_later.faults(), [""; 0]);
}

#[test]
fn the_certificates_of_another_node_are_told_beside_its_key() {
    let mesh = Mesh::new();
    mesh.issue("iad-1", "fra-1.example.com");
    mesh.copy("nodes/iad-1/client.pem", "client.pem");
    mesh.copy("nodes/iad-1/peer.pem", "peer.pem");
    let copy = "copy what `farwire certs issue fra-1` made, or correct name";
    let pair = "copy both files of one `farwire certs issue`";
    assert_eq!(
        mesh.faults(),
        [
            format!(
                "node.toml:10: tls.client_cert: client.pem is the certificate of iad-1, and this node is fra-1; {copy}"
            ),
            format!("node.toml:11: tls.client_key: client.key is not the private key of client.pem; {pair}"),
            format!(
                "node.toml:12: tls.peer_cert: peer.pem is the certificate of iad-1, and this node is fra-1; {copy}"
            ),
            format!("node.toml:13: tls.peer_key: peer.key is not the private key of peer.pem; {pair}"),
        ]
    );
}

#[test]
fn another_mesh_is_told_by_the_file_that_comes_from_it() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let take = |file: &str| std::fs::copy(other.path(file), mesh.path(file)).expect("copied");
    take("peer-ca.pem");
    let authority = mesh.faults();
    assert_eq!(authority.len(), 1, "{authority:?}");
    assert!(
        authority[0].starts_with("node.toml:14: tls.peer_ca: peer-ca.pem is not the peer authority that mesh.toml")
    );
    take("mesh.toml");
    let certificate = mesh.faults();
    assert_eq!(certificate.len(), 1, "{certificate:?}");
    assert!(
        certificate[0]
            .starts_with("node.toml:12: tls.peer_cert: the peer authority of this mesh did not issue peer.pem")
    );
}

#[test]
fn a_region_must_be_the_mesh_files() {
    let unknown =
        Mesh::new().set("region = \"fra\"", "region = \"mars\"").set("name = \"fra-1\"", "name = \"fra-9\"").faults();
    let want = "node.toml:4: region: the mesh file knows no region mars; write one of fra, iad, or add its [[region]] to the mesh file";
    assert!(unknown.iter().any(|fault| fault == want), "{unknown:?}");
    let elsewhere = Mesh::new().set("region = \"fra\"", "region = \"iad\"").faults();
    let want = "node.toml:4: region: the mesh file has fra-1 in fra, not in iad; write region = \"fra\", or give this node another name and certificate";
    assert_eq!(elsewhere, [want]);
}

#[test]
fn dates_are_judged_by_the_clock_and_hide_nothing_else() {
    let mesh = Mesh::new();
    std::fs::write(mesh.path("issuer.pub"), "k4.public.no").expect("written");
    let late = mesh.at(SystemTime::now() + VALID_FOR_DEFAULT + Duration::from_secs(5));
    assert_eq!((late.matches("has expired").count(), late.lines().count()), (2, 3), "{late}");
    assert!(late.contains("node.toml:8: auth.issuers: "), "{late}");
    let early = mesh.at(SystemTime::now() - Duration::from_hours(2));
    assert_eq!((early.matches("is not valid yet").count(), early.lines().count()), (2, 3), "{early}");
}

#[test]
fn an_address_that_clients_would_refuse_is_told_with_those_that_are_covered() {
    let faults = Mesh::new().set("fra-1.example.com:7400", "fra-1.example.org:7400").faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("node.toml:6: client.advertise: clients are told to dial fra-1.example.org, but client.pem is good for localhost, 127.0.0.1, ::1, fra-1.example.com only"), "{faults:?}");
    assert!(faults[0].contains("`farwire certs issue fra-1 --address fra-1.example.org`"), "{faults:?}");
}

#[test]
fn what_is_missing_or_in_the_way_is_told_with_its_line() {
    let mesh = Mesh::new();
    for file in ["mesh.toml", "peer.key", "issuer.pub"] {
        std::fs::remove_file(mesh.path(file)).expect("removed");
    }
    std::fs::write(mesh.path("data"), "").expect("written");
    let faults = mesh.faults();
    let want = [
        "node.toml:2: mesh: ",
        "node.toml:5: data_dir: ",
        "node.toml:8: auth.issuers: ",
        "node.toml:13: tls.peer_key: ",
    ];
    assert_eq!(faults.len(), want.len(), "{faults:?}");
    assert!(faults.iter().zip(want).all(|(fault, want)| fault.starts_with(want)), "{faults:?}");
    assert!(faults[1].contains("is not a directory") && faults[3].contains("farwire certs issue"), "{faults:?}");
}

#[test]
fn a_data_directory_that_cannot_be_made_is_told() {
    // Nobody, not even root, makes files in the kernel's own.
    let faults = Mesh::new().set("data_dir = \"data\"", "data_dir = \"/proc/farwire/data\"").faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("node.toml:5: data_dir: \"/proc\" cannot be written to: "), "{faults:?}");
}
