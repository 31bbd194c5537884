//! A node that leaves on purpose is not taken for dead.

use farwire_tests::mesh::TestMesh;
use farwire_tests::{http, wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_is_out_of_the_ring_at_once_and_stays_left() {
    let mut mesh = TestMesh::start(&[("fra", 2), ("iad", 1)]).await;
    mesh.take("fra-2").shutdown().await;
    for witness in ["fra-1", "iad-1"] {
        let admin = mesh.node(witness).addresses().admin;
        wait::until("the leaver is listed as left", async || {
            let page = http::get_json(admin, "/v1/mesh").await;
            let member = page["members"].as_array()?.iter().find(|member| member["name"] == "fra-2")?.clone();
            (member["state"] == "left" && member["in_ring"] == false).then_some(())
        })
        .await;
    }
}
