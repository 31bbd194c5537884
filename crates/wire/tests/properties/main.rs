//! What holds for every frame: a checked value encodes to bytes that decode to the same value, and bytes of any kind
//! decode to a value or to an error. Knows the frames by their types only; their exact bytes are `readme.rs`'s matter.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod cursor;
mod cutting;
mod limits;
mod log;
mod peer;
mod presence;
mod values;

use std::fmt::Debug;

use bytes::Bytes;
use farwire_wire::error::DecodeError;
use farwire_wire::frame::FrameDecoder;
use farwire_wire::limits::PEER_FRAME_BYTES_MAX;
use proptest::prelude::*;
use proptest::sample::Index;

/// How the frames of a kind are written, length in front, and read.
struct Kind<T> {
    encode: fn(&T) -> Bytes,
    decode: fn(Bytes) -> Result<T, DecodeError>,
}

impl<T: Debug + PartialEq> Kind<T> {
    /// The value survives; cut short the frame is awaited, damaged it is another value or refused.
    fn holds_for(&self, value: &T, damage: &[(Index, u8)]) -> Result<(), TestCaseError> {
        let frame = (self.encode)(value);
        let body = whole(&frame);
        let read = (self.decode)(body.clone());
        prop_assert_eq!(read.as_ref(), Ok(value));
        let mut damaged = body.to_vec();
        for (at, byte) in damage {
            let cut = at.index(frame.len());
            prop_assert!(cut == 0 || is_awaited(&frame.slice(..cut)));
            self.takes_or_refuses(body.slice(..cut.min(body.len())))?;
            if !damaged.is_empty() {
                let at = at.index(damaged.len());
                damaged[at] = *byte;
                self.takes_or_refuses(damaged.clone().into())?;
            }
        }
        Ok(())
    }

    /// Whatever is taken is a checked value: it survives being written and read.
    fn takes_or_refuses(&self, bytes: Bytes) -> Result<(), TestCaseError> {
        if let Ok(value) = (self.decode)(bytes) {
            let again = (self.decode)(whole(&(self.encode)(&value)));
            prop_assert_eq!(again, Ok(value));
        }
        Ok(())
    }
}

/// The only frame of a stream, without its length.
fn whole(stream: &Bytes) -> Bytes {
    let mut decoder = FrameDecoder::new(PEER_FRAME_BYTES_MAX);
    decoder.push(stream.clone());
    let frame = decoder.next_frame().unwrap().unwrap();
    assert!(decoder.is_between_frames(), "bytes after the frame");
    frame
}

fn is_awaited(beginning: &Bytes) -> bool {
    let mut decoder = FrameDecoder::new(PEER_FRAME_BYTES_MAX);
    decoder.push(beginning.clone());
    decoder.next_frame() == Ok(None) && !decoder.is_between_frames()
}
