//! The command line as a whole: its commands and what is common to all. Each command's own flags stand in its own file.

use clap::{Parser, Subcommand};

use crate::commands::{certs, completions, doctor, forget, mesh, node, presence, publish, subscribe, token};
use crate::logging::LogFormat;
use crate::up;

/// The real-time message mesh that you run yourself.
#[derive(Debug, Parser)]
#[command(name = "farwire", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What to log to stderr: off, error, warn, info, debug or trace, or directives as in RUST_LOG: info,farwire_node::link=debug
    /// [default: info for a node, else warn]
    #[arg(
        long,
        global = true,
        env = "FARWIRE_LOG",
        value_name = "FILTER",
        hide_env_values = true,
        help_heading = "Logging"
    )]
    pub(crate) log: Option<String>,
    /// How a log line looks: for people, or one JSON object a line
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "FARWIRE_LOG_FORMAT",
        value_name = "FORMAT",
        hide_env_values = true,
        help_heading = "Logging"
    )]
    pub(crate) log_format: LogFormat,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole mesh on this machine, with the delays of a real WAN between its regions
    Up(Box<up::Args>),
    /// Publish one message, or many from stdin
    #[command(after_help = publish::EXAMPLES)]
    Pub(Box<publish::Args>),
    /// Subscribe to channels and print what arrives
    #[command(after_help = subscribe::EXAMPLES)]
    Sub(Box<subscribe::Args>),
    /// Show who is on channels, in every region, and who comes and goes
    #[command(after_help = presence::EXAMPLES)]
    Presence(Box<presence::Args>),
    /// Run one node, or check its config
    #[command(after_help = node::EXAMPLES)]
    Node(node::Args),
    /// Show the mesh: nodes, links, channels, sessions, what happens
    #[command(after_help = mesh::EXAMPLES)]
    Mesh(mesh::Args),
    /// Look for what is wrong with this host, its files, the ports of the nodes and the mesh
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Args),
    /// Take a node that will not come back out of the mesh
    #[command(after_help = forget::EXAMPLES)]
    Forget(forget::Args),
    /// Make a mesh and the certificates of its nodes
    #[command(after_help = certs::EXAMPLES)]
    Certs(certs::Args),
    /// Make and inspect the tokens of clients
    #[command(after_help = token::EXAMPLES)]
    Token(token::Args),
    /// Print the script that completes this command line in a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Args),
}

impl Command {
    /// What is logged unless somebody says otherwise: a node tells what it does, other commands only what is wrong.
    pub(crate) fn log_default(&self) -> &'static str {
        match self {
            Self::Node(_) => "info",
            _ => "warn",
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  farwire up                                         three regions on this machine
  farwire sub 'live.>' --region sin                  in a second terminal
  farwire pub live.hello 'Hello from Frankfurt' --region fra

Exit codes: 0 done, 1 failed, 2 wrong use, 3 timed out, 4 refused, 5 worth trying again.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("farwire "), "{} has no examples", command.get_name());
        }
    }

    #[test]
    fn only_a_node_logs_what_it_does() {
        let default = |line: &str| Cli::try_parse_from(line.split(' ')).expect(line).command.log_default();
        assert_eq!(default("farwire node --config n.toml"), "info");
        assert_eq!(default("farwire sub a"), "warn");
    }
}
