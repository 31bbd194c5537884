//! When each line goes out: at once, at an even rate, or as far apart as its own times say.
//!
//! Pure: the clock is an argument. Invariant: every line is timed from the first one, never from the one before, so that nothing adds up; what
//! comes late goes out at once and the rest keeps its time.

use std::str::FromStr;
use std::time::{Duration, Instant};

use farwire_wire::WireError;

use super::fields::Fields;

/// The wanted spacing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pace {
    /// As fast as acks allow.
    Unpaced,
    /// So many lines a second.
    Rate(f64),
    /// As the lines' own times say.
    Replay(Replay),
}

/// The value of `--replay`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Replay {
    /// The field that says when.
    field: String,
    /// How many times as fast.
    speed: f64,
}

impl FromStr for Replay {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (field, speed) = text.rsplit_once(':').unwrap_or((text, "1"));
        let speed = speed.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
        match (field, speed) {
            ("", _) | (_, None) => Err("write the field that says when, and how many times as fast, as in t:10"),
            (field, Some(speed)) => Ok(Self { field: field.to_owned(), speed }),
        }
    }
}

/// A pace under way.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    /// When the first line went out, and its own time in nanoseconds.
    first: Option<(Instant, i128)>,
    lines: u32,
}

impl Schedule {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, first: None, lines: 0 }
    }

    /// Whether [`Schedule::due`] needs the line taken apart.
    pub(super) fn needs_fields(&self) -> bool {
        matches!(self.pace, Pace::Replay(_))
    }

    /// The moment at which the next line goes out; in the past if it is late. `None`: at once.
    ///
    /// # Errors
    /// When the line has no time to replay by; it counts as no line then.
    pub(super) fn due(&mut self, now: Instant, fields: Option<&Fields<'_>>) -> Result<Option<Instant>, WireError> {
        let own_nanos = match (&self.pace, fields) {
            (Pace::Unpaced, _) => return Ok(None),
            (Pace::Replay(replay), Some(fields)) => fields.time_nanos(&replay.field)?,
            _ => 0,
        };
        let (start, first_nanos) = *self.first.get_or_insert((now, own_nanos));
        let after_seconds = match &self.pace {
            Pace::Rate(rate) => f64::from(self.lines) / rate,
            Pace::Replay(replay) => seconds(own_nanos.saturating_sub(first_nanos)) / replay.speed,
            Pace::Unpaced => 0.0,
        };
        self.lines = self.lines.saturating_add(1);
        let after = Duration::try_from_secs_f64(after_seconds.clamp(0.0, AFTER_SECONDS_MAX)).unwrap_or_default();
        Ok(Some(start + after))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a difference of years is still right to the microsecond")]
fn seconds(nanos: i128) -> f64 {
    nanos as f64 / 1e9
}

/// A hundred years: beyond it no clock of the machine reaches.
const AFTER_SECONDS_MAX: f64 = 3.2e9;

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(text: &str) -> Schedule {
        Schedule::new(Pace::Replay(text.parse().expect(text)))
    }

    /// The line at `line`, asked at `now`: how long after the first one it is due.
    fn after(schedule: &mut Schedule, now: Instant, line: &str, start: Instant) -> Duration {
        let fields = Fields::of(line.as_bytes()).expect(line);
        let due = schedule.due(now, Some(&fields)).expect(line).expect("a replay is paced");
        due.duration_since(start)
    }

    #[test]
    fn a_replay_keeps_the_spacing_divided_by_its_speed() {
        let start = Instant::now();
        let mut schedule = replay("t:20");
        let line = |second: u32| format!(r#"{{"t":"2022-01-03T00:{:02}:{:02}Z"}}"#, second / 60, second % 60);
        assert_eq!(after(&mut schedule, start, &line(0), start), Duration::ZERO);
        assert_eq!(after(&mut schedule, start, &line(0), start), Duration::ZERO);
        assert_eq!(after(&mut schedule, start, &line(1), start), Duration::from_millis(50));
        assert_eq!(after(&mut schedule, start, &line(60), start), Duration::from_secs(3));
        assert_eq!(after(&mut schedule, start, &line(30), start), Duration::from_millis(1500), "times may go back");
    }

    #[test]
    fn what_is_late_does_not_move_what_follows() {
        let start = Instant::now();
        let mut schedule = replay("t");
        let late = start + Duration::from_secs(100);
        assert_eq!(after(&mut schedule, start, r#"{"t":1000}"#, start), Duration::ZERO);
        assert_eq!(after(&mut schedule, late, r#"{"t":1001.5}"#, start), Duration::from_millis(1500));
    }

    #[test]
    fn a_line_without_a_time_is_no_line() {
        let start = Instant::now();
        let mut schedule = replay("t");
        let fields = Fields::of(b"{}").expect("an object");
        assert!(schedule.due(start, Some(&fields)).is_err());
        let later = start + Duration::from_secs(1);
        assert_eq!(after(&mut schedule, later, r#"{"t":5}"#, later), Duration::ZERO);
    }

    #[test]
    fn a_rate_spaces_evenly_from_the_first_line_without_drift() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace::Rate(1000.0));
        let dues: Vec<_> = (0..80_859).map(|_| schedule.due(Instant::now(), None).expect("no fields needed")).collect();
        let first = dues[0].expect("paced");
        assert!(first >= start);
        assert_eq!(dues[80_858].expect("paced") - first, Duration::from_millis(80_858));
        assert_eq!(Schedule::new(Pace::Unpaced).due(start, None), Ok(None));
    }

    #[test]
    fn a_replay_is_a_field_and_perhaps_a_speed() {
        assert_eq!("t".parse(), Ok(Replay { field: "t".into(), speed: 1.0 }));
        assert_eq!("t:0.5".parse(), Ok(Replay { field: "t".into(), speed: 0.5 }));
        assert_eq!("a:b:10".parse(), Ok(Replay { field: "a:b".into(), speed: 10.0 }));
        for bad in ["", ":10", "t:", "t:0", "t:-1", "t:x", "t:inf", "t:NaN"] {
            assert!(bad.parse::<Replay>().is_err(), "{bad}");
        }
    }
}
