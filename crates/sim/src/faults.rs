//! What goes wrong, and when: each fault as a value that says what it does to a link, and schedules of them drawn from a
//! seed. Pure: who runs the world crashes the nodes and sets the weather.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::net::Weather;

/// A machine of the world: a node's or a client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The region it stands in.
    pub region: String,
    /// Its address.
    pub address: IpAddr,
}

/// Something that goes wrong. Names are those of hosts and regions.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The node is gone without a word, and comes back with nothing in memory.
    Crash(String),
    /// The node leaves in good order, and comes back later.
    Leave(String),
    /// Nothing passes between two hosts.
    Cut(String, String),
    /// Nothing passes from the first host to the second; the way back is open.
    OneWay(String, String),
    /// The host hears nobody and nobody hears it.
    Alone(String),
    /// Nobody hears the host; it hears everybody.
    Mute(String),
    /// The region is cut from the others.
    Split(String),
    /// What passes between the region and the others suffers this.
    Storm(String, Weather),
}

impl Fault {
    /// What the fault does to packets from one host to another.
    #[must_use]
    pub fn weather(&self, from: &Host, to: &Host) -> Weather {
        let pair = |a: &str, b: &str| from.name == a && to.name == b;
        let leaves = |region: &str| (from.region == region) != (to.region == region);
        let cut = match self {
            Self::Crash(_) | Self::Leave(_) => false,
            Self::Cut(a, b) => pair(a, b) || pair(b, a),
            Self::OneWay(a, b) => pair(a, b),
            Self::Alone(host) => from.name == *host || to.name == *host,
            Self::Mute(host) => from.name == *host,
            Self::Split(region) => leaves(region),
            Self::Storm(region, weather) if leaves(region) => return *weather,
            Self::Storm(..) => false,
        };
        Weather { cut, ..Weather::default() }
    }
}

impl Fault {
    /// Whether the mesh must find a way around the fault while it lasts, if nothing else is wrong: everybody hears
    /// everybody, if need be over another node.
    #[must_use]
    pub fn has_a_way_around(&self, nodes: &[Host]) -> bool {
        let is_node = |name: &String| nodes.iter().any(|node| node.name == *name);
        match self {
            Self::Crash(_) | Self::Leave(_) => true,
            Self::Cut(a, b) | Self::OneWay(a, b) => is_node(a) && is_node(b),
            Self::Alone(host) | Self::Mute(host) => is_node(host),
            Self::Split(_) | Self::Storm(..) => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(node) => write!(f, "{node} crashes"),
            Self::Leave(node) => write!(f, "{node} leaves"),
            Self::Cut(a, b) => write!(f, "{a} and {b} are cut"),
            Self::OneWay(a, b) => write!(f, "{a} is not heard by {b}"),
            Self::Alone(host) => write!(f, "{host} is alone"),
            Self::Mute(host) => write!(f, "{host} is mute"),
            Self::Split(region) => write!(f, "{region} is split off"),
            Self::Storm(region, weather) => write!(
                f,
                "storm around {region}: {:.0} % lost, {:.0} % doubled, {} ms slower, shuffled over {} ms",
                weather.loss * 100.0,
                weather.doubled * 100.0,
                weather.slower.as_millis(),
                weather.shuffled.as_millis()
            ),
        }
    }
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// When it is over.
    pub until: Duration,
    /// What it is.
    pub fault: Fault,
}

/// Draws `count` faults from `seed` that begin and end within a time of the run, in milliseconds, in the order of their
/// beginning. They come as they like, several at once.
///
/// # Panics
/// Without nodes or without time.
#[must_use]
pub fn draw_many(seed: u64, count: u64, nodes: &[Host], clients: &[Host], within_ms: Range<u64>) -> Vec<Planned> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut draw = || {
        let at = rng.random_range(within_ms.clone());
        let until = (at + rng.random_range(LASTS_MS)).min(within_ms.end);
        let fault = draw_fault(&mut rng, nodes, clients);
        Planned { at: Duration::from_millis(at), until: Duration::from_millis(until), fault }
    };
    let mut plan: Vec<Planned> = (0..count).map(|_| draw()).collect();
    plan.sort_by_key(|planned| planned.at);
    plan
}

/// Draws a fault that the mesh must find a way around.
///
/// # Panics
/// Without nodes.
#[must_use]
pub fn draw_one(seed: u64, nodes: &[Host]) -> Fault {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        let fault = draw_fault(&mut rng, nodes, &[]);
        if fault.has_a_way_around(nodes) {
            return fault;
        }
    }
}

fn draw_fault(rng: &mut StdRng, nodes: &[Host], clients: &[Host]) -> Fault {
    let node = one_of(rng, nodes);
    let others: Vec<Host> = nodes.iter().filter(|other| other.name != node.name).cloned().collect();
    let other = if others.is_empty() { node.clone() } else { one_of(rng, &others) };
    match rng.random_range(0..11) {
        0..3 => Fault::Crash(node.name),
        3 => Fault::Leave(node.name),
        4 => Fault::Cut(node.name, other.name),
        5 => Fault::OneWay(node.name, other.name),
        6 => Fault::Alone(node.name),
        7 => Fault::Mute(node.name),
        8 => Fault::Split(node.region),
        9 => Fault::Storm(node.region, storm(rng)),
        _ if clients.is_empty() => Fault::Crash(node.name),
        _ => Fault::Alone(one_of(rng, clients).name),
    }
}

fn one_of(rng: &mut StdRng, hosts: &[Host]) -> Host {
    hosts.choose(rng).expect("the world has hosts").clone()
}

fn storm(rng: &mut StdRng) -> Weather {
    Weather {
        cut: false,
        loss: rng.random_range(0.0..0.2),
        doubled: rng.random_range(0.0..0.05),
        slower: Duration::from_millis(rng.random_range(0..300)),
        shuffled: Duration::from_millis(rng.random_range(0..40)),
    }
}

/// From what QUIC does not even notice to what SWIM calls a death.
const LASTS_MS: Range<u64> = 300..15_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, region: u8) -> Host {
        Host { name: name.to_owned(), region: format!("r{region}"), address: [10, region, 0, 1].into() }
    }

    fn is_cut(fault: &Fault, from: &Host, to: &Host) -> bool {
        fault.weather(from, to).cut
    }

    #[test]
    fn each_fault_cuts_its_own_directions_and_no_others() {
        let [a, b, c] = [host("a", 1), host("b", 1), host("c", 2)];
        let name = |host: &Host| host.name.clone();
        let ways = [(&a, &b), (&b, &a), (&a, &c), (&c, &a), (&b, &c), (&c, &b)];
        let cut = |fault: Fault| ways.map(|(from, to)| is_cut(&fault, from, to));
        assert_eq!(cut(Fault::Cut(name(&a), name(&b))), [true, true, false, false, false, false]);
        assert_eq!(cut(Fault::OneWay(name(&a), name(&b))), [true, false, false, false, false, false]);
        assert_eq!(cut(Fault::Alone(name(&a))), [true, true, true, true, false, false]);
        assert_eq!(cut(Fault::Mute(name(&a))), [true, false, true, false, false, false]);
        assert_eq!(cut(Fault::Split("r2".to_owned())), [false, false, true, true, true, true]);
        assert_eq!(cut(Fault::Crash(name(&a))), [false; 6]);
    }

    #[test]
    fn a_schedule_is_the_same_for_the_same_seed_and_ends_in_time() {
        let (nodes, clients) = ([host("a", 1), host("b", 2)], [host("p", 1)]);
        let plan = |seed| draw_many(seed, 8, &nodes, &clients, 10_000..40_000);
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        assert!(plan(1).is_sorted_by_key(|planned| planned.at));
        for planned in (0..50).flat_map(plan) {
            let is_within = planned.at.as_secs() >= 10 && planned.until.as_secs() <= 40;
            assert!(is_within && planned.at < planned.until, "{planned:?}");
        }
    }

    #[test]
    fn there_is_a_way_around_one_node_and_none_around_a_split() {
        let nodes = [host("a", 1), host("b", 2)];
        let [a, p] = ["a", "p"].map(str::to_owned);
        assert!(Fault::Alone(a.clone()).has_a_way_around(&nodes));
        assert!(!Fault::Alone(p.clone()).has_a_way_around(&nodes), "a client that is cut off hears nobody");
        assert!(!Fault::Cut(a, p).has_a_way_around(&nodes));
        assert!(!Fault::Split("r1".to_owned()).has_a_way_around(&nodes));
        assert!((0..50).all(|seed| draw_one(seed, &nodes).has_a_way_around(&nodes)));
    }
}
