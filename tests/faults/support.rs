//! What the stories share: the mesh they happen to, a numbered stream through it, and how its members look.

use std::collections::BTreeSet;
use std::time::Duration;

use farwire_client::{Client, Event, Subscription};
use farwire_tests::up::ProcessMesh;
use farwire_tests::{http, wait};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// A mesh with the delays of the real WAN, whose nodes see each other.
pub(crate) async fn mesh(regions: &str, per_region: usize) -> ProcessMesh {
    let mesh = ProcessMesh::start(&format!("--regions {regions} --nodes-per-region {per_region}"));
    mesh.settled().await;
    mesh
}

/// Publishes 1, 2, 3, … on [`CHANNELS`] channels in turn, 50 a second, until it is dropped.
pub(crate) struct Stream {
    publishing: JoinHandle<()>,
    last: watch::Receiver<(u64, Instant)>,
}

impl Stream {
    pub(crate) fn start(client: Client) -> Self {
        let (sender, last) = watch::channel((0, Instant::now()));
        let publishing = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            for number in 1_u64.. {
                ticks.tick().await;
                let now = Instant::now();
                let channel = format!("live.stream.{}", number % CHANNELS);
                let ack = client.publish_pipelined(channel, number.to_string()).await;
                // Whether a message arrives is for the subscribers to say.
                drop(ack.expect("a client never ends by itself"));
                sender.send_replace((number, now));
            }
        });
        Self { publishing, last }
    }

    /// The number of the last message that was handed in.
    pub(crate) fn sent(&self) -> u64 {
        self.last.borrow().0
    }

    /// Waits for a message that is handed in after `moment`, and returns its number.
    pub(crate) async fn sent_after(&self, moment: Instant) -> u64 {
        self.last.clone().wait_for(|(_, at)| *at >= moment).await.expect("the stream goes on").0
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.publishing.abort();
    }
}

/// Subscribes to a [`Stream`].
pub(crate) async fn follow(client: &Client) -> Subscription {
    client.subscribe("live.stream.*").await.expect("subscribed")
}

/// Reads on until a message with a number above `above` comes.
pub(crate) async fn read_past(subscription: &mut Subscription, above: u64) {
    while read(subscription).await <= above {}
}

/// Reads `count` messages of each channel from number `first` on: every one of them, once, and each channel in order.
pub(crate) async fn read_all_from(subscription: &mut Subscription, first: u64, count: u64) {
    let mut next: Vec<u64> = (first..first + CHANNELS).collect();
    next.sort_by_key(|number| number % CHANNELS);
    let end = first + count * CHANNELS;
    while next.iter().any(|number| *number < end) {
        let number = read(subscription).await;
        if number >= first {
            let index = usize::try_from(number % CHANNELS).unwrap();
            assert_eq!(number, next[index], "the next message of channel {index}");
            next[index] += CHANNELS;
        }
    }
}

/// Reads until every channel has got through a few times with nothing missing between.
pub(crate) async fn read_whole_turns(subscription: &mut Subscription) {
    let mut seen = BTreeSet::new();
    loop {
        seen.insert(read(subscription).await);
        let newest = *seen.last().expect("one was inserted");
        // Channels overtake each other by a little: what is missing of the last turn may come yet.
        let mut turns = newest.saturating_sub(4 * CHANNELS)..newest.saturating_sub(CHANNELS);
        if newest > 4 * CHANNELS && turns.all(|number| seen.contains(&number)) {
            return;
        }
    }
}

async fn read(subscription: &mut Subscription) -> u64 {
    match wait::within_patience("the next message of the stream", subscription.next()).await {
        Some(Event::Message(message)) => std::str::from_utf8(&message.payload).unwrap().parse().unwrap(),
        other => panic!("instead of a message: {other:?}, {:?}", subscription.error()),
    }
}

/// Waits until `node` says that `member` is `state`, and reachable or not as that implies.
///
/// # Panics
/// When it has not by `deadline`.
pub(crate) async fn sees(mesh: &ProcessMesh, node: &str, member: &str, state: &str, deadline: Instant) {
    let is_so = |row: &Value| row["state"] == state && row["reachable"] == (state == "alive");
    let limit = deadline.duration_since(Instant::now());
    let seen = timeout(limit, shows(mesh, node, member, state, is_so)).await;
    seen.unwrap_or_else(|_| panic!("not within {limit:?}: {node} sees {member} {state}"));
}

/// Waits until `node` reaches `member`, by whatever way, or not.
pub(crate) async fn reaches(mesh: &ProcessMesh, node: &str, member: &str, reaches: bool) {
    shows(mesh, node, member, &format!("reachable: {reaches}"), |row| row["reachable"] == reaches).await;
}

/// Waits until `node` has a link of its own to `member`, or none.
pub(crate) async fn is_linked(mesh: &ProcessMesh, node: &str, member: &str, linked: bool) {
    shows(mesh, node, member, &format!("linked: {linked}"), |row| row["rtt_ms"].is_number() == linked).await;
}

async fn shows(mesh: &ProcessMesh, node: &str, member: &str, what: &str, holds: impl Fn(&Value) -> bool) {
    let admin = mesh.node(node).admin;
    wait::until(&format!("{node} says of {member} {what}"), async || {
        let page = http::get_json(admin, "/v1/mesh").await;
        let row = page["members"].as_array()?.iter().find(|row| row["name"] == member)?;
        holds(row).then_some(())
    })
    .await;
}

/// Each in a slot of its own, so that both nodes of a region own some.
pub(crate) const CHANNELS: u64 = 8;
const EVERY: Duration = Duration::from_millis(20);
