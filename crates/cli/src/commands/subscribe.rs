//! `farwire sub`: subscribes to patterns and prints what arrives, a line each, until it is interrupted or has enough.
//!
//! One subscription for all patterns, so that a message which several of them match is printed once. With `--presence` the client is present on
//! the channels too, and what others do there is printed as `farwire presence --watch` does. Output is flushed whenever nothing more is ready:
//! under load lines go out in large writes, and a lone message at once.

mod print;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use farwire_client::{
    Client, ClientId, ConnectOptions, Event, Pattern, Presence, PresenceState, Status, StatusChanges, SubscribeError,
    Subscription,
};
use farwire_wire::Filter;
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::presence::{Told, Watches};
use crate::context::Connect;
use crate::exit::{Exit, Failure};
use crate::names;
use print::Printer;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Channels, or patterns of channels: `*` stands for one segment, `>` for the rest
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Where to begin: now, start, or a cursor
    #[arg(long, value_name = "WHERE", default_value = "now")]
    from: String,
    /// Go on from the cursor in this file, and keep it current
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after this time, counted from the start; with exit code 3 if --count was not met
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,
    /// Be present on the channels, and print who comes and goes there too; of a pattern with wildcards the presence is
    /// only watched
    #[arg(long)]
    presence: bool,
    /// Insist on being this client: refused unless the token, which says who you are, says the same
    #[arg(long, value_name = "ID")]
    client_id: Option<ClientId>,
    /// What to be present with, for the others to see: any JSON, up to 1 KiB
    #[arg(long, value_name = "JSON", requires = "presence")]
    state: Option<PresenceState>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let filter = args.filter()?;
    args.refuse_what_is_not_built()?;
    let mut stopped = pin!(stopped(args.timeout));
    let client = tokio::select! {
        biased;
        stop = &mut stopped => return args.end(stop, 0),
        client = args.connect.client(|options| args.adjust(options)) => client?,
    };
    let mut printer = Printer::new(args.json, &filter);
    let ended = tokio::select! {
        biased;
        stop = &mut stopped => Err(stop),
        ended = print_all(&client, &filter, &args, &mut printer) => Ok(ended),
    };
    let flushed = printer.flush();
    // Always: who goes without a word is held for lost, and stays present until that is sure.
    client.close().await;
    flushed?;
    ended.unwrap_or_else(|stop| args.end(stop, printer.messages()))
}

/// Ends when there are enough messages, or the client has ended.
async fn print_all(client: &Client, filter: &Filter, args: &Args, printer: &mut Printer) -> Result<(), Failure> {
    let mut streams = Streams::open(client, filter, args).await?;
    while args.count.is_none_or(|count| printer.messages() < count) {
        let ready = streams.next().now_or_never();
        let told = match ready {
            Some(told) => told,
            None => {
                printer.flush()?;
                streams.next().await
            }
        };
        match told {
            Next::Status(status) => {
                printer.status(&status)?;
                streams.check_present()?;
            }
            Next::Presence(told) => printer.presence(&told?)?,
            Next::Event(event) => printer.event(&event)?,
            Next::End => return Err(reason_of_end(&streams.subscription)),
        }
    }
    Ok(())
}

/// All that the client tells, and its presence, which lasts as long.
struct Streams {
    changes: StatusChanges,
    watches: Watches,
    subscription: Subscription,
    present: Vec<Presence>,
}

impl Streams {
    /// Returns when everything is in force. Watches before it enters: a client sees itself come.
    async fn open(client: &Client, filter: &Filter, args: &Args) -> Result<Self, Failure> {
        let subscription = client.subscribe_all(filter.patterns().iter().map(Pattern::as_str)).await?;
        let mut streams =
            Self { changes: client.status(), watches: Watches::default(), subscription, present: Vec::new() };
        if args.presence {
            streams.watches = Watches::start(client, filter.patterns()).await?;
            let channels = filter.patterns().iter().filter_map(Pattern::channel);
            let state = args.state.clone().unwrap_or_default();
            let entering = channels.map(|channel| client.enter(channel.as_str().to_owned(), state.clone()));
            streams.present = try_join_all(entering).await?;
        }
        Ok(streams)
    }

    /// Statuses first, so that they are told under load too, and messages last, which are many. Cancel safe.
    async fn next(&mut self) -> Next {
        tokio::select! {
            biased;
            Some(status) = self.changes.next() => Next::Status(status),
            Some(told) = self.watches.next() => Next::Presence(told),
            event = self.subscription.next() => event.map_or(Next::End, Next::Event),
        }
    }

    /// A node may refuse after a reconnect what another one took.
    fn check_present(&self) -> Result<(), Failure> {
        let refused = self.present.iter().find_map(Presence::error).cloned();
        refused.map_or(Ok(()), |error| Err(Failure::from(error)))
    }
}

/// What the client tells next.
enum Next {
    Status(Status),
    Presence(Result<Told, Failure>),
    Event(Event),
    End,
}

fn reason_of_end(subscription: &Subscription) -> Failure {
    let error = subscription.error().cloned().unwrap_or(SubscribeError::Closed(None));
    Failure::from(error)
}

impl Args {
    fn adjust(&self, options: ConnectOptions) -> ConnectOptions {
        match &self.client_id {
            Some(id) => options.client_id(id.clone()),
            None => options,
        }
    }

    fn filter(&self) -> Result<Filter, Failure> {
        let patterns = self.patterns.iter().map(|text| names::pattern(text)).collect::<Result<Vec<_>, _>>()?;
        Filter::new(patterns).map_err(|err| Failure::refused(format!("too many patterns for one subscription: {err}")))
    }

    fn refuse_what_is_not_built(&self) -> Result<(), Failure> {
        let options = [(self.from != "now", "--from (other than now)"), (self.cursor.is_some(), "--cursor")];
        let asked = options.into_iter().find(|(is_asked, _)| *is_asked);
        asked.map_or(Ok(()), |(_, option)| Err(Failure::not_built_yet(option)))
    }

    /// What it means that the run was stopped from outside. Without a count the time is all that was asked for.
    fn end(&self, stop: Stop, messages: u64) -> Result<(), Failure> {
        match (stop, self.count) {
            (Stop::Interrupted, _) | (Stop::TimeIsUp, None) => Ok(()),
            (Stop::TimeIsUp, Some(count)) => Err(Failure::new(
                Exit::TimedOut,
                format!(
                    "the time was up after {messages} of {count} messages; see that they are published, or give more time"
                ),
            )),
        }
    }
}

/// Why a run was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Interrupted,
    TimeIsUp,
}

async fn stopped(timeout: Option<Duration>) -> Stop {
    let time_is_up = async {
        match timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Stop::Interrupted,
        () = time_is_up => Stop::TimeIsUp,
    }
}

fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or("write a number of seconds")
}

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  farwire sub 'chat.>'
  farwire sub 'live.fleet.*' --region sin --json
  farwire sub live.room --presence --state '{\"mood\":\"fine\"}'
  farwire sub live.ticks --count 10 --timeout 30";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(std::iter::once("sub").chain(line.split(' '))).expect(line).args
    }

    #[test]
    fn only_a_count_that_was_not_met_is_a_timeout() {
        let exit = |line: &str, stop| args(line).end(stop, 3).map_err(|failure| failure.exit);
        assert_eq!(exit("a --count 5 --timeout 1", Stop::TimeIsUp), Err(Exit::TimedOut));
        assert_eq!(exit("a --timeout 1", Stop::TimeIsUp), Ok(()));
        assert_eq!(exit("a --count 5", Stop::Interrupted), Ok(()));
    }

    #[test]
    fn bad_patterns_and_options_of_later_versions_are_refused() {
        let thrice = "a a a";
        assert_eq!(args(thrice).filter().map(|filter| filter.patterns().len()), Ok(1), "the same pattern counts once");
        let many: Vec<_> = (0..17).map(|n| format!("a.{n}")).collect();
        for line in ["a*", "a..b", &many.join(" ")] {
            assert_eq!(args(line).filter().expect_err(line).exit, Exit::Refused);
        }
        for line in ["a --from start", "a --cursor c"] {
            let refusal = args(line).refuse_what_is_not_built().expect_err(line);
            assert!(refusal.exit == Exit::Refused && refusal.message.contains("not built yet"), "{refusal}");
        }
        assert_eq!(args("a --from now --presence").refuse_what_is_not_built(), Ok(()));
    }

    #[test]
    fn a_state_is_json_and_for_those_who_are_present() {
        let state = |line: &str| args(line).state.and_then(|state| state.json().map(str::to_owned));
        assert_eq!(state("a --presence --state {\"n\":1}").as_deref(), Some("{\"n\":1}"));
        assert_eq!(state("a --presence"), None);
        for line in ["sub a --state 1", "sub a --presence --state {"] {
            let refusal = Line::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(refusal.exit_code(), i32::from(Exit::Usage as u8), "{refusal}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_timeout_is_for_the_whole_run() {
        let begin = Instant::now();
        assert_eq!(stopped(Some(Duration::from_secs(30))).await, Stop::TimeIsUp);
        assert_eq!(begin.elapsed(), Duration::from_secs(30));
    }
}
