//! A staggered race ("happy eyeballs", RFC 8305): the first runner starts at once, each further one after a pause or as
//! soon as a runner before it has failed. Does not judge: the caller takes the results in the order of their arrival.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

/// Most runners on the way at a time: an unreachable mesh must not cost a handshake per node at once.
const RUNNING_MAX: usize = 8;

pub(crate) struct Race<F: Future> {
    waiting: VecDeque<F>,
    running: FuturesUnordered<F>,
    stagger: Duration,
    next_start: Instant,
}

impl<F: Future> Race<F> {
    pub(crate) fn new(runners: impl IntoIterator<Item = F>, stagger: Duration) -> Self {
        let waiting = runners.into_iter().collect();
        Self { waiting, running: FuturesUnordered::new(), stagger, next_start: Instant::now() }
    }

    /// The next result, or `None` when every runner has arrived. Asking again means that the last result was of no use,
    /// so the next runner starts. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<F::Output> {
        loop {
            if self.running.is_empty() || (Instant::now() >= self.next_start && self.running.len() < RUNNING_MAX) {
                self.start();
            }
            let more = !self.waiting.is_empty() && self.running.len() < RUNNING_MAX;
            tokio::select! { biased;
                arrived = self.running.next() => {
                    self.next_start = Instant::now();
                    return arrived;
                }
                () = tokio::time::sleep_until(self.next_start), if more => {}
            }
        }
    }

    fn start(&mut self) {
        self.running.extend(self.waiting.pop_front());
        self.next_start = Instant::now() + self.stagger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGGER: Duration = Duration::from_millis(250);

    async fn runner(name: &'static str, takes_ms: u64) -> (&'static str, Instant) {
        let started = Instant::now();
        tokio::time::sleep(Duration::from_millis(takes_ms)).await;
        (name, started)
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_runner_wins_when_the_first_hangs() {
        let begin = Instant::now();
        let mut race = Race::new([runner("hangs", 10_000), runner("second", 20), runner("third", 1)], STAGGER);
        let (name, started) = race.next().await.unwrap();
        assert_eq!((name, (started - begin).as_millis()), ("second", 250));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_at_once() {
        let begin = Instant::now();
        let mut race = Race::new([runner("fails", 5), runner("second", 20)], STAGGER);
        assert_eq!(race.next().await.unwrap().0, "fails");
        let (name, started) = race.next().await.unwrap();
        assert_eq!((name, (started - begin).as_millis()), ("second", 5));
        assert!(race.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_few_run_at_a_time() {
        let mut race = Race::new((0..20).map(|_| runner("hangs", 60_000)), Duration::from_millis(1));
        let first = tokio::time::timeout(Duration::from_secs(1), race.next()).await;
        assert!(first.is_err() && race.running.len() == RUNNING_MAX);
    }
}
