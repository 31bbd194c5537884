//! SWIM's timers: none may be lost, and those due together run in the order that foca asks for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use foca::Timer;
use tokio::time::Instant;

use super::identity::Identity;

/// Timers by due time.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Scheduled>>,
    count: u64,
}

struct Scheduled {
    at: Instant,
    count: u64,
    timer: Timer<Identity>,
}

impl Timers {
    pub(crate) fn add(&mut self, after: Duration, timer: Timer<Identity>) {
        self.count += 1;
        self.heap.push(Reverse(Scheduled { at: Instant::now() + after, count: self.count, timer }));
    }

    /// Waits until a timer is due; for ever without one. Cancel safe.
    pub(crate) async fn next_due(&self) {
        match self.heap.peek() {
            Some(Reverse(first)) => tokio::time::sleep_until(first.at).await,
            None => std::future::pending().await,
        }
    }

    /// Takes every timer that is due.
    pub(crate) fn take_due(&mut self) -> Vec<Timer<Identity>> {
        let now = Instant::now();
        let mut due = Vec::new();
        while self.heap.peek().is_some_and(|Reverse(first)| first.at <= now) {
            due.extend(self.heap.pop().map(|Reverse(scheduled)| scheduled.timer));
        }
        due.sort();
        due
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.count).cmp(&(other.at, other.count))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}
