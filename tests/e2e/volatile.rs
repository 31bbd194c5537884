//! The way of volatile messages through a whole mesh.

use farwire_client::{Event, Subscription};
use farwire_tests::mesh::TestMesh;
use farwire_tests::wait::within_patience;

const REGIONS: &[(&str, usize)] = &[("fra", 2), ("iad", 1), ("sin", 2)];

async fn payloads(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match within_patience("the next message", subscription.next()).await {
            Some(Event::Message(message)) => seen.push(String::from_utf8(message.payload.to_vec()).unwrap()),
            Some(Event::Dropped { count }) => panic!("{count} messages were dropped"),
            None => panic!("the subscription ended"),
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_of_every_region_gets_each_message_once_and_in_order() {
    let mesh = TestMesh::start(REGIONS).await;
    let mut subscriptions = Vec::new();
    for node in ["fra-1", "fra-2", "iad-1", "sin-1", "sin-2"] {
        let client = mesh.client(node).await;
        let exact = client.subscribe("live.room.1").await.unwrap();
        let wide = client.subscribe_all(["live.room.*", "live.>"]).await.unwrap();
        assert!(exact.pending_regions().is_empty() && wide.pending_regions().is_empty());
        subscriptions.push((client, exact, wide));
    }
    let publishers = [mesh.client("fra-2").await, mesh.client("sin-1").await];
    for n in 0..100 {
        for (who, publisher) in publishers.iter().enumerate() {
            publisher.publish("live.room.1", format!("{who} {n:03}")).await.unwrap();
        }
    }
    for (_client, mut exact, mut wide) in subscriptions {
        for subscription in [&mut exact, &mut wide] {
            let seen = payloads(subscription, 200).await;
            for who in 0..publishers.len() {
                let of_one: Vec<_> = seen.iter().filter(|text| text.starts_with(&who.to_string())).collect();
                assert!(of_one.is_sorted() && of_one.len() == 100, "{of_one:?}");
            }
        }
    }
}

/// More channels than shards, so that some share one while their slots have different owners.
const CHANNELS: usize = 64;
const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn no_channel_of_a_publisher_overtakes_another_one_that_has_another_owner() {
    let mesh = TestMesh::start(REGIONS).await;
    let mut subscriptions = Vec::new();
    for node in ["fra-1", "fra-2", "iad-1", "sin-1", "sin-2"] {
        subscriptions.push(mesh.client(node).await.subscribe("live.many.*").await.unwrap());
    }
    let publisher = mesh.client("fra-2").await;
    for round in 0..ROUNDS {
        for channel in 0..CHANNELS {
            let text = format!("{channel:02} {round:02}");
            drop(publisher.publish_pipelined(format!("live.many.{channel}"), text).await.unwrap());
        }
    }
    for subscription in &mut subscriptions {
        let mut seen = payloads(subscription, ROUNDS * CHANNELS).await;
        // Stable: what came of a channel stays in the order in which it came.
        seen.sort_by(|a, b| a[..2].cmp(&b[..2]));
        assert!(seen.is_sorted(), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_goes_through_the_whole_mesh_as_one() {
    let mesh = TestMesh::start(REGIONS).await;
    let mut subscriptions = Vec::new();
    for node in ["fra-1", "fra-2", "iad-1", "sin-1", "sin-2"] {
        let client = mesh.client(node).await;
        let subscription = client.subscribe("live.position.*").await.unwrap();
        assert!(subscription.pending_regions().is_empty());
        subscriptions.push((client, subscription));
    }
    let publisher = mesh.client("fra-2").await;
    // Several channels, so that some are owned by the publisher's node and some by the other of its region.
    for n in 1..=20_u64 {
        let channel = format!("live.position.{}", n % 8);
        assert!(publisher.publish_datagram(channel.as_str(), n.to_string()).await.unwrap());
        // The next one only after this one: nothing but a full buffer would drop one here.
        for (_client, subscription) in &mut subscriptions {
            let event = within_patience("the datagram", subscription.next()).await;
            let Some(Event::Message(message)) = event else { panic!("instead of a message: {event:?}") };
            assert_eq!((message.channel.as_str(), message.payload), (channel.as_str(), n.to_string().into()));
            assert!(message.datagram && message.publisher == publisher.publisher());
        }
    }
}
