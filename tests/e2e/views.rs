//! Nodes that act on different views tell each other.

use farwire_tests::mesh::TestMesh;
use farwire_tests::peer::RawPeer;
use farwire_tests::{http, wait};
use farwire_wire::ViewDigest;
use farwire_wire::peer::{Messages, NodeState, PeerFrame, Step};

/// A view that no node has.
const OTHER: ViewDigest = ViewDigest(0x4142_4344_4546_4748);

async fn mesh_of_one() -> TestMesh {
    let mut mesh = TestMesh::prepare(&[("fra", 2)]);
    mesh.start_node(&"fra-1".parse().unwrap()).await;
    mesh
}

async fn view_of_peer(mesh: &TestMesh) -> Option<String> {
    let links = http::get_json(mesh.node("fra-1").addresses().admin, "/v1/links").await;
    links["links"].as_array()?.first()?["view"].as_str().map(str::to_owned)
}

fn state(frame: PeerFrame) -> Option<NodeState> {
    if let PeerFrame::State(state) = frame { Some(state) } else { None }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_under_another_view_are_answered_with_the_nodes_own() {
    let mesh = mesh_of_one().await;
    let mut peer = RawPeer::link(&mesh, "fra-2", "fra-1").await;
    peer.send(&Messages { step: Step::ToNode, view: OTHER, hops: 0, entries: Vec::new(), relay_to: None }).await;
    let told = peer
        .hear("the node's view", |frame| match frame {
            PeerFrame::ViewAnswer(view) => Some(view),
            _ => None,
        })
        .await;
    let page = http::get_json(mesh.node("fra-1").addresses().admin, "/v1/mesh").await;
    assert_eq!(page["view"], told.to_string());
    assert_eq!(view_of_peer(&mesh).await, Some(OTHER.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_answered_with_another_view_tells_its_state_and_shows_the_view() {
    let mesh = mesh_of_one().await;
    let mut peer = RawPeer::link(&mesh, "fra-2", "fra-1").await;
    // The first state comes with the link, further ones every 2 s: many at once come for the answers.
    let first = peer.hear("the state at the start", state).await.revision;
    for _ in 0..20 {
        peer.say(PeerFrame::ViewAnswer(OTHER)).await;
    }
    let begun = std::time::Instant::now();
    peer.hear("a state for each answer", |frame| state(frame).filter(|state| state.revision >= first + 20)).await;
    assert!(begun.elapsed().as_secs() < 20, "states came by their own rhythm only");
    wait::until("the view is shown", async || view_of_peer(&mesh).await.filter(|view| *view == OTHER.to_string()))
        .await;
}
