//! The laws of merging, with the crate `crdts` as an oracle, and convergence: whatever happened, soon after it is over
//! every region's owner says the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crdts::{CmRDT, Orswot, PNCounter};
use farwire_wire::ids::Life;
use farwire_wire::names::{ChannelName, NodeName, RegionName};
use farwire_wire::presence::{PartChange, PresenceId, PresenceState};
use proptest::prelude::*;

use super::channel::{Channel, Merged};
use super::local::Local;
use super::testing::{World, channel, id};

/// What a session of one of three writers does.
#[derive(Debug, Clone)]
enum Act {
    Enter { writer: usize, client: u64, state: u8 },
    Leave { writer: usize, client: u64 },
    Flush { writer: usize },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..3_usize, 0..6_u64, 0..4_u8).prop_map(|(writer, client, state)| Act::Enter { writer, client, state }),
        2 => (0..3_usize, 0..6_u64).prop_map(|(writer, client)| Act::Leave { writer, client }),
        1 => (0..3_usize).prop_map(|writer| Act::Flush { writer }),
    ]
}

/// Three writers, what they told, and two oracles that saw the same.
struct Writers {
    locals: Vec<Local>,
    told: Vec<PartChange>,
    counter: PNCounter<usize>,
    occupants: Orswot<(usize, u64), usize>,
}

fn session(writer: usize, client: u64) -> PresenceId {
    id(&format!("c{client}"), writer as u64)
}

impl Writers {
    fn run(acts: &[Act]) -> Self {
        let node = |n| NodeName::parse(&format!("n{n}")).unwrap();
        let locals = (0..3).map(|n| Local::new(node(n), Life(n + 1))).collect();
        let mut writers = Self { locals, told: Vec::new(), counter: PNCounter::new(), occupants: Orswot::new() };
        for (at, act) in acts.iter().enumerate() {
            writers.act(at as u64 + 1, act);
        }
        (0..3).for_each(|writer| writers.act(0, &Act::Flush { writer }));
        writers
    }

    fn act(&mut self, at: u64, act: &Act) {
        let on = channel("chat");
        match *act {
            Act::Enter { writer, client, state } => {
                let state = PresenceState::parse(&state.to_string()).unwrap();
                self.locals[writer].enter(&session(writer, client), 1, &on, state, at);
                let member = (writer, client);
                if !self.occupants.contains(&member).val {
                    self.counter.apply(self.counter.inc(writer));
                }
                let context = self.occupants.read_ctx().derive_add_ctx(writer);
                self.occupants.apply(self.occupants.add(member, context));
            }
            Act::Leave { writer, client } => {
                self.locals[writer].leave(&session(writer, client), 1, &on);
                let member = (writer, client);
                let found = self.occupants.contains(&member);
                if found.val {
                    self.counter.apply(self.counter.dec(writer));
                    self.occupants.apply(self.occupants.rm(member, found.derive_rm_ctx()));
                }
            }
            Act::Flush { writer } => self.told.extend(self.locals[writer].flush()),
        }
    }

    fn oracle(&self) -> BTreeSet<PresenceId> {
        self.occupants.read().val.into_iter().map(|(writer, client)| session(writer, client)).collect()
    }
}

/// A copy that takes changes in any order; where one is missing it asks for the whole part, as an owner does.
fn merged<'a>(writers: &Writers, changes: impl Iterator<Item = &'a PartChange>) -> Channel {
    let fra = RegionName::parse("fra").unwrap();
    let mut copy = Channel::default();
    for change in changes {
        if copy.merge(&fra, change, &mut Vec::new()) == Merged::Gap {
            let local = writers.locals.iter().find(|local| *local.writer() == change.writer).unwrap();
            copy.merge(&fra, &local.whole(&change.channel), &mut Vec::new());
        }
    }
    copy
}

fn contents(copy: &Channel) -> (u64, u64, BTreeMap<PresenceId, (u64, PresenceState)>) {
    let wholes = copy.writers().map(|(writer, _, _)| copy.whole(&ChannelName::parse("chat").unwrap(), writer).unwrap());
    let listed = wholes.flat_map(|whole| whole.present).map(|(id, occupant)| (id, (occupant.since_us, occupant.state)));
    (copy.occupancy(), copy.clients(), listed.collect())
}

proptest! {
    #[test]
    fn any_order_and_any_repetition_gives_what_the_oracle_has(
        acts in prop::collection::vec(act(), 0..60),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
    ) {
        let writers = Writers::run(&acts);
        let shuffled = order.iter().filter(|_| !writers.told.is_empty()).map(|index| index.get(&writers.told));
        let copy = merged(&writers, shuffled.chain(&writers.told));
        let straight = merged(&writers, writers.told.iter());
        prop_assert_eq!(contents(&copy), contents(&straight));
        let oracle = writers.oracle();
        prop_assert_eq!(contents(&copy).2.into_keys().collect::<BTreeSet<_>>(), oracle.clone());
        prop_assert_eq!(copy.occupancy().to_string(), writers.counter.read().to_string());
        let clients: BTreeSet<_> = oracle.iter().map(|id| &id.client).collect();
        prop_assert_eq!(copy.clients(), clients.len() as u64);
    }

    #[test]
    fn merging_copies_of_copies_is_the_same_as_merging_the_writers(
        acts in prop::collection::vec(act(), 0..60),
        split in prop::collection::vec(any::<bool>(), 60),
    ) {
        let writers = Writers::run(&acts);
        let side = |take: bool| {
            let changes = writers.told.iter().zip(split.iter().cycle()).filter(move |(_, left)| **left == take);
            merged(&writers, changes.map(|(change, _)| change))
        };
        let (left, right) = (side(true), side(false));
        let on = channel("chat");
        let fra = RegionName::parse("fra").unwrap();
        let wholes = |copy: &Channel| copy.writers().map(|(w, _, _)| copy.whole(&on, w).unwrap()).collect::<Vec<_>>();
        let join = |first: &Channel, second: &Channel| {
            let mut joined = Channel::default();
            for whole in wholes(first).iter().chain(&wholes(second)).chain(&wholes(first)) {
                joined.merge(&fra, whole, &mut Vec::new());
            }
            contents(&joined)
        };
        prop_assert_eq!(join(&left, &right), join(&right, &left));
    }
}

/// What happens to a mesh of six nodes.
#[derive(Debug, Clone)]
enum Fate {
    /// A client connects, or moves on to another node; the node before notices.
    Connect {
        client: usize,
        node: usize,
    },
    Leave {
        client: usize,
    },
    State {
        client: usize,
        state: u8,
    },
    Cut {
        a: usize,
        b: usize,
    },
    Kill {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Lose {
        from: usize,
        to: usize,
    },
    Heal,
    Pass {
        millis: u64,
    },
}

fn fate() -> impl Strategy<Value = Fate> {
    let node = 0..6_usize;
    let client = 0..8_usize;
    prop_oneof![
        6 => (client.clone(), node.clone()).prop_map(|(client, node)| Fate::Connect { client, node }),
        2 => client.clone().prop_map(|client| Fate::Leave { client }),
        2 => (client, 0..9_u8).prop_map(|(client, state)| Fate::State { client, state }),
        2 => (node.clone(), node.clone()).prop_map(|(a, b)| Fate::Cut { a, b }),
        1 => node.clone().prop_map(|node| Fate::Kill { node }),
        2 => node.clone().prop_map(|node| Fate::Restart { node }),
        2 => (node.clone(), node).prop_map(|(from, to)| Fate::Lose { from, to }),
        1 => Just(Fate::Heal),
        4 => (1..30_u64).prop_map(|tenths| Fate::Pass { millis: tenths * 100 }),
        1 => (10..40_u64).prop_map(|secs| Fate::Pass { millis: secs * 1_000 }),
    ]
}

/// A client: the node that it is on, how often it has connected, what it says.
#[derive(Debug, Clone, Default)]
struct Client {
    on: Option<usize>,
    moves: u32,
    state: String,
}

fn suffer(world: &mut World, clients: &mut [Client], fate: &Fate) {
    match *fate {
        Fate::Connect { client, node } if world.nodes[node].is_up => {
            let ident = id(&format!("c{client}"), client as u64);
            let before = clients[client].clone();
            clients[client] = Client { on: Some(node), moves: before.moves + 1, state: before.state.clone() };
            if let Some(on) = before.on.filter(|on| world.nodes[*on].is_up) {
                world.end(on, &ident, before.moves, false);
            }
            world.enter(node, &ident, before.moves + 1, "chat", &before.state);
        }
        Fate::Leave { client } => {
            if let Some(on) = clients[client].on.take() {
                world.end(on, &id(&format!("c{client}"), client as u64), clients[client].moves, true);
            }
        }
        Fate::State { client, state } => {
            if let Some(on) = clients[client].on {
                clients[client].state = state.to_string();
                world.enter(
                    on,
                    &id(&format!("c{client}"), client as u64),
                    clients[client].moves,
                    "chat",
                    &state.to_string(),
                );
            }
        }
        Fate::Cut { a, b } if a != b => world.cut(a, b),
        Fate::Kill { node } if world.nodes[node].is_up => {
            world.kill(node);
            for client in clients.iter_mut().filter(|client| client.on == Some(node)) {
                client.on = None;
            }
        }
        Fate::Restart { node } if !world.nodes[node].is_up => world.restart(node),
        Fate::Lose { from, to } => world.lose(from, to),
        Fate::Heal => world.heal(),
        Fate::Pass { millis } => world.pass(Duration::from_millis(millis)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn once_it_is_over_every_owner_says_the_truth(fates in prop::collection::vec(fate(), 1..60)) {
        let mut world = World::new(&["fra", "iad", "sin"], 2);
        let mut clients = vec![Client::default(); 8];
        fates.iter().for_each(|fate| suffer(&mut world, &mut clients, fate));
        world.heal();
        for node in 0..6 {
            suffer(&mut world, &mut clients, &Fate::Restart { node });
        }
        world.pass(Duration::from_secs(25));
        let here = clients.iter().enumerate().filter(|(_, client)| client.on.is_some());
        let truth: BTreeMap<String, String> = here.map(|(n, client)| (format!("c{n}"), client.state.clone())).collect();
        for region in ["fra", "iad", "sin"] {
            prop_assert_eq!(world.listed(region, "chat"), truth.clone(), "{}", region);
            prop_assert_eq!(world.answer(region, "chat").occupancy, truth.len() as u64);
        }
    }
}
