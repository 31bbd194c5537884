//! A disk in memory, for simulations: it forgets what was not synced, fails, fills up and rots when told to.
//!
//! No threads, no clock, no randomness but the seed of [`crash`](Memory::crash): the same calls give the same answers.
//! Like a real disk it lies after a failed sync: the next one says `Ok` and what was lost stays lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use super::{Engine, EngineError, Item, Scan, Space, Write};
use crate::room::{DiskSpace, Probe};

/// See the module.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

type Items = BTreeMap<(Space, Bytes), Bytes>;

#[derive(Debug, Default)]
struct State {
    /// What readers see.
    visible: Items,
    /// What a crash cannot take.
    durable: Items,
    /// The writes since the last sync that told the truth.
    unsynced: Vec<Vec<Write>>,
    /// Keys whose bytes the disk itself knows to be bad.
    damaged: BTreeSet<(Space, Bytes)>,
    capacity_bytes: Option<u64>,
    /// Calls until one fails; 1 is the next.
    sync_fails_in: Option<u64>,
    write_fails_in: Option<u64>,
}

impl Memory {
    /// An empty disk without end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The power goes: any suffix of the unsynced writes is lost, by the seed. A write that was torn is a lost one.
    ///
    /// Returns how many writes were lost. The disk can be opened again at once; orders to fail are forgotten.
    pub fn crash(&self, seed: u64) -> usize {
        let mut state = self.lock();
        let unsynced = std::mem::take(&mut state.unsynced);
        let choices = u64::try_from(unsynced.len()).unwrap_or(u64::MAX).saturating_add(1);
        let kept = usize::try_from(scramble(seed) % choices).unwrap_or(0);
        for write in unsynced.iter().take(kept).flatten() {
            write.apply(&mut state.durable);
        }
        state.visible = state.durable.clone();
        (state.sync_fails_in, state.write_fails_in) = (None, None);
        unsynced.len() - kept
    }

    /// The `nth` sync from now fails, and what it was to keep is lost at the next crash; 1 is the next one.
    pub fn fail_sync(&self, nth: u64) {
        self.lock().sync_fails_in = Some(nth);
    }

    /// The `nth` write from now fails, and changes nothing; 1 is the next one.
    pub fn fail_write(&self, nth: u64) {
        self.lock().write_fails_in = Some(nth);
    }

    /// From now on the disk holds so many bytes of keys and values; a write that would exceed it fails.
    pub fn fill(&self, capacity_bytes: u64) {
        self.lock().capacity_bytes = Some(capacity_bytes);
    }

    /// Flips a bit in the middle of a value, unseen by the disk. Returns whether the key was there.
    pub fn flip(&self, space: Space, key: &[u8]) -> bool {
        let mut state = self.lock();
        let key = (space, Bytes::copy_from_slice(key));
        let State { visible, durable, .. } = &mut *state;
        let flipped: Vec<bool> = [visible, durable].into_iter().map(|items| flip_in(items, &key)).collect();
        flipped.contains(&true)
    }

    /// The disk finds that a key's bytes do not verify, as an engine with checksums would.
    pub fn damage(&self, space: Space, key: &[u8]) {
        self.lock().damaged.insert((space, Bytes::copy_from_slice(key)));
    }

    /// Moves a value to another key, as a misdirected write would. Returns whether the first was there.
    pub fn misplace(&self, space: Space, from: &[u8], to: &[u8]) -> bool {
        let mut state = self.lock();
        let Some(value) = state.visible.get(&(space, Bytes::copy_from_slice(from))).cloned() else { return false };
        let to = (space, Bytes::copy_from_slice(to));
        state.visible.insert(to.clone(), value.clone());
        state.durable.insert(to, value);
        true
    }

    /// Writes that a crash could take.
    #[must_use]
    pub fn unsynced_writes(&self) -> usize {
        self.lock().unsynced.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Memory {
    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        let mut state = self.lock();
        if is_due(&mut state.write_fails_in) {
            return Err(io::Error::other("this write was told to fail").into());
        }
        let added: usize = writes.iter().map(Write::size_bytes).sum();
        if state.capacity_bytes.is_some_and(|capacity| state.used_bytes() + added as u64 > capacity) {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        for write in &writes {
            write.apply(&mut state.visible);
            state.damaged.remove(&write.place());
        }
        state.unsynced.push(writes);
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let mut state = self.lock();
        let writes = std::mem::take(&mut state.unsynced);
        if is_due(&mut state.sync_fails_in) {
            return Err(io::Error::other("this sync was told to fail").into());
        }
        for write in writes.iter().flatten() {
            write.apply(&mut state.durable);
        }
        Ok(())
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let state = self.lock();
        let place = (space, Bytes::copy_from_slice(key));
        if state.damaged.contains(&place) {
            return Err(EngineError::Damaged("told to be".into()));
        }
        Ok(state.visible.get(&place).cloned())
    }

    fn scan(&self, scan: &Scan) -> Result<Vec<Item>, EngineError> {
        let state = self.lock();
        if scan.from > scan.to {
            return Ok(Vec::new());
        }
        let range = (scan.space, scan.from.clone())..=(scan.space, scan.to.clone());
        if state.damaged.range(range.clone()).next().is_some() {
            return Err(EngineError::Damaged("told to be".into()));
        }
        let items = state.visible.range(range).map(|((_, key), value)| (key.clone(), value.clone()));
        Ok(if scan.reverse { scan.bounded(items.rev()) } else { scan.bounded(items) })
    }

    fn buckets(&self) -> Vec<u64> {
        let state = self.lock();
        let buckets: BTreeSet<u64> = state.visible.keys().filter_map(|(space, _)| space.bucket()).collect();
        buckets.into_iter().collect()
    }

    fn drop_bucket(&self, bucket: u64) -> Result<(), EngineError> {
        let mut state = self.lock();
        let stays = |space: Space| space != Space::Bodies(bucket);
        state.visible.retain(|(space, _), _| stays(*space));
        state.durable.retain(|(space, _), _| stays(*space));
        for writes in &mut state.unsynced {
            writes.retain(|write| stays(write.place().0));
        }
        Ok(())
    }
}

impl Probe for Memory {
    fn space(&self) -> io::Result<DiskSpace> {
        let state = self.lock();
        let total_bytes = state.capacity_bytes.unwrap_or(u64::MAX);
        Ok(DiskSpace { total_bytes, free_bytes: total_bytes.saturating_sub(state.used_bytes()) })
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        self.visible.iter().map(|((_, key), value)| (key.len() + value.len()) as u64).sum()
    }
}

impl Write {
    fn place(&self) -> (Space, Bytes) {
        match self {
            Self::Put { space, key, .. } | Self::Delete { space, key } => (*space, key.clone()),
        }
    }

    fn apply(&self, items: &mut Items) {
        match self {
            Self::Put { value, .. } => items.insert(self.place(), value.clone()),
            Self::Delete { .. } => items.remove(&self.place()),
        };
    }
}

impl Space {
    fn bucket(self) -> Option<u64> {
        match self {
            Self::Meta | Self::State => None,
            Self::Bodies(bucket) => Some(bucket),
        }
    }
}

impl Scan {
    /// As many of the items as this scan wants.
    fn bounded(&self, items: impl Iterator<Item = Item>) -> Vec<Item> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        for item in items.take(self.items_max) {
            bytes += item.1.len();
            taken.push(item);
            if bytes >= self.bytes_max {
                break;
            }
        }
        taken
    }
}

/// Counts down, and says whether this call is the one.
fn is_due(calls: &mut Option<u64>) -> bool {
    let Some(left) = calls.take() else { return false };
    if left <= 1 {
        return true;
    }
    *calls = Some(left - 1);
    false
}

fn flip_in(items: &mut Items, key: &(Space, Bytes)) -> bool {
    let Some(value) = items.get_mut(key) else { return false };
    let mut bytes = BytesMut::from(value.as_ref());
    let middle = bytes.len() / 2;
    let Some(byte) = bytes.get_mut(middle) else { return false };
    *byte ^= 1;
    *value = bytes.freeze();
    true
}

/// The mixing step of splitmix64.
fn scramble(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8, value: u8) -> Vec<Write> {
        let (key, value) = (Bytes::from(vec![key]), Bytes::from(vec![value]));
        vec![
            Write::Put { space: Space::Meta, key: key.clone(), value: value.clone() },
            Write::Put { space: Space::Bodies(1), key, value },
        ]
    }

    /// The keys of both spaces, which each write sets together.
    fn keys(memory: &Memory) -> Vec<u8> {
        let scan = |space| {
            let (from, to) = (Bytes::new(), Bytes::from_static(&[255]));
            let scan = Scan { space, from, to, reverse: false, items_max: 100, bytes_max: 100 };
            memory.scan(&scan).expect("can be read").into_iter().map(|(key, _)| key[0]).collect::<Vec<_>>()
        };
        assert_eq!(scan(Space::Meta), scan(Space::Bodies(1)), "no write is there in half");
        scan(Space::Meta)
    }

    /// Two synced writes, three that are not, then a crash.
    fn crashed(seed: u64) -> Vec<u8> {
        let memory = Memory::new();
        for key in 1..=5 {
            memory.write(put(key, key)).expect("is written");
            if key == 2 {
                memory.sync().expect("is synced");
            }
        }
        let lost = memory.crash(seed);
        assert_eq!(keys(&memory).len(), 5 - lost);
        keys(&memory)
    }

    #[test]
    fn crash_loses_a_suffix_of_what_was_not_synced_by_its_seed() {
        let outcomes: BTreeSet<Vec<u8>> = (0..100).map(crashed).collect();
        let expected = [vec![1, 2], vec![1, 2, 3], vec![1, 2, 3, 4], vec![1, 2, 3, 4, 5]];
        assert_eq!(outcomes, expected.into());
        assert!((0..100).all(|seed| crashed(seed) == crashed(seed)));
    }

    #[test]
    fn sync_after_a_failed_one_lies() {
        let memory = Memory::new();
        memory.fail_sync(2);
        memory.write(put(1, 1)).expect("is written");
        memory.sync().expect("the first works");
        memory.write(put(2, 2)).expect("is written");
        assert!(memory.sync().is_err());
        memory.sync().expect("it lies");
        assert_eq!(keys(&memory), [1, 2]);
        memory.crash(0);
        assert_eq!(keys(&memory), [1]);
    }

    #[test]
    fn scans_keep_to_their_bounds_in_both_directions() {
        let memory = Memory::new();
        for key in 1..=5 {
            memory.write(put(key, key)).expect("is written");
        }
        let scan = |reverse, items_max, bytes_max| {
            let (from, to) = (Bytes::from_static(&[2]), Bytes::from_static(&[4]));
            let scan = Scan { space: Space::Meta, from, to, reverse, items_max, bytes_max };
            memory.scan(&scan).expect("can be read").into_iter().map(|(key, _)| key[0]).collect::<Vec<_>>()
        };
        assert_eq!(scan(false, 9, 9), [2, 3, 4]);
        assert_eq!(scan(true, 2, 9), [4, 3]);
        assert_eq!(scan(false, 9, 2), [2, 3]);
    }
}
