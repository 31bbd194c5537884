//! Who comes, goes and says something on the channels of several patterns: one stream of it, and the line for each. Used by
//! `presence --watch` and `sub --presence`.

use std::sync::Arc;

use farwire_client::{ChannelName, Client, Pattern, PresenceEvent, PresenceUpdate, PresenceWatch, SubscribeError};
use futures_util::future::try_join_all;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::answers::state_value;
use super::counts::plural;
use crate::exit::Failure;
use crate::output::{Output, note};
use crate::units::shown;

/// The watches of one command. What several patterns match is told once.
#[derive(Default)]
pub(crate) struct Watches(SelectAll<BoxStream<'static, Result<Told, Failure>>>);

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// Something happened.
    Event { channel: ChannelName, event: PresenceEvent },
    /// So many events went by; the channel is known if the pattern names one.
    Dropped { channel: Option<ChannelName>, count: u64 },
}

impl Watches {
    /// Returns when all are in force.
    ///
    /// # Errors
    /// A pattern is refused, or the client has ended.
    pub(crate) async fn start(client: &Client, patterns: &[Pattern]) -> Result<Self, Failure> {
        let watches = patterns.iter().map(|pattern| client.watch_presence(pattern.as_str()));
        let watches = try_join_all(watches).await.map_err(Failure::of_watch)?;
        let patterns: Arc<[Pattern]> = patterns.into();
        let told = |(index, watch)| told(watch, Arc::clone(&patterns), index).boxed();
        Ok(Self(watches.into_iter().enumerate().map(told).collect()))
    }

    /// What is told next; a failure when a watch has ended. `None` without any watch. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Told, Failure>> {
        self.0.next().await
    }
}

/// What the watch of pattern `index` tells, but for what one of the patterns before it tells as well.
fn told(
    watch: PresenceWatch,
    patterns: Arc<[Pattern]>,
    index: usize,
) -> impl stream::Stream<Item = Result<Told, Failure>> + Send {
    stream::unfold(Some((watch, patterns)), move |running| async move {
        let (mut watch, patterns) = running?;
        loop {
            let told = match watch.next().await {
                Some(PresenceUpdate::Event { channel, .. }) if is_matched(&patterns[..index], &channel) => continue,
                Some(PresenceUpdate::Event { channel, event, .. }) => Told::Event { channel, event },
                Some(PresenceUpdate::Dropped { count }) => Told::Dropped { channel: patterns[index].channel(), count },
                None => {
                    let error = watch.error().cloned().unwrap_or(SubscribeError::Closed(None));
                    return Some((Err(Failure::of_watch(error)), None));
                }
            };
            return Some((Ok(told), Some((watch, patterns))));
        }
    })
}

fn is_matched(patterns: &[Pattern], channel: &ChannelName) -> bool {
    patterns.iter().any(|pattern| pattern.matches(channel))
}

impl Told {
    /// # Errors
    /// When stdout cannot be written, or nobody reads it any more.
    pub(crate) fn print(&self, output: &mut Output, json: bool) -> Result<(), Failure> {
        match self {
            Self::Event { channel, event } if json => output.json(&EventLine::of(channel, event)),
            Self::Event { channel, event } => output.line(&text(channel, event)),
            Self::Dropped { channel, count } if json => {
                output.json(&json!({"dropped": {"channel": channel, "count": count}}))
            }
            Self::Dropped { count, .. } => {
                note(&format!(
                    "{} went by: this reader or its network was too slow; `farwire presence` tells who is there",
                    plural(*count, "presence event")
                ));
                Ok(())
            }
        }
    }
}

/// An event, with the fields that its kind has.
#[derive(Debug, Serialize)]
struct EventLine<'a> {
    presence: &'static str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    /// Null for a client that says nothing of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Option<Box<RawValue>>>,
    occupancy: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

impl<'a> EventLine<'a> {
    fn of(channel: &'a ChannelName, event: &'a PresenceEvent) -> Self {
        let (presence, client, state, occupancy) = match event {
            PresenceEvent::Join { client, state, occupancy } => ("join", Some(client), Some(state), occupancy),
            PresenceEvent::Leave { client, occupancy } => ("leave", Some(client), None, occupancy),
            PresenceEvent::Timeout { client, occupancy } => ("timeout", Some(client), None, occupancy),
            PresenceEvent::State { client, state, occupancy } => ("state", Some(client), Some(state), occupancy),
            PresenceEvent::Interval { occupancy, .. } => ("interval", None, None, occupancy),
        };
        let (clients, joined, left) = match event {
            PresenceEvent::Interval { clients, joined, left, .. } => (Some(*clients), Some(*joined), Some(*left)),
            _ => (None, None, None),
        };
        Self {
            presence,
            channel: channel.as_str(),
            client_id: client.map(|client| client.as_str()),
            state: state.map(state_value),
            occupancy: *occupancy,
            clients,
            joined,
            left,
        }
    }
}

/// An event for people, told apart from a message by the asterisk. A state is a stranger's text.
fn text(channel: &ChannelName, event: &PresenceEvent) -> String {
    let with = |state: &farwire_client::PresenceState| {
        state.json().map(|json| format!(" with {}", shown(json))).unwrap_or_default()
    };
    let (what, occupancy) = match event {
        PresenceEvent::Join { client, state, occupancy } => (format!("{client} joined{}", with(state)), occupancy),
        PresenceEvent::Leave { client, occupancy } => (format!("{client} left"), occupancy),
        PresenceEvent::Timeout { client, occupancy } => (format!("{client} timed out"), occupancy),
        PresenceEvent::State { client, state, occupancy } => (format!("{client} goes on{}", with(state)), occupancy),
        PresenceEvent::Interval { occupancy, clients, joined, left } => {
            (format!("{joined} joined and {left} left, {} now", plural(*clients, "client")), occupancy)
        }
    };
    format!("{channel} * {what}: {}", plural(*occupancy, "session"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(event: &PresenceEvent) -> (serde_json::Value, String) {
        let channel = ChannelName::parse("live.a").expect("sound");
        (serde_json::to_value(EventLine::of(&channel, event)).expect("JSON"), text(&channel, event))
    }

    #[test]
    fn an_event_has_the_fields_of_its_kind_and_a_line_for_people() {
        let client = || "alice".parse().expect("sound");
        let state = |text: &str| text.parse().expect("sound");
        let cases = [
            (
                PresenceEvent::Join { client: client(), state: state("{\"a\":\"\u{9b}\"}"), occupancy: 2 },
                json!({"presence": "join", "channel": "live.a", "client_id": "alice", "state": {"a": "\u{9b}"}, "occupancy": 2}),
                "live.a * alice joined with {\"a\":\"\\u{9b}\"}: 2 sessions",
            ),
            (
                PresenceEvent::State { client: client(), state: state(""), occupancy: 1 },
                json!({"presence": "state", "channel": "live.a", "client_id": "alice", "state": null, "occupancy": 1}),
                "live.a * alice goes on: 1 session",
            ),
            (
                PresenceEvent::Leave { client: client(), occupancy: 0 },
                json!({"presence": "leave", "channel": "live.a", "client_id": "alice", "occupancy": 0}),
                "live.a * alice left: 0 sessions",
            ),
            (
                PresenceEvent::Timeout { client: client(), occupancy: 0 },
                json!({"presence": "timeout", "channel": "live.a", "client_id": "alice", "occupancy": 0}),
                "live.a * alice timed out: 0 sessions",
            ),
            (
                PresenceEvent::Interval { occupancy: 120, clients: 110, joined: 5, left: 2 },
                json!({"presence": "interval", "channel": "live.a", "occupancy": 120, "clients": 110, "joined": 5, "left": 2}),
                "live.a * 5 joined and 2 left, 110 clients now: 120 sessions",
            ),
        ];
        for (event, line, text) in cases {
            assert_eq!(told(&event), (line, text.to_owned()));
        }
    }

    #[test]
    fn a_channel_of_an_earlier_pattern_is_not_told_again() {
        let patterns: Vec<Pattern> = ["live.*", "*.a"].map(|text| text.parse().expect("sound")).into();
        let is_told_twice = |channel: &str| is_matched(&patterns[..1], &ChannelName::parse(channel).expect("sound"));
        assert!(is_told_twice("live.a") && !is_told_twice("demo.a"));
    }
}
