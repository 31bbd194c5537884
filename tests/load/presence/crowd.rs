//! The crowd: a session of the real SDK for each occupant, spread evenly over the nodes, that enters and leaves the channel as it is
//! told. It knows the truth: who is there, and where.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use farwire_client::{ChannelPresence, Client, Presence, PresenceState};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::mesh::{CHANNEL, Hall};

/// The sessions, and which of them are present.
pub(crate) struct Crowd {
    seats: Vec<Seat>,
    /// Indexes of seats.
    present: Vec<usize>,
    /// Who has been away longest comes first.
    absent: VecDeque<usize>,
    moves: JoinSet<Moved>,
    rng: StdRng,
}

struct Seat {
    client: Client,
    node: usize,
    stay: Option<Presence>,
}

/// A seat that has entered, or left.
struct Moved {
    seat: usize,
    stay: Option<Presence>,
}

/// How many are there, as an answer should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) occupancy: u64,
    pub(crate) by_region: BTreeMap<String, u64>,
}

impl Crowd {
    /// Connects so many sessions, none of them present. Each asks once, as the first request makes buffers that are not presence.
    pub(crate) async fn connect(hall: &Arc<Hall>, sessions: usize, seed: u64) -> Self {
        let permits = Arc::new(Semaphore::new(CONNECTING_MAX));
        let mut connecting = JoinSet::new();
        for index in 0..sessions {
            let permit = permits.clone().acquire_owned().await.expect("never closed");
            let hall = hall.clone();
            connecting.spawn(async move {
                let node = index % hall.nodes.len();
                let client = hall.client(node, &occupant_name(index)).await;
                client.occupancy(["live.elsewhere"]).await.expect("an answer");
                drop(permit);
                Seat { client, node, stay: None }
            });
        }
        let seats = connecting.join_all().await;
        let absent = (0..seats.len()).collect();
        Self { seats, present: Vec::new(), absent, moves: JoinSet::new(), rng: StdRng::seed_from_u64(seed) }
    }

    /// So many of the absent enter.
    pub(crate) async fn fill(&mut self, occupants: usize) {
        for _ in 0..occupants {
            if self.moves.len() >= MOVING_MAX {
                self.finish_one().await;
            }
            self.one_enters();
        }
        self.finish_all().await;
    }

    /// So many leave and so many enter each second, evenly. Returns when the last request was sent, after all were answered.
    pub(crate) async fn churn(&mut self, rate: u32, seconds: u32) -> Instant {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        for _ in 0..rate * seconds {
            ticks.tick().await;
            while let Some(moved) = self.moves.try_join_next() {
                self.settle(moved.expect("no panic"));
            }
            self.one_leaves();
            while self.absent.is_empty() {
                self.finish_one().await;
            }
            self.one_enters();
        }
        let stopped = Instant::now();
        self.finish_all().await;
        stopped
    }

    fn one_enters(&mut self) {
        let seat = self.absent.pop_front().expect("somebody is absent");
        let client = self.seats[seat].client.clone();
        self.moves.spawn(async move {
            Moved { seat, stay: Some(client.enter(CHANNEL, state_of(seat)).await.expect("entered")) }
        });
    }

    fn one_leaves(&mut self) {
        let at = self.rng.random_range(0..self.present.len());
        let seat = self.present.swap_remove(at);
        let stay = self.seats[seat].stay.take().expect("who is present has a stay");
        self.moves.spawn(async move {
            stay.leave().await.expect("left");
            Moved { seat, stay: None }
        });
    }

    async fn finish_one(&mut self) {
        if let Some(moved) = self.moves.join_next().await {
            self.settle(moved.expect("no panic"));
        }
    }

    async fn finish_all(&mut self) {
        while !self.moves.is_empty() {
            self.finish_one().await;
        }
    }

    fn settle(&mut self, Moved { seat, stay }: Moved) {
        match &stay {
            Some(_) => self.present.push(seat),
            None => self.absent.push_back(seat),
        }
        self.seats[seat].stay = stay;
    }

    /// How many are there, once everybody has settled.
    pub(crate) fn truth(&self, hall: &Hall) -> Truth {
        let mut by_region = BTreeMap::new();
        for seat in &self.present {
            *by_region.entry(hall.nodes[self.seats[*seat].node].region.clone()).or_default() += 1;
        }
        Truth { occupancy: self.present.len() as u64, by_region }
    }

    /// Who is there.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.present.iter().map(|seat| self.seats[*seat].client.client_id().to_string()).collect()
    }

    /// How many sessions are at another node than theirs: what is measured then is not what was meant.
    pub(crate) fn strayed(&self, hall: &Hall) -> usize {
        self.seats.iter().filter(|seat| seat.client.node().as_str() != hall.nodes[seat.node].name).count()
    }
}

impl Truth {
    /// Whether an answer says just this.
    pub(crate) fn is_told_by(&self, answer: &ChannelPresence) -> bool {
        let told = answer.regions.iter().map(|region| (region.region.to_string(), region.occupancy));
        let told: BTreeMap<_, _> = told.filter(|(_, occupancy)| *occupancy > 0).collect();
        answer.occupancy == self.occupancy && answer.clients == self.occupancy && told == self.by_region
    }
}

/// Who sits there.
pub(crate) fn occupant_name(seat: usize) -> String {
    format!("occupant-{seat:05}")
}

/// What they say of themselves.
pub(crate) fn state_of(seat: usize) -> PresenceState {
    format!(r#"{{"seat":{seat},"mood":"fine"}}"#).parse().expect("JSON")
}

/// Handshakes at a time: more would keep the nodes from hearing each other on a small machine.
const CONNECTING_MAX: usize = 16;
/// Requests at a time.
const MOVING_MAX: usize = 64;
