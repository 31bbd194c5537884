//! Follows `/v1/events`: server-sent events, a line each, until Ctrl-C. When the node that tells them is lost, the next one is asked, for ever.
//!
//! Which node tells, and that one was lost, is said on stderr: what happens in between is not told by anybody.

use std::io::Write;
use std::mem;
use std::time::Duration;

use super::answers::{Event, Seen};
use super::endpoints::Endpoints;
use crate::exit::Failure;
use crate::http::Stream;
use crate::output::Output;
use crate::units::{NONE, clock, count, shown};

/// Prints events until Ctrl-C, which is a clean end.
///
/// # Errors
/// Retryable when at the beginning nobody answers; when stdout cannot be written.
pub(super) async fn follow(endpoints: &Endpoints, path: &str, json: bool, output: &mut Output) -> Result<(), Failure> {
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Ok(()),
        failed = follow_for_ever(endpoints, path, json, output) => Err(failed),
    }
}

async fn follow_for_ever(endpoints: &Endpoints, path: &str, json: bool, output: &mut Output) -> Failure {
    let (mut index, mut stream) = match endpoints.open(path, 0).await {
        Ok(opened) => opened,
        Err(nobody) => return nobody,
    };
    loop {
        note(&format!("events as {} tells them", endpoints.at(index)));
        let lost = match copy(&mut stream, json, output).await {
            Ok(lost) => lost,
            Err(failure) => return failure,
        };
        note(&format!("{} is lost: {lost}; asking the next", endpoints.at(index)));
        (index, stream) = loop {
            // A node that takes calls and ends them at once must not be called in a tight loop either.
            tokio::time::sleep(PAUSE).await;
            if let Ok(opened) = endpoints.open(path, index + 1).await {
                break opened;
            }
        };
    }
}

/// Prints what comes until nothing comes any more; with the reason.
async fn copy(stream: &mut Stream, json: bool, output: &mut Output) -> Result<String, Failure> {
    let mut lines = Lines::default();
    loop {
        let bytes = match tokio::time::timeout(SILENCE_MAX, stream.next()).await {
            Err(_) => return Ok("it is silent".to_owned()),
            Ok(Err(err)) => return Ok(err.to_string()),
            Ok(Ok(None)) => return Ok("it ended the stream".to_owned()),
            Ok(Ok(Some(bytes))) => bytes,
        };
        let Some(events) = lines.take(&bytes) else { return Ok("what it sends are no events".to_owned()) };
        for event in &events {
            output.line(&line(event, json)?)?;
        }
        output.flush()?;
    }
}

/// Takes the data out of server-sent events. Keeps at most [`LINE_BYTES_MAX`].
#[derive(Debug, Default)]
struct Lines {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

impl Lines {
    /// The events that are complete with these bytes: the node writes each as one line of data. None when a line is longer than any event.
    fn take(&mut self, bytes: &[u8]) -> Option<Vec<String>> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.begun.len() + part.len() > LINE_BYTES_MAX {
                return None;
            }
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = mem::take(&mut self.begun);
                events.extend(line.strip_prefix(b"data:").map(|data| String::from_utf8_lossy(data).trim().to_owned()));
            }
        }
        Some(events)
    }
}

fn line(event: &str, json: bool) -> Result<String, Failure> {
    let parsed: serde_json::Value = serde_json::from_str(event).map_err(|err| {
        Failure::failed(format!("an event is not JSON: {err}; see that a node of Farwire tells them"))
    })?;
    if json {
        return Ok(event.to_owned());
    }
    // A newer node's events are shown as they came.
    Ok(serde_json::from_value(parsed).map_or_else(|_| shown(event), |seen| text(&seen)))
}

fn text(seen: &Seen) -> String {
    let known = |state: &Option<String>| state.as_deref().map_or_else(|| NONE.to_owned(), shown);
    let what = match &seen.event {
        Event::Member { name, from: None, to } => format!("member {}: new, {}", shown(name), known(to)),
        Event::Member { name, from, to: None } => format!("member {}: {}, now forgotten", shown(name), known(from)),
        Event::Member { name, from, to } => format!("member {}: {}, now {}", shown(name), known(from), known(to)),
        Event::Ring { view } => format!("ring: view {}", shown(view)),
        Event::Session { session, client_id, open } => {
            let turn = if *open { "began" } else { "ended" };
            format!("session {} of {} {turn}", shown(session), shown(client_id))
        }
        Event::Missed { count: events } => {
            format!(
                "{} went by: this reader was too slow",
                count(usize::try_from(*events).unwrap_or(usize::MAX), "event")
            )
        }
    };
    format!("{:<12}  {what}", seen.at.map_or_else(|| NONE.to_owned(), clock))
}

fn note(text: &str) {
    // A stderr that is gone does not end the events.
    let _ = writeln!(std::io::stderr(), "farwire: {text}");
}

/// Two signs of life of a node, one every 15 s, and some more.
const SILENCE_MAX: Duration = Duration::from_secs(35);
const PAUSE: Duration = Duration::from_millis(500);
const LINE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_out_of_any_pieces_and_signs_of_life_left_out() {
        let stream = b"data: {\"a\":1}\n\n:\n\ndata:{\"b\":2}\r\n\n";
        for size in 1..stream.len() {
            let mut lines = Lines::default();
            let events: Vec<String> = stream.chunks(size).flat_map(|part| lines.take(part).expect("short")).collect();
            assert_eq!(events, [r#"{"a":1}"#, r#"{"b":2}"#], "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(&[b'x'; LINE_BYTES_MAX]), Some(vec![]));
        assert_eq!(lines.take(b"x"), None);
    }

    #[test]
    fn programs_get_the_event_as_it_came_and_people_a_sentence() {
        let member = r#"{"at":1769903947042000,"event":"member","name":"iad-1","from":"alive","to":"suspect"}"#;
        assert_eq!(line(member, true), Ok(member.to_owned()));
        assert_eq!(line(member, false), Ok("23:59:07.042  member iad-1: alive, now suspect".into()));
        let cases = [
            (r#"{"event":"missed","count":1}"#, "-             1 event went by: this reader was too slow"),
            (r#"{"at":0,"event":"member","name":"a","from":null,"to":"alive"}"#, "00:00:00.000  member a: new, alive"),
            (r#"{"at":0,"event":"ring","view":"0f"}"#, "00:00:00.000  ring: view 0f"),
            (
                r#"{"at":0,"event":"session","session":"s","client_id":"c","open":false}"#,
                "00:00:00.000  session s of c ended",
            ),
            (r#"{"at":0,"event":"eclipse"}"#, r#"{"at":0,"event":"eclipse"}"#),
        ];
        for (event, text) in cases {
            assert_eq!(line(event, false), Ok(text.to_owned()));
        }
        assert!(line("nonsense", true).is_err());
    }
}
