//! The command line of Farwire: one binary for nodes, clients and operators.
//!
//! This page only finds out which command is meant, runs it, and ends the process as it ended. `args` has the commands, `commands` and `up`
//! do them, `exit` has the codes.

mod args;
mod commands;
mod context;
mod exit;
mod files;
mod http;
mod logging;
mod names;
mod output;
mod table;
mod units;
mod up;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Runtime;

use args::{Cli, Command};
use exit::{Exit, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Node(_)) {
        up::parent::die_with_parent();
    }
    let log_format = cli.log_format;
    match run(cli) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => failure.report(log_format),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let level = cli.log.as_deref().unwrap_or(cli.command.log_default());
    logging::init(level, cli.log_format)?;
    let runtime = Runtime::new().map_err(|err| Failure::failed(format!("cannot start threads: {err}")))?;
    let ended = runtime.block_on(commands::run(cli.command));
    // A read of stdin that never ends must not keep the process.
    runtime.shutdown_background();
    ended
}
