//! A group under everything that happens to one: publishers that pipeline, hear nothing and send again, leaders that
//! change and lose what they had proposed, clocks that differ, marks, lanes that expire, a replica that crashes and is
//! restored from what it had persisted. What each publisher hears and each replica holds is compared with the model.

use std::collections::{BTreeMap, VecDeque};

use farwire_wire::log::{Batch, ChannelMark, Command, Mark, Publish};
use farwire_wire::{ChannelName, Entry, Offset, Origin, Position, PublisherId};
use proptest::prelude::*;

use super::model::{LaneId, Model};
use super::{Answer, Applied, Key, LANE_KEPT, Log, Outcome};

const ORIGIN: Origin = Origin(0x0102_0304_0506_0708);
const LANES: usize = 6;
const START_US: u64 = 1_800_000_000_000_000;

#[derive(Debug, Clone)]
enum Fate {
    /// A publisher numbers so many new messages and sends them.
    Send {
        lane: usize,
        count: u64,
    },
    /// A publisher has a new connection, and sends all again that it has not seen acked.
    Resend {
        lane: usize,
    },
    /// Somebody sends a number that nobody is to send: with a hole before it, with another payload, as another client.
    Wrong {
        lane: usize,
        number: u64,
        other_payload: bool,
        client: u64,
    },
    /// The leader proposes what has come in.
    Propose,
    /// So much of what was proposed is committed and applied; with luck the publishers hear of it.
    Commit {
        count: usize,
        heard: bool,
    },
    /// Another node leads: what was proposed and not committed survives up to here.
    Lead {
        leader: usize,
        kept: usize,
    },
    /// The leader says what is no longer kept.
    MarkChannel {
        channel: usize,
        offset: u64,
    },
    MarkLog {
        back: u64,
    },
    /// Somebody opens the log once more.
    Open,
    Pass {
        millis: u64,
    },
    /// The replica that crashes writes down what has changed.
    Persist,
    Crash,
}

fn fate() -> impl Strategy<Value = Fate> {
    let lane = 0..LANES;
    let wrong = (lane.clone(), 0..12_u64, any::<bool>(), 0..3_u64);
    prop_oneof![
        8 => (lane.clone(), 1..6_u64).prop_map(|(lane, count)| Fate::Send { lane, count }),
        1 => (lane.clone(), 100..200_u64).prop_map(|(lane, count)| Fate::Send { lane, count }),
        5 => lane.prop_map(|lane| Fate::Resend { lane }),
        3 => wrong.prop_map(|(lane, number, other_payload, client)| Fate::Wrong { lane, number, other_payload, client }),
        8 => Just(Fate::Propose),
        8 => (1..4_usize, any::<bool>()).prop_map(|(count, heard)| Fate::Commit { count, heard }),
        3 => (0..3_usize, 0..4_usize).prop_map(|(leader, kept)| Fate::Lead { leader, kept }),
        2 => (0..2_usize, 1..40_u64).prop_map(|(channel, offset)| Fate::MarkChannel { channel, offset }),
        1 => (0..40_u64).prop_map(|back| Fate::MarkLog { back }),
        1 => Just(Fate::Open),
        4 => (0..5_000_u64).prop_map(|millis| Fate::Pass { millis }),
        1 => (100_000..700_000_u64).prop_map(|millis| Fate::Pass { millis }),
        3 => Just(Fate::Persist),
        2 => Just(Fate::Crash),
    ]
}

/// A publisher in a channel; the id is drawn anew when its lane was dropped.
#[derive(Debug, Clone)]
struct Lane {
    id: LaneId,
    client: u64,
    last: u64,
    unacked: VecDeque<u64>,
}

fn channel(of: usize) -> ChannelName {
    ChannelName::parse(["a", "b.c"][of]).unwrap()
}

fn payload(lane: &LaneId, number: u64) -> Vec<u8> {
    format!("{lane:?} {number}").into_bytes()
}

fn publish(lane: &LaneId, number: u64, payload: Vec<u8>, client: u64) -> Publish {
    let entry = Entry {
        channel: lane.1.clone(),
        payload: payload.into(),
        publisher: lane.0,
        number,
        published_at_us: 0,
        session: 0,
        count: 0,
        datagram: false,
    };
    Publish::new(entry.encode(), client).unwrap()
}

/// A replica that persists when it is told to, and can crash.
#[derive(Debug, Default)]
struct Mortal {
    log: Log,
    changed: Vec<Key>,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    persisted: usize,
}

impl Mortal {
    fn persist(&mut self, applied: usize) {
        for key in self.changed.drain(..) {
            match self.log.record(&key) {
                Some(value) => drop(self.disk.insert(key.to_bytes(), value)),
                None => drop(self.disk.remove(&key.to_bytes())),
            }
        }
        self.persisted = applied;
    }

    fn apply(&mut self, at: usize, command: &Command) {
        let mut applied = Applied::default();
        self.log.apply(at as u64, command, &mut applied);
        self.changed.extend(applied.changed);
    }

    fn crash(&mut self, commands: &[Command]) {
        self.log = Log::restore(&self.disk).unwrap();
        self.changed.clear();
        for (at, command) in commands.iter().enumerate().skip(self.persisted) {
            self.apply(at, command);
        }
    }
}

struct World {
    lanes: Vec<Lane>,
    ids_drawn: u64,
    incoming: Vec<Publish>,
    proposed: VecDeque<Command>,
    committed: Vec<Command>,
    now_us: u64,
    leader: usize,
    log: Log,
    applied: Applied,
    mortal: Mortal,
    model: Model,
}

impl World {
    fn new() -> Self {
        let lane = |at: usize| {
            // Publishers 1 and 2 are in both channels, one client has two of them.
            let publisher = [1, 1, 2, 2, 3, 4][at];
            let id = (PublisherId(publisher), channel(at % 2));
            Lane { id, client: [1, 1, 2, 2, 2, 3][at], last: 0, unacked: VecDeque::new() }
        };
        let mut world = Self {
            lanes: (0..LANES).map(lane).collect(),
            ids_drawn: 100,
            incoming: Vec::new(),
            proposed: VecDeque::new(),
            committed: Vec::new(),
            now_us: START_US,
            leader: 0,
            log: Log::new(),
            applied: Applied::default(),
            mortal: Mortal::default(),
            model: Model::default(),
        };
        world.commit(Command::Open(ORIGIN), true).unwrap();
        world
    }

    fn send(&mut self, lane: usize) {
        let Lane { id, client, unacked, .. } = &self.lanes[lane];
        let publishes = unacked.iter().map(|number| publish(id, *number, payload(id, *number), *client));
        self.incoming.extend(publishes);
    }

    fn suffer(&mut self, fate: &Fate) -> Result<(), TestCaseError> {
        match *fate {
            Fate::Send { lane, count } => {
                let Lane { id, client, last, unacked } = &mut self.lanes[lane];
                for number in *last + 1..=*last + count {
                    unacked.push_back(number);
                    self.incoming.push(publish(id, number, payload(id, number), *client));
                }
                *last += count;
            }
            Fate::Resend { lane } => self.send(lane),
            Fate::Wrong { lane, number, other_payload, client } => {
                let Lane { id, last, .. } = &self.lanes[lane];
                // Around the newest one, where it hurts.
                let number = (*last + 4).saturating_sub(number).max(1);
                // A message that is to come would be the right one, if nobody had sent it before.
                if other_payload || number <= *last {
                    let payload = if other_payload { b"other".to_vec() } else { payload(id, number) };
                    let wrong_client = if other_payload && number > *last { 9 } else { client };
                    self.incoming.push(publish(id, number, payload, wrong_client));
                }
            }
            Fate::Propose => self.propose(),
            Fate::Commit { count, heard } => {
                for _ in 0..count {
                    if let Some(command) = self.proposed.pop_front() {
                        self.commit(command, heard)?;
                    }
                }
            }
            Fate::Lead { leader, kept } => {
                self.leader = leader;
                self.incoming.clear();
                self.proposed.truncate(kept);
            }
            Fate::MarkChannel { channel: of, offset } => {
                let mark = self.mark_of(&channel(of), offset);
                self.proposed.extend(mark.map(|mark| Command::Mark(Mark::Channels(vec![mark]))));
            }
            Fate::MarkLog { back } => {
                let below = (self.model.messages.len() as u64 + 3).saturating_sub(back).max(1);
                self.proposed.push_back(Command::Mark(Mark::Log(Position::new(below).unwrap())));
            }
            Fate::Open => self.proposed.push_back(Command::Open(Origin(1))),
            Fate::Pass { millis } => self.now_us += millis * 1_000,
            Fate::Persist => self.mortal.persist(self.committed.len()),
            Fate::Crash => self.mortal.crash(&self.committed),
        }
        Ok(())
    }

    /// The leaders' clocks are a second and three apart.
    fn propose(&mut self) {
        let publishes: Vec<_> = self.incoming.drain(..).collect();
        let log_time_us = self.now_us + [0, 3_000_000, 1_000_000][self.leader];
        for publishes in publishes.chunks(64) {
            self.proposed.push_back(Command::Batch(Batch { log_time_us, publishes: publishes.to_vec() }));
        }
    }

    /// What a leader that has applied the log so far would say of a channel, out of its index.
    fn mark_of(&self, channel: &ChannelName, offset: u64) -> Option<ChannelMark> {
        let messages: Vec<_> = self.model.of_channel(channel).collect();
        let before = usize::try_from(offset).unwrap() - 1;
        let position = match messages.get(before) {
            Some((position, _)) => *position,
            None if before == messages.len() => messages.last()?.0 + 1,
            None => return None,
        };
        let bytes_before = messages[..before].iter().map(|(_, message)| message.entry.len() as u64).sum();
        let (position, offset) = (Position::new(position)?, Offset::new(offset)?);
        Some(ChannelMark { channel: channel.clone(), position, offset, bytes_before })
    }

    fn commit(&mut self, command: Command, heard: bool) -> Result<(), TestCaseError> {
        // Replicas have the command's bytes only.
        let command = Command::decode(command.encode()).unwrap();
        let at = self.committed.len();
        let before = self.model.messages.len();
        let (low, heads) = (self.log.low_water(), self.lows());
        self.log.apply(at as u64, &command, &mut self.applied);
        self.mortal.apply(at, &command);
        self.committed.push(command);
        match &self.committed[at] {
            Command::Open(_) if at == 0 => prop_assert_eq!(self.applied.outcome, Outcome::Opened),
            Command::Open(_) => prop_assert_eq!(self.applied.outcome, Outcome::AlreadyOpen(ORIGIN)),
            Command::Mark(_) => {}
            Command::Batch(batch) => {
                let expected = self.model.apply(ORIGIN, batch);
                prop_assert_eq!(&self.applied.answers, &expected);
                if heard {
                    let publishes = batch.publishes.clone();
                    publishes.iter().zip(expected).try_for_each(|(publish, answer)| self.hear(publish, answer))?;
                }
            }
        }
        self.check_deliveries(before)?;
        prop_assert!(low <= self.log.low_water());
        prop_assert!(heads.iter().zip(self.lows()).all(|(before, after)| *before <= after));
        Ok(())
    }

    fn lows(&self) -> Vec<Option<u64>> {
        (0..2).map(|of| self.log.head(&channel(of)).map(|head| head.low_water().offset.get())).collect()
    }

    /// A publisher hears an answer, which has to be true.
    fn hear(&mut self, publish: &Publish, answer: Answer) -> Result<(), TestCaseError> {
        let entry = publish.entry();
        let id = (entry.publisher, entry.channel.clone());
        let own = match answer {
            Answer::Taken { place, .. } => Some(place),
            Answer::Duplicate { own, newest } => {
                prop_assert_eq!(&self.model.at(newest).lane, &id);
                own
            }
            _ => None,
        };
        if let Some(own) = own {
            let message = self.model.at(own);
            prop_assert_eq!((&message.lane, message.number), (&id, entry.number));
            prop_assert_eq!(&message.payload, &entry.payload.to_vec());
        }
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == id && lane.client == publish.client()) else {
            return Ok(());
        };
        let is_lost = match answer {
            Answer::Taken { .. } | Answer::Duplicate { .. } => {
                lane.unacked.retain(|number| *number != entry.number);
                false
            }
            // A hole that sending again does not fill: the lane was dropped.
            Answer::Gap { last } => lane.unacked.front().is_some_and(|first| last + 1 < *first),
            // Somebody else was faster with the publisher id or the number.
            Answer::OtherClient | Answer::NumberReused => lane.unacked.contains(&entry.number),
            Answer::NotOpen => true,
        };
        if is_lost {
            // Its publisher begins a new lane, and sends there what it does not know to be taken.
            self.ids_drawn += 1;
            lane.id.0 = PublisherId(self.ids_drawn);
            lane.last = lane.unacked.len() as u64;
            lane.unacked = (1..=lane.last).collect();
        }
        Ok(())
    }

    fn check_deliveries(&self, before: usize) -> Result<(), TestCaseError> {
        let new = &self.model.messages[before..];
        prop_assert_eq!(self.applied.deliveries.len(), new.len());
        prop_assert_eq!(self.applied.log_time_us, self.model.log_time_us);
        for (delivery, (at, message)) in self.applied.deliveries.iter().zip((before + 1..).zip(new)) {
            prop_assert_eq!(delivery.position.get(), at as u64);
            prop_assert_eq!(delivery.offset.get(), message.offset);
            prop_assert_eq!((&delivery.channel, &delivery.entry[..]), (&message.lane.1, &message.entry[..]));
            let of_channel = self.model.of_channel(&delivery.channel).take_while(|(position, _)| *position < at as u64);
            prop_assert_eq!(delivery.bytes_before, of_channel.map(|(_, other)| other.entry.len() as u64).sum::<u64>());
            let Some(Command::Batch(batch)) = self.committed.last() else { unreachable!() };
            prop_assert_eq!(batch.publishes[delivery.nth].stored(), &delivery.entry);
        }
        Ok(())
    }

    /// Everything heals: whoever still waits for an ack gets one.
    fn heal(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..4 {
            self.incoming.clear();
            (0..LANES).for_each(|lane| self.send(lane));
            self.propose();
            while let Some(command) = self.proposed.pop_front() {
                self.commit(command, true)?;
            }
        }
        for lane in &self.lanes {
            prop_assert!(lane.unacked.is_empty(), "{lane:?}");
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.log.lanes(), self.model.lanes());
        prop_assert_eq!(self.log.last_position().map_or(0, Position::get), self.model.messages.len() as u64);
        for of in 0..2 {
            let channel = channel(of);
            let Some(head) = self.log.head(&channel) else { continue };
            let low = head.low_water();
            let messages: Vec<_> = self.model.of_channel(&channel).collect();
            let kept = messages.iter().filter(|(position, _)| *position >= low.position.get());
            let bytes = kept.clone().map(|(_, message)| message.entry.len() as u64).sum::<u64>();
            prop_assert_eq!((head.messages_kept(), head.bytes_kept()), (kept.count() as u64, bytes));
        }
        self.check_lanes()?;
        self.check_replicas()
    }

    /// No number is delivered twice while its lane lives, and those of a lane come in order and without a hole.
    fn check_lanes(&self) -> Result<(), TestCaseError> {
        let mut last: BTreeMap<&LaneId, (u64, u64)> = BTreeMap::new();
        for message in &self.model.messages {
            let (number, at_us) = last.insert(&message.lane, (message.number, message.log_time_us)).unwrap_or_default();
            let begins_anew = message.number == 1 && message.log_time_us - at_us >= LANE_KEPT.as_secs() * 1_000_000;
            prop_assert!(message.number == number + 1 || begins_anew, "{:?} after {}", message, number);
        }
        Ok(())
    }

    /// The same state on a replica that crashed, on one that does so now, on one that has only the records of another, and
    /// on one that applies everything at once.
    fn check_replicas(&mut self) -> Result<(), TestCaseError> {
        let digest = self.log.digest();
        prop_assert_eq!(self.mortal.log.digest(), digest, "it crashed before");
        self.mortal.crash(&self.committed);
        prop_assert_eq!(self.mortal.log.digest(), digest, "it crashed at the end");
        self.mortal.persist(self.committed.len());
        let records: BTreeMap<_, _> = self.log.records().map(|(key, value)| (key.to_bytes(), value)).collect();
        prop_assert_eq!(&self.mortal.disk, &records);
        let copy = Log::restore(records.iter().rev()).unwrap();
        prop_assert_eq!(copy.digest(), digest, "it was restored from a snapshot");
        let (mut other, mut applied) = (Log::new(), Applied::default());
        for (at, command) in self.committed.iter().enumerate() {
            other.apply(at as u64, command, &mut applied);
        }
        prop_assert_eq!(other.digest(), digest);
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_log_is_what_the_model_is_on_every_replica(fates in prop::collection::vec(fate(), 1..120)) {
        let mut world = World::new();
        for fate in &fates {
            world.suffer(fate)?;
        }
        world.heal()?;
        world.check()?;
    }
}
