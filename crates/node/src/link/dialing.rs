//! Keeps a link to every member. Of two nodes the one with the smaller name dials, again and again with jitter, each
//! dial limited to 2 s: QUIC's own attempts back off far too slowly for a link that healed.
//!
//! A node that could be reached lately is dialed at full speed, so that its link is back within 2 s of a heal: a dial
//! sends its first packets at 0 s and 1 s, so between two dials at most 1.5 s pass without one. One that is silent for
//! long, or has said that it leaves, is dialed ever more slowly, until membership hears of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farwire_core::placement::MemberState;
use farwire_transport::{PeerPort, PeerRole};
use farwire_wire::NodeName;
use rand::RngExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Side;
use crate::peers::{Addresses, DIAL_TIMEOUT, OTHER_NODE_ADVICE, Whereabouts, dial_advice};
use crate::shared::Shared;
use crate::sync::watch;

/// Shortest pause between two dials.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause while the node may be back any moment.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Longest pause for a node that is gone.
const GONE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A node without a link for this long, and down, is gone.
const GONE_AFTER: Duration = Duration::from_secs(5 * 60);
/// Dials that fail for less long are no news: the node may be starting.
const WARN_AFTER: Duration = Duration::from_secs(10);

/// Dials every member in `addresses` that this node has to dial, until dropped. Not cancel safe: links end with it.
pub(crate) async fn run(shared: Arc<Shared>, port: Arc<PeerPort>, mut addresses: watch::Receiver<Addresses>) {
    let mut tasks = JoinSet::new();
    let mut dialed: BTreeMap<NodeName, watch::Sender<Whereabouts>> = BTreeMap::new();
    loop {
        let wanted = addresses.borrow_and_update().clone();
        // The task of a node that is no longer a member ends with its link.
        dialed.retain(|name, _| wanted.contains_key(name));
        for (name, whereabouts) in wanted.into_iter().filter(|(name, _)| shared.local.name < *name) {
            match dialed.get(&name) {
                Some(task) => _ = task.send_if_modified(|old| std::mem::replace(old, whereabouts) != whereabouts),
                None => {
                    let (sender, receiver) = watch::channel(whereabouts);
                    tasks.spawn(keep_link(shared.clone(), port.clone(), name.clone(), receiver));
                    dialed.insert(name, sender);
                }
            }
        }
        loop {
            tokio::select! {
                biased;
                changed = addresses.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

/// Dials whenever there is no link over which the node is heard, until it is no longer a member.
async fn keep_link(
    shared: Arc<Shared>,
    port: Arc<PeerPort>,
    name: NodeName,
    mut whereabouts: watch::Receiver<Whereabouts>,
) {
    let mut links = JoinSet::new();
    let mut silent_since = Instant::now();
    loop {
        let target = *whereabouts.borrow_and_update();
        match port.dial(target.address, PeerRole::Link, DIAL_TIMEOUT).await {
            Ok(peer) if peer.node == name => {
                links.spawn(super::run(shared.clone(), peer, Side::Dialer));
                if is_up(&shared, &name, &mut links).await {
                    // A silent link is left open, since it may be heard again; a new one, as after a restart, takes its place.
                    shared.peers.until(&name, false).await;
                    silent_since = Instant::now();
                }
            }
            Ok(peer) => {
                peer.connection.close(farwire_wire::ErrorCode::PeerIdentity, "another node was expected here");
                warn(&shared, &name, target, &format!("node {} answers there", peer.node), OTHER_NODE_ADVICE);
            }
            Err(error) if target.alive && silent_since.elapsed() >= WARN_AFTER => {
                warn(&shared, &name, target, &error.to_string(), dial_advice(&error));
            }
            Err(error) => tracing::debug!(peer = %name, address = %target.address, err = %error, "dial failed"),
        }
        let left = shared.topology.state_of(&name) == Some(MemberState::Left);
        let longest = longest_pause(silent_since.elapsed(), target.alive, left);
        let pause = shared.rng().random_range(PAUSE_MIN..=longest);
        tokio::select! {
            biased;
            // Membership has heard of it: dial at once.
            changed = whereabouts.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(pause) => {}
        }
        // While this one was dialing, the old link may have been heard again.
        shared.peers.until(&name, false).await;
    }
    while links.join_next().await.is_some() {}
}

/// Waits until the newest of `links` is up; `false` when it ended before.
async fn is_up(shared: &Shared, name: &NodeName, links: &mut JoinSet<super::LinkError>) -> bool {
    loop {
        tokio::select! {
            biased;
            () = shared.peers.until(name, true) => return true,
            ended = links.join_next() => match ended {
                // The old link may end while the new one is greeted.
                Some(_) if !links.is_empty() => {}
                _ => return shared.peers.is_live(name),
            },
        }
    }
}

fn warn(shared: &Shared, peer: &NodeName, target: Whereabouts, fault: &str, advice: &str) {
    if let Some(suppressed) = shared.throttle.pass("link dial", peer) {
        tracing::warn!(%peer, address = %target.address, err = fault, advice, suppressed, "no link to a node");
    }
}

/// The longest pause before the next dial of a node that was `silent` for so long.
fn longest_pause(silent: Duration, alive: bool, left: bool) -> Duration {
    match (alive, left) {
        (_, true) => GONE_PAUSE_MAX,
        (false, false) if silent >= GONE_AFTER => (silent / 20).min(GONE_PAUSE_MAX),
        _ => PAUSE_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_there_lately_is_dialed_at_full_speed_and_who_is_gone_slowly() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(longest_pause(minutes(4), false, false), PAUSE_MAX);
        assert_eq!(longest_pause(minutes(5), false, false), Duration::from_secs(15));
        assert_eq!(longest_pause(minutes(600), false, false), GONE_PAUSE_MAX);
        assert_eq!(
            longest_pause(minutes(600), true, false),
            PAUSE_MAX,
            "membership hears it: only the link is missing"
        );
        assert_eq!(longest_pause(Duration::ZERO, false, true), GONE_PAUSE_MAX, "it said that it goes");
    }
}
