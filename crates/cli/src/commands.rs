//! The commands, a file each. `args` declares them; this is where each one is entered.

pub(crate) mod certs;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod forget;
pub(crate) mod mesh;
pub(crate) mod node;
pub(crate) mod presence;
pub(crate) mod publish;
pub(crate) mod subscribe;
pub(crate) mod token;

use crate::args::Command;
use crate::exit::Failure;
use crate::up;

/// Runs one command to its end.
pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => Box::pin(up::run(*args)).await,
        Command::Pub(args) => Box::pin(publish::run(*args)).await,
        Command::Sub(args) => Box::pin(subscribe::run(*args)).await,
        Command::Presence(args) => Box::pin(presence::run(*args)).await,
        Command::Node(args) => Box::pin(node::run(args)).await,
        Command::Mesh(args) => Box::pin(mesh::run(args)).await,
        Command::Doctor(args) => Box::pin(doctor::run(args)).await,
        Command::Forget(args) => Box::pin(forget::run(args)).await,
        Command::Certs(args) => certs::run(args),
        Command::Token(args) => token::run(args),
        Command::Completions(args) => completions::run(&args),
    }
}
