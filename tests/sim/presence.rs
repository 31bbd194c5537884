//! Presence in simulation: clients come, go, speak and move while nodes die, links are cut and clocks jump, and every node
//! lists exactly who is there: within 10 s of a heal and 20 s of a kill, with no ghost later.

use std::time::Duration;

use farwire_sim::faults::{self, Fault};
use farwire_sim::history::Event;
use farwire_wire::ChannelName;

use crate::files::{REGIONS, node_hosts};
use crate::mesh::{AFTER_A_KILL, Mesh};
use crate::mixed::Steps;
use crate::runs::{Outcome, Scenario, over_seeds, play};

const CLIENTS_PER_REGION: usize = 8;
/// Clients act in the first seconds of a period, and nodes are asked near its end.
const PERIOD: Duration = Duration::from_secs(10);
const ACTIVE: Duration = Duration::from_secs(5);
const ASKED_AT: Duration = Duration::from_secs(9);
const PERIODS: u32 = 9;
const AFTER_A_HEAL: Duration = Duration::from_secs(10);

#[test]
fn everybody_is_listed_everywhere_and_nobody_else_whatever_happens() {
    over_seeds(Scenario { test: "presence::everybody_is_listed", play: play!(whatever_happens) }, 40);
}

/// A minute and a half, the middle of it with faults: kills among them, or none.
async fn whatever_happens(seed: u64) -> Outcome {
    let mut mesh = Mesh::start(seed).await;
    let channels = rooms();
    let names: Vec<String> = channels.iter().map(ToString::to_string).collect();
    for (region, _) in REGIONS {
        for n in 0..CLIENTS_PER_REGION {
            let name = format!("{region}-p{n}");
            mesh.occupant(&name, region).await;
            mesh.present(&name).come_and_go(&names, PERIOD, ACTIVE);
        }
    }
    mesh.begun();
    let mut plan = faults::draw_many(seed, 1 + seed % 5, &node_hosts(), &[], 10_000..40_000);
    if seed.is_multiple_of(2) {
        plan.retain(|planned| !matches!(planned.fault, Fault::Crash(_) | Fault::Leave(_)));
        mesh.settle_presence = AFTER_A_HEAL;
    } else {
        mesh.settle_presence = AFTER_A_KILL;
    }
    let mut samples =
        (0..PERIODS).map(|n| PERIOD * n + ASKED_AT).filter(|at| *at > mesh.history.now()).collect::<Vec<_>>();
    samples.reverse();
    let mut steps = Steps::new(plan);
    while let Some(at) = samples.pop() {
        steps.play_until(&mut mesh, at).await;
        if at.as_secs() == 19 {
            mesh.set_clock_ahead("fra-1", Duration::from_secs(seed % 3 * 100));
        }
        mesh.list(&channels).await;
    }
    mesh.outcome(Vec::new()).await
}

#[test]
fn who_moved_and_left_is_gone_at_once() {
    over_seeds(Scenario { test: "presence::who_moved_and_left_is_gone_at_once", play: play!(moves_and_leaves) }, 5);
}

/// A client that is cut off from its node goes on at another, and leaves there: its old node still waits for it, and
/// nobody lists it.
async fn moves_and_leaves(seed: u64) -> Outcome {
    let mut mesh = Mesh::start(seed).await;
    let rooms = rooms();
    let room = rooms[0].as_str();
    for (name, region) in [("fra-p", "fra"), ("sin-w", "sin")] {
        mesh.occupant(name, region).await;
    }
    mesh.begun();
    mesh.present("sin-w").watch(room).await;
    mesh.present("fra-p").enter(room).await;
    mesh.pass(5.0).await;
    let old = mesh.present("fra-p").node();
    mesh.begin(Fault::Cut("fra-p".to_owned(), old.clone()));
    while mesh.present("fra-p").node() == old {
        mesh.pass(0.1).await;
    }
    mesh.pass(1.0).await;
    mesh.list(&rooms).await;
    mesh.present("fra-p").leave(room).await;
    mesh.no_excuse();
    mesh.settle_presence = Duration::from_secs(1);
    mesh.pass(3.0).await;
    mesh.list(&rooms).await;
    mesh.pass(30.0).await;
    mesh.list(&rooms).await;
    let told = told(&mesh);
    let unwanted = (told.len() != 2 || !told[0].starts_with("Join") || !told[1].starts_with("Leave"))
        .then(|| format!("told: {told:?}, and not once of coming and once of going"));
    mesh.outcome(unwanted.into_iter().collect()).await
}

#[test]
fn a_dead_node_takes_nobody_along_and_leaves_no_ghost() {
    let test = "presence::a_dead_node_takes_nobody_along_and_leaves_no_ghost";
    over_seeds(Scenario { test, play: play!(a_node_dies) }, 5);
}

/// A node dies under one client that goes on elsewhere, and one that is never heard of again. The one causes no event; the
/// other is gone when the node comes back without it.
async fn a_node_dies(seed: u64) -> Outcome {
    let mut mesh = Mesh::start(seed).await;
    let rooms = rooms();
    let room = rooms[0].as_str();
    for (name, region) in [("fra-p", "fra"), ("iad-p", "iad"), ("sin-w", "sin")] {
        mesh.occupant(name, region).await;
    }
    mesh.begun();
    mesh.present("sin-w").watch(room).await;
    mesh.present("fra-p").enter(room).await;
    mesh.pass(3.0).await;
    let node = mesh.present("fra-p").node();
    mesh.begin(Fault::Crash(node.clone()));
    mesh.pass(21.0).await;
    mesh.list(&rooms).await;
    mesh.end(&Fault::Crash(node));
    mesh.pass(25.0).await;
    mesh.list(&rooms).await;
    let told = told(&mesh);
    let unwanted = (told.len() != 1).then(|| format!("told: {told:?}, and not only of her coming"));
    // The other one: its machine and its node die together.
    let at = mesh.present("iad-p").node();
    // In several rooms, of which her node owns some and the other one the rest.
    for room in &rooms {
        mesh.present("iad-p").enter(room.as_str()).await;
    }
    mesh.pass(3.0).await;
    mesh.begin(Fault::Alone("iad-p".to_owned()));
    mesh.begin(Fault::Crash(at.clone()));
    mesh.drop_occupant("iad-p");
    // It is back before anybody takes it for dead: only its new life tells that the stays of the old one are over.
    mesh.pass(5.0).await;
    mesh.end(&Fault::Crash(at));
    mesh.no_excuse();
    for room in &rooms {
        mesh.history.note(Event::Absent("iad-p".into(), room.as_str().into()));
    }
    mesh.settle_presence = Duration::from_secs(1);
    // The node that came back collects what it answers for.
    mesh.pass(10.0).await;
    mesh.list(&rooms).await;
    mesh.pass(60.0).await;
    mesh.list(&rooms).await;
    mesh.outcome(unwanted.into_iter().collect()).await
}

fn told(mesh: &Mesh) -> Vec<String> {
    let told = mesh.history.records().into_iter().filter_map(|record| match record.event {
        Event::Told(_, event) => Some(event),
        _ => None,
    });
    told.collect()
}

fn rooms() -> Vec<ChannelName> {
    (0..3).map(|n| ChannelName::parse(&format!("live.room.{n}")).unwrap()).collect()
}
