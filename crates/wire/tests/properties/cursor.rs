//! Cursors: each has one form, in bytes and as text, and nothing else is taken for it. What they mean is checked against
//! a map.

use std::collections::BTreeMap;

use farwire_wire::cursor::{CURSOR_BYTES_MAX, CURSOR_ORIGINS_MAX, CursorFull};
use farwire_wire::{Cursor, Origin, Place, Position};
use proptest::prelude::*;
use proptest::sample::Index;

type Model = BTreeMap<u64, u64>;

/// Few origins, so that cursors overlap, and positions of all lengths.
fn model() -> impl Strategy<Value = Model> {
    let position = (any::<u64>(), 0..=63_u32, any::<bool>());
    let position = position.prop_map(|(bits, shift, zero)| if zero { 0 } else { bits >> shift });
    prop::collection::btree_map(prop_oneof![0..20_u64, any::<u64>()], position, 0..30)
}

fn cursor(model: &Model) -> Cursor {
    let mut cursor = Cursor::new();
    // From the last to the first: the order of coming must not show.
    for (origin, position) in model.iter().rev() {
        cursor.advance_to(Origin(*origin), *position).unwrap();
    }
    cursor
}

fn stored(version: u8, count: usize, origins: &[(u64, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![version];
    farwire_wire::varint::put(count as u64, &mut bytes);
    for (origin, position) in origins {
        bytes.extend(origin.to_be_bytes());
        bytes.extend(*position);
    }
    bytes
}

proptest! {
    #[test]
    fn cursors_survive_as_bytes_and_as_text(model in model()) {
        let cursor = cursor(&model);
        prop_assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor.clone()));
        prop_assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
        let read: Model = cursor.iter().map(|(origin, position)| (origin.0, position)).collect();
        prop_assert_eq!(read, model);
    }

    #[test]
    fn cursors_have_no_second_form(model in model(), at in any::<Index>(), byte in any::<u8>()) {
        let mut bytes = cursor(&model).encode();
        let at = at.index(bytes.len());
        prop_assert!(Cursor::decode(&bytes[..at]).is_err());
        prop_assert!(Cursor::decode(&[&bytes[..], &[byte]].concat()).is_err());
        bytes[at] = byte;
        if let Ok(other) = Cursor::decode(&bytes) {
            prop_assert_eq!(other.encode(), &bytes[..]);
        }
    }

    #[test]
    fn texts_have_no_second_form(model in model(), at in any::<Index>(), char in "[A-Za-z0-9_=+/ -]") {
        let mut text = cursor(&model).to_string();
        let at = at.index(text.len());
        text.replace_range(at..=at, &char);
        if let Ok(other) = text.parse::<Cursor>() {
            prop_assert_eq!(other.to_string(), text);
        }
    }

    #[test]
    fn any_bytes_are_the_one_form_of_a_cursor_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        for version in [None, Some(1)] {
            if let (Some(version), Some(first)) = (version, bytes.first_mut()) {
                *first = version;
            }
            if let Ok(cursor) = Cursor::decode(&bytes) {
                prop_assert_eq!(cursor.encode(), &bytes[..]);
            }
        }
    }

    #[test]
    fn a_cursor_covers_what_is_not_above_it(model in model(), origin in 0..20_u64, position in 1..u64::MAX) {
        let mut read = cursor(&model);
        let place = Place { origin: Origin(origin), position: Position::new(position).unwrap() };
        let consumed = model.get(&origin).copied();
        prop_assert_eq!(read.consumed(place.origin), consumed);
        prop_assert_eq!(read.covers(place), consumed.is_some_and(|consumed| position <= consumed));
        read.advance(place).unwrap();
        prop_assert!(read.covers(place));
        prop_assert_eq!(read.consumed(place.origin), Some(consumed.unwrap_or(0).max(position)));
    }

    #[test]
    fn merged_cursors_cover_what_either_did(one in model(), other in model()) {
        let mut expected = one.clone();
        for (origin, position) in &other {
            let merged = expected.entry(*origin).or_default();
            *merged = (*merged).max(*position);
        }
        for (mut into, from) in [(cursor(&one), cursor(&other)), (cursor(&other), cursor(&one))] {
            into.merge(&from).unwrap();
            prop_assert_eq!(into, cursor(&expected));
        }
    }
}

#[test]
fn the_form_is_this_one() {
    let cursor = cursor(&BTreeMap::from([(0x0102, 300), (0x0001, 0)]));
    let bytes = stored(1, 2, &[(0x0001, &[0]), (0x0102, &[0xac, 0x02])]);
    assert_eq!(cursor.encode(), bytes);
    assert_eq!(cursor.to_string(), "AQIAAAAAAAAAAQAAAAAAAAABAqwC");
    assert_eq!(Cursor::new().encode(), [1, 0]);
}

#[test]
fn other_versions_other_orders_and_padding_are_refused() {
    let one: &[u8] = &[1];
    for (name, bytes) in [
        ("empty", vec![]),
        ("version 0", stored(0, 0, &[])),
        ("version 2", stored(2, 0, &[])),
        ("descending", stored(1, 2, &[(2, one), (1, one)])),
        ("twice", stored(1, 2, &[(1, one), (1, one)])),
        ("one too few", stored(1, 2, &[(1, one)])),
        ("one too many", stored(1, 0, &[(1, one)])),
        ("padded position", stored(1, 1, &[(1, &[0x81, 0x00])])),
        ("padded count", vec![1, 0x80, 0x00]),
    ] {
        assert!(Cursor::decode(&bytes).is_err(), "{name}");
    }
    assert!(Cursor::decode(&stored(1, 2, &[(1, one), (2, one)])).is_ok());
    for text in ["AQA=", "AQB", "AQA\n", "A+/", "äöü"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}

#[test]
fn a_full_cursor_takes_no_other_origin_and_keeps_its_limit() {
    let full: Model = (0..CURSOR_ORIGINS_MAX as u64).map(|origin| (origin, u64::MAX)).collect();
    let mut read = cursor(&full);
    let bytes = read.encode();
    assert!(bytes.len() <= CURSOR_BYTES_MAX);
    assert_eq!(Cursor::decode(&bytes).as_ref(), Ok(&read));
    assert_eq!(read.advance_to(Origin(u64::MAX), 1), Err(CursorFull));
    assert_eq!(read.merge(&cursor(&BTreeMap::from([(0, 1), (u64::MAX, 1)]))), Err(CursorFull));
    assert_eq!(read.encode(), bytes, "unchanged");
    assert_eq!(read.merge(&cursor(&full)), Ok(()));

    let one_more: Vec<(u64, &[u8])> = (0..=CURSOR_ORIGINS_MAX as u64).map(|origin| (origin, &[1][..])).collect();
    assert!(Cursor::decode(&stored(1, one_more.len(), &one_more)).is_err());
    assert!("A".repeat(CURSOR_BYTES_MAX * 2).parse::<Cursor>().is_err());
}
