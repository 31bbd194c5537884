//! The keyed hash that spreads channels over slots. It is not a checksum and not a signature.
//!
//! Invariant: every release of every node computes the same slot, so the bytes that are hashed are spelled out here and
//! held by golden vectors. The key belongs to the mesh: without it nobody can grind channel names onto one node.
//! Routers call this for each publish and subscription.

use std::fmt;
use std::hash::Hasher as _;

use farwire_wire::ids::Slot;
use farwire_wire::names::ChannelName;
use siphasher::sip::SipHasher13;

/// The hash key of a mesh, out of its mesh file: the same on every node for the mesh's whole life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// The key made of these 16 bytes, which should be random.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A number that only holders of the key can derive from `parts`. Each part's length is hashed too, so that parts
    /// cannot run into each other.
    #[must_use]
    pub fn derive(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        for part in parts {
            hasher.write(&(part.len() as u64).to_be_bytes());
            hasher.write(part);
        }
        hasher.finish()
    }
}

/// Says nothing: who knows the key can aim channels at one node.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// The slot of `channel` in the mesh with this key: SipHash-1-3 over the name's bytes, in one write.
///
/// A channel of presence has the slot of the channel that it is about, so that one node owns both.
///
/// The standard `Hash` of a string is not used, because what it feeds a hasher may differ between compilers.
#[must_use]
pub fn slot_of(key: &HashKey, channel: &ChannelName) -> Slot {
    let mut hasher = SipHasher13::new_with_key(&key.0);
    hasher.write(channel.subject().as_bytes());
    Slot::of_hash(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

    fn slot(key: &HashKey, channel: &str) -> usize {
        slot_of(key, &ChannelName::parse(channel).unwrap()).index()
    }

    #[test]
    fn slots_are_the_same_in_every_release() {
        for (channel, golden) in [
            ("a", 567),
            ("live.fleet.205125000", 1326),
            ("12345678", 2510),
            ("chat.room-7", 829),
            ("A-b_c:d.0", 1090),
            (&*"x".repeat(255), 1273),
        ] {
            assert_eq!(slot(&KEY, channel), golden, "{channel}");
        }
    }

    #[test]
    fn a_channel_and_its_presence_have_one_slot() {
        let channel = ChannelName::parse("chat.room-7").unwrap();
        for about in [channel.presence(), channel.counts()] {
            assert_eq!(slot_of(&KEY, &about), slot_of(&KEY, &channel));
        }
    }

    #[test]
    fn another_key_spreads_channels_otherwise() {
        let other = HashKey::new([7; 16]);
        let moved = (0..100).map(|i| format!("c.{i}")).filter(|c| slot(&KEY, c) != slot(&other, c)).count();
        assert!(moved > 90, "{moved}");
    }

    #[test]
    fn the_key_is_never_printed() {
        assert_eq!(format!("{KEY:?}"), "HashKey(..)");
    }
}
