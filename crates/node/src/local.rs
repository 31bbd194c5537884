//! What every part of a node knows about the node itself: who it is, its mesh, its clock. Immutable while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use farwire_core::hash::{HashKey, slot_of};
use farwire_transport::MeshFile;
use farwire_wire::{ChannelName, Life, NodeName, RegionName, Shard, Slot};
use tokio::time::Instant;

/// The node as its own parts see it.
#[derive(Debug)]
pub(crate) struct Local {
    /// Its mesh.
    pub(crate) mesh: MeshFile,
    /// Its name.
    pub(crate) name: NodeName,
    /// Its region.
    pub(crate) region: RegionName,
    /// This run.
    pub(crate) life: Life,
    /// Its clocks.
    pub(crate) clock: Clock,
    hash_key: HashKey,
}

impl Local {
    pub(crate) fn new(mesh: MeshFile, name: NodeName, region: RegionName, life: Life, clock: Clock) -> Self {
        let hash_key = HashKey::new(mesh.hash_key);
        Self { mesh, name, region, life, clock, hash_key }
    }

    /// The slot of a channel in this mesh.
    pub(crate) fn slot(&self, channel: &ChannelName) -> Slot {
        slot_of(&self.hash_key, channel)
    }

    /// The shard of a slot in this mesh.
    pub(crate) fn shard(&self, slot: Slot) -> Shard {
        slot.shard(self.mesh.shards)
    }

    /// A number that only this mesh can derive from a client's own: what one client calls itself on the wire to others
    /// cannot be chosen by another.
    pub(crate) fn derive(&self, parts: &[&[u8]]) -> u64 {
        self.hash_key.derive(parts)
    }
}

/// The node's clocks: one that only moves forward, for decisions, and the wall, for people.
#[derive(Clone)]
pub struct Clock {
    start: Instant,
    wall_us: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Clock {
    /// A clock that reads the wall through `wall_us`, in microseconds since the Unix epoch, and otherwise runs on
    /// tokio's time, which a test may pause.
    pub fn new(wall_us: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { start: Instant::now(), wall_us: Arc::new(wall_us) }
    }

    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
        })
    }

    /// Time since the node started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The instant of a time since the node started.
    #[must_use]
    pub fn instant(&self, at: Duration) -> Instant {
        self.start + at
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn wall_us(&self) -> u64 {
        (self.wall_us)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("start", &self.start).finish_non_exhaustive()
    }
}
