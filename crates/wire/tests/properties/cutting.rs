//! The frame cutter: how a stream is sliced on its way changes nothing.

use bytes::Bytes;
use farwire_wire::frame::{FrameDecoder, FrameError};
use proptest::prelude::*;

/// Small, so that random lengths are often above it.
const FRAME_BYTES_MAX: usize = 200;

/// The frames of a stream that arrives in slices of these sizes, and the fault that ended it.
fn cut(stream: &[u8], sizes: &[usize]) -> (Vec<Bytes>, Option<FrameError>) {
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
    let (mut frames, mut rest, mut sizes) = (Vec::new(), stream, sizes.iter().cycle());
    while !rest.is_empty() {
        let (slice, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = after;
        decoder.push(Bytes::copy_from_slice(slice));
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// A stream of frames, of which some may be damaged.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let sound = prop::collection::vec(any::<u8>(), 0..FRAME_BYTES_MAX).prop_map(|body| {
        let mut frame = Vec::new();
        prost::encode_length_delimiter(body.len(), &mut frame).unwrap();
        frame.extend(body);
        frame
    });
    let damaged = prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec(prop_oneof![8 => sound, 1 => damaged], 0..10).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn slices_of_any_sizes_give_the_same_frames_and_the_same_fault(
        stream in stream(),
        sizes in prop::collection::vec(1..100_usize, 1..50),
    ) {
        let at_once = cut(&stream, &[stream.len().max(1)]);
        prop_assert_eq!(&cut(&stream, &sizes), &at_once);
        prop_assert_eq!(&cut(&stream, &[1]), &at_once);
        let frames: usize = at_once.0.iter().map(|frame| frame.len() + prost::length_delimiter_len(frame.len())).sum();
        prop_assert!(frames <= stream.len());
    }
}
