//! The nodes' processes: started, signalled, watched, and all gone in the end.
//!
//! Knows nothing of what a node does; `ready` asks it. Invariants: every process is started by one thread that lives as long
//! as [`Nodes`], because Linux ties the death of a child to the thread that started it (see `parent`); a process that
//! ends without having been told to is reported; after [`Nodes::stop_all`] none is left and none is started any more.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::parent::PARENT_VARIABLE;
use super::plan::Plan;
use crate::exit::Failure;

/// All nodes of the mesh, in the order of the plan. Dropped, it kills what still runs.
pub(super) struct Nodes {
    /// The binary that a node is.
    program: PathBuf,
    slots: Vec<Slot>,
    starter: Starter,
    watchers: Mutex<JoinSet<()>>,
    /// What the person at the terminal should know; more than fit are left out.
    notices: mpsc::Sender<String>,
    stopping: AtomicBool,
}

struct Slot {
    name: String,
    config: PathBuf,
    log: PathBuf,
    life: watch::Sender<Life>,
}

/// How a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// The last process; 0 before the first.
    pub(super) pid: u32,
    pub(super) state: State,
    /// Its end was asked for.
    end_expected: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// By SIGSTOP.
    Stopped,
    /// Not started yet, or ended, and how.
    #[default]
    Down,
    Ended(String),
}

impl Life {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running | State::Stopped)
    }
}

impl Nodes {
    /// No process yet. Called within the runtime.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn new(plan: &Plan, program: PathBuf, notices: mpsc::Sender<String>) -> io::Result<Self> {
        let slots = plan.nodes.iter().map(|node| Slot {
            name: node.name.to_string(),
            config: node.config(),
            log: node.log(),
            life: watch::Sender::default(),
        });
        Ok(Self {
            program,
            slots: slots.collect(),
            starter: Starter::new()?,
            watchers: Mutex::default(),
            notices,
            stopping: AtomicBool::new(false),
        })
    }

    /// How a node is now.
    pub(super) fn life(&self, index: usize) -> Life {
        self.slots[index].life.borrow().clone()
    }

    /// The processes of all nodes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.slots.iter().map(|slot| slot.life.borrow().pid).collect()
    }

    /// Starts a node that does not run. Not cancel safe: the process may have been started, and is killed then.
    ///
    /// # Errors
    /// Failed when the mesh is being stopped or the system refuses.
    pub(super) async fn start(&self, index: usize) -> Result<(), Failure> {
        let slot = &self.slots[index];
        let refused = |err: io::Error| Failure::failed(format!("cannot start node {}: {err}", slot.name));
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Failure::failed("the mesh is being stopped"));
        }
        let command = self.command(slot).map_err(refused)?;
        let child = self.starter.start(command).await.map_err(refused)?;
        let pid = child.id().expect("nobody has waited for it yet");
        slot.life.send_replace(Life { pid, state: State::Running, end_expected: false });
        let watcher = watch_child(child, slot.name.clone(), slot.log.clone(), slot.life.clone(), self.notices.clone());
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).spawn(watcher);
        Ok(())
    }

    fn command(&self, slot: &Slot) -> io::Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&slot.log)?;
        let mut command = Command::new(&self.program);
        // What the person has in the environment for clients, or for a node of another mesh, is not for these nodes.
        let ours = |name: &str| name.starts_with("FARWIRE_") && !name.starts_with("FARWIRE_LOG");
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.filter(|name| ours(name)).for_each(|name| {
            command.env_remove(name);
        });
        command
            .arg("node")
            .arg("--config")
            .arg(&slot.config)
            .env(PARENT_VARIABLE, std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at the terminal is for `up`, which ends its nodes in order.
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Ends a node with SIGKILL and returns once it is gone; at once when it does not run. Cancel safe.
    ///
    /// # Errors
    /// Failed when the system refuses.
    pub(super) async fn kill(&self, index: usize) -> Result<(), Failure> {
        let slot = &self.slots[index];
        if !slot.expect_end() {
            return Ok(());
        }
        slot.signal(Signal::KILL)?;
        slot.gone().await;
        Ok(())
    }

    /// Stops a node with SIGSTOP, or lets it go on.
    ///
    /// # Errors
    /// Failed when it does not run, or when the system refuses.
    pub(super) fn pause(&self, index: usize, stopped: bool) -> Result<(), Failure> {
        let slot = &self.slots[index];
        if !slot.life.borrow().is_running() {
            let name = &slot.name;
            return Err(Failure::failed(format!("{name} does not run; start it with `farwire up ctl restart {name}`")));
        }
        slot.signal(if stopped { Signal::STOP } else { Signal::CONT })?;
        slot.life.send_modify(|life| match life.state {
            State::Running | State::Stopped if stopped => life.state = State::Stopped,
            State::Running | State::Stopped => life.state = State::Running,
            State::Down | State::Ended(_) => {}
        });
        Ok(())
    }

    /// Ends all nodes: politely first, then, after five seconds or when `hurry` is ready, with SIGKILL. Not cancel safe.
    pub(super) async fn stop_all(&self, hurry: impl Future<Output = ()>) {
        self.stopping.store(true, Ordering::Relaxed);
        let running: Vec<&Slot> = self.slots.iter().filter(|slot| slot.expect_end()).collect();
        for slot in &running {
            // A stopped process takes no notice of SIGTERM until it goes on. Whoever is gone already has ended as it should.
            let _ = slot.signal(Signal::TERM);
            let _ = slot.signal(Signal::CONT);
        }
        let all_gone = async || {
            for slot in &running {
                slot.gone().await;
            }
        };
        tokio::select! {
            biased;
            () = all_gone() => return,
            () = hurry => {}
            () = tokio::time::sleep(GRACE) => {}
        }
        running.iter().for_each(|slot| {
            let _ = slot.signal(Signal::KILL);
        });
        // SIGKILL works on everything that is not stuck inside the kernel, for which there is no remedy.
        let _ = timeout(GRACE, all_gone()).await;
    }

    /// What a node wrote last, fit for a terminal.
    pub(super) fn log_end(&self, index: usize) -> String {
        let log = &self.slots[index].log;
        let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let printable = |line: &&str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let last: Vec<String> = lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(printable).collect();
        match last.is_empty() {
            true => format!("its log {} is empty", log.display()),
            false => format!("the end of its log {}:\n  {}", log.display(), last.join("\n  ")),
        }
    }
}

impl Slot {
    /// Whether it runs; if so, its end is no news from now on.
    fn expect_end(&self) -> bool {
        self.life.send_if_modified(|life| {
            life.end_expected = true;
            false
        });
        self.life.borrow().is_running()
    }

    async fn gone(&self) {
        // Only fails when the sender is dropped, which is `self`.
        let _ = self.life.subscribe().wait_for(|life| !life.is_running()).await;
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = self.life.borrow().pid;
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        match kill_process(pid, signal) {
            // It ended an instant ago, and its watcher is about to say so.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(err) => {
                Err(Failure::failed(format!("cannot send {signal:?} to {} (process {pid:?}): {err}", self.name)))
            }
        }
    }
}

async fn watch_child(
    mut child: Child,
    name: String,
    log: PathBuf,
    life: watch::Sender<Life>,
    notices: mpsc::Sender<String>,
) {
    // Waiting closes a stdin that is left in the child, and its end would tell the node that `up` is gone.
    let stdin = child.stdin.take();
    let how = child.wait().await.map_or_else(|err| err.to_string(), |status| status.to_string());
    drop(stdin);
    let expected = life.borrow().end_expected;
    life.send_modify(|life| life.state = State::Ended(how.clone()));
    if !expected {
        // A full queue means that nobody reads, and then there is nobody to tell.
        let _ = notices.try_send(ended_by_itself(&name, &how, &log));
    }
}

fn ended_by_itself(name: &str, how: &str, log: &Path) -> String {
    let log = log.display();
    format!(
        "node {name} ended by itself ({how}); its log is {log}; start it again with `farwire up ctl restart {name}`"
    )
}

/// The thread that starts processes. It ends when this is dropped, and Linux then kills what it has started.
struct Starter(SyncSender<Start>);

struct Start {
    command: Command,
    started: oneshot::Sender<io::Result<Child>>,
}

impl Starter {
    fn new() -> io::Result<Self> {
        let (sender, receiver) = sync_channel(1);
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("starter".into()).spawn(move || {
            let _in_runtime = runtime.enter();
            start_each(&receiver);
        })?;
        Ok(Self(sender))
    }

    async fn start(&self, command: Command) -> io::Result<Child> {
        let (started, child) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.0.send(Start { command, started }).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

fn start_each(receiver: &Receiver<Start>) {
    while let Ok(mut start) = receiver.recv() {
        // Nobody waits any more: the child is dropped, and killed by that.
        let _ = start.started.send(start.command.spawn());
    }
}

const GRACE: Duration = Duration::from_secs(5);
const LOG_LINES: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::plan::tests::plan;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// Nodes that run `script` instead of a node.
    fn nodes(dir: &Path, script: &str) -> (Nodes, mpsc::Receiver<String>) {
        let program = dir.join("node.sh");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let (mut plan, _) = plan("fra,iad", 1);
        for node in &mut plan.nodes {
            node.dir = dir.join(node.name.as_str());
            std::fs::create_dir(&node.dir).expect("made");
        }
        let (sender, receiver) = mpsc::channel(4);
        (Nodes::new(&plan, program, sender).expect("a thread"), receiver)
    }

    fn is_alive(pid: u32) -> bool {
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        rustix::process::test_kill_process(pid).is_ok()
    }

    #[tokio::test]
    async fn a_node_that_ends_by_itself_is_reported_with_its_log() {
        let dir = tempfile::tempdir().expect("a directory");
        let (nodes, mut notices) = nodes(dir.path(), r#"echo "$1 $2 $FARWIRE_PARENT"; exit 3"#);
        nodes.start(0).await.expect("started");
        let notice = notices.recv().await.expect("a notice");
        assert!(
            notice.contains("fra-1") && notice.contains("exit status: 3") && notice.contains("fra-1/log"),
            "{notice}"
        );
        let log = nodes.log_end(0);
        assert!(log.contains(&format!("node --config {}", std::process::id())), "{log}");
        assert!(nodes.pause(0, true).expect_err("down").message.contains("does not run"));
    }

    #[tokio::test]
    async fn killing_is_no_news_and_works_on_a_stopped_node() {
        let dir = tempfile::tempdir().expect("a directory");
        let (nodes, mut notices) = nodes(dir.path(), "cat");
        nodes.start(0).await.expect("started");
        nodes.pause(0, true).expect("stopped");
        assert_eq!(nodes.life(0).state, State::Stopped);
        let pid = nodes.life(0).pid;
        nodes.kill(0).await.expect("killed");
        assert!(!is_alive(pid) && matches!(nodes.life(0).state, State::Ended(_)));
        nodes.kill(0).await.expect("is dead already");
        nodes.start(0).await.expect("started again");
        assert!(nodes.life(0).is_running() && nodes.life(0).pid != pid);
        nodes.stop_all(std::future::pending()).await;
        assert!(notices.try_recv().is_err());
    }

    #[tokio::test]
    async fn stopping_is_polite_first_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = r#"trap 'echo bye; exit 0' TERM; echo ready; while :; do read -r line || exit 9; done"#;
        let (nodes, _notices) = nodes(dir.path(), script);
        nodes.start(0).await.expect("started");
        nodes.start(1).await.expect("started");
        while !(nodes.log_end(0).contains("ready") && nodes.log_end(1).contains("ready")) {
            tokio::task::yield_now().await;
        }
        nodes.pause(1, true).expect("stopped");
        let pids = nodes.pids();
        nodes.stop_all(std::future::pending()).await;
        assert!(pids.into_iter().all(|pid| !is_alive(pid)));
        assert!(nodes.log_end(0).contains("bye") && nodes.log_end(1).contains("bye"));
        assert!(nodes.start(0).await.is_err(), "nothing starts after the end");
    }

    #[tokio::test]
    async fn who_does_not_listen_is_killed_at_once_when_somebody_is_in_a_hurry() {
        let dir = tempfile::tempdir().expect("a directory");
        let (nodes, _notices) = nodes(dir.path(), "trap '' TERM; echo ready; while :; do read -r line; done");
        nodes.start(0).await.expect("started");
        while !nodes.log_end(0).contains("ready") {
            tokio::task::yield_now().await;
        }
        let begin = std::time::Instant::now();
        nodes.stop_all(std::future::ready(())).await;
        assert!(!nodes.life(0).is_running() && begin.elapsed() < GRACE);
    }
}
