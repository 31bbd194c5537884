//! `farwire forget`: takes a member that will not come back out of the mesh at once, through the admin endpoint of any node.

use farwire_wire::NodeName;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::mesh::endpoints::Where;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node that is gone for good
    #[arg(value_name = "NODE")]
    name: NodeName,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

/// What the node answers.
#[derive(Debug, Serialize, Deserialize)]
struct Forgotten {
    forgotten: String,
    told: Vec<String>,
    later: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let answer = args.at.endpoints()?.delete(&format!("/v1/members/{}", args.name), exit_of).await?;
    let answer: Forgotten = answer.json().map_err(|err| Failure::failed(format!("{err}; see `farwire mesh`")))?;
    let mut output = Output::new();
    if args.json {
        output.json(&answer)?;
    } else {
        output.line(&text(&answer))?;
    }
    output.flush()
}

/// What a refusal means for the process.
fn exit_of(status: StatusCode) -> Exit {
    match status {
        StatusCode::NOT_FOUND => Exit::Usage,
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT => Exit::Refused,
        StatusCode::SERVICE_UNAVAILABLE => Exit::Retryable,
        _ => Exit::Failed,
    }
}

fn text(answer: &Forgotten) -> String {
    let list = |names: &[String]| names.join(", ").escape_debug().to_string();
    let mut text = format!("forgot {}", answer.forgotten.escape_debug());
    if !answer.told.is_empty() {
        text += &format!("; told {}", list(&answer.told));
    }
    if !answer.later.is_empty() {
        text += &format!("; {} cannot be reached now and will hear of it within a day", list(&answer.later));
    }
    text
}

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
The node must be stopped: one that lives is refused. If it comes back, it is a member again; withdraw its certificates by making a new mesh.

Examples:
  farwire forget fra-2
  farwire forget fra-2 --admin http://127.0.0.1:7480 --json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_and_who_was_not_is_said() {
        let answer = |told: &[&str], later: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            text(&Forgotten { forgotten: "fra-2".into(), told: names(told), later: names(later) })
        };
        assert_eq!(answer(&[], &[]), "forgot fra-2");
        assert_eq!(
            answer(&["fra-1", "iad-1"], &["sin-1"]),
            "forgot fra-2; told fra-1, iad-1; sin-1 cannot be reached now and will hear of it within a day"
        );
    }
}
