//! The mixed scenario: five nodes, six clients, and half a minute in which random things go wrong. Then everything heals,
//! and must work again as if nothing had been.

use std::time::Duration;

use farwire_sim::faults::{self, Host, Planned};

use crate::client::Wants;
use crate::files::{REGIONS, node_hosts};
use crate::mesh::Mesh;
use crate::runs::{Outcome, Scenario, over_seeds, play};

pub(crate) const MIXED: Scenario = Scenario { test: "mixed", play: play!(mixed) };
/// How long after a change for the better or the worse everything works again.
const SETTLE: Duration = Duration::from_secs(8);
const END: Duration = Duration::from_secs(60);

#[test]
fn mixed_faults_over_a_hundred_seeds_leave_no_harm() {
    over_seeds(MIXED, 100);
}

/// A minute in which everything goes wrong at once, or one thing after the other.
async fn mixed(seed: u64) -> Outcome {
    let mut mesh = Mesh::start(seed).await;
    let clients = clients();
    add_clients(&mut mesh, &clients).await;
    mesh.begun();
    let nodes = node_hosts();
    let plan = match seed % 3 {
        0 => one_by_one(seed, &nodes),
        _ => faults::draw_many(seed, 2 + seed % 6, &nodes, &clients, 12_000..42_000),
    };
    play_plan(&mut mesh, plan).await;
    mesh.pass_until(END).await;
    let violations = mesh.violations(SETTLE).await;
    Outcome { violations, records: mesh.history.records(), digest: mesh.digest(), packets: mesh.packets() }
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

/// Two clients of each region: `a` hears whatever is live, `b` asks for each channel by its name.
fn clients() -> Vec<Host> {
    let of_region = |(region, _)| {
        ["a", "b"].map(|letter| Host {
            name: format!("{region}-{letter}"),
            region: String::from(region),
            address: [0, 0, 0, 0].into(),
        })
    };
    REGIONS.into_iter().flat_map(of_region).collect()
}

async fn add_clients(mesh: &mut Mesh, clients: &[Host]) {
    let names: Vec<_> = clients.iter().map(|client| client.name.clone()).collect();
    for Host { name, region, .. } in clients {
        let wants = if name.ends_with('a') { Wants::Everything } else { Wants::Those(names.clone()) };
        mesh.client_that(name, region, Some(Duration::from_millis(500)), wants).await;
    }
}

/// Begins and ends each fault at its time.
async fn play_plan(mesh: &mut Mesh, plan: Vec<Planned>) {
    let begins = plan.iter().map(|planned| (planned.at, true, planned.fault.clone()));
    let ends = plan.iter().map(|planned| (planned.until, false, planned.fault.clone()));
    let mut steps: Vec<_> = begins.chain(ends).collect();
    steps.sort_by_key(|(at, _, _)| *at);
    for (at, begins, fault) in steps {
        mesh.pass_until(at).await;
        if begins {
            mesh.begin(fault);
        } else {
            mesh.end(&fault);
        }
    }
}
