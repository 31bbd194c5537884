//! Nodes that cannot start: each says which file, port or setting is at fault and what to do, and ends with 1. Beside
//! them runs a mesh whose ports they want and whose certificates they have.

use std::path::Path;
use std::time::{Duration, SystemTime};

use farwire_tests::up::farwire;
use farwire_tests::wait;
use farwire_transport::certs::{self, IssueRequest};
use farwire_wire::NodeName;

use crate::beside::Beside;
use crate::commands::assert_ends;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_start_says_why_and_what_to_do() {
    let beside = Beside::start().await;
    let files = beside.mesh.dir.path();
    let scratch = tempfile::tempdir().unwrap();
    // The config of a node that runs, with settings over it.
    let node = |sets: &str| {
        let config = files.join("nodes/fra-1/node.toml");
        let data = scratch.path().join("data");
        farwire(&format!("node --config {} --set data_dir={} {sets}", config.display(), data.display()))
    };
    assert_ends(node(""), "", 1, &["client port", "in use", "client.bind"]).await;
    assert_ends(node("client.bind=127.0.0.1:0"), "", 1, &["peer port", "in use", "peer.bind"]).await;
    assert_ends(node("client.bind=127.0.0.1:0 peer.bind=127.0.0.1:0"), "", 1, &["admin port", "in use", "admin.bind"])
        .await;

    let elsewhere = |sets: &str| node(&format!("{ANY_PORTS} {sets}"));
    assert_ends(elsewhere("region=mars"), "", 1, &["mars", "fra"]).await;
    assert_ends(elsewhere("name=fra-2"), "", 1, &["fra-1", "fra-2", "certs issue fra-2"]).await;

    let (expired, issued_at) = (scratch.path().join("expired"), SystemTime::now());
    copy_authorities(files, &expired);
    issue(&expired, Duration::ZERO);
    wait::until("the certificate has expired", async || {
        (issued_at.elapsed().ok()? > Duration::from_secs(1)).then_some(())
    })
    .await;
    assert_ends(elsewhere(&peer_certificate(&expired)), "", 1, &["expired", "certs issue"]).await;

    let other = scratch.path().join("other");
    init(&other);
    assert_ends(elsewhere(&peer_certificate(&other)), "", 1, &["did not issue", "certs issue"]).await;
    let authority = format!("tls.peer_ca={}", other.join("peer-ca.pem").display());
    assert_ends(
        elsewhere(&format!("{} {authority}", peer_certificate(&other))),
        "",
        1,
        &["peer authority", "mesh.toml"],
    )
    .await;

    beside.assert_undisturbed().await;
}

#[test]
fn a_config_with_five_faults_is_told_all_five() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("node.toml");
    std::fs::write(&config, FIVE_FAULTS).unwrap();
    for line in ["node --config", "node check --config"] {
        let mut command = farwire(line);
        let output = command.arg(&config).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        for place in [":2: name:", ":5: wieght:", ":9: admin.bind:", ":10: limits.hello_timeout:", ": tls.peer_ca:"] {
            assert!(told.contains(&format!("node.toml{place} ")), "{place} is not in\n{told}");
        }
        assert!(told.lines().last().unwrap().contains("5 fault"), "{told}");
    }
}

fn init(dir: &Path) {
    let line = format!("certs init --mesh local --region fra=fra-1 --dir {}", dir.display());
    assert!(farwire(&line).output().unwrap().status.success());
    issue(dir, Duration::from_secs(3_600));
}

/// What is needed to issue certificates of the mesh in `mesh`.
fn copy_authorities(mesh: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in ["mesh.toml", "peer-ca.pem", "peer-ca.key", "client-ca.pem", "client-ca.key"] {
        std::fs::copy(mesh.join(file), to.join(file)).unwrap();
    }
}

fn issue(dir: &Path, valid_for: Duration) {
    let node = NodeName::parse("fra-1").unwrap();
    certs::issue(&IssueRequest { dir: dir.to_owned(), node, addresses: Vec::new(), valid_for }).unwrap();
}

/// The settings that make a node use the peer certificate of fra-1 in `dir`.
fn peer_certificate(dir: &Path) -> String {
    let dir = dir.join("nodes/fra-1").display().to_string();
    format!("tls.peer_cert={dir}/peer.pem tls.peer_key={dir}/peer.key")
}

const ANY_PORTS: &str = "client.bind=127.0.0.1:0 peer.bind=127.0.0.1:0 admin.bind=127.0.0.1:0";

const FIVE_FAULTS: &str = r#"mesh = "mesh.toml"
name = "Fra-1"
region = "fra"
data_dir = "data"
wieght = 1
client.advertise = "fra-1.example.com:7400"
peer.advertise = "192.0.2.10:7440"
auth.issuers = ["issuer.pub"]
admin.bind = "0.0.0.0:7480"
limits.hello_timeout = 5
[tls]
client_cert = "client.pem"
client_key = "client.key"
peer_cert = "peer.pem"
peer_key = "peer.key"
"#;
