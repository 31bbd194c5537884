//! Who is there: the handle of a presence, the stream of what others do, and the answers to questions.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use farwire_wire::presence::{PresenceEvent, PresenceState};
use farwire_wire::{ChannelName, RegionName};
use futures_util::{Stream, StreamExt, ready};
use tokio::sync::{mpsc, oneshot};

use crate::client::Handle;
use crate::error::{PresenceError, SubscribeError};
use crate::ledger::{End, Entering, Leaving, PresenceKey, Updating};
use crate::standing::Command;
use crate::subscription::{Event, Subscription};

/// The client is present on a channel, from [`Client::enter`](crate::Client::enter) until this is dropped. It lives over
/// reconnects, without an event for the others, and keeps the client's session alive.
#[derive(Debug)]
pub struct Presence {
    channel: ChannelName,
    key: PresenceKey,
    end: End,
    commands: mpsc::Sender<Command>,
    /// Dropped with the handle, which the session notices.
    _held: oneshot::Sender<()>,
    _session: Arc<Handle>,
}

impl Presence {
    pub(crate) async fn enter(
        channel: ChannelName,
        state: PresenceState,
        commands: mpsc::Sender<Command>,
        session: Arc<Handle>,
    ) -> Result<Self, PresenceError> {
        let (held, gone) = oneshot::channel();
        let end = End::default();
        let entering =
            |answer| Command::Enter(Entering { channel: channel.clone(), state, end: end.clone(), gone, answer });
        let key = ask(&commands, entering).await?;
        Ok(Self { channel, key, end, commands, _held: held, _session: session })
    }

    /// Where the client is present.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Says something else of the client on this channel. Returns when its node has it; while reconnecting, the next
    /// session says it.
    ///
    /// Not cancel safe: a dropped call may or may not have changed the state.
    ///
    /// # Errors
    /// The presence has ended, or the node refused: then what was said before stands.
    pub async fn update(&self, state: PresenceState) -> Result<(), PresenceError> {
        self.check()?;
        let (channel, key) = (self.channel.clone(), self.key);
        self.or_ended(ask(&self.commands, |answer| Command::Update(Updating { channel, key, state, answer })).await)
    }

    /// Leaves the channel. Dropping the handle does the same without waiting.
    ///
    /// Cancel safe: a dropped call leaves all the same.
    ///
    /// # Errors
    /// The presence has ended, or the node refused.
    pub async fn leave(self) -> Result<(), PresenceError> {
        self.check()?;
        let (channel, key) = (self.channel.clone(), self.key);
        self.or_ended(ask(&self.commands, |answer| Command::Leave(Leaving { channel, key, answer })).await)
    }

    /// Why the client is not present any more, if it is not: a node refused it after a reconnect, or the client has ended.
    #[must_use]
    pub fn error(&self) -> Option<&PresenceError> {
        self.end.get()
    }

    fn check(&self) -> Result<(), PresenceError> {
        self.end.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn or_ended<T>(&self, done: Result<T, PresenceError>) -> Result<T, PresenceError> {
        done.map_err(|error| self.end.get().cloned().unwrap_or(error))
    }
}

/// Hands a command to the session and waits for what comes of it.
pub(crate) async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<Result<T, PresenceError>>) -> Command,
) -> Result<T, PresenceError> {
    let (answer, answered) = oneshot::channel();
    commands.send(command(answer)).await.map_err(|_| PresenceError::Closed(None))?;
    answered.await.map_err(|_| PresenceError::Closed(None))?
}

/// What others do on the channels of a pattern, from [`Client::watch_presence`](crate::Client::watch_presence). Dropping
/// it ends it. It lives over reconnects, like a [`Subscription`]. Also a [`Stream`] of [`PresenceUpdate`]s.
#[derive(Debug)]
pub struct PresenceWatch {
    subscription: Subscription,
}

/// What a watch yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceUpdate {
    /// Something happened on a channel.
    Event {
        /// Which channel.
        channel: ChannelName,
        /// What.
        event: PresenceEvent,
        /// When the channel's owner in this region told it, in microseconds since the Unix epoch, by its clock.
        told_at_us: u64,
    },
    /// This many events went by, because they were not read in time: ask who is there.
    Dropped {
        /// How many.
        count: u64,
    },
}

impl PresenceWatch {
    pub(crate) fn new(subscription: Subscription) -> Self {
        Self { subscription }
    }

    /// What happens next; `None` once the watch has ended, for which [`Self::error`] has the cause. Cancel safe.
    pub async fn next(&mut self) -> Option<PresenceUpdate> {
        std::future::poll_fn(|cx| self.poll_update(cx)).await
    }

    /// Regions that had not confirmed when the watch came into force the last time: what happens there may be missed
    /// until they can be reached.
    #[must_use]
    pub fn pending_regions(&self) -> Vec<RegionName> {
        self.subscription.pending_regions()
    }

    /// Why the watch has ended, if it has.
    #[must_use]
    pub fn error(&self) -> Option<&SubscribeError> {
        self.subscription.error()
    }

    fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Option<PresenceUpdate>> {
        loop {
            let message = match ready!(self.subscription.poll_next_unpin(cx)) {
                Some(Event::Message(message)) => message,
                Some(Event::Dropped { count }) => return Poll::Ready(Some(PresenceUpdate::Dropped { count })),
                None => return Poll::Ready(None),
            };
            let channel = ChannelName::parse(message.channel.subject());
            match (channel, PresenceEvent::decode(message.payload)) {
                (Ok(channel), Ok(event)) => {
                    let told_at_us = message.published_at_us;
                    return Poll::Ready(Some(PresenceUpdate::Event { channel, event, told_at_us }));
                }
                // Of a kind that a later release knows.
                (_, Err(error)) => tracing::debug!(err = %error, "presence event skipped"),
                (Err(error), _) => tracing::debug!(err = %error, "presence event skipped"),
            }
        }
    }
}

impl Stream for PresenceWatch {
    type Item = PresenceUpdate;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PresenceUpdate>> {
        self.poll_update(cx)
    }
}
