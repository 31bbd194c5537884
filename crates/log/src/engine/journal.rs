//! Mends the end of fjall's journal before fjall reads it, and finds what fjall would take for the end.
//!
//! A power cut leaves of the last write some pages and zeros for the others, because the file has its full length from the
//! beginning. fjall 3.1 refuses to open a journal whose last batch is such a patchwork; and it drops everything behind a
//! batch whose structure (rather than content) is broken, even if all of it had been synced. So we look first:
//!
//! - whole batches, then zeros or nothing: as it should be;
//! - whole batches, then a broken one: the last write was torn. It was never synced, it is cut off;
//! - a broken one, and a whole one behind it that knows of a sync after the break: what was synced is damaged. Refused, with
//!   nothing changed.
//!
//! What knows is the [`Round`] in the committer's batches. Not found: damage to the very last batch that was synced; it looks
//! like a torn write. The format is that of fjall 3.x (version marker `FJL` 3); of any other version nothing is touched.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use xxhash_rust::xxh3::Xxh3;

use super::EngineError;
use crate::records::{Record, Round, unseal};

/// Looks at the newest journal of a database, and cuts off a torn write.
pub(super) fn mend(place: &Path) -> Result<(), EngineError> {
    if fs::read(place.join("version")).ok().as_deref() != Some(MAGIC) {
        return Ok(());
    }
    // Another process that has it open is in the middle of its last batch.
    let lock = OpenOptions::new().read(true).write(true).open(place.join("lock"))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    let Some(journal) = newest(place)? else { return Ok(()) };
    let bytes = Bytes::from(fs::read(&journal)?);
    match examine(&bytes) {
        Tail::Clean => Ok(()),
        Tail::Torn { end } => {
            tracing::warn!(end, bytes = bytes.len() - end, "journal ends in a torn write, cut off");
            cut(&journal, end)
        }
        Tail::Damaged { at } => Err(EngineError::Damaged(format!(
            "{} is damaged at byte {at}, before the end of what was synced; move the store away, kept, and let this node \
             start anew",
            journal.display()
        ))),
    }
}

/// Sealed journals were synced as a whole, and fjall checks them: only the newest can be torn.
fn newest(place: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for item in fs::read_dir(place)? {
        let path = item?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        newest = newest.max(number.map(|number| (number, path)));
    }
    Ok(newest.map(|(_, path)| path))
}

fn cut(journal: &Path, end: usize) -> Result<(), EngineError> {
    let file = File::options().write(true).open(journal)?;
    file.set_len(end as u64)?;
    file.sync_all()?;
    Ok(())
}

/// What follows on the whole batches of a journal.
#[derive(Debug, PartialEq, Eq)]
enum Tail {
    Clean,
    Torn { end: usize },
    Damaged { at: usize },
}

fn examine(bytes: &Bytes) -> Tail {
    let mut end = 0;
    let mut round = None;
    while let Some(batch) = batch(bytes.slice(end..)) {
        end += batch.length;
        round = batch.round.or(round);
    }
    let rest = bytes.slice(end..);
    if rest.iter().all(|byte| *byte == 0) {
        return Tail::Clean;
    }
    if knows_of_later_sync(&rest, round) { Tail::Damaged { at: end } } else { Tail::Torn { end } }
}

/// Whether there is a whole batch of this store that was written after a later round than `before` had been synced.
fn knows_of_later_sync(rest: &Bytes, before: Option<Round>) -> bool {
    let starts = rest.iter().enumerate().filter(|(_, byte)| **byte == START);
    let rounds = starts.filter_map(|(at, _)| batch(rest.slice(at..))?.round);
    rounds.into_iter().any(|round| match before {
        // The id keeps out what a message might carry: nobody outside knows it.
        Some(before) => round.store == before.store && round.synced > before.number,
        None => round.synced > 0,
    })
}

/// A whole batch.
struct Batch {
    length: usize,
    round: Option<Round>,
}

/// The batch at the beginning of the bytes, if it is whole.
fn batch(all: Bytes) -> Option<Batch> {
    let mut bytes = all.clone();
    let mut round = None;
    if bytes.try_get_u8().ok()? != START {
        return None;
    }
    let items = bytes.try_get_u32_le().ok()?;
    bytes.try_get_u64_le().ok()?;
    let mut sum = Xxh3::new();
    for _ in 0..items {
        let before = bytes.clone();
        round = item(&mut bytes)?.or(round);
        sum.update(&before[..before.len() - bytes.len()]);
    }
    if bytes.try_get_u8().ok()? != END || bytes.try_get_u64_le().ok()? != sum.digest() {
        return None;
    }
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    Some(Batch { length: all.len() - bytes.len() + MAGIC.len(), round })
}

/// Takes an item; `Some(Some(_))` if it is the committer's round.
#[allow(
    clippy::option_option,
    reason = "the outer one is whether there is an item, the inner one whether it is a round"
)]
fn item(bytes: &mut Bytes) -> Option<Option<Round>> {
    match bytes.try_get_u8().ok()? {
        CLEAR => bytes.try_get_u64_le().ok().map(|_| None),
        ITEM => {
            // Kind, compression (there is none), keyspace.
            let (_, 0) = (bytes.try_get_u8().ok()?, bytes.try_get_u8().ok()?) else { return None };
            bytes.try_get_u64_le().ok()?;
            let key_length = usize::from(bytes.try_get_u16_le().ok()?);
            let value_length = bytes.try_get_u32_le().ok()?;
            let stored_length = bytes.try_get_u32_le().ok()?;
            let value_length = usize::try_from(value_length).ok().filter(|_| value_length == stored_length)?;
            if bytes.len() < key_length.checked_add(value_length)? {
                return None;
            }
            let (key, value) = (bytes.split_to(key_length), bytes.split_to(value_length));
            let is_round = key == Record::Round.key();
            Some(is_round.then(|| Round::take(&mut unseal(&key, &value)?).ok()).flatten())
        }
        _ => None,
    }
}

const MAGIC: &[u8] = b"FJL\x03";
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;
    use crate::engine::Write;

    /// As fjall writes it.
    fn whole(pairs: &[(Bytes, Bytes)]) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(START);
        bytes.put_u32_le(u32::try_from(pairs.len()).unwrap());
        bytes.put_u64_le(5);
        let items = bytes.len();
        for (key, value) in pairs {
            bytes.put_slice(&[ITEM, 0, 0]);
            bytes.put_u64_le(1);
            bytes.put_u16_le(u16::try_from(key.len()).unwrap());
            bytes.put_u32_le(u32::try_from(value.len()).unwrap());
            bytes.put_u32_le(u32::try_from(value.len()).unwrap());
            bytes.put_slice(key);
            bytes.put_slice(value);
        }
        let sum = xxhash_rust::xxh3::xxh3_64(&bytes[items..]);
        bytes.put_u8(END);
        bytes.put_u64_le(sum);
        bytes.put_slice(MAGIC);
        bytes.freeze()
    }

    fn round(store: u64, number: u64, synced: u64) -> Bytes {
        let Write::Put { key, value, .. } = Round { store, number, synced }.put() else { unreachable!() };
        whole(&[(Bytes::from_static(b"payload"), Bytes::from(vec![1; 50])), (key, value)])
    }

    fn joined(parts: &[Bytes]) -> Bytes {
        parts.concat().into()
    }

    #[test]
    fn whole_batches_and_zeros_are_clean() {
        let zeros = Bytes::from(vec![0; 100]);
        assert_eq!(examine(&Bytes::new()), Tail::Clean);
        assert_eq!(examine(&zeros), Tail::Clean);
        assert_eq!(examine(&joined(&[round(7, 1, 0), round(7, 2, 1), zeros])), Tail::Clean);
    }

    #[test]
    fn last_batch_in_any_state_is_torn_and_nothing_before_it() {
        let (first, last) = (round(7, 1, 0), round(7, 2, 1));
        for hole in 0..last.len() {
            for length in [1, 10, last.len()] {
                let mut torn = BytesMut::from(last.as_ref());
                let upto = torn.len().min(hole + length);
                torn[hole..upto].fill(0);
                let torn = torn.freeze();
                if torn.iter().all(|byte| *byte == 0) {
                    continue;
                }
                if batch(torn.clone()).is_some() {
                    // Nothing was lost, or the sequence number alone, which no checksum covers.
                    assert!(torn == last || (2..13).contains(&hole), "{length} zeros from {hole}");
                    continue;
                }
                let found = examine(&joined(&[first.clone(), torn, Bytes::from(vec![0; 9])]));
                assert_eq!(found, Tail::Torn { end: first.len() }, "{length} zeros from {hole}");
            }
        }
    }

    #[test]
    fn break_before_a_later_sync_is_damage_and_one_among_unsynced_batches_is_not() {
        let first = round(7, 1, 0);
        for flip in 0..first.len() {
            let mut broken = BytesMut::from(round(7, 2, 1).as_ref());
            broken[flip] ^= 1;
            let broken = broken.freeze();
            if batch(broken.clone()).is_some() {
                // The sequence number of a batch is not in its checksum.
                assert!((5..13).contains(&flip), "byte {flip}");
                continue;
            }
            let end = first.len();
            let later = |synced| examine(&joined(&[first.clone(), broken.clone(), round(7, 3, synced)]));
            assert_eq!(later(2), Tail::Damaged { at: end });
            assert_eq!(later(1), Tail::Torn { end });
            let foreign = examine(&joined(&[first.clone(), broken.clone(), round(8, 3, 2)]));
            assert_eq!(foreign, Tail::Torn { end }, "a batch that a message carried");
        }
    }
}
