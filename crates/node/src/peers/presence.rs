//! The queue of presence towards one peer: encoded frames, bounded in number and in bytes, shedding the newest when full. A
//! digest finds what was shed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::queue::{self, Meter};

/// Most frames that wait.
const FRAMES_MAX: usize = 1_024;
/// Most bytes that wait: two of the largest frames.
const BYTES_MAX: usize = 2 * farwire_wire::limits::PRESENCE_FRAME_BYTES_MAX;

/// The end that fills the queue.
#[derive(Debug)]
pub(crate) struct PresenceOutbox {
    frames: queue::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
    meter: Meter,
}

/// The end that empties it.
#[derive(Debug)]
pub(crate) struct PresenceFrames {
    frames: queue::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl PresenceOutbox {
    pub(crate) fn new(meter: Meter) -> (Self, PresenceFrames) {
        let (sender, receiver) = queue::bounded(FRAMES_MAX, meter.clone());
        let waiting = Arc::new(AtomicUsize::new(0));
        (Self { frames: sender, waiting: waiting.clone(), meter }, PresenceFrames { frames: receiver, waiting })
    }

    /// Queues a frame; `false` when there was no room, and it was shed.
    pub(crate) fn push(&self, frame: Bytes) -> bool {
        let bytes = frame.len();
        if self.waiting.load(Ordering::Relaxed) + bytes > BYTES_MAX {
            self.meter.shed(1);
            return false;
        }
        // Counted first: the reader may be faster than this thread.
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let queued = self.frames.offer(frame);
        if !queued {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        queued
    }
}

impl PresenceFrames {
    /// The next frame; `None` once the link is gone. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_exceeds_the_bytes_is_shed_until_there_is_room() {
        let meter = Meter::default();
        let (outbox, mut frames) = PresenceOutbox::new(meter.clone());
        let large = Bytes::from(vec![0; BYTES_MAX - 1]);
        assert!(outbox.push(large.clone()));
        assert!(!outbox.push(Bytes::from_static(b"ab")));
        assert_eq!(meter.shed_total(), 1);
        assert_eq!(frames.next().await, Some(large));
        assert!(outbox.push(Bytes::from_static(b"ab")));
    }
}
