//! A shard's recent messages in memory: one bounded ring, shared by all readers. What falls off its end is gone for
//! volatile channels; who was slower than that is told how much it missed.
//!
//! Invariant: indexes are dense and never reused; the bytes held stay below the bound, but for one message.

use std::collections::VecDeque;

use bytes::Bytes;

/// A message as readers take it: the frame that delivers it, the same bytes for every subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// Length, delivery and entry.
    pub(crate) frame: Bytes,
    /// The entry alone: a part of the frame.
    pub(crate) entry: Bytes,
    /// The publisher asked for datagrams.
    pub(crate) datagram: bool,
}

impl Stored {
    /// Makes the delivery frame of an entry's stored form.
    pub(crate) fn new(entry: &[u8], datagram: bool) -> Self {
        let frame = farwire_wire::entry::delivery_frame(entry);
        let entry = frame.slice(frame.len() - entry.len()..);
        Self { frame, entry, datagram }
    }
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Tail {
    entries: VecDeque<Stored>,
    /// Index of the oldest entry.
    first: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), first: 0, bytes: 0, bytes_max }
    }

    /// Adds a message, lets the oldest go where room is needed, and returns the new one's index.
    pub(crate) fn push(&mut self, stored: Stored) -> u64 {
        self.bytes += stored.frame.len();
        self.entries.push_back(stored);
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.frame.len();
                self.first += 1;
            }
        }
        self.first + self.entries.len() as u64 - 1
    }

    /// The message of an index, unless it has gone.
    pub(crate) fn get(&self, index: u64) -> Option<&Stored> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_the_bound_is_reached() {
        let mut tail = Tail::new(100);
        for n in 0..10_u8 {
            assert_eq!(tail.push(Stored::new(&[n; 40], false)), u64::from(n));
        }
        assert!(tail.get(7).is_none());
        assert_eq!(tail.get(9).unwrap().entry[..], [9; 40]);
        assert!(tail.get(10).is_none());
    }

    #[test]
    fn one_message_above_the_bound_is_still_kept() {
        let mut tail = Tail::new(10);
        let index = tail.push(Stored::new(&[0; 50], false));
        assert!(tail.get(index).is_some());
    }
}
