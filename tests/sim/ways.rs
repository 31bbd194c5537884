//! Ways around what is broken: nodes that die, links that are cut, and what comes back. Each story says what the mesh must
//! do *during* the fault, which is no excuse from a few seconds after its beginning on.

use std::time::Duration;

use farwire_sim::faults::Fault;
use farwire_sim::net::Weather;

use crate::client::{Publishes, Wants};
use crate::mesh::Mesh;
use crate::runs::{Outcome, Scenario, over_seeds, play};

/// Who takes over for a node that died has done so by then, for everybody.
const TAKEN_OVER: Duration = Duration::from_secs(3);

/// Clients of every region that publish, and hear each other's channels one by one, which only the owner gets told.
async fn crowd(seed: u64) -> Mesh {
    let mut mesh = Mesh::start(seed).await;
    let names = [("fra-a", "fra"), ("fra-b", "fra"), ("iad-a", "iad"), ("iad-b", "iad"), ("sin-a", "sin")];
    let publishes = Publishes { every: Duration::from_millis(100), bytes: 0 };
    let all: Vec<_> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
    for (name, region) in names {
        mesh.client(name, region, Wants::Those(all.clone()), Some(publishes)).await;
    }
    mesh.client("fra-c", "fra", Wants::Everything, None).await;
    mesh.pass(12.0).await;
    mesh
}

fn cut(a: &str, b: &str) -> Fault {
    Fault::Cut(a.to_owned(), b.to_owned())
}

/// The node of its region that none of the clients is on, or which has the fewest of them.
fn idle_node(mesh: &Mesh, region: &str, clients: &[&str]) -> Option<String> {
    let used: Vec<_> = clients.iter().map(|client| mesh.node_of(client)).collect();
    ["1", "2"].map(|n| format!("{region}-{n}")).into_iter().find(|node| !used.contains(node))
}

#[test]
fn a_dead_nodes_channels_are_taken_over_within_three_seconds() {
    async fn story(seed: u64) -> Outcome {
        let mut mesh = crowd(seed).await;
        // A node that has no sessions: how clients find another one is their own story.
        let free = idle_node(&mesh, "iad", &["iad-a", "iad-b"]);
        let dies = free.or_else(|| idle_node(&mesh, "fra", &["fra-a", "fra-b", "fra-c"]));
        if let Some(dies) = dies {
            mesh.begin(Fault::Crash(dies));
            mesh.no_excuse();
            mesh.pass(12.0).await;
        }
        mesh.outcome_settled_in(TAKEN_OVER, Vec::new()).await
    }
    let test = "ways::a_dead_nodes_channels_are_taken_over_within_three_seconds";
    over_seeds(Scenario { test, play: play!(story) }, 6);
}

#[test]
fn nodes_that_cannot_see_each_other_exchange_messages_through_one_that_sees_both() {
    async fn story(seed: u64) -> Outcome {
        let mut mesh = crowd(seed).await;
        // In one region, between two, and both at once.
        let cuts = [
            vec![cut("fra-1", "fra-2")],
            vec![cut("fra-1", "iad-1")],
            vec![cut("iad-1", "iad-2"), cut("fra-1", "sin-1")],
        ];
        for fault in &cuts[usize::try_from(seed).unwrap() % cuts.len()] {
            mesh.begin(fault.clone());
        }
        mesh.no_excuse();
        mesh.pass(20.0).await;
        mesh.outcome_settled_in(TAKEN_OVER, Vec::new()).await
    }
    let test = "ways::nodes_that_cannot_see_each_other_exchange_messages_through_one_that_sees_both";
    over_seeds(Scenario { test, play: play!(story) }, 6);
}

#[test]
fn a_link_that_carries_one_way_only_is_routed_around() {
    async fn story(seed: u64) -> Outcome {
        let mut mesh = crowd(seed).await;
        let (from, to) = if seed.is_multiple_of(2) { ("fra-1", "fra-2") } else { ("iad-2", "fra-1") };
        mesh.begin(Fault::OneWay(from.to_owned(), to.to_owned()));
        mesh.no_excuse();
        mesh.pass(20.0).await;
        mesh.outcome_settled_in(TAKEN_OVER, Vec::new()).await
    }
    let test = "ways::a_link_that_carries_one_way_only_is_routed_around";
    over_seeds(Scenario { test, play: play!(story) }, 4);
}

#[test]
fn a_healed_link_is_used_again_within_two_seconds() {
    async fn story(seed: u64) -> Outcome {
        let mut mesh = crowd(seed).await;
        let fault = cut("fra-1", "iad-1");
        mesh.begin(fault.clone());
        // Shorter and longer than QUIC's idle timeout.
        mesh.pass([3.0, 4.6, 9.0, 40.0][usize::try_from(seed).unwrap() % 4]).await;
        let is_linked = |mesh: &Mesh| mesh.sight("fra-1").linked.iter().any(|node| node.as_str() == "iad-1");
        assert!(!is_linked(&mesh), "the cut was noticed");
        mesh.end(&fault);
        mesh.no_excuse();
        mesh.pass(2.0).await;
        let late = (!is_linked(&mesh)).then(|| "late: fra-1 and iad-1 have no link 2 s after the heal".to_owned());
        mesh.pass(10.0).await;
        mesh.outcome_settled_in(Duration::ZERO, late.into_iter().collect()).await
    }
    let test = "ways::a_healed_link_is_used_again_within_two_seconds";
    over_seeds(Scenario { test, play: play!(story) }, 8);
}

#[test]
fn nothing_is_lost_when_a_node_comes_back_and_takes_its_share() {
    async fn story(seed: u64) -> Outcome {
        let mut mesh = crowd(seed).await;
        let Some(node) = idle_node(&mesh, "fra", &["fra-a", "fra-b", "fra-c"])
            .or_else(|| idle_node(&mesh, "iad", &["iad-a", "iad-b"]))
        else {
            return mesh.outcome_settled_in(TAKEN_OVER, Vec::new()).await;
        };
        let fault = Fault::Crash(node);
        mesh.begin(fault.clone());
        mesh.pass(6.0).await;
        mesh.no_excuse();
        mesh.pass(2.0).await;
        mesh.end(&fault);
        mesh.pass(20.0).await;
        mesh.outcome_settled_in(Duration::ZERO, Vec::new()).await
    }
    let test = "ways::nothing_is_lost_when_a_node_comes_back_and_takes_its_share";
    over_seeds(Scenario { test, play: play!(story) }, 6);
}

#[test]
fn a_node_that_most_peers_lose_again_and_again_rests_longer_each_time() {
    async fn story(seed: u64) -> Outcome {
        let mut mesh = crowd(seed).await;
        let fault = Fault::Alone("fra-2".to_owned());
        let mut rests = Vec::new();
        for _ in 0..4 {
            mesh.begin(fault.clone());
            mesh.pass(7.0).await;
            mesh.end(&fault);
            let mut rested = 0.0;
            for _ in 0..600 {
                mesh.pass(0.05).await;
                rested += if mesh.sight("fra-2").rests { 0.05 } else { 0.0 };
            }
            rests.push(rested);
        }
        mesh.no_excuse();
        mesh.pass(10.0).await;
        let grows = rests.windows(2).all(|pair| pair[1] > 1.5 * pair[0] && pair[0] > 1.0);
        let wrong = (!grows).then(|| format!("rests: {rests:?} s"));
        mesh.outcome_settled_in(Duration::ZERO, wrong.into_iter().collect()).await
    }
    let test = "ways::a_node_that_most_peers_lose_again_and_again_rests_longer_each_time";
    over_seeds(Scenario { test, play: play!(story) }, 2);
}

#[test]
fn three_percent_of_loss_and_short_outages_silence_no_link() {
    async fn story(seed: u64) -> Outcome {
        let mut mesh = crowd(seed).await;
        let storm = Fault::Storm("iad".to_owned(), Weather { loss: 0.03, ..Weather::default() });
        mesh.begin(storm.clone());
        let mut wrong = Vec::new();
        for second in 0..60 {
            if second == 30 {
                mesh.begin(Fault::Alone("sin-1".to_owned()));
                mesh.pass(0.5).await;
                mesh.end(&Fault::Alone("sin-1".to_owned()));
            }
            mesh.pass(1.0).await;
            for node in ["fra-1", "fra-2", "iad-1", "iad-2", "sin-1"] {
                let linked = mesh.sight(node).linked.len();
                if linked != 4 {
                    wrong.push(format!("second {second}: {node} hears {linked} of 4"));
                }
            }
        }
        mesh.end(&storm);
        mesh.outcome_settled_in(TAKEN_OVER, wrong).await
    }
    let test = "ways::three_percent_of_loss_and_short_outages_silence_no_link";
    over_seeds(Scenario { test, play: play!(story) }, 4);
}
