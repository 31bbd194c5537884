//! Tells a peer which volatile messages it should send here: on every change of wishes or of routes, and now and then. Over
//! a link or through a relay alike: [`Link::control`] takes the frames.

use std::collections::BTreeSet;

use farwire_core::interest::{REFRESH_EVERY, Told};
use farwire_wire::peer::{Interest, PeerFrame};
use farwire_wire::{Pattern, ViewDigest};

use super::LinkError;
use crate::peers::Link;
use crate::shared::Shared;

/// Tells until the way to the peer ends. Cancel safe.
pub(super) async fn tell(shared: &Shared, link: &Link) -> Result<(), LinkError> {
    let mut wishes = shared.fanout.wishes();
    let mut routes = shared.topology.changes();
    let mut told = Told::default();
    let mut refresh = tokio::time::interval(REFRESH_EVERY);
    refresh.reset();
    let mut is_refresh = false;
    loop {
        let change = *wishes.borrow_and_update();
        routes.borrow_and_update();
        let (view, mut wanted) = wanted_of(shared, link, told.patterns());
        if is_refresh {
            wanted.retain(|(_, is_owner)| *is_owner);
        }
        let wanted = wanted.into_iter().map(|(pattern, _)| pattern).collect();
        match told.tell(view, wanted) {
            Some(interest) => send(link, interest, change).await?,
            None if is_refresh => send(link, told.refresh(view), change).await?,
            None => link.outstanding.nothing_new(change, &link.confirmed),
        }
        is_refresh = tokio::select! {
            biased;
            changed = wishes.changed() => changed.map(|()| false).map_err(|_| LinkError::Ended)?,
            changed = routes.changed() => changed.map(|()| false).map_err(|_| LinkError::Ended)?,
            () = link.asked_whole.notified() => {
                told.forget();
                false
            }
            _ = refresh.tick() => true,
        };
    }
}

async fn send(link: &Link, interest: Interest, change: u64) -> Result<(), LinkError> {
    link.outstanding.told(interest.version, change);
    link.control.send(PeerFrame::Interest(interest)).await.map_err(|_| LinkError::Ended)
}

/// What the peer is to send here: every pattern with a wildcard, and the channels that it owns in its region, or will own
/// when nobody rests any more. A channel that it has just ceased to own stays wanted until the next refresh (second field:
/// `false`), because others may take it for the owner a moment longer.
fn wanted_of(shared: &Shared, link: &Link, told: &BTreeSet<Pattern>) -> (ViewDigest, Vec<(Pattern, bool)>) {
    let routes = shared.topology.routes();
    let view = routes.view();
    let region = view.region_index(&link.region);
    let is_owner = |pattern: &Pattern| {
        let Some(channel) = pattern.channel() else { return true };
        let (Some(region), slot) = (region, shared.local.slot(&channel)) else { return false };
        let owners = [routes.owner(region, slot), routes.heir(region, slot)];
        owners.into_iter().flatten().any(|owner| view.member(owner).name == link.node)
    };
    let wanted = shared.fanout.wanted().into_iter().map(|pattern| (is_owner(&pattern), pattern));
    let wanted = wanted.filter(|(is_owner, pattern)| *is_owner || told.contains(pattern));
    (view.digest(), wanted.map(|(is_owner, pattern)| (pattern, is_owner)).collect())
}
