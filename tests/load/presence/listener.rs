//! Those who watch the channel's presence, one at each node: how often they hear something, and what their nodes answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use farwire_client::{ChannelPresence, Client};
use tokio::task::JoinHandle;

use crate::mesh::{CHANNEL, Hall};

/// A subscriber of presence at one node. Dropped, it stops.
pub(crate) struct Listener {
    client: Client,
    heard: Arc<Mutex<Vec<Instant>>>,
    listening: JoinHandle<()>,
}

impl Listener {
    /// Begins to watch.
    pub(crate) async fn start(hall: &Hall, node: usize) -> Self {
        let client = hall.client(node, &format!("listener-{node}")).await;
        let mut watch = client.watch_presence(CHANNEL).await.expect("a watch");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let times = heard.clone();
        let listening = tokio::spawn(async move {
            while watch.next().await.is_some() {
                times.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            }
        });
        Self { client, heard, listening }
    }

    /// How often it heard something from one time to another.
    pub(crate) fn heard(&self, from: Instant, to: Instant) -> Heard {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let times: Vec<Instant> = heard.iter().copied().filter(|time| (from..to).contains(time)).collect();
        Heard { times: times.len(), most_in_a_second: most_within(&times, Duration::from_secs(1)) }
    }

    /// How many are there, as its node says.
    pub(crate) async fn occupancy(&self) -> Option<ChannelPresence> {
        self.client.occupancy([CHANNEL]).await.ok()?.pop()
    }

    /// Who is there, as its node says.
    pub(crate) async fn everybody(&self) -> ChannelPresence {
        self.client.presence(CHANNEL).await.expect("an answer")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// How often something was heard.
pub(crate) struct Heard {
    pub(crate) times: usize,
    /// In the second in which most was heard.
    pub(crate) most_in_a_second: usize,
}

/// The most of these times, in order, that lie within so long.
fn most_within(times: &[Instant], span: Duration) -> usize {
    let from = |first: usize| times[first..].iter().take_while(|time| **time < times[first] + span).count();
    (0..times.len()).map(from).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_within_a_second_slides() {
        let start = Instant::now();
        let times: Vec<Instant> =
            [0, 900, 1_000, 1_800, 1_899, 1_900, 5_000].map(|ms| start + Duration::from_millis(ms)).into();
        assert_eq!(most_within(&times, Duration::from_secs(1)), 4);
        assert_eq!(most_within(&[], Duration::from_secs(1)), 0);
    }
}
