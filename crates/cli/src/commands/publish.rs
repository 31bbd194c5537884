//! `farwire pub`: publishes one message, or many from stdin, and tells what became of each.
//!
//! Three parts: `plan` is what the flags ask for, `feed` hands messages in at their time, `report` prints acks in the order of handing in and
//! counts them. Between the two stands a queue as long as the protocol's bound on publishes in flight: a mesh that is slow slows the reading of
//! stdin, and nothing piles up.

mod feed;
mod fields;
mod input;
mod pace;
mod plan;
mod report;
mod tally;

use farwire_client::{AckLevel, Client};
use farwire_wire::limits::PUBLISHES_IN_FLIGHT_MAX;
use tokio::sync::mpsc;

use crate::context::Connect;
use crate::exit::{Exit, Failure};
use crate::output::note;
use feed::Feed;
use pace::Replay;
use plan::{Input, Plan};
use report::Report;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The channel; left out with --channel-field
    channel: Option<String>,
    /// The message; without it, all of stdin is the message, or each line with --lines
    message: Option<String>,
    /// Publish each line of stdin as a message of its own, without waiting for the acks of those before it
    #[arg(long)]
    lines: bool,
    /// Take the channel from this field of the message, which is a JSON object
    #[arg(long, value_name = "FIELD")]
    channel_field: Option<String>,
    /// What stands before the field's value in the channel's name
    #[arg(long, value_name = "PREFIX", requires = "channel_field")]
    channel_prefix: Option<String>,
    /// The field that is the key of a channel that keeps last values
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// How far a message must have got before it counts as published; volatile channels keep nothing, so they take
    /// `region` and ack it as `volatile` [default: what the channel is for]
    #[arg(long, value_enum, value_name = "LEVEL", conflicts_with = "datagram")]
    ack: Option<Level>,
    /// Publish so many lines a second
    #[arg(long, value_name = "N", requires = "lines", conflicts_with = "replay", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Keep the spacing that this field of the lines says (RFC 3339, or a number of seconds), SPEED times as fast
    #[arg(long, value_name = "FIELD[:SPEED]", requires = "lines")]
    replay: Option<Replay>,
    /// Who publishes: the k-th message of a channel has number k, so that running the same again is a retry [default: random]
    #[arg(long, value_name = "ID")]
    publisher: Option<String>,
    /// Send small volatile messages as datagrams: never late, sometimes lost
    #[arg(long)]
    datagram: bool,
    /// One JSON object a line: an ack or an error for each message, then a summary
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// How far a message must have got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    /// Committed by a majority of the region's replicas
    Region,
    /// Committed in another region too
    Geo,
}

impl From<Level> for AckLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Region => Self::Region,
            Level::Geo => Self::Geo,
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let plan = Plan::of(&args)?;
    let client = args.connect.client(|options| plan.adjust(options)).await?;
    let (handed_in, acks) = mpsc::channel(PUBLISHES_IN_FLIGHT_MAX as usize);
    let mut report = Report::new(args.json, plan.input == Input::Lines, client.status());
    let feed = Feed::new(plan, client.clone(), handed_in);
    let ended = tokio::try_join!(feed_until_stopped(feed, client), report.run(acks));
    if let Err(failure) = &ended
        && failure.exit == Exit::Done
    {
        return ended.map(drop);
    }
    report.finish()?;
    let (client, ()) = ended?;
    match client {
        Some(client) => client.close().await,
        None => report.stopped(),
    }
    report.verdict()
}

/// Hands in all there is. Ctrl-C ends that, and closing the client then ends the wait for what is under way: with its acks,
/// or after a few seconds without them. A second Ctrl-C ends it at once. Gives the client back if it still lives.
async fn feed_until_stopped(feed: Feed, client: Client) -> Result<Option<Client>, Failure> {
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {}
        fed = feed.run() => return fed.map(|()| Some(client)),
    }
    note("stopping: no more is published, and acks are waited for; Ctrl-C again ends that");
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {}
        () = client.close() => {}
    }
    Ok(None)
}

fn parse_rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or("write a number of lines a second above 0")
}

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  farwire pub chat.lobby 'Good morning'
  date | farwire pub log.times --region fra
  farwire pub --lines live.ticks --rate 100 --json < ticks.txt
  farwire pub --lines --channel-field mmsi --channel-prefix live.fleet. --replay t:20 < ships.jsonl";
