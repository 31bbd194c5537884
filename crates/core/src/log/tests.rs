//! Single rules of the log, and what does not happen to a group by itself: records that are damaged, commands that make
//! no sense.

use farwire_wire::log::{Batch, ChannelMark, Command, Mark, Publish};
use farwire_wire::{ChannelName, Entry, Offset, Origin, Place, Position, PublisherId};

use super::{Answer, Applied, Key, LANE_KEPT, LANES_DROPPED_MAX, LaneKey, Log, Outcome, RECENT_MAX, RestoreError};

const ORIGIN: Origin = Origin(7);
const MINUTES_10_US: u64 = 600_000_000;
const START_US: u64 = 1_800_000_000_000_000;

fn channel(text: &str) -> ChannelName {
    text.parse().unwrap()
}

fn publish(publisher: u64, on: &str, number: u64) -> Publish {
    say(publisher, on, number, "hi")
}

fn say(publisher: u64, on: &str, number: u64, payload: &'static str) -> Publish {
    let entry = Entry {
        channel: channel(on),
        payload: payload.as_bytes().into(),
        publisher: PublisherId(publisher),
        number,
        published_at_us: 0,
        session: 0,
        count: 0,
        datagram: false,
    };
    Publish::new(entry.encode(), 1).unwrap()
}

fn as_client(client: u64, publish: &Publish) -> Publish {
    Publish::new(publish.stored().clone(), client).unwrap()
}

fn batch(log_time_us: u64, publishes: Vec<Publish>) -> Command {
    Command::Batch(Batch { log_time_us, publishes })
}

fn open() -> Log {
    let mut log = Log::new();
    assert_eq!(apply(&mut log, &Command::Open(ORIGIN)).outcome, Outcome::Opened);
    log
}

fn apply(log: &mut Log, command: &Command) -> Applied {
    let mut applied = Applied::default();
    log.apply(1, command, &mut applied);
    applied
}

fn answers(log: &mut Log, log_time_us: u64, publishes: Vec<Publish>) -> Vec<Answer> {
    apply(log, &batch(log_time_us, publishes)).answers
}

fn place(position: u64) -> Place {
    Place { origin: ORIGIN, position: Position::new(position).unwrap() }
}

fn taken(position: u64, offset: u64) -> Answer {
    Answer::Taken { place: place(position), offset: Offset::new(offset).unwrap() }
}

fn duplicate(newest: u64, own: Option<u64>) -> Answer {
    Answer::Duplicate { newest: place(newest), own: own.map(place) }
}

fn lane_key(publisher: u64, on: &str) -> Key {
    Key::Lane(LaneKey { publisher: PublisherId(publisher), channel: channel(on) })
}

#[test]
fn before_the_log_is_open_everything_is_refused() {
    let mut log = Log::new();
    let before = log.digest();
    let refused = apply(&mut log, &batch(5, vec![publish(1, "a", 1), publish(1, "a", 2)]));
    assert_eq!((refused.outcome, refused.log_time_us), (Outcome::NotOpen, 0));
    assert_eq!(refused.answers, [Answer::NotOpen; 2]);
    let mark = Mark::Channels(vec![ChannelMark {
        channel: channel("a"),
        position: Position::FIRST,
        offset: Offset::FIRST,
        bytes_before: 0,
    }]);
    for mark in [mark, Mark::Log(Position::FIRST)] {
        assert_eq!(apply(&mut log, &Command::Mark(mark)).outcome, Outcome::NotOpen);
    }
    assert_eq!((log.digest(), log.origin(), log.last_position()), (before, None, None));
    assert_eq!(Log::restore(Vec::<(Vec<u8>, Vec<u8>)>::new()).unwrap().digest(), before);
}

#[test]
fn the_first_origin_stays() {
    let mut log = open();
    let before = log.digest();
    let again = apply(&mut log, &Command::Open(Origin(8)));
    assert_eq!((again.outcome, again.changed), (Outcome::AlreadyOpen(ORIGIN), vec![]));
    assert_eq!((log.digest(), log.origin()), (before, Some(ORIGIN)));
}

#[test]
fn one_batch_is_judged_publish_by_publish() {
    let mut log = open();
    let publishes = vec![
        publish(1, "a", 1),
        publish(1, "a", 2),
        publish(1, "b", 1),
        publish(1, "a", 1),
        publish(1, "a", 4),
        say(1, "a", 2, "ho"),
        publish(1, "a", 3),
        as_client(2, &publish(1, "a", 4)),
        as_client(2, &publish(1, "c", 1)),
        publish(2, "a", 2),
    ];
    let applied = apply(&mut log, &batch(START_US, publishes));
    let expected = [
        taken(1, 1),
        taken(2, 2),
        taken(3, 1),
        duplicate(2, Some(1)),
        Answer::Gap { last: 2 },
        Answer::NumberReused,
        taken(4, 3),
        Answer::OtherClient,
        Answer::OtherClient,
        Answer::Gap { last: 0 },
    ];
    assert_eq!(applied.answers, expected);
    let nths: Vec<_> = applied.deliveries.iter().map(|delivery| delivery.nth).collect();
    assert_eq!(nths, [0, 1, 2, 6]);
    let changed =
        [Key::Own, Key::Channel(channel("a")), Key::Channel(channel("b")), lane_key(1, "a"), lane_key(1, "b")];
    assert_eq!(applied.changed, changed);
}

#[test]
fn what_is_refused_changes_nothing_but_log_time() {
    let mut log = open();
    answers(&mut log, START_US, vec![publish(1, "a", 1)]);
    let refused =
        || vec![publish(1, "a", 1), say(1, "a", 1, "ho"), publish(1, "a", 9), as_client(2, &publish(1, "b", 1))];
    let records = |log: &Log| log.records().filter(|(key, _)| *key != Key::Own).collect::<Vec<_>>();
    let before = (log.digest(), records(&log));

    let at_once = apply(&mut log, &batch(START_US, refused()));
    assert_eq!((at_once.changed, log.digest()), (vec![], before.0));
    let later = apply(&mut log, &batch(START_US + 1, refused()));
    assert_eq!((later.changed, later.log_time_us), (vec![Key::Own], START_US + 1));
    assert_eq!(records(&log), before.1);
    assert!(later.deliveries.is_empty());
}

#[test]
fn log_time_never_goes_back() {
    let mut log = open();
    answers(&mut log, START_US, vec![publish(1, "a", 1)]);
    let earlier = apply(&mut log, &batch(START_US - 5, vec![publish(1, "a", 2)]));
    assert_eq!((earlier.log_time_us, log.log_time_us()), (START_US, START_US));
}

#[test]
fn an_old_duplicate_is_told_the_newest_place_only() {
    let mut log = open();
    let last = RECENT_MAX as u64 + 1;
    for number in 1..=last {
        assert_eq!(answers(&mut log, START_US, vec![publish(1, "a", number)]), [taken(number, number)]);
    }
    let retried = vec![publish(1, "a", 1), say(1, "a", 1, "ho"), publish(1, "a", 2), say(1, "a", 2, "ho")];
    let old = duplicate(last, None);
    assert_eq!(answers(&mut log, START_US, retried), [old, old, duplicate(last, Some(2)), Answer::NumberReused]);
}

#[test]
fn a_lane_lives_for_ten_minutes_after_its_last_publish() {
    let mut log = open();
    answers(&mut log, START_US, vec![publish(1, "a", 1), publish(2, "a", 1)]);
    let last_us = START_US + MINUTES_10_US;
    let at_the_end = apply(&mut log, &batch(last_us, vec![publish(1, "a", 1), publish(2, "a", 2)]));
    assert_eq!(at_the_end.answers, [duplicate(1, Some(1)), taken(3, 3)]);
    assert!(!at_the_end.changed.contains(&lane_key(1, "a")), "a retry prolongs no life");
    let over = apply(&mut log, &batch(last_us + 1_000_000, vec![publish(3, "a", 1)]));
    assert!(over.changed.contains(&lane_key(1, "a")) && log.record(&lane_key(1, "a")).is_none());
    assert!(log.record(&lane_key(2, "a")).is_some());
    assert_eq!(answers(&mut log, last_us + 1_000_000, vec![publish(1, "a", 2)]), [Answer::Gap { last: 0 }]);
    assert_eq!(LANE_KEPT.as_micros(), MINUTES_10_US.into());
}

#[test]
fn a_publisher_id_is_free_once_all_its_lanes_are_gone() {
    let mut log = open();
    answers(&mut log, START_US, vec![publish(5, "b", 1), publish(4, "z", 1), publish(6, "a", 1)]);
    let other = |on| as_client(2, &publish(5, on, 1));
    assert_eq!(answers(&mut log, START_US, vec![other("a"), other("b"), other("c")]), [Answer::OtherClient; 3]);
    let late_us = START_US + MINUTES_10_US + 1_000_000;
    answers(&mut log, late_us, vec![publish(9, "a", 1)]);
    assert_eq!(log.lanes(), 1);
    assert_eq!(answers(&mut log, late_us, vec![other("a")]), [taken(5, 3)]);
    assert_eq!(answers(&mut log, late_us, vec![publish(5, "b", 1)]), [Answer::OtherClient]);
}

#[test]
fn a_command_drops_a_bounded_number_of_lanes_the_oldest_first() {
    let mut log = open();
    let lanes = LANES_DROPPED_MAX as u64 + 10;
    for publisher in (1..=lanes).rev() {
        answers(&mut log, START_US + (lanes - publisher) * 1_000_000, vec![publish(publisher, "a", 1)]);
    }
    let over_us = START_US + 2 * MINUTES_10_US;
    let first = apply(&mut log, &batch(over_us, vec![publish(500, "a", 1)]));
    let dropped = first.changed.iter().filter(|key| log.record(key).is_none()).count();
    assert_eq!((dropped, log.lanes()), (LANES_DROPPED_MAX + 1, 10));
    assert!(log.record(&lane_key(9, "a")).is_some() && log.record(&lane_key(10, "a")).is_none());
    assert_eq!(answers(&mut log, over_us, vec![publish(9, "a", 1)]), [duplicate(lanes - 8, Some(lanes - 8))]);
    assert_eq!(log.lanes(), 1);
}

#[test]
fn a_leap_of_log_time_to_the_end_is_survived() {
    let mut log = open();
    answers(&mut log, u64::MAX, vec![publish(1, "a", 1)]);
    assert_eq!(answers(&mut log, START_US, vec![publish(1, "a", 1)]), [duplicate(1, Some(1))]);
    assert_eq!(Log::restore(log.records().map(|(key, value)| (key.to_bytes(), value))).unwrap().digest(), log.digest());
}

#[test]
fn marks_move_forward_within_the_log() {
    let mut log = open();
    let applied = apply(&mut log, &batch(START_US, vec![publish(1, "a", 1), publish(1, "b", 1), publish(1, "a", 2)]));
    let second = applied.deliveries[2].clone();
    let mark = |on: &str, position: Position, offset: Offset| {
        let bytes_before = second.bytes_before;
        ChannelMark { channel: channel(on), position, offset, bytes_before }
    };
    let marks = vec![
        mark("a", second.position, second.offset),
        mark("a", second.position, second.offset),
        mark("b", second.position, second.offset.next()),
        mark("nobody", second.position, second.offset),
    ];
    let marked = apply(&mut log, &Command::Mark(Mark::Channels(marks)));
    assert_eq!((marked.outcome, marked.changed), (Outcome::Marked(1), vec![Key::Channel(channel("a"))]));
    assert_eq!(log.low_water_of(&channel("a")), second.position);
    assert_eq!(log.head(&channel("a")).unwrap().messages_kept(), 1);

    let mut mark_log = |below: u64| apply(&mut log, &Command::Mark(Mark::Log(Position::new(below).unwrap()))).outcome;
    assert_eq!([1, 2, 2, 1, 5].map(&mut mark_log), [0, 1, 0, 0, 0].map(Outcome::Marked));
    assert_eq!(log.low_water_of(&channel("b")).get(), 2);
    assert_eq!(log.low_water_of(&channel("a")).get(), 3);
    assert_eq!(apply(&mut log, &Command::Mark(Mark::Log(Position::new(4).unwrap()))).outcome, Outcome::Marked(1));
}

#[test]
fn heads_are_gone_through_a_piece_at_a_time() {
    let mut log = open();
    answers(&mut log, START_US, ["c", "a", "b"].map(|on| publish(1, on, 1)).to_vec());
    let names = |after: Option<&str>| {
        let after = after.map(channel);
        log.heads(after.as_ref()).map(|(channel, _)| channel.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None), ["a", "b", "c"]);
    assert_eq!(names(Some("a")), ["b", "c"]);
    assert_eq!(names(Some("aa")), ["b", "c"]);
    assert_eq!(names(Some("c")), [""; 0]);
    assert_eq!(log.channels(), 3);
}

#[test]
fn a_buffer_that_was_used_says_nothing_of_before() {
    let mut log = open();
    let mut used = Applied::default();
    log.apply(1, &batch(START_US, vec![publish(1, "a", 1)]), &mut used);
    let command = batch(START_US, vec![publish(1, "a", 1)]);
    log.apply(2, &command, &mut used);
    let mut fresh = Applied::default();
    log.apply(2, &command, &mut fresh);
    assert_eq!(used, fresh);
}

#[test]
fn records_that_do_not_fit_together_are_refused() {
    let mut log = open();
    answers(&mut log, START_US, vec![publish(1, "a", 1), publish(1, "b", 1), publish(2, "b", 1)]);
    let without = |key: &Key| {
        let records = log.records().filter(|(other, _)| other != key);
        Log::restore(records.map(|(key, value)| (key.to_bytes(), value))).map(|log| log.digest())
    };
    let with = |key: &Key, value: Vec<u8>| {
        let records = log.records().map(|(key, value)| (key.to_bytes(), value));
        Log::restore(records.chain([(key.to_bytes(), value)])).map(|log| log.digest())
    };
    assert_eq!(with(&Key::Own, log.record(&Key::Own).unwrap()), Ok(log.digest()));
    for missing in [Key::Own, Key::Channel(channel("a")), Key::Channel(channel("b"))] {
        assert!(matches!(without(&missing), Err(RestoreError::Inconsistent(_))), "{missing:?}");
    }

    let mut other = open();
    answers(&mut other, START_US, vec![as_client(2, &publish(1, "b", 1))]);
    answers(&mut other, START_US + 1, vec![publish(3, "a", 1), publish(4, "a", 1), publish(4, "a", 2)]);
    let [stolen, future] = [lane_key(1, "b"), lane_key(3, "a")].map(|key| other.record(&key).unwrap());
    assert!(matches!(with(&lane_key(1, "b"), stolen), Err(RestoreError::Inconsistent(_))));
    assert!(matches!(with(&lane_key(1, "a"), future), Err(RestoreError::Inconsistent(_))));
    let beyond = other.record(&Key::Channel(channel("b"))).unwrap();
    assert!(with(&Key::Channel(channel("b")), beyond).is_err());

    for (key, value) in
        [(&b"x"[..], &b""[..]), (b"a", b""), (b"c", b""), (b"ca", b"\x02"), (b"l1234567", b""), (b"", b"")]
    {
        assert!(matches!(Log::restore([(key, value)]), Err(RestoreError::Unsound)), "{key:?}");
    }
}
