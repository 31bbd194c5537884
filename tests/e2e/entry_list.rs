//! Sessions hear of nodes that come and go while they run.

use farwire_client::Status;
use farwire_tests::client::RawClient;
use farwire_tests::mesh::TestMesh;
use farwire_tests::wait::within_patience;
use farwire_tests::{http, wait};
use farwire_wire::client::{ServerBody, ServerFrame};

async fn mesh_of_one() -> TestMesh {
    let mut mesh = TestMesh::prepare(&[("fra", 2)]);
    mesh.start_node(&"fra-1".parse().unwrap()).await;
    mesh
}

/// The nodes of the next list that a session is told.
async fn next_list(client: &mut RawClient) -> Vec<String> {
    match client.answer().await {
        Some(ServerFrame { request: 0, body: ServerBody::EntryList(list) }) => {
            list.iter().map(|entry| entry.node.to_string()).collect()
        }
        other => panic!("instead of a list: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_told_of_the_node_that_comes_and_of_the_one_that_goes() {
    let mut mesh = mesh_of_one().await;
    let mut client = RawClient::open(&mesh, "fra-1").await;
    assert_eq!(client.welcome.entry_points.len(), 1);
    mesh.start_node(&"fra-2".parse().unwrap()).await;
    assert_eq!(next_list(&mut client).await, ["fra-1", "fra-2"]);
    mesh.take("fra-2").shutdown().await;
    assert_eq!(next_list(&mut client).await, ["fra-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_node_dies_goes_to_one_that_came_after_it() {
    let mut mesh = mesh_of_one().await;
    let client = mesh.client("fra-1").await;
    let mut status = client.status();
    mesh.start_node(&"fra-2".parse().unwrap()).await;
    let admin = mesh.node("fra-1").addresses().admin;
    wait::until("the list is told", async || {
        let (_, page) = http::get(admin, "/metrics").await?;
        page.lines().any(|line| line == "farwire_entry_lists_total 1").then_some(())
    })
    .await;
    // Its ack comes after the list, on the same stream.
    client.publish("live.a", "x").await.unwrap();
    drop(mesh.take("fra-1"));
    let resumed = async {
        loop {
            if let Status::Resumed { node, .. } = status.next().await.expect("the client lives on") {
                return node;
            }
        }
    };
    assert_eq!(within_patience("the client is back", resumed).await.as_str(), "fra-2");
}
