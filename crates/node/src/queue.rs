//! Queues between tasks. Every one has a name, a bound and a policy, and shows in the metrics what waits in it and what
//! it shed. This is the only module that makes channels; a queue that is bounded in bytes (`peers::Outbox`) and the
//! events (which lag) keep their own store, and use the same [`Meter`].

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;

macro_rules! queue_names {
    ($($variant:ident = $name:literal, $meaning:literal;)*) => {
        /// The queues of a node. All that share a name are measured together.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum QueueName {
            $(#[doc = $meaning] $variant,)*
        }

        impl QueueName {
            /// Every queue there is.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in metrics and dumps.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

queue_names! {
    Changes = "changes", "What the placement has to be told (Wait).";
    SwimReceived = "swim_received", "SWIM messages of peers, for membership (Wait).";
    SwimSent = "swim_sent", "SWIM messages towards peers (Shed).";
    LinkControl = "link_control", "Frames for the control streams of links (Wait; a goodbye is shed).";
    LinkMessages = "link_messages", "Messages towards peers, bounded in bytes (Shed).";
    LinkPresence = "link_presence", "News of presence towards peers, bounded in bytes too (Shed).";
    Presence = "presence", "What sessions, peers and questions tell the keeper of presence (Wait).";
    Answers = "answers", "Answers and commands for the writers of sessions (Wait).";
    Events = "events", "Events for the slowest watcher of the admin endpoint (Lag).";
}

/// What is shown of the queues of one name. Clones count together; nothing here takes a lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    depth: Gauge,
    shed: Counter,
}

impl Meter {
    /// A meter that shows in this gauge and this counter.
    pub(crate) fn new(depth: Gauge, shed: Counter) -> Self {
        Self { depth, shed }
    }

    /// Counts something that begins to wait, until what is returned is dropped.
    pub(crate) fn enter(&self) -> Waiting {
        self.depth.inc();
        Waiting(self.depth.clone())
    }

    /// Counts what was dropped.
    pub(crate) fn shed(&self, count: u64) {
        self.shed.inc_by(count);
    }

    /// Says how much waits, for a store that counts by itself.
    pub(crate) fn set_depth(&self, depth: usize) {
        self.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// How much waits.
    pub(crate) fn depth(&self) -> i64 {
        self.depth.get()
    }

    /// How much was dropped.
    pub(crate) fn shed_total(&self) -> u64 {
        self.shed.get()
    }
}

/// Something that waits in a queue. It goes with the item, so that the depth is right however the item leaves: read, or
/// dropped with its queue.
#[derive(Debug)]
pub(crate) struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A queue with room for `bound` items.
pub(crate) fn bounded<T>(bound: usize, meter: Meter) -> (Sender<T>, Receiver<T>) {
    let (items, waiting) = mpsc::channel(bound);
    (Sender { items, meter }, Receiver { waiting })
}

/// The end that fills a queue.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    items: mpsc::Sender<(T, Waiting)>,
    meter: Meter,
}

/// The end that empties it.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    waiting: mpsc::Receiver<(T, Waiting)>,
}

/// Nobody empties the queue any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiving task has ended")]
pub(crate) struct Ended;

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), meter: self.meter.clone() }
    }
}

impl<T> Sender<T> {
    /// Waits for room. Cancel safe: what was not queued is dropped.
    pub(crate) async fn send(&self, item: T) -> Result<(), Ended> {
        let place = self.items.reserve().await.map_err(|_| Ended)?;
        place.send((item, self.meter.enter()));
        Ok(())
    }

    /// Queues the item if there is room; `false` when it was shed.
    pub(crate) fn offer(&self, item: T) -> bool {
        let place = self.items.try_reserve();
        match place {
            Ok(place) => {
                place.send((item, self.meter.enter()));
                true
            }
            Err(_) => {
                self.meter.shed(1);
                false
            }
        }
    }
}

impl<T> Receiver<T> {
    /// The next item; `None` when the queue is empty and nobody can fill it. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        self.waiting.recv().await.map(|(item, _)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_depth_is_what_waits_also_when_a_queue_is_dropped_full() {
        let meter = Meter::default();
        let (sender, mut receiver) = bounded(3, meter.clone());
        for item in 0..3 {
            sender.send(item).await.unwrap();
        }
        assert_eq!(meter.depth(), 3);
        assert_eq!(receiver.recv().await, Some(0));
        assert_eq!(meter.depth(), 2);
        drop(receiver);
        drop(sender);
        assert_eq!(meter.depth(), 0);
    }

    #[tokio::test]
    async fn what_finds_no_room_is_shed_and_counted() {
        let meter = Meter::default();
        let (sender, receiver) = bounded(1, meter.clone());
        assert!(sender.offer(1));
        assert!(!sender.offer(2));
        assert_eq!((meter.depth(), meter.shed_total()), (1, 1));
        drop(receiver);
        assert_eq!(sender.send(3).await, Err(Ended));
    }

    #[test]
    fn queues_of_one_name_are_measured_together() {
        let meter = Meter::default();
        let (one, _one) = bounded(1, meter.clone());
        let (two, _two) = bounded(1, meter.clone());
        assert!(one.offer(()) && two.offer(()));
        assert_eq!(meter.depth(), 2);
    }
}
