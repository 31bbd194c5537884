//! Membership with nobody around it: foca under our settings, what it would send, and its timers in the order that they
//! were asked for. For fuzzing; a node never makes one. Everything that a SWIM message can reach in a node is reached
//! here by the same code.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use farwire_wire::peer::{NodeState, swim_envelope};
use farwire_wire::{MeshId, NodeName, RegionName};
use foca::{AccumulatingRuntime, Foca, PostcardCodec, Timer};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::admission::admit;
use super::broadcast::StateBroadcasts;
use super::identity::Identity;
use super::{Swim, settings};
use crate::directory::Directory;

/// One node's membership without a network or a clock.
pub struct OfflineMembership {
    mesh: MeshId,
    swim: Swim,
    runtime: AccumulatingRuntime<Identity>,
    timers: VecDeque<Timer<Identity>>,
}

impl OfflineMembership {
    /// A node that knows nobody.
    #[must_use]
    pub fn new(mesh: MeshId, name: NodeName, region: RegionName) -> Self {
        let rng = StdRng::seed_from_u64(mesh.0);
        let broadcasts = StateBroadcasts { directory: Arc::new(Directory::default()) };
        let swim = Foca::with_custom_broadcast(identity(name, region), settings(), rng, PostcardCodec, broadcasts);
        Self { mesh, swim, runtime: AccumulatingRuntime::new(), timers: VecDeque::new() }
    }

    /// Makes itself known to another node; whether foca was content.
    pub fn announce(&mut self, to: NodeName) -> bool {
        let to = identity(to, self.swim.identity().region.clone());
        self.swim.announce(to, &mut self.runtime).is_ok()
    }

    /// Gives the node's state to SWIM to spread; whether foca was content.
    pub fn spread(&mut self, state: &NodeState) -> bool {
        self.swim.add_broadcast(&state.encode()).is_ok()
    }

    /// A message arrives from the node whose certificate names `from`; whether it counted and foca was content.
    pub fn receive(&mut self, from: &NodeName, envelope: Bytes) -> bool {
        let Ok(message) = admit(self.mesh, from, envelope) else { return false };
        self.swim.handle_data(&message, &mut self.runtime).is_ok()
    }

    /// Runs the timer that was asked for first; whether there was one and foca was content.
    pub fn run_timer(&mut self) -> bool {
        let timer = self.timers.pop_front();
        timer.is_some_and(|timer| self.swim.handle_timer(timer, &mut self.runtime).is_ok())
    }

    /// What SWIM wants sent since the last call, in envelopes.
    pub fn sent(&mut self) -> Vec<(NodeName, Bytes)> {
        while let Some((_, timer)) = self.runtime.to_schedule() {
            self.timers.push_back(timer);
        }
        while self.runtime.to_notify().is_some() {}
        let sent = std::iter::from_fn(|| self.runtime.to_send());
        sent.map(|(to, message)| (to.name, swim_envelope(self.mesh, &message))).collect()
    }

    /// How many other nodes are taken for alive.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.swim.num_members()
    }
}

fn identity(name: NodeName, region: RegionName) -> Identity {
    Identity { name, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), region, bump: 1 }
}
