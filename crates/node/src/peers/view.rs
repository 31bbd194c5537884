//! What is known of a peer's view of the mesh, and how often it is told this node's. Knows no connection.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farwire_wire::ViewDigest;

use crate::sync::lock;

/// A peer whose messages come under another view is told so at most this often: it sends thousands of them before it
/// can know better.
const ANSWER_EVERY: Duration = Duration::from_secs(1);

/// The view that a peer acts on, as far as it has told.
#[derive(Debug, Default)]
pub(crate) struct PeerView {
    /// 0 until it has told: one digest in 2^64 would look like that, and only be missing on a page.
    told: AtomicU64,
    answered: Mutex<Option<Duration>>,
}

impl PeerView {
    /// The peer has named the view that it acts on.
    pub(crate) fn learn(&self, view: ViewDigest) {
        self.told.store(view.0, Ordering::Relaxed);
    }

    /// The view that it acts on; `None` until it has told.
    pub(crate) fn told(&self) -> Option<ViewDigest> {
        Some(self.told.load(Ordering::Relaxed)).filter(|view| *view != 0).map(ViewDigest)
    }

    /// Whether an answer is due to a message under another view; it counts as given.
    pub(crate) fn answer_is_due(&self, now: Duration) -> bool {
        let mut answered = lock(&self.answered);
        let due = answered.is_none_or(|at| now >= at + ANSWER_EVERY);
        if due {
            *answered = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_of_another_view_once_a_second_at_most() {
        let view = PeerView::default();
        let due = [0, 1, 999, 1_000, 1_001, 2_500].map(|ms| view.answer_is_due(Duration::from_millis(ms)));
        assert_eq!(due, [true, false, false, true, false, true]);
    }

    #[test]
    fn a_view_is_unknown_until_it_is_told() {
        let view = PeerView::default();
        assert_eq!(view.told(), None);
        view.learn(ViewDigest(7));
        assert_eq!(view.told(), Some(ViewDigest(7)));
    }
}
