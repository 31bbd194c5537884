//! The protocol is what `proto/README.md` says: a client made from that page alone, over another implementation of QUIC,
//! talks to a node and, through the mesh, to the Rust SDK in another region, and each sees who is present with it. The
//! scenarios are in `tests/peers/client.py`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Stdio;

use farwire_client::{Event, Subscription};
use farwire_tests::client::RawClient;
use farwire_tests::mesh::TestMesh;
use farwire_tests::wait::within_patience;
use farwire_wire::ChannelName;
use farwire_wire::client::{ClientBody, Enter, ServerBody};
use farwire_wire::presence::PresenceState;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/client.py");
/// What the script expects on `live.rust.room`.
const FROM_RUST: usize = 20;
/// What the script publishes to `live.py.room` before it provokes an error.
const FROM_PYTHON: usize = 100;

/// The Python that `tests/setup.sh` made, or the one in the path.
fn python() -> &'static str {
    const MADE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python/bin/python3");
    if std::path::Path::new(MADE).exists() { MADE } else { "python3" }
}

/// The script, while it runs.
struct Python {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Python {
    fn start(mesh: &TestMesh, node: &str) -> Self {
        let address = mesh.node(node).addresses().client.clone();
        let (host, port) = address.rsplit_once(':').unwrap();
        let token = mesh.token("python", &["live.>:publish,subscribe,presence"]);
        let mut command = Command::new(python());
        command.arg(CLIENT).args([host, port]).arg(mesh.client_ca()).env("FARWIRE_TOKEN", token);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("this test needs Python with aioquic: run tests/setup.sh");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next line, or a panic with what the script says of its end.
    async fn line(&mut self) -> Value {
        match within_patience("a line of the script", self.lines.next_line()).await.unwrap() {
            Some(line) => serde_json::from_str(&line).unwrap(),
            None => self.fault().await,
        }
    }

    async fn fault(&mut self) -> Value {
        let mut stderr = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
        panic!("{CLIENT} failed:\n{stderr}");
    }
}

async fn payload(subscription: &mut Subscription) -> String {
    match within_patience("the next message", subscription.next()).await {
        Some(Event::Message(message)) => String::from_utf8(message.payload.to_vec()).unwrap(),
        other => panic!("instead of a message: {other:?}"),
    }
}

/// Asks what the node must grant.
async fn granted(client: &mut RawClient, request: ClientBody, answer: ServerBody) {
    client.ask([request]).await;
    assert_eq!(client.answer().await.map(|frame| frame.body), Some(answer));
}

/// Is present in the other region while the script watches, until it has seen who is there; what it saw.
async fn be_watched(mesh: &TestMesh, python: &mut Python) -> Value {
    let channel = ChannelName::parse("live.py.desk").unwrap();
    let mut raw = RawClient::open(mesh, "iad-1").await;
    assert_eq!(python.line().await, json!({"watching": "live.py.desk", "pending": []}));
    let enter = Enter { channel: channel.clone(), state: PresenceState::parse(r#"{"from":"iad"}"#).unwrap() };
    granted(&mut raw, ClientBody::Enter(enter), ServerBody::EnterOk).await;
    let seen = python.line().await;
    granted(&mut raw, ClientBody::Leave(channel), ServerBody::LeaveOk).await;
    seen
}

fn assert_present(seen: &Value) {
    let nobody = &seen["present"]["live.py.nobody"];
    assert_eq!((&nobody["occupancy"], &nobody["occupants"]), (&json!(0), &json!([])));
    let desk = &seen["present"]["live.py.desk"];
    assert_eq!((&desk["occupancy"], &desk["clients"]), (&json!(2), &json!(2)));
    for region in ["fra", "iad"] {
        let part = &desk["regions"][region];
        assert_eq!((&part["occupancy"], &part["reachable"]), (&json!(1), &json!(true)));
        assert!(part["as_of_us"].as_u64() > desk["occupants"][1]["since_us"].as_u64(), "{desk}");
    }
    let occupant = |n: usize| ["client", "state", "node"].map(|field| desk["occupants"][n][field].clone());
    assert_eq!(occupant(0), ["python", r#"{"at":"desk"}"#, "fra-1"]);
    assert_eq!(occupant(1), ["raw", r#"{"from":"iad"}"#, "iad-1"]);
    assert_eq!(seen["places"]["python"], json!([["live.py.desk", "fra-1", "fra"]]));
    assert_eq!(seen["places"]["raw"], json!([["live.py.desk", "iad-1", "iad"]]));
}

/// Events as the script saw them: the client's move to another connection is none.
fn assert_watched(seen: &Value) {
    let events = json!([
        ["join", "raw", r#"{"from":"iad"}"#, 1],
        ["join", "python", r#"{"at":"door"}"#, 2],
        ["state", "python", r#"{"at":"desk"}"#, 2],
        ["state", "python", r#"{"at":"sofa"}"#, 2],
        ["leave", "python", "", 1],
        ["leave", "raw", "", 0],
    ]);
    assert_eq!(seen["events"], events);
    assert_eq!((&seen["came_and_went"], &seen["forbidden"]), (&json!([2, 2]), &json!(0x114)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_made_from_the_readme_talks_to_the_sdk_in_another_region() {
    let mesh = TestMesh::start(&[("fra", 1), ("iad", 1)]).await;
    let rust = mesh.client("iad-1").await;
    let mut subscription = rust.subscribe("live.py.room").await.unwrap();
    assert!(subscription.pending_regions().is_empty());

    let mut python = Python::start(&mesh, "fra-1");
    assert_eq!(python.line().await["pending"], json!([]));
    let sent: Vec<String> = (0..FROM_RUST).map(|n| format!("from Rust {n}")).collect();
    for payload in &sent {
        rust.publish("live.rust.room", payload.clone()).await.unwrap();
    }
    assert_present(&be_watched(&mesh, &mut python).await);
    let seen = python.line().await;
    assert_watched(&seen["presence"]);

    for n in 1..=FROM_PYTHON {
        assert_eq!(payload(&mut subscription).await, format!("message {n}"));
    }
    assert_eq!(payload(&mut subscription).await, "the session goes on");
    assert_eq!(seen["from_rust"], json!(sent));
    assert_eq!(seen["received"]["live.py.room"], FROM_PYTHON);
    assert_eq!((&seen["node"], &seen["region"]), (&json!("fra-1"), &json!("fra")));
    assert_eq!((&seen["version"], &seen["client_id"]), (&json!(1), &json!("python")));
    assert_eq!(seen["entry_points"], 2);
    assert_eq!((&seen["bad_channel"]["code"], &seen["version_99"]["code"]), (&json!(0x105), &json!(0x101)));
    assert!(within_patience("the script's end", python.process.wait()).await.unwrap().success());
}
