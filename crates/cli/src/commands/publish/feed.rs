//! Hands messages in, each at its time, and passes on what will tell what became of it.
//!
//! Prints nothing. What cannot be handed in, a line that names no channel say, is passed on in its place, so that the report has every line in order.

use std::time::{Duration, Instant};

use bytes::Bytes;
use farwire_client::{ChannelName, Client, ErrorCode, PendingAck, PublishError, WireError};
use tokio::io::BufReader;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::fields::Fields;
use super::input::{self, Line};
use super::pace::Schedule;
use super::plan::{Destination, Input, Plan};
use crate::exit::{Exit, Failure};

/// A message that was handed in, or could not be.
pub(super) struct HandedIn {
    /// Where to; `None` when it named no channel.
    pub(super) channel: Option<ChannelName>,
    /// The line of stdin, from 1.
    pub(super) line: u64,
    /// When it was handed in.
    pub(super) at: Instant,
    /// What will tell what became of it.
    pub(super) fate: Fate,
}

/// What became of a message, or will tell it.
pub(super) enum Fate {
    /// An ack is on its way.
    Pending(PendingAck),
    /// It left as a datagram, for which no ack comes.
    Datagram,
    /// It was not sent.
    NotSent(PublishError),
}

/// Where messages are handed in.
pub(super) struct Feed {
    client: Client,
    destination: Destination,
    input: Input,
    schedule: Schedule,
    datagram: bool,
    handed_in: mpsc::Sender<HandedIn>,
}

impl Feed {
    pub(super) fn new(plan: Plan, client: Client, handed_in: mpsc::Sender<HandedIn>) -> Self {
        let Plan { destination, input, pace, datagram, .. } = plan;
        Self { client, destination, input, schedule: Schedule::new(pace), datagram, handed_in }
    }

    /// Hands in all there is. Not cancel safe: what was read of a line is lost; all that was published is passed on.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let unreadable = |err| Failure::failed(format!("cannot read stdin: {err}; check where it comes from"));
        match std::mem::replace(&mut self.input, Input::Stdin) {
            Input::Message(payload) => self.hand_in(payload, 1).await,
            Input::Stdin => match input::whole(&mut tokio::io::stdin()).await.map_err(unreadable)? {
                Some(payload) => self.hand_in(payload, 1).await,
                None => self.pass_on(HandedIn::refused(1, too_long())).await,
            },
            Input::Lines => {
                let mut stdin = BufReader::with_capacity(STDIN_BYTES, tokio::io::stdin());
                let mut number = 0;
                while let Some(line) = input::next_line(&mut stdin).await.map_err(unreadable)? {
                    number += 1;
                    match line {
                        Line::Payload(payload) => self.hand_in(payload, number).await?,
                        Line::TooLong => self.pass_on(HandedIn::refused(number, too_long())).await?,
                    }
                }
                Ok(())
            }
        }
    }

    async fn hand_in(&mut self, payload: Bytes, line: u64) -> Result<(), Failure> {
        let (channel, due) = match self.look_into(&payload) {
            Ok(found) => found,
            Err(refusal) => return self.pass_on(HandedIn::refused(line, refusal)).await,
        };
        if let Some(due) = due {
            sleep_until(due.into()).await;
        }
        // Before it is published, so that nothing is published that is not reported.
        let Ok(place) = self.handed_in.reserve().await else { return Ok(()) };
        let at = Instant::now();
        let sent = timeout(GIVE_UP_AFTER, self.send(&channel, payload)).await.map_err(|_| gave_up(line))?;
        let fate = match sent {
            Ok(fate) => fate,
            // No later message would fare better.
            Err(end @ PublishError::Closed(_)) => return Err(Failure::from(&end)),
            Err(error) => Fate::NotSent(error),
        };
        place.send(HandedIn { channel: Some(channel), line, at, fate });
        Ok(())
    }

    async fn send(&self, channel: &ChannelName, payload: Bytes) -> Result<Fate, PublishError> {
        if !self.datagram {
            return self.client.publish_pipelined(channel, payload).await.map(Fate::Pending);
        }
        // While there is none every datagram would be dropped. A client that has ended says so in the next call.
        self.client.connected().await;
        Ok(match self.client.publish_datagram(channel, payload).await? {
            true => Fate::Datagram,
            false => Fate::NotSent(PublishError::Refused(not_sent())),
        })
    }

    /// The message's channel and time.
    fn look_into(&mut self, payload: &[u8]) -> Result<(ChannelName, Option<Instant>), WireError> {
        let is_asked = self.destination.needs_fields() || self.schedule.needs_fields();
        let fields = if is_asked { Some(Fields::of(payload)?) } else { None };
        let channel = self.destination.channel(fields.as_ref())?;
        Ok((channel, self.schedule.due(Instant::now(), fields.as_ref())?))
    }

    async fn pass_on(&self, message: HandedIn) -> Result<(), Failure> {
        // Without a report there is nobody to tell, and its own failure ends the run.
        let _ = self.handed_in.send(message).await;
        Ok(())
    }
}

impl HandedIn {
    fn refused(line: u64, refusal: WireError) -> Self {
        Self { channel: None, line, at: Instant::now(), fate: Fate::NotSent(PublishError::Refused(refusal)) }
    }
}

fn too_long() -> WireError {
    let message = "the message is above 65,536 bytes: split it, or store it elsewhere and publish where";
    WireError::new(ErrorCode::FrameTooLarge, message)
}

fn not_sent() -> WireError {
    let message = "dropped before it was sent, as the connection was lost or its buffer is full: slow down, or leave out --datagram";
    WireError::new(ErrorCode::Overloaded, message)
}

fn gave_up(line: u64) -> Failure {
    let seconds = GIVE_UP_AFTER.as_secs();
    Failure::new(
        Exit::Retryable,
        format!(
            "gave up at message {line}: no connection for {seconds} s; see that a node can be reached, then publish the rest"
        ),
    )
}

/// This long without a connection, or without an ack that makes room, and the run ends.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
const STDIN_BYTES: usize = 256 * 1024;
