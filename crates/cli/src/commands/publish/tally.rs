//! Counts what became of the messages of one run: the figures of the progress line and of the summary.
//!
//! Bounded: the times to an ack go into a histogram of fixed size, right to one part in a thousand.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// The counts of one run.
pub(super) struct Tally {
    started: Instant,
    /// Handed in, the refused ones among them.
    pub(super) sent: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    ack_us: Histogram<u64>,
}

impl Tally {
    pub(super) fn new(started: Instant) -> Self {
        let ack_us = Histogram::new_with_max(ACK_US_MAX, DIGITS).expect("the bounds are sound");
        Self { started, sent: 0, acked: 0, failed: 0, ack_us }
    }

    /// A message was acked so long after it was handed in.
    pub(super) fn ack(&mut self, after: Duration) {
        self.acked += 1;
        self.ack_us.saturating_record(micros(after));
    }

    /// The last JSON line of a run, with the node and the region that took the messages.
    pub(super) fn summary<'a>(&self, now: Instant, place: Option<(&'a str, &'a str)>) -> SummaryLine<'a> {
        let [p50, p99, max] = self.ack_us_figures();
        let &Self { sent, acked, failed, .. } = self;
        let ack_us = AckFigures { p50, p99, max };
        let (node, region) = place.unzip();
        SummaryLine { summary: Summary { sent, acked, failed, seconds: self.seconds(now), ack_us, node, region } }
    }

    /// The same for people.
    pub(super) fn summary_text(&self, now: Instant) -> String {
        let [p50, p99, max] = self.ack_us_figures().map(millis);
        let Self { sent, acked, failed, .. } = self;
        let seconds = self.seconds(now);
        format!("sent {sent}, acked {acked}, failed {failed} in {seconds:.1} s; ack p50 {p50}, p99 {p99}, max {max}")
    }

    /// The progress line, without an end of line.
    pub(super) fn progress(&self, now: Instant) -> String {
        let Self { sent, acked, failed, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = *acked as f64 / self.seconds(now).max(0.001);
        format!("sent {sent}  acked {acked}  failed {failed}  {rate:.0}/s")
    }

    fn ack_us_figures(&self) -> [u64; 3] {
        [self.ack_us.value_at_quantile(0.5), self.ack_us.value_at_quantile(0.99), self.ack_us.max()]
    }

    fn seconds(&self, now: Instant) -> f64 {
        now.duration_since(self.started).as_secs_f64()
    }
}

/// `{"summary":{"sent","acked","failed","seconds","ack_us":{"p50","p99","max"},"node","region"}}`
#[derive(Debug, Serialize)]
pub(super) struct SummaryLine<'a> {
    summary: Summary<'a>,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    sent: u64,
    acked: u64,
    failed: u64,
    seconds: f64,
    ack_us: AckFigures,
    node: Option<&'a str>,
    region: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct AckFigures {
    p50: u64,
    p99: u64,
    max: u64,
}

/// A time to an ack, in microseconds.
pub(super) fn micros(after: Duration) -> u64 {
    u64::try_from(after.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds as milliseconds, for people.
pub(super) fn millis(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

/// Ten minutes: longer than any publish is waited for.
const ACK_US_MAX: u64 = 600_000_000;
/// Significant digits of the histogram.
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_the_fields_of_the_contract() {
        let started = Instant::now();
        let mut tally = Tally::new(started);
        (tally.sent, tally.failed) = (101, 1);
        (1..=100).for_each(|ms| tally.ack(Duration::from_millis(ms)));
        let line = serde_json::to_value(tally.summary(started + Duration::from_secs(2), Some(("fra-1", "fra"))))
            .expect("JSON");
        let summary = &line["summary"];
        assert_eq!((&summary["sent"], &summary["acked"], &summary["failed"]), (&101.into(), &100.into(), &1.into()));
        assert_eq!(summary["seconds"], 2.0);
        assert_eq!((&summary["node"], &summary["region"]), (&"fra-1".into(), &"fra".into()));
        for (figure, want) in [("p50", 50_000), ("p99", 99_000), ("max", 100_000)] {
            let us = summary["ack_us"][figure].as_u64().expect("a whole number");
            assert!(us.abs_diff(want) <= want / 1000 + 1, "{figure} is {us}, wanted {want}");
        }
    }

    #[test]
    fn no_acks_are_zeros_and_endless_ones_the_largest_figure() {
        let started = Instant::now();
        let mut tally = Tally::new(started);
        assert_eq!(tally.summary(started, None).summary.ack_us.max, 0);
        tally.ack(Duration::MAX);
        assert!(tally.summary(started, None).summary.ack_us.max >= ACK_US_MAX);
    }

    #[test]
    fn people_read_milliseconds() {
        assert_eq!(millis(1_250), "1.2 ms");
        let text = Tally::new(Instant::now()).summary_text(Instant::now());
        assert!(text.starts_with("sent 0, acked 0, failed 0 in 0.0 s; ack p50 0.0 ms"), "{text}");
    }
}
