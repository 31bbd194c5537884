//! What no input may break: one module a fuzz target, each with a `check` that panics on a fault and returns on anything
//! else. Run by the targets of `tests/fuzz` on inputs that they make up, and by `fuzz_replay.rs` on those that were kept.

pub mod client_frames;
pub mod config;
pub mod membership;
pub mod names;
pub mod peer_frames;

use std::fmt::{Debug, Display};

use bytes::Bytes;
use farwire_wire::frame::FrameDecoder;
use farwire_wire::limits::PEER_FRAME_BYTES_MAX;

/// Panics on an input that breaks something.
pub type Check = fn(&[u8]);

/// Every target: its name and its check.
pub const TARGETS: [(&str, Check); 5] = [
    ("client_frames", client_frames::check),
    ("config", config::check),
    ("membership", membership::check),
    ("names", names::check),
    ("peer_frames", peer_frames::check),
];

/// What is read is a checked value, which survives being written and read again; else the refusal can be shown.
fn taken_or_refused<T: Debug + PartialEq, E: Debug + Display>(
    bytes: &Bytes,
    decode: impl Fn(Bytes) -> Result<T, E>,
    encode: impl Fn(&T) -> Bytes,
) {
    match decode(bytes.clone()) {
        Ok(value) => assert_eq!(decode(encode(&value)).expect("what we write we read"), value),
        Err(refusal) => assert_printable(&refusal),
    }
}

/// The text can be shown on a terminal: nothing of the input is in it raw.
fn assert_printable(text: &impl Display) {
    let text = text.to_string();
    assert!(!text.is_empty(), "an error without a text");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "a control character in {text:?}");
}

/// The only frame of a stream, without its length.
fn whole(stream: Bytes) -> Bytes {
    let mut decoder = FrameDecoder::new(PEER_FRAME_BYTES_MAX);
    decoder.push(stream);
    let frame = decoder.next_frame().expect("a canonical length").expect("a whole frame");
    assert!(decoder.is_between_frames(), "bytes after the frame");
    frame
}

/// Cuts a stream that arrives in slices of `slice_bytes` into frames, as far as it is sound.
fn frames(stream: &Bytes, bytes_max: usize, slice_bytes: usize) -> Vec<Bytes> {
    let mut decoder = FrameDecoder::new(bytes_max);
    let mut frames = Vec::new();
    for slice in stream.chunks(slice_bytes.max(1)) {
        decoder.push(stream.slice_ref(slice));
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    assert!(frames.iter().all(|frame| frame.len() <= bytes_max), "a frame above the limit");
    frames
}
