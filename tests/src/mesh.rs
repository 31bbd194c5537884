//! Meshes in the test's own process: real sockets on loopback, certificates and tokens of their own.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use farwire_auth::{Claims, IssuerKey, TokenId};
use farwire_client::{Client, ConnectOptions, EntryPoint};
use farwire_node::{Config, Node};
use farwire_transport::MeshFile;
use farwire_transport::certs::{self, InitRequest, IssueRequest};
use farwire_wire::{MeshName, NodeName, RegionName};
use tempfile::TempDir;

use crate::wait;

/// A mesh whose nodes run in this process.
pub struct TestMesh {
    dir: TempDir,
    issuer: IssuerKey,
    mesh: MeshFile,
    nodes: Vec<(NodeName, RegionName, Node)>,
}

impl TestMesh {
    /// Starts `(region, nodes)` and waits until everybody is linked with everybody and in everybody's ring. Nodes are
    /// called `fra-1`, `fra-2`, … Namespaces `live` and `demo` are volatile.
    ///
    /// # Panics
    /// When the mesh does not come up.
    pub async fn start(regions: &[(&str, usize)]) -> Self {
        let mut mesh = Self::prepare(regions);
        let names: Vec<NodeName> = mesh.mesh.regions.iter().flat_map(|region| region.nodes.clone()).collect();
        for name in names {
            mesh.start_node(&name).await;
        }
        mesh.settled().await;
        mesh
    }

    /// Makes the files of a mesh and starts nothing.
    ///
    /// # Panics
    /// When the files cannot be made.
    #[must_use]
    pub fn prepare(regions: &[(&str, usize)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let region = |(region, count): &(&str, usize)| {
            let nodes = (1..=*count).map(|n| NodeName::parse(&format!("{region}-{n}")).unwrap());
            (RegionName::parse(region).unwrap(), nodes.collect())
        };
        let regions = regions.iter().map(region).collect();
        let mesh = MeshName::parse("test").unwrap();
        let summary = certs::init(InitRequest { dir: dir.path().to_owned(), mesh, regions, shards: 16 }).unwrap();
        let issuer = IssuerKey::generate().unwrap();
        std::fs::write(dir.path().join("issuer.pub"), issuer.public().to_paserk()).unwrap();
        Self { dir, issuer, mesh: summary.mesh, nodes: Vec::new() }
    }

    /// Starts one node, with the first node that runs as its seed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_node(&mut self, name: &NodeName) {
        self.start_node_with(name, "").await;
    }

    /// Starts one node as [`start_node`](Self::start_node) does, with `more` lines at the end of its config.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_node_with(&mut self, name: &NodeName, more: &str) {
        let seed = self.nodes.first().map(|(_, _, node)| node.addresses().peer.to_string());
        let config = self.config(name, seed.as_deref(), more);
        let region = config.region.clone();
        let node = Node::start(config).await.unwrap();
        self.nodes.push((name.clone(), region, node));
    }

    /// A node's config, with `more` lines at its end.
    ///
    /// # Panics
    /// When it has faults.
    #[must_use]
    pub fn config(&self, name: &NodeName, seed: Option<&str>, more: &str) -> Config {
        let region = self.mesh.region_of(name).expect("the mesh file names the node").clone();
        self.issue(name);
        let seeds = seed.map(|seed| format!("{seed:?}")).unwrap_or_default();
        let text = format!(
            r#"
mesh = "mesh.toml"
name = "{name}"
region = "{region}"
data_dir = "data/{name}"
client.bind = "127.0.0.1:0"
peer.bind = "127.0.0.1:0"
peer.seeds = [{seeds}]
admin.bind = "127.0.0.1:0"
auth.issuers = ["issuer.pub"]
[tls]
client_cert = "nodes/{name}/client.pem"
client_key = "nodes/{name}/client.key"
peer_cert = "nodes/{name}/peer.pem"
peer_key = "nodes/{name}/peer.key"
peer_ca = "peer-ca.pem"
[[namespace]]
prefix = "live"
log = false
[[namespace]]
prefix = "demo"
log = false
{more}
"#
        );
        Config::parse(&text, &self.path().join("node.toml"), |_| None, &[]).unwrap()
    }

    /// Issues a node's certificates, in the place of those that it has.
    ///
    /// # Panics
    /// When they cannot be issued.
    pub fn issue(&self, name: &NodeName) {
        let valid_for = Duration::from_secs(3_600);
        let request = IssueRequest { dir: self.path(), node: name.clone(), addresses: Vec::new(), valid_for };
        certs::issue(&request).unwrap();
    }

    /// Waits until every node reaches every other one and has it in its ring.
    ///
    /// # Panics
    /// When that does not happen within a minute.
    pub async fn settled(&self) {
        let admins: Vec<_> = self.nodes.iter().map(|(_, _, node)| node.addresses().admin).collect();
        wait::until_all_see_all(&admins).await;
    }

    /// The mesh's files.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// A running node.
    ///
    /// # Panics
    /// When no node of this name runs.
    #[must_use]
    pub fn node(&self, name: &str) -> &Node {
        let found = self.nodes.iter().find(|(node, _, _)| node.as_str() == name);
        &found.unwrap_or_else(|| panic!("no node {name} runs")).2
    }

    /// Takes a node out, so that the test can stop it.
    ///
    /// # Panics
    /// When no node of this name runs.
    pub fn take(&mut self, name: &str) -> Node {
        let at = self.nodes.iter().position(|(node, _, _)| node.as_str() == name).expect("the node runs");
        self.nodes.remove(at).2
    }

    /// A token with these grants, for a client of this name.
    ///
    /// # Panics
    /// When a grant is not one.
    #[must_use]
    pub fn token(&self, client_id: &str, grants: &[&str]) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let claims = Claims {
            audience: self.mesh.id,
            client_id: client_id.parse().unwrap(),
            token_id: TokenId(rand::random()),
            issued_at_seconds: now,
            not_before_seconds: None,
            expires_at_seconds: now + 3_600,
            grants: grants.iter().map(|grant| grant.parse().unwrap()).collect(),
        };
        self.issuer.mint(&claims).unwrap().as_str().to_owned()
    }

    /// What a client needs to connect to one node, and to nobody else at first.
    pub fn options(&self, node: &str, token: String) -> ConnectOptions {
        let address = self.node(node).addresses().client.clone();
        ConnectOptions::new([EntryPoint::from(address.as_str())]).ca_file(self.client_ca()).token(token)
    }

    /// A client of one node that may do everything.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn client(&self, node: &str) -> Client {
        let token = self.token("tester", &[">:publish,subscribe,presence,history,manage"]);
        Client::connect(self.options(node, token)).await.unwrap()
    }

    /// The mesh's file.
    #[must_use]
    pub fn file(&self) -> &MeshFile {
        &self.mesh
    }

    /// The authority that clients trust.
    #[must_use]
    pub fn client_ca(&self) -> PathBuf {
        Path::new(&self.path()).join("client-ca.pem")
    }
}
