//! Judges the files of a run over logged channels: prints every violation, by invariant, and how much there was to judge.
//!
//! `cargo run --release -p farwire-sim --bin check-history -- FILE...`; exit code 1 when something does not hold, 2 when a
//! file cannot be read. Changes nothing. Bounds of memory and such are the run's own business: none are assumed here.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command reports on its output")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use farwire_sim::logged::{Terms, history, judge};

/// How many lines of an invariant are printed; the rest is counted.
const LINES_MAX: usize = 20;

fn main() -> ExitCode {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        eprintln!("usage: check-history FILE...   judges the history that these files of one run make together");
        return ExitCode::from(2);
    }
    let read = match history::read(&paths) {
        Ok(read) => read,
        Err(err) => {
            eprintln!("check-history: {err}");
            return ExitCode::from(2);
        }
    };
    let verdict = judge(&read.records, &Terms::default());
    print_by_invariant(&verdict.violations);
    println!("{}", verdict.totals);
    println!("{} files, {} of them torn at the end", paths.len(), read.torn);
    println!("{} violations", verdict.violations.len());
    if verdict.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_by_invariant(violations: &[String]) {
    let mut lines: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for violation in violations {
        lines.entry(violation.split(' ').next().unwrap_or_default()).or_default().push(violation);
    }
    for (id, lines) in lines {
        for line in lines.iter().take(LINES_MAX) {
            println!("{line}");
        }
        if lines.len() > LINES_MAX {
            println!("{id} … and {} more", lines.len() - LINES_MAX);
        }
    }
}
