//! The switch: carries packets between sockets in memory, with a delay and a [`Weather`] for each direction between two
//! hosts. Hosts are IP addresses; the second byte of an address is the region it stands in.
//!
//! Invariants: a packet's fate depends on the seed, its link and the time, so that weather on one link changes nothing on
//! another. Packets of one link keep their order, unless its weather says otherwise; those of different links that arrive
//! in one millisecond do so in the order of the links. Faults lose packets and never raise errors. A link that is cut loses
//! what is under way too.

mod link;
mod socket;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::link::Weather;
use self::link::{Fate, Link};
use self::socket::Port;
pub use self::socket::SimSocket;

/// One-way delays: of two different regions by their numbers, and inside one.
#[derive(Debug, Clone)]
pub struct Delays {
    /// Inside a region.
    pub local: Duration,
    /// Between regions that `between` does not list.
    pub far: Duration,
    /// Between two regions, the smaller number first.
    pub between: BTreeMap<(u8, u8), Duration>,
}

/// What became of the packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed in.
    pub sent: u64,
    /// Handed out; more than sent where packets were doubled.
    pub delivered: u64,
    /// Lost to weather.
    pub lost: u64,
    /// Lost to a cut, or to a socket that is gone.
    pub cut: u64,
}

/// A packet that was handed in, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packet {
    /// When.
    pub at: Duration,
    /// From which socket.
    pub from: SocketAddr,
    /// To which.
    pub to: SocketAddr,
    /// Its size.
    pub bytes: usize,
    /// What became of it.
    pub fate: Fate,
}

/// The network.
#[derive(Debug)]
pub struct Net {
    state: Mutex<State>,
    changed: Notify,
    begun: Instant,
}

#[derive(Debug)]
struct State {
    seed: u64,
    delays: Delays,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    ports: BTreeMap<SocketAddr, Port>,
    flights: BinaryHeap<Reverse<Flight>>,
    opened: u64,
    counts: Counts,
    packets: Vec<Packet>,
}

/// A packet under way, ordered by arrival, then by link.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    from: SocketAddr,
    to: SocketAddr,
    /// Its number on its link.
    count: u64,
    packet: Bytes,
}

impl Net {
    /// Starts a network on the runtime that calls this; it ends with the runtime.
    #[must_use]
    pub fn start(seed: u64, delays: Delays) -> Arc<Self> {
        let state = State {
            seed,
            delays,
            links: BTreeMap::new(),
            ports: BTreeMap::new(),
            flights: BinaryHeap::new(),
            opened: 0,
            counts: Counts::default(),
            packets: Vec::new(),
        };
        let net = Arc::new(Self { state: Mutex::new(state), changed: Notify::new(), begun: Instant::now() });
        drop(tokio::spawn(net.clone().carry()));
        net
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Opens a socket. One that had the address before is dead from now on, as after a crash.
    #[must_use]
    pub fn socket(self: &Arc<Self>, address: SocketAddr) -> Arc<SimSocket> {
        let mut state = self.lock();
        state.opened += 1;
        let number = state.opened;
        state.ports.insert(address, Port::new(number));
        Arc::new(SimSocket::new(self.clone(), address, number))
    }

    /// Kills every socket of a host: nothing that it says from now on is heard, not even a goodbye.
    pub fn unplug(&self, host: IpAddr) {
        self.lock().ports.retain(|address, _| address.ip() != host);
    }

    /// Sets the weather from one host to another, in this direction only.
    pub fn set(&self, from: IpAddr, to: IpAddr, weather: Weather) {
        self.lock().link(from, to).weather = weather;
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Every packet so far, in the order of time, sockets and size.
    #[must_use]
    pub fn packets(&self) -> Vec<Packet> {
        let mut packets = self.lock().packets.clone();
        packets.sort_unstable();
        packets
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, number: u64, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        let next_changed = self.lock().send(self.begun, number, from, to, packet);
        if next_changed {
            self.changed.notify_one();
        }
    }

    async fn carry(self: Arc<Self>) {
        loop {
            let next = self.lock().flights.peek().map(|Reverse(flight)| flight.at);
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { biased;
                () = due => {}
                () = self.changed.notified() => continue,
            }
            let wakers = self.lock().deliver(Instant::now());
            wakers.into_iter().for_each(std::task::Waker::wake);
        }
    }
}

impl State {
    fn link(&mut self, from: IpAddr, to: IpAddr) -> &mut Link {
        let (seed, delays) = (self.seed, &self.delays);
        self.links.entry((from, to)).or_insert_with(|| Link::new(seed, from, to, delays.of(from, to)))
    }

    /// Whether the packet is the next one to arrive.
    fn send(&mut self, begun: Instant, number: u64, from: SocketAddr, to: SocketAddr, packet: &[u8]) -> bool {
        let now = Instant::now();
        self.counts.sent += 1;
        if self.ports.get(&from).is_none_or(|port| port.number != number) {
            self.counts.cut += 1;
            return false;
        }
        let link = self.link(from.ip(), to.ip());
        let (count, fate) = (link.carried, link.fate(now - begun));
        self.packets.push(Packet { at: now - begun, from, to, bytes: packet.len(), fate });
        match fate {
            Fate::Cut => self.counts.cut += 1,
            Fate::Lost => self.counts.lost += 1,
            Fate::Arrives { after, copies } => {
                let at = now + after;
                let packet = Bytes::copy_from_slice(packet);
                let is_next = self.flights.peek().is_none_or(|Reverse(next)| at < next.at);
                let flight = || Reverse(Flight { at, from, to, count, packet: packet.clone() });
                self.flights.extend((0..copies).map(|_| flight()));
                return is_next;
            }
        }
        false
    }

    /// Puts what is due into the inboxes, and returns who is to be woken.
    fn deliver(&mut self, now: Instant) -> Vec<std::task::Waker> {
        let mut wakers = Vec::new();
        while self.flights.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Some(Reverse(Flight { from, to, packet, .. })) = self.flights.pop() else { break };
            if self.link(from.ip(), to.ip()).weather.cut {
                self.counts.cut += 1;
                continue;
            }
            match self.ports.get_mut(&to) {
                Some(port) => {
                    self.counts.delivered += 1;
                    wakers.extend(port.take(from, packet));
                }
                None => self.counts.cut += 1,
            }
        }
        wakers
    }
}

impl Delays {
    fn of(&self, from: IpAddr, to: IpAddr) -> Duration {
        let (from, to) = (region(from), region(to));
        if from == to {
            return self.local;
        }
        self.between.get(&(from.min(to), from.max(to))).copied().unwrap_or(self.far)
    }
}

/// The region that a host stands in: the second byte of its address.
fn region(host: IpAddr) -> u8 {
    match host {
        IpAddr::V4(host) => host.octets()[1],
        IpAddr::V6(host) => host.octets()[1],
    }
}

#[cfg(test)]
mod tests;
