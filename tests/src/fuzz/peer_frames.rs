//! Streams between nodes, but for membership.
//!
//! Input: what it is (a byte), the size of the slices in which it arrives (a byte), the stream or datagram.

use bytes::Bytes;
use farwire_wire::Entry;
use farwire_wire::limits::{PEER_FRAME_BYTES_MAX, PRESENCE_FRAME_BYTES_MAX};
use farwire_wire::peer::{Addressed, Messages, NodeState, PeerFrame, PeerQuery, StreamKind};

use super::{frames, taken_or_refused, whole};

/// The first byte of presence and that of headers; every other one is taken modulo the number of the other kinds.
const PRESENCE: u8 = 4;
const HEADER: u8 = 5;

/// Panics when a rule is broken.
///
/// # Panics
/// See above.
pub fn check(input: &[u8]) {
    let [kind, slice_bytes, stream @ ..] = input else { return };
    let stream = Bytes::copy_from_slice(stream);
    let check = match (*kind, kind % 4) {
        (PRESENCE, _) => presence,
        (HEADER, _) => header,
        (_, 0) => control,
        (_, 1) => messages,
        (_, 2) => query,
        _ => state,
    };
    let bytes_max = if *kind == PRESENCE { PRESENCE_FRAME_BYTES_MAX } else { PEER_FRAME_BYTES_MAX };
    frames(&stream, bytes_max, usize::from(*slice_bytes)).iter().for_each(check);
    check(&stream);
}

fn control(frame: &Bytes) {
    taken_or_refused(frame, PeerFrame::decode, |frame| whole(frame.encode()));
}

/// A node passes entries on unread, and reads those that it orders or delivers.
fn messages(frame: &Bytes) {
    taken_or_refused(frame, Messages::decode, |messages| whole(messages.encode()));
    for entry in Messages::decode(frame.clone()).map(|messages| messages.entries).unwrap_or_default() {
        taken_or_refused(&entry, Entry::decode, Entry::encode);
    }
}

fn query(frame: &Bytes) {
    taken_or_refused(frame, PeerQuery::decode, |query| whole(query.encode()));
    taken_or_refused(frame, PeerQuery::decode_answer, |json| whole(PeerQuery::encode_answer(json.clone())));
}

fn presence(frame: &Bytes) {
    taken_or_refused(frame, Addressed::decode, |addressed| whole(addressed.encode()));
}

fn header(frame: &Bytes) {
    taken_or_refused(frame, StreamKind::decode, |kind| whole(kind.encode()));
}

fn state(bytes: &Bytes) {
    taken_or_refused(bytes, |bytes| NodeState::decode(&bytes), NodeState::encode);
}
