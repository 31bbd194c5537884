//! `farwire node`: runs one node until SIGINT or SIGTERM, or checks its config. What a node does is the node crate's; here are only its config's
//! sources, its signals and its exit code.

use std::io;
use std::path::PathBuf;

use clap::Subcommand;
use farwire_node::config::{Config, Faults};
use farwire_node::{Node, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;
use crate::output::Output;

/// The command's flags.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Option<Source>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every fault of the config, a line each, with its place and what is right
    #[command(after_help = "Example:\n  farwire node check --config node.toml")]
    Check(Source),
}

/// Where a config comes from. `FARWIRE_CLIENT_BIND` and the like are read too.
#[derive(Debug, clap::Args)]
struct Source {
    /// The config file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A setting that goes over the file and the environment, as in client.bind=0.0.0.0:7400; may be repeated
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = parse_setting)]
    set: Vec<(String, String)>,
}

impl Source {
    fn load(&self) -> Result<Config, Faults> {
        Config::load(&self.config, |name| std::env::var(name).ok(), &self.set)
    }

    /// The last line after the faults.
    fn verdict(&self, faults: &Faults) -> String {
        let count = faults.as_slice().len();
        format!("{} has {count} fault(s), listed above: mend them and try again", self.config.display())
    }

    fn refused(&self, faults: &Faults) -> Failure {
        Failure::failed(format!("{faults}\n{}", self.verdict(faults)))
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match (args.command, args.source) {
        (Some(Command::Check(source)), _) => check(&source),
        (None, Some(source)) => serve(&source).await,
        (None, None) => Err(Failure::usage("give the config of the node: farwire node --config FILE")),
    }
}

fn check(source: &Source) -> Result<(), Failure> {
    let mut output = Output::new();
    let checked = source.load().and_then(|config| config.check_files().map(|()| config));
    match &checked {
        Ok(Config { name, region, .. }) => {
            output.line(&format!("{}: sound: node {name} in {region}", source.config.display()))?;
        }
        Err(faults) => output.line(&faults.to_string())?,
    }
    output.flush()?;
    checked.map(drop).map_err(|faults| Failure::failed(source.verdict(&faults)))
}

async fn serve(source: &Source) -> Result<(), Failure> {
    let config = source.load().map_err(|faults| source.refused(&faults))?;
    let signals = (on(SignalKind::interrupt()), on(SignalKind::terminate()));
    let (mut interrupt, mut terminate) = (signals.0?, signals.1?);
    let mut node = Node::start(config).await.map_err(|err| match err {
        StartError::Files(faults) => source.refused(&faults),
        other => Failure::failed(other.to_string()),
    })?;
    let ended = tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        fault = node.failed() => Err(Failure::failed(format!("the node failed and stopped: {fault}; start it again, and please report this"))),
    };
    node.shutdown().await;
    ended
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|err: io::Error| Failure::failed(format!("cannot wait for signals: {err}")))
}

fn parse_setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write key=value, as in client.bind=0.0.0.0:7400")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  farwire node --config node.toml
  farwire node --config node.toml --set client.bind=0.0.0.0:7400 --set log.sync=true
  farwire node check --config node.toml";
