//! Breaks the product on purpose, one place at a time in a scratch copy, and sees that the simulation notices: a check that
//! cannot fail is none. Changes no file of the checkout but, when asked, the table of tests/README.md. Called by people, as
//! `cargo xtask mutants`.
//!
//! `cargo xtask tidy` checks that each mutant's text is still in its file, once.

mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::{Workspace, cargo};
use table::Row;

/// A way to break the product.
struct Mutant {
    name: &'static str,
    file: &'static str,
    /// What stands there once.
    text: &'static str,
    /// What is put in its place.
    broken: &'static str,
    /// The test of the simulation that must fail.
    caught_by: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "failover: a dead owner keeps its channels",
        file: "crates/core/src/placement/routes.rs",
        text: "|walk: &[MemberIndex]| walk.iter().copied().find(is_reached)",
        broken: "|walk: &[MemberIndex]| walk.first().copied().filter(|node| is_reached(node) || true)",
        caught_by: "mixed",
    },
    Mutant {
        name: "failover: only QUIC's idle timeout notices a death",
        file: "crates/core/src/pulse.rs",
        text: "let overdue = self.sent.saturating_sub(self.named) >= SILENT_AFTER;",
        broken: "let overdue = self.sent.saturating_sub(self.named) >= 1_000 * SILENT_AFTER;",
        caught_by: "ways::a_dead_nodes_channels",
    },
    Mutant {
        name: "relay: who cannot be seen is not reached",
        file: "crates/core/src/placement/reach.rs",
        text: ".map_or(Way::None, Way::Via)",
        broken: ".map_or(Way::None, |_| Way::None)",
        caught_by: "mixed",
    },
    Mutant {
        name: "damping: who comes back enters the ring at once",
        file: "crates/core/src/placement/config.rs",
        text: "doubled(self.flap_wait_min, flaps, self.flap_wait_max)",
        broken: "doubled(Duration::ZERO, flaps, self.flap_wait_max)",
        caught_by: "stories::a_node_that_comes_and_goes",
    },
    Mutant {
        name: "damping: who is lost again and again does not rest",
        file: "crates/core/src/placement/config.rs",
        text: "doubled(self.rest_min, flaps, self.rest_max)",
        broken: "doubled(Duration::ZERO, flaps, self.rest_max)",
        caught_by: "ways::a_node_that_most_peers_lose",
    },
    Mutant {
        name: "resume: a new session asks for other channels",
        file: "crates/client/src/ledger/subscriptions.rs",
        text: "frames.push(frame(held.request, ClientBody::Subscribe(held.filter.clone())));",
        broken: "frames.push(frame(held.request, ClientBody::Subscribe(farwire_wire::Pattern::parse(\"live.else\").unwrap().into())));",
        caught_by: "mixed",
    },
    Mutant {
        name: "leader_restored: a leader that lost its last entries leads on in its term",
        file: "crates/log/src/group/mod.rs",
        text: "enable_leader_restore: Some(false),",
        broken: "enable_leader_restore: Some(true),",
        caught_by: "groups::a_leader",
    },
    Mutant {
        name: "entry_not_synced: an entry counts once it is written",
        file: "crates/log/src/committer.rs",
        text: "self.shared.is_synced && batch.iter().any(|queued| queued.job.sync)",
        broken: "self.shared.is_synced && batch.is_empty()",
        caught_by: "groups::mixed",
    },
    Mutant {
        name: "presence_keeps_dead_life: the stays of a node's earlier run count on",
        file: "crates/core/src/presence/feeds.rs",
        text: "channel.set_hidden(&earlier, true, events);",
        broken: "channel.set_hidden(&earlier, false, events);",
        caught_by: "presence::a_dead_node",
    },
    Mutant {
        name: "move_number_ignored: every session of a client is its first",
        file: "crates/node/src/session/hello.rs",
        text: "connects: hello.connects,",
        broken: "connects: hello.connects.min(1),",
        caught_by: "presence::who_moved_and_left",
    },
];

/// Runs every mutant whose name contains `wanted`, prints the table, puts it into tests/README.md if `write`, and fails
/// if one was not caught.
pub(crate) fn run(workspace: &Workspace, wanted: &str, write: bool) -> Result<()> {
    let copy = Copy::make(workspace)?;
    let mutants: Vec<_> = MUTANTS.iter().filter(|mutant| mutant.name.contains(wanted)).collect();
    ensure!(!mutants.is_empty(), "no mutant has {wanted:?} in its name; crates/xtask/src/mutants.rs lists them");
    for test in mutants.iter().map(|mutant| mutant.caught_by).collect::<std::collections::BTreeSet<_>>() {
        ensure!(copy.failure_of(test)?.is_none(), "{test} fails without a mutant; mend that first");
    }
    let mut rows = Vec::new();
    for mutant in mutants {
        copy.write(mutant.file, &broken(workspace, mutant)?)?;
        let failure = copy.failure_of(mutant.caught_by)?;
        copy.write(mutant.file, &workspace.read(mutant.file)?)?;
        let report = failure.as_ref().map(|lines| lines.each_ref().map(String::as_str));
        eprintln!("{}\n  {}", mutant.name, report.map_or("NOT CAUGHT".to_owned(), |lines| lines.join(" ")));
        rows.push(Row::of(mutant.name, mutant.caught_by, report.as_ref()));
    }
    println!("{}", table::table(&rows).trim_end());
    if write {
        write_table(workspace, &rows)?;
    }
    let survivors: Vec<_> = rows.iter().filter(|row| !row.is_found()).map(|row| &row.name).collect();
    ensure!(survivors.is_empty(), "the simulation does not notice: {survivors:?}");
    Ok(())
}

fn write_table(workspace: &Workspace, rows: &[Row]) -> Result<()> {
    let document = String::from_utf8(workspace.read(README)?).context("tests/README.md is not UTF-8")?;
    let names: Vec<_> = MUTANTS.iter().map(|mutant| mutant.name).collect();
    let document = table::put_into(&document, &names, rows)?;
    std::fs::write(workspace.root.join(README), document).context("cannot write tests/README.md")
}

/// The mutants whose text is not in its file, or more than once.
pub(crate) fn stale(workspace: &Workspace) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for mutant in MUTANTS {
        if let Err(error) = broken(workspace, mutant) {
            stale.push(format!("crates/xtask/src/mutants.rs: {error:#}"));
        }
    }
    Ok(stale)
}

fn broken(workspace: &Workspace, mutant: &Mutant) -> Result<Vec<u8>> {
    let bytes = workspace.read(mutant.file)?;
    let text = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", mutant.file))?;
    let found = text.matches(mutant.text).count();
    ensure!(found == 1, "mutant {:?}: its text is {found} times in {}; give it another", mutant.name, mutant.file);
    Ok(text.replace(mutant.text, mutant.broken).into_bytes())
}

const README: &str = "tests/README.md";

/// A copy of the checkout below `target`, which has its own workspace crates built and shares all others.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make(workspace: &Workspace) -> Result<Self> {
        let target = workspace.root.join("target");
        let copy = Self { root: target.join("mutants"), target };
        for file in &workspace.files {
            copy.write(file, &workspace.read(file)?)?;
        }
        Ok(copy)
    }

    /// Writes a file if it differs: cargo builds what has a new time.
    fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(file);
        if std::fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What a test of the simulation says first when it fails: how many seeds failed, a seed, its first violation.
    fn failure_of(&self, test: &str) -> Result<Option<[String; 3]>> {
        let built = self.cargo().args(["--no-run", "--quiet"]).status().context("cannot start cargo")?;
        ensure!(built.success(), "the copy in {} does not build", self.root.display());
        let output = self.cargo().args(["--quiet", "--", test]).output().context("cannot start cargo")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines().skip_while(|line| !line.contains("seeds failed"));
        match (output.status.success(), lines.next(), lines.next(), lines.next()) {
            (true, ..) => Ok(None),
            (false, Some(failed), Some(seed), Some(violation)) => {
                Ok(Some([failed, seed, violation].map(|line| line.trim().to_owned())))
            }
            _ => bail!("{test} failed without naming a seed:\n{text}"),
        }
    }

    fn cargo(&self) -> Command {
        let mut cargo = cargo();
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        cargo.args(["test", "-p", "farwire-tests", "--test", "sim"]);
        cargo
    }
}
