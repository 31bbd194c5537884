//! What a subscription yields, as lines: JSON for programs, channel and payload for people.
//!
//! On a terminal control characters of a payload are escaped: it is a stranger's text.

use std::io::IsTerminal;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farwire_client::{ChannelName, Event, Message, Status};
use farwire_wire::Filter;
use serde::Serialize;
use serde_json::json;

use crate::commands::presence::Told;
use crate::exit::Failure;
use crate::output::{Output, note};
use crate::units::now_us;

/// The output of one `sub`.
pub(super) struct Printer {
    output: Output,
    json: bool,
    is_terminal: bool,
    messages: u64,
    /// The one channel subscribed to, if it is one: only then it is known where messages went by.
    channel: Option<ChannelName>,
}

impl Printer {
    pub(super) fn new(json: bool, filter: &Filter) -> Self {
        let channel = match filter.patterns() {
            [pattern] => pattern.channel(),
            _ => None,
        };
        Self { output: Output::new(), json, is_terminal: std::io::stdout().is_terminal(), messages: 0, channel }
    }

    /// Messages printed so far.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// # Errors
    /// When stdout cannot be written, or nobody reads it any more.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Message(message) => self.message(message),
            Event::Dropped { count } if self.json => {
                self.output.json(&json!({"dropped": {"channel": self.channel, "count": count}}))
            }
            Event::Dropped { count } => {
                note(&format!("{count} messages went by: this reader or its network was too slow"));
                Ok(())
            }
        }
    }

    /// # Errors
    /// As [`Printer::event`].
    pub(super) fn presence(&mut self, told: &Told) -> Result<(), Failure> {
        told.print(&mut self.output, self.json)
    }

    /// # Errors
    /// As [`Printer::event`].
    pub(super) fn status(&mut self, status: &Status) -> Result<(), Failure> {
        self.output.status(status, self.json)
    }

    /// # Errors
    /// As [`Printer::event`].
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush()
    }

    fn message(&mut self, message: &Message) -> Result<(), Failure> {
        self.messages += 1;
        if self.json {
            return self.output.json(&MessageLine::of(message, now_us()));
        }
        self.output.bytes(message.channel.as_str().as_bytes())?;
        self.output.bytes(b" ")?;
        if self.is_terminal {
            self.output.line(&shown(&message.payload))
        } else {
            self.output.bytes(&message.payload)?;
            self.output.bytes(b"\n")
        }
    }
}

/// A message of a volatile channel: what has no place in a log has no origin, position, offset or cursor.
#[derive(Debug, Serialize)]
struct MessageLine<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_b64: Option<String>,
    publisher: String,
    number: u64,
    published_at: u64,
    latency_us: u64,
    replayed: bool,
    late: bool,
    maybe_duplicate: bool,
}

impl<'a> MessageLine<'a> {
    fn of(message: &'a Message, now_us: u64) -> Self {
        let payload = std::str::from_utf8(&message.payload);
        Self {
            channel: message.channel.as_str(),
            payload: payload.ok(),
            payload_b64: payload.is_err().then(|| STANDARD.encode(&message.payload)),
            publisher: message.publisher.to_string(),
            number: message.number,
            published_at: message.published_at_us,
            latency_us: now_us.saturating_sub(message.published_at_us),
            replayed: false,
            late: false,
            maybe_duplicate: false,
        }
    }
}

/// A payload for a terminal.
fn shown(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if c.is_control() && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use farwire_client::PublisherId;
    use farwire_wire::Entry;

    fn line(payload: &'static [u8], now_us: u64) -> serde_json::Value {
        let entry = Entry {
            channel: ChannelName::parse("live.a").expect("sound"),
            payload: payload.into(),
            publisher: PublisherId(0xcafe),
            number: 7,
            published_at_us: 1_000,
            session: 1,
            count: 1,
            datagram: false,
        };
        serde_json::to_value(MessageLine::of(&entry.into(), now_us)).expect("JSON")
    }

    #[test]
    fn a_volatile_message_has_the_fields_of_the_contract_and_no_place_in_a_log() {
        let want = json!({
            "channel": "live.a", "payload": "{\"a\":1}", "publisher": "000000000000cafe", "number": 7,
            "published_at": 1_000, "latency_us": 234, "replayed": false, "late": false, "maybe_duplicate": false,
        });
        assert_eq!(line(b"{\"a\":1}", 1_234), want);
    }

    #[test]
    fn bytes_that_are_no_text_travel_as_base64_and_clocks_may_disagree() {
        let line = line(b"\xff\x00", 900);
        assert_eq!((line.get("payload"), &line["payload_b64"], &line["latency_us"]), (None, &"/wA=".into(), &0.into()));
    }

    #[test]
    fn a_terminal_gets_no_control_characters_of_strangers() {
        assert_eq!(shown(b"a\x1b[2J\tb\n\xff"), "a\\u{1b}[2J\tb\\n\u{fffd}");
    }
}
