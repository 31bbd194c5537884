//! The first step of a message: takes an in-flight permit, numbers it, hands it to the session task.
//!
//! Invariant: messages get their numbers in the order in which they are sent, since both happen under one lock. A
//! publish that is dropped before it returns has no number and was not sent.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use farwire_wire::client::{AckLevel, ClientBody, ClientFrame, Publish};
use farwire_wire::limits::{DATAGRAM_BYTES_MAX, PAYLOAD_BYTES_MAX};
use farwire_wire::{ChannelName, PublisherId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::PublishError;
use crate::standing::{Command, InFlight, Outgoing, Phase, Standing, current_stay};

/// Room for all that an entry carries beside channel and payload, on its whole way.
const DATAGRAM_OVERHEAD_BYTES: usize = 64;
/// Channels numbered under one publisher id: at most 20 MiB, with the longest names.
const CHANNELS_MAX: usize = 65_536;
/// A datagram answers to no request.
const NO_REQUEST: u64 = 0;

/// The mesh has taken the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// The message's number in its channel, from this publisher.
    pub number: u64,
    /// How far it got.
    pub level: AckLevel,
}

/// An ack that is on its way: a future. Dropping it does not take the message back.
#[derive(Debug)]
#[must_use = "the message may still be refused"]
pub struct PendingAck {
    channel: ChannelName,
    number: u64,
    answer: oneshot::Receiver<Result<Ack, PublishError>>,
}

impl PendingAck {
    /// The channel published to.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The message's number in it, from this publisher.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Future for PendingAck {
    type Output = Result<Ack, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // What the session dropped unanswered was never sent: the ledger answers the rest.
        Pin::new(&mut self.answer).poll(cx).map(|answer| answer.unwrap_or(Err(PublishError::Closed(None))))
    }
}

/// The publishing side of a client.
#[derive(Debug)]
pub(crate) struct Publisher {
    commands: mpsc::Sender<Command>,
    standing: watch::Receiver<Standing>,
    in_flight: InFlight,
    level: Option<AckLevel>,
    numbering: Mutex<Numbering>,
}

impl Publisher {
    pub(crate) fn new(
        id: PublisherId,
        level: Option<AckLevel>,
        commands: mpsc::Sender<Command>,
        standing: watch::Receiver<Standing>,
        in_flight: InFlight,
    ) -> Self {
        Self { commands, standing, in_flight, level, numbering: Mutex::new(Numbering::new(id)) }
    }

    /// Waits until every publish is answered. Cancel safe.
    pub(crate) async fn settled(&self) {
        drop(self.in_flight.permits.acquire_many(self.in_flight.max).await);
    }

    pub(crate) fn id(&self) -> PublisherId {
        self.numbering.lock().unwrap_or_else(PoisonError::into_inner).publisher
    }

    pub(crate) async fn publish(&self, channel: ChannelName, payload: Bytes) -> Result<PendingAck, PublishError> {
        check_size(&payload, PAYLOAD_BYTES_MAX)?;
        let stay = current_stay(&self.standing).await.map_err(PublishError::Closed)?;
        check_size(&payload, stay.welcome.limits.payload_bytes_max as usize)?;
        let permit = Arc::clone(&self.in_flight.permits).acquire_owned().await.map_err(|_| self.closed())?;
        let place = self.commands.reserve().await.map_err(|_| self.closed())?;
        let (answer, pending) = oneshot::channel();
        let mut numbering = self.numbering.lock().unwrap_or_else(PoisonError::into_inner);
        let publish = numbering.over_stream(channel, payload, self.level);
        let pending = PendingAck { channel: publish.channel.clone(), number: publish.number, answer: pending };
        place.send(Command::Publish(Outgoing { publish, permit, answer }));
        drop(numbering);
        Ok(pending)
    }

    /// `false` when the message was dropped here.
    pub(crate) async fn publish_datagram(&self, channel: ChannelName, payload: Bytes) -> Result<bool, PublishError> {
        check_size(&payload, PAYLOAD_BYTES_MAX)?;
        let standing = self.standing.borrow().clone();
        match standing.phase {
            Phase::Up => {}
            Phase::Down => return Ok(false),
            Phase::Closed(error) => return Err(PublishError::Closed(error)),
        }
        let connection = &standing.stay.connection;
        let room = connection.datagram_bytes_max().unwrap_or(0).min(DATAGRAM_BYTES_MAX);
        if channel.as_str().len() + payload.len() + DATAGRAM_OVERHEAD_BYTES > room {
            let _nobody_waits = self.publish(channel, payload).await?;
            return Ok(true);
        }
        let mut numbering = self.numbering.lock().unwrap_or_else(PoisonError::into_inner);
        let body = ClientBody::Publish(numbering.over_datagram(channel, payload));
        Ok(connection.send_datagram(ClientFrame { request: NO_REQUEST, body }.encode_datagram()))
    }

    fn closed(&self) -> PublishError {
        match &self.standing.borrow().phase {
            Phase::Closed(error) => PublishError::Closed(error.clone()),
            Phase::Up | Phase::Down => PublishError::Closed(None),
        }
    }
}

fn check_size(payload: &Bytes, payload_bytes_max: usize) -> Result<(), PublishError> {
    let payload_bytes = payload.len();
    if payload_bytes > payload_bytes_max {
        return Err(PublishError::TooLarge { payload_bytes, payload_bytes_max });
    }
    Ok(())
}

/// The publisher's counts. Bounded: a full table is replaced by an empty one under the publisher's next id, since a number
/// must never be given twice under the same. Invariant: ids and numbers are a function of the first id and of the order
/// of channels alone, so that publishing the same again is a retry however many channels there are.
#[derive(Debug)]
struct Numbering {
    publisher: PublisherId,
    /// Publishes over streams. Volatile channels are counted, but only the node knows which those are.
    streamed: u64,
    datagrams: u64,
    channels: HashMap<ChannelName, u64>,
}

impl Numbering {
    fn new(publisher: PublisherId) -> Self {
        Self { publisher, streamed: 0, datagrams: 0, channels: HashMap::new() }
    }

    fn over_stream(&mut self, channel: ChannelName, payload: Bytes, level: Option<AckLevel>) -> Publish {
        self.streamed += 1;
        Publish { level, ..self.numbered(channel, payload, self.streamed) }
    }

    fn over_datagram(&mut self, channel: ChannelName, payload: Bytes) -> Publish {
        self.datagrams += 1;
        Publish { level: Some(AckLevel::Volatile), ..self.numbered(channel, payload, self.datagrams) }
    }

    fn numbered(&mut self, channel: ChannelName, payload: Bytes, count: u64) -> Publish {
        if self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(&channel) {
            self.publisher = successor(self.publisher);
            self.channels.clear();
        }
        let number = self.channels.entry(channel.clone()).or_insert(0);
        *number += 1;
        Publish { channel, payload, publisher: self.publisher, number: *number, count, level: None }
    }
}

/// The id that follows a publisher's: the output function of SplitMix64 (Steele, Lea, Flood 2014), which is one to one, so
/// that different publishers stay different. Fixed for ever: retries of older releases depend on it.
fn successor(PublisherId(id): PublisherId) -> PublisherId {
    let mixed = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    PublisherId(mixed ^ (mixed >> 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_per_channel_and_counts_per_way() {
        let mut numbering = Numbering::new(PublisherId(7));
        let channel = |name| ChannelName::parse(name).unwrap();
        let streamed = ["a", "b", "a"].map(|name| numbering.over_stream(channel(name), Bytes::new(), None));
        let streamed: Vec<_> = streamed.iter().map(|publish| (publish.number, publish.count)).collect();
        assert_eq!(streamed, [(1, 1), (1, 2), (2, 3)]);
        let datagram = numbering.over_datagram(channel("a"), Bytes::new());
        assert_eq!((datagram.number, datagram.count), (3, 1));
    }

    #[test]
    fn more_channels_than_are_remembered_are_numbered_under_the_next_id() {
        let mut numbering = Numbering::new(PublisherId(0));
        let mut publish = |name: usize| {
            let channel = ChannelName::parse(&format!("a.{name}")).unwrap();
            let publish = numbering.over_stream(channel, Bytes::new(), None);
            (publish.publisher, publish.number)
        };
        for name in 0..CHANNELS_MAX {
            assert_eq!(publish(name), (PublisherId(0), 1));
        }
        assert_eq!(publish(0), (PublisherId(0), 2), "a known channel does not need room");
        let next = PublisherId(0xe220_a839_7b1d_cdaf);
        assert_eq!(publish(CHANNELS_MAX), (next, 1));
        assert_eq!(publish(0), (next, 1), "no number is given twice under one id");
        assert_eq!(numbering.channels.len(), 2);
    }
}
