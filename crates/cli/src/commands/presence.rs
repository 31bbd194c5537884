//! `farwire presence`: who is on channels, in every region, now and as it changes; and on which channels a client is.
//!
//! Joins nothing itself, which is for `sub --presence`. Who watches and asks does it in this order, so that nothing is missed
//! in between. `answers` has what is asked once and `counts` its numbers, `watch` what goes on.

mod answers;
mod counts;
mod watch;

use std::pin::pin;

use farwire_client::{ChannelName, Client, ClientId, Pattern, Status, StatusChanges};
use futures_util::FutureExt;

use crate::context::Connect;
use crate::exit::Failure;
use crate::names;
use crate::output::Output;
use crate::units::now_us;
use answers::{ChannelLine, WhereLine};

pub(crate) use counts::Counts;
pub(crate) use watch::{Told, Watches};

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Channels; with --watch patterns too, which are only watched: `*` stands for one segment, `>` for the rest
    #[arg(required_unless_present = "client", value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Go on with a line for everybody who joins, leaves, times out or says something else, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// List who is there, with their states
    #[arg(long)]
    occupants: bool,
    /// Tell instead on which channels this client is
    #[arg(id = "client", long = "where", value_name = "CLIENT", conflicts_with_all = ["channels", "watch", "occupants"])]
    client: Option<ClientId>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let asked = Asked::of(&args)?;
    // Who asks and gets no answer is not done: there Ctrl-C is what it is without us.
    let mut stopped = pin!(async {
        match args.watch {
            true => drop(tokio::signal::ctrl_c().await),
            false => std::future::pending().await,
        }
    });
    let client = tokio::select! {
        biased;
        () = &mut stopped => return Ok(()),
        client = args.connect.client(|options| options) => client?,
    };
    let mut output = Output::new();
    let ended = tokio::select! {
        biased;
        () = &mut stopped => Ok(()),
        ended = asked.tell(&client, &args, &mut output) => ended,
    };
    let flushed = output.flush();
    client.close().await;
    ended.and(flushed)
}

/// What is asked, checked.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Where(ClientId),
    Who(Vec<ChannelName>),
    /// The channels are those of the patterns that have no wildcard.
    Watch(Vec<Pattern>, Vec<ChannelName>),
}

impl Asked {
    fn of(args: &Args) -> Result<Self, Failure> {
        if let Some(client) = &args.client {
            return Ok(Self::Where(client.clone()));
        }
        if !args.watch {
            return args.channels.iter().map(|text| channel(text)).collect::<Result<_, _>>().map(Self::Who);
        }
        let patterns = args.channels.iter().map(|text| names::pattern(text)).collect::<Result<Vec<_>, _>>()?;
        let channels = patterns.iter().filter_map(Pattern::channel).collect();
        Ok(Self::Watch(patterns, channels))
    }

    async fn tell(&self, client: &Client, args: &Args, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Where(located) => {
                let answer = client.locate(located.as_str()).await?;
                let line = WhereLine::of(located, &answer);
                if args.json { output.json(&line) } else { output.bytes(line.page().as_bytes()) }
            }
            Self::Who(channels) => tell_who(client, channels, args, output).await,
            Self::Watch(patterns, channels) => {
                let mut watches = Watches::start(client, patterns).await?;
                tell_who(client, channels, args, output).await?;
                follow(&mut client.status(), &mut watches, args.json, output).await
            }
        }
    }
}

fn channel(text: &str) -> Result<ChannelName, Failure> {
    names::pattern(text)?.channel().ok_or_else(|| {
        Failure::refused(format!(
            "{text} is a pattern: name channels to see who is there now, or watch it with --watch"
        ))
    })
}

/// Asks who is there, for all channels at once unless everybody is to be listed.
async fn tell_who(client: &Client, channels: &[ChannelName], args: &Args, output: &mut Output) -> Result<(), Failure> {
    let mut is_first = true;
    let mut print = |line: ChannelLine<'_>| {
        if args.json {
            return output.json(&line);
        }
        let between = if std::mem::take(&mut is_first) { "" } else { "\n" };
        output.bytes(format!("{between}{}", line.page(now_us())).as_bytes())
    };
    if args.occupants {
        for channel in channels {
            print(ChannelLine::of(&client.presence(channel.as_str()).await?, true))?;
        }
    } else if !channels.is_empty() {
        let answers = client.occupancy(channels.iter().map(ChannelName::as_str)).await?;
        answers.iter().try_for_each(|answer| print(ChannelLine::of(answer, false)))?;
    }
    Ok(())
}

/// Prints what happens for ever. Output is flushed whenever nothing more is ready.
async fn follow(
    changes: &mut StatusChanges,
    watches: &mut Watches,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    loop {
        let next = match next(changes, watches).now_or_never() {
            Some(next) => next,
            None => {
                output.flush()?;
                next(changes, watches).await
            }
        };
        match next {
            Next::Status(status) => output.status(&status, json)?,
            Next::Told(told) => told?.print(output, json)?,
        }
    }
}

enum Next {
    Status(Status),
    Told(Result<Told, Failure>),
}

/// Statuses first, so that they are told under load too. Cancel safe.
async fn next(changes: &mut StatusChanges, watches: &mut Watches) -> Next {
    tokio::select! {
        biased;
        Some(status) = changes.next() => Next::Status(status),
        Some(told) = watches.next() => Next::Told(told),
        else => std::future::pending().await,
    }
}

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  farwire presence live.room                        how many are there, region by region
  farwire presence live.room --occupants --json | jq -r '.occupants[].client_id'
  farwire presence 'live.>' --watch                 who comes and goes
  farwire presence --where alice                    on which channels a client is

The token needs the right to see it: farwire token mint --grant 'chat.>:presence' --client-id alice";

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

    fn asked(line: &str) -> Result<Asked, Failure> {
        let words = std::iter::once("presence").chain(line.split(' '));
        let args = Line::try_parse_from(words).map_err(|err| Failure::usage(err.to_string()))?.args;
        Asked::of(&args)
    }

    #[test]
    fn a_pattern_is_watched_and_only_channels_are_asked_about() {
        let channel = |text: &str| ChannelName::parse(text).expect("sound");
        assert_eq!(asked("a b"), Ok(Asked::Who(vec![channel("a"), channel("b")])));
        let patterns = ["a.*", "b"].map(|text| text.parse().expect("sound")).into();
        assert_eq!(asked("a.* b --watch"), Ok(Asked::Watch(patterns, vec![channel("b")])));
        assert_eq!(asked("--where bob --json"), Ok(Asked::Where("bob".parse().expect("sound"))));
    }

    #[test]
    fn flags_that_do_not_go_together_are_wrong_use_and_bad_names_are_refused() {
        for line in ["--watch", "--where bob a", "--where bob --watch", "--where bob --occupants", "--where b/b"] {
            assert_eq!(asked(line).expect_err(line).exit, Exit::Usage, "{line}");
        }
        for line in ["a.*", "a..b", "a..b --watch"] {
            assert_eq!(asked(line).expect_err(line).exit, Exit::Refused, "{line}");
        }
    }
}
