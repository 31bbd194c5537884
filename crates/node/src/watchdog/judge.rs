//! Decides what to do about a loop that shows no sign of life. No clock and no thread: time is counted in looks, so that
//! time in which the watchdog itself did not run (a stopped process, a suspended machine) counts for nobody.

use std::time::Duration;

/// Pause between two looks, and what one look counts for.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// One warning per loop in this time: a loop that stumbles often says it in its counter.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How late a loop may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From here on it is worth a line in the log.
    pub(crate) warn: Duration,
    /// From here on everything is written down that helps to find out why.
    pub(crate) dump: Duration,
    /// From here on the process is worth more dead: its supervisor starts it again.
    pub(crate) abort: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { warn: Duration::from_millis(250), dump: Duration::from_secs(3), abort: Duration::from_secs(10) }
    }
}

impl Limits {
    /// What a loop deserves that is late by this much.
    pub(super) fn reached(&self, late: Duration) -> Step {
        match late {
            late if late >= self.abort => Step::Abort,
            late if late >= self.dump => Step::Dump,
            late if late >= self.warn => Step::Warn,
            _ => Step::Nothing,
        }
    }
}

/// What to do about a loop, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// It is in time, or this was done already.
    Nothing,
    /// Say so.
    Warn,
    /// Write down what there is to see.
    Dump,
    /// End the process.
    Abort,
}

/// What a loop shows at a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It waits for work or has ended, and owes no sign.
    Resting,
    /// It moves as long as these numbers change.
    Moving(u64, u64),
}

/// What is known of one loop.
#[derive(Debug)]
pub(super) struct Case {
    owes_every: Duration,
    last: Sign,
    still: Duration,
    done: Step,
    since_warning: Duration,
    /// Times that the loop was late, each counted once.
    stalls: u64,
}

impl Case {
    /// A loop that gives a sign this often.
    pub(super) fn new(owes_every: Duration) -> Self {
        let (last, still) = (Sign::Resting, Duration::ZERO);
        Self { owes_every, last, still, done: Step::Nothing, since_warning: WARN_EVERY, stalls: 0 }
    }

    /// Takes what the loop shows now and says what to do about it.
    pub(super) fn look(&mut self, limits: &Limits, sign: Sign) -> Step {
        self.since_warning += LOOK_EVERY;
        if sign == Sign::Resting || sign != self.last {
            (self.last, self.still, self.done) = (sign, Duration::ZERO, Step::Nothing);
            return Step::Nothing;
        }
        self.still += LOOK_EVERY;
        let reached = limits.reached(self.late());
        if reached <= self.done {
            return Step::Nothing;
        }
        self.stalls += u64::from(self.done == Step::Nothing);
        self.done = reached;
        if reached == Step::Warn && self.since_warning < WARN_EVERY {
            return Step::Nothing;
        }
        self.since_warning = Duration::ZERO;
        reached
    }

    /// How late its next sign is.
    pub(super) fn late(&self) -> Duration {
        self.still.saturating_sub(self.owes_every)
    }

    /// How often it was late.
    pub(super) fn stalls(&self) -> u64 {
        self.stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUCK: Sign = Sign::Moving(7, 0);

    fn looks(case: &mut Case, looks: usize, mut sign: impl FnMut(u64) -> Sign) -> Vec<(usize, Step)> {
        let limits = Limits::default();
        let steps = (0..looks).map(|n| (n, case.look(&limits, sign(n as u64))));
        steps.filter(|(_, step)| *step != Step::Nothing).collect()
    }

    #[test]
    fn a_stuck_loop_is_warned_of_dumped_and_aborted_once_each() {
        let mut case = Case::new(Duration::ZERO);
        // The first look only learns the number; 3, 30 and 100 looks of 100 ms later the limits are reached.
        assert_eq!(looks(&mut case, 200, |_| STUCK), [(3, Step::Warn), (30, Step::Dump), (100, Step::Abort)]);
        assert_eq!(case.stalls(), 1);
    }

    #[test]
    fn a_loop_that_owes_a_sign_every_second_is_late_a_second_later() {
        let mut case = Case::new(Duration::from_secs(1));
        assert_eq!(looks(&mut case, 41, |_| STUCK), [(13, Step::Warn), (40, Step::Dump)]);
        assert_eq!(case.late(), Duration::from_secs(3));
    }

    #[test]
    fn who_moves_or_rests_is_never_late() {
        let mut case = Case::new(Duration::ZERO);
        assert!(looks(&mut case, 300, |look| Sign::Moving(look / 3, 0)).is_empty());
        assert!(looks(&mut case, 300, |look| Sign::Moving(4, look / 3)).is_empty());
        assert!(looks(&mut case, 300, |_| Sign::Resting).is_empty());
        assert_eq!(case.late(), Duration::ZERO);
    }

    #[test]
    fn a_loop_that_stumbles_often_is_warned_of_once_in_ten_seconds() {
        let mut case = Case::new(Duration::ZERO);
        let warned = looks(&mut case, 300, |look| Sign::Moving(look / 5, 0));
        assert!(warned.len() == 3 && warned.iter().all(|(_, step)| *step == Step::Warn), "{warned:?}");
        assert_eq!(case.stalls(), 60);
    }
}
