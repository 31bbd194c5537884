//! Reads entries of a group's log: the pending ones from memory, the others from disk, each checked.
//!
//! What is bad is never the end of the log: the state knows which indexes there are, and one that is missing or does not
//! verify is an error that names its range.

use std::collections::BTreeMap;
use std::collections::HashMap;

use bytes::Bytes;
use farwire_wire::Shard;

use super::LogError;
use super::state::{Segment, State};
use crate::engine::{Engine, EngineError, Scan, Space};
use crate::ranges::Ranges;
use crate::records::{body_key, index_of, unseal};
use crate::types::{Entry, take_entry};

/// What to read: the state at one moment.
#[derive(Debug)]
pub(super) struct View {
    shard: Shard,
    from: u64,
    to: u64,
    segments: Vec<Segment>,
    pending: HashMap<u64, Entry>,
    quarantine: Ranges,
    pub(super) removals: u64,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In order and without a hole, up to the first bad one or the bound.
    pub(super) entries: Vec<Entry>,
    /// The bad ones of the range, as far as it was read.
    pub(super) bad: Ranges,
    bytes: usize,
}

impl View {
    /// The part of `from..=to` that the log has; `None` if that is nothing.
    pub(super) fn of(state: &State, from: u64, to: u64) -> Option<Self> {
        let from = from.max(state.first()?);
        let to = to.min(state.segments.last()?.last.index);
        if from > to {
            return None;
        }
        let overlaps = |segment: &&Segment| segment.first <= to && segment.last.index >= from;
        let pending = state.pending.range(from..=to).map(|(index, pending)| (*index, pending.entry.clone()));
        Some(Self {
            shard: state.shard,
            from,
            to,
            segments: state.segments.iter().filter(overlaps).copied().collect(),
            pending: pending.collect(),
            quarantine: state.quarantine.clone(),
            removals: state.removals,
        })
    }

    /// Reads until the bytes reach the bound; all bad ones up to there are found.
    pub(super) fn read(&self, engine: &dyn Engine, bytes_max: usize) -> Result<Found, LogError> {
        let mut found = Found::default();
        for segment in &self.segments {
            let to = self.to.min(segment.last.index);
            let mut next = self.from.max(segment.first);
            while next <= to && found.bytes < bytes_max {
                next = self.read_some(engine, segment.bucket, next, to, bytes_max, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Reads some from `from` on, and returns the index to go on with.
    fn read_some(
        &self,
        engine: &dyn Engine,
        bucket: u64,
        from: u64,
        to: u64,
        bytes_max: usize,
        found: &mut Found,
    ) -> Result<u64, LogError> {
        let to = to.min(from.saturating_add(ITEMS_MAX - 1));
        let (stored, read_to) = self.stored(engine, bucket, from, to)?;
        for index in from..=read_to {
            if found.bytes >= bytes_max {
                return Ok(index);
            }
            match self.entry(index, stored.get(&index)) {
                Some((entry, bytes)) => found.push(entry, bytes),
                None => found.bad.insert(index, index),
            }
        }
        Ok(read_to + 1)
    }

    /// What the disk has of a range, by index, and up to where it was asked. Nothing if all of it is pending.
    fn stored(
        &self,
        engine: &dyn Engine,
        bucket: u64,
        from: u64,
        to: u64,
    ) -> Result<(BTreeMap<u64, Bytes>, u64), LogError> {
        let first = (from..=to).find(|index| !self.pending.contains_key(index));
        let Some(first) = first else { return Ok((BTreeMap::new(), to)) };
        let scan = Scan {
            space: Space::Bodies(bucket),
            from: body_key(self.shard, first),
            to: body_key(self.shard, to),
            reverse: false,
            items_max: usize::MAX,
            bytes_max: SCAN_BYTES_MAX,
        };
        match engine.scan(&scan) {
            Ok(items) => {
                let bytes: usize = items.iter().map(|(_, value)| value.len()).sum();
                let stored: BTreeMap<u64, Bytes> =
                    items.into_iter().filter_map(|(key, value)| Some((index_of(&key)?, value))).collect();
                let last = stored.last_key_value().map(|(index, _)| *index);
                let read_to = last.filter(|_| bytes >= SCAN_BYTES_MAX).unwrap_or(to);
                Ok((stored, read_to))
            }
            Err(EngineError::Damaged(_)) => Ok((self.stored_one_by_one(engine, bucket, first, to)?, to)),
            Err(error) => Err(error.into()),
        }
    }

    fn stored_one_by_one(
        &self,
        engine: &dyn Engine,
        bucket: u64,
        from: u64,
        to: u64,
    ) -> Result<BTreeMap<u64, Bytes>, LogError> {
        let mut stored = BTreeMap::new();
        for index in from..=to {
            match engine.read(Space::Bodies(bucket), &body_key(self.shard, index)) {
                Ok(value) => stored.extend(value.map(|value| (index, value))),
                Err(EngineError::Damaged(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(stored)
    }

    /// The entry and its bytes; `None` if it is bad, or was bad and has not been written again.
    fn entry(&self, index: u64, stored: Option<&Bytes>) -> Option<(Entry, usize)> {
        if let Some(entry) = self.pending.get(&index) {
            return Some((entry.clone(), crate::types::entry_bytes(entry)));
        }
        if self.quarantine.contains(index) {
            return None;
        }
        let body = unseal(&body_key(self.shard, index), stored?)?;
        let bytes = body.len();
        let entry = take_entry(body).ok().filter(|entry| entry.log_id.index == index)?;
        Some((entry, bytes))
    }
}

impl Found {
    fn push(&mut self, entry: Entry, bytes: usize) {
        self.bytes += bytes;
        if self.bad.is_empty() {
            self.entries.push(entry);
        }
    }
}

/// Entries looked at in one step.
const ITEMS_MAX: u64 = 1_024;

/// Bytes fetched in one step.
const SCAN_BYTES_MAX: usize = 1 << 20;
