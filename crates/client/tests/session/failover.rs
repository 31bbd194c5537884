//! What a client does when its session is lost or its node asks it to go: what it takes along, where it goes, and when.

use std::time::{Duration, Instant};

use farwire_client::{AckLevel, Client, ErrorCode, Event, NodeName, PublishError, Status, SubscribeError};
use farwire_wire::client::{ClientBody, Publish, ServerBody};
use tokio::join;

use crate::node::{Mesh, Session, connected, delivery, go_away, lose, next_number, subscribed};

/// The next request, which must be a publish.
async fn publish_at(session: &mut Session) -> (u64, Publish) {
    let frame = session.request().await;
    match frame.body {
        ClientBody::Publish(publish) => (frame.request, publish),
        other => panic!("not a publish: {other:?}"),
    }
}

async fn ack(session: &mut Session, first: u64, last: u64) {
    session.answer(last, ServerBody::PublishAck { first, level: AckLevel::Volatile }).await;
}

async fn resumed_at(client: &Client, node: &str) {
    let mut status = client.status();
    while !matches!(status.next().await, Some(Status::Resumed { .. })) {}
    assert_eq!(client.node(), NodeName::parse(node).unwrap());
}

#[tokio::test]
async fn a_lost_session_is_replaced_and_takes_subscriptions_and_publishes_along() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, session) = join!(Client::connect(mesh.options([&node])), node.welcome_with(10));
    let (client, mut session) = (client.unwrap(), session);
    let mut status = client.status();
    let (mut subscription, _stream) = subscribed(&client, &mut session).await;
    let mut pending = Vec::new();
    for payload in ["acked", "lost", "lost too"] {
        pending.push(client.publish_pipelined("live.a", payload).await.unwrap());
    }
    for _ in 0..3 {
        publish_at(&mut session).await;
    }
    ack(&mut session, 3, 3).await;
    pending.remove(0).await.unwrap();
    lose(session).await;

    let mut session = node.welcome_with(10).await;
    let (_, mut stream) = session.subscribed().await;
    let first = publish_at(&mut session).await;
    assert_eq!((first.0, first.1.number, first.1.count), (3, 2, 2), "request 2 is the subscription");
    let second = publish_at(&mut session).await;
    assert_eq!((second.0, second.1.number, second.1.count), (4, 3, 3));
    ack(&mut session, 3, 4).await;
    for (pending, number) in pending.into_iter().zip([2, 3]) {
        assert_eq!(pending.await.unwrap().number, number);
    }
    stream.write(delivery(3)).await.unwrap();
    assert_eq!(next_number(&mut subscription).await, 3);
    assert!(matches!(status.next().await, Some(Status::Connected { .. })));
    assert!(matches!(status.next().await, Some(Status::Reconnecting { attempt: 1, .. })));
    let Some(Status::Resumed { gaps, .. }) = status.next().await else { panic!("not resumed") };
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].patterns, subscription.patterns());
}

#[tokio::test]
async fn handles_live_over_reconnects_and_say_so_when_the_client_has_ended() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let (mut subscription, mut stream) = subscribed(&client, &mut session).await;
    for number in 1..=3 {
        stream.write(delivery(number)).await.unwrap();
        assert_eq!(next_number(&mut subscription).await, number);
        let answer = async {
            let (request, publish) = publish_at(&mut session).await;
            assert_eq!(publish.number, number);
            ack(&mut session, request, request).await;
        };
        let (acked, ()) = join!(client.publish("live.a", "x"), answer);
        assert_eq!(acked.unwrap().number, number);
        lose(session).await;
        session = node.welcome().await;
        stream = session.subscribed().await.1;
    }
    let keeper = client.clone();
    client.close().await;
    assert_eq!(subscription.next().await, None);
    assert!(matches!(subscription.error(), Some(SubscribeError::Closed(None))));
    assert!(matches!(keeper.publish("live.a", "x").await, Err(PublishError::Closed(None))));
    assert!(matches!(keeper.subscribe("live.a").await, Err(SubscribeError::Closed(None))));
    assert!(!keeper.connected().await);
    assert!(matches!(keeper.status().next().await, Some(Status::Closed { error: None })));
}

#[tokio::test]
async fn what_was_seen_before_the_loss_is_not_seen_again_after_it() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let (mut subscription, mut stream) = subscribed(&client, &mut session).await;
    stream.write_batch(&mut vec![delivery(1), delivery(2)]).await.unwrap();
    assert_eq!(next_number(&mut subscription).await, 1);
    assert_eq!(next_number(&mut subscription).await, 2);
    lose(session).await;
    let mut session = node.welcome().await;
    let (_, mut stream) = session.subscribed().await;
    stream.write_batch(&mut vec![delivery(2), delivery(3)]).await.unwrap();
    assert_eq!(next_number(&mut subscription).await, 3);
}

#[tokio::test]
async fn a_node_that_leaves_is_exchanged_for_one_that_it_names() {
    let mesh = Mesh::new();
    let [node, near, named] = [("fra-1", "fra"), ("fra-2", "fra"), ("iad-1", "iad")].map(|(n, r)| mesh.node(n, r));
    let (client, mut session) = connected(&mesh, &node).await;
    session.answer(0, ServerBody::EntryList(vec![node.entry_point(), near.entry_point()])).await;
    session.answer(0, go_away(1, &[&named])).await;
    tokio::select! {
        _ = near.welcome() => panic!("the client went where it was not sent"),
        _session = named.welcome() => resumed_at(&client, "iad-1").await,
    }
}

#[tokio::test]
async fn a_node_that_leaves_is_left_when_it_says_even_if_it_is_gone_before() {
    let mesh = Mesh::new();
    let (node, other) = (mesh.node("fra-1", "fra"), mesh.node("fra-2", "fra"));
    let (client, mut session) = connected(&mesh, &node).await;
    let begin = Instant::now();
    session.answer(0, go_away(600, &[&other])).await;
    let mut status = client.status();
    assert!(matches!(status.next().await, Some(Status::Connected { .. })));
    session.finish_and_close(ErrorCode::GoAway).await;
    let Some(Status::Reconnecting { .. }) = status.next().await else { panic!("the session is lost") };
    let _session = other.welcome().await;
    assert!(begin.elapsed() >= Duration::from_millis(600), "after {:?}", begin.elapsed());
    resumed_at(&client, "fra-2").await;
}

#[tokio::test]
async fn publishes_that_a_leaving_node_does_not_ack_are_sent_to_the_next() {
    let mesh = Mesh::new();
    let (node, other) = (mesh.node("fra-1", "fra"), mesh.node("fra-2", "fra"));
    let (client, mut session) = connected(&mesh, &node).await;
    let pending = client.publish_pipelined("live.a", "x").await.unwrap();
    publish_at(&mut session).await;
    session.answer(0, go_away(0, &[&other])).await;
    let mut session = other.welcome().await;
    let (request, publish) = publish_at(&mut session).await;
    assert_eq!((publish.number, publish.count), (1, 1));
    ack(&mut session, request, request).await;
    assert_eq!(pending.await.unwrap().number, 1);
}

#[tokio::test]
async fn a_node_that_came_later_is_found_by_what_the_session_told() {
    let mesh = Mesh::new();
    let (node, later) = (mesh.node("fra-1", "fra"), mesh.node("fra-2", "fra"));
    let (client, mut session) = connected(&mesh, &node).await;
    session.answer(0, ServerBody::EntryList(vec![later.entry_point()])).await;
    // The list is taken in the order of the stream.
    let (mut subscription, _stream) = subscribed(&client, &mut session).await;
    let told: Vec<_> = client.entry_points().into_iter().filter_map(|entry| entry.node).collect();
    assert_eq!(told, [NodeName::parse("fra-2").unwrap()]);
    drop(node);
    lose(session).await;
    let mut session = later.welcome().await;
    let (_, mut stream) = session.subscribed().await;
    stream.write(delivery(1)).await.unwrap();
    assert!(matches!(subscription.next().await, Some(Event::Message(message)) if message.number == 1));
    assert_eq!(client.node(), NodeName::parse("fra-2").unwrap());
}

#[tokio::test]
async fn a_region_without_nodes_is_left_for_another() {
    let mesh = Mesh::new();
    let (node, far) = (mesh.node("fra-1", "fra"), mesh.node("iad-1", "iad"));
    let (client, session) = join!(Client::connect(mesh.options([&node])), node.welcome_telling_of(&far));
    let client = client.unwrap();
    drop(node);
    lose(session).await;
    let _session = far.welcome().await;
    resumed_at(&client, "iad-1").await;
}
