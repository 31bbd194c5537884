//! The mixed scenario: five nodes, six clients, and half a minute in which random things go wrong. Then everything heals,
//! and must work again as if nothing had been.

use std::collections::VecDeque;
use std::time::Duration;

use farwire_sim::faults::{self, Fault, Host, Planned};

use crate::files::node_hosts;
use crate::mesh::{Mesh, usual_clients};
use crate::runs::{Outcome, Scenario, over_seeds, play};

pub(crate) const MIXED: Scenario = Scenario { test: "mixed", play: play!(mixed) };
const END: Duration = Duration::from_secs(60);

#[test]
fn mixed_faults_over_a_hundred_seeds_leave_no_harm() {
    over_seeds(MIXED, 100);
}

/// A minute in which everything goes wrong at once, or one thing after the other.
async fn mixed(seed: u64) -> Outcome {
    let mut mesh = Mesh::start(seed).await;
    mesh.usual_clients().await;
    mesh.begun();
    let nodes = node_hosts();
    let plan = match seed % 3 {
        0 => one_by_one(seed, &nodes),
        _ => faults::draw_many(seed, 2 + seed % 6, &nodes, &usual_clients(), 12_000..42_000),
    };
    play_plan(&mut mesh, plan).await;
    mesh.pass_until(END).await;
    mesh.outcome(Vec::new()).await
}

/// Two faults that last, each with a way around: time to see that it is found.
fn one_by_one(seed: u64, nodes: &[Host]) -> Vec<Planned> {
    let planned = |seed, from_s, until_s| Planned {
        at: Duration::from_secs(from_s),
        until: Duration::from_secs(until_s),
        fault: faults::draw_one(seed, nodes),
    };
    vec![planned(seed, 6, 22), planned(!seed, 30, 46)]
}

/// Begins and ends each fault at its time.
async fn play_plan(mesh: &mut Mesh, plan: Vec<Planned>) {
    let mut steps = Steps::new(plan);
    while let Some(at) = steps.next_at() {
        steps.play_until(mesh, at).await;
    }
}

/// The beginnings and ends of faults that are still to come.
pub(crate) struct Steps(VecDeque<(Duration, bool, Fault)>);

impl Steps {
    pub(crate) fn new(plan: Vec<Planned>) -> Self {
        let begins = plan.iter().map(|planned| (planned.at, true, planned.fault.clone()));
        let ends = plan.iter().map(|planned| (planned.until, false, planned.fault.clone()));
        let mut steps: Vec<_> = begins.chain(ends).collect();
        steps.sort_by_key(|(at, _, _)| *at);
        Self(steps.into())
    }

    fn next_at(&self) -> Option<Duration> {
        self.0.front().map(|(at, _, _)| *at)
    }

    /// Lets time pass up to `until`, and whatever is to begin or end by then.
    pub(crate) async fn play_until(&mut self, mesh: &mut Mesh, until: Duration) {
        while let Some((at, begins, fault)) = self.0.pop_front_if(|(at, _, _)| *at <= until) {
            mesh.pass_until(at).await;
            if begins {
                mesh.begin(fault);
            } else {
                mesh.end(&fault);
            }
        }
        mesh.pass_until(until).await;
    }
}
