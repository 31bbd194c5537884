//! A node that stops sends its clients away in good order, and one that is full says when to come again.

use farwire_client::Status;
use farwire_tests::client::RawClient;
use farwire_tests::mesh::TestMesh;
use farwire_tests::wait::within_patience;
use farwire_tests::{http, wait};
use farwire_wire::client::{ClientBody, GoAway, Publish, ServerBody, ServerFrame};
use farwire_wire::{ChannelName, ErrorCode, PublisherId};

fn publish(count: u64) -> ClientBody {
    let channel = ChannelName::parse("live.a").unwrap();
    let publisher = PublisherId(1);
    ClientBody::Publish(Publish { channel, payload: "x".into(), publisher, number: count, count, level: None })
}

/// The node's farewell; lists of entry points may come before it.
async fn go_away(client: &mut RawClient) -> GoAway {
    loop {
        match client.answer().await.expect("a farewell before the end").body {
            ServerBody::GoAway(go_away) => return go_away,
            ServerBody::EntryList(_) => {}
            other => panic!("instead of a farewell: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_sent_away_is_served_until_it_goes() {
    let mut mesh = TestMesh::start(&[("fra", 2), ("iad", 1)]).await;
    let mut client = RawClient::open(&mesh, "fra-2").await;
    let stopping = tokio::spawn(mesh.take("fra-2").shutdown());
    let told = go_away(&mut client).await;
    let alternatives: Vec<_> = told.alternatives.iter().map(|entry| entry.node.as_str()).collect();
    assert_eq!((alternatives, told.retry_after_ms, told.jitter_ms), (vec!["fra-1", "iad-1"], 0, 250));

    let request = client.ask([publish(1)]).await;
    let acked = client.answer().await.expect("an ack");
    assert!(matches!(acked, ServerFrame { body: ServerBody::PublishAck { first, .. }, .. } if first == request));
    // Others send nobody there any more, though it is still in the ring.
    let admin = mesh.node("fra-1").addresses().admin;
    wait::until("the node is no entry point", async || {
        let page = http::get_json(admin, "/v1/mesh").await;
        let node = page["members"].as_array()?.iter().find(|member| member["name"] == "fra-2")?.clone();
        (node["client"] == "").then_some(())
    })
    .await;
    assert_eq!(client.closed().await.code(), Some(ErrorCode::GoAway));
    within_patience("the node's end", stopping).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_node_that_stops_goes_to_the_other_of_its_region() {
    let mut mesh = TestMesh::start(&[("fra", 2), ("iad", 1)]).await;
    let client = mesh.client("fra-1").await;
    let mut status = client.status();
    within_patience("the node's end", mesh.take("fra-1").shutdown()).await;
    let resumed = async {
        loop {
            if let Status::Resumed { node, .. } = status.next().await.expect("the client lives on") {
                return node;
            }
        }
    };
    assert_eq!(within_patience("the client is back", resumed).await.as_str(), "fra-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_full_node_is_told_when_to_come_again() {
    let mut mesh = TestMesh::prepare(&[("fra", 1)]);
    mesh.start_node_with(&"fra-1".parse().unwrap(), "[limits]\nsessions_max = 1").await;
    let _only = RawClient::open(&mesh, "fra-1").await;
    let refused = RawClient::try_open(&mesh, "fra-1").await.err();
    let Some(ServerBody::Error(error)) = refused else { panic!("instead of a refusal: {refused:?}") };
    assert_eq!((error.code, error.retry_after_ms), (ErrorCode::TooManyConnections, 1_000));
}
