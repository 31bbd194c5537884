//! Tells what became of each message, in the order of handing in, and sums up. Sends nothing.
//!
//! A line goes out as soon as its ack is there and those before it are; the output is flushed whenever the next ack is not there yet.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use farwire_client::{Ack, AckLevel, ErrorClass, ErrorCode, NodeName, PublishError, RegionName, Status, StatusChanges};
use futures_util::FutureExt;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::feed::{Fate, HandedIn};
use super::tally::{Tally, micros, millis};
use crate::exit::{Exit, Failure};
use crate::output::{Output, note, status_text};

/// The report of one run.
pub(super) struct Report {
    output: Output,
    tally: Tally,
    json: bool,
    /// Many messages: people get a sum instead of a line each.
    many: bool,
    first_failure: Option<Failure>,
    progress: Progress,
    changes: StatusChanges,
    /// The node that took the messages, the last one if there were several.
    place: Option<(NodeName, RegionName)>,
}

impl Report {
    pub(super) fn new(json: bool, many: bool, changes: StatusChanges) -> Self {
        let progress = Progress { is_shown: many && !json && std::io::stderr().is_terminal(), is_on_screen: false };
        let (output, tally) = (Output::new(), Tally::new(Instant::now()));
        Self { output, tally, json, many, first_failure: None, progress, changes, place: None }
    }

    /// Reports until nothing more is handed in and everything is told. Cancel safe between two messages.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(super) async fn run(&mut self, mut acks: mpsc::Receiver<HandedIn>) -> Result<(), Failure> {
        let mut clock = interval(PROGRESS_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is how the client is, and there at once.
        let connected = self.changes.next().await;
        connected.iter().for_each(|status| self.status(status));
        while let Some(message) = self.while_waiting(&mut clock, acks.recv()).await? {
            self.tally.sent += 1;
            let HandedIn { channel, line, at, fate } = message;
            let place = Place { channel: channel.as_ref().map(AsRef::as_ref), line };
            match fate {
                Fate::Pending(pending) => {
                    let number = pending.number();
                    match self.while_waiting(&mut clock, pending).await? {
                        Ok(ack) => self.acked(&place, &ack, at.elapsed())?,
                        Err(error) => self.failed(&place, Some(number), &error)?,
                    }
                }
                Fate::Datagram => self.left(&place)?,
                Fate::NotSent(error) => self.failed(&place, None, &error)?,
            }
        }
        Ok(())
    }

    /// Waits for `next`; when it is not there yet, what is told so far goes out, and the progress line goes on.
    async fn while_waiting<F: Future>(&mut self, clock: &mut Interval, next: F) -> Result<F::Output, Failure> {
        let mut next = std::pin::pin!(next);
        if let Some(ready) = next.as_mut().now_or_never() {
            return Ok(ready);
        }
        self.output.flush()?;
        loop {
            tokio::select! {
                biased;
                ready = &mut next => return Ok(ready),
                Some(status) = self.changes.next() => self.status(&status),
                _ = clock.tick() => self.progress.show(&self.tally),
            }
        }
    }

    fn status(&mut self, status: &Status) {
        if let Status::Connected { node, region } | Status::Resumed { node, region, .. } = status {
            self.place = Some((node.clone(), region.clone()));
        }
        if let Some(text) = status_text(status) {
            self.progress.clear();
            note(&text);
        }
    }

    fn acked(&mut self, place: &Place<'_>, ack: &Ack, after: Duration) -> Result<(), Failure> {
        self.tally.ack(after);
        if self.json {
            let (number, level) = (ack.number, ack.level);
            return self.output.json(&AckLine { channel: place.channel, number, level, ack_us: micros(after) });
        }
        if self.many {
            return Ok(());
        }
        let (channel, took) = (place.channel.unwrap_or_default(), millis(micros(after)));
        self.output.line(&format!("published to {channel}: number {}, {} in {took}", ack.number, level_name(ack.level)))
    }

    /// A datagram: nobody will ever tell more.
    fn left(&mut self, place: &Place<'_>) -> Result<(), Failure> {
        if self.json || self.many {
            return Ok(());
        }
        let channel = place.channel.unwrap_or_default();
        self.output.line(&format!("sent to {channel} as a datagram: no ack comes"))
    }

    fn failed(&mut self, place: &Place<'_>, number: Option<u64>, error: &PublishError) -> Result<(), Failure> {
        self.tally.failed += 1;
        if self.json {
            self.output.json(&ErrorLine { error: error.into(), channel: place.channel, number, line: place.line })?;
        } else if self.many {
            self.progress.clear();
            note(&format!("line {}: {error}", place.line));
        }
        if self.first_failure.is_none() {
            self.first_failure = Some(Failure::from(error));
        }
        Ok(())
    }

    /// The last line of the output.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.progress.clear();
        let now = Instant::now();
        if self.json {
            let place = self.place.as_ref().map(|(node, region)| (node.as_str(), region.as_str()));
            self.output.json(&self.tally.summary(now, place))?;
        } else if self.many {
            self.output.line(&self.tally.summary_text(now))?;
        }
        self.output.flush()
    }

    /// The run was stopped: what is not acked by now may be published again.
    pub(super) fn stopped(&mut self) {
        self.first_failure.iter_mut().for_each(|failure| failure.exit = Exit::Retryable);
    }

    /// Whether all is published.
    ///
    /// # Errors
    /// The first message that was not, and how many there are.
    pub(super) fn verdict(self) -> Result<(), Failure> {
        match self.first_failure {
            None => Ok(()),
            Some(first) if !self.many => Err(first),
            Some(Failure { exit, message }) => {
                let Tally { sent, failed, .. } = self.tally;
                Err(Failure::new(exit, format!("{failed} of {sent} messages were not published; the first: {message}")))
            }
        }
    }
}

/// Which message is meant.
struct Place<'a> {
    channel: Option<&'a str>,
    line: u64,
}

/// The JSON line of an ack.
#[derive(Serialize)]
struct AckLine<'a> {
    channel: Option<&'a str>,
    number: u64,
    level: AckLevel,
    ack_us: u64,
}

/// The JSON line of a message that was not published.
#[derive(Serialize)]
struct ErrorLine<'a> {
    error: ErrorFields,
    channel: Option<&'a str>,
    number: Option<u64>,
    line: u64,
}

#[derive(Serialize)]
struct ErrorFields {
    code: u32,
    name: &'static str,
    class: ErrorClass,
    message: String,
}

impl From<&PublishError> for ErrorFields {
    fn from(error: &PublishError) -> Self {
        // A client that has ended for no reason of the mesh's has been closed.
        let code = error.code().unwrap_or(ErrorCode::Closed);
        Self { code: code.number(), name: code.name(), class: error.class(), message: error.to_string() }
    }
}

fn level_name(level: AckLevel) -> &'static str {
    match level {
        AckLevel::Volatile => "volatile",
        AckLevel::Region => "region",
        AckLevel::Geo => "geo",
    }
}

/// A line on a terminal's stderr that is written over and over.
struct Progress {
    is_shown: bool,
    is_on_screen: bool,
}

impl Progress {
    fn show(&mut self, tally: &Tally) {
        if self.is_shown {
            self.is_on_screen = true;
            write_stderr(&format!("\r{}\x1b[K", tally.progress(Instant::now())));
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_on_screen) {
            write_stderr("\r\x1b[K");
        }
    }
}

/// Progress is not worth a failure.
fn write_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

const PROGRESS_EVERY: Duration = Duration::from_millis(500);
