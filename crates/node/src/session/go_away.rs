//! Sends sessions away when the node stops: over a time that grows with their number, so that the nodes that take them
//! are not met by all of them at once. Until a client goes it is served as before.

use std::time::Duration;

use farwire_wire::client::{EntryPoint, GoAway, ServerBody, ServerFrame};
use farwire_wire::{ErrorCode, RegionName, WireError};

use super::writer::Command;
use crate::queue;
use crate::shared::Shared;
use crate::sync::watch;

/// How many clients may come to the other nodes in a second.
const MOVES_PER_SECOND: u32 = 300;
/// Shortest and longest time over which clients are asked to spread.
const SPREAD_MIN: Duration = Duration::from_millis(250);
const SPREAD_MAX: Duration = Duration::from_secs(30);
/// With nowhere else to go, a client comes back here: not before the node may have been started again.
const RESTART: Duration = Duration::from_secs(1);
/// A client that has chosen its moment has this long to finish what is under way.
const LEAVING: Duration = Duration::from_secs(1);
/// A node that stops serves those who stay for at most this long: who stops nodes does not wait for minutes. Clients
/// whose moment comes later wait for it without a session.
const STAY_MAX: Duration = Duration::from_secs(2);

/// Waits until the node stops, sends the client away, and gives it time to go. Cancel safe: the session is over.
pub(super) async fn when_stopping(
    shared: &Shared,
    mut stopping: watch::Receiver<bool>,
    answers: &queue::Sender<Command>,
) -> WireError {
    // Without a sender the node is gone, too.
    let _node_ended = stopping.wait_for(|stopping| *stopping).await;
    let alternatives = shared.entry_points().into_iter().filter(|entry| entry.node != shared.local.name).collect();
    let go_away = go_away(shared.sessions.len(), alternatives, &shared.local.region);
    let stay = Duration::from_millis(u64::from(go_away.retry_after_ms) + u64::from(go_away.jitter_ms)) + LEAVING;
    let frame = ServerFrame { request: 0, body: ServerBody::GoAway(go_away) }.encode();
    let told = async {
        let _session_ended = answers.send(Command::Frame { frame, publishes: 0 }).await;
        std::future::pending::<()>().await;
    };
    let _time_is_up = tokio::time::timeout(stay.min(STAY_MAX), told).await;
    WireError::new(ErrorCode::GoAway, "the node is stopping: reconnect to another one")
}

/// What to tell each of `sessions` clients: the nodes of this region first.
fn go_away(sessions: usize, mut alternatives: Vec<EntryPoint>, here: &RegionName) -> GoAway {
    alternatives.sort_by_key(|entry| entry.region != *here);
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    let spread = (Duration::from_secs(1) * sessions / MOVES_PER_SECOND).clamp(SPREAD_MIN, SPREAD_MAX);
    let retry_after = if alternatives.is_empty() { RESTART } else { Duration::ZERO };
    let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    GoAway {
        retry_after_ms: millis(retry_after),
        jitter_ms: millis(spread),
        alternatives,
        reason: "the node is stopping".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(node: &str) -> EntryPoint {
        let region = node.split('-').next().expect("a region").parse().expect("its name");
        EntryPoint { node: node.parse().expect("a node's name"), region, address: "192.0.2.1:7400".to_owned() }
    }

    fn told(sessions: usize, alternatives: &[&str]) -> GoAway {
        let alternatives = alternatives.iter().map(|node| entry(node)).collect();
        go_away(sessions, alternatives, &"iad".parse().expect("a region's name"))
    }

    #[test]
    fn the_spread_grows_with_the_herd_between_bounds() {
        let spread = [0, 1, 300, 2_000, 1_000_000].map(|sessions| told(sessions, &["fra-1"]).jitter_ms);
        assert_eq!(spread, [250, 250, 1_000, 6_666, 30_000]);
    }

    #[test]
    fn nodes_of_the_region_come_first() {
        let told = told(1, &["fra-1", "iad-2", "iad-3", "sin-1"]);
        let nodes: Vec<_> = told.alternatives.iter().map(|entry| entry.node.as_str()).collect();
        assert_eq!((nodes, told.retry_after_ms), (vec!["iad-2", "iad-3", "fra-1", "sin-1"], 0));
    }

    #[test]
    fn without_another_node_the_client_waits_for_this_one() {
        assert_eq!(told(1, &[]).retry_after_ms, 1_000);
    }
}
