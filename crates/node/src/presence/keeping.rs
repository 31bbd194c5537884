//! The task that keeps presence: feeds the decisions of `core::presence` with what sessions, peers, the placement and time
//! bring, and runs the effects. Nobody else touches its state; it never waits for a link.

use std::sync::Arc;
use std::time::Duration;

use farwire_core::placement::MemberState;
use farwire_core::presence::{self, Answer, Effect, Input, Listed, MemberReach, Mesh, RegionAnswer};
use farwire_wire::client::{ChannelPresence, ListedOccupant, Place, RegionPresence};
use farwire_wire::presence::PresenceFrame;
use farwire_wire::{ChannelName, ErrorCode, RegionName, Slot, WireError};
use rand::RngExt;
use tokio::sync::oneshot;

use super::{Answered, Command, Queued};
use crate::shared::Shared;
use crate::watchdog::Pulse;

/// How long an answer may wait for the other regions: a round trip around the world, and another for a lost packet.
const ANSWER_PATIENCE: Duration = Duration::from_millis(1_200);
/// Questions that wait at a time; further ones are refused.
const ASKED_MAX: usize = 256;
/// Channels that a node answers for at a time with new ones asked for: whoever asks for any names there are must not fill
/// its memory.
const ASKED_CHANNELS_MAX: usize = 100_000;
/// When to ask again who is refused.
const RETRY_MS: u32 = 250;

/// The task behind a [`Presence`](super::Presence).
#[derive(Debug)]
pub(crate) struct Keeping {
    shared: Arc<Shared>,
    presence: presence::Presence,
    queued: Queued,
    asked: Vec<Asked>,
    effects: Vec<Effect>,
}

/// A question that waits until other regions have told their parts.
#[derive(Debug)]
struct Asked {
    channels: Vec<ChannelName>,
    occupants: bool,
    reply: oneshot::Sender<Answered>,
    patience_ends: Duration,
}

/// What `core::presence` asks about the mesh.
struct Surroundings<'a>(&'a Shared);

impl Mesh for Surroundings<'_> {
    fn slot(&self, channel: &ChannelName) -> Slot {
        self.0.local.slot(channel)
    }

    fn wanting(&self, channel: &ChannelName) -> Vec<RegionName> {
        let mut regions = self.0.peers.regions_wishing(&channel.presence());
        regions.extend(self.0.peers.regions_wishing(&channel.counts()));
        regions.remove(&self.0.local.region);
        regions.into_iter().collect()
    }

    fn is_watched(&self, channel: &ChannelName) -> bool {
        [channel.presence(), channel.counts()].iter().any(|about| {
            self.0.fanout.subscribers(about) > 0 || self.0.peers.regions_wishing(about).contains(&self.0.local.region)
        })
    }

    fn interval_above(&self, channel: &ChannelName) -> u64 {
        self.0.config.namespaces.of(channel).presence_interval_above.into()
    }
}

impl Keeping {
    pub(crate) fn new(shared: Arc<Shared>, queued: Queued) -> Self {
        let local = &shared.local;
        let seed = shared.rng().random();
        let (name, region) = (local.name.clone(), local.region.clone());
        let presence = presence::Presence::new(name, region, local.life, seed, shared.topology.routes());
        Self { shared, presence, queued, asked: Vec::new(), effects: Vec::new() }
    }

    /// Keeps presence until the node ends. Cancel safe between commands.
    pub(crate) async fn run(mut self, pulse: Pulse) {
        let shared = self.shared.clone();
        let mut topology = shared.topology.changes();
        let mut peers_wishes = shared.peers.presence_wishes();
        let mut beats = Pulse::ticks();
        self.take_topology();
        loop {
            pulse.beat();
            let deadline = shared.local.clock.instant(self.next_deadline());
            tokio::select! {
                biased;
                // Rare, and what commands mean depends on them.
                changed = topology.changed() => match changed {
                    Ok(()) => self.take_topology(),
                    Err(_) => return,
                },
                _ = peers_wishes.changed() => self.handle(Input::WantsChanged),
                command = self.queued.0.recv() => match command {
                    Some(command) => self.take(command),
                    None => return,
                },
                () = tokio::time::sleep_until(deadline) => self.handle(Input::Tick),
                _ = beats.tick() => continue,
            }
            self.answer_current();
        }
    }

    fn next_deadline(&self) -> Duration {
        let impatient = self.asked.iter().map(|asked| asked.patience_ends).min();
        self.presence.next_deadline().min(impatient.unwrap_or(Duration::MAX))
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Input(input) => self.handle(input),
            Command::Frame { from, frame } => {
                let wall_us = self.shared.local.clock.wall_us();
                self.measure(&frame, wall_us);
                self.handle(Input::Frame { from, frame, wall_us });
            }
            Command::Query { channels, occupants, reply } => self.ask(channels, occupants, reply),
            Command::Where { client, reply } => {
                let place = |(channel, since_us): (&ChannelName, u64)| Place {
                    channel: channel.clone(),
                    node: self.shared.local.name.clone(),
                    region: self.shared.local.region.clone(),
                    since_us,
                };
                let _asker_gone = reply.send(self.presence.places(&client).map(place).collect());
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let mesh = Surroundings(&self.shared);
        self.presence.handle(self.shared.local.clock.now(), &mesh, input, &mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Send { to, frame } => {
                    if !self.shared.peers.send_presence(&to, frame) {
                        self.shared.metrics.presence_unsent.inc();
                    }
                }
                Effect::Tell { channel, detail, event } => {
                    self.shared.metrics.presence_events.inc();
                    self.shared.router.tell_presence(&channel, detail, &event);
                }
            }
        }
        let counts = self.presence.counts();
        self.shared.metrics.presence_occupancy.set(i64::try_from(counts.stays_here).unwrap_or(i64::MAX));
        self.shared.metrics.presence_channels.set(i64::try_from(counts.channels_owned).unwrap_or(i64::MAX));
    }

    fn measure(&self, frame: &PresenceFrame, wall_us: u64) {
        let PresenceFrame::Change { change, catch_up } = frame else { return };
        let metrics = &self.shared.metrics;
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        metrics.presence_merge_occupants.observe((change.present.len() + change.gone.len()) as f64);
        let newest = change.present.iter().map(|(_, occupant)| occupant.stamp.0).max();
        if let Some(newest) = newest.filter(|_| !catch_up && !change.whole) {
            metrics.presence_lag.observe(Duration::from_micros(wall_us.saturating_sub(newest)).as_secs_f64());
        }
    }

    fn take_topology(&mut self) {
        self.handle(Input::Members(members(&self.shared)));
        self.handle(Input::Routes(self.shared.topology.routes()));
    }

    fn ask(&mut self, channels: Vec<ChannelName>, occupants: bool, reply: oneshot::Sender<Answered>) {
        let kept = self.presence.counts().channels_owned;
        let refused = if self.asked.len() >= ASKED_MAX || kept + channels.len() > ASKED_CHANNELS_MAX {
            Some(WireError::new(ErrorCode::Overloaded, "the node has too many questions of presence: ask again"))
        } else if channels.iter().any(|channel| !self.presence.owns_channel(&Surroundings(&self.shared), channel)) {
            let message = "the node does not answer for the channel in its region: views differ, ask again";
            Some(WireError::new(ErrorCode::NotOwner, message))
        } else {
            None
        };
        if let Some(error) = refused {
            let _asker_gone = reply.send(Err(WireError { retry_after_ms: RETRY_MS, ..error }));
            return;
        }
        let patience_ends = self.shared.local.clock.now() + ANSWER_PATIENCE;
        self.handle(Input::Asked(channels.clone()));
        self.asked.push(Asked { channels, occupants, reply, patience_ends });
    }

    /// Answers the questions of which everything is known, and those whose patience is over with what is known.
    fn answer_current(&mut self) {
        let (mesh, now) = (Surroundings(&self.shared), self.shared.local.clock.now());
        let is_due = |asked: &mut Asked| {
            now >= asked.patience_ends
                || asked.channels.iter().all(|channel| self.presence.is_current(now, &mesh, channel))
        };
        let due: Vec<Asked> = self.asked.extract_if(.., is_due).collect();
        for Asked { channels, occupants, reply, .. } in due {
            let answer = channels.iter().map(|channel| self.answer(channel, occupants)).collect();
            let _asker_gone = reply.send(Ok(answer));
        }
    }

    fn answer(&self, channel: &ChannelName, occupants: bool) -> ChannelPresence {
        let clock = &self.shared.local.clock;
        let (now, wall_us) = (clock.now(), clock.wall_us());
        let Answer { occupancy, clients, regions } = self.presence.answer(now, &Surroundings(&self.shared), channel);
        let region = |(region, answer): (RegionName, RegionAnswer)| {
            let age = answer.as_of.map(|at| u64::try_from(now.saturating_sub(at).as_micros()).unwrap_or(u64::MAX));
            RegionPresence {
                region,
                occupancy: answer.occupancy,
                as_of_us: age.map(|age| wall_us.saturating_sub(age)),
                reachable: answer.reachable,
            }
        };
        let occupant = |listed: Listed| ListedOccupant {
            client: listed.client,
            state: listed.state,
            node: listed.writer.node,
            since_us: listed.since_us,
        };
        ChannelPresence {
            channel: channel.clone(),
            occupancy,
            clients,
            regions: regions.into_iter().map(region).collect(),
            occupants: if occupants { self.presence.listed(channel).map(occupant).collect() } else { Vec::new() },
        }
    }
}

/// Everybody who is known, and who is gone: down or left, and no live link.
fn members(shared: &Shared) -> Vec<MemberReach> {
    let is_up = |state: MemberState| matches!(state, MemberState::Alive | MemberState::Suspect);
    let members = shared.topology.members();
    let reach = members.iter().map(|status| MemberReach {
        node: status.member.name.clone(),
        region: status.member.region.clone(),
        is_gone: !is_up(status.state) && !status.reachable,
    });
    let mut members: Vec<MemberReach> = reach.collect();
    if members.iter().all(|member| member.node != shared.local.name) {
        let (node, region) = (shared.local.name.clone(), shared.local.region.clone());
        members.push(MemberReach { node, region, is_gone: false });
    }
    members
}
