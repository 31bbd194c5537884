//! `farwire token`: mints tokens with an issuer's key, and shows what a token says. Knows no mesh that runs: whoever has the
//! key can mint.

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use farwire_auth::{Claims, Grant, TOKEN_BYTES_MAX, TokenId, inspect};
use farwire_transport::certs::Layout;
use farwire_transport::mesh_file::MeshFile;
use farwire_wire::ClientId;

use super::certs::Dir;
use crate::exit::Failure;
use crate::files::{self, Readers};
use crate::output::Output;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token for a client
    #[command(after_help = MINT_EXAMPLES)]
    Mint(Mint),
    /// Show what a token says, without checking its signature
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(Inspect),
}

#[derive(Debug, clap::Args)]
struct Mint {
    /// Where the key that signs, issuer.key, and the mesh file are
    #[command(flatten)]
    at: Dir,
    /// What is allowed where: a pattern, a colon, and some of publish, subscribe, presence, history, manage; may be repeated
    #[arg(long, value_name = "PATTERN:ACTION[,ACTION…]", required = true)]
    grant: Vec<Grant>,
    /// Who the client is
    #[arg(long, value_name = "ID")]
    client_id: ClientId,
    /// How long the token holds: a number and s, m, h or d
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    ttl: Duration,
    /// Write the token to this file, which only you can read, instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Inspect {
    /// The file with the token; without it, the token is read from stdin
    file: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Mint(args) => run_mint(args),
        Command::Inspect(args) => run_inspect(&args),
    }
}

fn run_mint(args: Mint) -> Result<(), Failure> {
    let key = files::issuer_key(&args.at.dir.join("issuer.key"))?;
    let mesh =
        MeshFile::load(&Layout::new(&args.at.dir).mesh_file()).map_err(|err| Failure::failed(err.to_string()))?;
    let issued_at_seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims {
        audience: mesh.id,
        client_id: args.client_id,
        token_id: TokenId(rand::random()),
        issued_at_seconds,
        not_before_seconds: None,
        expires_at_seconds: issued_at_seconds.saturating_add(args.ttl.as_secs()),
        grants: args.grant,
    };
    let token = key.mint(&claims).map_err(|err| Failure::refused(err.to_string()))?;
    let mut output = Output::new();
    match args.out {
        Some(path) => {
            files::write(&path, token.as_str(), Readers::Owner)?;
            output.line(&format!("wrote the token of {} to {}", claims.client_id, path.display()))?;
        }
        None => output.line(token.as_str())?,
    }
    output.flush()
}

fn run_inspect(args: &Inspect) -> Result<(), Failure> {
    let text = match &args.file {
        Some(path) => files::read(path, "the token")?,
        None => read_stdin()?,
    };
    let token = inspect(text.trim()).map_err(|err| Failure::refused(err.to_string()))?;
    let mut output = Output::new();
    if args.json {
        output.json(&token)?;
    } else {
        output.line(&token.to_string())?;
    }
    output.flush()
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    // A little more than a token may have, so that one that is too long is told from one that is cut.
    let read = std::io::stdin().lock().take(2 * TOKEN_BYTES_MAX as u64).read_to_string(&mut text);
    read.map_err(|err| Failure::failed(format!("cannot read the token from stdin: {err}; give its file")))?;
    Ok(text)
}

/// A number and a unit; a whole number of seconds, at least one.
fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_seconds: Option<u64> = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(24 * 3600),
        _ => None,
    };
    let seconds = number.parse::<u64>().ok().zip(unit_seconds).and_then(|(number, unit)| number.checked_mul(unit));
    seconds
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or("write a number and a unit, as in 90s, 15m, 12h or 30d")
}

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  farwire token mint --grant 'chat.>:publish,subscribe' --client-id alice --ttl 12h --out alice.token
  farwire token inspect alice.token";

const MINT_EXAMPLES: &str = "\
Examples:
  farwire token mint --grant 'chat.>:publish,subscribe' --client-id alice --ttl 15m
  farwire token mint --dir certs --grant 'live.>:publish' \\
      --grant 'live.status:subscribe' --client-id tracker-7 --ttl 30d --out tracker-7.token";

const INSPECT_EXAMPLES: &str = "\
Examples:
  farwire token inspect alice.token
  farwire token mint --grant 'chat.>:subscribe' --client-id bob | farwire token inspect";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "15", "m", "-1m", "1.5h", "0s", "15 m", "15min", "99999999999999999999s", "9999999999999999999d"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
