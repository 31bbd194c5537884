//! The checks of the workspace: `cargo xtask check` before a commit, `cargo xtask tidy` for the rules that no other tool knows.
//!
//! Changes no file unless asked to (`mutants --write`), and is no part of what users run. Called by people and by `.ci/run`, through
//! the alias in `.cargo/config.toml`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command reports on its output")]

mod check;
mod mutants;
mod tidy;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const USAGE: &str = "\
cargo xtask check [--advisories]   formatting, lints, docs, dependencies, tidy; --advisories fetches the advisory database too
cargo xtask mutants [--write] [NAME]
                                   breaks the product on purpose and sees that the simulation notices; takes minutes;
                                   --write puts what it found into the table of tests/README.md
cargo xtask tidy                   arrows between crates and modules, file sizes, module docs, unfinished code, keys";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["check"] => check::run(false),
        ["check", "--advisories"] => check::run(true),
        ["mutants"] => Workspace::load().and_then(|workspace| mutants::run(&workspace, "", false)),
        ["mutants", "--write"] => Workspace::load().and_then(|workspace| mutants::run(&workspace, "", true)),
        ["mutants", "--write", name] => Workspace::load().and_then(|workspace| mutants::run(&workspace, name, true)),
        ["mutants", name] => Workspace::load().and_then(|workspace| mutants::run(&workspace, name, false)),
        ["tidy"] => Workspace::load().and_then(|workspace| tidy::run(&workspace)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
