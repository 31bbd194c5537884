//! The config that `up` writes for a node. Says only what the node cannot know; the rest are the node's own defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use farwire_transport::certs::Layout;
use farwire_wire::names::{NodeName, RegionName};
use serde::Serialize;

use super::directory::ISSUER;
use super::namespaces::Namespace;
use super::plan::Plan;

/// The config of the node with this index.
pub(super) fn text(plan: &Plan, index: usize, namespaces: &[Namespace]) -> String {
    let (node, certs) = (&plan.nodes[index], Layout::new(&plan.dir));
    let others = plan.nodes.iter().filter(|other| other.name != node.name);
    let (client_cert, peer_cert) = (certs.node_client(&node.name), certs.node_peer(&node.name));
    let config = NodeConfig {
        mesh: &certs.mesh_file(),
        name: &node.name,
        region: &node.region,
        data_dir: &node.dir.join("data"),
        client: Client { bind: node.ports.client },
        peer: Peer {
            bind: node.ports.peer_bind,
            advertise: node.ports.peer,
            seeds: others.map(|other| other.ports.peer).collect(),
        },
        admin: Admin { bind: node.ports.admin },
        tls: Tls {
            client_key: Layout::key_of(&client_cert),
            peer_key: Layout::key_of(&peer_cert),
            peer_ca: certs.peer_authority(),
            client_cert,
            peer_cert,
        },
        auth: Auth { issuers: [plan.dir.join(ISSUER)] },
        limits: Limits { handshakes_per_second_per_network_max: HANDSHAKES_PER_SECOND_MAX },
        namespace: namespaces.iter().map(Namespace::table).collect(),
    };
    let body = toml::to_string(&config).expect("names, numbers and paths that are text: `Directory` checks that");
    format!("# Written by `farwire up` at each start.\n\n{body}")
}

#[derive(Serialize)]
struct NodeConfig<'a> {
    mesh: &'a Path,
    name: &'a NodeName,
    region: &'a RegionName,
    data_dir: &'a Path,
    client: Client,
    peer: Peer,
    admin: Admin,
    tls: Tls,
    auth: Auth,
    limits: Limits,
    namespace: Vec<toml::Table>,
}

#[derive(Serialize)]
struct Client {
    bind: SocketAddr,
}

#[derive(Serialize)]
struct Peer {
    bind: SocketAddr,
    advertise: SocketAddr,
    seeds: Vec<SocketAddr>,
}

#[derive(Serialize)]
struct Admin {
    bind: SocketAddr,
}

#[derive(Serialize)]
struct Tls {
    client_cert: PathBuf,
    client_key: PathBuf,
    peer_cert: PathBuf,
    peer_key: PathBuf,
    peer_ca: PathBuf,
}

#[derive(Serialize)]
struct Auth {
    issuers: [PathBuf; 1],
}

#[derive(Serialize)]
struct Limits {
    handshakes_per_second_per_network_max: u32,
}

/// All clients and nodes of an `up` are on one machine: no network of them is to be kept from taking the others' share.
const HANDSHAKES_PER_SECOND_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::namespaces::with_defaults;
    use crate::up::plan::tests::plan;

    #[test]
    fn a_node_knows_its_ports_the_others_fronts_and_the_volatile_namespaces() {
        let (plan, ports) = plan("fra,iad", 1);
        let config: toml::Table = text(&plan, 1, &with_defaults(&[])).parse().expect("TOML");
        let peer = &config["peer"];
        assert_eq!(peer["bind"].as_str(), Some(ports.nodes[1].peer_bind.to_string().as_str()));
        assert_eq!(peer["advertise"].as_str(), Some(ports.nodes[1].peer.to_string().as_str()));
        assert_eq!(peer["seeds"].as_array().map(Vec::len), Some(1));
        assert_eq!(peer["seeds"][0].as_str(), Some(ports.nodes[0].peer.to_string().as_str()));
        assert_eq!(config["tls"]["client_key"].as_str(), Some("/mesh/nodes/iad-1/client.key"));
        assert_eq!(config["limits"]["handshakes_per_second_per_network_max"].as_integer(), Some(1_000));
        assert_eq!(config["namespace"][0]["log"].as_bool(), Some(false));
    }
}
