//! One fault: how it is drawn, which changes of `farwire up ctl` make it, and which undo it. Runs nothing.

use std::fmt;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// What can happen to a mesh, one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A node dies.
    Kill(String),
    /// A node stops for a while.
    Stop(String),
    /// Two places cannot talk to each other, or only one way.
    Cut { a: String, b: String, one_way: bool },
    /// A region cannot talk to any other.
    Isolate { region: String, others: Vec<String> },
    /// Between two places a share of the packets gets lost.
    Loss { a: String, b: String, percent: u8 },
}

/// The names that faults are drawn from.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) regions: Vec<String>,
    /// The nodes of each region, in the same order.
    pub(crate) nodes: Vec<Vec<String>>,
}

impl Fault {
    /// Draws the next one. There are two regions at least.
    pub(crate) fn draw(rng: &mut StdRng, places: &Places) -> Self {
        match rng.random_range(0..8) {
            0 | 1 => Self::Kill(places.node(rng)),
            2 | 3 => Self::Stop(places.node(rng)),
            4 | 5 => {
                let (a, b) = places.pair(rng);
                Self::Cut { a, b, one_way: rng.random() }
            }
            6 => {
                let mut others = places.regions.clone();
                let region = others.swap_remove(rng.random_range(0..others.len()));
                Self::Isolate { region, others }
            }
            _ => {
                let (a, b) = places.pair(rng);
                Self::Loss { a, b, percent: rng.random_range(5..=40) }
            }
        }
    }

    /// The changes that make it.
    pub(crate) fn changes(&self) -> Vec<String> {
        match self {
            Self::Kill(node) => vec![format!("kill {node}")],
            Self::Stop(node) => vec![format!("stop {node}")],
            Self::Cut { a, b, one_way: false } => vec![format!("cut {a} {b}")],
            Self::Cut { a, b, one_way: true } => vec![format!("cut {a} {b} --one-way")],
            Self::Isolate { region, others } => others.iter().map(|other| format!("cut {region} {other}")).collect(),
            Self::Loss { a, b, percent } => vec![format!("loss {a} {b} {percent}")],
        }
    }

    /// The change that undoes it.
    pub(crate) fn heal(&self) -> String {
        match self {
            Self::Kill(node) => format!("restart {node}"),
            Self::Stop(node) => format!("cont {node}"),
            Self::Cut { .. } | Self::Isolate { .. } | Self::Loss { .. } => "heal".to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.changes().join(", "))
    }
}

impl Places {
    fn node(&self, rng: &mut StdRng) -> String {
        let region = self.nodes.choose(rng).expect("there are regions");
        region.choose(rng).expect("a region has nodes").clone()
    }

    /// Two places of different regions, each the region or one of its nodes.
    fn pair(&self, rng: &mut StdRng) -> (String, String) {
        let a = rng.random_range(0..self.regions.len());
        let b = (a + rng.random_range(1..self.regions.len())) % self.regions.len();
        (self.place(rng, a), self.place(rng, b))
    }

    fn place(&self, rng: &mut StdRng, region: usize) -> String {
        match rng.random() {
            true => self.regions[region].clone(),
            false => self.nodes[region].choose(rng).expect("a region has nodes").clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    fn drawn(seed: u64) -> Vec<Fault> {
        let regions: Vec<String> = ["fra", "iad", "sin"].map(str::to_owned).into();
        let nodes = regions.iter().map(|region| vec![format!("{region}-1"), format!("{region}-2")]).collect();
        let (places, mut rng) = (Places { regions, nodes }, StdRng::seed_from_u64(seed));
        (0..200).map(|_| Fault::draw(&mut rng, &places)).collect()
    }

    #[test]
    fn a_seed_always_gives_the_same_faults_and_another_gives_others() {
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn every_kind_of_fault_comes_up_between_different_regions() {
        let faults = drawn(1);
        let kind = |fault: &Fault| match fault {
            Fault::Kill(_) => "kill",
            Fault::Stop(_) => "stop",
            Fault::Cut { one_way: false, .. } => "cut",
            Fault::Cut { one_way: true, .. } => "cut one way",
            Fault::Isolate { .. } => "isolate",
            Fault::Loss { .. } => "loss",
        };
        assert_eq!(faults.iter().map(kind).collect::<BTreeSet<_>>().len(), 6);
        for fault in faults {
            if let Fault::Cut { a, b, .. } | Fault::Loss { a, b, .. } = fault {
                assert_ne!(a[..3], b[..3]);
            }
        }
    }

    #[test]
    fn a_region_is_isolated_from_each_other_one() {
        let fault = Fault::Isolate { region: "fra".into(), others: vec!["iad".into(), "sin".into()] };
        assert_eq!(
            (fault.changes(), fault.heal().as_str()),
            (vec!["cut fra iad".into(), "cut fra sin".into()], "heal")
        );
    }
}
