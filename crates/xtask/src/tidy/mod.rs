//! The rules of this workspace that no other tool knows: each a pure function from names and text to faults.
//!
//! A fault fails the run and says what to do; a note only prints. Called by `cargo xtask tidy` and as a step of `cargo xtask check`.

mod arrows;
mod code;
mod files;
mod modules;

use anyhow::{Result, ensure};

use crate::mutants;
use crate::workspace::Workspace;

/// What the rules found, each a line that names the place.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) faults: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// Applies every rule to the workspace, prints what they found, and fails if that is more than notes.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut report = Report { faults: arrows::check(&workspace.packages), notes: Vec::new() };
    for file in &workspace.files {
        check_file(file, &workspace.read(file)?, &mut report);
    }
    report.faults.extend(mutants::stale(workspace)?);
    report.notes.extend(modules::stale_rows(&workspace.files));
    for note in &report.notes {
        println!("note: {note}");
    }
    for fault in &report.faults {
        println!("fault: {fault}");
    }
    ensure!(report.faults.is_empty(), "{} faults", report.faults.len());
    println!("tidy: {} files, {} packages", workspace.files.len(), workspace.packages.len());
    Ok(())
}

fn check_file(file: &str, bytes: &[u8], report: &mut Report) {
    files::check_any(file, bytes, report);
    if !file.ends_with(".rs") {
        return;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return report.faults.push(format!("{file}: not UTF-8; save it as UTF-8"));
    };
    let code = code::only(text);
    files::check_source(file, text, &code, report);
    modules::check(file, &code, report);
}
