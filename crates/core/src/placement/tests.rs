//! What the placement promises, one fact per test.

use super::testing::{World, member, millis, node, secs};
use super::{Config, Effect, Input, Member, MemberState, Placement, SwimState};

use SwimState::{Alive, Down, Suspect};

fn is_routes(effect: &Effect) -> bool {
    matches!(effect, Effect::Routes(_))
}

#[test]
fn the_local_node_is_alone_in_the_ring_at_first() {
    let world = World::new(Config::default());
    assert_eq!(world.ring(), "a");
    let status = world.status("a").unwrap();
    assert!(status.in_ring && status.reachable && status.state == MemberState::Alive);
    assert_eq!(world.placement.next_deadline(), None);
}

#[test]
fn a_young_region_takes_its_joins_in_one_batch_after_250_ms() {
    let mut world = World::new(Config::default());
    world.swim("b", Alive);
    world.pass(millis(200));
    world.swim("c", Alive);
    assert_eq!(world.ring(), "a");
    assert_eq!(world.placement.next_deadline(), Some(millis(250)));
    world.pass(millis(50));
    assert_eq!(world.ring(), "a b c");

    world.swim("d", Alive);
    world.pass(millis(250));
    assert_eq!(world.ring(), "a b c d");
}

#[test]
fn a_second_join_in_an_old_region_waits_10_s() {
    let mut world = World::old();
    world.swim("b", Alive);
    world.pass(millis(250));
    assert_eq!(world.ring(), "a b");

    world.swim("c", Alive);
    world.pass(millis(5000));
    world.swim("d", Alive);
    world.pass(millis(4999));
    assert_eq!(world.ring(), "a b");
    world.pass(millis(1));
    assert_eq!(world.ring(), "a b c d");
}

#[test]
fn a_new_region_is_young_in_an_old_mesh() {
    let mut world = World::old();
    for name in ["x", "y", "z"] {
        world.input(Input::Swim { member: member(name, "iad"), state: Alive, bump: 0 });
        world.pass(millis(250));
    }
    assert_eq!(world.ring(), "a x y z");
}

#[test]
fn a_change_in_one_region_brings_none_forward_in_another() {
    let mut world = World::old();
    world.swim("b", Alive);
    world.pass(millis(250));
    world.swim("c", Alive);
    world.input(Input::Swim { member: member("x", "iad"), state: Alive, bump: 0 });
    world.pass(millis(250));
    assert_eq!(world.ring(), "a b x");
}

#[test]
fn a_suspect_joins_and_stays() {
    let mut world = World::new(Config::default());
    world.swim("b", Suspect);
    world.pass(secs(3600));
    assert_eq!(world.ring(), "a b");
    assert_eq!(world.state("b"), Some(MemberState::Suspect));
}

#[test]
fn a_member_that_left_leaves_the_ring_at_once() {
    let mut world = World::old();
    world.swim("b", Alive);
    world.pass(millis(250));
    let effects = world.left("b");
    assert_eq!(world.ring(), "a");
    assert!(matches!(effects[..], [Effect::Member { .. }, Effect::Routes(_), Effect::RingChanged { .. }]));
    assert!(world.left("b").is_empty());

    for state in [Suspect, Alive, Down] {
        world.swim("b", state);
        assert_eq!(world.state("b"), Some(MemberState::Left), "others did not hear the goodbye");
    }
    world.pass(secs(3_600));
    assert_eq!(world.ring(), "a");
    world.comes_back("b");
    world.pass(secs(10));
    assert_eq!(world.ring(), "a b");
}

#[test]
fn a_member_that_is_down_leaves_the_ring_after_10_minutes() {
    let mut world = World::new(Config::default());
    world.swim("b", Alive);
    world.pass(secs(1));
    world.swim("b", Down);
    world.pass(secs(600));
    assert_eq!(world.ring(), "a b");
    world.pass(millis(250));
    assert_eq!(world.ring(), "a");
    assert_eq!(world.state("b"), Some(MemberState::Down));
}

#[test]
fn a_member_that_is_back_within_10_minutes_never_left_the_ring() {
    let mut world = World::new(Config::default());
    world.swim("b", Alive);
    world.pass(secs(1));
    for _ in 0..30 {
        world.swim("b", Down);
        let effects = world.pass(secs(599));
        assert!(effects.is_empty(), "{effects:?}");
        world.swim("b", Alive);
        world.pass(secs(1));
    }
    assert_eq!(world.ring(), "a b");
}

#[test]
fn a_live_link_vetoes_the_ring_change() {
    let mut world = World::new(Config::default());
    world.swim("b", Alive);
    world.link_up("b");
    world.pass(secs(1));
    world.swim("b", Down);
    world.pass(secs(3600));
    assert_eq!(world.ring(), "a b");
    assert!(world.status("b").unwrap().reachable, "only links decide who is reachable");

    world.link_down("b");
    world.pass(secs(599));
    assert_eq!(world.ring(), "a b", "the 10 minutes begin when the last sign of life ends");
    world.pass(secs(2));
    assert_eq!(world.ring(), "a");
}

#[test]
fn a_live_link_counts_as_much_for_a_node_that_never_saw_the_member_alive() {
    let mut world = World::new(Config::default());
    world.swim("b", Down);
    world.link_up("b");
    world.pass(secs(3600));
    assert_eq!(world.ring(), "a b", "as on the nodes that had it in the ring before");
}

#[test]
fn links_route_at_once_and_only_links() {
    let mut world = World::new(Config::default());
    world.swim("b", Alive);
    world.pass(secs(1));
    let index = world.placement.routes().view().find("b").unwrap();
    assert!(!world.placement.routes().is_reachable(index));

    let effects = world.link_up("b");
    assert!(matches!(effects[..], [Effect::Routes(_)]), "{effects:?}");
    assert!(world.placement.routes().is_reachable(index));
    assert!(world.link_up("b").is_empty());

    world.swim("b", Down);
    assert!(world.placement.routes().is_reachable(index));
    let effects = world.link_down("b");
    assert!(matches!(effects[..], [Effect::Routes(_)]), "{effects:?}");
    assert!(!world.placement.routes().is_reachable(index));
    assert!(world.link_down("b").is_empty());
}

#[test]
fn a_link_that_is_up_before_its_member_is_known_counts() {
    let mut world = World::new(Config::default());
    assert!(world.link_up("b").is_empty());
    world.swim("b", Alive);
    world.pass(secs(1));
    assert!(world.status("b").unwrap().reachable);
}

#[test]
fn a_flapping_member_waits_longer_each_time() {
    let mut world = World::new(Config { region_young: secs(86400), ..Config::default() });
    world.swim("b", Alive);
    world.pass(secs(1));
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        world.left("b");
        assert_eq!(world.ring(), "a");
        world.comes_back("b");
        world.pass(secs(wait) + millis(249));
        assert_eq!(world.ring(), "a", "after {wait} s");
        world.pass(millis(1));
        assert_eq!(world.ring(), "a b", "after {wait} s");
    }
    world.pass(secs(600));
    world.left("b");
    world.comes_back("b");
    world.pass(millis(1250));
    assert_eq!(world.ring(), "a b", "forgiven after 10 stable minutes");
}

#[test]
fn one_that_waits_does_not_hold_up_others() {
    let mut world = World::new(Config::default());
    world.swim("b", Alive);
    world.pass(secs(1));
    world.left("b");
    world.comes_back("b");
    world.swim("c", Alive);
    world.pass(millis(250));
    assert_eq!(world.ring(), "a c");
}

#[test]
fn a_weight_change_is_a_ring_change() {
    let mut world = World::old();
    world.swim("b", Alive);
    world.pass(millis(250));
    let heavy = Member { weight: 4, ..member("b", "fra") };
    let before = world.placement.routes().view().digest();
    world.input(Input::Weight(node("b"), 4));
    world.pass(millis(9_999));
    assert_eq!(world.placement.routes().view().digest(), before);
    world.pass(millis(1));
    let view = world.placement.routes().view();
    assert_eq!(view.member(view.find("b").unwrap()), &heavy);
}

#[test]
fn a_member_that_changes_all_the_time_is_not_put_off_for_ever() {
    let mut world = World::new(Config::default());
    for weight in 1..=6 {
        world.input(Input::Weight(node("a"), weight));
        world.pass(millis(100));
    }
    assert!(world.placement.routes().view().members()[0].weight > 1);
}

#[test]
fn the_local_node_changes_its_weight_too() {
    let mut world = World::new(Config::default());
    world.input(Input::Weight(node("a"), 2));
    world.pass(secs(1));
    assert_eq!(world.placement.routes().view().members(), [Member { weight: 2, ..member("a", "fra") }]);
}

#[test]
fn a_member_that_changes_region_leaves_the_old_one_at_once() {
    let mut world = World::new(Config::default());
    world.swim("b", Alive);
    world.pass(secs(1));
    world.input(Input::Swim { member: member("b", "iad"), state: Alive, bump: 0 });
    assert_eq!(world.ring(), "a");
    world.pass(millis(1250));
    assert_eq!(world.ring(), "a b");
    assert_eq!(world.placement.routes().view().regions().len(), 2);
}

#[test]
fn the_local_node_is_not_told_that_it_is_down() {
    let mut world = World::new(Config::default());
    for input in [
        Input::Swim { member: member("a", "fra"), state: Down, bump: 9 },
        Input::Forget(node("a")),
        Input::LinkDown(node("a")),
    ] {
        assert!(world.input(input).is_empty());
    }
    assert!(world.status("a").unwrap().reachable);
    assert_eq!(world.pass(secs(86_400 * 3)).len(), 0);
    assert_eq!(world.ring(), "a");
}

#[test]
fn a_draining_node_leaves_its_own_ring_and_stays_listed() {
    let mut world = World::new(Config::default());
    world.left("a");
    world.pass(secs(86_400 * 3));
    assert_eq!(world.ring(), "");
    assert_eq!(world.state("a"), Some(MemberState::Left));
    assert!(world.status("a").unwrap().reachable);
}

#[test]
fn a_forgotten_member_is_gone_at_once_and_may_come_back() {
    let mut world = World::old();
    world.swim("b", Alive);
    world.pass(millis(250));
    world.swim("b", Down);
    world.input(Input::Forget(node("b")));
    assert_eq!(world.ring(), "a");
    assert_eq!(world.state("b"), None);
    world.swim("b", Alive);
    world.pass(secs(10));
    assert_eq!(world.ring(), "a b");
}

#[test]
fn gone_members_are_listed_for_24_hours() {
    let mut world = World::new(Config::default());
    world.swim("b", Alive);
    world.swim("c", Alive);
    world.pass(secs(1));
    world.left("b");
    world.swim("c", Down);
    world.pass(secs(86_399));
    assert_eq!(world.state("b"), Some(MemberState::Left));
    assert_eq!(world.state("c"), Some(MemberState::Down));
    let effects = world.pass(secs(1));
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Member { to: None, .. })), "{effects:?}");
    assert_eq!((world.state("b"), world.state("c")), (None, None));
    assert_eq!(world.placement.next_deadline(), None);
}

#[test]
fn members_beyond_the_bound_are_ignored_until_one_is_gone() {
    let mut world = World::new(Config { members_max: 3, ..Config::default() });
    world.swim("b", Alive);
    world.swim("c", Alive);
    let effects = world.swim("d", Alive);
    assert!(matches!(&effects[..], [Effect::MembersFull { name }] if *name == node("d")), "{effects:?}");
    assert_eq!(world.state("d"), None);

    world.left("b");
    let effects = world.swim("d", Down);
    assert!(matches!(effects[..], [Effect::MembersFull { .. }]), "only a live one takes the place");
    world.swim("d", Alive);
    assert_eq!((world.state("b"), world.state("d")), (None, Some(MemberState::Alive)));

    for i in 0..10 {
        world.link_up(&format!("unknown-{i}"));
    }
    world.link_up("d");
    assert!(world.status("d").unwrap().reachable, "a member's link always counts");
}

#[test]
fn the_longest_gone_makes_room_first() {
    let mut world = World::new(Config { members_max: 3, ..Config::default() });
    world.swim("b", Alive);
    world.swim("c", Alive);
    world.left("c");
    world.pass(secs(1));
    world.left("b");
    world.swim("d", Alive);
    assert_eq!((world.state("b"), world.state("c")), (Some(MemberState::Left), None));
}

#[test]
fn one_call_publishes_routes_once() {
    let mut world = World::new(Config::default());
    for name in ["b", "c", "d"] {
        world.swim(name, Alive);
    }
    world.now += secs(5);
    let effects = world.link_up("b");
    assert_eq!(effects.iter().filter(|effect| is_routes(effect)).count(), 1);
    let Some(Effect::RingChanged { digest }) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(*digest, world.placement.routes().view().digest());
    assert_eq!(world.ring(), "a b c d");
}

#[test]
fn state_changes_are_told_once() {
    let mut world = World::new(Config::default());
    let told = |effects: Vec<Effect>| match effects[..] {
        [Effect::Member { from, to, .. }] => Some((from, to)),
        [] => None,
        _ => panic!("{effects:?}"),
    };
    assert_eq!(told(world.swim("b", Alive)), Some((None, Some(MemberState::Alive))));
    assert_eq!(told(world.swim("b", Alive)), None);
    assert_eq!(told(world.swim("b", Suspect)), Some((Some(MemberState::Alive), Some(MemberState::Suspect))));
    assert_eq!(told(world.swim("b", Down)), Some((Some(MemberState::Suspect), Some(MemberState::Down))));
    assert_eq!(told(world.input(Input::Forget(node("b")))), Some((Some(MemberState::Down), None)));
    assert_eq!(told(world.input(Input::Forget(node("b")))), None);
    assert_eq!(told(world.left("b")), None);
}

#[test]
fn members_that_know_each_other_have_one_view() {
    let members = [member("a", "fra"), member("b", "fra"), member("c", "iad")];
    let digest_at = |local: &Member| {
        let mut world = World::of(Placement::new(local.clone(), 16, Config::default()));
        for other in members.iter().filter(|other| *other != local) {
            world.input(Input::Swim { member: other.clone(), state: Alive, bump: 0 });
        }
        world.pass(millis(250));
        world.placement.routes().view().digest()
    };
    assert_eq!(digest_at(&members[0]), digest_at(&members[1]));
    assert_eq!(digest_at(&members[0]), digest_at(&members[2]));
}
