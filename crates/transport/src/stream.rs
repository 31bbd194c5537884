//! Framed streams over QUIC: whole frames in, batches of shared bytes out.
//!
//! Reading is cancel safe, since what has been read stays in the reader. Writing is not: a batch that was begun must
//! be finished, or the stream reset, because the peer would take the rest of the next frame for its own.

use std::time::Duration;

use bytes::Bytes;
use farwire_wire::ErrorCode;
use farwire_wire::frame::{FrameDecoder, FrameError};
use tokio::time::{Instant, timeout_at};

/// Most bytes taken from QUIC in one read.
const READ_BYTES: usize = 64 * 1024;

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The other side broke the framing; close the stream with [`FrameError::code`].
    #[error("broken framing: {0}")]
    Frame(#[from] FrameError),
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Cut,
    /// A frame was begun and not completed in time; close the stream with `FRAME_TIMEOUT`.
    #[error("a frame was begun and not completed within {} s", .0.as_secs())]
    Slow(Duration),
    /// The other side gave the stream up.
    #[error("the stream was reset with code {0}")]
    Reset(u64),
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Lost(#[from] crate::connection::Closed),
}

/// Why a frame could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The other side does not want the stream any more.
    #[error("the stream was stopped with code {0}")]
    Stopped(u64),
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Lost(#[from] crate::connection::Closed),
}

/// Reads frames from a stream.
#[derive(Debug)]
pub struct FrameReader {
    stream: quinn::RecvStream,
    decoder: FrameDecoder,
    frame_timeout: Option<Duration>,
    /// By when the frame that has been begun has to be complete, once its rest is waited for.
    frame_due: Option<Instant>,
}

impl FrameReader {
    pub(crate) fn new(stream: quinn::RecvStream, frame_bytes_max: usize) -> Self {
        Self { stream, decoder: FrameDecoder::new(frame_bytes_max), frame_timeout: None, frame_due: None }
    }

    /// Changes the limit for the frames that follow.
    pub fn set_frame_bytes_max(&mut self, bytes_max: usize) {
        self.decoder.set_bytes_max(bytes_max);
    }

    /// From now on a frame has to be complete within `timeout` of the moment when its rest is first waited for; without
    /// this it may take for ever. The time in which nobody reads is not the sender's.
    pub fn set_frame_timeout(&mut self, timeout: Duration) {
        self.frame_timeout = Some(timeout);
    }

    /// The next frame, or `None` when the other side has finished the stream in good order. Cancel safe.
    ///
    /// # Errors
    /// The stream or the connection is gone, or the framing is broken.
    pub async fn next_frame(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Ok(Some(frame));
            }
            match self.read().await? {
                Some(chunk) => self.decoder.push(chunk),
                None if self.decoder.is_between_frames() => return Ok(None),
                None => return Err(ReadError::Cut),
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ReadError> {
        let due = match self.frame_timeout {
            Some(timeout) if !self.decoder.is_between_frames() => {
                Some((timeout, *self.frame_due.get_or_insert_with(|| Instant::now() + timeout)))
            }
            _ => None,
        };
        let reading = self.stream.read_chunk(READ_BYTES, true);
        let chunk = match due {
            Some((timeout, due)) => timeout_at(due, reading).await.map_err(|_| ReadError::Slow(timeout))?,
            None => reading.await,
        };
        Ok(chunk?.map(|chunk| chunk.bytes))
    }

    /// The next frame if it has arrived already. A reader drains these before it acts, so that work comes in batches.
    ///
    /// # Errors
    /// The framing is broken.
    pub fn buffered_frame(&mut self) -> Result<Option<Bytes>, ReadError> {
        let frame = self.decoder.next_frame()?;
        if frame.is_some() {
            self.frame_due = None;
        }
        Ok(frame)
    }

    /// Reads the rest of the stream as one message of at most `bytes_max` bytes. Not cancel safe: what was read is lost.
    ///
    /// # Errors
    /// The stream is longer, or gone.
    pub async fn read_to_end(mut self, bytes_max: usize) -> Result<Bytes, ReadError> {
        match self.stream.read_to_end(bytes_max).await {
            Ok(bytes) => Ok(bytes.into()),
            Err(quinn::ReadToEndError::TooLong) => Err(ReadError::Frame(FrameError::TooLarge(bytes_max))),
            Err(quinn::ReadToEndError::Read(error)) => Err(error.into()),
        }
    }

    /// Tells the other side to stop sending. Whatever is unread is dropped.
    pub fn stop(&mut self, code: ErrorCode) {
        let _already_finished = self.stream.stop(code.number().into());
    }
}

/// Writes frames to a stream.
#[derive(Debug)]
pub struct FrameWriter {
    stream: quinn::SendStream,
}

impl FrameWriter {
    pub(crate) fn new(stream: quinn::SendStream) -> Self {
        Self { stream }
    }

    /// Writes a frame, waiting while the flow-control window is full. Not cancel safe.
    ///
    /// # Errors
    /// The stream or the connection is gone.
    pub async fn write(&mut self, frame: Bytes) -> Result<(), WriteError> {
        Ok(self.stream.write_chunk(frame).await?)
    }

    /// Writes frames as one batch without copying them; the batch is left empty. Not cancel safe.
    ///
    /// # Errors
    /// The stream or the connection is gone.
    pub async fn write_batch(&mut self, frames: &mut Vec<Bytes>) -> Result<(), WriteError> {
        self.stream.write_all_chunks(frames.as_mut_slice()).await?;
        frames.clear();
        Ok(())
    }

    /// Writes bytes that are no frame, for streams that carry one message. Not cancel safe.
    ///
    /// # Errors
    /// The stream or the connection is gone.
    pub async fn write_raw(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        self.write(bytes).await
    }

    /// Streams of a higher priority are sent first; the default is 0.
    pub fn set_priority(&self, priority: i32) {
        let _closed = self.stream.set_priority(priority);
    }

    /// Says that nothing follows. What was written is still delivered.
    pub fn finish(&mut self) {
        let _already_closed = self.stream.finish();
    }

    /// Finishes the stream and waits until the other side has everything. Cancel safe.
    pub async fn finish_and_wait(&mut self) {
        self.finish();
        let _gone = self.stream.stopped().await;
    }

    /// Gives the stream up; what was not delivered is dropped.
    pub fn reset(&mut self, code: ErrorCode) {
        let _already_closed = self.stream.reset(code.number().into());
    }
}

impl From<quinn::ReadError> for ReadError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Reset(code.into_inner()),
            quinn::ReadError::ConnectionLost(lost) => Self::Lost(lost.into()),
            quinn::ReadError::ClosedStream
            | quinn::ReadError::IllegalOrderedRead
            | quinn::ReadError::ZeroRttRejected => Self::Cut,
        }
    }
}

impl From<quinn::WriteError> for WriteError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => Self::Stopped(code.into_inner()),
            quinn::WriteError::ConnectionLost(lost) => Self::Lost(lost.into()),
            quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => Self::Stopped(0),
        }
    }
}
