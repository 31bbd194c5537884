//! Each invariant finds what it is for, and nothing in a history without fault.

use super::*;
use crate::history::MessageId;

const TERMS: Terms = Terms {
    settle: Duration::from_secs(5),
    within: Duration::from_secs(1),
    settle_presence: Duration::from_secs(10),
    end: Duration::from_secs(60),
};

fn message(count: u64) -> MessageId {
    MessageId { publisher: "p".into(), count }
}

fn got(count: u64) -> Event {
    Event::Received("s".into(), message(count))
}

/// A run with two messages in its quiet time, sent at 10 and 11 s, with `changed` put in the place of one of its events.
fn run_with(at: usize, changed: &[(u64, Event)]) -> Vec<String> {
    let mut events = vec![
        (0, Event::Begun),
        (1_000, Event::Subscribed("s".into())),
        (10_000, Event::Sent(message(1))),
        (10_050, Event::Acked(message(1))),
        (10_080, got(1)),
        (11_000, Event::Sent(message(2))),
        (11_050, Event::Acked(message(2))),
        (11_080, got(2)),
    ];
    events.splice(at..=at, changed.iter().cloned());
    let records: Vec<_> =
        events.into_iter().map(|(ms, event)| Record { at: Duration::from_millis(ms), event }).collect();
    violations(&records, &TERMS)
}

fn found(at: usize, changed: &[(u64, Event)]) -> Vec<String> {
    let words = run_with(at, changed).into_iter().map(|line| line.split(':').next().unwrap_or_default().to_owned());
    words.collect()
}

#[test]
fn a_good_run_has_no_violation() {
    assert_eq!(found(0, &[(0, Event::Begun)]), [""; 0]);
}

#[test]
fn what_was_not_sent_is_found() {
    assert_eq!(found(7, &[(11_080, got(2)), (11_081, got(3))]), ["invented"]);
    assert_eq!(found(4, &[(10_040, got(1)), (10_050, Event::Foreign("s".into(), "?".to_owned()))]), ["invented"]);
}

#[test]
fn a_message_that_comes_twice_is_found() {
    assert_eq!(found(4, &[(10_080, got(1)), (10_081, got(1))]), ["twice"]);
}

#[test]
fn a_message_that_comes_after_a_later_one_is_found() {
    assert_eq!(found(7, &[(11_080, got(2)), (11_090, got(1))]), ["twice", "out of order"]);
}

#[test]
fn a_message_that_was_not_delivered_is_found_unless_the_subscriber_was_told() {
    assert_eq!(found(7, &[]), ["missed"]);
    assert_eq!(found(7, &[(12_001, got(2))]), ["missed"]);
    assert_eq!(found(7, &[(11_900, Event::Dropped("s".into(), 1))]), [""; 0]);
}

#[test]
fn what_happens_soon_after_a_fault_is_forgiven() {
    let fault = || Event::Fault { what: "storm".to_owned(), way_around: false };
    let mended = || Event::Mended("storm".to_owned());
    assert_eq!(found(7, &[]), ["missed"]);
    assert_eq!(found(1, &[(1_000, Event::Subscribed("s".into())), (8_000, fault()), (9_000, mended())]), [""; 0]);
    let without_the_second = [(11_050, Event::Acked(message(2))), (11_060, fault()), (12_000, mended())];
    assert_eq!(found(6, &without_the_second)[..], [""; 0]);
}

#[test]
fn a_publish_without_its_ack_a_lost_session_and_a_dead_handle_are_found() {
    assert_eq!(found(6, &[]), ["not taken"]);
    assert_eq!(found(6, &[(11_050, Event::Failed(message(2), "no".to_owned()))]), ["not taken", "not taken"]);
    assert_eq!(
        found(1, &[(1_000, Event::Subscribed("s".into())), (9_000, Event::Down("s".into(), "?".into()))]),
        ["lost session"]
    );
    assert_eq!(
        found(1, &[(1_000, Event::Subscribed("s".into())), (2_000, Event::Ended("s".into(), "?".into()))]),
        ["dead handle"]
    );
}

/// A run in which `who` enters at 20 s, and a node lists `listed` at `at` seconds.
fn listed(at: u64, listed: &[&str]) -> usize {
    let channel: Arc<str> = "c".into();
    let listing = Event::Listed {
        node: "n".into(),
        channel: channel.clone(),
        who: Ok(listed.iter().map(|who| (*who).into()).collect()),
    };
    let events = [(0, Event::Begun), (20, Event::Present("p".into(), channel)), (at, listing)];
    let records: Vec<_> = events.into_iter().map(|(s, event)| Record { at: Duration::from_secs(s), event }).collect();
    violations(&records, &TERMS).len()
}

#[test]
fn a_ghost_and_a_missing_client_are_found_once_a_change_had_its_time() {
    assert_eq!(listed(30, &["p"]), 0);
    assert_eq!(listed(30, &[]), 1, "missing");
    assert_eq!(listed(30, &["p", "q"]), 1, "a ghost");
    assert_eq!(listed(21, &[]), 0, "too early to tell");
}
