//! Framed streams over QUIC: whole frames in, batches of shared bytes out.
//!
//! Reading is cancel safe, since what has been read stays in the reader. Writing is not: a batch that was begun must
//! be finished, or the stream reset, because the peer would take the rest of the next frame for its own.

use bytes::Bytes;
use farwire_wire::ErrorCode;
use farwire_wire::frame::{FrameDecoder, FrameError};

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
}

impl FrameReader {
    pub(crate) fn new(stream: quinn::RecvStream, frame_bytes_max: usize) -> Self {
        Self { stream, decoder: FrameDecoder::new(frame_bytes_max) }
    }

    /// Changes the limit for the frames that follow.
    pub fn set_frame_bytes_max(&mut self, bytes_max: usize) {
        self.decoder.set_bytes_max(bytes_max);
    }

    /// The next frame, or `None` when the other side has finished the stream in good order. Cancel safe.
    ///
    /// # Errors
    /// The stream or the connection is gone, or the framing is broken.
    pub async fn next_frame(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.decoder.push(chunk.bytes),
                None if self.decoder.is_between_frames() => return Ok(None),
                None => return Err(ReadError::Cut),
            }
        }
    }

    /// The next frame if it has arrived already. A reader drains these before it acts, so that work comes in batches.
    ///
    /// # Errors
    /// The framing is broken.
    pub fn buffered_frame(&mut self) -> Result<Option<Bytes>, ReadError> {
        Ok(self.decoder.next_frame()?)
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
