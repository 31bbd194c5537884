//! A node that can die without a word under its clients.

use farwire_client::{ConnectOptions, NodeName};
use farwire_node::Node;
use farwire_tests::mesh::TestMesh;
use farwire_tests::wait;
use tokio::runtime::{Builder, Runtime};

/// A node on threads of its own, so that it can die: nothing of it is ever heard again.
pub(crate) struct Mortal {
    pub(crate) node: Node,
    runtime: Runtime,
}

impl Mortal {
    pub(crate) async fn start(mesh: &TestMesh, name: &str, seed: &Node) -> Self {
        let config = mesh.config(&NodeName::parse(name).unwrap(), Some(&seed.addresses().peer.to_string()), "");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let node = runtime.spawn(Node::start(config)).await.unwrap().unwrap();
        Self { node, runtime }
    }

    pub(crate) fn options(&self, mesh: &TestMesh, token: String) -> ConnectOptions {
        ConnectOptions::new([self.node.addresses().client.as_str()]).ca_file(mesh.client_ca()).token(token)
    }

    pub(crate) fn die(self) {
        self.runtime.shutdown_background();
    }
}

pub(crate) async fn until_all_in_the_ring(nodes: &[&Node]) {
    let admins: Vec<_> = nodes.iter().map(|node| node.addresses().admin).collect();
    wait::until_all_see_all(&admins).await;
}
