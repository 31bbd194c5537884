//! A peer that is stuck costs a bounded queue and delays nobody else.

use std::time::Duration;

use farwire_client::Event;
use farwire_tests::http;
use farwire_tests::mesh::TestMesh;
use farwire_tests::peer::RawPeer;
use farwire_tests::wait::{self, within_patience};
use farwire_wire::peer::{Interest, PeerFrame};
use farwire_wire::{Pattern, ViewDigest};

const MESSAGES: usize = 360;
/// In all more than the queue of a link (8 MiB) and what QUIC takes before a stream's reader must have read (1.3 MB).
const PAYLOAD_BYTES: usize = 40 * 1024;

fn wants_everything() -> PeerFrame {
    let add = vec![Pattern::parse(">").unwrap()];
    PeerFrame::Interest(Interest { version: 1, view: ViewDigest(0), whole: true, add, remove: Vec::new() })
}

async fn shed(mesh: &TestMesh, node: &str) -> Option<u64> {
    let (_, page) = http::get(mesh.node(node).addresses().admin, "/metrics").await?;
    let line = page.lines().find(|line| line.starts_with("farwire_link_shed_messages_total"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_delays_nobody() {
    // The mesh file has a third node of the region; the test takes its place.
    let mut mesh = TestMesh::prepare(&[("fra", 3)]);
    for name in ["fra-1", "fra-2"] {
        mesh.start_node(&name.parse().unwrap()).await;
    }
    mesh.settled().await;
    let (publisher, subscriber) = (mesh.client("fra-1").await, mesh.client("fra-2").await);
    let mut subscription = subscriber.subscribe("live.bulk").await.unwrap();
    let mut stuck = RawPeer::link(&mesh, "fra-3", "fra-1").await;
    let mut other = RawPeer::link(&mesh, "fra-3", "fra-2").await;
    // Whichever of the two owns the channel, it has a peer that takes everything and reads nothing.
    stuck.say(wants_everything()).await;
    other.say(wants_everything()).await;

    for number in 0..MESSAGES {
        publisher.publish("live.bulk", vec![0; PAYLOAD_BYTES]).await.unwrap();
        if number % 10 == 0 {
            // It is heard, so that nobody routes around it, and confirms whatever was sent.
            let ping = PeerFrame::Ping { number: number as u64 + 1, seen: u64::MAX };
            stuck.say(ping.clone()).await;
            other.say(ping).await;
        }
        let next = tokio::time::timeout(Duration::from_secs(5), subscription.next());
        assert!(matches!(next.await, Ok(Some(Event::Message(_)))), "message {number} is held up");
    }
    let shed = within_patience("what was shed is counted", async {
        wait::until("something was shed", async || {
            let shed = shed(&mesh, "fra-1").await? + shed(&mesh, "fra-2").await?;
            (shed > 0).then_some(shed)
        })
        .await
    })
    .await;
    assert!(shed < MESSAGES as u64, "{shed}");
}
