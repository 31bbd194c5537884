//! When everything must work: the times of a run in which nothing is wrong, or one thing that there is a way around.
//!
//! Pure, and the same for every kind of history: each says which of its events change this.

use std::ops::Range;
use std::time::Duration;

/// What an event says about whether everything must work from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<'a> {
    /// Everybody is there: from now on the invariants hold, unless something is wrong.
    Begun,
    /// Something goes wrong from now on.
    Fault {
        /// What.
        what: &'a str,
        /// Whether the mesh must find a way around it.
        way_around: bool,
    },
    /// This is over.
    Mended(&'a str),
    /// Whatever is wrong, the invariants hold from now on.
    NoExcuse,
}

/// The times up to `end` in which everything must work: nothing is wrong, or one thing that there is a way around, and
/// that has been so for `settle`. The turns come in the order of their times.
#[must_use]
pub fn quiet<'a>(
    turns: impl IntoIterator<Item = (Duration, Turn<'a>)>,
    settle: Duration,
    end: Duration,
) -> Vec<Range<Duration>> {
    let mut quiet = Vec::new();
    let mut wrong: Vec<(&str, bool)> = Vec::new();
    let (mut begun, mut works_since) = (false, None);
    for (at, turn) in turns {
        match turn {
            Turn::Begun => begun = true,
            Turn::Fault { what, way_around } => wrong.push((what, way_around)),
            Turn::Mended(what) => match wrong.iter().position(|(other, _)| *other == what) {
                Some(place) => _ = wrong.remove(place),
                // It was no excuse, so its end is none.
                None => continue,
            },
            Turn::NoExcuse => {
                begun = true;
                wrong.clear();
            }
        }
        quiet.extend(works_since.take().map(|since| since + settle..at));
        works_since = (begun && matches!(wrong.as_slice(), [] | [(_, true)])).then_some(at);
    }
    quiet.extend(works_since.map(|since| since + settle..end));
    quiet.retain(|period| !period.is_empty());
    quiet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(what: &str) -> Turn<'_> {
        Turn::Fault { what, way_around: what.starts_with("crash") }
    }

    /// The quiet periods of a run of 60 s that settles in 8 s.
    fn quiet_seconds(turns: &[(u64, Turn)]) -> Vec<Range<u64>> {
        let turns = turns.iter().map(|(seconds, turn)| (Duration::from_secs(*seconds), *turn));
        let periods = quiet(turns, Duration::from_secs(8), Duration::from_secs(60));
        periods.into_iter().map(|period| period.start.as_secs()..period.end.as_secs()).collect()
    }

    #[test]
    fn quiet_begins_some_time_after_the_last_fault_is_mended() {
        let storms =
            [(1, Turn::Begun), (20, fault("a")), (22, fault("b")), (30, Turn::Mended("a")), (35, Turn::Mended("b"))];
        assert_eq!(quiet_seconds(&storms), [9..20, 43..60]);
    }

    #[test]
    fn one_fault_with_a_way_around_is_quiet_and_two_are_not() {
        let crashes = [(1, Turn::Begun), (10, fault("crash a")), (30, fault("crash b")), (45, Turn::Mended("crash a"))];
        assert_eq!(quiet_seconds(&crashes), [9..10, 18..30, 53..60]);
        assert_eq!(quiet_seconds(&[(1, Turn::Begun), (5, fault("storm"))]), [] as [Range<u64>; 0]);
    }

    #[test]
    fn what_is_no_excuse_is_none_when_it_ends() {
        let storm = fault("storm");
        let turns =
            [(1, storm), (2, Turn::Mended("storm")), (20, storm), (21, Turn::NoExcuse), (30, Turn::Mended("storm"))];
        let quiet = quiet_seconds(&turns);
        assert_eq!((quiet.len(), &quiet[0]), (1, &(29..60)));
    }
}
