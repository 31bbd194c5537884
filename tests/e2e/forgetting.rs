//! A member that the operator forgets is gone on every node, and a member again when it comes back.

use farwire_tests::mesh::TestMesh;
use farwire_tests::{http, wait};
use serde_json::Value;

async fn member(mesh: &TestMesh, witness: &str, name: &str) -> Option<Value> {
    let page = http::get_json(mesh.node(witness).addresses().admin, "/v1/mesh").await;
    page["members"].as_array()?.iter().find(|member| member["name"] == name).cloned()
}

async fn forget(mesh: &TestMesh, by: &str, name: &str) -> (u16, String) {
    http::delete(mesh.node(by).addresses().admin, &format!("/v1/members/{name}")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_member_is_gone_everywhere_until_it_comes_back() {
    let mut mesh = TestMesh::start(&[("fra", 2), ("iad", 2)]).await;
    let (status, refusal) = forget(&mesh, "fra-1", "fra-2").await;
    assert!(status == 409 && refusal.contains("fra-2 is alive"), "{status} {refusal}");
    assert_eq!(forget(&mesh, "fra-1", "fra-9").await.0, 404);
    assert_eq!(forget(&mesh, "fra-1", "fra-1").await.0, 409);
    assert_eq!(forget(&mesh, "fra-1", "a%20b").await.0, 400);

    mesh.take("fra-2").shutdown().await;
    wait::until("the leaver is down to everybody", async || {
        for witness in ["fra-1", "iad-1", "iad-2"] {
            let state = member(&mesh, witness, "fra-2").await?["state"].clone();
            if state != "left" {
                return None;
            }
        }
        Some(())
    })
    .await;
    // Cut off while the order is given, as far as that can be had without a network of one's own: it is not there.
    mesh.take("iad-2").shutdown().await;
    let answer = wait::until("iad-1 has no link to it any more either", async || {
        let (status, answer) = forget(&mesh, "iad-1", "fra-2").await;
        (status == 200).then(|| serde_json::from_str::<Value>(&answer).unwrap())
    })
    .await;
    assert_eq!((answer["forgotten"].as_str(), answer["told"].as_array().map(Vec::len)), (Some("fra-2"), Some(1)));
    assert_eq!(member(&mesh, "iad-1", "fra-2").await, None, "gone where it was said, when the answer is there");
    wait::until("gone elsewhere", async || member(&mesh, "fra-1", "fra-2").await.is_none().then_some(())).await;
    assert_eq!(forget(&mesh, "fra-1", "fra-2").await.0, 404);

    mesh.start_node(&"fra-2".parse().unwrap()).await;
    wait::until("the node is a member again", async || {
        for witness in ["fra-1", "iad-1"] {
            let back = member(&mesh, witness, "fra-2").await?;
            if back["state"] != "alive" || back["reachable"] != true {
                return None;
            }
        }
        Some(())
    })
    .await;
}
