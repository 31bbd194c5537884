//! What the mesh will be: its nodes with their ports and places on disk, and `mesh.json`, by which everything else finds them.
//!
//! Touches no file and starts nothing. Invariants: node names are the region's name, a dash and a number from 1; no name stands
//! for both a region and a node. Made by `run`, read by all other parts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use farwire_wire::names::{MeshName, NodeName, RegionName};
use serde::Serialize;

use super::delays::{self, Delays, WanChoice};
use super::ports::{NodePorts, Ports};
use crate::exit::Failure;

/// A whole mesh.
#[derive(Debug)]
pub(super) struct Plan {
    /// Where everything is, absolute.
    pub(super) dir: PathBuf,
    pub(super) mesh: MeshName,
    /// In the order of `--regions`.
    pub(super) regions: Vec<RegionName>,
    /// Region by region; the index is the node's number for the WAN and everywhere in `up`.
    pub(super) nodes: Vec<NodePlan>,
    pub(super) delays: Delays,
    control: SocketAddr,
}

/// One node of it.
#[derive(Debug)]
pub(super) struct NodePlan {
    pub(super) name: NodeName,
    pub(super) region: RegionName,
    pub(super) ports: NodePorts,
    /// Config, log, data and certificates.
    pub(super) dir: PathBuf,
}

/// The names of a mesh, before it has ports.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) regions: Vec<RegionName>,
    pub(super) nodes: Vec<(RegionName, NodeName)>,
}

impl Names {
    /// Names `per_region` nodes in each of `regions`.
    ///
    /// # Errors
    /// Wrong use when a name would be there twice or be too long, or when there are too many nodes.
    pub(super) fn of(regions: &[RegionName], per_region: u16) -> Result<Self, Failure> {
        let mut named = Self { regions: Vec::new(), nodes: Vec::new() };
        for region in regions {
            if named.regions.contains(region) {
                return Err(Failure::usage(format!("--regions: {region} is there twice; name each region once")));
            }
            named.regions.push(region.clone());
            for number in 1..=per_region {
                let node = NodeName::parse(&format!("{region}-{number}"));
                let node = node.map_err(|err| {
                    Failure::usage(format!("--regions: a node of {region}: {err}; use a shorter name"))
                })?;
                named.nodes.push((region.clone(), node));
            }
        }
        named.check()?;
        Ok(named)
    }

    fn check(&self) -> Result<(), Failure> {
        let is_region = |node: &NodeName| self.regions.iter().any(|region| region.as_str() == node.as_str());
        if let Some((region, node)) = self.nodes.iter().find(|(_, node)| is_region(node)) {
            return Err(Failure::usage(format!(
                "--regions: {node} would also be a node of {region}; name one of them otherwise"
            )));
        }
        match self.nodes.len() {
            count if count > NODES_MAX => Err(Failure::usage(format!(
                "{count} nodes are too many for one machine; take up to {NODES_MAX}: fewer --regions or --nodes-per-region"
            ))),
            _ => Ok(()),
        }
    }
}

impl Plan {
    /// Gives the nodes of `names` their ports and places in `dir`, which is absolute.
    ///
    /// # Errors
    /// When the WAN's file has faults.
    pub(super) fn new(dir: &Path, names: &Names, ports: &Ports, wan: &WanChoice) -> Result<Self, Failure> {
        let node = |((region, name), ports): (&(RegionName, NodeName), &NodePorts)| NodePlan {
            name: name.clone(),
            region: region.clone(),
            ports: *ports,
            dir: dir.join("nodes").join(name.as_str()),
        };
        Ok(Self {
            dir: dir.to_owned(),
            mesh: MeshName::parse(MESH_NAME).expect("a sound name"),
            regions: names.regions.clone(),
            nodes: names.nodes.iter().zip(&ports.nodes).map(node).collect(),
            delays: delays::between(&names.regions, wan)?,
            control: ports.control.local_addr().map_err(|err| Failure::failed(format!("the control port: {err}")))?,
        })
    }

    /// The nodes that `place` means, a region or a node.
    pub(super) fn nodes_at(&self, place: &str) -> Vec<usize> {
        let here = |node: &NodePlan| node.region.as_str() == place || node.name.as_str() == place;
        self.indexes(here).collect()
    }

    /// The nodes of a region.
    pub(super) fn nodes_of(&self, region: &RegionName) -> impl Iterator<Item = usize> {
        self.indexes(move |node| node.region == *region)
    }

    fn indexes(&self, wanted: impl Fn(&NodePlan) -> bool) -> impl Iterator<Item = usize> {
        self.nodes.iter().enumerate().filter(move |(_, node)| wanted(node)).map(|(index, _)| index)
    }

    /// Everything that clients and scripts need, as `mesh.json` says it. `pids` are the nodes' processes.
    pub(super) fn mesh_json(&self, pids: &[u32]) -> String {
        let mut regions = BTreeMap::<_, Vec<_>>::new();
        for (node, pid) in self.nodes.iter().zip(pids) {
            regions.entry(&node.region).or_default().push(node.json(*pid));
        }
        let json = MeshJson {
            mesh: &self.mesh,
            ca: &self.client_authority(),
            token: &self.token(),
            pid: std::process::id(),
            regions,
            wan_one_way_ms: &self.delays,
            control: format!("http://{}", self.control),
        };
        serde_json::to_string(&json).expect("names, numbers and paths that are text: `Directory` checks that")
    }

    pub(super) fn mesh_json_file(&self) -> PathBuf {
        self.dir.join("mesh.json")
    }

    pub(super) fn client_authority(&self) -> PathBuf {
        farwire_transport::certs::Layout::new(&self.dir).client_authority()
    }

    pub(super) fn token(&self) -> PathBuf {
        self.dir.join("token")
    }
}

impl NodePlan {
    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("node.toml")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// `path` of the admin endpoint.
    pub(super) fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.ports.admin)
    }

    fn json(&self, pid: u32) -> NodeJson<'_> {
        NodeJson {
            name: &self.name,
            client: self.ports.client,
            peer: self.ports.peer,
            admin: self.admin(""),
            pid,
            dir: &self.dir,
        }
    }
}

#[derive(Serialize)]
struct MeshJson<'a> {
    mesh: &'a MeshName,
    ca: &'a Path,
    token: &'a Path,
    pid: u32,
    regions: BTreeMap<&'a RegionName, Vec<NodeJson<'a>>>,
    wan_one_way_ms: &'a Delays,
    control: String,
}

#[derive(Serialize)]
struct NodeJson<'a> {
    name: &'a NodeName,
    client: SocketAddr,
    peer: SocketAddr,
    admin: String,
    pid: u32,
    dir: &'a Path,
}

const MESH_NAME: &str = "local";
const NODES_MAX: usize = 64;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::up) fn regions(names: &str) -> Vec<RegionName> {
        names.split(',').map(|name| RegionName::parse(name).expect("a region")).collect()
    }

    /// A plan with free ports that lie in a directory that is not made.
    pub(in crate::up) fn plan(names: &str, per_region: u16) -> (Plan, Ports) {
        let names = Names::of(&regions(names), per_region).expect("sound names");
        let ports = Ports::reserve(names.nodes.len().try_into().expect("few"), None).expect("free ports");
        let plan = Plan::new(Path::new("/mesh"), &names, &ports, &WanChoice::Real).expect("a plan");
        (plan, ports)
    }

    #[test]
    fn a_place_is_a_region_or_a_node() {
        let (plan, _ports) = plan("fra,iad", 2);
        assert_eq!(plan.nodes_at("iad"), [2, 3]);
        assert_eq!(plan.nodes_at("fra-2"), [1]);
        assert!(plan.nodes_at("sin").is_empty());
    }

    #[test]
    fn names_that_would_be_ambiguous_are_refused() {
        let refused = |names, per_region| Names::of(&regions(names), per_region).expect_err("refused").message;
        assert!(refused("fra,fra", 1).contains("twice"));
        assert!(refused("fra,fra-1", 1).contains("node of fra"));
        assert!(refused("fra,iad", 33).contains("66 nodes"));
        assert!(refused("a23456789-123456789-123456789-12", 1).contains("shorter"));
    }

    #[test]
    fn mesh_json_has_the_fields_of_the_contract() {
        let (plan, ports) = plan("fra,iad,sin", 1);
        let text = plan.mesh_json(&[2, 3, 4]);
        assert!(!text.contains('\n'));
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let port = |address: SocketAddr| format!("127.0.0.1:{}", address.port());
        let node = ports.nodes[2];
        assert_eq!(json["ca"], "/mesh/client-ca.pem");
        assert_eq!(json["token"], "/mesh/token");
        assert_eq!(json["pid"], std::process::id());
        assert_eq!(json["wan_one_way_ms"].to_string(), r#"{"fra-iad":44,"fra-sin":80,"iad-sin":110}"#);
        assert_eq!(json["control"], format!("http://{}", ports.control.local_addr().expect("bound")));
        let want = serde_json::json!([{
            "name": "sin-1", "client": port(node.client), "peer": port(node.peer),
            "admin": format!("http://{}", node.admin), "pid": 4, "dir": "/mesh/nodes/sin-1",
        }]);
        assert_eq!(json["regions"]["sin"], want);
    }
}
