//! Streams and datagrams between clients and nodes, and the events of presence.
//!
//! Input: what it is (a byte), the size of the slices in which it arrives (a byte), the stream, datagram or event.

use bytes::Bytes;
use farwire_wire::client::{ClientFrame, Delivery, ServerFrame, decode_delivery_header, delivery_header};
use farwire_wire::entry::{delivery_datagram, delivery_frame};
use farwire_wire::limits::{CLIENT_FRAME_BYTES_MAX, SERVER_FRAME_BYTES_MAX};
use farwire_wire::presence::PresenceEvent;

use super::{frames, taken_or_refused, whole};

/// The first byte of an event; every other one is taken modulo the number of the other kinds.
const EVENT: u8 = 5;

/// Panics when a rule is broken.
///
/// # Panics
/// See above.
pub fn check(input: &[u8]) {
    let [kind, slice_bytes, stream @ ..] = input else { return };
    let (stream, slice_bytes) = (Bytes::copy_from_slice(stream), usize::from(*slice_bytes));
    match (*kind, kind % 5) {
        (EVENT, _) => taken_or_refused(&stream, PresenceEvent::decode, PresenceEvent::encode),
        (_, 0) => each(&stream, CLIENT_FRAME_BYTES_MAX, slice_bytes, request),
        (_, 1) => each(&stream, SERVER_FRAME_BYTES_MAX, slice_bytes, answer),
        (_, 2) => each(&stream, CLIENT_FRAME_BYTES_MAX, slice_bytes, delivery),
        (_, 3) => request(&stream),
        _ => taken_or_refused(&stream, Delivery::decode_datagram, |(subscription, entry)| {
            delivery_datagram(*subscription, &entry.encode())
        }),
    }
}

/// Checks each frame; however the stream was sliced, they are the same.
fn each(stream: &Bytes, bytes_max: usize, slice_bytes: usize, check: fn(&Bytes)) {
    let frames_in_slices = frames(stream, bytes_max, slice_bytes);
    assert_eq!(frames_in_slices, frames(stream, bytes_max, stream.len()));
    frames_in_slices.iter().for_each(check);
}

fn request(frame: &Bytes) {
    taken_or_refused(frame, ClientFrame::decode, |frame| whole(frame.encode()));
}

fn answer(frame: &Bytes) {
    taken_or_refused(frame, ServerFrame::decode, |frame| whole(frame.encode()));
}

fn delivery(frame: &Bytes) {
    taken_or_refused(frame, Delivery::decode, |delivery| {
        whole(match delivery {
            Delivery::Entry(entry) => delivery_frame(&entry.encode()),
            Delivery::Dropped(count) => Delivery::dropped_frame(*count),
        })
    });
    taken_or_refused(frame, decode_delivery_header, |subscription| whole(delivery_header(*subscription)));
}
