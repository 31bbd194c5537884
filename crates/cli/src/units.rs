//! Numbers as people read them, each with its unit.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// What stands where nothing is known.
pub(crate) const NONE: &str = "-";

/// `1.4 MiB`
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut amount, mut unit) = (bytes as f64 / 1024.0, 0);
    // What would be written as 1024.0 belongs to the next unit.
    while amount >= 1023.95 && unit + 1 < BYTE_UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", BYTE_UNITS[unit])
}

/// `88.1 ms`; below one millisecond two digits more than none: `0.21 ms`
pub(crate) fn millis(ms: f64) -> String {
    match ms {
        0.0 => "0 ms".to_owned(),
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

/// As [`millis`].
pub(crate) fn micros(us: u64) -> String {
    millis(us as f64 / 1_000.0)
}

/// `99.87 %` of a share from 0 to 1. Only nothing is 0 %, and only everything 100 %.
pub(crate) fn percent(share: f64) -> String {
    if share <= 0.0 {
        "0 %".to_owned()
    } else if share >= 1.0 {
        "100 %".to_owned()
    } else {
        format!("{:.2} %", (share * 100.0).clamp(0.01, 99.99))
    }
}

/// `12.3/s`
pub(crate) fn rate(per_second: f64) -> String {
    format!("{per_second:.1}/s")
}

/// `2 members`, `1 member`
pub(crate) fn count(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// `2026-01-31 23:59:07` in UTC, of microseconds since the Unix epoch.
pub(crate) fn date(us: u64) -> String {
    let Some(at) = time_of(us) else { return NONE.to_owned() };
    let (year, month, day) = at.to_calendar_date();
    format!("{year:04}-{:02}-{day:02} {:02}:{:02}:{:02}", u8::from(month), at.hour(), at.minute(), at.second())
}

/// `23:59:07.042` in UTC, of microseconds since the Unix epoch.
pub(crate) fn clock(us: u64) -> String {
    let Some(at) = time_of(us) else { return NONE.to_owned() };
    format!("{:02}:{:02}:{:02}.{:03}", at.hour(), at.minute(), at.second(), at.millisecond())
}

/// `23:59:07` of today in UTC, of microseconds since the Unix epoch; of another day with its date.
pub(crate) fn date_unless_today(us: u64, now_us: u64) -> String {
    let (date, today) = (date(us), date(now_us));
    match (date.split_once(' '), today.split_once(' ')) {
        (Some((day, clock)), Some((today, _))) if day == today => clock.to_owned(),
        _ => date,
    }
}

/// Now, in microseconds since the Unix epoch.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Text from outside with its control characters made visible: it must not steer a terminal.
pub(crate) fn shown(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

fn time_of(us: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000).ok()
}

const BYTE_UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_keeps_them_short() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn only_nothing_is_zero_percent_and_only_everything_a_hundred() {
        for (share, text) in
            [(0.0, "0 %"), (0.000_01, "0.01 %"), (0.5, "50.00 %"), (0.999_999, "99.99 %"), (1.0, "100 %")]
        {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn short_times_keep_their_digits() {
        for (ms, text) in [(0.0, "0 ms"), (0.214, "0.21 ms"), (88.06, "88.1 ms")] {
            assert_eq!(millis(ms), text);
        }
        assert_eq!(micros(44_100), "44.1 ms");
        assert_eq!(rate(12.34), "12.3/s");
        assert_eq!((count(1, "link"), count(0, "link")), ("1 link".into(), "0 links".into()));
    }

    #[test]
    fn times_are_utc() {
        let us = 1_769_903_947_042_000;
        assert_eq!((date(us), clock(us)), ("2026-01-31 23:59:07".into(), "23:59:07.042".into()));
        assert_eq!(date(u64::MAX), NONE, "beyond the calendar");
        assert_eq!(date_unless_today(us, us + 52_000_000), "23:59:07");
        assert_eq!(date_unless_today(us, us + 53_000_000), "2026-01-31 23:59:07", "yesterday");
    }

    #[test]
    fn text_from_outside_cannot_steer_a_terminal() {
        assert_eq!(shown("a\x1b[2Jö\n"), "a\\u{1b}[2Jö\\n");
    }
}
