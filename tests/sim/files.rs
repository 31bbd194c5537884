//! The files of the simulated mesh, made once for all runs of a process: certificates, the mesh file, the issuer.
//!
//! Invariants: what decides how a run goes is fixed, and what is drawn anew in every process is of one size. Keys are
//! Ed25519 for that reason, and the hash key is a constant.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use farwire_auth::{Claims, IssuerKey, TokenId};
use farwire_node::Config;
use farwire_sim::faults::Host;
use farwire_transport::MeshFile;
use farwire_transport::certs::authority::{Authority, AuthorityKind, KeyPem, Leaf};
use farwire_transport::mesh_file::{RegionSpec, mesh_id};
use farwire_wire::{MeshName, NodeName, RegionName};
use tempfile::TempDir;

/// The regions and how many nodes each has. A region's number is its place in this list, from 1.
pub(crate) const REGIONS: [(&str, u8); 3] = [("fra", 2), ("iad", 2), ("sin", 1)];
/// The wall clock at the start of a run, in seconds since the Unix epoch.
pub(crate) const BEGINNING_S: u64 = 1_800_000_000;
pub(crate) const CLIENT_PORT: u16 = 7_400;
pub(crate) const PEER_PORT: u16 = 7_440;

/// What is on the disks of the simulated machines.
pub(crate) struct Files {
    dir: TempDir,
    token: String,
    issuer: IssuerKey,
    mesh: MeshFile,
}

/// The files, made by the first who asks.
pub(crate) fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(Files::make)
}

/// The hosts of all nodes: `fra-1`, `fra-2`, `iad-1`, …
pub(crate) fn node_hosts() -> Vec<Host> {
    let of_region = |(number, (region, nodes)): (u8, (&'static str, u8))| {
        (1..=nodes).map(move |n| Host {
            name: format!("{region}-{n}"),
            region: region.to_owned(),
            address: [10, number, 0, n].into(),
        })
    };
    (1..).zip(REGIONS).flat_map(of_region).collect()
}

impl Files {
    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (name, now) = (MeshName::parse("sim").unwrap(), SystemTime::now());
        let (peer, peer_pem) = Authority::create_ed25519(AuthorityKind::Peer, &name, now).unwrap();
        let (client, client_pem) = Authority::create_ed25519(AuthorityKind::Client, &name, now).unwrap();
        let id = mesh_id(&name, peer.certificate());
        let mesh = MeshFile { name, id, hash_key: *b"the same always.", shards: 16, regions: regions() };
        mesh.save(&dir.path().join("mesh.toml")).unwrap();
        std::fs::write(dir.path().join("peer-ca.pem"), peer_pem.certificate).unwrap();
        std::fs::write(dir.path().join("client-ca.pem"), client_pem.certificate).unwrap();
        for host in node_hosts() {
            let node = NodeName::parse(&host.name).unwrap();
            let valid_for = Duration::from_secs(30 * 24 * 3_600);
            let leaf = Leaf::Peer { mesh: &mesh.name, node: &node };
            write_pair(dir.path(), &format!("{node}-peer"), &peer.sign(leaf, now, valid_for).unwrap());
            let addresses = [host.address.to_string()];
            let leaf = Leaf::Client { node: &node, addresses: &addresses };
            write_pair(dir.path(), &format!("{node}-client"), &client.sign(leaf, now, valid_for).unwrap());
        }
        let issuer = IssuerKey::generate().unwrap();
        std::fs::write(dir.path().join("issuer.pub"), issuer.public().to_paserk()).unwrap();
        let token = token(&issuer, &mesh, "sim");
        Self { dir, token, issuer, mesh }
    }

    /// A token that allows everything, for as long as any run takes.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The same for a client with an id of its own.
    pub(crate) fn token_of(&self, client: &str) -> String {
        token(&self.issuer, &self.mesh, client)
    }

    /// The authority that clients trust.
    pub(crate) fn client_ca(&self) -> PathBuf {
        self.dir.path().join("client-ca.pem")
    }

    /// The config of the node on `host`. Its seeds are the first nodes of all regions.
    pub(crate) fn config(&self, host: &Host) -> Config {
        let (name, region, address) = (&host.name, &host.region, host.address);
        let firsts = node_hosts().into_iter().filter(|other| other.name.ends_with("-1") && other.name != *name);
        let seeds: Vec<_> = firsts.map(|first| format!("\"{}:{PEER_PORT}\"", first.address)).collect();
        let text = format!(
            r#"
mesh = "mesh.toml"
name = "{name}"
region = "{region}"
data_dir = "data/{name}"
client.bind = "{address}:{CLIENT_PORT}"
peer.bind = "{address}:{PEER_PORT}"
peer.seeds = [{seeds}]
auth.issuers = ["issuer.pub"]
[tls]
client_cert = "{name}-client.pem"
client_key = "{name}-client.key"
peer_cert = "{name}-peer.pem"
peer_key = "{name}-peer.key"
peer_ca = "peer-ca.pem"
[[namespace]]
prefix = "live"
log = false
"#,
            seeds = seeds.join(", ")
        );
        Config::parse(&text, &self.dir.path().join("node.toml"), |_| None, &[]).unwrap()
    }
}

fn regions() -> Vec<RegionSpec> {
    let hosts = node_hosts();
    let region = |(region, _): (&str, u8)| RegionSpec {
        name: RegionName::parse(region).unwrap(),
        nodes: hosts.iter().filter(|h| h.region == region).map(|h| NodeName::parse(&h.name).unwrap()).collect(),
        witness: None,
    };
    REGIONS.map(region).into()
}

fn write_pair(dir: &Path, stem: &str, pair: &KeyPem) {
    std::fs::write(dir.join(format!("{stem}.pem")), &pair.certificate).unwrap();
    std::fs::write(dir.join(format!("{stem}.key")), &pair.key).unwrap();
}

fn token(issuer: &IssuerKey, mesh: &MeshFile, client: &str) -> String {
    let claims = Claims {
        audience: mesh.id,
        client_id: client.parse().unwrap(),
        token_id: TokenId(1),
        issued_at_seconds: BEGINNING_S,
        not_before_seconds: None,
        expires_at_seconds: BEGINNING_S + 24 * 3_600,
        grants: vec![">:publish,subscribe,presence,history,manage".parse().unwrap()],
    };
    issuer.mint(&claims).unwrap().as_str().to_owned()
}
