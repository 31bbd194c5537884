//! `farwire mesh`: the mesh as one of its nodes sees it, from that node's admin endpoint: tables for people, the endpoint's own JSON for programs.
//!
//! Reads only. Which endpoint is asked is for `endpoints` to say; `answers` has what it says, `pages` how that looks, and `events` follows what
//! happens.

pub(crate) mod answers;
pub(crate) mod endpoints;
mod events;
mod pages;

use clap::Subcommand;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::exit::Failure;
use crate::http::Answer;
use crate::names;
use crate::output::Output;
use crate::units::now_us;
use endpoints::{Endpoints, Where};

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to show [default: a summary]
    #[command(subcommand)]
    page: Option<Page>,
    /// The endpoint's own JSON on one line; a line per event
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Subcommand)]
enum Page {
    /// The nodes: state, round trip, sessions, version, address
    Nodes,
    /// Every link, from both of its ends
    Links,
    /// Who owns how much of the channel space, in each region
    Ring,
    /// The busiest channels
    Channels,
    /// One channel: its owners, attachments and rates, and how many are present
    #[command(after_help = "Example:\n  farwire mesh channel live.hello")]
    Channel {
        /// The channel
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Every session: client, node, counts
    Sessions,
    /// Follow members, rings and sessions as they change, until Ctrl-C
    Events,
    /// What share of the probes between regions arrived within 250 ms
    Slo,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let path = path(args.page.as_ref())?;
    let endpoints = args.at.endpoints()?;
    let mut output = Output::new();
    if matches!(args.page, Some(Page::Events)) {
        return events::follow(&endpoints, &path, args.json, &mut output).await;
    }
    let answer = endpoints.ask(&path).await?;
    if args.json {
        output.line(&one_line(&answer)?)?;
    } else {
        output.bytes(text(args.page.as_ref(), &answer, &endpoints).await?.as_bytes())?;
    }
    output.flush()
}

fn path(page: Option<&Page>) -> Result<String, Failure> {
    let fixed = match page {
        None | Some(Page::Nodes) => "/v1/mesh",
        Some(Page::Links) => LINKS,
        Some(Page::Ring) => "/v1/ring",
        Some(Page::Channels) => "/v1/channels",
        Some(Page::Sessions) => "/v1/sessions",
        Some(Page::Events) => "/v1/events",
        Some(Page::Slo) => "/v1/slo",
        Some(Page::Channel { name }) => return Ok(format!("/v1/channels/{}", names::channel(name)?)),
    };
    Ok(fixed.to_owned())
}

async fn text(page: Option<&Page>, answer: &Answer, endpoints: &Endpoints) -> Result<String, Failure> {
    Ok(match page {
        None => pages::summary(&read(answer)?, &read(&endpoints.ask(LINKS).await?)?),
        Some(Page::Nodes) => pages::nodes(&read(answer)?),
        Some(Page::Links) => pages::links(read(answer)?),
        Some(Page::Ring) => pages::ring(&read(answer)?),
        Some(Page::Channels) => pages::channels(&read(answer)?),
        Some(Page::Channel { .. }) => pages::channel(&read(answer)?, now_us()),
        Some(Page::Sessions) => pages::sessions(read(answer)?),
        Some(Page::Slo) => pages::slo(read(answer)?),
        Some(Page::Events) => String::new(),
    })
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    answer.json().map_err(|err| {
        Failure::failed(format!("{err}; see that the address is an admin endpoint of a node of this program's version"))
    })
}

/// The answer unchanged but for line breaks, which JSON has only between its parts.
fn one_line(answer: &Answer) -> Result<String, Failure> {
    read::<IgnoredAny>(answer)?;
    let text = String::from_utf8_lossy(&answer.body);
    Ok(text.trim().replace(['\r', '\n'], ""))
}

const LINKS: &str = "/v1/links";

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  farwire mesh                             the members, and the worst link between each two regions
  farwire mesh slo --region sin            as a node in Singapore sees it
  farwire mesh channel live.hello --json
  farwire mesh events --json | jq .
  farwire mesh links --admin http://127.0.0.1:7480";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn asked(line: &str) -> (Result<String, Failure>, bool) {
        let args = Line::try_parse_from(line.split(' ')).expect(line).args;
        (path(args.page.as_ref()), args.json)
    }

    #[test]
    fn every_page_has_its_path_and_takes_json_before_and_after_its_name() {
        assert_eq!(asked("mesh --json"), (Ok("/v1/mesh".into()), true));
        assert_eq!(asked("mesh --json links"), (Ok("/v1/links".into()), true));
        assert_eq!(asked("mesh links --json"), (Ok("/v1/links".into()), true));
        assert_eq!(asked("mesh channel a.b:c"), (Ok("/v1/channels/a.b:c".into()), false));
        for page in ["ring", "channels", "sessions", "events", "slo"] {
            assert_eq!(asked(&format!("mesh {page}")).0, Ok(format!("/v1/{page}")));
        }
    }

    #[test]
    fn a_bad_channel_is_refused_before_anybody_is_asked() {
        for name in ["a..b", "a/../mesh", "a?b"] {
            let refusal = asked(&format!("mesh channel {name}")).0.expect_err(name);
            assert_eq!(refusal.exit, Exit::Refused, "{refusal}");
        }
    }

    #[test]
    fn json_is_one_line_and_otherwise_unchanged() {
        let answer = |body: &'static str| Answer { status: hyper::StatusCode::OK, body: body.into() };
        let line = r#"{"z":1,"a":[1.50,"x\ny"]}"#;
        assert_eq!(one_line(&answer(line)), Ok(line.to_owned()));
        assert_eq!(one_line(&answer("{\r\n\"z\":1}\n")), Ok(r#"{"z":1}"#.to_owned()));
        assert_eq!(one_line(&answer("<html>")).expect_err("not JSON").exit, Exit::Failed);
    }
}
