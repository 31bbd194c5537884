//! Membership: foca's SWIM as a state machine over our own authenticated connections, and the seeds by which a node
//! finds the mesh. Tells the placement what SWIM says and dialing where the members are; decides nothing about rings or
//! routes.
//!
//! Settings come from simulations of a wide-area mesh: no false alarm at 10 % loss, a kill seen by all in 12–13 s.

mod admission;
mod broadcast;
pub(crate) mod control;
mod identity;
pub(crate) mod offline;
mod seeds;
mod timers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use farwire_core::placement::{Member, SwimState};
use farwire_transport::PeerPort;
use farwire_wire::NodeName;
use farwire_wire::limits::SWIM_BYTES_MAX;
use farwire_wire::peer::{Forgotten, NodeState, swim_envelope};
use foca::{AccumulatingRuntime, Foca, PeriodicParams, PostcardCodec, State};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use self::admission::admit;
use self::broadcast::StateBroadcasts;
use self::control::{Arrived, Senders};
use self::identity::Identity;
use self::seeds::{Found, Seeds};
use self::timers::Timers;
use crate::peers::{Addresses, Whereabouts};
use crate::queue;
use crate::shared::Shared;
use crate::sync::watch;
use crate::topology::Change;
use crate::watchdog::Pulse;

/// How often the node's own state is given to SWIM to spread.
const STATE_EVERY: Duration = Duration::from_secs(30);

/// How often the node looks whether its peers have links to members that it has not heard of: as often as they tell.
const STRANGERS_EVERY: Duration = Duration::from_secs(2);

/// Announcements to seeds without an answer before a person is told: about 5 s.
const UNANSWERED_MAX: u32 = 4;

/// How long a node that leaves waits for its goodbyes to arrive.
const GOODBYE: Duration = Duration::from_millis(500);

type Swim = Foca<Identity, PostcardCodec, StdRng, StateBroadcasts>;

/// What the membership task is made of.
pub(crate) struct Membership {
    shared: Arc<Shared>,
    swim: Swim,
    runtime: AccumulatingRuntime<Identity>,
    timers: Timers,
    senders: Senders,
    seeds: Seeds,
    addresses: watch::Sender<Addresses>,
    told: BTreeMap<NodeName, (Identity, State)>,
    /// Announcements since there was another member.
    announced: u32,
}

impl Membership {
    /// Membership of a node that peers reach at `address`.
    pub(crate) fn new(
        shared: Arc<Shared>,
        port: &Arc<PeerPort>,
        address: SocketAddr,
        addresses: watch::Sender<Addresses>,
    ) -> Self {
        let local = &shared.local;
        // Greater than in any earlier run, so that the others prefer this one.
        let bump = local.clock.wall_us();
        let identity = Identity { name: local.name.clone(), address, region: local.region.clone(), bump };
        let rng = StdRng::from_rng(&mut *shared.rng());
        let broadcasts = StateBroadcasts { directory: shared.directory.clone() };
        let swim = Foca::with_custom_broadcast(identity, settings(), rng, PostcardCodec, broadcasts);
        let senders = Senders::new(port.clone(), shared.metrics.clone(), shared.throttle.clone());
        let seeds = Seeds::new(port.clone(), shared.throttle.clone(), shared.config.peer.seeds.clone(), address);
        Self {
            shared,
            swim,
            runtime: AccumulatingRuntime::new(),
            timers: Timers::default(),
            senders,
            seeds,
            addresses,
            told: BTreeMap::new(),
            announced: 0,
        }
    }

    /// Runs until told to leave; then says goodbye. Not cancel safe: without the goodbye the others notice by time.
    pub(crate) async fn run(
        mut self,
        mut inbox: queue::Receiver<Arrived>,
        mut leave: oneshot::Receiver<()>,
        pulse: Pulse,
    ) {
        let mut own_state = tokio::time::interval(STATE_EVERY);
        let mut strangers = tokio::time::interval(STRANGERS_EVERY);
        let mut beats = Pulse::ticks();
        let shared = self.shared.clone();
        loop {
            pulse.beat();
            tokio::select! {
                biased;
                _ = &mut leave => break,
                () = self.timers.next_due() => self.handle_timers(),
                Some(arrived) = inbox.recv() => self.handle_message(&arrived),
                () = shared.forgotten.changed() => {}
                found = self.seeds.next(self.swim.num_members() == 0) => self.announce(found),
                _ = own_state.tick() => {
                    let state = NodeState { links: Vec::new(), forgotten: Vec::new(), ..self.shared.state() };
                    self.log_fault(|membership| membership.swim.add_broadcast(&state.encode()).map(|_| ()));
                }
                _ = strangers.tick() => self.ask_who_knows_more(),
                _ = beats.tick() => continue,
            }
            self.drain().await;
        }
        // A goodbye may take its time.
        drop(pulse);
        self.log_fault(|membership| membership.swim.leave_cluster(&mut membership.runtime));
        self.drain().await;
        self.senders.finish(GOODBYE).await;
    }

    fn handle_timers(&mut self) {
        for timer in self.timers.take_due() {
            self.log_fault(|membership| membership.swim.handle_timer(timer, &mut membership.runtime));
        }
    }

    fn handle_message(&mut self, arrived: &Arrived) {
        match admit(self.shared.local.mesh.id, &arrived.from, arrived.envelope.clone()) {
            Ok(message) => {
                self.log_fault(|membership| membership.swim.handle_data(&message, &mut membership.runtime));
            }
            Err(refusal) => {
                if let Some(suppressed) = self.shared.throttle.pass("membership message", &arrived.from) {
                    tracing::warn!(peer = %arrived.from, err = %refusal, suppressed, "membership message refused");
                }
            }
        }
    }

    fn announce(&mut self, found: Found) {
        let Found { name, address, connection } = found;
        self.warn_if_nobody_answers(&name);
        if self.told.get(&name).is_some_and(|(_, state)| *state != State::Down) {
            return;
        }
        self.senders.sender(&name, address, Some(connection));
        // SWIM finds out region and bump by itself; the receiver looks only at the name.
        let identity = Identity { name, address, region: self.shared.local.region.clone(), bump: 0 };
        self.log_fault(|membership| membership.swim.announce(identity, &mut membership.runtime));
    }

    /// Announces the node again to peers with links to members that it has not heard of. Who answers an announcement tells
    /// all members; gossip tells only what changed lately, so a node that lost the answer would wait for the next one.
    fn ask_who_knows_more(&mut self) {
        let local = &self.shared.local.name;
        let is_known = |name: &NodeName| name == local || self.told.contains_key(name);
        for name in self.shared.directory.who_knows_more(is_known) {
            let alive = self.told.get(&name).filter(|(_, state)| *state != State::Down);
            if let Some((identity, _)) = alive.filter(|_| self.shared.peers.is_live(&name)) {
                let identity = identity.clone();
                self.log_fault(|membership| membership.swim.announce(identity, &mut membership.runtime));
            }
        }
    }

    /// A seed was found more than once and still there is no other member: messages go out, and no answer comes in.
    fn warn_if_nobody_answers(&mut self, seed: &NodeName) {
        if self.swim.num_members() > 0 {
            self.announced = 0;
            return;
        }
        self.announced += 1;
        if self.announced < UNANSWERED_MAX {
            return;
        }
        if let Some(suppressed) = self.shared.throttle.pass("seed without answer", seed) {
            let advertised = self.shared.addresses.peer;
            tracing::warn!(
                %seed, %advertised, suppressed,
                "a seed takes this node's messages, but no node answers at the address that this one advertises: \
                 correct peer.advertise, or open its UDP port to the other nodes"
            );
        }
    }

    fn log_fault(&mut self, turn: impl FnOnce(&mut Self) -> Result<(), foca::Error>) {
        if let Err(error) = turn(self) {
            tracing::debug!(err = %error, "membership refused an input");
        }
    }

    /// Does what SWIM asked for, then tells the others what has changed.
    async fn drain(&mut self) {
        while let Some((to, data)) = self.runtime.to_send() {
            let envelope = swim_envelope(self.shared.local.mesh.id, &data);
            self.senders.send(&to.name, to.address, envelope);
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.timers.add(after, timer);
        }
        while let Some(notification) = self.runtime.to_notify() {
            tracing::debug!(?notification, "membership");
        }
        self.tell_changes().await;
    }

    /// Takes out the members that are down and forgotten; whether there was one.
    async fn forget(&mut self) -> bool {
        for name in self.shared.forgotten.take_given() {
            if let Some((identity, _)) = self.told.get(&name) {
                let at_us = self.shared.local.clock.wall_us();
                self.shared.forgotten.learn(at_us, &Forgotten { node: name, run: identity.bump, at_us });
            }
        }
        let is_gone = |(identity, state): &(Identity, State)| is_forgotten(&self.shared, identity, *state);
        let gone: Vec<_> = self.told.iter().filter(|(_, told)| is_gone(told)).map(|(name, _)| name.clone()).collect();
        for name in &gone {
            self.told.remove(name);
            self.shared.directory.forget(name);
            self.shared.topology.tell(Change::Forget(name.clone())).await;
        }
        !gone.is_empty()
    }

    async fn tell_changes(&mut self) {
        let forgot = self.forget().await;
        let mut changed = Vec::new();
        for member in self.swim.iter_membership_state() {
            let (identity, state) = (member.id(), member.state());
            // SWIM itself goes on to list it for a day.
            if is_forgotten(&self.shared, identity, state) {
                continue;
            }
            let told = self.told.get(&identity.name);
            if told.is_none_or(|(before, before_state)| before != identity || *before_state != state) {
                changed.push((identity.clone(), state));
            }
        }
        if changed.is_empty() && !forgot {
            return;
        }
        for (identity, state) in changed {
            let weight = self.shared.directory.find(&identity.name).map_or(1, |listing| listing.state.weight);
            let member = Member { name: identity.name.clone(), region: identity.region.clone(), weight };
            let swim_state = match state {
                State::Alive => SwimState::Alive,
                State::Suspect => SwimState::Suspect,
                State::Down => SwimState::Down,
            };
            let bump = identity.bump;
            self.told.insert(identity.name.clone(), (identity, state));
            self.shared.topology.tell(Change::Swim { member, state: swim_state, bump }).await;
        }
        // A member that is down is dialed on: the link may be back before SWIM notices.
        let whereabouts = |(identity, state): &(Identity, State)| Whereabouts {
            address: identity.address,
            alive: *state != State::Down,
        };
        let addresses = self.told.iter().map(|(name, told)| (name.clone(), whereabouts(told))).collect();
        self.addresses.send_if_modified(|current| {
            let changed = *current != addresses;
            *current = addresses;
            changed
        });
        let told = &self.told;
        self.senders.retain(|name| told.contains_key(name));
    }
}

/// Whether the operator has said that this run of a node is over, and nothing contradicts it.
fn is_forgotten(shared: &Shared, identity: &Identity, state: State) -> bool {
    state == State::Down
        && shared.forgotten.covers(&identity.name, identity.bump)
        && shared.peers.find(&identity.name).is_none()
}

/// See the module's page for where these come from; foca's presets are wrong for a mesh of continents.
fn settings() -> foca::Config {
    let periodic = |frequency, members: usize| {
        NonZeroUsize::new(members).map(|num_members| PeriodicParams { frequency, num_members })
    };
    foca::Config {
        probe_period: Duration::from_secs(2),
        probe_rtt: Duration::from_millis(700),
        num_indirect_probes: NonZeroUsize::new(4).expect("not zero"),
        max_transmissions: NonZeroU8::new(8).expect("not zero"),
        suspect_to_down_after: Duration::from_secs(8),
        remove_down_after: Some(Duration::from_secs(24 * 60 * 60)),
        max_packet_size: NonZeroUsize::new(SWIM_BYTES_MAX).expect("not zero"),
        notify_down_members: true,
        periodic_announce: periodic(Duration::from_secs(30), 2),
        periodic_announce_to_down_members: periodic(Duration::from_secs(5), 3),
        periodic_gossip: periodic(Duration::from_millis(400), 3),
    }
}
