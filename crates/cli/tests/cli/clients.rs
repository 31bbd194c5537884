//! `farwire pub` and `farwire sub` against a real mesh of two regions: where they connect, how they stop, what they say.

use std::io::Write;
use std::process::{Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Guard, Mesh, farwire, lines, wait_for, wait_until};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Runs `line` against one node by hand, without the context.
fn by_hand(mesh: &Mesh, region: &str, line: &str) -> Output {
    let node = &mesh.context["regions"][region][0]["client"];
    let flag = |name: &str| mesh.context[name].as_str().expect("a path").to_owned();
    let mut command = farwire(line);
    command.arg("--server").arg(node.as_str().expect("an address"));
    command.arg("--ca").arg(flag("ca")).arg("--token").arg(flag("token")).output().expect("started")
}

fn summary(output: &Output) -> Value {
    let last = text(&output.stdout).lines().last().map(|line| serde_json::from_str(line).expect("JSON"));
    last.map(|line: Value| line["summary"].clone()).unwrap_or_else(|| panic!("no summary: {output:?}"))
}

#[test]
fn clients_find_their_place_stop_in_good_order_and_say_what_is_wrong() {
    let mesh = Mesh::start("--wan none --regions fra,iad");

    wait_until("fra-1 tells clients of iad-1", || {
        let nodes: Value = serde_json::from_str(&mesh.text("mesh nodes --json --node fra-1")).expect("JSON");
        let members = nodes["members"].as_array().expect("members");
        members.iter().filter(|node| node["in_ring"] == true && node["client"] != "").count() == 2
    });
    let there = by_hand(&mesh, "fra", "pub live.a hello --json --region iad");
    let taken = summary(&there);
    assert_eq!((&taken["node"], &taken["region"], &taken["acked"]), (&"iad-1".into(), &"iad".into(), &1.into()));
    assert!(text(&there.stderr).contains("connected: iad-1 in iad"), "{there:?}");

    for (flag, known) in [("--region mars", "it has fra, iad"), ("--node fra-9", "it has fra-1, iad-1")] {
        let output = by_hand(&mesh, "fra", &format!("pub live.a hello {flag}"));
        assert!(output.status.code() == Some(2) && text(&output.stderr).contains(known), "{output:?}");
    }

    let output = mesh.command("sub live.a --client-id nobody-like-this").output().expect("started");
    assert!(
        output.status.code() == Some(4) && text(&output.stderr).contains("the token is that of client"),
        "{output:?}"
    );

    let output = mesh.command("pub live.a hello --token no/such/file").output().expect("started");
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("farwire token mint"), "{output:?}");

    stopped_pub_tells_all_acks(&mesh);
    mesh.stop();
}

fn stopped_pub_tells_all_acks(mesh: &Mesh) {
    let mut command = mesh.command("pub live.a --lines --json");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut publisher = Guard(command.spawn().expect("started"));
    let mut stdin = publisher.0.stdin.take().expect("piped");
    stdin.write_all(b"one\ntwo\nthree is not whole").expect("the publisher reads");
    let stdout = lines(publisher.0.stdout.take().expect("piped"));
    wait_for(&stdout, "\"number\":2");
    publisher.signal(Signal::INT);
    let told: Value = serde_json::from_str(&wait_for(&stdout, "summary")).expect("JSON");
    let told = &told["summary"];
    assert_eq!((&told["sent"], &told["acked"], &told["failed"]), (&2.into(), &2.into(), &0.into()), "{told}");
    assert!(publisher.0.wait().expect("our child").success());
    drop(stdin);
}
