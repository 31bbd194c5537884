//! Each invariant that counts with times, bounds or what was asked: where it begins to find something, and what it forgives.

use std::time::Duration;

use super::{ids, story};
use crate::logged::event::{Ack, Cursor, Event, Hex, Level, Name, Place, Record, Subscription, Usage};
use crate::logged::invariants::UsageMax;
use crate::logged::{Terms, judge};

fn good() -> Vec<Record> {
    story::good(120)
}

fn last_of(subscriber: &str, records: &[Record]) -> Subscription {
    let of = |record: &Record| record.event.subscription().filter(|of| of.subscriber == Name::new(subscriber));
    records.iter().rev().find_map(of).unwrap()
}

/// The records with some more at the time of the one at `index`.
fn with(records: &[Record], index: usize, events: &[Event]) -> Vec<Record> {
    let mut records = records.to_vec();
    let at = records[index].clone();
    records.splice(index..index, events.iter().map(|event| Record { event: event.clone(), ..at.clone() }));
    records
}

fn position(records: &[Record], which: impl Fn(&Event) -> bool) -> usize {
    records.iter().position(|record| which(&record.event)).unwrap()
}

#[test]
fn a_publish_that_is_never_acked_is_found_unless_something_is_wrong_that_leaves_no_way() {
    let mut records = good();
    let index = position(&records, |event| matches!(event, Event::Acked(_)));
    records.remove(index);
    assert_eq!(ids(&records), ["I9"]);
    let fault = Event::Fault { what: "split".to_owned(), way_around: false };
    assert_eq!(ids(&with(&records, index, &[fault])), [""; 0]);
}

#[test]
fn who_is_stuck_is_found_unless_it_does_not_read() {
    let mut records = good();
    let stuck = last_of("sub-2", &records);
    let of_it = |event: &Event| event.subscription() == Some(stuck);
    let index = position(&records, |event| of_it(event) && matches!(event, Event::Delivered { .. }));
    let mut n = 0;
    records.retain(|record| {
        n += 1;
        n <= index || !of_it(&record.event)
    });
    assert_eq!(ids(&records), ["I9"]);
    assert_eq!(ids(&with(&records, index, &[Event::Reads { subscription: stuck, reads: false }])), [""; 0]);
}

#[test]
fn a_cursor_that_goes_back_is_found() {
    let records = good();
    let subscription = last_of("sub-1", &records);
    let back = Event::CursorKept { subscription, cursor: Cursor(vec![(Hex(0xa2), 3)]) };
    assert_eq!(ids(&with(&records, records.len() - 1, &[back])), ["I7"]);
}

/// A subscriber that resumes with a cursor of an origin that nobody knows.
fn foreign_cursor(told: bool) -> Vec<Record> {
    let (records, origin) = (good(), Hex(0xbad));
    let subscription = Subscription { subscriber: Name::new("foreign"), run: 1 };
    let cursor = Cursor(vec![(Hex(0xa1), u64::MAX), (origin, 9)]);
    let node = Name::new("fra-2");
    let mut events = vec![
        Event::ResumeAsked { subscription, pattern: Name::new("orders.0"), cursor },
        Event::Resumed { subscription, node },
    ];
    let gap = Event::Gap { subscription, origin, from: 10, to: u64::MAX, cause: "origin".to_owned() };
    events.extend(told.then_some(gap));
    with(&records, records.len() - 1, &events)
}

#[test]
fn a_cursor_of_an_unknown_origin_is_answered_by_a_gap() {
    assert_eq!(ids(&foreign_cursor(true)), [""; 0]);
    assert_eq!(ids(&foreign_cursor(false)), ["I7"]);
}

#[test]
fn a_gap_over_what_is_still_served_is_found() {
    let records = good();
    let subscription = last_of("sub-0", &records);
    let of_it = |record: &&Record| record.event.subscription() == Some(subscription);
    let Place { origin, position } =
        records.iter().rev().filter(of_it).find_map(|record| record.event.seen()).unwrap().1.place;
    let gap = Event::Gap { subscription, origin, from: position, to: position, cause: "retention".to_owned() };
    assert_eq!(ids(&with(&records, records.len() - 1, &[gap])), ["I5"]);
}

#[test]
fn what_was_refused_for_certain_and_is_there_is_found() {
    let records = good();
    let index = position(&records, |event| matches!(event, Event::Acked(_)));
    let Event::Acked(Ack { publish, .. }) = records[index].event else { unreachable!() };
    assert_eq!(ids(&with(&records, index, &[Event::Refused { publish, why: "no".to_owned() }])), ["I2"]);
}

#[test]
fn an_ack_that_names_more_copies_or_regions_than_there_are_is_found() {
    let changed = |change: fn(&mut Ack)| {
        let mut records = good();
        let index = position(&records, |event| matches!(event, Event::Acked(_)));
        if let Event::Acked(ack) = &mut records[index].event {
            change(ack);
        }
        ids(&records)
    };
    assert_eq!(changed(|ack| ack.copies = 3), ["I8"]);
    assert_eq!(changed(|ack| ack.regions = 2), ["I8"]);
    assert_eq!(changed(|ack| ack.level = Level::Geo), ["I8"]);
    // Two have it synced, all three appended.
    assert_eq!(changed(|ack| (ack.copies, ack.synced) = (3, false)), [""; 0]);
}

#[test]
fn the_first_ack_of_a_run_is_followed_too_unless_nodes_tell_nothing() {
    let is_ack = |event: &Event| matches!(event, Event::Acked(_));
    let mut records = good();
    let ack = records.remove(position(&records, is_ack));
    let invoked = position(&records, |event| matches!(event, Event::Invoked { .. }));
    records.insert(invoked + 1, Record { at_ns: records[invoked].at_ns, ..ack });
    assert_eq!(ids(&records), ["I8"]);
    records.retain(|record| !matches!(record.event, Event::Applied { .. }));
    let verdict = judge(&records, &Terms::default());
    assert_eq!((verdict.violations.len(), verdict.totals.acks_followed), (0, 0));
}

#[test]
fn a_loss_of_what_was_not_synced_is_forgiven_when_all_copies_lost_power() {
    let lost = |nodes: &[&str], synced: bool| {
        let mut records = good();
        let index = records.iter().rposition(|record| matches!(record.event, Event::Acked(_))).unwrap();
        let Event::Acked(ack) = &mut records[index].event else { unreachable!() };
        ack.synced = synced;
        let publish = ack.publish;
        let crashes: Vec<_> =
            nodes.iter().map(|node| Event::NodeCrashed { node: Name::new(node), lost_unsynced: true }).collect();
        records.retain(|record| record.event.seen().is_none_or(|(_, entry)| entry.publish != publish));
        ids(&with(&records, index + 1, &crashes)).contains(&"I1".to_owned())
    };
    assert!(!lost(&["fra-1", "fra-2"], false));
    assert!(lost(&["fra-1"], false), "one copy was left");
    assert!(lost(&["fra-1", "fra-2"], true), "it was synced");
}

#[test]
fn usage_above_a_bound_is_found() {
    let node = Name::new("fra-1");
    let usage = |queue_bytes| Event::Measured { node, usage: Usage { queue_bytes, ..Usage::default() } };
    let records = with(&good(), 10, &[usage(10), usage(30), usage(20)]);
    let max = UsageMax { queue_bytes: Some(29), ..UsageMax::default() };
    let violations = judge(&records, &Terms { usage_max: max, ..Terms::default() }).violations;
    assert_eq!(violations, ["I11 above its bound: fra-1 had 30 bytes in queues, 29 is the most"]);
    let max = UsageMax { queue_bytes: Some(30), memory_growth_bytes: Some(50 << 20), ..UsageMax::default() };
    assert_eq!(judge(&records, &Terms { usage_max: max, ..Terms::default() }).violations, [""; 0]);
}

#[test]
fn times_are_terms() {
    let records = good();
    let hasty = Terms { acked_within: Duration::from_micros(10), ..Terms::default() };
    assert!(judge(&records, &hasty).violations[0].starts_with("I9 not taken"));
}

#[test]
fn a_history_without_a_drain_or_without_the_beginning_of_a_subscription_proves_nothing() {
    let without = |which: fn(&Event) -> bool| {
        let mut records = good();
        records.retain(|record| !which(&record.event));
        ids(&records)
    };
    assert_eq!(without(|event| matches!(event, Event::Drained { .. })), ["I1"]);
    assert!(without(|event| matches!(event, Event::Subscribed { .. })).contains(&"incomplete:".to_owned()));
}
