//! Whether the disk has room for new messages. At 90 % full new publishes are refused, so that what Raft itself has to
//! write (votes, entries of others, marks) still finds a place.
//!
//! Not the last line: a disk that is really full fails a write, and that stops the store.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How much a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total_bytes: u64,
    /// What this process may still use.
    pub free_bytes: u64,
}

/// Asks a disk how full it is. A trait, so that a simulation can lie.
pub trait Probe: Send + Sync + 'static {
    /// The space now.
    ///
    /// # Errors
    ///
    /// The disk does not say.
    fn space(&self) -> io::Result<DiskSpace>;
}

/// The answer of a probe, kept for a second.
pub(crate) struct Room {
    probe: Arc<dyn Probe>,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Room {
    pub(crate) fn new(probe: Arc<dyn Probe>) -> Self {
        Self { probe, last: Mutex::new(None) }
    }

    /// Whether less than 90 % are in use; a disk that does not say counts as full.
    pub(crate) fn has_room(&self) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, answer)) = *last
            && now.duration_since(asked) < ASK_EVERY
        {
            return answer;
        }
        let answer = self.probe.space().is_ok_and(has_room_in);
        if last.is_none_or(|(_, before)| before != answer) && !answer {
            tracing::error!("disk is full, new messages are refused");
        }
        *last = Some((now, answer));
        answer
    }
}

fn has_room_in(space: DiskSpace) -> bool {
    let used_bytes = space.total_bytes.saturating_sub(space.free_bytes);
    u128::from(used_bytes) * 100 < u128::from(space.total_bytes) * u128::from(FULL_PERCENT)
}

const ASK_EVERY: Duration = Duration::from_secs(1);

const FULL_PERCENT: u64 = 90;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    #[derive(Default)]
    struct Liar {
        used: AtomicU64,
        asked: AtomicU64,
    }

    impl Probe for Liar {
        fn space(&self) -> io::Result<DiskSpace> {
            self.asked.fetch_add(1, SeqCst);
            Ok(DiskSpace { total_bytes: 1_000, free_bytes: 1_000 - self.used.load(SeqCst) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn room_ends_at_ninety_percent_and_is_asked_for_once_a_second() {
        let liar = Arc::new(Liar::default());
        let room = Room::new(liar.clone());
        liar.used.store(899, SeqCst);
        assert!(room.has_room());
        liar.used.store(900, SeqCst);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(room.has_room(), "the answer is a second old at most");
        assert_eq!(liar.asked.load(SeqCst), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!room.has_room());
        assert_eq!(liar.asked.load(SeqCst), 2);
        liar.used.store(0, SeqCst);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(room.has_room(), "room comes back");
    }

    #[test]
    fn disk_that_does_not_answer_has_no_room() {
        struct Mute;
        impl Probe for Mute {
            fn space(&self) -> io::Result<DiskSpace> {
                Err(io::Error::other("mute"))
            }
        }
        assert!(!Room::new(Arc::new(Mute)).has_room());
    }
}
