//! The head of one channel: how far it is, and from where on it is kept. All numbers count from the log's beginning.
//!
//! Invariant: `low` is at or below the place after the last message, in all three numbers; it only moves forward.

use farwire_wire::log::ChannelMark;
use farwire_wire::{Offset, Position, varint};

const VERSION: u8 = 1;

/// A channel's head: 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    last_position: Position,
    last_offset: Offset,
    bytes: u64,
    low: LowWater,
}

/// From where on a channel is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowWater {
    /// Nothing of the channel below it is kept.
    pub position: Position,
    /// The offset of the first message that is kept, or the next one's where none is.
    pub offset: Offset,
    /// Bytes of all entries before that message.
    pub bytes_before: u64,
}

impl Head {
    /// The head of a channel with one message, an entry of so many bytes.
    pub(super) fn new(position: Position, entry_bytes: u64) -> Self {
        let low = LowWater { position, offset: Offset::FIRST, bytes_before: 0 };
        Self { last_position: position, last_offset: Offset::FIRST, bytes: entry_bytes, low }
    }

    /// Adds a message.
    pub(super) fn append(&mut self, position: Position, entry_bytes: u64) {
        self.last_position = position;
        self.last_offset = self.last_offset.next();
        self.bytes = self.bytes.saturating_add(entry_bytes);
    }

    /// Moves the low-water mark, unless that would be back or past the end. Whether it has moved.
    pub(super) fn mark(&mut self, mark: &ChannelMark) -> bool {
        let (end, low) = (self.end(), self.low);
        let is_forward =
            mark.offset > low.offset && mark.position > low.position && mark.bytes_before >= low.bytes_before;
        let is_within = if mark.offset == end.offset {
            mark.position == end.position && mark.bytes_before == end.bytes_before
        } else {
            mark.offset < end.offset && mark.position < end.position && mark.bytes_before <= end.bytes_before
        };
        if is_forward && is_within {
            self.low = LowWater { position: mark.position, offset: mark.offset, bytes_before: mark.bytes_before };
        }
        is_forward && is_within
    }

    /// The position of the last message.
    #[must_use]
    pub fn last_position(&self) -> Position {
        self.last_position
    }

    /// The offset of the last message: how many the channel has ever had.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.last_offset
    }

    /// Bytes of all entries that the channel has ever had.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From where on the channel is kept, by its own marks: one of the whole log may be above it.
    #[must_use]
    pub fn low_water(&self) -> LowWater {
        self.low
    }

    /// How many messages are kept, by the channel's own marks.
    #[must_use]
    pub fn messages_kept(&self) -> u64 {
        self.end().offset.get() - self.low.offset.get()
    }

    /// Bytes of the entries that are kept, by the channel's own marks.
    #[must_use]
    pub fn bytes_kept(&self) -> u64 {
        self.bytes - self.low.bytes_before
    }

    /// The place after the last message.
    fn end(&self) -> LowWater {
        LowWater { position: self.last_position.next(), offset: self.last_offset.next(), bytes_before: self.bytes }
    }

    /// The stored form: 7 to 61 bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let LowWater { position, offset, bytes_before } = self.low;
        let last = [self.last_position.get(), self.last_offset.get(), self.bytes];
        for number in last.into_iter().chain([position.get(), offset.get(), bytes_before]) {
            varint::put(number, &mut out);
        }
        out
    }

    /// Reads a stored form; `None` if it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, mut rest) = bytes.split_first()?;
        let mut take = || varint::take(&mut rest);
        let (last_position, last_offset) = (Position::new(take()?)?, Offset::new(take()?)?);
        let bytes = take()?;
        let (position, offset) = (Position::new(take()?)?, Offset::new(take()?)?);
        let low = LowWater { position, offset, bytes_before: take()? };
        let head = Self { last_position, last_offset, bytes, low };
        let end = head.end();
        let is_sound = low.position <= end.position && low.offset <= end.offset && low.bytes_before <= end.bytes_before;
        (version == VERSION && rest.is_empty() && is_sound).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark(position: u64, offset: u64, bytes_before: u64) -> ChannelMark {
        let (position, offset) = (Position::new(position).unwrap(), Offset::new(offset).unwrap());
        ChannelMark { channel: "a".parse().unwrap(), position, offset, bytes_before }
    }

    /// Three messages of 100 bytes at the positions 10, 20 and 30.
    fn head() -> Head {
        let mut head = Head::new(Position::new(10).unwrap(), 100);
        [20, 30].iter().for_each(|position| head.append(Position::new(*position).unwrap(), 100));
        head
    }

    #[test]
    fn marks_move_forward_and_never_past_the_end() {
        let mut head = head();
        assert_eq!((head.messages_kept(), head.bytes_kept()), (3, 300));
        for unsound in [
            mark(10, 1, 0),
            mark(31, 5, 300),
            mark(32, 4, 300),
            mark(31, 4, 299),
            mark(30, 4, 300),
            mark(31, 3, 200),
            mark(9, 2, 100),
        ] {
            assert!(!head.mark(&unsound), "{unsound:?}");
        }
        assert!(head.mark(&mark(20, 2, 100)));
        assert_eq!((head.messages_kept(), head.bytes_kept()), (2, 200));
        assert!(!head.mark(&mark(20, 2, 100)), "twice is once");
        for back in [mark(15, 2, 100), mark(15, 3, 200), mark(25, 1, 150), mark(25, 3, 50)] {
            assert!(!head.mark(&back), "{back:?}");
        }
        assert!(head.mark(&mark(31, 4, 300)), "nothing is kept");
        assert_eq!((head.messages_kept(), head.bytes_kept()), (0, 0));
        assert!(!head.mark(&mark(32, 4, 300)));
    }

    #[test]
    fn a_mark_that_publishes_overtook_says_the_same() {
        let (mut head, before) = (head(), mark(31, 4, 300));
        head.append(Position::new(44).unwrap(), 50);
        assert!(head.mark(&before));
        assert_eq!((head.messages_kept(), head.bytes_kept()), (1, 50));
    }

    proptest! {
        #[test]
        fn stored_heads_have_no_second_form(numbers in prop::array::uniform6(any::<u64>()), shift in prop::array::uniform6(0..64_u32)) {
            let mut bytes = vec![VERSION];
            numbers.iter().zip(shift).for_each(|(number, shift)| varint::put(number >> shift, &mut bytes));
            if let Some(head) = Head::decode(&bytes) {
                prop_assert_eq!(head.encode(), &bytes[..]);
                prop_assert!(head.bytes_kept() <= head.bytes() && head.messages_kept() <= head.last_offset().get());
                prop_assert_eq!(Head::decode(&bytes[..bytes.len() - 1]), None);
                prop_assert_eq!(Head::decode(&[&bytes[..], &[0]].concat()), None);
            }
        }
    }

    #[test]
    fn heads_survive_their_stored_form() {
        let mut head = head();
        head.mark(&mark(20, 2, 100));
        assert_eq!(Head::decode(&head.encode()), Some(head));
        assert_eq!(size_of::<Head>(), 48);
    }
}
