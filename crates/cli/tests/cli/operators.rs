//! What an operator does before a node runs: makes a mesh, issues and renews certificates, checks a config.

use std::path::Path;
use std::process::Output;

use crate::support::farwire;

fn run(dir: &Path, line: &str) -> Output {
    farwire(line).current_dir(dir).output().expect("started")
}

fn text(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A mesh of fra-1 and iad-1 with the config of fra-1, whose files are in certs.
fn prepare(dir: &Path) {
    text(dir, "certs init --mesh lab --region fra=fra-1 --region iad=iad-1");
    text(dir, "certs issue fra-1 --address 192.0.2.10 --address fra-1.example.com");
    let config = r#"
mesh = "certs/mesh.toml"
name = "fra-1"
region = "fra"
data_dir = "data"
client = { bind = "127.0.0.1:0", advertise = "192.0.2.10:7400" }
peer = { bind = "127.0.0.1:0", advertise = "192.0.2.10:7440" }
admin.bind = "127.0.0.1:0"
auth.issuers = ["certs/issuer.pub"]
[tls]
client_cert = "certs/nodes/fra-1/client.pem"
client_key = "certs/nodes/fra-1/client.key"
peer_cert = "certs/nodes/fra-1/peer.pem"
peer_key = "certs/nodes/fra-1/peer.key"
peer_ca = "certs/peer-ca.pem"
"#;
    std::fs::write(dir.join("node.toml"), config).expect("written");
}

#[test]
fn a_renewal_keeps_the_addresses_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    prepare(dir.path());
    let renewed = text(dir.path(), "certs issue fra-1");
    let want = "clients reach it at: 192.0.2.10, fra-1.example.com, taken over from the old certificate";
    assert!(renewed.contains(want), "{renewed}");
    assert_eq!(text(dir.path(), "node check --config node.toml"), "node.toml: sound: node fra-1 in fra\n");
    let alone = text(dir.path(), "certs issue iad-1");
    assert!(alone.contains("this machine only: give --address"), "{alone}");
}

#[test]
fn a_check_and_a_start_find_the_same_faults_in_the_files() {
    let dir = tempfile::tempdir().expect("a directory");
    prepare(dir.path());
    text(dir.path(), "certs issue iad-1 --address 192.0.2.10");
    let copy = |from: &str, to: &str| std::fs::copy(dir.path().join(from), dir.path().join(to)).expect("copied");
    copy("certs/nodes/iad-1/peer.pem", "certs/nodes/fra-1/peer.pem");
    let set = "--config node.toml --set region=iad client.advertise=192.0.2.99:7400";
    let check = run(dir.path(), &format!("node check {set}"));
    let faults = String::from_utf8_lossy(&check.stdout).into_owned();
    let lines: Vec<&str> = faults.lines().collect();
    assert_eq!((check.status.code(), lines.len()), (Some(1), 4), "{faults}");
    assert!(lines[0].contains("tls.peer_cert") && lines[0].contains("the certificate of iad-1"), "{faults}");
    assert!(lines[1].contains("tls.peer_key") && lines[1].contains("is not the private key"), "{faults}");
    assert!(lines[2].starts_with("--set: client.advertise: ") && lines[2].contains("192.0.2.99"), "{faults}");
    assert!(lines[3].starts_with("--set: region: ") && lines[3].contains("write region = \"fra\""), "{faults}");
    let start = run(dir.path(), &format!("node {set}"));
    let told = String::from_utf8_lossy(&start.stderr);
    assert!(start.status.code() == Some(1) && told.starts_with(&faults), "{told}");
    assert!(told.ends_with("farwire: node.toml has 4 fault(s), listed above: mend them and try again\n"), "{told}");
}

#[test]
fn what_a_new_mesh_suggests_works() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = text(dir.path(), "certs init --mesh lab --region fra=fra-1 --dir mesh");
    let commands = told.lines().filter_map(|line| line.trim().strip_prefix("farwire "));
    let commands: Vec<String> = commands.map(|line| line.replace('\'', "")).collect();
    assert_eq!(commands.len(), 2, "{told}");
    for command in &commands {
        text(dir.path(), command);
    }
    let token = text(dir.path(), "token inspect me.token");
    assert!(token.contains("live.>") && !token.contains(" >:"), "{token}");
}
