//! The mesh under load: three regions of one node each, real processes behind the WAN of `farwire up`, whose limits let a crowd
//! in from one machine and whose tokens name each of it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use farwire_auth::{Claims, IssuerKey, TokenId};
use farwire_client::{Client, ConnectOptions};
use farwire_tests::up::{NodePlace, ProcessMesh};
use farwire_transport::MeshFile;
use farwire_wire::MeshId;

/// The channel that everybody is on.
pub(crate) const CHANNEL: &str = "live.hall";
/// Where its nodes are.
pub(crate) const REGIONS: [&str; 3] = ["fra", "iad", "sin"];

/// A running mesh that lets a crowd in.
pub(crate) struct Hall {
    pub(crate) mesh: ProcessMesh,
    /// One in each region.
    pub(crate) nodes: Vec<NodePlace>,
    issuer: IssuerKey,
    audience: MeshId,
}

impl Hall {
    /// Starts the mesh, with room for so many sessions on each node.
    pub(crate) async fn start(program: &Path, sessions: usize) -> Self {
        let mesh = ProcessMesh::start_with(program, &format!("--regions {}", REGIONS.join(",")));
        let issuer = IssuerKey::generate().expect("the system has randomness");
        let dir = mesh.dir.path();
        std::fs::write(dir.join("crowd.pub"), issuer.public().to_paserk()).expect("our directory");
        for node in mesh.nodes() {
            make_room(&dir.join("nodes").join(&node.name).join("node.toml"), dir, sessions);
            mesh.ctl(&format!("restart {node}")).await;
        }
        mesh.settled().await;
        let audience = MeshFile::load(&dir.join("mesh.toml")).expect("the mesh's own file").id;
        let nodes = mesh.nodes();
        Self { mesh, nodes, issuer, audience }
    }

    /// How to connect to a node as a client of this name.
    pub(crate) fn options(&self, node: usize, client: &str) -> ConnectOptions {
        let place = &self.nodes[node];
        let name = place.name.parse().expect("a node's name");
        self.mesh.options(&place.region).node(name).token(self.token(client))
    }

    /// A client of this name at a node.
    pub(crate) async fn client(&self, node: usize, client: &str) -> Client {
        Client::connect(self.options(node, client)).await.expect("connected")
    }

    fn token(&self, client: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let claims = Claims {
            audience: self.audience,
            client_id: client.parse().expect("a client id"),
            token_id: TokenId(rand::random()),
            issued_at_seconds: now,
            not_before_seconds: None,
            expires_at_seconds: now + VALID_FOR.as_secs(),
            grants: vec!["live.>:subscribe,presence".parse().expect("a grant")],
        };
        self.issuer.mint(&claims).expect("sound claims").as_str().to_owned()
    }
}

/// Raises the limits that a crowd on one machine meets, and makes the node believe our tokens.
fn make_room(config: &Path, dir: &Path, sessions: usize) {
    let text = std::fs::read_to_string(config).expect("up wrote it");
    let limits = format!(
        "[limits]\nsessions_max = {sessions}\nsessions_per_address_max = {sessions}\nhandshakes_per_second_max = 1000\n"
    );
    let issuers = format!("issuers = [\"{}\", ", dir.join("crowd.pub").display());
    let changed = text.replacen("[limits]\n", &limits, 1).replacen("issuers = [", &issuers, 1);
    assert!(changed.contains(&limits) && changed.contains(&issuers), "the config of `farwire up` is not as it was");
    std::fs::write(config, changed).expect("our directory");
}

const VALID_FOR: Duration = Duration::from_secs(6 * 3_600);
