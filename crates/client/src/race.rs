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
    /// Each with the pause before it, counted from the start of the one before.
    waiting: VecDeque<(Duration, F)>,
    running: FuturesUnordered<F>,
    next_start: Instant,
}

impl<F: Future> Race<F> {
    /// A race of runners that start with these pauses between them.
    pub(crate) fn new(runners: impl IntoIterator<Item = (Duration, F)>) -> Self {
        let waiting = runners.into_iter().collect();
        Self { waiting, running: FuturesUnordered::new(), next_start: Instant::now() }
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
        self.running.extend(self.waiting.pop_front().map(|(_, runner)| runner));
        self.next_start = Instant::now() + self.waiting.front().map_or(Duration::ZERO, |(pause, _)| *pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGGER: Duration = Duration::from_millis(250);

    fn staggered<F: Future>(runners: impl IntoIterator<Item = F>) -> Race<F> {
        Race::new(runners.into_iter().map(|runner| (STAGGER, runner)))
    }

    async fn runner(name: &'static str, takes_ms: u64) -> (&'static str, Instant) {
        let started = Instant::now();
        tokio::time::sleep(Duration::from_millis(takes_ms)).await;
        (name, started)
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_runner_wins_when_the_first_hangs() {
        let begin = Instant::now();
        let mut race = staggered([runner("hangs", 10_000), runner("second", 20), runner("third", 1)]);
        let (name, started) = race.next().await.unwrap();
        assert_eq!((name, (started - begin).as_millis()), ("second", 250));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_at_once() {
        let begin = Instant::now();
        let mut race = staggered([runner("fails", 5), runner("second", 20)]);
        assert_eq!(race.next().await.unwrap().0, "fails");
        let (name, started) = race.next().await.unwrap();
        assert_eq!((name, (started - begin).as_millis()), ("second", 5));
        assert!(race.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_few_run_at_a_time() {
        let mut race = Race::new((0..20).map(|_| (Duration::from_millis(1), runner("hangs", 60_000))));
        let first = tokio::time::timeout(Duration::from_secs(1), race.next()).await;
        assert!(first.is_err() && race.running.len() == RUNNING_MAX);
    }
}
