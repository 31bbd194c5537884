//! A mesh of real processes, and the commands that are run against it. Nothing outlives its test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// More than any step takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process that does not outlive its test, however that ends.
pub(crate) struct Guard(pub(crate) Child);

impl Guard {
    pub(crate) fn signal(&self, signal: Signal) {
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

/// A running `farwire up`.
pub(crate) struct Mesh {
    pub(crate) up: Guard,
    pub(crate) dir: tempfile::TempDir,
    /// What it said first: the content of mesh.json.
    pub(crate) context: Value,
}

impl Mesh {
    /// Starts `farwire up --json` with `flags` and waits until it is ready.
    pub(crate) fn start(flags: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = farwire(&format!("up --json --demo none {flags}"));
        command.arg("--dir").arg(dir.path()).stdout(Stdio::piped());
        let mut up = Guard(command.spawn().expect("started"));
        let first = lines(up.0.stdout.take().expect("piped")).recv_timeout(PATIENCE).expect("mesh.json in time");
        let context = serde_json::from_str(&first).expect("the first line is mesh.json");
        Self { up, dir, context }
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = farwire(line);
        command.arg("--context").arg(self.dir.path().join("mesh.json"));
        command
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        let output = self.command(line).output().expect("started");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    pub(crate) fn text(&self, line: &str) -> String {
        String::from_utf8(self.run(line).stdout).expect("text")
    }

    pub(crate) fn stop(mut self) {
        self.up.signal(Signal::TERM);
        assert!(self.up.0.wait().expect("our child").success());
    }
}

pub(crate) fn farwire(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farwire"));
    command.args(line.split(' ').filter(|word| !word.is_empty())).stdin(Stdio::null());
    for name in ["FARWIRE_ADMIN", "FARWIRE_CONTEXT", "FARWIRE_SERVER", "FARWIRE_LOG"] {
        command.env_remove(name);
    }
    command
}

/// The lines as they come, so that waiting for one can end.
pub(crate) fn lines(reader: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1024);
    std::thread::spawn(move || {
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        lines.map_while(|line| sender.send(line).ok()).for_each(drop);
    });
    receiver
}

pub(crate) fn wait_for(lines: &Receiver<String>, part: &str) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect(part);
        if line.contains(part) {
            return line;
        }
    }
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
