//! Properties of views, routes and placements over drawn members and histories.

use std::collections::{BTreeMap, BTreeSet};

use farwire_wire::ids::{SLOTS, Shard, Slot};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::testing::{World, member, millis, node, routes, secs};
use super::{Config, Input, Member, MemberIndex, RegionIndex, SwimState, View};

const REGIONS: [&str; 3] = ["fra", "iad", "sin"];

/// Up to a dozen nodes with drawn names per region.
fn members() -> impl Strategy<Value = Vec<Member>> {
    btree_map("[a-z0-9-]{1,8}", 0..REGIONS.len(), 1..24)
        .prop_map(|names| names.into_iter().map(|(name, region)| member(&name, REGIONS[region])).collect())
}

fn region_of(view: &View, region: &str) -> Option<RegionIndex> {
    view.region_index(&member("x", region).region)
}

fn names<'v>(view: &'v View, walk: &'v [MemberIndex]) -> impl Iterator<Item = &'v str> {
    walk.iter().map(|index| view.member(*index).name.as_str())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn walks_hold_every_node_of_the_region_once(members in members(), shards in 1_u16..40) {
        let view = View::build(members.clone(), shards);
        for (region, name) in view.region_indexes().zip(view.regions()) {
            let expected: Vec<_> = members.iter().filter(|m| m.region == *name).map(|m| m.name.as_str()).collect();
            let slot_walks = Slot::all().map(|slot| view.slot_walk(region, slot));
            for walk in slot_walks.chain((0..shards).map(|shard| view.shard_walk(region, Shard(shard)))) {
                let mut found: Vec<_> = names(&view, walk).collect();
                found.sort_unstable();
                prop_assert_eq!(&found, &expected);
            }
            for shard in (0..shards).map(Shard) {
                prop_assert_eq!(view.replicas(region, shard).len(), expected.len().min(3));
            }
            prop_assert!(view.replicas(region, Shard(shards)).is_empty());
        }
    }

    #[test]
    fn a_view_depends_on_the_set_of_members_only(members in members(), seed in vec(any::<prop::sample::Index>(), 24)) {
        let mut shuffled = members.clone();
        for index in seed {
            shuffled.push(index.get(&members).clone());
            let at = index.index(shuffled.len());
            shuffled.swap(0, at);
        }
        let (view, same) = (View::build(members, 16), View::build(shuffled, 16));
        prop_assert_eq!(view.digest(), same.digest());
        prop_assert_eq!(view.members(), same.members());
        for (region, slot) in view.region_indexes().flat_map(|region| Slot::all().map(move |slot| (region, slot))) {
            prop_assert_eq!(view.slot_walk(region, slot), same.slot_walk(region, slot));
        }
    }

    /// Without the node, every walk is the walk with it, less that node: so nothing moves between others, and no other
    /// region notices. What moves is therefore the node's own share, which is near the fair one.
    #[test]
    fn one_node_more_or_less_moves_only_its_own_share(members in members(), gone in any::<prop::sample::Index>()) {
        let gone = gone.get(&members).clone();
        let rest = members.iter().filter(|m| m.name != gone.name).cloned().collect();
        let nodes = members.iter().filter(|m| m.region == gone.region).count();
        let (with, without) = (View::build(members, 16), View::build(rest, 16));
        let mut moved = 0;
        for (region, name) in with.region_indexes().zip(with.regions()) {
            for slot in Slot::all() {
                let walk = with.slot_walk(region, slot);
                let walk_without = region_of(&without, name.as_str()).map_or(&[][..], |r| without.slot_walk(r, slot));
                let expected = names(&with, walk).filter(|name| *name != gone.name.as_str());
                prop_assert!(expected.eq(names(&without, walk_without)));
                moved += usize::from(with.member(walk[0]).name == gone.name);
            }
        }
        prop_assert!(moved * nodes * 2 <= usize::from(SLOTS) * 3, "{} of {} nodes", moved, nodes);
    }

    #[test]
    fn the_owner_is_the_first_reachable_node(members in members(), cut in any::<u32>()) {
        let reachable: BTreeSet<_> =
            (0..).zip(&members).filter(|(i, _)| cut & (1 << i) == 0).map(|(_, m)| m.name.clone()).collect();
        let routes = routes(View::build(members, 16), &reachable);
        let view = routes.view();
        for slot in Slot::all() {
            let mut owners: BTreeMap<_, _> = routes.owners_of(slot).collect();
            for region in view.region_indexes() {
                let owner = routes.owner(region, slot);
                prop_assert_eq!(owner, owners.remove(&region));
                let walk = view.slot_walk(region, slot);
                let before = walk.iter().take_while(|node| Some(**node) != owner);
                prop_assert!(before.into_iter().all(|node| !routes.is_reachable(*node)));
                prop_assert!(owner.is_none_or(|node| reachable.contains(&view.member(node).name)));
            }
            prop_assert!(owners.is_empty());
        }
    }
}

/// What happens to one peer, in order. The last entries of each kind are the final facts.
#[derive(Debug, Clone)]
struct History {
    steps: Vec<Step>,
    last: (Step, bool),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Swim(SwimState, usize, u16, u64),
    Left,
    Link(bool),
    Forget,
}

fn swim_step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![Just(SwimState::Alive), Just(SwimState::Suspect), Just(SwimState::Down)];
    let region = prop_oneof![4 => Just(0), 1 => 0..REGIONS.len()];
    (state, region, 0_u16..4, 0_u64..3)
        .prop_map(|(state, region, weight, bump)| Step::Swim(state, region, weight, bump))
}

fn history() -> impl Strategy<Value = History> {
    let step = prop_oneof![
        4 => swim_step(), 1 => Just(Step::Left), 2 => any::<bool>().prop_map(Step::Link), 1 => Just(Step::Forget),
    ];
    let last = (prop_oneof![4 => swim_step(), 1 => Just(Step::Left)], any::<bool>());
    (vec(step, 0..6), last).prop_map(|(steps, (state, link))| {
        // The final fact comes under the greatest bump so far; if the member left under that one, then this is it.
        let (mut greatest, mut left, mut known) = (0, false, false);
        for step in &steps {
            match step {
                Step::Swim(.., bump) if *bump > greatest || !known => (greatest, left, known) = (*bump, false, true),
                Step::Left => left |= known,
                Step::Forget => (greatest, left, known) = (0, false, false),
                Step::Swim(..) | Step::Link(_) => {}
            }
        }
        let state = match state {
            Step::Swim(state, region, weight, bump) if !left || bump > greatest => {
                Step::Swim(state, region, weight, bump.max(greatest))
            }
            _ => Step::Left,
        };
        History { steps, last: (state, link) }
    })
}

fn input(peer: usize, step: Step) -> Input {
    let name = format!("p{peer}");
    match step {
        Step::Swim(state, region, weight, bump) => {
            Input::Swim { member: Member { weight, ..member(&name, REGIONS[region]) }, state, bump }
        }
        Step::Left => Input::Left(node(&name)),
        Step::Forget => Input::Forget(node(&name)),
        Step::Link(true) => Input::LinkUp(node(&name)),
        Step::Link(false) => Input::LinkDown(node(&name)),
    }
}

/// Feeds the histories, interleaved and repeated as `picks` says with time between, then the final facts alone, and
/// lets every deadline pass.
fn settle(histories: &[History], picks: &[(prop::sample::Index, u64, bool)], with_past: bool) -> World {
    let mut world = World::new(Config::default());
    let mut queues: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
    for (peer, History { steps, last }) in histories.iter().enumerate() {
        let mut queue = if with_past { steps.clone() } else { Vec::new() };
        queue.extend([last.0, Step::Link(last.1)]);
        queue.reverse();
        queues.insert(peer, queue);
    }
    for (pick, pause_ms, repeat) in picks.iter().cycle() {
        let Some(peer) = (!queues.is_empty()).then(|| *pick.get(&queues.keys().copied().collect::<Vec<_>>())) else {
            break;
        };
        let Some(step) = queues.get_mut(&peer).and_then(Vec::pop) else {
            queues.remove(&peer);
            continue;
        };
        world.input(input(peer, step));
        if *repeat {
            world.input(input(peer, step));
        }
        world.pass(millis(*pause_ms));
    }
    world.pass(secs(3 * 86_400));
    assert_eq!(world.placement.next_deadline(), None, "everything has settled");
    world
}

fn picks() -> impl Strategy<Value = Vec<(prop::sample::Index, u64, bool)>> {
    let pause_ms = prop_oneof![Just(0_u64), 0_u64..400, 0_u64..20_000, 0_u64..1_000_000];
    vec((any::<prop::sample::Index>(), pause_ms, any::<bool>()), 64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nodes_that_know_the_same_agree(
        histories in vec(history(), 1..6), one in picks(), other in picks(), with_past in any::<bool>(),
    ) {
        let (one, other) = (settle(&histories, &one, true), settle(&histories, &other, with_past));
        let (one, other) = (one.placement.routes(), other.placement.routes());
        prop_assert_eq!(one.view().digest(), other.view().digest(), "{:?} {:?}", one, other);
        for slot in Slot::all() {
            prop_assert!(one.owners_of(slot).eq(other.owners_of(slot)));
        }
    }
}
