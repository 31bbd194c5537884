//! One channel's presence as its owner sees it: a copy of the part of every writer, merged into one answer.
//!
//! Each part is written by one node in one life and carries an op number, so merging is: take what is newer, wholesale.
//! That is idempotent, commutative and associative whatever the path, order and repetition. On top of the copies lie
//! two rules: of several writers that list one stay, the one with the most moves has it; and a hidden writer (one that
//! cannot be reached) counts for nothing, though its stays cause no event before they are dropped for good.
//!
//! Does not know who is reachable, and sends nothing: [`Presence`](super::Presence) does. Invariant: the sums equal
//! what a count of all copies from scratch would give.

use std::collections::{BTreeMap, BTreeSet};

use farwire_wire::ids::Instance;
use farwire_wire::names::{ClientId, RegionName};
use farwire_wire::presence::{Exit, Occupant, PartChange, PresenceId, PresenceState, Stamp, Writer};

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// The copy is newer now.
    Applied,
    /// The copy has this already.
    Known,
    /// A change before this one is missing: ask the writer for the whole part.
    Gap,
}

/// Something that subscribers hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The client's first session came.
    Join(ClientId, PresenceState),
    /// The client's last session went.
    Leave(ClientId),
    /// The client's last session was lost and did not come back in time.
    Timeout(ClientId),
    /// The client says something else of itself.
    State(ClientId, PresenceState),
}

/// A client as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Who.
    pub client: ClientId,
    /// What it says of itself; of several sessions the newest word.
    pub state: PresenceState,
    /// The writer that has the session which spoke last.
    pub writer: Writer,
    /// When its first session came, in microseconds since the epoch.
    pub since_us: u64,
}

/// The merged presence of one channel; see the [module](self).
#[derive(Debug, Default)]
pub struct Channel {
    parts: BTreeMap<Writer, Part>,
    clients: BTreeMap<ClientId, Client>,
    occupancy: BTreeMap<RegionName, u64>,
    clients_visible: u64,
}

#[derive(Debug)]
struct Part {
    region: RegionName,
    hidden: bool,
    op: u64,
    joins: u64,
    leaves: u64,
    occupants: BTreeMap<PresenceId, Occupant>,
}

#[derive(Debug, Default)]
struct Client {
    /// By instance. A client has one session, mostly, and there are many clients: no map each.
    stays: Vec<Known>,
    standing: Standing,
}

/// What is known of a stay for as long as any copy lists it.
#[derive(Debug, Clone, Copy)]
struct Known {
    instance: Instance,
    /// The most seen: what a stale copy says then does not count.
    moves: u32,
    /// When it began, over all moves.
    since_us: u64,
}

/// What counts of a client at some moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Standing {
    /// Sessions that count, by region.
    sessions: Box<[(RegionName, u64)]>,
    /// Whether subscribers were told that it is there.
    announced: bool,
    state: PresenceState,
}

impl Channel {
    /// Takes in what a writer of `region` says, and appends what subscribers should hear.
    pub fn merge(&mut self, region: &RegionName, change: &PartChange, events: &mut Vec<Event>) -> Merged {
        let part = self.parts.entry(change.writer.clone()).or_insert_with(|| Part::new(region.clone()));
        if change.to <= part.op {
            return Merged::Known;
        }
        if !change.whole && change.from > part.op {
            return Merged::Gap;
        }
        let exits = part.apply(change);
        let touched: BTreeSet<&ClientId> =
            exits.keys().map(|id| &id.client).chain(change.present.iter().map(|(id, _)| &id.client)).collect();
        for (id, occupant) in &change.present {
            let said = Known { instance: id.instance, moves: occupant.moves, since_us: occupant.since_us };
            self.clients.entry(id.client.clone()).or_default().learn(said);
        }
        let timed_out = exits.iter().filter(|(_, exit)| **exit == Exit::Timeout);
        let timed_out: BTreeSet<&ClientId> = timed_out.map(|(id, _)| &id.client).collect();
        for client in touched {
            self.settle(client, timed_out.contains(client), events);
        }
        Merged::Applied
    }

    /// A writer can (not) be reached: its stays count (no more). A client that appears by it is told.
    pub fn set_hidden(&mut self, writer: &Writer, hidden: bool, events: &mut Vec<Event>) {
        let Some(part) = self.parts.get_mut(writer) else { return };
        if part.hidden != hidden {
            part.hidden = hidden;
            self.settle_all(part_clients(&self.parts[writer]), false, events);
        }
    }

    /// Nothing is kept of a writer any more: its stays end.
    pub fn drop_writer(&mut self, writer: &Writer, exit: Exit, events: &mut Vec<Event>) {
        if let Some(part) = self.parts.remove(writer) {
            self.settle_all(part_clients(&part), exit == Exit::Timeout, events);
        }
    }

    /// Nothing is kept of a writer any more, because nobody wants to know.
    pub fn forget(&mut self, writer: &Writer) {
        let mut unheard = Vec::new();
        self.drop_writer(writer, Exit::Left, &mut unheard);
    }

    /// Whether there is a copy of what this writer says.
    #[must_use]
    pub fn has(&self, writer: &Writer) -> bool {
        self.parts.contains_key(writer)
    }

    /// How many sessions are there, over all writers in reach.
    #[must_use]
    pub fn occupancy(&self) -> u64 {
        self.occupancy.values().sum()
    }

    /// How many sessions are there, by region.
    #[must_use]
    pub fn occupancy_by_region(&self) -> &BTreeMap<RegionName, u64> {
        &self.occupancy
    }

    /// How many distinct clients are there.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.clients_visible
    }

    /// How many sessions the copies of hidden writers of a region list, without those that go on elsewhere.
    #[must_use]
    pub fn hidden_occupancy(&self, region: &RegionName) -> u64 {
        let hidden = self.parts.values().filter(|part| part.hidden && part.region == *region);
        let goes_on = |id: &PresenceId, occupant: &Occupant| {
            let known = self.clients.get(&id.client).and_then(|client| client.known(id.instance));
            known.is_some_and(|known| occupant.moves < known.moves)
        };
        hidden.map(|part| part.occupants.iter().filter(|(id, occupant)| !goes_on(id, occupant)).count() as u64).sum()
    }

    /// The clients that are there, by id.
    pub fn listed(&self) -> impl Iterator<Item = Listed> {
        self.clients.keys().filter_map(|client| self.listed_client(client))
    }

    /// One client, if it is there.
    #[must_use]
    pub fn listed_client(&self, client: &ClientId) -> Option<Listed> {
        let stays = || self.stays_of(client).filter(|stay| !stay.part.hidden);
        let newest = stays().max_by_key(|stay| (stay.occupant.stamp, stay.writer))?;
        Some(Listed {
            client: client.clone(),
            state: newest.occupant.state.clone(),
            writer: newest.writer.clone(),
            since_us: stays().map(|stay| stay.since_us).min()?,
        })
    }

    /// The writers of which there is a copy, with their regions and the op of the copy.
    pub fn writers(&self) -> impl Iterator<Item = (&Writer, &RegionName, u64)> {
        self.parts.iter().map(|(writer, part)| (writer, &part.region, part.op))
    }

    /// The stays that `writer` lists although a writer with more moves has them.
    pub fn superseded<'a>(&'a self, ids: impl Iterator<Item = &'a PresenceId>) -> Vec<(Writer, PresenceId, u32)> {
        let mut found = Vec::new();
        for id in ids {
            let Some(most) = self.clients.get(&id.client).and_then(|client| client.known(id.instance)) else {
                continue;
            };
            let stale = |part: &Part| part.occupants.get(id).is_some_and(|occupant| occupant.moves < most.moves);
            found.extend(
                self.parts
                    .iter()
                    .filter(|(_, part)| stale(part))
                    .map(|(writer, _)| (writer.clone(), id.clone(), most.moves)),
            );
        }
        found
    }

    /// The whole copy of a writer's part, as the writer would tell it.
    #[must_use]
    pub fn whole(&self, channel: &farwire_wire::ChannelName, writer: &Writer) -> Option<PartChange> {
        let part = self.parts.get(writer)?;
        Some(PartChange {
            writer: writer.clone(),
            channel: channel.clone(),
            from: 0,
            to: part.op,
            whole: true,
            joins: part.joins,
            leaves: part.leaves,
            present: part.occupants.iter().map(|(id, occupant)| (id.clone(), occupant.clone())).collect(),
            gone: Vec::new(),
        })
    }

    /// Whether nobody is listed by any copy.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    fn settle_all(&mut self, clients: BTreeSet<ClientId>, timed_out: bool, events: &mut Vec<Event>) {
        clients.iter().for_each(|client| self.settle(client, timed_out, events));
    }

    /// Works out anew what counts of a client, and tells the difference.
    fn settle(&mut self, name: &ClientId, timed_out: bool, events: &mut Vec<Event>) {
        let listed: BTreeSet<Instance> = self.instances_of(name);
        let Some(client) = self.clients.get_mut(name) else { return };
        client.stays.retain(|known| listed.contains(&known.instance));
        let before = std::mem::take(&mut client.standing);
        let after = self.standing(name, &before);
        self.count(&before, &after);
        match (before.announced, after.announced) {
            (false, true) => events.push(Event::Join(name.clone(), after.state.clone())),
            (true, false) if timed_out => events.push(Event::Timeout(name.clone())),
            (true, false) => events.push(Event::Leave(name.clone())),
            (true, true) if before.state != after.state => {
                events.push(Event::State(name.clone(), after.state.clone()));
            }
            _ => {}
        }
        if listed.is_empty() {
            self.clients.remove(name);
        } else if let Some(client) = self.clients.get_mut(name) {
            client.standing = after;
        }
    }

    fn standing(&self, name: &ClientId, before: &Standing) -> Standing {
        let mut sessions: BTreeMap<Instance, &RegionName> = BTreeMap::new();
        let mut newest: Option<(Stamp, &Writer, &PresenceState)> = None;
        let mut listed = false;
        for Stay { instance, writer, part, occupant, .. } in self.stays_of(name) {
            listed = true;
            if part.hidden {
                continue;
            }
            sessions.insert(instance, &part.region);
            newest = newest.max(Some((occupant.stamp, writer, &occupant.state)));
        }
        let mut by_region: BTreeMap<&RegionName, u64> = BTreeMap::new();
        sessions.into_values().for_each(|region| *by_region.entry(region).or_default() += 1);
        Standing {
            // Who is only listed by hidden writers stays announced: it may be resuming elsewhere.
            announced: newest.is_some() || before.announced && listed,
            state: newest.map_or_else(|| before.state.clone(), |(_, _, state)| state.clone()),
            sessions: by_region.into_iter().map(|(region, sessions)| (region.clone(), sessions)).collect(),
        }
    }

    fn count(&mut self, before: &Standing, after: &Standing) {
        for (region, sessions) in after.sessions.iter() {
            *self.occupancy.entry(region.clone()).or_default() += sessions;
        }
        for (region, sessions) in before.sessions.iter() {
            if let Some(sum) = self.occupancy.get_mut(region) {
                *sum = sum.saturating_sub(*sessions);
            }
        }
        self.occupancy.retain(|_, sum| *sum > 0);
        self.clients_visible += u64::from(!after.sessions.is_empty());
        self.clients_visible -= u64::from(!before.sessions.is_empty());
    }

    /// The stays of a client that are not superseded; of two writers with equally many moves, both.
    fn stays_of(&self, name: &ClientId) -> impl Iterator<Item = Stay<'_>> {
        let known = self.clients.get(name).into_iter().flat_map(|client| &client.stays);
        known.flat_map(move |known| {
            let id = PresenceId { client: name.clone(), instance: known.instance };
            self.parts.iter().filter_map(move |(writer, part)| {
                let occupant = part.occupants.get(&id).filter(|occupant| occupant.moves == known.moves)?;
                Some(Stay { instance: known.instance, since_us: known.since_us, writer, part, occupant })
            })
        })
    }

    /// The runs of a client that any copy lists, superseded or not.
    fn instances_of(&self, name: &ClientId) -> BTreeSet<Instance> {
        let Some(client) = self.clients.get(name) else { return BTreeSet::new() };
        let listed = |instance: &Instance| {
            let id = PresenceId { client: name.clone(), instance: *instance };
            self.parts.values().any(|part| part.occupants.contains_key(&id))
        };
        client.stays.iter().map(|known| known.instance).filter(|instance| listed(instance)).collect()
    }
}

impl Client {
    /// A copy says this of a stay.
    fn learn(&mut self, said: Known) {
        match self.stays.binary_search_by_key(&said.instance, |known| known.instance) {
            Ok(at) => {
                let known = &mut self.stays[at];
                known.moves = known.moves.max(said.moves);
                known.since_us = known.since_us.min(said.since_us);
            }
            // Room for one: `insert` would make room for four.
            Err(_) if self.stays.is_empty() => self.stays = vec![said],
            Err(at) => self.stays.insert(at, said),
        }
    }

    fn known(&self, instance: Instance) -> Option<&Known> {
        let at = self.stays.binary_search_by_key(&instance, |known| known.instance).ok()?;
        Some(&self.stays[at])
    }
}

/// One stay of a client as one writer tells it.
struct Stay<'a> {
    instance: Instance,
    since_us: u64,
    writer: &'a Writer,
    part: &'a Part,
    occupant: &'a Occupant,
}

impl Part {
    fn new(region: RegionName) -> Self {
        Self { region, hidden: false, op: 0, joins: 0, leaves: 0, occupants: BTreeMap::new() }
    }

    /// Brings the copy to the change's op; returns the stays that ended by it.
    fn apply(&mut self, change: &PartChange) -> BTreeMap<PresenceId, Exit> {
        let mut exits: BTreeMap<PresenceId, Exit> = change.gone.iter().cloned().collect();
        if change.whole {
            exits.extend(std::mem::take(&mut self.occupants).into_keys().map(|id| (id, Exit::Left)));
        }
        exits.keys().for_each(|id| {
            self.occupants.remove(id);
        });
        self.occupants.extend(change.present.iter().cloned());
        self.op = change.to;
        self.joins = change.joins.max(self.joins);
        self.leaves = change.leaves.max(self.leaves);
        exits
    }
}

fn part_clients(part: &Part) -> BTreeSet<ClientId> {
    part.occupants.keys().map(|id| id.client.clone()).collect()
}
