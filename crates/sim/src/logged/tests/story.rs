//! A made-up run of one region: three nodes, two shards, a publisher and a subscriber for each of four channels and a
//! subscriber for all, who die and go on from the cursors they kept; the leader dies in the middle of a publish; an ack is
//! lost now and then and the publish retried; retention passes a subscriber that sleeps. With a [`Seeded`] fault, the
//! history is what a mesh with that fault would leave.
//!
//! Says only what happened, as [`History`](crate::logged::History) would; that it is good is for the invariants to say.

use std::collections::BTreeMap;

use crate::logged::event::{
    Ack, Cursor, Entry, Event, Hex, Level, Name, Path, Place, Publish, Record, Replica, Subscription, Usage,
};

/// A fault of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seeded {
    AckBeforeCommit,
    VoteNotSynced,
    EntryNotSynced,
    RetrySyncAfterError,
    NoLaneCheck,
    LaneLostOnRestart,
    PositionByLeaderClock,
    CursorBeforeOutput,
    ResumeOneTooLow,
    ResumeOneTooHigh,
    GapSwallowed,
    TruncateOnBadCrc,
}

/// A run without fault, of so many rounds of four publishes.
pub(super) fn good(rounds: u64) -> Vec<Record> {
    run(rounds, None)
}

/// A run with a fault.
pub(super) fn run(rounds: u64, fault: Option<Seeded>) -> Vec<Record> {
    let mut story = Story::new(fault);
    story.begin();
    for round in 0..rounds {
        story.round(round, rounds);
    }
    story.end();
    story.records
}

const NODES: [&str; 3] = ["fra-1", "fra-2", "fra-3"];
const CHANNELS: u64 = 4;
const SHARDS: u64 = 2;
const MS: u64 = 1_000_000;

/// A shard's group: its log, and who leads it.
struct Group {
    origin: Hex,
    entries: Vec<Entry>,
    leader: usize,
    term: u64,
}

/// A subscriber, over all its runs.
struct Reader {
    subscription: Subscription,
    /// The channel or pattern, and the channels that it matches.
    pattern: Name,
    channels: Vec<u64>,
    /// How many entries of each shard it has got, and how many the cursor that it kept covers.
    got: [usize; 2],
    kept: [usize; 2],
    since_kept: u64,
    asleep: bool,
}

struct Story {
    fault: Option<Seeded>,
    records: Vec<Record>,
    now_ns: u64,
    groups: Vec<Group>,
    readers: Vec<Reader>,
    numbers: [u64; 4],
    low: u64,
    alive: [bool; 3],
    /// Nodes that took back their log from this position on, by shard.
    cut: Option<(usize, usize, u64)>,
}

impl Story {
    fn new(fault: Option<Seeded>) -> Self {
        let group = |shard: u64| Group { origin: Hex(0xa1 + shard), entries: Vec::new(), leader: 0, term: 1 };
        let reader = |name: String, pattern: &str, channels: Vec<u64>| Reader {
            subscription: Subscription { subscriber: Name::new(&name), run: 1 },
            pattern: Name::new(pattern),
            channels,
            got: [0; 2],
            kept: [0; 2],
            since_kept: 0,
            asleep: false,
        };
        let mut readers: Vec<_> =
            (0..CHANNELS).map(|c| reader(format!("sub-{c}"), &format!("orders.{c}"), vec![c])).collect();
        readers.push(reader("sub-all".to_owned(), "orders.>", (0..CHANNELS).collect()));
        readers.push(reader("sleeper".to_owned(), "orders.0", vec![0]));
        Self {
            fault,
            records: Vec::new(),
            now_ns: 0,
            groups: (0..SHARDS).map(group).collect(),
            readers,
            numbers: [0; 4],
            low: 0,
            alive: [true; 3],
            cut: None,
        }
    }

    fn has(&self, fault: Seeded) -> bool {
        self.fault == Some(fault)
    }

    fn note(&mut self, event: Event) {
        let wall_us = 1_800_000_000_000_000 + self.now_ns / 1_000;
        self.records.push(Record { at_ns: self.now_ns, wall_us, event });
    }

    fn pass(&mut self, ms: u64) {
        self.now_ns += ms * MS;
    }

    fn begin(&mut self) {
        for node in NODES {
            self.note(Event::NodeStarted { node: Name::new(node), region: Name::new("fra") });
        }
        for shard in 0..self.groups.len() {
            let replica = replica(0, shard);
            self.note(Event::Leads { replica, term: 1 });
            self.note(Event::Voters { replica, nodes: NODES.map(Name::new).into() });
        }
        for index in 0..self.readers.len() {
            let (subscription, pattern) = (self.readers[index].subscription, self.readers[index].pattern);
            self.note(Event::Subscribed { subscription, pattern, cursor: self.cursor([0; 2]) });
        }
        self.note(Event::Begun);
        self.pass(15_000);
    }

    fn round(&mut self, round: u64, rounds: u64) {
        for channel in 0..CHANNELS {
            self.publish(channel, round % 50 == 20 + channel);
            self.deliver();
        }
        if round % 10 == 9 {
            let index = usize::try_from(round / 10).unwrap() % self.readers.len();
            self.dies_and_resumes(index);
        }
        if round == 8 {
            let sleeper = self.readers.last_mut().unwrap();
            sleeper.asleep = true;
            let subscription = sleeper.subscription;
            self.note(Event::Ended { subscription });
        }
        if round == rounds / 4 {
            self.retention();
        }
        if round == rounds / 3 && self.has(Seeded::TruncateOnBadCrc) {
            self.bad_crc();
        }
        if round == rounds / 2 {
            self.leader_dies();
        }
        if round == 3 * rounds / 4 {
            self.comes_back();
        }
        self.pass(250);
    }

    /// A publish and its ack, which may be lost once.
    fn publish(&mut self, channel: u64, ack_is_lost: bool) {
        let publish = self.invoke(channel);
        let entry = self.commit(publish);
        if ack_is_lost {
            self.note(Event::Unknown { publish, why: "the session was lost".to_owned() });
            self.pass(30);
            self.retry(entry, self.has(Seeded::NoLaneCheck));
        } else {
            self.ack(entry, false);
        }
    }

    fn invoke(&mut self, channel: u64) -> Publish {
        let number = &mut self.numbers[usize::try_from(channel).unwrap()];
        *number += 1;
        let publish = publish(channel, *number);
        self.note(Event::Invoked { publish, hash: hash(publish), asked: Level::Region });
        self.pass(1);
        publish
    }

    fn retry(&mut self, entry: Entry, is_taken_again: bool) {
        self.note(Event::Invoked { publish: entry.publish, hash: entry.hash, asked: Level::Region });
        self.pass(1);
        if is_taken_again {
            let again = self.commit(entry.publish);
            self.ack(again, false);
        } else {
            self.ack(entry, true);
        }
    }

    /// Replicates a message, and gives it its place.
    fn commit(&mut self, publish: Publish) -> Entry {
        let shard = shard_of(channel_of(publish));
        let entry = self.next_entry(publish);
        let (leader, index) = (self.groups[shard].leader, entry.place.position + 1);
        self.groups[shard].entries.push(entry);
        let followers: Vec<_> = self.alive().filter(|node| *node != leader).collect();
        for node in std::iter::once(leader).chain(followers.iter().copied()) {
            self.note(Event::Appended { replica: replica(node, shard), to: index });
        }
        self.note(Event::Synced { replica: replica(leader, shard), to: index });
        if self.has(Seeded::RetrySyncAfterError) && entry.place.position == 40 {
            self.note(Event::SyncFailed { node: Name::new(NODES[followers[0]]) });
        }
        self.pass(1);
        if !self.has(Seeded::EntryNotSynced) {
            self.note(Event::Synced { replica: replica(followers[0], shard), to: index });
        }
        let (Place { origin, position }, term) = (entry.place, self.groups[shard].term);
        let applied = |node| Event::Applied {
            replica: replica(node, shard),
            log_index: index,
            term,
            origin,
            from: position,
            to: position,
        };
        for node in self.alive().collect::<Vec<_>>() {
            self.note(applied(node));
        }
        entry
    }

    fn next_entry(&self, publish: Publish) -> Entry {
        let group = &self.groups[shard_of(channel_of(publish))];
        let last = group.entries.last().map_or(0, |entry| entry.place.position);
        let by_clock = self.has(Seeded::PositionByLeaderClock) && group.term > 1;
        let position = if by_clock { last.max(self.now_ns / MS) + 1 } else { last + 1 };
        let before = group.entries.iter().rev().find(|entry| entry.publish.channel == publish.channel);
        let offset = before.map_or(0, |entry| entry.offset) + 1;
        Entry { place: Place { origin: group.origin, position }, offset, publish, hash: hash(publish) }
    }

    fn ack(&mut self, entry: Entry, duplicate: bool) {
        let newest = self.groups[shard_of(channel_of(entry.publish))].entries.iter().rev();
        let newest = *newest.clone().find(|other| other.publish.channel == entry.publish.channel).unwrap();
        let Entry { place, offset, .. } = if duplicate { newest } else { entry };
        let (publish, level) = (entry.publish, Level::Region);
        self.note(Event::Acked(Ack { publish, place, offset, level, copies: 2, regions: 1, synced: true, duplicate }));
    }

    /// Everybody who is awake gets what is new, and keeps a cursor now and then.
    fn deliver(&mut self) {
        self.pass(1);
        for index in 0..self.readers.len() {
            if !self.readers[index].asleep {
                self.read(index, true);
            }
        }
    }

    fn read(&mut self, index: usize, keeps: bool) {
        for shard in 0..self.groups.len() {
            for at in self.readers[index].got[shard]..self.groups[shard].entries.len() {
                let entry = self.groups[shard].entries[at];
                let reader = &mut self.readers[index];
                reader.got[shard] = at + 1;
                if reader.channels.contains(&channel_of(entry.publish)) {
                    reader.since_kept += 1;
                    let subscription = reader.subscription;
                    self.yields(subscription, entry);
                }
            }
        }
        if keeps && self.readers[index].since_kept >= 3 {
            self.keep(index);
        }
    }

    fn yields(&mut self, subscription: Subscription, entry: Entry) {
        let node = Name::new(NODES[self.alive().last().unwrap()]);
        self.note(Event::Delivered { subscription, entry, path: Path::Live, node });
    }

    fn keep(&mut self, index: usize) {
        let reader = &mut self.readers[index];
        (reader.kept, reader.since_kept) = (reader.got, 0);
        let (subscription, kept) = (reader.subscription, reader.kept);
        self.note(Event::CursorKept { subscription, cursor: self.cursor(kept) });
    }

    fn dies_and_resumes(&mut self, index: usize) {
        if self.readers[index].asleep {
            return;
        }
        if self.has(Seeded::CursorBeforeOutput) {
            // It keeps the cursor of a message that it has not put out yet, and dies.
            let channel = self.readers[index].channels[0];
            let publish = self.invoke(channel);
            let entry = self.commit(publish);
            self.ack(entry, false);
            let shard = shard_of(channel);
            self.readers[index].got[shard] = self.groups[shard].entries.len();
            self.keep(index);
        }
        let subscription = self.readers[index].subscription;
        self.note(Event::Ended { subscription });
        self.pass(20);
        self.resume(index);
    }

    fn resume(&mut self, index: usize) {
        let (low, swallowed) = (self.low, self.has(Seeded::GapSwallowed));
        let off = match self.fault {
            Some(Seeded::ResumeOneTooLow) => -1,
            Some(Seeded::ResumeOneTooHigh) => 1,
            _ => 0,
        };
        let reader = &mut self.readers[index];
        reader.subscription.run += 1;
        reader.asleep = false;
        let (subscription, pattern, kept) = (reader.subscription, reader.pattern, reader.kept);
        let from = |kept: usize| kept.checked_add_signed(off).unwrap_or(0);
        reader.got = kept.map(|kept| from(kept).max(usize::try_from(low).unwrap()));
        reader.since_kept = 0;
        let node = Name::new(NODES[self.alive().next().unwrap()]);
        self.note(Event::ResumeAsked { subscription, pattern, cursor: self.cursor(kept) });
        self.note(Event::Resumed { subscription, node });
        for (shard, kept) in kept.into_iter().enumerate() {
            let (origin, kept) = (self.groups[shard].origin, u64::try_from(kept).unwrap());
            let is_hole = kept < low && shard_of(self.readers[index].channels[0]) == shard;
            if is_hole && !swallowed {
                self.note(Event::Gap { subscription, origin, from: kept + 1, to: low, cause: "retention".to_owned() });
            }
        }
    }

    /// Retention passes the sleeper, who wakes up behind it.
    fn retention(&mut self) {
        self.low = 60;
        for shard in 0..self.groups.len() {
            let origin = self.groups[shard].origin;
            for node in NODES {
                self.note(Event::LowWater { node: Name::new(node), origin, position: self.low });
            }
        }
        self.resume(self.readers.len() - 1);
    }

    /// A damaged entry is taken for the end of the log.
    fn bad_crc(&mut self) {
        let end = self.groups[0].entries.last().unwrap().place.position;
        self.cut = Some((2, 0, end - 5));
        self.note(Event::Truncated { replica: replica(2, 0), from: end - 4, term: self.groups[0].term });
    }

    /// The leader of all shards dies with a publish of channel 0 committed and not acked; the publisher tries again.
    fn leader_dies(&mut self) {
        let publish = self.invoke(0);
        if self.has(Seeded::AckBeforeCommit) {
            let entry = self.next_entry(publish);
            self.note(Event::Appended { replica: replica(0, 0), to: entry.place.position + 1 });
            self.note(Event::Acked(Ack {
                publish,
                place: entry.place,
                offset: entry.offset,
                level: Level::Region,
                copies: 2,
                regions: 1,
                synced: true,
                duplicate: false,
            }));
            self.crash();
            return;
        }
        let entry = self.commit(publish);
        self.crash();
        self.note(Event::Unknown { publish, why: "the leader is gone".to_owned() });
        self.deliver();
        self.retry(entry, self.has(Seeded::LaneLostOnRestart) || self.has(Seeded::NoLaneCheck));
        if self.has(Seeded::VoteNotSynced) {
            self.second_leader();
        }
    }

    fn crash(&mut self) {
        self.alive[0] = false;
        self.note(Event::Fault { what: "power cut fra-1".to_owned(), way_around: true });
        self.note(Event::NodeCrashed { node: Name::new(NODES[0]), lost_unsynced: true });
        self.pass(1_200);
        for shard in 0..self.groups.len() {
            (self.groups[shard].leader, self.groups[shard].term) = (1, 2);
            self.note(Event::Leads { replica: replica(1, shard), term: 2 });
        }
    }

    /// Who had voted in this term forgot it, and votes for another: two messages at one place.
    fn second_leader(&mut self) {
        self.note(Event::Leads { replica: replica(2, 0), term: 2 });
        let publish = self.invoke(2);
        let entry = Entry { publish, hash: hash(publish), ..*self.groups[0].entries.last().unwrap() };
        self.ack(entry, true);
        let subscription = self.readers[2].subscription;
        self.yields(subscription, entry);
    }

    fn comes_back(&mut self) {
        self.alive[0] = true;
        self.note(Event::NodeStarted { node: Name::new(NODES[0]), region: Name::new("fra") });
        for shard in 0..self.groups.len() {
            let to = self.groups[shard].entries.last().unwrap().place.position + 1;
            self.note(Event::Synced { replica: replica(0, shard), to });
        }
        self.note(Event::Mended { what: "power cut fra-1".to_owned() });
    }

    /// Quiet, then every node and every dump is asked for everything.
    fn end(&mut self) {
        self.deliver();
        self.pass(45_000);
        for (node, name) in NODES.map(Name::new).into_iter().enumerate() {
            for shard in 0..self.groups.len() {
                let first = usize::try_from(self.low).unwrap().min(self.groups[shard].entries.len());
                for at in first..self.groups[shard].entries.len() {
                    let entry = self.groups[shard].entries[at];
                    let is_cut = |(cut, of, last)| cut == node && of == shard && entry.place.position > last;
                    if !self.cut.is_some_and(is_cut) {
                        self.note(Event::Served { node: name, entry });
                        self.note(Event::Stored { node: name, entry });
                    }
                }
            }
            self.note(Event::Drained { node: name });
            self.note(Event::Measured { node: name, usage: Usage { memory_bytes: 50 << 20, ..Usage::default() } });
        }
    }

    fn alive(&self) -> impl Iterator<Item = usize> + use<> {
        let alive = self.alive;
        (0..NODES.len()).filter(move |node| alive[*node])
    }

    fn cursor(&self, got: [usize; 2]) -> Cursor {
        let position = |(group, got): (&Group, usize)| {
            (group.origin, got.checked_sub(1).map_or(0, |last| group.entries[last].place.position))
        };
        let positions: BTreeMap<_, _> = self.groups.iter().zip(got).map(position).collect();
        Cursor(positions.into_iter().collect())
    }
}

fn replica(node: usize, shard: usize) -> Replica {
    Replica { node: Name::new(NODES[node]), shard: u32::try_from(shard).unwrap() }
}

fn publish(channel: u64, number: u64) -> Publish {
    let publisher = Name::new(["pub-0", "pub-1", "pub-2", "pub-3"][usize::try_from(channel).unwrap()]);
    let channel = Name::new(["orders.0", "orders.1", "orders.2", "orders.3"][usize::try_from(channel).unwrap()]);
    Publish { publisher, channel, number }
}

fn channel_of(publish: Publish) -> u64 {
    publish.channel.as_str().rsplit('.').next().unwrap().parse().unwrap()
}

fn shard_of(channel: u64) -> usize {
    usize::try_from(channel % SHARDS).unwrap()
}

fn hash(publish: Publish) -> Hex {
    Hex(publish.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ channel_of(publish))
}
