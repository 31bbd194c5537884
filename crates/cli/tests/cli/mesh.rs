//! `farwire mesh` against a real mesh of two nodes: every page for programs and for people, and events that go on when their node dies.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Guard, Mesh, farwire, lines, wait_for};

const PAGES: [(&str, &str); 8] = [
    ("", "members"),
    ("nodes", "members"),
    ("links", "links"),
    ("ring", "regions"),
    ("channels", "channels"),
    ("channel live.a", "regions"),
    ("sessions", "sessions"),
    ("slo", "pairs"),
];

#[test]
fn every_page_is_told_and_events_go_on_when_their_node_dies() {
    let mesh = Mesh::start("--wan none --regions fra,iad");
    mesh.run("pub live.a hello");
    for (page, field) in PAGES {
        let json = mesh.text(&format!("mesh {page} --json"));
        assert_eq!(json.lines().count(), 1, "{page}: {json}");
        let answer: Value = serde_json::from_str(&json).unwrap_or_else(|err| panic!("{page}: {err}"));
        assert!(answer[field].is_array(), "{page}: {json}");
        let text = mesh.text(&format!("mesh {page} --region iad"));
        assert!(text.ends_with('\n') && !text.contains('{'), "{page}: {text}");
    }
    assert!(mesh.text("mesh --node iad-1").contains("as iad-1 sees it: 2 members"));
    assert!(mesh.text("mesh channels").contains("live.a"));

    let mut events = mesh.command("mesh events --json --node iad-1");
    let mut events = Guard(events.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started"));
    let told = lines(events.0.stdout.take().expect("piped"));
    let notes = lines(events.0.stderr.take().expect("piped"));
    wait_for(&notes, "events as iad-1");
    mesh.run("up ctl kill iad-1");
    wait_for(&notes, "events as fra-1");
    mesh.run("pub live.a again --region fra");
    let event: Value = serde_json::from_str(&wait_for(&told, "\"session\"")).expect("JSON");
    assert!(event["at"].is_u64() && event["open"].is_boolean(), "{event}");
    events.signal(Signal::INT);
    assert!(events.0.wait().expect("our child").success(), "Ctrl-C is a clean end");

    assert!(mesh.text("mesh --node iad-1").contains("as fra-1 sees it"), "the next node is asked");
    mesh.stop();
}

#[test]
fn nobody_to_ask_is_worth_trying_again() {
    let output = farwire("mesh --admin http://127.0.0.1:1").output().expect("started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(5), 0), "{stderr}");
    assert!(stderr.contains("http://127.0.0.1:1") && stderr.contains("farwire up"), "{stderr}");
}
