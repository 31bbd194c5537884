//! What the nodes and the links between them have used up so far.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use farwire_tests::process::{cpu_time, resident_kib};
use farwire_tests::{http, up::NodePlace};

use crate::mesh::Hall;

/// The meters at one time.
pub(crate) struct Meters {
    at: Instant,
    /// By node.
    cpu: Vec<Duration>,
    /// Both directions together, by link.
    link_bytes: BTreeMap<String, u64>,
}

impl Meters {
    /// Reads all meters.
    pub(crate) async fn read(hall: &Hall) -> Self {
        let mut link_bytes = BTreeMap::new();
        for node in &hall.nodes {
            link_bytes.extend(bytes_of_links(node).await);
        }
        let cpu = hall.nodes.iter().map(|node| cpu_time(node.pid)).collect();
        Self { at: Instant::now(), cpu, link_bytes }
    }

    /// Bytes per second on each link, since an earlier reading.
    pub(crate) fn link_rates(&self, since: &Self) -> BTreeMap<String, f64> {
        let seconds = (self.at - since.at).as_secs_f64();
        let rate = |(link, bytes): (&String, &u64)| {
            let before = since.link_bytes.get(link).copied().unwrap_or(0);
            (link.clone(), (*bytes as f64 - before as f64) / seconds)
        };
        self.link_bytes.iter().map(rate).collect()
    }

    /// Cores in use by each node, since an earlier reading.
    pub(crate) fn cores(&self, since: &Self) -> Vec<f64> {
        let seconds = (self.at - since.at).as_secs_f64();
        self.cpu.iter().zip(&since.cpu).map(|(after, before)| (*after - *before).as_secs_f64() / seconds).collect()
    }
}

/// Resident memory of each node.
pub(crate) fn memory_kib(hall: &Hall) -> Vec<u64> {
    hall.nodes.iter().map(|node| resident_kib(node.pid)).collect()
}

/// The links of which this node is the first by name.
async fn bytes_of_links(node: &NodePlace) -> Vec<(String, u64)> {
    let answer = http::get_json(node.admin, "/v1/links").await;
    let links = answer["links"].as_array().expect("a list").iter().filter(|link| link["from"] == node.name.as_str());
    let named = links.filter_map(|link| {
        let to = link["to"].as_str().filter(|to| *to > node.name.as_str())?;
        let bytes = link["sent_bytes"].as_u64().expect("a count") + link["received_bytes"].as_u64().expect("a count");
        Some((format!("{node} – {to}"), bytes))
    });
    named.collect()
}
