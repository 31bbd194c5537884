//! Certificates that are replaced on disk are used by the next connection, without a restart.

use std::path::Path;

use farwire_client::{Client, ConnectOptions, EntryPoint};
use farwire_tests::mesh::TestMesh;
use farwire_tests::peer::{Papers, RawPeer};
use farwire_tests::wait;
use farwire_tests::wait::within_patience;

/// Puts the files of one mesh's node in the place of another's, as a renewal does: each in one step.
fn replace(from: &TestMesh, to: &TestMesh, node: &str, files: &[&str]) {
    for file in files {
        let of = |mesh: &TestMesh| mesh.path().join("nodes").join(node).join(file);
        put(&of(from), &of(to));
    }
}

fn put(from: &Path, to: &Path) {
    let beside = to.with_extension("new");
    std::fs::copy(from, &beside).unwrap();
    std::fs::rename(&beside, to).unwrap();
}

/// A client of the running mesh that trusts the authority of `trusted` alone.
async fn connect(mesh: &TestMesh, trusted: &TestMesh) -> Option<Client> {
    let address = mesh.node("fra-1").addresses().client.clone();
    let options = ConnectOptions::new([EntryPoint::from(address.as_str())]).ca_file(trusted.client_ca());
    Client::connect(options.token(mesh.token("tester", &["live.>:publish,subscribe"]))).await.ok()
}

/// A mesh that runs, and another of the same name with authorities of its own, of which nothing runs.
async fn meshes() -> (TestMesh, TestMesh) {
    let node = "fra-1".parse().unwrap();
    let (mut mesh, other) = (TestMesh::prepare(&[("fra", 2)]), TestMesh::prepare(&[("fra", 2)]));
    mesh.start_node(&node).await;
    other.issue(&node);
    (mesh, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_replaced_on_disk_is_shown_to_the_next_client() {
    let (mesh, other) = meshes().await;
    let before = connect(&mesh, &mesh).await.expect("the first certificate is in use");
    assert!(connect(&mesh, &other).await.is_none(), "nobody has the other one yet");
    replace(&other, &mesh, "fra-1", &["client.key", "client.pem"]);
    let after = wait::until("the new certificate is shown", async || connect(&mesh, &other).await).await;
    assert!(connect(&mesh, &mesh).await.is_none(), "the old one is not shown any more");
    for client in [before, after] {
        within_patience("an ack", client.publish("live.a", "x")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_certificates_and_authorities_replaced_on_disk_are_used_by_the_next_link() {
    let (mesh, other) = meshes().await;
    let (old, new) = (Papers::of(&mesh, "fra-2"), Papers::of(&other, "fra-2"));
    let links = async |papers: &Papers| RawPeer::try_link(&mesh, "fra-1", papers).await.is_some();
    assert!(links(&old).await && !links(&new).await && !links(&new.trusting(&old)).await);

    // First all trust both, then all show a certificate of the new one.
    let (old_file, new_file) = (mesh.path().join("peer-ca.pem"), other.path().join("peer-ca.pem"));
    let (before, both) = (mesh.path().join("before.pem"), mesh.path().join("both.pem"));
    std::fs::copy(&old_file, &before).unwrap();
    std::fs::write(&both, [std::fs::read(&old_file).unwrap(), std::fs::read(&new_file).unwrap()].concat()).unwrap();
    put(&both, &old_file);
    wait::until("both are trusted", async || links(&new.trusting(&old)).await.then_some(())).await;
    assert!(links(&old).await);

    replace(&other, &mesh, "fra-1", &["peer.key", "peer.pem"]);
    wait::until("the new certificate is shown", async || links(&new).await.then_some(())).await;
    assert!(!links(&old).await, "who trusts only the old authority must not link");

    // Without the authority that the mesh is named after a node would not start again: such a file is not taken. When
    // the other certificate is shown the authorities have been looked at, too.
    put(&new_file, &old_file);
    replace(&other, &mesh, "fra-1", &["client.key", "client.pem"]);
    wait::until("the files are looked at", async || connect(&mesh, &other).await).await;
    assert!(links(&old.trusting(&new)).await);

    put(&before, &old_file);
    wait::until("the new authority is not trusted any more", async || (!links(&new).await).then_some(())).await;
}
