//! Runs every check of the workspace, each named and timed, and says at the end which failed and what to do.
//!
//! Runs all of them even after a failure: one run tells everything. Tests are not among them: that is `cargo test`.

use std::{process::Command, time::Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    tidy,
    workspace::{Workspace, cargo},
};

/// A check: its name, what to do when it fails, and itself.
#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    remedy: &'static str,
    run: fn() -> Result<()>,
}

/// Runs the checks; with `advisories` also the one that fetches the RustSec database from the network.
pub(crate) fn run(advisories: bool) -> Result<()> {
    let mut steps = STEPS.to_vec();
    if advisories {
        steps.push(ADVISORIES);
    }
    let failed: Vec<&Step> = steps.iter().filter(|step| !passes(step)).collect();
    if failed.is_empty() {
        println!("all {} checks passed", steps.len());
        return Ok(());
    }
    let list: Vec<String> = failed.iter().map(|step| format!("\n  {}: {}", step.name, step.remedy)).collect();
    bail!("{} of {} checks failed{}", failed.len(), steps.len(), list.concat())
}

fn passes(step: &Step) -> bool {
    println!("--- {}", step.name);
    let start = Instant::now();
    let outcome = (step.run)();
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => println!("--- {}: ok, {seconds:.1} s", step.name),
        Err(ref error) => println!("--- {}: FAILED, {seconds:.1} s: {error:#}", step.name),
    }
    outcome.is_ok()
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn fmt() -> Result<()> {
    succeed(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    succeed(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn doc() -> Result<()> {
    succeed(cargo().env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps", "--locked"]))
}

fn deny() -> Result<()> {
    cargo_deny(&["bans", "licenses", "sources"])
}

fn deny_advisories() -> Result<()> {
    cargo_deny(&["advisories"])
}

fn cargo_deny(checks: &[&str]) -> Result<()> {
    let version = cargo().args(["deny", "--version"]).output().context("cannot start cargo")?;
    ensure!(version.status.success(), "cargo-deny is not installed: run `cargo install cargo-deny --locked`");
    succeed(cargo().args(["deny", "--locked", "--log-level", "error", "check"]).args(checks))
}

fn tidy() -> Result<()> {
    tidy::run(&Workspace::load()?)
}

const STEPS: [Step; 5] = [
    Step { name: "fmt", remedy: "run `cargo fmt --all`", run: fmt },
    Step {
        name: "clippy",
        remedy: "mend what it names; `cargo clippy --workspace --all-targets` repeats it",
        run: clippy,
    },
    Step {
        name: "doc",
        remedy: "mend the links and comments that it names; `cargo doc --no-deps` repeats it",
        run: doc,
    },
    Step {
        name: "deny",
        remedy: "see deny.toml for the rule and its reason, CONTRIBUTING.md for adding dependencies",
        run: deny,
    },
    Step { name: "tidy", remedy: "each line above says what to do; `cargo xtask tidy` repeats it", run: tidy },
];

const ADVISORIES: Step = Step {
    name: "advisories",
    remedy: "update what it names with `cargo update -p NAME`, or, if the database could not be fetched, try again online",
    run: deny_advisories,
};
