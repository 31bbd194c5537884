//! Meshes of real processes: a `farwire up` of the test's own, and the commands that are run against it.
//!
//! Not a mesh to look into: what is in a node is seen over its admin endpoint only; `mesh` runs nodes within the test. Invariants:
//! nothing outlives its test, however that ends; a failing test says where the nodes' logs are. Used by `tests/faults`, and by
//! the tests of the command line.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use farwire_auth::{Claims, IssuerKey, TokenId};
use farwire_client::{Client, ConnectOptions, Context, RegionName};
use farwire_transport::MeshFile;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{http, wait};

/// More than any step takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process that does not outlive its test, however that ends.
#[derive(Debug)]
pub struct Guard(pub Child);

impl Guard {
    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has been waited for.
    pub fn signal(&self, signal: Signal) {
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

/// A running `farwire up`. Dropped, it ends, and all its nodes with it.
#[derive(Debug)]
pub struct ProcessMesh {
    /// The process that all others depend on.
    pub up: Guard,
    /// Its `--dir`.
    pub dir: TempDir,
    /// What it said first: the content of mesh.json.
    pub context: Value,
    program: PathBuf,
}

/// A node as mesh.json has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlace {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its admin endpoint.
    pub admin: SocketAddr,
    /// Its process, which a restart changes.
    pub pid: u32,
}

impl ProcessMesh {
    /// Starts `farwire up --json` with `flags` and waits until it is ready. The program is the one beside the test.
    ///
    /// # Panics
    /// When there is no such program, or the mesh is not ready in time.
    #[must_use]
    pub fn start(flags: &str) -> Self {
        Self::start_with(&beside(), flags)
    }

    /// As [`Self::start`], with another program.
    ///
    /// # Panics
    /// When the mesh is not ready in time.
    #[must_use]
    pub fn start_with(program: &Path, flags: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = command(program, &format!("up --json --demo none {flags}"));
        command.arg("--dir").arg(dir.path()).stdout(Stdio::piped());
        let mut up = Guard(command.spawn().expect("started"));
        let first = lines(up.0.stdout.take().expect("piped")).recv_timeout(PATIENCE).expect("mesh.json in time");
        let context = serde_json::from_str(&first).expect("the first line is mesh.json");
        Self { up, dir, context, program: program.to_owned() }
    }

    /// The mesh.json by which everything finds it.
    #[must_use]
    pub fn context_file(&self) -> PathBuf {
        self.dir.path().join("mesh.json")
    }

    /// A command line against it.
    #[must_use]
    pub fn command(&self, line: &str) -> Command {
        let mut command = command(&self.program, line);
        command.arg("--context").arg(self.context_file());
        command
    }

    /// Runs a command line and waits for its good end. Blocks the thread.
    ///
    /// # Panics
    /// When the command fails.
    pub fn run(&self, line: &str) -> Output {
        let output = self.command(line).output().expect("started");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// What a command line prints. Blocks the thread.
    ///
    /// # Panics
    /// When the command fails.
    #[must_use]
    pub fn text(&self, line: &str) -> String {
        String::from_utf8(self.run(line).stdout).expect("text")
    }

    /// Changes the mesh: what follows `farwire up ctl`, for example `kill iad-1`. Returns when it is done. Not cancel safe: the
    /// change may happen all the same.
    ///
    /// # Panics
    /// When the change is refused.
    pub async fn ctl(&self, change: &str) {
        let mut command = tokio::process::Command::from(self.command(&format!("up ctl {change}")));
        let output = command.kill_on_drop(true).output().await.expect("started");
        assert!(output.status.success(), "up ctl {change}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Its nodes as mesh.json has them now, region by region.
    ///
    /// # Panics
    /// When mesh.json is not one.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodePlace> {
        let text = std::fs::read(self.context_file()).expect("up keeps it");
        let context: Value = serde_json::from_slice(&text).expect("JSON");
        let regions = context["regions"].as_object().expect("regions");
        let nodes = regions.iter().flat_map(|(region, nodes)| {
            nodes.as_array().expect("nodes").iter().map(|node| NodePlace::of(region, node))
        });
        nodes.collect()
    }

    /// One of its nodes.
    ///
    /// # Panics
    /// When it has no such node.
    #[must_use]
    pub fn node(&self, name: &str) -> NodePlace {
        self.nodes().into_iter().find(|node| node.name == name).expect(name)
    }

    /// How the mesh looks from a node: `/v1/mesh`.
    ///
    /// # Panics
    /// When the node does not answer.
    pub async fn seen_from(&self, node: &str) -> Value {
        http::get_json(self.node(node).admin, "/v1/mesh").await
    }

    /// Waits until every node reaches every other one and has it in its ring.
    ///
    /// # Panics
    /// When a node does not answer, or that does not happen within a minute.
    pub async fn settled(&self) {
        let admins: Vec<_> = self.nodes().iter().map(|node| node.admin).collect();
        wait::until_all_see_all(&admins).await;
    }

    /// What a client of it needs, one that prefers a region.
    ///
    /// # Panics
    /// When mesh.json is not one.
    pub fn options(&self, region: &str) -> ConnectOptions {
        let context = Context::load(self.context_file()).expect("mesh.json is a context");
        ConnectOptions::from(&context).region(RegionName::parse(region).expect("a region"))
    }

    /// The same for a client with an id of its own, which may do everything.
    ///
    /// # Panics
    /// When the mesh's files are not sound, or the id is none.
    pub fn options_as(&self, region: &str, client_id: &str) -> ConnectOptions {
        let key = std::fs::read_to_string(self.dir.path().join("issuer.key")).expect("up made it");
        let key = IssuerKey::from_paserk(key.trim()).expect("a key");
        let mesh = MeshFile::load(&self.dir.path().join("mesh.toml")).expect("a mesh file");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after the epoch").as_secs();
        let claims = Claims {
            audience: mesh.id,
            client_id: client_id.parse().expect("a client id"),
            token_id: TokenId(rand::random()),
            issued_at_seconds: now,
            not_before_seconds: None,
            expires_at_seconds: now + 24 * 3_600,
            grants: vec![">:publish,subscribe,presence,history,manage".parse().expect("a grant")],
        };
        self.options(region).token(key.mint(&claims).expect("minted").as_str())
    }

    /// A client that prefers a node.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn client(&self, node: &str) -> Client {
        let options = self.options(&self.node(node).region).node(node.parse().expect("a node"));
        Client::connect(options).await.expect("connected")
    }

    /// Ends it in good order.
    ///
    /// # Panics
    /// When its end is a failure.
    pub fn stop(mut self) {
        self.up.signal(Signal::TERM);
        assert!(self.up.0.wait().expect("our child").success());
    }
}

impl Drop for ProcessMesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("the logs of the nodes are in {}/nodes/*/log", self.dir.path().display());
        }
    }
}

impl NodePlace {
    fn of(region: &str, node: &Value) -> Self {
        let admin = node["admin"].as_str().and_then(|url| url.strip_prefix("http://")).expect("the admin endpoint");
        Self {
            name: node["name"].as_str().expect("a name").to_owned(),
            region: region.to_owned(),
            admin: admin.parse().expect("an address"),
            pid: node["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a process"),
        }
    }
}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A command line that nothing in the environment changes. The program is the one beside the test.
///
/// # Panics
/// When there is no such program.
#[must_use]
pub fn farwire(line: &str) -> Command {
    command(&beside(), line)
}

fn command(program: &Path, line: &str) -> Command {
    let mut command = Command::new(program);
    command.args(line.split(' ').filter(|word| !word.is_empty())).stdin(Stdio::null());
    for name in ["FARWIRE_ADMIN", "FARWIRE_CONTEXT", "FARWIRE_SERVER", "FARWIRE_LOG", "FARWIRE_LOG_FORMAT"] {
        command.env_remove(name);
    }
    command
}

/// The lines as they come, so that waiting for one can end.
pub fn lines(reader: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1024);
    std::thread::spawn(move || {
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        lines.map_while(|line| sender.send(line).ok()).for_each(drop);
    });
    receiver
}

/// The next line with `part` in it.
///
/// # Panics
/// When none comes within [`PATIENCE`].
pub fn wait_for(lines: &Receiver<String>, part: &str) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect(part);
        if line.contains(part) {
            return line;
        }
    }
}

/// Looks until a condition holds. Blocks the thread.
///
/// # Panics
/// When it does not within [`PATIENCE`]; says what was waited for.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn beside() -> PathBuf {
    farwire_beside().unwrap_or_else(|err| panic!("{err}"))
}

/// The `farwire` that was built beside this executable.
///
/// # Errors
/// There is none, or one that is older than its sources: tests of yesterday's program prove nothing.
pub fn farwire_beside() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|err| format!("where this executable is: {err}"))?;
    // Tests lie in `deps`, one below the programs.
    let found = here.ancestors().skip(1).take(2).map(|dir| dir.join("farwire")).find(|program| program.is_file());
    let remedy = "run `cargo build -p farwire-cli` with the same profile first";
    let program = found.ok_or_else(|| format!("no `farwire` beside {}; {remedy}", here.display()))?;
    match newer_source(&program) {
        Some(source) => Err(format!("{} is older than {}; {remedy}", program.display(), source.display())),
        None => Ok(program),
    }
}

/// A source of `program` that has changed since it was built, by the list that cargo leaves beside it.
fn newer_source(program: &Path) -> Option<PathBuf> {
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let built: SystemTime = changed(program)?;
    let list = std::fs::read_to_string(program.with_extension("d")).ok()?;
    let sources = list.split_once(": ")?.1.split_whitespace().map(PathBuf::from);
    sources.filter(|source| changed(source).is_some_and(|changed| changed > built)).min()
}
