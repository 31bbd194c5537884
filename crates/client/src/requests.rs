//! The session's loop of what goes out: commands become frames, and the frames that are there are written as one batch.
//! What the last session left comes first: its subscriptions, where it was present, its questions, then its publishes that
//! were not acked.

use std::time::Duration;

use bytes::Bytes;
use farwire_transport::stream::{FrameWriter, WriteError};
use farwire_wire::ChannelName;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::ledger::{Entering, Gone, PresenceKey, SubscriptionKey};
use crate::session::{End, SharedLedger};
use crate::standing::{Command, Wanted, until_closing};

/// Most frames in a batch: 64 of the largest are 4 MiB.
const BATCH_FRAMES_MAX: usize = 64;
/// At the end, the node has this long to confirm that it has everything.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle that the application has dropped.
pub(crate) enum Dropped {
    Subscription(SubscriptionKey),
    Presence(ChannelName, PresenceKey),
}

pub(crate) struct Requests<'a> {
    pub(crate) writer: FrameWriter,
    pub(crate) batch: Vec<Bytes>,
    pub(crate) commands: &'a mut mpsc::Receiver<Command>,
    pub(crate) dropped: &'a mut FuturesUnordered<BoxFuture<'static, Dropped>>,
    pub(crate) closing: &'a mut watch::Receiver<bool>,
    pub(crate) ledger: &'a SharedLedger,
}

impl Requests<'_> {
    /// Sends until the session ends. Not cancel safe: a batch may be cut; only the end of the session may drop it.
    pub(crate) async fn send(&mut self) -> End {
        match self.send_until_closing().await {
            Ok(()) => {
                // The node has then read all, the datagrams before it included.
                let finished = tokio::time::timeout(FINISH_TIMEOUT, self.writer.finish_and_wait()).await;
                tracing::debug!(confirmed = finished.is_ok(), "requests ended");
                End::Closing
            }
            Err(error) => End::lost(error),
        }
    }

    async fn send_until_closing(&mut self) -> Result<(), WriteError> {
        loop {
            self.fill();
            while !self.batch.is_empty() {
                self.writer.write_batch(&mut self.batch).await?;
                self.fill();
            }
            let closing = tokio::select! { biased;
                Some(dropped) = self.dropped.next() => { self.give_up(dropped); false }
                () = until_closing(self.closing) => true,
                () = self.ledger.room.notified() => false,
                command = self.commands.recv() => match command {
                    Some(command) => { self.take(command); false }
                    None => true,
                },
            };
            while self.batch.len() < BATCH_FRAMES_MAX
                && let Ok(command) = self.commands.try_recv()
            {
                self.take(command);
            }
            self.fill();
            if closing && self.batch.is_empty() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Publish(outgoing) => {
                self.ledger.lock().publish(outgoing);
                self.fill();
            }
            Command::Subscribe(wanted) => self.subscribe(wanted),
            Command::Enter(entering) => self.enter(entering),
            Command::Update(updating) => self.batch.extend(self.ledger.lock().update(updating)),
            Command::Leave(leaving) => self.batch.extend(self.ledger.lock().leave(leaving)),
            Command::Ask(question) => self.batch.push(self.ledger.lock().ask(question)),
        }
    }

    /// Adds the publishes that are due, in their order.
    fn fill(&mut self) {
        let mut ledger = self.ledger.lock();
        let now = Instant::now();
        while self.batch.len() < BATCH_FRAMES_MAX
            && let Some(frame) = ledger.due(now)
        {
            self.batch.push(frame);
        }
    }

    fn subscribe(&mut self, wanted: Wanted) {
        if wanted.inlet.is_dropped() {
            return;
        }
        let inlet = wanted.inlet.clone();
        let (key, frame) = self.ledger.lock().subscribe(wanted);
        self.batch.push(frame);
        self.dropped.push(Box::pin(async move {
            inlet.dropped().await;
            Dropped::Subscription(key)
        }));
    }

    fn enter(&mut self, entering: Entering) {
        // A handle that was dropped before makes room for this one.
        while let Some(Some(dropped)) = self.dropped.next().now_or_never() {
            self.give_up(dropped);
        }
        let Some((frame, Gone { channel, key, gone })) = self.ledger.lock().enter(entering) else { return };
        self.batch.push(frame);
        self.dropped.push(Box::pin(async move {
            // It never sends.
            let _dropped = gone.await;
            Dropped::Presence(channel, key)
        }));
    }

    fn give_up(&mut self, dropped: Dropped) {
        let mut ledger = self.ledger.lock();
        self.batch.extend(match dropped {
            Dropped::Subscription(key) => ledger.unsubscribe(key),
            Dropped::Presence(channel, key) => ledger.drop_presence(channel, key),
        });
    }
}
