//! The times and bounds of [`Placement`](super::Placement).

use std::time::Duration;

/// How fast the ring follows the members. All nodes of a mesh should have the same values: where they differ, views
/// differ for longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long after its first member was seen here a region counts as young. Default: 60 s.
    pub region_young: Duration,
    /// How long a change waits for others, to be applied with them. Default: 250 ms.
    pub change_batch: Duration,
    /// Least time between two changes of one region's ring, once it is no longer young. Members that left or were
    /// forgotten are taken out without this wait. Default: 10 s.
    pub change_spacing: Duration,
    /// How long a member must be down, without a live link to it, before it leaves the ring. Default: 10 min.
    pub down_leaves_ring: Duration,
    /// What a member that went and came back waits before it may enter the ring again; doubled each time. Default: 1 s.
    pub flap_wait_min: Duration,
    /// The most that such a member waits. Default: 5 min.
    pub flap_wait_max: Duration,
    /// How long a member must stay for its earlier flaps to be forgiven. Default: 10 min.
    pub flap_forgiven: Duration,
    /// How long a member that can be reached again owns nothing as long as somebody else can: until it has said whether
    /// it rests. Less than [`GRACE`](crate::interest::GRACE), within which it is sent everything. Default: 1.5 s.
    pub back_hold: Duration,
    /// How long a node rests that most of its peers have lost once; doubled each time. Default: 2 s.
    pub rest_min: Duration,
    /// The most that such a node rests. Default: 2 min.
    pub rest_max: Duration,
    /// How long a member that left, or that is down and out of the ring, stays listed. Default: 24 h.
    pub gone_listed: Duration,
    /// The most members that are kept, those listed as gone included; the longest gone makes room for a live one.
    /// Default: 256.
    pub members_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region_young: Duration::from_secs(60),
            change_batch: Duration::from_millis(250),
            change_spacing: Duration::from_secs(10),
            down_leaves_ring: Duration::from_secs(10 * 60),
            flap_wait_min: Duration::from_secs(1),
            flap_wait_max: Duration::from_secs(5 * 60),
            flap_forgiven: Duration::from_secs(10 * 60),
            back_hold: Duration::from_millis(1_500),
            rest_min: Duration::from_secs(2),
            rest_max: Duration::from_secs(120),
            gone_listed: Duration::from_secs(24 * 60 * 60),
            members_max: 256,
        }
    }
}

impl Config {
    /// What a member waits that has come back `flaps` times.
    pub(super) fn rejoin_wait(&self, flaps: u32) -> Duration {
        doubled(self.flap_wait_min, flaps, self.flap_wait_max)
    }

    /// How long a node rests that was lost `flaps` times.
    pub(super) fn rest(&self, flaps: u32) -> Duration {
        doubled(self.rest_min, flaps, self.rest_max)
    }
}

/// `first` for one flap, twice as long for each further one, `most` at most.
fn doubled(first: Duration, flaps: u32, most: Duration) -> Duration {
    match flaps.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => first.saturating_mul(2_u32.saturating_pow(doublings)).min(most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        let config = Config::default();
        let waits: Vec<_> = (0..5).map(|flaps| config.rejoin_wait(flaps).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8]);
        assert_eq!(config.rejoin_wait(9), Duration::from_secs(256));
        assert_eq!(config.rejoin_wait(10), config.flap_wait_max);
        assert_eq!(config.rejoin_wait(u32::MAX), config.flap_wait_max);
    }
}
