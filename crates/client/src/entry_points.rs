//! Where a client may connect, and in which order it tries. Knows no network: the order is a function of the list, of
//! what is wished and, on a reconnect, of a shuffle that keeps a crowd of clients from going to one node.

use farwire_wire::client;
use farwire_wire::limits::MEMBERS_MAX;
use farwire_wire::{NodeName, RegionName};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::sync::watch;

/// A node's client port, and what is known of whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPoint {
    /// `host:port`; IPv6 addresses in brackets.
    pub address: String,
    /// The node, where it is known.
    pub node: Option<NodeName>,
    /// Its region, where it is known.
    pub region: Option<RegionName>,
}

impl From<&str> for EntryPoint {
    fn from(address: &str) -> Self {
        Self::from(address.to_owned())
    }
}

impl From<String> for EntryPoint {
    fn from(address: String) -> Self {
        Self { address, node: None, region: None }
    }
}

impl From<client::EntryPoint> for EntryPoint {
    fn from(entry: client::EntryPoint) -> Self {
        Self { address: entry.address, node: Some(entry.node), region: Some(entry.region) }
    }
}

/// Where a client would like to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) node: Option<NodeName>,
    pub(crate) region: Option<RegionName>,
    /// The node that was lost: the last of its region to be tried.
    pub(crate) not: Option<NodeName>,
    /// That node has asked its clients to go: the last of all to be tried.
    pub(crate) not_is_leaving: bool,
    /// Addresses to be tried before all others.
    pub(crate) rather: Vec<String>,
}

impl Wish {
    /// Whether the order says which node is better, or only time can.
    pub(crate) fn is_any(&self) -> bool {
        self.node.is_none() && self.region.is_none()
    }

    /// Whether an entry is where the client would like to be.
    pub(crate) fn wants(&self, entry: &EntryPoint) -> bool {
        self.rank(entry) < 3
    }

    /// The smaller, the better.
    fn order(&self, entry: &EntryPoint) -> (bool, bool, u8) {
        let is_leaving = self.not_is_leaving && self.not.is_some() && self.not == entry.node;
        (is_leaving, !self.rather.contains(&entry.address), self.rank(entry))
    }

    fn rank(&self, entry: &EntryPoint) -> u8 {
        let is = |wish: &Option<NodeName>| wish.is_some() && *wish == entry.node;
        let near = self.region.is_some() && self.region == entry.region;
        match (is(&self.not), near) {
            (false, _) if is(&self.node) => 0,
            (false, true) => 1,
            (true, true) => 2,
            (false, false) => 3,
            (true, false) => 4,
        }
    }
}

/// The list that the application gave, and the one that the nodes tell.
#[derive(Debug)]
pub(crate) struct EntryPoints {
    given: Vec<EntryPoint>,
    learned: watch::Sender<Vec<EntryPoint>>,
}

impl EntryPoints {
    pub(crate) fn new(given: Vec<EntryPoint>) -> Self {
        Self { given, learned: watch::Sender::new(Vec::new()) }
    }

    /// What the nodes tell, as it is at any time.
    pub(crate) fn told(&self) -> watch::Receiver<Vec<EntryPoint>> {
        self.learned.subscribe()
    }

    /// Replaces what the nodes told before. The list is bounded by the decoder.
    pub(crate) fn learn(&mut self, list: Vec<client::EntryPoint>) {
        self.learned.send_replace(list.into_iter().map(EntryPoint::from).collect());
    }

    /// Adds what a node tells, in front of what is known.
    pub(crate) fn learn_also(&mut self, list: Vec<client::EntryPoint>) {
        let mut told: Vec<_> = list.into_iter().map(EntryPoint::from).collect();
        self.learned.send_modify(|learned| {
            learned.retain(|known| !told.iter().any(|new| new.address == known.address));
            told.append(learned);
            told.truncate(MEMBERS_MAX);
            *learned = told;
        });
    }

    /// The region of a node, where the list tells.
    pub(crate) fn region_of(&self, node: &NodeName) -> Option<RegionName> {
        let learned = self.learned.borrow();
        let mut entries = learned.iter().chain(&self.given);
        entries.find(|entry| entry.node.as_ref() == Some(node)).and_then(|entry| entry.region.clone())
    }

    /// Every address once, the most wanted first; equals as listed, or shuffled.
    pub(crate) fn in_order(&self, wish: &Wish, shuffle: Option<&mut StdRng>) -> Vec<EntryPoint> {
        let learned = self.learned.borrow();
        let named = |given: &EntryPoint| {
            learned.iter().find(|learned| learned.address == given.address).unwrap_or(given).clone()
        };
        let mut entries: Vec<EntryPoint> = Vec::new();
        for entry in self.given.iter().map(named).chain(learned.iter().cloned()) {
            if !entries.iter().any(|known| known.address == entry.address) {
                entries.push(entry);
            }
        }
        if let Some(rng) = shuffle {
            entries.shuffle(rng);
        }
        entries.sort_by_key(|entry| wish.order(entry));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn node(name: &str, region: &str) -> client::EntryPoint {
        let address = format!("{name}:7400");
        let node = NodeName::parse(name).unwrap();
        client::EntryPoint { node, region: RegionName::parse(region).unwrap(), address }
    }

    fn mesh() -> EntryPoints {
        let mut entries = EntryPoints::new(vec!["iad-1:7400".into(), "elsewhere:1".into()]);
        entries.learn(vec![node("iad-1", "iad"), node("fra-1", "fra"), node("fra-2", "fra")]);
        entries
    }

    fn hosts(entries: Vec<EntryPoint>) -> Vec<String> {
        entries.into_iter().map(|entry| entry.address.split(':').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn without_a_wish_the_order_is_that_of_the_list_and_no_address_comes_twice() {
        assert_eq!(hosts(mesh().in_order(&Wish::default(), None)), ["iad-1", "elsewhere", "fra-1", "fra-2"]);
    }

    #[test]
    fn the_wished_node_comes_first_then_its_region_then_the_rest() {
        let (node, region) = (NodeName::parse("fra-2").ok(), RegionName::parse("fra").ok());
        let wish = Wish { node, region, ..Wish::default() };
        assert_eq!(hosts(mesh().in_order(&wish, None)), ["fra-2", "fra-1", "iad-1", "elsewhere"]);
    }

    #[test]
    fn a_lost_node_is_the_last_of_its_region_but_before_other_regions() {
        let (region, not) = (RegionName::parse("fra").ok(), NodeName::parse("fra-1").ok());
        let wish = Wish { region, not, ..Wish::default() };
        for seed in 0..8 {
            let order = hosts(mesh().in_order(&wish, Some(&mut StdRng::seed_from_u64(seed))));
            assert_eq!(order[..2], ["fra-2", "fra-1"]);
        }
    }

    #[test]
    fn a_node_that_leaves_is_the_last_of_all_and_those_that_it_names_come_first() {
        let (region, not) = (RegionName::parse("fra").ok(), NodeName::parse("fra-1").ok());
        let leaving = Wish { region, not, not_is_leaving: true, ..Wish::default() };
        let order = hosts(mesh().in_order(&leaving, None));
        assert_eq!(order, ["fra-2", "iad-1", "elsewhere", "fra-1"]);
        let named = Wish { rather: vec!["iad-1:7400".into()], ..leaving };
        assert_eq!(hosts(mesh().in_order(&named, None)), ["iad-1", "fra-2", "elsewhere", "fra-1"]);
    }

    #[test]
    fn names_that_the_nodes_tell_are_put_to_the_given_addresses() {
        let wish = Wish { region: RegionName::parse("iad").ok(), ..Wish::default() };
        assert_eq!(mesh().in_order(&wish, None)[0].node, NodeName::parse("iad-1").ok());
    }
}
