//! One direction between two hosts: its delay, its weather, and what they do to a packet.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// The link is cut.
    Cut,
    /// The weather took it.
    Lost,
    /// It arrives.
    Arrives {
        /// How long it takes.
        after: Duration,
        /// How often it comes.
        copies: u32,
    },
}

/// A link. What it does to a packet depends on its seed and the time alone: how many packets a connection makes of what it
/// has to send in one millisecond, and in which order, is a matter of chance.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) weather: Weather,
    /// How many packets were handed in.
    pub(super) carried: u64,
    delay: Duration,
    seed: u64,
    last_arrival: Duration,
}

impl Link {
    pub(super) fn new(seed: u64, from: IpAddr, to: IpAddr, delay: Duration) -> Self {
        let weather = Weather::default();
        Self { weather, carried: 0, delay, seed: digest((seed, from, to)), last_arrival: Duration::ZERO }
    }

    /// Decides about the packets of this millisecond. Time counts from the start of the run.
    pub(super) fn fate(&mut self, now: Duration) -> Fate {
        self.carried += 1;
        let [lost, doubled, jitter, shuffled] = StdRng::seed_from_u64(digest((self.seed, now))).random::<[f64; 4]>();
        let Weather { cut, loss, doubled: share_doubled, slower, shuffled: shuffle } = self.weather;
        if cut {
            return Fate::Cut;
        }
        if lost < loss {
            return Fate::Lost;
        }
        let in_order = now + self.delay + slower + whole_millis(JITTER.mul_f64(jitter));
        self.last_arrival = in_order.max(self.last_arrival);
        let at = self.last_arrival + whole_millis(shuffle.mul_f64(shuffled));
        Fate::Arrives { after: at - now, copies: 1 + u32::from(doubled < share_doubled) }
    }
}

fn digest(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
