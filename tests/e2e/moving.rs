//! A client that changes its address in mid-stream keeps its connection: QUIC migration.

use farwire_client::{Event, PendingAck};
use farwire_tests::mesh::TestMesh;
use farwire_tests::wait::within_patience;
use farwire_tests::{http, wait};

const MESSAGES: u64 = 300;
const MOVE_EVERY: u64 = 100;

/// Where the node of the mesh sees the client of this session.
async fn address(mesh: &TestMesh, session: &str) -> Option<String> {
    let page = http::get_json(mesh.node("fra-1").addresses().admin, "/v1/sessions").await;
    let sessions = page["sessions"].as_array()?;
    let found = sessions.iter().find(|listed| listed["session"] == session)?;
    found["address"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_moves_to_another_address_keeps_its_session_and_loses_nothing() {
    let mesh = TestMesh::start(&[("fra", 1)]).await;
    let (moving, still) = (mesh.client("fra-1").await, mesh.client("fra-1").await);
    let mut to_moving = moving.subscribe("live.down").await.unwrap();
    let mut to_still = still.subscribe("live.up").await.unwrap();
    let session = moving.session();
    let mut seen_at = vec![address(&mesh, &session.to_string()).await.unwrap()];

    let mut pending: Vec<PendingAck> = Vec::new();
    for number in 1..=MESSAGES {
        pending.push(moving.publish_pipelined("live.up", "x").await.unwrap());
        pending.push(still.publish_pipelined("live.down", "x").await.unwrap());
        if number % MOVE_EVERY == 0 {
            moving.rebind().unwrap();
            let moved = wait::until("the node sees the new address", async || {
                address(&mesh, &session.to_string()).await.filter(|at| !seen_at.contains(at))
            })
            .await;
            seen_at.push(moved);
        }
    }
    for ack in pending {
        within_patience("every ack", ack).await.unwrap();
    }
    for subscription in [&mut to_moving, &mut to_still] {
        for number in 1..=MESSAGES {
            match within_patience("every message", subscription.next()).await {
                Some(Event::Message(message)) => assert_eq!(message.number, number),
                other => panic!("instead of message {number}: {other:?}"),
            }
        }
    }
    assert_eq!(moving.session(), session, "no other session was needed");
}
