//! A set of log indexes, kept as ranges that do not touch: what is quarantined.

use std::collections::BTreeMap;

/// See the module. From each first index to its last, inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds all from `from` to `to`, inclusive.
    pub(crate) fn insert(&mut self, from: u64, to: u64) {
        let (mut from, mut to) = (from, to);
        while let Some((first, last)) = self.touching(from, to) {
            self.0.remove(&first);
            from = from.min(first);
            to = to.max(last);
        }
        self.0.insert(from, to);
    }

    /// Removes all from `from` to `to`, inclusive. Returns whether any was in the set.
    pub(crate) fn remove(&mut self, from: u64, to: u64) -> bool {
        let mut is_changed = false;
        while let Some((first, last)) = self.first_within(from, to) {
            is_changed = true;
            self.0.remove(&first);
            if first < from {
                self.0.insert(first, from - 1);
            }
            if last > to {
                self.0.insert(to + 1, last);
            }
        }
        is_changed
    }

    /// The first range that has an index from `from` to `to`, whole.
    pub(crate) fn first_within(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let before = self.0.range(..=from).next_back().filter(|(_, last)| **last >= from);
        let range = before.or_else(|| self.0.range(from..=to.max(from)).next())?;
        (*range.0 <= to).then_some((*range.0, *range.1))
    }

    /// Whether an index is in the set.
    pub(crate) fn contains(&self, index: u64) -> bool {
        self.first_within(index, index).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    /// A range that overlaps, or ends or begins right beside.
    fn touching(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        self.first_within(from.saturating_sub(1), to.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn listed(ranges: &Ranges) -> Vec<(u64, u64)> {
        ranges.iter().collect()
    }

    #[test]
    fn neighbours_become_one_range() {
        let mut ranges = Ranges::default();
        for (from, to) in [(1, 3), (8, 9), (4, 4), (6, 6), (5, 7)] {
            ranges.insert(from, to);
        }
        assert_eq!(listed(&ranges), [(1, 9)]);
    }

    #[test]
    fn what_is_removed_from_the_middle_leaves_both_ends() {
        let mut ranges = Ranges::default();
        ranges.insert(1, 9);
        assert!(ranges.remove(4, 6));
        assert!(!ranges.remove(4, 6));
        assert_eq!(listed(&ranges), [(1, 3), (7, 9)]);
        assert!(ranges.contains(3) && !ranges.contains(4));
        assert_eq!(ranges.first_within(4, u64::MAX), Some((7, 9)));
        assert_eq!(ranges.first_within(4, 6), None);
    }

    #[test]
    fn ranges_say_the_same_as_a_set() {
        let mut ranges = Ranges::default();
        let mut set = BTreeSet::new();
        let mut seed = 7_u64;
        for step in 0..2_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let from = (seed >> 40) % 40;
            let to = from + (seed >> 50) % 5;
            if step % 2 == 0 {
                ranges.insert(from, to);
                set.extend(from..=to);
            } else {
                assert_eq!(ranges.remove(from, to), (from..=to).filter(|index| set.remove(index)).count() > 0);
            }
            assert_eq!(set, ranges.iter().flat_map(|(first, last)| first..=last).collect());
            let gaps = listed(&ranges).windows(2).all(|pair| pair[0].1 + 1 < pair[1].0);
            assert!(gaps, "{ranges:?}");
        }
    }
}
