//! When the local node rests: it wants to own nothing for a while, because its links were lost again and again. A node
//! cannot tell by itself whether it or a peer was away (it may have been stopped, or have run as another process), so the
//! peers tell how often they lost it; when most of them did, it is this node.
//!
//! Everybody believes what the node says of itself, so all agree on who owns what. If only one link is bad, or a region is
//! cut in halves, then most peers have lost nobody, or all nodes rest, which is as if none did.

use std::time::Duration;

use super::config::Config;

/// The local node's rest.
#[derive(Debug, Default)]
pub(super) struct Rest {
    flaps: u32,
    until: Option<Duration>,
}

impl Rest {
    /// Takes how often each linked peer has lost this node lately.
    pub(super) fn hear(&mut self, now: Duration, mut counts: Vec<u32>, config: &Config) {
        counts.sort_unstable();
        // The lower median: with two peers, one that lost this node is not yet most of them.
        let flaps = counts.get(counts.len().saturating_sub(1) / 2).copied().unwrap_or(0);
        if flaps > self.flaps {
            self.until = Some(now.saturating_add(config.rest(flaps)));
        }
        self.flaps = flaps;
    }

    /// Ends the rest if it is over; whether that made a difference.
    pub(super) fn tick(&mut self, now: Duration) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }

    /// Until when the node rests.
    pub(super) fn until(&self) -> Option<Duration> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest_after(counts: &[&[u32]]) -> Option<u64> {
        let (mut rest, config) = (Rest::default(), Config::default());
        counts.iter().for_each(|counts| rest.hear(Duration::ZERO, counts.to_vec(), &config));
        rest.until().map(|until| until.as_secs())
    }

    #[test]
    fn a_node_that_most_peers_lost_rests_longer_each_time() {
        assert_eq!(rest_after(&[&[1, 1, 0]]), Some(2));
        assert_eq!(rest_after(&[&[1, 1, 0], &[2, 2, 0]]), Some(4));
        assert_eq!(rest_after(&[&[3]]), Some(8));
        assert_eq!(rest_after(&[&[40, 40]]), Some(120), "bounded");
    }

    #[test]
    fn one_bad_link_is_no_reason_to_rest() {
        assert_eq!(rest_after(&[&[5, 0]]), None);
        assert_eq!(rest_after(&[&[5, 0, 0, 0]]), None);
        assert_eq!(rest_after(&[&[]]), None);
    }

    #[test]
    fn what_was_heard_before_is_no_reason_to_rest_again() {
        let (mut rest, config) = (Rest::default(), Config::default());
        rest.hear(Duration::ZERO, vec![1, 1], &config);
        assert!(!rest.tick(Duration::from_millis(1_999)) && rest.tick(Duration::from_secs(2)));
        rest.hear(Duration::from_secs(3), vec![1, 1, 0], &config);
        assert_eq!(rest.until(), None);
    }
}
