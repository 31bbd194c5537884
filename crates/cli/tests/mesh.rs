//! `farwire mesh` against a real mesh of two nodes: every page for programs and for people, and events that go on when their node dies.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
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

/// A process that does not outlive its test, however that ends.
struct Guard(Child);

impl Guard {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).expect("the process has not been waited for");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Either fails only when the process has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Mesh {
    up: Guard,
    dir: tempfile::TempDir,
}

impl Mesh {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = farwire("up --json --wan none --regions fra,iad --demo none");
        command.arg("--dir").arg(dir.path()).stdout(Stdio::piped());
        let mut up = Guard(command.spawn().expect("started"));
        let first = lines(up.0.stdout.take().expect("piped")).recv_timeout(PATIENCE).expect("mesh.json in time");
        assert!(first.starts_with("{\"mesh\""), "{first}");
        Self { up, dir }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = farwire(line);
        command.arg("--context").arg(self.dir.path().join("mesh.json"));
        command
    }

    fn run(&self, line: &str) -> Output {
        let output = self.command(line).output().expect("started");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn text(&self, line: &str) -> String {
        String::from_utf8(self.run(line).stdout).expect("text")
    }

    fn stop(mut self) {
        self.up.signal(Signal::TERM);
        assert!(self.up.0.wait().expect("our child").success());
    }
}

fn farwire(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farwire"));
    command.args(line.split(' ').filter(|word| !word.is_empty())).stdin(Stdio::null());
    for name in ["FARWIRE_ADMIN", "FARWIRE_CONTEXT", "FARWIRE_SERVER", "FARWIRE_LOG"] {
        command.env_remove(name);
    }
    command
}

/// The lines as they come, so that waiting for one can end.
fn lines(reader: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1024);
    std::thread::spawn(move || {
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        lines.map_while(|line| sender.send(line).ok()).for_each(drop);
    });
    receiver
}

fn wait_for(lines: &Receiver<String>, part: &str) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect(part);
        if line.contains(part) {
            return line;
        }
    }
}

#[test]
fn every_page_is_told_and_events_go_on_when_their_node_dies() {
    let mesh = Mesh::start();
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
