//! What a group's log is, in memory: marks, segments, and the entries that are on their way to disk.
//!
//! Pure: changes itself and returns the writes that make the disk follow. Invariant: the indexes from `first` to `last` are
//! in the segments without a hole, and each is pending or was handed to the engine.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use farwire_wire::Shard;

use crate::engine::{Space, Write};
use crate::ranges::Ranges;
use crate::records::{Record, body_key, seal};
use crate::types::{Entry, FormFault, LogId, Vote, entry_bytes, put_entry, put_log_id, take_log_id};

/// The entries of one group that are in one bucket: those of neighbouring indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) bucket: u64,
    pub(crate) first: u64,
    pub(crate) last: LogId,
}

impl Segment {
    pub(crate) fn put(&self, shard: Shard) -> Write {
        Record::Segment(shard, self.bucket).put(|bytes| {
            bytes.put_u64(self.first);
            put_log_id(bytes, &self.last);
        })
    }

    /// What is stored of it: the first index, and the last log id.
    pub(crate) fn take(bytes: &mut Bytes) -> Result<(u64, LogId), FormFault> {
        Ok((bytes.try_get_u64()?, take_log_id(bytes)?))
    }
}

/// An entry on its way to disk, and the job that brings it there.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) entry: Entry,
    job: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) shard: Shard,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    /// Ascending, by bucket and by index alike.
    pub(crate) segments: Vec<Segment>,
    pub(crate) pending: BTreeMap<u64, Pending>,
    pub(crate) quarantine: Ranges,
    /// Grows whenever entries go: a reader that sees it change looks again.
    pub(crate) removals: u64,
    jobs: u64,
}

/// What a change asks of the disk, and of the buckets.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) writes: Vec<Write>,
    /// Buckets that the group has begun to need.
    pub(crate) needed: Vec<u64>,
    /// Buckets that it does not need any more.
    pub(crate) released: Vec<u64>,
    /// Names the entries that it put among the pending ones.
    pub(crate) job: u64,
    /// Whether it has to be synced soon.
    pub(crate) sync: bool,
}

/// The entries do not follow on the log: nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) expected: u64,
    pub(crate) found: u64,
}

impl State {
    pub(crate) fn new(shard: Shard) -> Self {
        Self {
            shard,
            vote: None,
            committed: None,
            purged: None,
            segments: Vec::new(),
            pending: BTreeMap::new(),
            quarantine: Ranges::default(),
            removals: 0,
            jobs: 0,
        }
    }

    /// The newest entry, or what was purged last.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.segments.last().map(|segment| segment.last).or(self.purged)
    }

    /// The least index that can be read.
    pub(crate) fn first(&self) -> Option<u64> {
        let kept = self.purged.map_or(0, |mark| mark.index + 1);
        self.segments.first().map(|segment| segment.first.max(kept))
    }

    /// Adds entries at the end, in a bucket that is never older than the newest one.
    pub(crate) fn append(&mut self, bucket: u64, entries: Vec<Entry>) -> Result<Change, Hole> {
        self.check(&entries)?;
        let Some(last) = entries.last().map(|entry| entry.log_id) else { return Ok(Change::default()) };
        let bucket = self.segments.last().map_or(bucket, |newest| newest.bucket.max(bucket));
        let mut change = Change { job: self.next_job(), sync: true, ..Change::default() };
        change.writes = entries.iter().map(|entry| put_body(self.shard, bucket, entry)).collect();
        match self.segments.last_mut().filter(|newest| newest.bucket == bucket) {
            Some(newest) => newest.last = last,
            None => {
                let first = entries.first().map_or(last.index, |entry| entry.log_id.index);
                self.segments.push(Segment { bucket, first, last });
                change.needed.push(bucket);
            }
        }
        change.writes.extend(self.segments.last().map(|newest| newest.put(self.shard)));
        self.add_pending(entries, change.job);
        Ok(change)
    }

    fn check(&self, entries: &[Entry]) -> Result<(), Hole> {
        let mut expected = self.last().map(|last| last.index + 1);
        for entry in entries {
            let found = entry.log_id.index;
            if let Some(expected) = expected
                && expected != found
            {
                return Err(Hole { expected, found });
            }
            expected = Some(found + 1);
        }
        Ok(())
    }

    /// Removes all entries above `keep`.
    ///
    /// `new_last` is the entry at that index, or what was purged there.
    pub(crate) fn truncate(&mut self, new_last: Option<LogId>) -> Change {
        let mut change = Change::default();
        let from = new_last.map_or(0, |last| last.index + 1);
        self.removals += 1;
        self.pending.split_off(&from);
        while let Some(newest) = self.segments.pop() {
            if newest.last.index < from {
                self.segments.push(newest);
                break;
            }
            let space = Space::Bodies(newest.bucket);
            let removed = from.max(newest.first)..=newest.last.index;
            let keys = removed.map(|index| body_key(self.shard, index));
            change.writes.extend(keys.map(|key| Write::Delete { space, key }));
            if let Some(last) = new_last.filter(|last| last.index >= newest.first) {
                let shorter = Segment { last, ..newest };
                change.writes.push(shorter.put(self.shard));
                self.segments.push(shorter);
                break;
            }
            self.remove_segment(&newest, &mut change);
        }
        self.lift(from, u64::MAX, &mut change);
        change
    }

    /// Moves the mark below which nothing can be read. Segments that lie wholly below it go.
    pub(crate) fn purge(&mut self, upto: LogId) -> Change {
        let mut change = Change::default();
        if self.purged.is_some_and(|mark| mark.index >= upto.index) {
            return change;
        }
        self.removals += 1;
        self.purged = Some(upto);
        change.sync = true;
        change.writes.push(Record::Purged(self.shard).put(|bytes| put_log_id(bytes, &upto)));
        self.pending = self.pending.split_off(&(upto.index + 1));
        let kept = self.segments.partition_point(|segment| segment.last.index <= upto.index);
        for segment in self.segments.drain(..kept).collect::<Vec<_>>() {
            self.remove_segment(&segment, &mut change);
        }
        self.lift(0, upto.index, &mut change);
        change
    }

    fn remove_segment(&self, segment: &Segment, change: &mut Change) {
        change.writes.push(Record::Segment(self.shard, segment.bucket).delete());
        change.released.push(segment.bucket);
    }

    /// Writes entries again that the log has already: those of a range that was bad.
    pub(crate) fn rewrite(&mut self, entries: Vec<Entry>) -> Change {
        let mut change = Change { job: self.next_job(), sync: true, ..Change::default() };
        for entry in &entries {
            let index = entry.log_id.index;
            if let Some(segment) = self.segment_of(index) {
                change.writes.push(put_body(self.shard, segment.bucket, entry));
                self.quarantine.remove(index, index);
            }
        }
        change.writes.push(self.put_quarantine());
        self.add_pending(entries, change.job);
        change
    }

    /// The segment that has an index.
    pub(crate) fn segment_of(&self, index: u64) -> Option<Segment> {
        let at = self.segments.partition_point(|segment| segment.last.index < index);
        self.segments.get(at).copied().filter(|segment| segment.first <= index)
    }

    /// Forgets that a range is bad, for it is not there any more.
    fn lift(&mut self, from: u64, to: u64, change: &mut Change) {
        if self.quarantine.remove(from, to) {
            change.writes.push(self.put_quarantine());
        }
    }

    /// The write that remembers the quarantine.
    pub(crate) fn put_quarantine(&self) -> Write {
        let record = Record::Quarantine(self.shard);
        if self.quarantine.is_empty() {
            return record.delete();
        }
        record.put(|bytes| put_ranges(bytes, &self.quarantine))
    }

    /// A job is on disk: what it wrote can be read there.
    pub(crate) fn written(&mut self, job: u64, from: u64, to: u64) {
        let done: Vec<u64> =
            self.pending.range(from..=to).filter(|(_, pending)| pending.job == job).map(|(index, _)| *index).collect();
        for index in done {
            self.pending.remove(&index);
        }
    }

    fn add_pending(&mut self, entries: Vec<Entry>, job: u64) {
        for entry in entries {
            self.pending.insert(entry.log_id.index, Pending { entry, job });
        }
    }

    fn next_job(&mut self) -> u64 {
        self.jobs += 1;
        self.jobs
    }
}

fn put_body(shard: Shard, bucket: u64, entry: &Entry) -> Write {
    let key = body_key(shard, entry.log_id.index);
    let value = seal(&key, entry_bytes(entry), |bytes| put_entry(bytes, entry));
    Write::Put { space: Space::Bodies(bucket), key, value }
}

fn put_ranges(bytes: &mut BytesMut, ranges: &Ranges) {
    for (from, to) in ranges.iter() {
        bytes.put_u64(from);
        bytes.put_u64(to);
    }
}

pub(crate) fn take_ranges(bytes: &mut Bytes) -> Result<Ranges, FormFault> {
    let mut ranges = Ranges::default();
    while bytes.has_remaining() {
        let (from, to) = (bytes.try_get_u64()?, bytes.try_get_u64()?);
        if from <= to {
            ranges.insert(from, to);
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::impls::leader_id_adv::LeaderId;

    use super::*;

    fn entries(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
        let log_id = |index| LogId::new(LeaderId { term, node_id: 1 }, index);
        indexes.map(|index| Entry { log_id: log_id(index), payload: EntryPayload::Blank }).collect()
    }

    #[test]
    fn job_that_is_written_takes_its_own_entries_from_the_pending_ones_alone() {
        let mut state = State::new(Shard(0));
        let old = state.append(1, entries(1, 1..=3)).expect("it follows");
        state.truncate(Some(entries(1, 1..=1)[0].log_id));
        let new = state.append(1, entries(2, 2..=4)).expect("it follows");
        state.written(old.job, 1, 3);
        let pending: Vec<Entry> = state.pending.values().map(|pending| pending.entry.clone()).collect();
        assert_eq!(pending, entries(2, 2..=4), "the disk still has the old ones");
        state.written(new.job, 2, 4);
        assert!(state.pending.is_empty());
    }
}
