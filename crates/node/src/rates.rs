//! How busy the channels are that this node owns, for the admin page. Bounded: the channel that was quiet longest makes
//! room for a new one.

use std::collections::BTreeMap;
use std::time::Duration;

use farwire_wire::ChannelName;

/// Most channels counted per shard.
const CHANNELS_MAX: usize = 4_096;
/// Rates are of the last whole window.
const WINDOW: Duration = Duration::from_secs(5);

/// Counts per channel.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    channels: BTreeMap<ChannelName, Rate>,
}

/// Messages and bytes of one channel.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rate {
    /// Messages since the node counts.
    pub(crate) messages: u64,
    /// Payload bytes since then.
    pub(crate) bytes: u64,
    /// When the last one came.
    pub(crate) last: Duration,
    window_start: Duration,
    window_messages: u64,
    per_second: f64,
}

impl Rate {
    /// Messages per second over the last whole window; 0 once the channel has been quiet for longer.
    pub(crate) fn per_second(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.window_start);
        match age {
            age if age < WINDOW => self.per_second,
            age if age < WINDOW * 2 => count(self.window_messages) / age.as_secs_f64(),
            _ => 0.0,
        }
    }

    fn add(&mut self, now: Duration, bytes: usize) {
        let age = now.saturating_sub(self.window_start);
        if age >= WINDOW {
            self.per_second = if age < WINDOW * 2 { count(self.window_messages) / age.as_secs_f64() } else { 0.0 };
            self.window_start = now;
            self.window_messages = 0;
        }
        self.window_messages += 1;
        self.messages += 1;
        self.bytes += bytes as u64;
        self.last = now;
    }
}

impl Rates {
    /// Counts a message.
    pub(crate) fn count(&mut self, now: Duration, channel: &ChannelName, bytes: usize) {
        if let Some(rate) = self.channels.get_mut(channel) {
            rate.add(now, bytes);
            return;
        }
        if self.channels.len() >= CHANNELS_MAX {
            let quietest = self.channels.iter().min_by_key(|(_, rate)| rate.last).map(|(name, _)| name.clone());
            quietest.map(|name| self.channels.remove(&name));
        }
        let rate = self.channels.entry(channel.clone()).or_insert(Rate { window_start: now, ..Rate::default() });
        rate.add(now, bytes);
    }

    /// The rate of one channel, if it was counted.
    pub(crate) fn of(&self, channel: &ChannelName) -> Option<Rate> {
        self.channels.get(channel).copied()
    }

    /// All channels counted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ChannelName, &Rate)> {
        self.channels.iter()
    }
}

fn count(messages: u64) -> f64 {
    // Exact up to 2^53 messages in a window.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let count = messages as f64;
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_channel_shows_its_rate_and_a_quiet_one_none() {
        let mut rates = Rates::default();
        let channel = ChannelName::parse("a").unwrap();
        (0..200).for_each(|n| rates.count(Duration::from_millis(n * 100), &channel, 1));
        let rate = rates.of(&channel).unwrap();
        assert!((rate.per_second(Duration::from_secs(20)) - 10.0).abs() < 0.5);
        assert!(rate.per_second(Duration::from_secs(60)).abs() < f64::EPSILON);
    }

    #[test]
    fn the_quietest_channel_makes_room() {
        let mut rates = Rates::default();
        for n in 0..=CHANNELS_MAX {
            rates.count(Duration::from_millis(n as u64), &ChannelName::parse(&format!("c{n}")).unwrap(), 1);
        }
        assert_eq!(rates.iter().count(), CHANNELS_MAX);
        assert!(rates.of(&ChannelName::parse("c0").unwrap()).is_none());
    }
}
