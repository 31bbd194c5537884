//! Nodes that die, stop and return.

use std::time::Duration;

use farwire_client::{Client, Status};
use tokio::time::{Instant, timeout, timeout_at};

use crate::support::{Stream, follow, mesh, read_all_from, read_past, read_whole_turns, sees};

/// What a dead node costs its clients at most.
const RESUMED_WITHIN: Duration = Duration::from_secs(8);
const SEEN_DEAD_WITHIN: Duration = Duration::from_secs(15);
const SEEN_BACK_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_subscribers_of_a_killed_node_go_on_at_the_other_and_it_returns() {
    let mesh = mesh("fra,iad", 2).await;
    let subscriber = mesh.client("iad-1").await;
    assert_eq!(subscriber.node().as_str(), "iad-1");
    let mut subscription = follow(&subscriber).await;
    let stream = Stream::start(mesh.client("fra-1").await);
    timeout(RESUMED_WITHIN, read_whole_turns(&mut subscription)).await.expect("all is well before");

    mesh.ctl("kill iad-1").await;
    let killed = Instant::now();
    let resumed_by = killed + RESUMED_WITHIN;
    timeout_at(resumed_by, resumed(&subscriber, "iad-2")).await.expect("resumed in time");
    timeout_at(resumed_by, read_past(&mut subscription, stream.sent())).await.expect("goes on in time");
    let first = stream.sent_after(resumed_by).await;
    read_all_from(&mut subscription, first, 20).await;
    for witness in ["fra-1", "fra-2", "iad-2"] {
        sees(&mesh, witness, "iad-1", "down", killed + SEEN_DEAD_WITHIN).await;
    }

    mesh.ctl("restart iad-1").await;
    let back_by = Instant::now() + SEEN_BACK_WITHIN;
    for witness in ["fra-1", "fra-2", "iad-2"] {
        sees(&mesh, witness, "iad-1", "alive", back_by).await;
    }
    let mut returned = follow(&mesh.client("iad-1").await).await;
    timeout_at(back_by, read_whole_turns(&mut returned)).await.expect("the node that returned delivers all channels");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_nodes_are_routed_around_and_go_on() {
    let mesh = mesh("fra,iad", 2).await;
    let mut subscription = follow(&mesh.client("iad-1").await).await;
    let stream = Stream::start(mesh.client("fra-1").await);
    timeout(RESUMED_WITHIN, read_whole_turns(&mut subscription)).await.expect("all is well before");

    mesh.ctl("stop iad-2").await;
    mesh.ctl("stop fra-2").await;
    let first = stream.sent_after(Instant::now() + RESUMED_WITHIN).await;
    read_all_from(&mut subscription, first, 20).await;

    mesh.ctl("cont fra-2").await;
    mesh.ctl("cont iad-2").await;
    let back_by = Instant::now() + SEEN_BACK_WITHIN;
    for (witness, member) in [("fra-1", "fra-2"), ("iad-1", "iad-2"), ("fra-2", "iad-2"), ("iad-2", "fra-1")] {
        sees(&mesh, witness, member, "alive", back_by).await;
    }
    let mut woken = follow(&mesh.client("iad-2").await).await;
    timeout_at(back_by, read_whole_turns(&mut woken)).await.expect("the node that goes on delivers all channels");
}

/// Waits until the client says that it has resumed, at this node.
async fn resumed(client: &Client, node: &str) {
    let mut changes = client.status();
    loop {
        match changes.next().await.expect("a client never ends by itself") {
            Status::Resumed { node: at, .. } => return assert_eq!(at.as_str(), node),
            Status::Closed { error } => panic!("{error:?}"),
            _ => {}
        }
    }
}
