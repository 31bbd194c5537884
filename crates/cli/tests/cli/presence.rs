//! `farwire presence` and `farwire sub --presence` against a real mesh of two regions: what each sees of the other, how they end, and what is
//! refused.

use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Guard, Mesh, farwire, lines, wait_for};

fn start(mesh: &Mesh, line: &str) -> (Guard, Receiver<String>) {
    let child: Child = mesh.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
    let mut process = Guard(child);
    let lines = lines(process.0.stdout.take().expect("piped"));
    (process, lines)
}

fn interrupt(mut process: Guard) {
    process.signal(Signal::INT);
    assert!(process.0.wait().expect("our child").success(), "Ctrl-C is a clean end");
}

fn value(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"))
}

#[test]
fn who_joins_is_seen_everywhere_with_a_state_and_leaves_at_once() {
    let mesh = Mesh::start("--wan none --regions fra,iad");
    let (watch, seen) = start(&mesh, "presence live.room live.* --watch --json --region iad");
    let snapshot = value(&wait_for(&seen, ""));
    assert_eq!((&snapshot["channel"], &snapshot["occupancy"]), (&json!("live.room"), &json!(0)), "{snapshot}");
    wait_for(&seen, "connected");
    // Its reader goes away with the next line, and with the one after it this one ends too.
    let (mut unread, seen_first) = start(&mesh, "presence live.room --watch");
    wait_for(&seen_first, "iad");
    drop(seen_first);

    let (present, told) = start(&mesh, r#"sub live.room demo.> --presence --state {"mood":1.50} --json --region fra"#);
    let join = r#"{"presence":"join","channel":"live.room","client_id":"up","state":{"mood":1.50},"occupancy":1}"#;
    assert_eq!((wait_for(&told, "join"), wait_for(&seen, "presence")), (join.to_owned(), join.to_owned()));

    let both = mesh.text("presence live.none live.room --json --region iad");
    let both: Vec<Value> = both.lines().map(value).collect();
    let of = |line: &Value| (line["channel"].clone(), line["occupancy"].clone(), line["clients"].clone());
    assert_eq!(of(&both[0]), (json!("live.none"), json!(0), json!(0)));
    assert_eq!(of(&both[1]), (json!("live.room"), json!(1), json!(1)));
    let regions = &both[1]["regions"];
    assert!(regions["fra"]["occupancy"] == 1 && regions["fra"]["as_of"].is_u64(), "{regions}");
    assert!(regions["iad"]["occupancy"] == 0 && regions["iad"]["reachable"] == true, "{regions}");
    assert!(both[1].get("occupants").is_none(), "not asked for: {}", both[1]);
    let listed = value(&mesh.text("presence live.room --occupants --json --region iad"));
    let since = &listed["occupants"][0]["since"];
    assert!(since.is_u64(), "{listed}");
    let up = json!([{"client_id": "up", "state": {"mood": 1.5}, "node": "fra-1", "since": since}]);
    assert_eq!(listed["occupants"], up);
    let place = json!([{"channel": "live.room", "node": "fra-1", "region": "fra", "since": since}]);
    let located = value(&mesh.text("presence --where up --json --region iad"));
    assert_eq!(located, json!({"client_id": "up", "places": place, "unreachable": []}));
    assert!(mesh.text("mesh channel live.room").contains("present    1 session of 1 client\n"));

    interrupt(present);
    let leave = r#"{"presence":"leave","channel":"live.room","client_id":"up","occupancy":0}"#;
    assert_eq!(wait_for(&seen, "presence"), leave, "told once, and not held for lost");
    assert!(unread.0.wait().expect("our child").success(), "a reader that went away is a clean end");
    interrupt(watch);
    mesh.stop();
}

#[test]
fn a_pattern_is_only_watched_and_a_token_without_the_grant_learns_which() {
    let mesh = Mesh::start("--wan none --regions fra");
    let output = mesh.command("presence live.* --region fra").output().expect("started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(4) && said.contains("--watch"), "{said}");

    let mut mint = farwire("token mint --grant live.>:subscribe --client-id eve");
    let minted = mesh.dir.path().join("eve.token");
    mint.arg("--dir").arg(mesh.dir.path()).arg("--out").arg(&minted);
    assert!(mint.output().expect("started").status.success());
    for line in ["presence live.room", "presence live.> --watch", "sub live.room --presence"] {
        let mut command = mesh.command(line);
        let output = command.arg("--token").arg(&minted).output().expect("started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{line}: {said}");
        assert!(said.contains(":presence`; farwire token mint --grant"), "{line}: {said}");
    }
    mesh.stop();
}
