//! Who is reached how, and who owns what meanwhile: one fact per test, and the properties of relays over drawn networks.

use std::collections::{BTreeMap, BTreeSet};

use farwire_wire::ids::Slot;
use proptest::prelude::*;

use super::SwimState::Alive;
use super::testing::{World, member, millis, node, secs};
use super::{Config, Input, Placement, Report, Way};

/// Node `a` of region `fra` with links to `b` and `c`, long ago.
fn trio() -> World {
    let mut world = World::new(Config::default());
    for name in ["b", "c"] {
        world.swim(name, Alive);
        world.link_up(name);
        world.reports(name, &["a", "b", "c"], false, 0);
    }
    world.pass(secs(60));
    assert_eq!(world.owners(), "a b c");
    world
}

#[test]
fn a_node_that_cannot_be_seen_is_reached_through_one_that_sees_it() {
    let mut world = trio();
    let before = world.owned().into_iter().map(|(name, count)| (name.to_owned(), count)).collect::<Vec<_>>();
    world.link_down("b");
    assert_eq!(world.way("b"), "via c");
    assert!(world.status("b").unwrap().reachable);
    let after = world.owned().into_iter().map(|(name, count)| (name.to_owned(), count)).collect::<Vec<_>>();
    assert_eq!(before, after, "no slot has moved");

    world.reports("c", &["a"], false, 0);
    assert_eq!(world.way("b"), "none");
    assert_eq!(world.owners(), "a c");

    world.link_up("b");
    assert_eq!(world.way("b"), "direct");
}

#[test]
fn what_a_peer_told_counts_only_while_there_is_a_link_to_it() {
    let mut world = trio();
    world.link_down("b");
    world.link_down("c");
    assert_eq!((world.way("b"), world.way("c")), ("none".to_owned(), "none".to_owned()));
    assert_eq!(world.owners(), "a");
}

#[test]
fn a_relay_in_the_own_region_is_preferred() {
    let mut world = World::new(Config::default());
    for (name, region) in [("b", "iad"), ("c", "fra"), ("d", "sin"), ("x", "iad")] {
        world.input(Input::Swim { member: member(name, region), state: Alive, bump: 0 });
    }
    for name in ["b", "c", "d"] {
        world.link_up(name);
        world.reports(name, &["x"], false, 0);
    }
    world.pass(secs(1));
    assert_eq!(world.way("x"), "via c");
    world.link_down("c");
    assert_eq!(world.way("x"), "via b", "then one in its region");
    world.link_down("b");
    assert_eq!(world.way("x"), "via d");
}

#[test]
fn a_node_that_is_back_owns_nothing_for_a_moment() {
    let mut world = trio();
    world.link_down("b");
    world.reports("c", &["a"], false, 0);
    world.pass(secs(5));
    world.link_up("b");
    assert_eq!(world.way("b"), "direct");
    assert_eq!(world.owners(), "a c");
    world.pass(millis(1_500));
    assert_eq!(world.owners(), "a b c");
}

#[test]
fn a_node_that_rests_owns_only_what_nobody_else_can() {
    let mut world = trio();
    world.reports("b", &["a", "c"], true, 0);
    assert_eq!(world.owners(), "a c");
    world.reports("c", &["a", "b"], true, 0);
    assert_eq!(world.owners(), "a");
    world.reports("a", &[], false, 0);

    // Node `a` was lost by both of them, and rests as well.
    world.reports("b", &["a", "c"], true, 1);
    world.reports("c", &["a", "b"], true, 1);
    assert_eq!(world.owners(), "a b c", "as if nobody rested");
    world.reports("c", &["a", "b"], false, 1);
    assert_eq!(world.owners(), "c");
    world.pass(secs(2));
    assert_eq!(world.owners(), "a c", "the own rest ends by itself");
}

#[test]
fn heirs_are_who_would_own_if_nobody_rested() {
    let mut world = trio();
    let heirs = |world: &World| {
        let routes = world.placement.routes();
        let fra = routes.view().region_index(&member("a", "fra").region).unwrap();
        Slot::all().map(|slot| routes.heir(fra, slot)).collect::<Vec<_>>()
    };
    let before = heirs(&world);
    world.reports("b", &["a", "c"], true, 0);
    assert_eq!(heirs(&world), before);
}

#[test]
fn returns_of_a_link_are_counted_until_it_held_for_ten_minutes() {
    let mut world = trio();
    for flaps in 1..4 {
        world.link_down("b");
        world.link_up("b");
        assert_eq!(world.status("b").unwrap().link_flaps, flaps);
    }
    world.pass(secs(600));
    world.link_down("b");
    world.link_up("b");
    assert_eq!(world.status("b").unwrap().link_flaps, 1);
}

#[test]
fn a_new_owner_knows_since_when_it_owns() {
    let mut world = trio();
    world.link_down("b");
    let lost_at = world.now;
    world.reports("c", &["a"], false, 0);
    world.pass(secs(9));
    world.reports("c", &["a", "z"], false, 0);
    let routes = world.placement.routes();
    let fra = routes.view().region_index(&member("a", "fra").region).unwrap();
    let mut kinds = BTreeSet::new();
    for slot in Slot::all() {
        let owner = routes.view().member(routes.owner(fra, slot).unwrap()).name.clone();
        let preferred = routes.view().member(routes.view().slot_walk(fra, slot)[0]).name.clone();
        match (owner == node("a"), preferred == node("a")) {
            (true, true) => assert!(routes.owned_since(slot).unwrap() < lost_at),
            (true, false) => assert_eq!(routes.owned_since(slot), Some(lost_at)),
            (false, _) => assert_eq!(routes.owned_since(slot), None),
        }
        kinds.insert((owner, preferred));
    }
    assert!(kinds.contains(&(node("a"), node("b"))), "{kinds:?}");
}

/// A network of up to six nodes in three regions; `cuts` says which pairs have no link.
#[derive(Debug, Clone)]
struct Network {
    nodes: usize,
    cuts: BTreeSet<(usize, usize)>,
}

impl Network {
    fn linked(&self, a: usize, b: usize) -> bool {
        a == b || !self.cuts.contains(&(a.min(b), a.max(b)))
    }

    fn is_near(&self, a: usize, b: usize) -> bool {
        (0..self.nodes).any(|relay| self.linked(a, relay) && self.linked(relay, b))
    }

    fn member(node: usize) -> super::Member {
        member(&format!("n{node}"), ["fra", "iad", "sin"][node % 3])
    }

    /// The placement of every node, an hour after all have told each other what they see.
    fn worlds(&self) -> Vec<World> {
        (0..self.nodes).map(|local| self.world(local)).collect()
    }

    fn world(&self, local: usize) -> World {
        let mut world = World::of(Placement::new(Self::member(local), 16, Config::default()));
        for other in (0..self.nodes).filter(|other| *other != local) {
            world.input(Input::Swim { member: Self::member(other), state: Alive, bump: 0 });
            if self.linked(local, other) {
                let seen = (0..self.nodes).filter(|node| *node != other && self.linked(other, *node));
                let links = seen.map(|node| Self::member(node).name).collect();
                world.input(Input::LinkUp(Self::member(other).name));
                world.input(Input::Report(Self::member(other).name, Report { links, resting: false, flaps: 0 }));
            }
        }
        world.pass(secs(3_600));
        world
    }
}

fn network() -> impl Strategy<Value = Network> {
    (2_usize..7).prop_flat_map(|nodes| {
        let pairs = (0..nodes).flat_map(|b| (0..b).map(move |a| (a, b))).collect::<Vec<_>>();
        let most = pairs.len();
        prop::sample::subsequence(pairs, 0..=most)
            .prop_map(move |cuts| Network { nodes, cuts: cuts.into_iter().collect() })
    })
}

fn index(world: &World, node: usize) -> super::MemberIndex {
    world.placement.routes().view().find(Network::member(node).name.as_str()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is sent, directly or to a relay that then has a link, arrives after two steps at most; and wherever there
    /// is a path of one or two steps, it is found.
    #[test]
    fn whoever_is_two_steps_away_is_reached_and_nothing_goes_in_a_circle(network in network()) {
        let worlds = network.worlds();
        for (from, world) in worlds.iter().enumerate() {
            for to in 0..network.nodes {
                let arrives = match world.placement.routes().way(index(world, to)) {
                    Way::Here => from == to,
                    Way::Direct => network.linked(from, to),
                    Way::Via(relay) => {
                        let name = &world.placement.routes().view().member(relay).name;
                        let relay = (0..network.nodes).find(|node| Network::member(*node).name == *name).unwrap();
                        let onward = worlds[relay].placement.routes().way(index(&worlds[relay], to));
                        network.linked(from, relay) && onward == Way::Direct
                    }
                    Way::None => {
                        prop_assert!(!network.is_near(from, to), "{} does not reach {}", from, to);
                        continue;
                    }
                };
                prop_assert!(arrives, "{} to {}", from, to);
            }
        }
    }

    /// Where everybody is two steps away at most, nobody notices a cut: all have the same owners as without it.
    #[test]
    fn cuts_between_pairs_move_no_slot(network in network()) {
        let all = (0..network.nodes).flat_map(|a| (0..network.nodes).map(move |b| (a, b)));
        prop_assume!(all.clone().all(|(a, b)| network.is_near(a, b)));
        let owners = |world: &World| -> BTreeMap<_, Vec<_>> {
            let routes = world.placement.routes();
            Slot::all().map(|slot| (slot.index(), routes.owners_of(slot).collect())).collect()
        };
        let whole = Network { nodes: network.nodes, cuts: BTreeSet::new() }.world(0);
        for world in network.worlds() {
            prop_assert_eq!(owners(&world), owners(&whole));
        }
    }
}
