//! What links and linked peers tell, as far as it decides who is reachable and who rests: a part of [`Placement`].

use std::time::Duration;

use farwire_wire::names::NodeName;

use super::reach::{Reach, Report, Way};
use super::view::View;
use super::{Effect, Placement};

impl Placement {
    pub(super) fn link_up(&mut self, now: Duration, name: NodeName, effects: &mut Vec<Effect>) {
        // Links of nodes that are not members yet are remembered, in number no more than members.
        let room = self.known.contains_key(&name) || self.linked.len() < 2 * self.config.members_max;
        if self.linked.contains(&name) {
            return;
        }
        if !room {
            effects.push(Effect::MembersFull { name });
            return;
        }
        self.linked.insert(name.clone());
        if let Some(known) = self.known.get_mut(&name) {
            known.link.up(now);
        }
        self.link_changed(now, &name, true);
    }

    pub(super) fn link_down(&mut self, now: Duration, name: &NodeName) {
        if *name == self.local.name || !self.linked.remove(name) {
            return;
        }
        match self.known.get_mut(name) {
            Some(known) => known.link.down(now, &self.config),
            None => _ = self.reports.remove(name),
        }
        self.link_changed(now, name, false);
    }

    fn link_changed(&mut self, now: Duration, name: &NodeName, linked: bool) {
        self.reach_touched |= self.ring.contains_key(name);
        if let Some(known) = self.known.get_mut(name) {
            known.turn(now, linked, &self.config);
        }
        self.hear_flaps(now);
    }

    pub(super) fn report(&mut self, now: Duration, name: NodeName, report: Report) {
        let room = self.reports.contains_key(&name) || self.reports.len() < 2 * self.config.members_max;
        if !room || self.reports.get(&name) == Some(&report) {
            return;
        }
        let flaps_differ = self.reports.get(&name).is_none_or(|before| before.flaps != report.flaps);
        let routes_differ = self
            .reports
            .get(&name)
            .is_none_or(|before| (&before.links, before.resting) != (&report.links, report.resting));
        self.reports.insert(name, report);
        self.reach_touched |= routes_differ;
        if flaps_differ {
            self.hear_flaps(now);
        }
    }

    fn hear_flaps(&mut self, now: Duration) {
        let heard = self.reports.iter().filter(|(name, _)| self.linked.contains(*name));
        let rested = self.rest.until().is_some();
        self.rest.hear(now, heard.map(|(_, report)| report.flaps).collect(), &self.config);
        self.reach_touched |= rested != self.rest.until().is_some();
    }

    pub(super) fn end_holds(&mut self, now: Duration) {
        let held = self.held.len();
        self.held.retain(|_, until| *until > now);
        let rested = self.rest.tick(now);
        self.reach_touched |= rested || self.held.len() != held;
    }

    pub(super) fn is_routed(&self, name: &NodeName) -> bool {
        let member = self.routes.view().find(name.as_str());
        member.is_some_and(|member| self.routes.is_reachable(member))
    }

    /// The reach in `view`, in which whoever could not be reached before is held back for a moment.
    pub(super) fn reach(&mut self, now: Duration, view: &View) -> Reach {
        let (local, rests) = (&self.local.name, self.rest.until().is_some());
        let reach = Reach::new(view, &self.local, &self.linked, &self.reports, |name| {
            let says_so = || self.linked.contains(name) && self.reports.get(name).is_some_and(|report| report.resting);
            if name == local { rests } else { says_so() }
        });
        let Reach { ways, mut rests } = reach;
        for ((member, way), rests) in view.members().iter().zip(&ways).zip(&mut rests) {
            if *way == Way::None {
                self.held.remove(&member.name);
            } else if *way != Way::Here && !self.is_routed(&member.name) {
                self.held.insert(member.name.clone(), now.saturating_add(self.config.back_hold));
            }
            *rests |= self.held.contains_key(&member.name);
        }
        self.held.retain(|name, _| view.find(name.as_str()).is_some());
        Reach { ways, rests }
    }
}
