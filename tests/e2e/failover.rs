//! A node dies without a word under its clients, and everything goes on through another.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use farwire_client::{Client, Event, Message, NodeName, PendingAck, Status, Subscription};
use farwire_tests::mesh::TestMesh;
use farwire_tests::wait::within_patience;
use tokio::sync::watch;

use crate::mortal::{Mortal, until_all_in_the_ring};

/// Enough channels for both nodes to own some.
const CHANNELS: u64 = 16;
const PUBLISH_EVERY: Duration = Duration::from_millis(2);
/// The promise: a dead node that clients were connected to costs at most this.
const GOES_ON_WITHIN: Duration = Duration::from_secs(8);
/// How many messages are to be seen before the node dies, and after.
const SEEN: usize = 500;

/// Publishes to one channel after the other until it is told to stop.
async fn publish(client: Client, stop: watch::Receiver<bool>) -> Vec<PendingAck> {
    let mut pending = Vec::new();
    let mut pace = tokio::time::interval(PUBLISH_EVERY);
    while !*stop.borrow() {
        pace.tick().await;
        let channel = format!("live.c.{}", pending.len() as u64 % CHANNELS);
        pending.push(client.publish_pipelined(channel, "x").await.unwrap());
    }
    pending
}

/// The numbers of each channel, which must rise.
#[derive(Default)]
struct Order(HashMap<String, u64>);

impl Order {
    fn check(&mut self, message: &Message) {
        let last = self.0.insert(message.channel.to_string(), message.number).unwrap_or(0);
        assert!(last < message.number, "{} after {last} on {}", message.number, message.channel);
    }

    async fn take(&mut self, subscription: &mut Subscription) {
        match within_patience("the next message", subscription.next()).await {
            Some(Event::Message(message)) => self.check(&message),
            Some(Event::Dropped { count }) => panic!("{count} messages were dropped"),
            None => panic!("the subscription ended: {:?}", subscription.error()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_node_that_dies_go_on_through_the_other_within_eight_seconds() {
    let mut mesh = TestMesh::prepare(&[("fra", 2)]);
    mesh.start_node(&NodeName::parse("fra-1").unwrap()).await;
    let mortal = Mortal::start(&mesh, "fra-2", mesh.node("fra-1")).await;
    until_all_in_the_ring(&[mesh.node("fra-1"), &mortal.node]).await;
    let token = |who| mesh.token(who, &["live.>:publish,subscribe"]);
    let publisher = Client::connect(mortal.options(&mesh, token("publisher"))).await.unwrap();
    let subscriber = Client::connect(mortal.options(&mesh, token("subscriber"))).await.unwrap();
    let mut moving = subscriber.subscribe("live.c.*").await.unwrap();
    let mut staying = mesh.client("fra-1").await.subscribe("live.c.*").await.unwrap();
    let mut status = subscriber.status();
    assert!(matches!(status.next().await, Some(Status::Connected { .. })));

    let (stop, stopped) = watch::channel(false);
    let publishing = tokio::spawn(publish(publisher.clone(), stopped));
    let (mut order, mut order_of_staying) = (Order::default(), Order::default());
    for _ in 0..SEEN {
        order.take(&mut moving).await;
        order_of_staying.take(&mut staying).await;
    }
    mortal.die();
    let died_at = Instant::now();
    loop {
        tokio::select! { biased;
            change = status.next() => match change {
                Some(Status::Reconnecting { .. }) => {}
                Some(Status::Resumed { gaps, .. }) => {
                    assert_eq!(gaps.len(), 1);
                    break;
                }
                other => panic!("{other:?}"),
            },
            () = order.take(&mut moving) => {}
        }
    }
    order.take(&mut moving).await;
    let went_on_after = died_at.elapsed();
    assert!(went_on_after < GOES_ON_WITHIN, "it took {went_on_after:?}");
    assert_eq!(subscriber.node().as_str(), "fra-1");
    for _ in 0..SEEN {
        order.take(&mut moving).await;
        order_of_staying.take(&mut staying).await;
    }

    stop.send_replace(true);
    let pending = within_patience("the publisher's end", publishing).await.unwrap();
    let published = pending.len();
    for ack in pending {
        let acked = within_patience("every ack", ack).await;
        assert!(acked.is_ok(), "{acked:?}");
    }
    assert!(published > 2 * SEEN);
    assert_eq!(publisher.node().as_str(), "fra-1");
}
