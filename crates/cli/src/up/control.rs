//! `farwire up ctl`: both ends. The running `up` serves [`Change`]s over HTTP on the loopback, the command sends one.
//!
//! Invariants: a change has happened when its answer comes; a process is changed by one request at a time, and `mesh.json`
//! says its new number before the answer. The port is for everybody on this machine, as are the nodes' admin ports.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::delays::DELAY_MS_MAX;
use super::plan::Plan;
use super::processes::Nodes;
use super::wan::{Direction, Rule, Wan};
use super::{directory, ready};
use crate::exit::{Exit, Failure};
use crate::http::{self, HttpError};

/// What can be done to a running mesh.
#[derive(Debug, Clone, PartialEq, Subcommand, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Change {
    /// Let nothing through between two places, nor what is on its way
    Cut {
        /// A region or a node
        a: String,
        /// A region or a node
        b: String,
        /// Only from A to B
        #[arg(long)]
        one_way: bool,
    },
    /// Clear all cuts, losses and changed delays
    Heal,
    /// End a node with SIGKILL; nothing restarts it by itself
    Kill {
        /// The node
        node: String,
    },
    /// Stop a node with SIGSTOP
    Stop {
        /// The node
        node: String,
    },
    /// Let a stopped node go on
    Cont {
        /// The node
        node: String,
    },
    /// Start a node again, and kill it before if it runs; returns when it is ready
    Restart {
        /// The node
        node: String,
    },
    /// Lose packets between two places, both ways
    Loss {
        /// A region or a node
        a: String,
        /// A region or a node
        b: String,
        /// How many of a hundred, 0 to 100
        percent: f64,
    },
    /// Change how long packets travel between two places, each way
    Delay {
        /// A region or a node
        a: String,
        /// A region or a node
        b: String,
        /// Milliseconds, one way
        ms: u64,
    },
}

/// The running mesh, as a change sees it.
pub(super) struct Mesh {
    pub(super) plan: Plan,
    pub(super) nodes: Nodes,
    pub(super) wan: Arc<Mutex<Wan>>,
    /// What the person at the terminal should know.
    pub(super) notices: tokio::sync::mpsc::Sender<String>,
    /// Held while a process is ended or started and while `mesh.json` is written.
    pub(super) processes: tokio::sync::Mutex<()>,
}

impl Mesh {
    /// The WAN, for a moment.
    pub(super) fn wan(&self) -> MutexGuard<'_, Wan> {
        self.wan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn apply(&self, change: Change) -> Result<(), Failure> {
        match change {
            Change::Cut { a, b, one_way } => self.change(&a, &b, one_way, |rule| rule.cut = true),
            Change::Heal => {
                self.wan().heal();
                Ok(())
            }
            Change::Kill { node } => {
                let index = self.node(&node)?;
                let _one_at_a_time = self.processes.lock().await;
                self.nodes.kill(index).await
            }
            Change::Stop { node } => self.nodes.pause(self.node(&node)?, true),
            Change::Cont { node } => self.nodes.pause(self.node(&node)?, false),
            Change::Restart { node } => self.restart(self.node(&node)?).await,
            Change::Loss { percent, .. } if !(0.0..=100.0).contains(&percent) => {
                Err(Failure::usage(format!("{percent} is not a share of a hundred; give 0 to 100")))
            }
            Change::Loss { a, b, percent } => self.change(&a, &b, false, |rule| rule.loss = percent / 100.0),
            Change::Delay { ms, .. } if ms > DELAY_MS_MAX => {
                Err(Failure::usage(format!("{ms} ms are too long; give 0 to {DELAY_MS_MAX}")))
            }
            Change::Delay { a, b, ms } => self.change(&a, &b, false, |rule| rule.delay = Duration::from_millis(ms)),
        }
    }

    fn change(&self, a: &str, b: &str, one_way: bool, change: impl Fn(&mut Rule)) -> Result<(), Failure> {
        let (from, to) = (self.nodes_at(a)?, self.nodes_at(b)?);
        let there = from.iter().flat_map(|a| to.iter().map(move |b| Direction { from: *a, to: *b }));
        let there: Vec<_> = there.filter(|direction| direction.from != direction.to).collect();
        if there.is_empty() {
            return Err(Failure::usage(format!(
                "between {a} and {b} there is no link; name two different nodes or regions"
            )));
        }
        let mut wan = self.wan();
        for direction in there {
            wan.change(direction, &change);
            if !one_way {
                wan.change(Direction { from: direction.to, to: direction.from }, &change);
            }
        }
        Ok(())
    }

    async fn restart(&self, index: usize) -> Result<(), Failure> {
        {
            let _one_at_a_time = self.processes.lock().await;
            self.nodes.kill(index).await?;
            self.nodes.start(index).await?;
            directory::write_mesh_json(&self.plan, &self.nodes.pids())?;
        }
        // Without the lock: two nodes that are restarted together may need each other to become ready.
        ready::one(&self.plan, &self.nodes, index).await
    }

    fn nodes_at(&self, place: &str) -> Result<Vec<usize>, Failure> {
        let nodes = self.plan.nodes_at(place);
        if !nodes.is_empty() {
            return Ok(nodes);
        }
        let regions: Vec<&str> = self.plan.regions.iter().map(AsRef::as_ref).collect();
        let known = format!("the regions are {}, the nodes {}", regions.join(", "), self.node_names());
        Err(Failure::usage(format!("there is no \"{}\"; {known}", place.escape_debug())))
    }

    fn node(&self, name: &str) -> Result<usize, Failure> {
        let index = self.plan.nodes.iter().position(|node| node.name.as_str() == name);
        index.ok_or_else(|| {
            Failure::usage(format!("there is no node \"{}\"; the nodes are {}", name.escape_debug(), self.node_names()))
        })
    }

    fn node_names(&self) -> String {
        self.plan.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Serves changes until it is dropped.
///
/// # Errors
/// When the port fails.
pub(super) async fn serve(mesh: Arc<Mesh>, listener: std::net::TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, Router::new().route(PATH, post(answer)).with_state(mesh)).await
}

async fn answer(State(mesh): State<Arc<Mesh>>, Json(change): Json<Change>) -> (StatusCode, Json<Outcome>) {
    // A task of its own: a caller that hangs up in the middle must not leave half a restart behind.
    let applied = tokio::spawn(async move { mesh.apply(change).await });
    match applied.await.unwrap_or_else(|err| Err(Failure::failed(err.to_string()))) {
        Ok(()) => (StatusCode::OK, Json(Outcome { error: None })),
        Err(failure) => {
            let status =
                if failure.exit == Exit::Usage { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
            (status, Json(Outcome { error: Some(failure.message) }))
        }
    }
}

/// The flags of `farwire up ctl`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The mesh to change: the mesh.json of a `farwire up` that runs [default: ./.farwire/mesh.json]
    #[arg(long, global = true, env = "FARWIRE_CONTEXT", value_name = "FILE", hide_env_values = true)]
    context: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    change: Change,
}

/// Sends one change to a running `up`, and returns when it is done.
///
/// # Errors
/// What the `up` says: wrong use for an unknown place, else failed; retryable when it is not there.
pub(crate) async fn ctl(args: Args) -> Result<(), Failure> {
    let path = args.context.unwrap_or_else(|| ".farwire/mesh.json".into());
    let text = crate::files::read(&path, "the context")?;
    let context: Context = serde_json::from_str(&text).map_err(|err| {
        Failure::failed(format!(
            "{} is not of a `farwire up`: {err}; give its mesh.json with --context",
            path.display()
        ))
    })?;
    let answer = http::post(&format!("{}{PATH}", context.control), &args.change, ANSWER_WITHIN).await;
    let answer = answer.map_err(|err| unanswered(&context.control, &err))?;
    let outcome = answer.json::<Outcome>();
    match (answer.status, outcome) {
        (StatusCode::OK, _) => Ok(()),
        (StatusCode::BAD_REQUEST, Ok(Outcome { error: Some(message) })) => Err(Failure::usage(message)),
        (_, Ok(Outcome { error: Some(message) })) => Err(Failure::failed(message)),
        (status, _) => Err(Failure::failed(format!(
            "the `farwire up` at {} answers {status}; is it of this version?",
            context.control
        ))),
    }
}

fn unanswered(control: &str, err: &HttpError) -> Failure {
    match err {
        HttpError::Connect(_) => Failure::new(
            Exit::Retryable,
            format!("no `farwire up` at {control} ({err}); start the mesh with `farwire up`"),
        ),
        _ => Failure::failed(format!(
            "the `farwire up` at {control}: {err}; the change may or may not have happened: look, then try again"
        )),
    }
}

/// The part of `mesh.json` that is needed here.
#[derive(Deserialize)]
struct Context {
    control: String,
}

#[derive(Serialize, Deserialize)]
struct Outcome {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Shown below the help.
pub(super) const EXAMPLES: &str = "\
Each change is done when the command returns: exit code 0 done, 1 the mesh refused, 2 no such place, 5 no mesh is up.

Examples:
  farwire up ctl cut fra sin                         the two regions cannot reach each other
  farwire up ctl cut fra-1 iad --one-way             what fra-1 sends to iad gets lost
  farwire up ctl cut fra-1 fra-2                     nodes of one region can be cut off too
  farwire up ctl loss fra iad 2.5                    percent of the packets, both ways
  farwire up ctl delay fra iad 200                   milliseconds, each way
  farwire up ctl heal                                all links are as in the beginning; nodes stay as they are
  farwire up ctl stop iad-1                          it keeps its ports and answers nothing, until `cont iad-1`
  farwire up ctl kill iad-1
  farwire up ctl restart iad-1 --context /tmp/mesh/mesh.json";

const PATH: &str = "/v1/changes";
/// Longer than a restart may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::plan::tests::plan;

    fn mesh() -> (Mesh, std::net::TcpListener) {
        let (plan, ports) = plan("fra,iad,sin", 2);
        let notices = tokio::sync::mpsc::channel(1).0;
        let nodes = Nodes::new(&plan, "/nowhere".into(), notices.clone()).expect("a thread");
        let wan = Wan::new(plan.nodes.len(), 1, |_| Duration::from_millis(44));
        (Mesh { plan, nodes, wan: Arc::new(Mutex::new(wan)), notices, processes: Default::default() }, ports.control)
    }

    fn cut(a: &str, b: &str, one_way: bool) -> Change {
        Change::Cut { a: a.into(), b: b.into(), one_way }
    }

    fn cut_directions(mesh: &Mesh) -> Vec<(usize, usize)> {
        let wan = mesh.wan();
        let all = (0..6).flat_map(|from| (0..6).map(move |to| Direction { from, to }));
        all.filter(|direction| wan.rule(*direction).cut).map(|direction| (direction.from, direction.to)).collect()
    }

    #[tokio::test]
    async fn a_cut_between_places_cuts_every_link_between_their_nodes() {
        let (mesh, _control) = mesh();
        mesh.apply(cut("fra", "iad-1", true)).await.expect("cut");
        assert_eq!(cut_directions(&mesh), [(0, 2), (1, 2)]);
        mesh.apply(Change::Heal).await.expect("healed");
        mesh.apply(cut("fra-1", "fra", false)).await.expect("cut");
        assert_eq!(cut_directions(&mesh), [(0, 1), (1, 0)]);
        mesh.apply(Change::Delay { a: "fra".into(), b: "sin-2".into(), ms: 200 }).await.expect("changed");
        mesh.apply(Change::Loss { a: "fra".into(), b: "sin-2".into(), percent: 50.0 }).await.expect("changed");
        let want = Rule { delay: Duration::from_millis(200), cut: false, loss: 0.5 };
        assert_eq!(mesh.wan().rule(Direction { from: 5, to: 1 }), want);
        assert_eq!(mesh.wan().rule(Direction { from: 1, to: 5 }), want);
    }

    #[tokio::test]
    async fn unknown_places_are_wrong_use_with_the_known_ones_listed() {
        let (mesh, _control) = mesh();
        let refused = async |change| mesh.apply(change).await.expect_err("refused");
        let failure = refused(cut("fra", "mars", false)).await;
        assert!(
            failure.exit == Exit::Usage && failure.message.contains("the regions are fra, iad, sin, the nodes fra-1")
        );
        let failure = refused(Change::Kill { node: "fra".into() }).await;
        assert!(failure.exit == Exit::Usage && failure.message.contains("the nodes are fra-1, fra-2"), "{failure}");
        assert_eq!(refused(cut("fra-1", "fra-1", false)).await.exit, Exit::Usage);
        assert_eq!(
            refused(Change::Loss { a: "fra".into(), b: "iad".into(), percent: f64::NAN }).await.exit,
            Exit::Usage
        );
    }

    #[tokio::test]
    async fn a_change_goes_over_the_control_port() {
        let (mesh, control) = mesh();
        let dir = tempfile::tempdir().expect("a directory");
        let context = dir.path().join("mesh.json");
        std::fs::write(&context, mesh.plan.mesh_json(&[1; 6])).expect("written");
        let mesh = Arc::new(mesh);
        let server = tokio::spawn(serve(Arc::clone(&mesh), control));
        let send = async |change| ctl(Args { context: Some(context.clone()), change }).await;
        assert_eq!(send(cut("iad", "sin-1", true)).await, Ok(()));
        assert_eq!(cut_directions(&mesh), [(2, 4), (3, 4)]);
        assert_eq!(send(cut("iad", "mars", false)).await.expect_err("unknown").exit, Exit::Usage);
        assert_eq!(send(Change::Stop { node: "fra-1".into() }).await.expect_err("down").exit, Exit::Failed);
        server.abort();
        assert!(server.await.is_err());
        assert_eq!(send(Change::Heal).await.expect_err("gone").exit, Exit::Retryable);
    }
}
