//! What an operator does before a node runs: makes a mesh, issues and renews certificates, checks a config.

use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Guard, Mesh, farwire, lines, wait_for};

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
peer.bind = "127.0.0.1:0"
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

/// Every line of a node's stderr from its start to its end by SIGTERM.
fn log_of_a_node(dir: &Path, command: &mut std::process::Command) -> Vec<String> {
    let mut node = Guard(command.current_dir(dir).stderr(Stdio::piped()).spawn().expect("started"));
    let told = lines(node.0.stderr.take().expect("piped"));
    let mut seen = vec![wait_for(&told, "node started")];
    node.signal(Signal::TERM);
    assert!(node.0.wait().expect("our child").success());
    seen.extend(told.iter());
    seen
}

#[test]
fn a_node_logs_what_and_how_it_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    prepare(dir.path());
    let start = "node --config node.toml";
    let json = log_of_a_node(dir.path(), &mut farwire(&format!("{start} --log-format json")));
    for line in &json {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|err| panic!("{line}: {err}"));
        assert!(["timestamp", "level", "message", "target"].iter().all(|field| line[field].is_string()), "{line}");
    }
    let only = "warn,farwire_node::node=info";
    let text = log_of_a_node(dir.path(), farwire(start).env("FARWIRE_LOG", only));
    assert!(text.iter().all(|line| line.contains(" farwire_node::node: ")), "{text:?}");

    let mut failing = farwire(&format!("{start} --set weight=17"));
    let failed = failing.env("FARWIRE_LOG_FORMAT", "json").current_dir(dir.path()).output().expect("started");
    let last: Value = serde_json::from_slice(&failed.stderr).expect("one line of JSON");
    assert!(last["exit"] == 1 && last["message"].as_str().is_some_and(|text| text.contains("weight")), "{last}");
    let refused = run(dir.path(), &format!("{start} --log a=b=c"));
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
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

#[test]
fn a_doctor_knocks_at_the_seeds_of_a_node_that_does_not_run() {
    let dir = tempfile::tempdir().expect("a directory");
    prepare(dir.path());
    text(dir.path(), "certs issue iad-1 --address 192.0.2.10");
    let files = ["client_cert=client.pem", "client_key=client.key", "peer_cert=peer.pem", "peer_key=peer.key"];
    let files = files.map(|file| format!("tls.{}", file.replace('=', "=certs/nodes/iad-1/")));
    let line = format!("node --config node.toml --log-format json --set name=iad-1 region=iad {}", files.join(" "));
    let mut seed = farwire(&line);
    let mut seed = Guard(seed.current_dir(dir.path()).stderr(Stdio::piped()).spawn().expect("started"));
    let started = wait_for(&lines(seed.0.stderr.take().expect("piped")), "node started");
    let started: Value = serde_json::from_str(&started).expect("JSON");
    let seeds = format!("{},127.0.0.1:1", started["peer"].as_str().expect("an address"));
    let mut doctor = farwire("doctor --config node.toml --json");
    let (found, code) = findings(doctor.current_dir(dir.path()).env("FARWIRE_PEER_SEEDS", seeds));
    let ports = of(&found, "peer ports");
    assert_eq!((code, ports.len()), (Some(1), 2), "{found:#?}");
    assert!(ports[0].0 == "ok" && ports[0].1.starts_with("iad-1 answers at 127.0.0.1:"), "{ports:?}");
    assert!(ports[1].0 == "fail" && ports[1].1.starts_with("127.0.0.1:1: no answer"), "{ports:?}");
    assert_eq!(of(&found, "mesh")[0].0, "fail", "no node of this config runs: {found:#?}");
}

/// The findings of a doctor and its exit code.
fn findings(command: &mut std::process::Command) -> (Vec<Value>, Option<i32>) {
    let output = command.output().expect("started");
    let text = String::from_utf8(output.stdout).expect("text");
    let findings = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    (findings.collect(), output.status.code())
}

fn of<'a>(findings: &'a [Value], check: &str) -> Vec<(&'a str, &'a str)> {
    let found = findings.iter().filter(|finding| finding["check"] == check);
    found
        .map(|finding| (finding["level"].as_str().expect("text"), finding["message"].as_str().expect("text")))
        .collect()
}

#[test]
fn a_doctor_finds_nothing_wrong_in_a_mesh_in_good_health_and_then_the_node_that_died() {
    let mesh = Mesh::start("--wan none --regions fra,iad");
    let config = mesh.dir.path().join("nodes/fra-1/node.toml");
    let doctor = || {
        let mut command = mesh.command("doctor --json");
        command.arg("--config").arg(&config);
        command
    };
    let (found, code) = findings(&mut doctor());
    assert_eq!((code, &found.last().expect("a summary")["summary"]["fail"]), (Some(0), &Value::from(0)), "{found:#?}");
    for (check, count) in
        [("config", 1), ("certificates", 4), ("token", 1), ("members", 1), ("client ports", 2), ("peer ports", 1)]
    {
        let all = of(&found, check);
        assert!(all.len() == count && all.iter().all(|(level, _)| *level == "ok"), "{check}: {all:?}");
    }
    assert!(of(&found, "client ports").iter().all(|(_, text)| text.contains("answers at 127.0.0.1:")), "{found:#?}");

    mesh.run("up ctl kill iad-1");
    let (found, code) = findings(&mut doctor());
    let failed = of(&found, "client ports").into_iter().filter(|(level, _)| *level == "fail").collect::<Vec<_>>();
    assert!(code == Some(1) && failed.len() == 1 && failed[0].1.starts_with("iad-1 at "), "{found:#?}");

    let mut as_client = mesh.command("doctor --region mars");
    assert_eq!(as_client.output().expect("started").status.code(), Some(2));
    mesh.stop();
}
