//! `farwire completions`: the script that lets a shell complete the command line.

use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::Failure;
use crate::output::Output;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "farwire", &mut script);
    let mut output = Output::new();
    output.bytes(&script)?;
    output.flush()
}

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  farwire completions bash > ~/.local/share/bash-completion/completions/farwire
  farwire completions zsh > ~/.zfunc/_farwire";
