//! The WAN between the nodes as a machine without IO: packets go in with the time, and come out when they are due.
//!
//! Knows nodes by their index only; no sockets, no clock, and no randomness but its seeded generator for losses.
//! Invariants: packets of one direction never overtake each other, whatever happens to its delay; a cut direction holds
//! nothing; a direction holds at most [`HELD_BYTES_MAX`], and drops what comes on top of that, as a router would.
//! Called by `relay`, which owns the sockets, and by `control`, which changes the rules.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The WAN of one mesh.
pub(super) struct Wan {
    nodes: usize,
    /// Row by row: from node 0 to each node, from node 1 to each node, and so on.
    links: Vec<Link>,
    rng: StdRng,
}

/// From one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Direction {
    pub(super) from: usize,
    pub(super) to: usize,
}

/// A packet on its way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) direction: Direction,
    pub(super) bytes: Vec<u8>,
}

/// What happens to the packets of one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    /// From sender to receiver.
    pub(super) delay: Duration,
    /// Nothing gets through.
    pub(super) cut: bool,
    /// The share of packets that gets lost, 0 to 1.
    pub(super) loss: f64,
}

struct Link {
    /// The delay that `heal` goes back to.
    delay_at_start: Duration,
    rule: Rule,
    held: VecDeque<Held>,
    held_bytes: usize,
}

struct Held {
    due: Instant,
    bytes: Vec<u8>,
}

impl Wan {
    /// A WAN of `nodes` nodes; `delay` is asked once per direction. Equal seeds lose the same packets of the same traffic.
    pub(super) fn new(nodes: usize, seed: u64, delay: impl Fn(Direction) -> Duration) -> Self {
        let directions = (0..nodes).flat_map(|from| (0..nodes).map(move |to| Direction { from, to }));
        let links = directions.map(|direction| Link::new(delay(direction))).collect();
        Self { nodes, links, rng: StdRng::seed_from_u64(seed) }
    }

    /// Takes a packet that was sent at `now`. It is lost at once, or comes out of [`Wan::due`] later.
    pub(super) fn send(&mut self, now: Instant, packet: Packet) {
        let index = self.index(packet.direction);
        let link = &mut self.links[index];
        let lost = link.rule.loss > 0.0 && self.rng.random_bool(link.rule.loss);
        if link.rule.cut || lost || link.held_bytes + packet.bytes.len() > HELD_BYTES_MAX {
            return;
        }
        link.held_bytes += packet.bytes.len();
        // A packet that is due before the one ahead of it waits for that one: order within a direction comes before delay.
        link.held.push_back(Held { due: now + link.rule.delay, bytes: packet.bytes });
    }

    /// Appends every packet that has arrived by `now` to `out`, each direction in order.
    pub(super) fn due(&mut self, now: Instant, out: &mut Vec<Packet>) {
        for (index, link) in self.links.iter_mut().enumerate() {
            let direction = Direction { from: index / self.nodes, to: index % self.nodes };
            while let Some(held) = link.held.pop_front_if(|held| held.due <= now) {
                link.held_bytes -= held.bytes.len();
                out.push(Packet { direction, bytes: held.bytes });
            }
        }
    }

    /// When [`Wan::due`] has something next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.links.iter().filter_map(|link| Some(link.held.front()?.due)).min()
    }

    /// What happens to packets of `direction` now.
    pub(super) fn rule(&self, direction: Direction) -> Rule {
        self.links[self.index(direction)].rule
    }

    /// Changes what happens to packets of `direction` from now on. A cut also drops what is in flight.
    pub(super) fn change(&mut self, direction: Direction, change: impl FnOnce(&mut Rule)) {
        let index = self.index(direction);
        let link = &mut self.links[index];
        change(&mut link.rule);
        link.rule.loss = link.rule.loss.clamp(0.0, 1.0);
        if link.rule.cut {
            link.held.clear();
            link.held_bytes = 0;
        }
    }

    /// Clears cuts, losses and changed delays everywhere.
    pub(super) fn heal(&mut self) {
        for link in &mut self.links {
            link.rule = Rule::clear(link.delay_at_start);
        }
    }

    fn index(&self, direction: Direction) -> usize {
        direction.from * self.nodes + direction.to
    }
}

impl Link {
    fn new(delay: Duration) -> Self {
        Self { delay_at_start: delay, rule: Rule::clear(delay), held: VecDeque::new(), held_bytes: 0 }
    }
}

impl Rule {
    fn clear(delay: Duration) -> Self {
        Self { delay, cut: false, loss: 0.0 }
    }
}

/// 8 MiB: what 500 Mbit/s have in flight over 110 ms is 7 MB.
const HELD_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: Direction = Direction { from: 0, to: 1 };
    const BACK: Direction = Direction { from: 1, to: 0 };
    const DELAY: Duration = Duration::from_millis(44);

    fn wan() -> Wan {
        Wan::new(3, 1, |direction| if direction.from == direction.to { Duration::ZERO } else { DELAY })
    }

    fn send(wan: &mut Wan, now: Instant, direction: Direction, byte: u8) {
        wan.send(now, Packet { direction, bytes: vec![byte] });
    }

    fn arrived(wan: &mut Wan, now: Instant) -> Vec<(Direction, u8)> {
        let mut out = Vec::new();
        wan.due(now, &mut out);
        out.iter().map(|packet| (packet.direction, packet.bytes[0])).collect()
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_packet_arrives_after_its_delay_and_not_before() {
        let (mut wan, start) = (wan(), Instant::now());
        send(&mut wan, start, THERE, 7);
        send(&mut wan, start + ms(1), BACK, 8);
        assert_eq!(wan.next_deadline(), Some(start + DELAY));
        assert_eq!(arrived(&mut wan, start + DELAY - Duration::from_nanos(1)), []);
        assert_eq!(arrived(&mut wan, start + DELAY), [(THERE, 7)]);
        assert_eq!(arrived(&mut wan, start + DELAY + ms(1)), [(BACK, 8)]);
        assert_eq!(wan.next_deadline(), None);
    }

    #[test]
    fn without_a_delay_packets_pass_at_once() {
        let (mut wan, start) = (Wan::new(2, 1, |_| Duration::ZERO), Instant::now());
        send(&mut wan, start, THERE, 1);
        assert_eq!(arrived(&mut wan, start), [(THERE, 1)]);
    }

    #[test]
    fn packets_keep_their_order_when_the_delay_shrinks() {
        let (mut wan, start) = (wan(), Instant::now());
        send(&mut wan, start, THERE, 1);
        wan.change(THERE, |rule| rule.delay = ms(1));
        send(&mut wan, start + ms(1), THERE, 2);
        assert_eq!(arrived(&mut wan, start + ms(43)), []);
        assert_eq!(arrived(&mut wan, start + ms(44)), [(THERE, 1), (THERE, 2)]);
        send(&mut wan, start + ms(50), THERE, 3);
        assert_eq!(arrived(&mut wan, start + ms(51)), [(THERE, 3)]);
    }

    #[test]
    fn a_cut_drops_what_is_in_flight_and_only_in_its_direction() {
        let (mut wan, start) = (wan(), Instant::now());
        send(&mut wan, start, THERE, 1);
        send(&mut wan, start, BACK, 2);
        wan.change(THERE, |rule| rule.cut = true);
        send(&mut wan, start, THERE, 3);
        assert_eq!(arrived(&mut wan, start + ms(1000)), [(BACK, 2)]);
    }

    #[test]
    fn losses_are_as_frequent_as_asked_and_repeat_with_the_seed() {
        let start = Instant::now();
        let through = |seed| {
            let mut wan = Wan::new(2, seed, |_| Duration::ZERO);
            wan.change(THERE, |rule| rule.loss = 0.1);
            (0..=255).cycle().take(10_000).for_each(|byte| send(&mut wan, start, THERE, byte));
            arrived(&mut wan, start)
        };
        let first = through(1);
        assert!((8_900..=9_100).contains(&first.len()), "{}", first.len());
        assert_eq!(first, through(1));
        assert_ne!(first, through(2));
    }

    #[test]
    fn healing_clears_cuts_losses_and_changed_delays() {
        let (mut wan, start) = (wan(), Instant::now());
        wan.change(THERE, |rule| *rule = Rule { delay: ms(500), cut: true, loss: 1.0 });
        wan.heal();
        assert_eq!(wan.rule(THERE), Rule { delay: DELAY, cut: false, loss: 0.0 });
        send(&mut wan, start, THERE, 1);
        assert_eq!(arrived(&mut wan, start + DELAY), [(THERE, 1)]);
    }

    #[test]
    fn a_full_direction_drops_the_newest_and_has_room_again_later() {
        let (mut wan, start) = (wan(), Instant::now());
        let half = || Packet { direction: THERE, bytes: vec![0; HELD_BYTES_MAX / 2] };
        (0..3).for_each(|_| wan.send(start, half()));
        let mut out = Vec::new();
        wan.due(start + DELAY, &mut out);
        assert_eq!(out.len(), 2);
        wan.send(start + DELAY, half());
        wan.due(start + 2 * DELAY, &mut out);
        assert_eq!(out.len(), 3);
    }
}
