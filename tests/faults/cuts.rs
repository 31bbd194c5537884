//! Links that carry nothing, or one way only, or lose packets.

use std::time::Duration;

use farwire_client::{Client, Event};
use farwire_tests::exchange::{Exchange, Heard};
use farwire_tests::up::ProcessMesh;
use farwire_tests::{http, wait};

use crate::support::{is_linked, mesh, reaches};

const REGIONS: [&str; 3] = ["fra", "iad", "sin"];
/// After a heal.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_cut_off_works_alone_and_is_heard_again_after_the_heal() {
    let mesh = mesh("fra,iad,sin", 1).await;
    let exchange = Exchange::start(&REGIONS, |region| mesh.options(region)).await;
    mesh.ctl("cut fra iad").await;
    mesh.ctl("cut fra sin").await;
    for (node, member) in [("fra-1", "iad-1"), ("fra-1", "sin-1"), ("iad-1", "fra-1"), ("sin-1", "fra-1")] {
        reaches(&mesh, node, member, false).await;
    }
    talks_to_itself(&mesh.client("fra-1").await).await;
    mesh.ctl("heal").await;
    assert_all_heard(&exchange.heard_after(HEARD_WITHIN).await);
    mesh.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_one_way_is_replaced_by_the_third_region_until_the_heal() {
    let mesh = mesh("fra,iad,sin", 1).await;
    let exchange = Exchange::start(&REGIONS, |region| mesh.options(region)).await;
    mesh.ctl("cut fra iad --one-way").await;
    for (node, member) in [("fra-1", "iad-1"), ("iad-1", "fra-1")] {
        is_linked(&mesh, node, member, false).await;
    }
    assert_all_heard(&exchange.heard_after(HEARD_WITHIN).await);
    mesh.ctl("heal").await;
    assert_all_heard(&exchange.heard_after(HEARD_WITHIN).await);
    for (node, member) in [("fra-1", "iad-1"), ("iad-1", "fra-1")] {
        is_linked(&mesh, node, member, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenth_of_the_packets_lost_everywhere_loses_no_member_and_no_link() {
    let mesh = mesh("fra,iad,sin", 1).await;
    let exchange = Exchange::start(&REGIONS, |region| mesh.options(region)).await;
    for pair in ["fra iad", "fra sin", "iad sin"] {
        mesh.ctl(&format!("loss {pair} 10")).await;
    }
    wait::until("every link has lost thirty packets", async || {
        for node in mesh.nodes() {
            let page = http::get_json(node.admin, "/v1/mesh").await;
            let members = page["members"].as_array()?;
            let lost = members.iter().find(|member| member["state"] == "down" || member["reachable"] == false);
            assert!(members.len() == 3 && lost.is_none(), "{node} has lost {lost:?}");
        }
        packets_lost(&mesh).await.into_iter().all(|packets| packets >= 30).then_some(())
    })
    .await;
    assert_all_heard(&exchange.heard_after(HEARD_WITHIN).await);
}

async fn talks_to_itself(client: &Client) {
    let mut subscription = client.subscribe("live.alone").await.unwrap();
    client.publish("live.alone", "still here").await.unwrap();
    match wait::within_patience("the message", subscription.next()).await {
        Some(Event::Message(message)) => assert_eq!(message.payload, "still here"),
        other => panic!("instead of the message: {other:?}"),
    }
}

fn assert_all_heard(heard: &[Heard]) {
    assert!(!heard.is_empty() && heard.iter().all(|pair| pair.after.is_some()), "{heard:#?}");
}

/// By each of the six ends of the three links.
async fn packets_lost(mesh: &ProcessMesh) -> Vec<u64> {
    let mut lost = Vec::new();
    for node in mesh.nodes() {
        let page = http::get_json(node.admin, "/v1/links").await;
        let links = page["links"].as_array().expect("links");
        let own = links.iter().filter(|link| link["from"] == node.name);
        lost.extend(own.map(|link| link["lost_packets"].as_u64().expect("a count")));
    }
    assert_eq!(lost.len(), 6, "every link is up");
    lost
}
