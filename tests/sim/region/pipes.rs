//! The network between the replicas of a region: pipes of frames, in order, with a delay that is drawn anew for each frame.
//! What is cut waits, as QUIC would have it wait, and breaks after its idle timeout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use farwire_log::{Groups, PIPE_FRAMES_MAX, Peers, Pipe};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// All pipes of a region. Clones are the same network.
#[derive(Clone)]
pub(super) struct Net(Arc<Mutex<Inner>>);

struct Inner {
    rng: StdRng,
    /// Each node that runs, by its name, with the life it is in.
    up: BTreeMap<&'static str, (u64, Groups)>,
    /// From and to.
    cut: BTreeSet<(&'static str, &'static str)>,
}

/// One life of a node.
#[derive(Clone, Copy)]
struct End {
    node: &'static str,
    life: u64,
}

/// What a node opens pipes with.
pub(super) struct Door {
    pub(super) net: Net,
    pub(super) node: &'static str,
    pub(super) life: u64,
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        let inner = Inner { rng: StdRng::seed_from_u64(seed), up: BTreeMap::new(), cut: BTreeSet::new() };
        Self(Arc::new(Mutex::new(inner)))
    }

    pub(super) fn up(&self, node: &'static str, life: u64, groups: Groups) {
        self.lock().up.insert(node, (life, groups));
    }

    pub(super) fn down(&self, node: &'static str) {
        self.lock().up.remove(node);
    }

    /// Whether frames from one node to another wait from now on.
    pub(super) fn set_cut(&self, from: &'static str, to: &'static str, is_cut: bool) {
        let mut inner = self.lock();
        if is_cut {
            inner.cut.insert((from, to));
        } else {
            inner.cut.remove(&(from, to));
        }
    }

    fn lives(&self, end: End) -> bool {
        self.lock().up.get(end.node).is_some_and(|(life, _)| *life == end.life)
    }

    fn is_cut(&self, from: End, to: End) -> bool {
        self.lock().cut.contains(&(from.node, to.node))
    }

    fn delay(&self) -> Duration {
        Duration::from_micros(self.lock().rng.random_range(200..2_000))
    }

    /// Carries frames one way until either end is gone, or a cut has lasted too long.
    async fn carry(self, from: End, to: End, mut frames: mpsc::Receiver<Bytes>, out: mpsc::Sender<Bytes>) {
        while let Some(frame) = frames.recv().await {
            sleep(self.delay()).await;
            let broken_at = Instant::now() + IDLE_TIMEOUT;
            while self.is_cut(from, to) {
                if Instant::now() > broken_at {
                    return;
                }
                sleep_until(Instant::now() + RETRANSMIT_EVERY).await;
            }
            if !self.lives(from) || !self.lives(to) || out.send(frame).await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers for Door {
    fn open(&self, node: &str) -> Pipe {
        let (outgoing, asked) = mpsc::channel(PIPE_FRAMES_MAX);
        let (answers, incoming) = mpsc::channel(PIPE_FRAMES_MAX);
        let near = End { node: self.node, life: self.life };
        let there = self.net.lock().up.get_key_value(node).map(|(name, (life, groups))| {
            let far = End { node: name, life: *life };
            (far, groups.clone())
        });
        if let Some((far, groups)) = there {
            let (to_far, far_incoming) = mpsc::channel(PIPE_FRAMES_MAX);
            let (far_outgoing, from_far) = mpsc::channel(PIPE_FRAMES_MAX);
            tokio::spawn(self.net.clone().carry(near, far, asked, to_far));
            tokio::spawn(self.net.clone().carry(far, near, from_far, answers));
            let pipe = Pipe { outgoing: far_outgoing, incoming: far_incoming };
            tokio::spawn(async move { groups.serve(pipe).await });
        }
        Pipe { outgoing, incoming }
    }
}

const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
const RETRANSMIT_EVERY: Duration = Duration::from_millis(50);
