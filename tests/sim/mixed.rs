//! The mixed scenario: five nodes, six clients, and half a minute in which random things go wrong. Then everything heals,
//! and must work again as if nothing had been.

use std::time::Duration;

use farwire_sim::faults::{self, Host};

use crate::client::Wants;
use crate::files::{REGIONS, node_hosts};
use crate::mesh::Mesh;
use crate::runs::{Outcome, Scenario, over_seeds, play};

pub(crate) const MIXED: Scenario = Scenario { test: "mixed", play: play!(mixed) };
/// How long after the last fault everything works again.
const SETTLE: Duration = Duration::from_secs(10);
const FAULTS_FROM: Duration = Duration::from_secs(12);
const FAULTS_UNTIL: Duration = Duration::from_secs(38);
const END: Duration = Duration::from_secs(60);

#[test]
fn mixed_faults_over_a_hundred_seeds_leave_no_harm() {
    over_seeds(MIXED, 100);
}

/// A minute with as many faults as the seed says.
async fn mixed(seed: u64) -> Outcome {
    let mut mesh = Mesh::start(seed).await;
    let clients = clients();
    add_clients(&mut mesh, &clients).await;
    mesh.calm();
    let count = usize::try_from(2 + seed % 6).unwrap();
    let plan = faults::draw(seed, count, &node_hosts(), &clients, FAULTS_FROM, FAULTS_UNTIL);
    play_plan(&mut mesh, plan).await;
    mesh.calm();
    mesh.pass_until(END).await;
    let violations = mesh.violations(SETTLE).await;
    Outcome { violations, records: mesh.history.records(), digest: mesh.digest(), packets: mesh.packets() }
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
async fn play_plan(mesh: &mut Mesh, plan: Vec<faults::Planned>) {
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
