//! Keys, and values that carry a checksum over themselves and their key: what lies in the wrong place is found too.
//!
//! Keys sort as their numbers do (big endian). A value is the CRC32C of key and body, then the body.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use farwire_wire::Shard;

use crate::engine::{Space, Write};
use crate::types::FormFault;

/// What is kept in [`Space::Meta`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// Who this store is: one a store.
    Identity,
    /// A group's vote.
    Vote(Shard),
    /// Up to where a group's log is committed.
    Committed(Shard),
    /// Up to where a group's log is purged.
    Purged(Shard),
    /// The ranges of a group's log that are known to be bad.
    Quarantine(Shard),
    /// Which entries of a group a bucket has.
    Segment(Shard, u64),
    /// A bucket that no group needs any more.
    Dead(u64),
    /// Which write of the committer this is: one a store.
    Round,
}

/// A write of the committer, as it knows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    /// Whose.
    pub(crate) store: u64,
    /// Counts the writes of a store for as long as it lives.
    pub(crate) number: u64,
    /// The newest write that was synced before this one began.
    pub(crate) synced: u64,
}

impl Round {
    pub(crate) fn put(self) -> Write {
        Record::Round.put(|bytes| {
            bytes.put_u64(self.store);
            bytes.put_u64(self.number);
            bytes.put_u64(self.synced);
        })
    }

    pub(crate) fn take(bytes: &mut Bytes) -> Result<Self, FormFault> {
        Ok(Self { store: bytes.try_get_u64()?, number: bytes.try_get_u64()?, synced: bytes.try_get_u64()? })
    }
}

impl Record {
    pub(crate) fn key(self) -> Bytes {
        let mut key = BytesMut::with_capacity(11);
        match self {
            Self::Identity => key.put_u8(IDENTITY),
            Self::Round => key.put_u8(ROUND),
            Self::Vote(shard) => put_shard(&mut key, VOTE, shard),
            Self::Committed(shard) => put_shard(&mut key, COMMITTED, shard),
            Self::Purged(shard) => put_shard(&mut key, PURGED, shard),
            Self::Quarantine(shard) => put_shard(&mut key, QUARANTINE, shard),
            Self::Segment(shard, bucket) => {
                put_shard(&mut key, SEGMENT, shard);
                key.put_u64(bucket);
            }
            Self::Dead(bucket) => {
                key.put_u8(DEAD);
                key.put_u64(bucket);
            }
        }
        key.freeze()
    }

    /// The record that has this key.
    pub(crate) fn of_key(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.split_first()?;
        let shard = || rest.try_into().map(u16::from_be_bytes).map(Shard).ok();
        match *kind {
            IDENTITY => rest.is_empty().then_some(Self::Identity),
            ROUND => rest.is_empty().then_some(Self::Round),
            VOTE => shard().map(Self::Vote),
            COMMITTED => shard().map(Self::Committed),
            PURGED => shard().map(Self::Purged),
            QUARANTINE => shard().map(Self::Quarantine),
            SEGMENT => {
                let (shard, bucket) = rest.split_first_chunk()?;
                Some(Self::Segment(Shard(u16::from_be_bytes(*shard)), u64::from_be_bytes(bucket.try_into().ok()?)))
            }
            DEAD => Some(Self::Dead(u64::from_be_bytes(rest.try_into().ok()?))),
            _ => None,
        }
    }

    /// The write that sets it.
    pub(crate) fn put(self, body: impl FnOnce(&mut BytesMut)) -> Write {
        let key = self.key();
        let value = seal(&key, 64, body);
        Write::Put { space: Space::Meta, key, value }
    }

    /// The write that removes it.
    pub(crate) fn delete(self) -> Write {
        Write::Delete { space: Space::Meta, key: self.key() }
    }
}

fn put_shard(key: &mut BytesMut, kind: u8, shard: Shard) {
    key.put_u8(kind);
    key.put_u16(shard.0);
}

/// The key of an entry in its bucket.
pub(crate) fn body_key(shard: Shard, index: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(10);
    key.put_u16(shard.0);
    key.put_u64(index);
    key.freeze()
}

/// The log index in the key of an entry.
pub(crate) fn index_of(key: &[u8]) -> Option<u64> {
    key.split_first_chunk::<2>()?.1.try_into().ok().map(u64::from_be_bytes)
}

/// A value with its checksum; `size_hint` bytes of body are expected.
pub(crate) fn seal(key: &[u8], size_hint: usize, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut value = BytesMut::with_capacity(CHECKSUM_BYTES + size_hint);
    value.put_u32(0);
    body(&mut value);
    let sum = checksum(key, &value[CHECKSUM_BYTES..]);
    value[..CHECKSUM_BYTES].copy_from_slice(&sum.to_be_bytes());
    value.freeze()
}

/// The body, if it is the one that was stored under this key.
pub(crate) fn unseal(key: &[u8], value: &Bytes) -> Option<Bytes> {
    let (sum, body) = value.split_first_chunk()?;
    (u32::from_be_bytes(*sum) == checksum(key, body)).then(|| value.slice(CHECKSUM_BYTES..))
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

const CHECKSUM_BYTES: usize = 4;

const IDENTITY: u8 = b'i';
const VOTE: u8 = b'v';
const COMMITTED: u8 = b'c';
const PURGED: u8 = b'p';
const QUARANTINE: u8 = b'q';
const SEGMENT: u8 = b's';
const DEAD: u8 = b'd';
const ROUND: u8 = b'r';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_records_and_sort_as_numbers() {
        let shard = Shard(258);
        let records = [
            Record::Identity,
            Record::Round,
            Record::Vote(shard),
            Record::Committed(shard),
            Record::Purged(shard),
            Record::Quarantine(shard),
            Record::Segment(shard, 255),
            Record::Dead(1 << 40),
        ];
        for record in records {
            assert_eq!(Record::of_key(&record.key()), Some(record));
        }
        assert!(Record::Segment(shard, 255).key() < Record::Segment(shard, 256).key());
        assert!(body_key(shard, 255) < body_key(shard, 256));
        assert!(body_key(shard, u64::MAX) < body_key(Shard(259), 0));
        assert_eq!(index_of(&body_key(shard, 77)), Some(77));
    }

    #[test]
    fn sealed_value_is_its_own_under_its_own_key_alone() {
        let key = body_key(Shard(1), 1);
        let value = seal(&key, 5, |bytes| bytes.put_slice(b"hello"));
        assert_eq!(unseal(&key, &value).as_deref(), Some(b"hello".as_slice()));
        assert_eq!(unseal(&body_key(Shard(1), 2), &value), None);
        assert_eq!(unseal(&key, &value.slice(..value.len() - 1)), None);
        assert_eq!(unseal(&key, &Bytes::from_static(b"abc")), None);
    }
}
