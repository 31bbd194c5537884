//! Commands of a group's log: they survive their stored form, whatever is taken keeps the bounds, and an entry's bytes
//! are never made anew.

use bytes::Bytes;
use farwire_wire::limits::{ENTRY_BYTES_MAX, LOG_BATCH_BYTES, LOG_BATCH_PUBLISHES_MAX, LOG_MARKS_MAX};
use farwire_wire::log::{Batch, ChannelMark, Command, Mark, Publish};
use farwire_wire::{Entry, Offset, Origin, Position, PublisherId};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::values::{channel, damage, entry};

fn publish() -> impl Strategy<Value = Publish> {
    (entry(), 1..=u64::MAX, any::<u64>())
        .prop_map(|(entry, number, client)| Publish::new(Entry { number, ..entry }.encode(), client).unwrap())
}

fn channel_mark() -> impl Strategy<Value = ChannelMark> {
    (channel(), 1..=u64::MAX, 1..=u64::MAX, any::<u64>()).prop_map(|(channel, position, offset, bytes_before)| {
        let (position, offset) = (Position::new(position).unwrap(), Offset::new(offset).unwrap());
        ChannelMark { channel, position, offset, bytes_before }
    })
}

fn command() -> impl Strategy<Value = Command> {
    let batch = (any::<u64>(), prop::collection::vec(publish(), 1..6));
    prop_oneof![
        any::<u64>().prop_map(|origin| Command::Open(Origin(origin))),
        batch.prop_map(|(log_time_us, publishes)| Command::Batch(Batch { log_time_us, publishes })),
        (1..=u64::MAX).prop_map(|below| Command::Mark(Mark::Log(Position::new(below).unwrap()))),
        prop::collection::vec(channel_mark(), 1..6).prop_map(|marks| Command::Mark(Mark::Channels(marks))),
    ]
}

fn survives(command: &Command) -> Result<(), TestCaseError> {
    let read = Command::decode(command.encode());
    prop_assert_eq!(read.as_ref(), Ok(command));
    Ok(())
}

proptest! {
    #[test]
    fn commands_survive_and_damaged_ones_are_others_or_refused(command in command(), damage in damage()) {
        survives(&command)?;
        let stored = command.encode();
        let mut damaged = stored.to_vec();
        for (at, byte) in damage {
            damaged[at.index(stored.len())] = byte;
            for bytes in [stored.slice(..at.index(stored.len())), damaged.clone().into()] {
                if let Ok(command) = Command::decode(bytes) {
                    survives(&command)?;
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_a_command_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(command) = Command::decode(bytes.into()) {
            survives(&command)?;
        }
    }

    #[test]
    fn entries_keep_bytes_that_this_release_would_not_write(publish in publish(), at in any::<Index>()) {
        let unknown = [&[0xf8, 0x07][..], &[1]].concat();
        let stored = publish.stored();
        let stored = if at.index(2) == 0 { [&unknown, &stored[..]].concat() } else { [&stored[..], &unknown].concat() };
        let publish = Publish::new(stored.clone().into(), publish.client()).unwrap();
        let command = Command::Batch(Batch { log_time_us: 1, publishes: vec![publish] });
        let Ok(Command::Batch(batch)) = Command::decode(command.encode()) else { unreachable!() };
        prop_assert_eq!(&batch.publishes[0].stored()[..], &stored[..]);
    }
}

fn tiny() -> Entry {
    Entry {
        channel: "a".parse().unwrap(),
        payload: Bytes::new(),
        publisher: PublisherId(1),
        number: 1,
        published_at_us: 0,
        session: 0,
        count: 0,
        datagram: false,
    }
}

/// An entry of so many bytes: a tiny one, and a field that this release does not know.
fn sized(bytes: usize) -> Bytes {
    let mut stored = tiny().encode().to_vec();
    stored.extend([0xfa, 0x07]);
    let filler = bytes - stored.len() - 3;
    prost::encode_length_delimiter(filler, &mut stored).unwrap();
    stored.resize(stored.len() + filler, 0);
    assert_eq!(stored.len(), bytes, "the length of the filler has three bytes");
    stored.into()
}

fn is_taken(entries: &[Bytes]) -> bool {
    let publishes = entries.iter().map(|stored| Publish::new(stored.clone(), 1).unwrap()).collect();
    Command::decode(Command::Batch(Batch { log_time_us: 1, publishes }).encode()).is_ok()
}

#[test]
fn a_batch_has_publishes_and_not_too_many() {
    let many = vec![tiny().encode(); LOG_BATCH_PUBLISHES_MAX + 1];
    assert!(!is_taken(&[]));
    assert!(is_taken(&many[1..]));
    assert!(!is_taken(&many));
}

#[test]
fn a_batch_that_is_all_but_full_takes_a_message_of_the_largest_size() {
    let mut entries = vec![sized(LOG_BATCH_BYTES / 8); 8];
    entries.push(sized(ENTRY_BYTES_MAX));
    assert!(is_taken(&entries));
    entries.push(tiny().encode());
    assert!(!is_taken(&entries));
}

#[test]
fn an_entry_of_a_log_has_a_number_and_a_limit() {
    let is_entry = |stored: Bytes| Publish::new(stored, 1).is_ok();
    assert!(is_entry(tiny().encode()));
    assert!(!is_entry(Entry { number: 0, ..tiny() }.encode()));
    assert!(!is_entry(Bytes::from_static(b"\xff")));
    assert!(is_entry(sized(ENTRY_BYTES_MAX)));
    assert!(!is_entry(sized(ENTRY_BYTES_MAX + 1)));
    let stored = tiny().encode();
    let damaged = [&[0x0a, 6, 0x0a, 4][..], &stored[..4]].concat();
    let in_batch = [&[0x12, 8][..], &damaged].concat();
    assert!(Command::decode(in_batch.into()).is_err(), "a batch with an entry that is none");
}

#[test]
fn a_mark_is_about_the_log_or_about_channels() {
    let mark = |count: usize| {
        let (position, offset) = (Position::FIRST, Offset::FIRST);
        let mark = ChannelMark { channel: "a".parse().unwrap(), position, offset, bytes_before: 0 };
        Command::decode(Command::Mark(Mark::Channels(vec![mark; count])).encode())
    };
    assert!(mark(LOG_MARKS_MAX).is_ok());
    assert!(mark(LOG_MARKS_MAX + 1).is_err());
    assert!(mark(0).is_err());
    // Field 3 of the command, which holds fields 1 (below) and 2 (a channel, with its name, position and offset).
    let channel = [0x12, 7, 0x0a, 1, b'a', 0x10, 1, 0x18, 1];
    let both = [&[0x1a, 11, 0x08, 1][..], &channel].concat();
    assert!(Command::decode(both.into()).is_err());
    assert!(Command::decode([&[0x1a, 9][..], &channel].concat().into()).is_ok());
    for without in [[0x0a, 1, b'a', 0x10, 1], [0x0a, 1, b'a', 0x18, 1]] {
        assert!(Command::decode([&[0x1a, 7, 0x12, 5][..], &without].concat().into()).is_err());
    }
}
