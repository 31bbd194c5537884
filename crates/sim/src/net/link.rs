//! One direction between two hosts: its delay, its weather, and the random numbers of its own that decide about packets.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

/// Up to how much later than its link's delay a packet arrives in fine weather. Whole milliseconds, as tokio's timers.
const JITTER: Duration = Duration::from_millis(2);

/// What a link does to packets beyond its delay. The default is fine weather.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weather {
    /// Nothing passes.
    pub cut: bool,
    /// Share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Share of packets that arrive twice, 0 to 1.
    pub doubled: f64,
    /// Every packet is this much slower.
    pub slower: Duration,
    /// Up to how much later than others a packet may arrive, overtaken by those sent after it.
    pub shuffled: Duration,
}

impl Weather {
    /// Nothing passes.
    #[must_use]
    pub fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// This share of packets is lost.
    #[must_use]
    pub fn lossy(share: f64) -> Self {
        Self { loss: share, ..Self::default() }
    }

    /// Both at once.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            cut: self.cut || other.cut,
            loss: self.loss.max(other.loss),
            doubled: self.doubled.max(other.doubled),
            slower: self.slower + other.slower,
            shuffled: self.shuffled.max(other.shuffled),
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Cut,
    Lost,
    Arrives { after: Duration, copies: u32 },
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) weather: Weather,
    /// How many packets were handed in.
    pub(super) carried: u64,
    /// What was hashed of them.
    pub(super) trace: DefaultHasher,
    delay: Duration,
    rng: StdRng,
    last_arrival: Option<Instant>,
}

impl Link {
    pub(super) fn new(seed: u64, from: IpAddr, to: IpAddr, delay: Duration) -> Self {
        let mut own = DefaultHasher::new();
        (seed, from, to).hash(&mut own);
        let rng = StdRng::seed_from_u64(own.finish());
        Self { weather: Weather::default(), carried: 0, trace: DefaultHasher::new(), delay, rng, last_arrival: None }
    }

    /// Decides about the next packet. Draws as many numbers whatever the weather: a change of it leaves the later ones as they are.
    pub(super) fn fate(&mut self, now: Instant) -> Fate {
        self.carried += 1;
        let [lost, doubled, jitter, shuffled] = self.rng.random::<[f64; 4]>();
        let Weather { cut, loss, doubled: share_doubled, slower, shuffled: shuffle } = self.weather;
        if cut {
            return Fate::Cut;
        }
        if lost < loss {
            return Fate::Lost;
        }
        let in_order = now + self.delay + slower + whole_millis(JITTER.mul_f64(jitter));
        let in_order = self.last_arrival.map_or(in_order, |last| last.max(in_order));
        self.last_arrival = Some(in_order);
        let at = in_order + whole_millis(shuffle.mul_f64(shuffled));
        Fate::Arrives { after: at - now, copies: 1 + u32::from(doubled < share_doubled) }
    }
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
