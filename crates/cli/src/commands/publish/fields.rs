//! Takes single fields out of a line of JSON: the one that names the channel, the one that says when.
//!
//! Does not understand the line otherwise, and never changes it: the payload is the line as it came. Numbers are taken as they are written,
//! so that an id of nine digits does not become `2.05125e8`.

use std::collections::BTreeMap;

use farwire_wire::{ChannelName, ErrorCode, WireError};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A line of JSON, taken apart.
pub(super) struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Reads one line.
    ///
    /// # Errors
    /// When the line is not a JSON object.
    pub(super) fn of(line: &'a [u8]) -> Result<Self, WireError> {
        serde_json::from_slice(line)
            .map(Self)
            .map_err(|_| refusal("the line is not a JSON object; write one object a line"))
    }

    /// The channel that `field` names, with `prefix` before it.
    ///
    /// # Errors
    /// When there is no such field, or its value makes no channel name.
    pub(super) fn channel(&self, prefix: &str, field: &str) -> Result<ChannelName, WireError> {
        let segment = match self.value(field)? {
            Value::Text(text) => text,
            Value::Number(digits) => digits.to_owned(),
        };
        ChannelName::parse(&format!("{prefix}{segment}"))
            .map_err(|err| refusal(&format!("the field {} names no channel: {err}", field.escape_debug())))
    }

    /// The time in `field`, in nanoseconds: RFC 3339, or a number of seconds.
    ///
    /// # Errors
    /// When there is no such field, or its value is no time.
    pub(super) fn time_nanos(&self, field: &str) -> Result<i128, WireError> {
        let nanos = match self.value(field)? {
            Value::Text(text) => OffsetDateTime::parse(&text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp_nanos),
            Value::Number(digits) => digits.parse().ok().map(nanos_of_seconds),
        };
        let expected = "is not a time: write RFC 3339 in quotes, or a number of seconds";
        nanos.ok_or_else(|| refusal(&format!("the field {} {expected}", field.escape_debug())))
    }

    fn value(&self, field: &str) -> Result<Value<'a>, WireError> {
        let shown = field.escape_debug();
        let raw = self.0.get(field).ok_or_else(|| refusal(&format!("the line has no field {shown}")))?.get();
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw).ok().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => Some(Value::Number(raw)),
            _ => None,
        }
        .ok_or_else(|| refusal(&format!("the field {shown} is neither text nor a number")))
    }
}

enum Value<'a> {
    Text(String),
    /// As it is written.
    Number(&'a str),
}

/// Floating point divides a second of this century into steps of less than a microsecond, which is finer than any timer.
#[expect(clippy::cast_possible_truncation, reason = "a time beyond the range is as good as its end")]
fn nanos_of_seconds(seconds: f64) -> i128 {
    (seconds * 1e9) as i128
}

fn refusal(message: &str) -> WireError {
    WireError::new(ErrorCode::BadChannel, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(line: &str, field: &str) -> Result<String, String> {
        let channel = Fields::of(line.as_bytes()).and_then(|fields| fields.channel("live.fleet.", field));
        channel.map(|name| name.to_string()).map_err(|err| err.message)
    }

    fn time(line: &str) -> Result<i128, String> {
        Fields::of(line.as_bytes()).and_then(|fields| fields.time_nanos("t")).map_err(|err| err.message)
    }

    #[test]
    fn numbers_are_taken_as_written_and_text_without_quotes() {
        assert_eq!(channel(r#"{"t":"x","mmsi":205125000}"#, "mmsi").as_deref(), Ok("live.fleet.205125000"));
        assert_eq!(
            channel(r#"{"mmsi": 12345678901234567890123 }"#, "mmsi").as_deref(),
            Ok("live.fleet.12345678901234567890123")
        );
        assert_eq!(channel(r#"{"area":"us-\u0067ulf"}"#, "area").as_deref(), Ok("live.fleet.us-gulf"));
        assert_eq!(channel(r#"{"a":-1}"#, "a").as_deref(), Ok("live.fleet.-1"));
    }

    #[test]
    fn lines_that_name_no_channel_are_refused() {
        for (line, field) in [
            ("", "a"),
            ("no json", "a"),
            ("[1]", "a"),
            (r#"{"a":1"#, "a"),
            (r#"{"a":1}"#, "b"),
            (r#"{"a":null}"#, "a"),
            (r#"{"a":{"b":1}}"#, "a"),
            (r#"{"a":true}"#, "a"),
            (r#"{"a":"x y"}"#, "a"),
            (r#"{"a":""}"#, "a"),
            (r#"{"a":"*"}"#, "a"),
        ] {
            assert!(channel(line, field).is_err(), "{line}");
        }
        assert!(Fields::of(b"{\"a\":\"\xff\"}").is_err(), "not UTF-8");
    }

    #[test]
    fn times_are_rfc_3339_or_seconds() {
        assert_eq!(time(r#"{"t":"1970-01-01T00:00:01.5Z"}"#), Ok(1_500_000_000));
        assert_eq!(time(r#"{"t":"1970-01-01T01:00:01+01:00"}"#), Ok(1_000_000_000));
        assert_eq!(time(r#"{"t":1.25}"#), Ok(1_250_000_000));
        assert_eq!(time(r#"{"t":-1}"#), Ok(-1_000_000_000));
        for bad in [r#"{"t":"noon"}"#, r#"{"t":"12"}"#, r#"{"t":[]}"#, "{}"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
