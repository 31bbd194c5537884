//! What is known of one member and of one region. Records and their transitions only: what the ring makes of them is
//! decided in [`Placement`](super::Placement), which alone uses this.

use std::time::Duration;

use super::config::Config;
use super::view::Member;
use super::{MemberState, SwimState};

/// One member, in the ring or not.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) member: Member,
    pub(super) state: MemberState,
    /// The greatest bump of its identity that was heard.
    bump: u64,
    /// Whether the member should be in the ring: it is alive or suspect, or it is down but a live link contradicts
    /// that.
    pub(super) present: bool,
    /// When `present` changed last, or the member left.
    pub(super) turned_at: Duration,
    /// When `member` first came to differ from what the ring has.
    pub(super) changed_at: Duration,
    /// How often the member came back without staying long enough to be forgiven.
    pub(super) flaps: u32,
    /// The past of the link to it.
    pub(super) link: LinkPast,
}

impl Known {
    pub(super) fn new(now: Duration, member: Member, state: SwimState, bump: u64, linked: bool) -> Self {
        let present = is_present(state.into(), linked);
        Self {
            member,
            state: state.into(),
            bump,
            present,
            turned_at: now,
            changed_at: now,
            flaps: 0,
            link: LinkPast::default(),
        }
    }

    /// Whether nothing that is heard under `bump` is news: a later one is known, or the member left under it.
    pub(super) fn is_past(&self, bump: u64) -> bool {
        bump < self.bump || (bump == self.bump && self.state == MemberState::Left)
    }

    /// Takes what SWIM says now, under a bump that is not past.
    pub(super) fn observe(&mut self, now: Duration, state: SwimState, bump: u64, linked: bool, config: &Config) {
        self.bump = bump;
        self.state = state.into();
        self.turn(now, linked, config);
    }

    /// The member said that it goes. Nothing happens when it had said so before.
    pub(super) fn leave(&mut self, now: Duration, config: &Config) {
        if self.state == MemberState::Left {
            return;
        }
        self.state = MemberState::Left;
        self.turn(now, false, config);
        self.turned_at = now;
    }

    /// The member shows up in another region: it has left the old one and comes to the new one, which is a flap.
    pub(super) fn change_region(&mut self, now: Duration, config: &Config) {
        if self.present {
            self.go(now, config);
            self.come(now);
        }
    }

    /// Works out anew whether the member is present.
    pub(super) fn turn(&mut self, now: Duration, linked: bool, config: &Config) {
        match (self.present, is_present(self.state, linked)) {
            (true, false) => self.go(now, config),
            (false, true) => self.come(now),
            (true, true) | (false, false) => {}
        }
    }

    fn go(&mut self, now: Duration, config: &Config) {
        if now.saturating_sub(self.turned_at) >= config.flap_forgiven {
            self.flaps = 0;
        }
        self.present = false;
        self.turned_at = now;
    }

    fn come(&mut self, now: Duration) {
        self.flaps = self.flaps.saturating_add(1);
        self.present = true;
        self.turned_at = now;
    }
}

/// Depends on the last facts only, not on how they came about, so that nodes that know the same agree in the end.
fn is_present(state: MemberState, linked: bool) -> bool {
    match state {
        MemberState::Alive | MemberState::Suspect => true,
        MemberState::Down => linked,
        MemberState::Left => false,
    }
}

/// How often the link to a member was lost lately.
#[derive(Debug, Default)]
pub(super) struct LinkPast {
    /// Counts the returns.
    pub(super) flaps: u32,
    up_since: Option<Duration>,
    was_lost: bool,
}

impl LinkPast {
    pub(super) fn up(&mut self, now: Duration) {
        self.flaps = self.flaps.saturating_add(u32::from(self.was_lost));
        self.up_since = Some(now);
    }

    pub(super) fn down(&mut self, now: Duration, config: &Config) {
        if self.up_since.take().is_some_and(|since| now.saturating_sub(since) >= config.flap_forgiven) {
            self.flaps = 0;
        }
        self.was_lost = true;
    }
}

/// The history of one region's ring, as far as it slows down what comes next.
#[derive(Debug)]
pub(super) struct RegionAge {
    first_seen: Duration,
    changed_at: Option<Duration>,
}

impl RegionAge {
    pub(super) fn new(now: Duration) -> Self {
        Self { first_seen: now, changed_at: None }
    }

    pub(super) fn note_change(&mut self, now: Duration) {
        self.changed_at = Some(now);
    }

    /// When a change may be applied whose first part was ready at `ready_at`.
    pub(super) fn due(&self, ready_at: Duration, config: &Config) -> Duration {
        let batched = ready_at.saturating_add(config.change_batch);
        match self.changed_at {
            Some(changed_at) if batched >= self.first_seen.saturating_add(config.region_young) => {
                batched.max(changed_at.saturating_add(config.change_spacing))
            }
            _ => batched,
        }
    }
}
