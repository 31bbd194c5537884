//! A session's one writer: answers on the first stream, and deliveries on a stream per subscription. It pulls from the
//! feeds as far as the client's flow control allows; a client that reads slowly keeps its cursor back, and nothing else.
//!
//! Writes under way are futures of this one task, one per stream at most, so that a stream that is full holds up no
//! other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use farwire_transport::{Connection, FrameWriter, WriteError};
use farwire_wire::client::{Delivery, delivery_header};
use farwire_wire::entry::delivery_datagram;
use farwire_wire::limits::DATAGRAM_BYTES_MAX;
use farwire_wire::{ErrorCode, WireError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::in_flight::InFlight;
use super::requests::Subscribed;
use crate::fanout::Wake;
use crate::queue;
use crate::sessions::Session;
use crate::shared::Shared;
use crate::tail::Stored;

/// Most bytes of one subscription under way at a time.
const BATCH_BYTES: usize = 64 * 1024;
/// The stream of answers, among the numbers of subscriptions: a hello has this number, so no subscription does.
const ANSWERS: u64 = 1;

/// What the session's reader asks of its writer.
#[derive(Debug)]
pub(super) enum Command {
    /// Write an answer, to so many publishes.
    Frame { frame: Bytes, publishes: u32 },
    /// Deliver from this cursor.
    Subscribe { subscription: u64, cursor: Subscribed },
    /// Stop delivering.
    Unsubscribe { subscription: u64 },
}

/// A stream that is written to, or the future of it.
type Written = (u64, Result<FrameWriter, WriteError>);

struct Outlet {
    cursor: Subscribed,
    /// `None` while a write is under way.
    stream: Option<Stream>,
    /// Messages came while a write was under way.
    more: bool,
}

/// A subscription's stream: opened with the first delivery, so that one that is quiet costs none.
enum Stream {
    Unopened,
    Open(FrameWriter),
}

/// Writes until the client is gone. Not cancel safe: dropping it drops what is under way.
pub(super) async fn run(
    shared: &Shared,
    session: &Session,
    answers: FrameWriter,
    mut commands: queue::Receiver<Command>,
    wake: Arc<Wake>,
    in_flight: &InFlight,
) -> WireError {
    // Acks are small, and publishers wait for them.
    answers.set_priority(1);
    let mut writer = Writer {
        shared,
        session,
        in_flight,
        outlets: HashMap::new(),
        answers: Some(answers),
        frames: VecDeque::new(),
        being_answered: 0,
    };
    let mut writes: FuturesUnordered<Write> = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some((number, written)) = writes.next() => match written {
                Ok(stream) => writer.written(number, stream, &mut writes),
                Err(error) if number == ANSWERS => return WireError::new(ErrorCode::Closed, error.to_string()),
                // The client does not want this subscription any more, or is gone, which the reader notices.
                Err(_) => _ = writer.end(number),
            },
            command = commands.recv(), if writer.frames.len() < super::ANSWER_QUEUE => match command {
                Some(command) => writer.command(command, &mut writes),
                None => return writer.finish(&mut writes).await,
            },
            ready = wake.ready() => ready.into_iter().for_each(|number| writer.deliver(number, &mut writes)),
        }
    }
}

type Write = std::pin::Pin<Box<dyn Future<Output = Written> + Send>>;

struct Writer<'a> {
    shared: &'a Shared,
    session: &'a Session,
    in_flight: &'a InFlight,
    outlets: HashMap<u64, Outlet>,
    /// `None` while a write is under way.
    answers: Option<FrameWriter>,
    frames: VecDeque<(Bytes, u32)>,
    /// Publishes whose answers the write under way has.
    being_answered: u32,
}

impl Writer<'_> {
    fn command(&mut self, command: Command, writes: &mut FuturesUnordered<Write>) {
        match command {
            Command::Frame { frame, publishes } => {
                self.frames.push_back((frame, publishes));
                self.answer(writes);
            }
            Command::Subscribe { subscription, cursor } => {
                self.outlets.insert(subscription, Outlet { cursor, stream: Some(Stream::Unopened), more: false });
                self.shared.metrics.subscriptions.inc();
                self.deliver(subscription, writes);
            }
            Command::Unsubscribe { subscription } => {
                if let Some(Stream::Open(mut stream)) = self.end(subscription).and_then(|outlet| outlet.stream) {
                    stream.finish();
                }
            }
        }
    }

    /// Writes the answers that wait and sees them delivered: the client has said that it leaves.
    async fn finish(&mut self, writes: &mut FuturesUnordered<Write>) -> WireError {
        while self.answers.is_none() || !self.frames.is_empty() {
            match writes.next().await {
                Some((number, Ok(stream))) => self.written(number, stream, writes),
                Some((ANSWERS, Err(_))) | None => break,
                Some((_, Err(_))) => {}
            }
        }
        if let Some(answers) = &mut self.answers {
            answers.finish_and_wait().await;
        }
        ErrorCode::Closed.into()
    }

    fn end(&mut self, subscription: u64) -> Option<Outlet> {
        let outlet = self.outlets.remove(&subscription)?;
        self.shared.metrics.subscriptions.dec();
        Some(outlet)
    }

    fn written(&mut self, number: u64, stream: FrameWriter, writes: &mut FuturesUnordered<Write>) {
        if number == ANSWERS {
            self.in_flight.answered(std::mem::take(&mut self.being_answered));
            self.answers = Some(stream);
            self.answer(writes);
        } else if let Some(outlet) = self.outlets.get_mut(&number) {
            outlet.stream = Some(Stream::Open(stream));
            if std::mem::take(&mut outlet.more) {
                self.deliver(number, writes);
            }
        }
    }

    /// Starts writing the answers that wait, unless a write is under way.
    fn answer(&mut self, writes: &mut FuturesUnordered<Write>) {
        if self.frames.is_empty() {
            return;
        }
        if let Some(mut stream) = self.answers.take() {
            self.being_answered = self.frames.iter().map(|(_, publishes)| publishes).sum();
            let mut batch: Vec<Bytes> = self.frames.drain(..).map(|(frame, _)| frame).collect();
            writes.push(Box::pin(async move {
                let written = stream.write_batch(&mut batch).await;
                (ANSWERS, written.map(|()| stream))
            }));
        }
    }

    /// Starts writing what a subscription has to read, unless a write is under way.
    fn deliver(&mut self, number: u64, writes: &mut FuturesUnordered<Write>) {
        let Some(outlet) = self.outlets.get_mut(&number) else { return };
        let Some(stream) = outlet.stream.take() else {
            outlet.more = true;
            return;
        };
        loop {
            let mut stored = Vec::new();
            let read = self.shared.fanout.read(&mut outlet.cursor.cursor, BATCH_BYTES, &mut stored);
            count(self.shared, self.session, &stored, read.dropped);
            let mut batch = Vec::with_capacity(stored.len() + 2);
            if read.dropped > 0 {
                batch.push(Delivery::dropped_frame(read.dropped));
            }
            let connection = &self.session.connection;
            batch.extend(stored.into_iter().filter_map(|stored| as_stream_frame(connection, number, stored)));
            if !batch.is_empty() {
                outlet.more = !read.drained;
                writes.push(Box::pin(write(connection.clone(), number, stream, batch)));
                return;
            }
            if read.drained {
                outlet.stream = Some(stream);
                return;
            }
        }
    }
}

fn count(shared: &Shared, session: &Session, stored: &[Stored], dropped: u64) {
    let bytes: usize = stored.iter().map(|stored| stored.frame.len()).sum();
    shared.metrics.delivered.inc_by(stored.len() as u64);
    shared.metrics.delivered_bytes.inc_by(bytes as u64);
    shared.metrics.dropped.inc_by(dropped);
    Session::count(&session.delivered, stored.len() as u64);
    Session::count(&session.dropped, dropped);
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let ended = i64::try_from(self.outlets.len()).unwrap_or(i64::MAX);
        self.shared.metrics.subscriptions.dec_by(ended);
    }
}

/// Sends a message whose publisher asked for datagrams as one; everything else is a frame for the stream.
fn as_stream_frame(connection: &Connection, subscription: u64, stored: Stored) -> Option<Bytes> {
    let small = stored.entry.len() <= DATAGRAM_BYTES_MAX;
    if stored.datagram && small && connection.send_datagram(delivery_datagram(subscription, &stored.entry)) {
        return None;
    }
    Some(stored.frame)
}

async fn write(connection: Connection, number: u64, stream: Stream, mut batch: Vec<Bytes>) -> Written {
    let mut stream = match stream {
        Stream::Open(stream) => stream,
        Stream::Unopened => match connection.open_uni().await {
            Ok(stream) => {
                batch.insert(0, delivery_header(number));
                stream
            }
            Err(lost) => return (number, Err(lost.into())),
        },
    };
    let written = stream.write_batch(&mut batch).await;
    (number, written.map(|()| stream))
}
