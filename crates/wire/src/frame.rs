//! Frames in a stream of bytes: a length as a varint, then that many bytes of protobuf. A sans-IO decoder that checks
//! the length against a limit before it keeps a byte, and cuts frames out of the received chunks without copying where
//! a frame lies in one chunk.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Most bytes of a length: enough for 2^28 - 1, above every limit.
const LENGTH_BYTES_MAX: usize = 4;

/// Why a stream can no longer be cut into frames. The stream is beyond repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is not in its shortest form, or longer than four bytes.
    #[error("a frame's length is not a canonical varint of at most 4 bytes")]
    Length,
    /// The frame announces more bytes than the limit, which is carried along.
    #[error("a frame of more than {0} bytes was announced")]
    TooLarge(usize),
}

impl FrameError {
    /// The code to close the stream with.
    #[must_use]
    pub fn code(self) -> crate::ErrorCode {
        match self {
            Self::Length => crate::ErrorCode::Malformed,
            Self::TooLarge(_) => crate::ErrorCode::FrameTooLarge,
        }
    }
}

/// Cuts frames out of chunks. Invariant: at most one unfinished frame is kept, never longer than the limit.
#[derive(Debug)]
pub struct FrameDecoder {
    bytes_max: usize,
    chunk: Bytes,
    unfinished: BytesMut,
}

impl FrameDecoder {
    /// A decoder that refuses frames of more than `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, chunk: Bytes::new(), unfinished: BytesMut::new() }
    }

    /// Changes the limit for the frames that follow.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Hands in the next bytes of the stream. Call [`next_frame`](Self::next_frame) until it yields `None` before the next push.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            joined.put(self.chunk.split_to(self.chunk.len()));
            joined.put(chunk);
            self.chunk = joined.freeze();
        }
    }

    /// The next complete frame, or `None` until more bytes are pushed.
    ///
    /// # Errors
    /// The stream is beyond repair: see [`FrameError`].
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.unfinished.is_empty() {
            return self.frame_in_chunk();
        }
        loop {
            let Some((length, prefix)) = self.length_of(&self.unfinished)? else {
                if self.chunk.is_empty() {
                    return Ok(None);
                }
                self.unfinished.put_u8(self.chunk.get_u8());
                continue;
            };
            let missing = (prefix + length).saturating_sub(self.unfinished.len());
            let take = missing.min(self.chunk.len());
            self.unfinished.extend_from_slice(&self.chunk.split_to(take));
            if take < missing {
                return Ok(None);
            }
            let mut frame = self.unfinished.split().freeze();
            frame.advance(prefix);
            return Ok(Some(frame));
        }
    }

    /// Whether the stream may end here: nothing of a frame is pending.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.chunk.is_empty() && self.unfinished.is_empty()
    }

    fn frame_in_chunk(&mut self) -> Result<Option<Bytes>, FrameError> {
        match self.length_of(&self.chunk)? {
            Some((length, prefix)) if self.chunk.len() >= prefix + length => {
                self.chunk.advance(prefix);
                Ok(Some(self.chunk.split_to(length)))
            }
            _ => {
                self.unfinished.extend_from_slice(&self.chunk);
                self.chunk.clear();
                Ok(None)
            }
        }
    }

    /// The announced length and the bytes it takes, or `None` while it is incomplete.
    fn length_of(&self, bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
        let mut length = 0_usize;
        for (i, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * i);
            if length > self.bytes_max {
                return Err(FrameError::TooLarge(self.bytes_max));
            }
            if byte & 0x80 == 0 {
                let canonical = i == 0 || *byte != 0;
                return if canonical { Ok(Some((length, i + 1))) } else { Err(FrameError::Length) };
            }
        }
        if bytes.len() >= LENGTH_BYTES_MAX { Err(FrameError::Length) } else { Ok(None) }
    }
}

/// A message as a frame: length and protobuf bytes.
pub(crate) fn delimited(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(length + LENGTH_BYTES_MAX);
    message.encode_length_delimited(&mut frame).expect("a BytesMut grows as needed");
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for body in bodies {
            prost::encode_length_delimiter(body.len(), &mut stream).unwrap();
            stream.extend_from_slice(body);
        }
        stream
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..8),
            cuts in prop::collection::vec(1..50_usize, 1..200),
        ) {
            let stream = framed(&bodies);
            let mut decoder = FrameDecoder::new(400);
            let (mut seen, mut rest, mut cut) = (Vec::new(), &stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                decoder.push(Bytes::copy_from_slice(chunk));
                rest = tail;
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            prop_assert_eq!(seen, bodies);
            prop_assert!(decoder.is_between_frames());
        }

        #[test]
        fn any_bytes_are_cut_or_refused_without_keeping_more_than_the_limit(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        ) {
            let mut decoder = FrameDecoder::new(100);
            for chunk in chunks {
                decoder.push(chunk.into());
                while let Ok(Some(frame)) = decoder.next_frame() {
                    prop_assert!(frame.len() <= 100);
                }
                prop_assert!(decoder.unfinished.len() <= 104 || decoder.next_frame().is_err());
            }
        }
    }

    #[test]
    fn a_length_that_lies_is_refused_before_anything_is_kept() {
        for lie in [&[0xff, 0xff, 0xff, 0x7f][..], &[0xe5, 0x00], &[0x80, 0x80, 0x80, 0x80, 0x01]] {
            let mut decoder = FrameDecoder::new(100);
            decoder.push(Bytes::copy_from_slice(lie));
            assert!(decoder.next_frame().is_err(), "{lie:x?}");
        }
    }
}
