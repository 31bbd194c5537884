//! What presence promises, as stories of a few nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use farwire_wire::names::ClientId;
use farwire_wire::presence::{PresenceEvent, PresenceState};

use super::testing::{World, id};
use super::{GONE_FOR, UNSEEN_KEPT};

const SECOND: Duration = Duration::from_secs(1);

fn client(name: &str) -> ClientId {
    ClientId::parse(name).unwrap()
}

fn join(name: &str, occupancy: u64) -> PresenceEvent {
    PresenceEvent::Join { client: client(name), state: PresenceState::default(), occupancy }
}

#[test]
fn who_enters_anywhere_is_seen_everywhere_and_once() {
    let mut world = World::new(&["fra", "iad"], 2);
    world.enter(0, &id("ann", 1), 1, "chat", r#"{"mood":"fine"}"#);
    world.pass(SECOND);
    for region in ["fra", "iad"] {
        assert_eq!(world.answer(region, "chat").occupancy, 1, "{region}");
        assert_eq!(world.listed(region, "chat"), BTreeMap::from([("ann".to_owned(), r#"{"mood":"fine"}"#.to_owned())]));
        let owner = world.owner(region, "chat");
        let state = PresenceState::parse(r#"{"mood":"fine"}"#).unwrap();
        assert_eq!(world.heard(owner, "chat"), [PresenceEvent::Join { client: client("ann"), state, occupancy: 1 }]);
    }
}

#[test]
fn a_client_with_three_sessions_is_one_client_and_leaves_with_the_last() {
    let mut world = World::new(&["fra", "iad"], 1);
    world.enter(0, &id("ann", 1), 1, "chat", "");
    world.enter(0, &id("ann", 2), 1, "chat", "");
    world.enter(1, &id("ann", 3), 1, "chat", "");
    world.pass(SECOND);
    let answer = world.answer("iad", "chat");
    assert_eq!((answer.occupancy, answer.clients), (3, 1));
    world.end(0, &id("ann", 1), 1, true);
    world.leave(0, &id("ann", 2), 1, "chat");
    world.pass(SECOND);
    assert_eq!(world.answer("fra", "chat").occupancy, 1);
    world.leave(1, &id("ann", 3), 1, "chat");
    world.pass(SECOND);
    let heard = world.heard(0, "chat");
    assert!(matches!(heard[..], [PresenceEvent::Join { .. }, PresenceEvent::Leave { occupancy: 0, .. }]), "{heard:?}");
    assert_eq!(world.answer("fra", "chat").clients, 0);
}

#[test]
fn a_client_that_goes_on_at_another_node_is_never_counted_twice_and_causes_no_event() {
    let mut world = World::new(&["fra", "iad"], 2);
    let ann = id("ann", 1);
    world.enter(0, &ann, 1, "chat", "");
    world.pass(SECOND);
    let owner = world.owner("fra", "chat");
    world.heard(owner, "chat");
    world.end(0, &ann, 1, false);
    world.enter(1, &ann, 2, "chat", "");
    for _ in 0..40 {
        world.pass(SECOND / 2);
        assert_eq!(world.answer("fra", "chat").occupancy, 1);
        assert_eq!(world.answer("iad", "chat").occupancy, 1);
    }
    assert_eq!(world.heard(owner, "chat"), []);
}

#[test]
fn a_client_that_moved_and_left_is_gone_though_its_old_node_still_waits_for_it() {
    let mut world = World::new(&["fra"], 3);
    let ann = id("ann", 1);
    let owner = world.owner("fra", "chat");
    let (old, new) = ((owner + 1) % 3, (owner + 2) % 3);
    world.enter(old, &ann, 1, "chat", "");
    world.pass(SECOND);
    // The old node does not hear that it lost her.
    world.cut(owner, old);
    world.enter(new, &ann, 2, "chat", "");
    world.pass(SECOND);
    world.end(new, &ann, 2, true);
    world.pass(SECOND);
    assert_eq!(
        world.heard(owner, "chat"),
        [join("ann", 1), PresenceEvent::Leave { client: client("ann"), occupancy: 0 }]
    );
    assert_eq!(world.answer("fra", "chat").occupancy, 0);
}

#[test]
fn a_lost_client_stays_for_its_grace_and_then_times_out() {
    let mut world = World::new(&["fra"], 1);
    world.enter(0, &id("ann", 1), 1, "chat", "");
    world.pass(SECOND);
    world.end(0, &id("ann", 1), 1, false);
    world.pass(9 * SECOND);
    assert_eq!(world.heard(0, "chat"), [join("ann", 1)]);
    world.pass(2 * SECOND);
    assert_eq!(world.heard(0, "chat"), [PresenceEvent::Timeout { client: client("ann"), occupancy: 0 }]);
}

#[test]
fn a_client_that_comes_back_in_time_was_never_away() {
    let mut world = World::new(&["fra"], 1);
    world.enter(0, &id("ann", 1), 1, "chat", "");
    world.pass(SECOND);
    world.end(0, &id("ann", 1), 1, false);
    world.pass(5 * SECOND);
    world.enter(0, &id("ann", 1), 2, "chat", "");
    // The end of the connection before is noticed late.
    world.end(0, &id("ann", 1), 1, false);
    world.pass(30 * SECOND);
    assert_eq!(world.heard(0, "chat"), [join("ann", 1)]);
    assert_eq!(world.answer("fra", "chat").occupancy, 1);
}

#[test]
fn the_newest_word_of_a_client_is_its_state() {
    let mut world = World::new(&["fra", "iad"], 1);
    world.enter(0, &id("ann", 1), 1, "chat", "1");
    world.pass(SECOND);
    world.enter(1, &id("ann", 2), 1, "chat", "2");
    world.pass(SECOND);
    world.enter(0, &id("ann", 1), 1, "chat", "3");
    world.pass(SECOND);
    for region in ["fra", "iad"] {
        assert_eq!(world.listed(region, "chat")["ann"], "3");
    }
    let states = world.heard(1, "chat").into_iter().filter(|news| matches!(news, PresenceEvent::State { .. })).count();
    assert_eq!(states, 2);
}

#[test]
fn a_dead_nodes_clients_are_left_out_at_once_and_time_out_later() {
    let mut world = World::new(&["fra", "iad"], 2);
    let on = "chat";
    // A client on the node of fra that does not own the channel, so that the owner lives on.
    let owner = world.owner("fra", on);
    let victim = 1 - owner;
    world.enter(victim, &id("ann", 1), 1, on, "");
    world.enter(owner, &id("bob", 1), 1, on, "");
    world.pass(SECOND);
    world.heard(owner, on);
    world.kill(victim);
    world.pass(13 * SECOND);
    assert_eq!(world.answer("fra", on).occupancy, 1, "out of the sums");
    assert_eq!(world.answer("iad", on).occupancy, 1);
    assert_eq!(world.heard(owner, on), [], "not announced yet: it may be resuming elsewhere");
    world.pass(GONE_FOR);
    assert_eq!(world.heard(owner, on), [PresenceEvent::Timeout { client: client("ann"), occupancy: 1 }]);
}

#[test]
fn a_dead_owner_is_replaced_by_one_that_knows_everybody_and_greets_nobody_again() {
    let mut world = World::new(&["fra", "iad"], 3);
    let on = "chat";
    let dead = world.owner("fra", on);
    let living: Vec<usize> = (0..3).filter(|node| *node != dead).collect();
    world.enter(living[0], &id("ann", 1), 1, on, "");
    world.enter(living[1], &id("bob", 1), 1, on, "");
    world.enter(4, &id("cat", 1), 1, on, "");
    world.pass(SECOND);
    world.kill(dead);
    world.pass(2 * SECOND);
    let owner = world.owner("fra", on);
    assert_eq!(world.answer("fra", on).occupancy, 3);
    let heard = world.heard(owner, on);
    assert!(heard.iter().all(|news| matches!(news, PresenceEvent::Interval { joined: 0, left: 0, .. })), "{heard:?}");
}

#[test]
fn a_restarted_node_leaves_no_ghost_of_its_life_before() {
    let mut world = World::new(&["fra", "iad"], 2);
    world.enter(0, &id("ann", 1), 1, "chat", "");
    world.pass(SECOND);
    world.kill(0);
    world.pass(SECOND);
    world.restart(0);
    world.pass(20 * SECOND);
    for region in ["fra", "iad"] {
        assert_eq!(world.answer(region, "chat").occupancy, 0, "{region}");
        assert!(world.listed(region, "chat").is_empty());
    }
}

#[test]
fn a_region_out_of_sight_is_listed_beside_the_total_and_causes_no_event() {
    let mut world = World::new(&["fra", "iad"], 1);
    world.enter(0, &id("ann", 1), 1, "chat", "");
    world.enter(1, &id("bob", 1), 1, "chat", "");
    world.pass(6 * SECOND);
    world.heard(0, "chat");
    let before = world.now;
    world.cut(0, 1);
    world.pass(60 * SECOND);
    let answer = world.answer("fra", "chat");
    assert_eq!((answer.occupancy, answer.clients), (1, 1));
    let iad = &answer.regions["iad"];
    assert_eq!((iad.occupancy, iad.reachable), (1, false));
    assert!(iad.as_of.is_some_and(|at| at <= before));
    assert_eq!(world.heard(0, "chat"), []);
    world.heal();
    world.pass(10 * SECOND);
    assert_eq!(world.answer("fra", "chat").occupancy, 2);
    assert_eq!(world.heard(0, "chat"), []);

    world.cut(0, 1);
    world.pass(UNSEEN_KEPT + 20 * SECOND);
    assert_eq!(world.answer("fra", "chat").regions["iad"].occupancy, 0);
}

#[test]
fn a_node_that_was_given_up_comes_back_under_another_life() {
    let mut world = World::new(&["fra", "iad"], 3);
    let on = "chat";
    let owner = world.owner("fra", on);
    let apart = (owner + 1) % 3;
    world.enter(apart, &id("ann", 1), 1, on, "");
    world.pass(SECOND);
    world.heard(owner, on);
    (0..6).filter(|other| *other != apart).for_each(|other| world.cut(apart, other));
    world.pass(40 * SECOND);
    assert_eq!(world.heard(owner, on), [PresenceEvent::Timeout { client: client("ann"), occupancy: 0 }]);
    world.heal();
    world.pass(10 * SECOND);
    assert_eq!(world.answer("fra", on).occupancy, 1);
    assert_eq!(world.answer("iad", on).occupancy, 1);
    assert_eq!(world.heard(owner, on), [join("ann", 1)]);
}

#[test]
fn what_a_full_queue_lost_is_told_anew() {
    let mut world = World::new(&["fra", "iad"], 2);
    for n in 0..20 {
        world.enter(0, &id(&format!("c{n}"), 1), 1, "chat", "");
        world.enter(0, &id(&format!("c{n}"), 1), 1, &format!("room.{n}"), "");
        world.pass(SECOND / 2);
        (0..4).for_each(|to| world.lose(n % 2, to));
        if n % 3 == 0 {
            world.leave(0, &id(&format!("c{n}"), 1), 1, "chat");
        }
    }
    world.pass(12 * SECOND);
    assert_eq!(world.answer("fra", "chat").occupancy, 13);
    assert_eq!(world.answer("iad", "chat").occupancy, 13);
    assert!((0..20).all(|n| world.answer("iad", &format!("room.{n}")).occupancy == 1));
}

#[test]
fn many_occupants_are_summed_up_once_a_second() {
    let mut world = World::new(&["fra"], 1);
    world.wants.above = 10;
    for n in 0..10 {
        world.enter(0, &id(&format!("c{n}"), 1), 1, "chat", "");
    }
    world.pass(SECOND);
    assert_eq!(world.heard(0, "chat").len(), 10);
    for n in 10..100 {
        world.enter(0, &id(&format!("c{n}"), 1), 1, "chat", "");
        world.pass(SECOND / 20);
    }
    world.leave(0, &id("c3", 1), 1, "chat");
    world.pass(2 * SECOND);
    let heard = world.heard(0, "chat");
    assert!((4..=7).contains(&heard.len()), "{heard:?}");
    let (joined, left) = heard.iter().fold((0, 0), |(joined, left), news| match news {
        PresenceEvent::Interval { joined: more, left: fewer, .. } => (joined + more, left + fewer),
        other => panic!("{other:?}"),
    });
    assert_eq!((joined, left), (90, 1));
    assert!(matches!(heard.last(), Some(PresenceEvent::Interval { occupancy: 99, clients: 99, .. })));
}

#[test]
fn who_begins_to_watch_hears_how_things_stand_and_greets_nobody() {
    let mut world = World::new(&["fra", "iad"], 2);
    world.watch(&[]);
    world.enter(0, &id("ann", 1), 1, "chat", "");
    world.pass(30 * SECOND);
    assert_eq!(world.answer("iad", "chat").occupancy, 0, "nobody there wants to know");
    world.watch(&["fra", "iad"]);
    world.pass(SECOND);
    let owner = world.owner("iad", "chat");
    let stand = PresenceEvent::Interval { occupancy: 1, clients: 1, joined: 0, left: 0 };
    assert_eq!(world.heard(owner, "chat"), [stand]);
    world.enter(1, &id("bob", 1), 1, "chat", "");
    world.pass(SECOND);
    assert_eq!(world.heard(owner, "chat"), [join("bob", 2)]);
}

#[test]
fn the_first_of_a_region_is_news_though_others_were_there_before() {
    let mut world = World::new(&["fra", "iad"], 1);
    world.enter(0, &id("ann", 1), 1, "chat", "");
    world.pass(SECOND);
    world.heard(0, "chat");
    world.enter(1, &id("bob", 1), 1, "chat", "");
    world.pass(SECOND);
    assert_eq!(world.heard(0, "chat"), [join("bob", 2)]);
}

#[test]
fn what_nobody_watches_is_fetched_for_a_question_and_let_go_later() {
    let mut world = World::new(&["fra", "iad", "sin"], 2);
    world.watch(&[]);
    world.enter(0, &id("ann", 1), 1, "chat", "");
    world.enter(2, &id("bob", 1), 1, "chat", "");
    world.pass(SECOND);
    world.ask("sin", "chat");
    assert!(!world.is_current("sin", "chat"));
    world.pass(SECOND / 4);
    assert!(world.is_current("sin", "chat"));
    let answer = world.answer("sin", "chat");
    assert_eq!((answer.occupancy, answer.clients), (2, 2));
    assert!(answer.regions.values().all(|region| region.reachable && region.as_of.is_some()), "{answer:?}");
    world.enter(3, &id("cem", 1), 1, "chat", "");
    world.pass(SECOND);
    assert_eq!(world.answer("sin", "chat").occupancy, 3, "kept up to date for the next question");
    world.pass(90 * SECOND);
    assert_eq!(world.answer("sin", "chat").occupancy, 0, "let go");
    assert!(!world.is_current("sin", "chat"));
}

#[test]
fn a_question_for_a_channel_where_nobody_is_has_an_answer_too() {
    let mut world = World::new(&["fra", "iad"], 1);
    world.ask("fra", "empty");
    world.pass(SECOND);
    assert!(world.is_current("fra", "empty"));
    assert_eq!(world.answer("fra", "empty").occupancy, 0);
}

#[test]
fn who_wants_counts_gets_one_sum_a_second_while_something_changes() {
    let mut world = World::new(&["fra"], 1);
    for n in 0..8 {
        world.enter(0, &id(&format!("c{n}"), 1), 1, "chat", "");
        world.pass(SECOND / 4);
    }
    world.pass(10 * SECOND);
    let counted = world.counted(0, "chat");
    assert!(counted.len() <= 3, "{counted:?}");
    assert!(matches!(counted.last(), Some(PresenceEvent::Interval { occupancy: 8, clients: 8, .. })), "{counted:?}");
    let joined: u64 =
        counted.iter().map(|e| if let PresenceEvent::Interval { joined, .. } = e { *joined } else { 0 }).sum();
    assert_eq!(joined, 8);
}

#[test]
fn a_stay_keeps_its_beginning_over_moves() {
    let mut world = World::new(&["fra"], 2);
    let ann = id("ann", 1);
    world.enter(0, &ann, 1, "chat", "");
    let began = world.wall_us();
    world.pass(20 * SECOND);
    world.end(0, &ann, 1, false);
    world.enter(1, &ann, 2, "chat", "");
    world.pass(30 * SECOND);
    assert_eq!(world.since("fra", "chat", "ann"), Some(began));
}

#[test]
fn a_new_owner_whose_question_was_lost_asks_again_and_speaks_soon() {
    let mut world = World::new(&["fra"], 3);
    let owner = world.owner("fra", "chat");
    let heir = world.heir_of("fra", "chat");
    let third = (0..3).find(|n| *n != owner && *n != heir).unwrap();
    world.pass(2 * SECOND);
    world.kill(owner);
    // What the new owner has just asked does not arrive.
    world.lose(heir, third);
    world.pass(2 * SECOND);
    world.enter(third, &id("ann", 1), 1, "chat", "");
    world.pass(SECOND);
    assert_eq!(world.heard(heir, "chat"), [join("ann", 1)]);
}

#[test]
fn a_client_of_an_owner_that_dies_goes_on_elsewhere_without_an_event_in_other_regions() {
    let mut world = World::new(&["fra", "iad"], 2);
    let owner = world.owner("fra", "chat");
    let other = (0..2).find(|n| *n != owner).unwrap();
    let ann = id("ann", 1);
    world.enter(owner, &ann, 1, "chat", "");
    world.pass(SECOND);
    let there = world.owner("iad", "chat");
    assert_eq!(world.heard(there, "chat"), [join("ann", 1)]);
    world.kill(owner);
    // She notices later than the nodes, which have a new owner by then that does not know her.
    world.pass(7 * SECOND);
    world.enter(other, &ann, 2, "chat", "");
    world.pass(60 * SECOND);
    let events = world.heard(there, "chat");
    assert!(events.iter().all(|event| matches!(event, PresenceEvent::Interval { .. })), "{events:?}");
    assert_eq!(world.answer("iad", "chat").occupancy, 1);
}

#[test]
fn a_region_that_is_lost_right_after_a_question_is_dated_and_lists_nobody_who_goes_on_elsewhere() {
    let mut world = World::new(&["fra", "iad"], 1);
    world.watch(&[]);
    let (ann, bob) = (id("ann", 1), id("bob", 1));
    world.enter(1, &ann, 1, "chat", "");
    world.enter(1, &bob, 1, "chat", "");
    world.pass(SECOND);
    world.ask("fra", "chat");
    world.pass(SECOND);
    let asked_at = world.now;
    world.kill(1);
    world.pass(5 * SECOND);
    world.enter(0, &ann, 2, "chat", "");
    world.pass(20 * SECOND);
    world.ask("fra", "chat");
    let answer = world.answer("fra", "chat");
    let iad = &answer.regions["iad"];
    assert!(!iad.reachable && iad.as_of.is_some_and(|at| at <= asked_at), "{answer:?}");
    assert_eq!((answer.occupancy, iad.occupancy), (1, 1), "ann is here, bob was last seen there");
}
