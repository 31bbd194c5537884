//! Whether anything is heard over a link, long before QUIC gives it up: both ends send a ping every [`PING_EVERY`] that
//! names the newest ping of the other end, so that a ping that is named has made its way there, and the answer its way
//! back. A link that is silent is routed around, not closed.
//!
//! Pure: the caller calls [`Pulse::beat`] once in [`PING_EVERY`] and sends what it returns. Counting beats, not time, is
//! on purpose: a process that was stopped itself beats once when it goes on, and takes nobody for silent.
//!
//! The arithmetic, with 0.35 s between beats and 6 unnamed pings. The first ping that a dead peer does not name was sent
//! between 0.35 s and one way before its death, and 0.35 s after it; the link is silent 2.1 s later: 1.75 s (less the
//! way) to 2.45 s after the death. Every node finds out by itself within that time, so that after 2.45 s nobody offers to
//! relay to the dead, and 0.55 s of the 3 s are left for telling that.
//!
//! A peer that stalls for 1 s names the first ping of the stall up to 1 s + 0.35 s + a round trip after it was sent, which
//! is no alarm for round trips up to 0.75 s. A lost packet is repeated after about a round trip and a half, then after
//! twice as long; with 3 % lost each way four attempts in a row fail once in 77,000 pings (0.06 ^ 4), and later pings carry
//! the same news. An outage of the network loses what is repeated meanwhile, too: afterwards it takes up to one beat
//! until a ping arrives, a round trip and a half until what it waits for is repeated, a beat and half a round trip until it is
//! named. So an outage is no alarm up to 1.4 s less two round trips; after a longer one the link is routed around for a
//! second or two.
//!
//! Hysteresis: it takes [`HEARD_AFTER`] pings of the peer in a row that name new ones to be heard again.

use std::time::Duration;

/// Time between two beats.
pub const PING_EVERY: Duration = Duration::from_millis(350);
/// Pings that go unnamed before the link is silent.
pub const SILENT_AFTER: u64 = 6;
/// Pings with news before a silent link is heard again.
pub const HEARD_AFTER: u32 = 3;

/// What a node sends every [`PING_EVERY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Grows by one with each.
    pub number: u64,
    /// The newest number of the other end.
    pub seen: u64,
}

/// The link begins to be silent, or to be heard again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Route around it.
    Silent,
    /// Route over it again.
    Heard,
}

/// One end of one link.
#[derive(Debug, Default)]
pub struct Pulse {
    sent: u64,
    named: u64,
    seen: u64,
    silent: bool,
    news: u32,
}

impl Pulse {
    /// The next ping to send, and whether the link has just become silent.
    pub fn beat(&mut self) -> (Ping, Option<Turn>) {
        let overdue = self.sent.saturating_sub(self.named) >= SILENT_AFTER;
        if overdue {
            self.news = 0;
        }
        let turn = (overdue && !self.silent).then_some(Turn::Silent);
        self.silent |= overdue;
        self.sent += 1;
        (Ping { number: self.sent, seen: self.seen }, turn)
    }

    /// Takes a ping of the other end, and says whether the link is heard again by it.
    pub fn hear(&mut self, ping: Ping) -> Option<Turn> {
        self.seen = self.seen.max(ping.number);
        let named = ping.seen.min(self.sent);
        if named > self.named {
            self.named = named;
            self.news += 1;
        }
        let heard = self.silent && self.news >= HEARD_AFTER && self.sent - self.named < SILENT_AFTER;
        if heard {
            self.silent = false;
        }
        heard.then_some(Turn::Heard)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two ends that beat together, `beat_ms` apart, with packets that take `trip_ms`; `passes` says which arrive, and a
    /// stalled end neither beats nor hears. Returns when the first end turned.
    struct Two {
        trip_ms: u64,
        ends: [Pulse; 2],
        beats_at: [u64; 2],
        under_way: Vec<(u64, usize, Ping)>,
        turns: Vec<(u64, Turn)>,
    }

    impl Two {
        fn new(trip_ms: u64) -> Self {
            // The ends do not beat at the same moment.
            Self { trip_ms, ends: Default::default(), beats_at: [0, 170], under_way: Vec::new(), turns: Vec::new() }
        }

        fn run(
            &mut self,
            from_ms: u64,
            to_ms: u64,
            is_stalled: impl Fn(u64) -> bool,
            passes: impl Fn(u64, usize) -> bool,
        ) {
            for now in from_ms..to_ms {
                for end in 0..2 {
                    if now >= self.beats_at[end] && !(end == 1 && is_stalled(now)) {
                        self.beats_at[end] = now + u64::try_from(PING_EVERY.as_millis()).unwrap();
                        let (ping, turn) = self.ends[end].beat();
                        self.turns.extend(turn.filter(|_| end == 0).map(|turn| (now, turn)));
                        if passes(now, end) {
                            self.under_way.push((now + self.trip_ms, 1 - end, ping));
                        }
                    }
                }
                let arrives = |(due, to, _): &mut (u64, usize, Ping)| *due <= now && !(*to == 1 && is_stalled(now));
                for (_, to, ping) in self.under_way.extract_if(.., arrives).collect::<Vec<_>>() {
                    let turn = self.ends[to].hear(ping);
                    self.turns.extend(turn.filter(|_| to == 0).map(|turn| (now, turn)));
                }
            }
        }
    }

    #[test]
    fn a_dead_peer_is_silent_in_good_time_and_not_too_early() {
        for trip_ms in [0, 5, 80, 110] {
            for died_at in (10_000..10_350).step_by(13) {
                let mut two = Two::new(trip_ms);
                two.run(0, 20_000, |now| now >= died_at, |_, _| true);
                let [(at, Turn::Silent)] = two.turns[..] else { panic!("{:?}", two.turns) };
                assert!((died_at + 1_750 - trip_ms..=died_at + 2_450).contains(&at), "{trip_ms} {died_at} {at}");
            }
        }
    }

    #[test]
    fn one_direction_is_not_enough() {
        for deaf in [0, 1] {
            let mut two = Two::new(40);
            two.run(0, 20_000, |_| false, |now, end| now < 10_000 || end != deaf);
            assert!(matches!(two.turns[..], [(..=12_450, Turn::Silent)]), "{:?}", two.turns);
        }
    }

    #[test]
    fn a_stall_of_a_second_is_no_alarm() {
        for trip_ms in [0, 80, 370] {
            for stalled_at in (10_000..10_350).step_by(13) {
                let mut two = Two::new(trip_ms);
                two.run(0, 20_000, |now| (stalled_at..stalled_at + 1_000).contains(&now), |_, _| true);
                assert!(two.turns.is_empty(), "{trip_ms} {stalled_at} {:?}", two.turns);
            }
        }
    }

    #[test]
    fn a_link_that_healed_is_heard_again_within_two_seconds() {
        for healed_at in (15_000..15_350).step_by(13) {
            let mut two = Two::new(80);
            two.run(0, 20_000, |_| false, |now, _| !(10_000..healed_at).contains(&now));
            let [(_, Turn::Silent), (at, Turn::Heard)] = two.turns[..] else { panic!("{:?}", two.turns) };
            assert!((healed_at + 400..=healed_at + 2_000).contains(&at), "{healed_at} {at}");
        }
    }

    #[test]
    fn who_was_stopped_itself_takes_nobody_for_silent() {
        let mut pulse = Pulse::default();
        for number in 1..100 {
            pulse.beat();
            pulse.hear(Ping { number, seen: number });
        }
        // Back after a minute: one beat, then the peer's pings of all that time.
        assert_eq!(pulse.beat().1, None);
        assert!((100..250).all(|number| pulse.hear(Ping { number, seen: 100 }).is_none()));
        assert_eq!(pulse.beat().1, None);
    }

    proptest! {
        /// Whatever the other end says, a link turns from silent to heard and back, never twice the same.
        #[test]
        fn turns_alternate(steps in prop::collection::vec(prop::option::of(any::<(u16, u16)>()), 0..200)) {
            let mut pulse = Pulse::default();
            let turns = steps.into_iter().filter_map(|step| match step {
                None => pulse.beat().1,
                Some((number, seen)) => pulse.hear(Ping { number: number.into(), seen: seen.into() }),
            });
            for (at, turn) in turns.enumerate() {
                prop_assert_eq!(turn, if at % 2 == 0 { Turn::Silent } else { Turn::Heard });
            }
        }
    }
}
