//! Talks to the nodes that this one has no link to, through a peer that has one: wishes and their confirmations as frames
//! on the relay's control stream, messages with the name of the receiver. Also the relay's part: to pass on over a live
//! link, or to drop. Who is reached through whom, the placement decides.
//!
//! Invariant: what a relay gets it passes on at most once, and only over its own link to the receiver.

use std::collections::BTreeMap;
use std::sync::Arc;

use farwire_core::interest::Applied;
use farwire_core::placement::Way;
use farwire_wire::peer::{PeerFrame, RelayFrame};
use farwire_wire::{NodeName, RegionName};
use tokio::task::{AbortHandle, JoinSet};

use super::wishes;
use crate::peers::{Link, Path};
use crate::queue::{self, QueueName};
use crate::shared::Shared;

/// Who is to be talked to, through whom.
type Wanted = BTreeMap<NodeName, (RegionName, NodeName)>;

/// Keeps a conversation with every node that is reached through another one, until dropped. Cancel safe.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    let mut talks: BTreeMap<NodeName, (Arc<Link>, AbortHandle)> = BTreeMap::new();
    let mut routes = shared.topology.changes();
    loop {
        routes.borrow_and_update();
        let wanted = wanted(&shared);
        talks.retain(|name, (link, task)| {
            let keep =
                wanted.get(name).is_some_and(|(_, relay)| matches!(&link.path, Path::Through(by) if by == relay));
            if !keep {
                task.abort();
                shared.peers.end(link);
            }
            keep
        });
        for (node, (region, relay)) in wanted {
            if talks.contains_key(&node) {
                continue;
            }
            let meter = shared.metrics.queue(QueueName::LinkControl);
            let (link, frames) = Link::through(relay, node.clone(), region, meter);
            let link = Arc::new(link);
            if shared.peers.begin(shared.local.clock.now(), &link) {
                let task = tasks.spawn(talk(shared.clone(), link.clone(), frames));
                talks.insert(node, (link, task));
            }
        }
        while tasks.try_join_next().is_some() {}
        if routes.changed().await.is_err() {
            return;
        }
    }
}

fn wanted(shared: &Shared) -> Wanted {
    let routes = shared.topology.routes();
    let view = routes.view();
    let places = view.members().iter().filter_map(|member| Some((member, view.find(member.name.as_str())?)));
    let through = |(member, index): (&farwire_core::placement::Member, _)| match routes.way(index) {
        Way::Via(relay) => Some((member.name.clone(), (member.region.clone(), view.member(relay).name.clone()))),
        Way::Here | Way::Direct | Way::None => None,
    };
    places.filter_map(through).collect()
}

async fn talk(shared: Arc<Shared>, link: Arc<Link>, frames: queue::Receiver<PeerFrame>) {
    tracing::info!(peer = %link.node, "a node is reached through another one");
    // What it told before went another way.
    link.say(PeerFrame::InterestAck(0));
    tokio::select! {
        biased;
        () = send(&shared, &link, frames) => {}
        _ended = wishes::tell(&shared, &link) => {}
    }
}

async fn send(shared: &Shared, link: &Link, mut frames: queue::Receiver<PeerFrame>) {
    let Path::Through(relay) = &link.path else { return };
    while let Some(frame) = frames.recv().await {
        let frame = match frame {
            PeerFrame::Interest(interest) => RelayFrame::Interest(interest),
            PeerFrame::InterestAck(version) => RelayFrame::InterestAck(version),
            _ => continue,
        };
        if let Some(relay) = shared.peers.find(relay) {
            let _link_ended = relay.control.send(PeerFrame::Relay { to: link.node.clone(), frame }).await;
        }
    }
}

/// The relay's part: passes on what `from` sends to a node that it has no link to. What finds no live link with room is
/// dropped; who sent it tells everything anew after a while.
pub(super) fn pass_on(shared: &Shared, from: &NodeName, to: &NodeName, frame: RelayFrame) {
    if let Some(link) = shared.peers.find(to).filter(|_| shared.peers.is_live(to)) {
        link.say(PeerFrame::Relayed { from: from.clone(), frame });
    }
}

/// Takes what `from` sent through the peer of `link`.
pub(super) fn hear(shared: &Shared, link: &Link, from: &NodeName, frame: RelayFrame) {
    // Without a way to it there is nothing to keep its wishes by; once there is one, it is asked for them.
    let Some(way) = shared.peers.way(from) else { return };
    match frame {
        // It was under way when the link came up, and is older than what came over that.
        RelayFrame::Interest(_) if way.direct().is_some() => {}
        RelayFrame::Interest(interest) => {
            way.view.learn(interest.view);
            let version = match shared.peers.told(&way, &interest) {
                Some(Applied::Yes(version)) => version,
                Some(Applied::Missing) => 0,
                None => return,
            };
            link.say(PeerFrame::Relay { to: from.clone(), frame: RelayFrame::InterestAck(version) });
        }
        // Numbers of a link and of a conversation have nothing to do with each other.
        RelayFrame::InterestAck(_) if way.direct().is_some() => {}
        RelayFrame::InterestAck(0) => way.asked_whole.notify_one(),
        RelayFrame::InterestAck(version) => way.outstanding.confirm(version, &way.confirmed),
    }
}
