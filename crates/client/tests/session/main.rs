//! The SDK against a node whose every answer is said by the test, over real QUIC on loopback.

// The lints know a test's code by this.
#[cfg(test)]
mod failover;
#[cfg(test)]
mod node;
#[cfg(test)]
mod presence;

use std::pin::pin;
use std::time::{Duration, SystemTime};

use farwire_client::{
    AckLevel, Client, ClientId, ConnectError, ErrorCode, Event, NodeName, Pattern, PublishError, RegionName,
};
use farwire_wire::client::{ClientBody, ClientFrame, Delivery, ServerBody};
use farwire_wire::entry::{delivery_datagram, delivery_frame};
use futures_util::{FutureExt, StreamExt};
use tokio::join;

use node::{Mesh, connected, delivery, distrust, next_number, stored, subscribed};

const PUBLISHED: ServerBody = ServerBody::PublishAck { first: 2, level: AckLevel::Volatile };

#[tokio::test]
async fn a_publish_waits_for_its_ack() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let answer = async {
        let frame = session.request().await;
        let ClientBody::Publish(publish) = frame.body else { panic!("{frame:?}") };
        assert_eq!((publish.number, publish.count, &publish.payload[..]), (1, 1, &b"hello"[..]));
        session.answer(frame.request, PUBLISHED).await;
    };
    let (ack, ()) = join!(client.publish("live.a", "hello"), answer);
    assert_eq!(ack.map(|ack| ack.number).unwrap(), 1);
    let too_large = client.publish("live.a", vec![0; 1_001]).await;
    assert!(matches!(too_large, Err(PublishError::TooLarge { payload_bytes_max: 1_000, .. })));
}

#[tokio::test]
async fn publishes_under_way_are_as_few_as_the_node_allows() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let first = client.publish_pipelined("live.a", "1").await.unwrap();
    let _second = client.publish_pipelined("live.a", "2").await.unwrap();
    let mut third = pin!(client.publish_pipelined("live.a", "3"));
    assert!(third.as_mut().now_or_never().is_none(), "the node allows two");
    let request = session.request().await.request;
    session.answer(request, PUBLISHED).await;
    first.await.unwrap();
    assert_eq!(third.await.unwrap().number(), 3);
}

#[tokio::test]
async fn messages_and_what_was_dropped_arrive_in_order() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let (mut subscription, mut stream) = subscribed(&client, &mut session).await;
    stream.write_batch(&mut vec![delivery(1), Delivery::dropped_frame(5), delivery(7)]).await.unwrap();
    assert_eq!(next_number(&mut subscription).await, 1);
    assert_eq!(subscription.next().await, Some(Event::Dropped { count: 5 }));
    assert_eq!(subscription.patterns().iter().map(Pattern::as_str).collect::<Vec<_>>(), ["live.>"]);
    let Some(Event::Message(message)) = StreamExt::next(&mut subscription).await else { panic!("no message") };
    assert_eq!(message.number, 7);
}

#[tokio::test]
async fn a_dropped_next_loses_nothing() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let (mut subscription, mut stream) = subscribed(&client, &mut session).await;
    let frame = delivery(1);
    for byte in 0..frame.len() - 1 {
        stream.write(frame.slice(byte..=byte)).await.unwrap();
        // However much of the frame has arrived, it is not whole.
        tokio::task::yield_now().await;
        assert_eq!(subscription.next().now_or_never(), None);
    }
    stream.write(frame.slice(frame.len() - 1..)).await.unwrap();
    assert_eq!(next_number(&mut subscription).await, 1);
}

#[tokio::test]
async fn a_subscription_that_is_not_read_stops_its_own_stream_only() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let (mut unread, mut full) = subscribed(&client, &mut session).await;
    let (mut read, mut live) = subscribed(&client, &mut session).await;
    let large = delivery_frame(&stored(1, vec![0; 60_000]));
    let fill = async { while full.write(large.clone()).await.is_ok() {} };
    let other = async {
        for number in 1..=100 {
            live.write(delivery(number)).await.unwrap();
            assert_eq!(next_number(&mut read).await, number);
        }
    };
    tokio::select! {
        () = fill => panic!("the stream broke"),
        () = other => {}
    }
    assert_eq!(next_number(&mut unread).await, 1);
}

#[tokio::test]
async fn dropping_a_subscription_unsubscribes() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let (subscription, (request, _stream)) = join!(client.subscribe("live.>"), session.subscribed());
    drop(subscription.unwrap());
    assert_eq!(session.request().await.body, ClientBody::Unsubscribe(request));
}

#[tokio::test]
async fn datagrams_travel_both_ways() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let (mut subscription, _stream) = subscribed(&client, &mut session).await;
    assert!(client.publish_datagram("live.a", "small").await.unwrap());
    let sent = ClientFrame::decode(session.connection.read_datagram().await.unwrap()).unwrap();
    assert!(matches!(sent.body, ClientBody::Publish(publish) if publish.count == 1));
    assert!(session.connection.send_datagram(delivery_datagram(2, &stored(9, vec![]))));
    assert_eq!(next_number(&mut subscription).await, 9);
}

#[tokio::test]
async fn a_definite_refusal_is_final() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, session) = connected(&mesh, &node).await;
    session.connection.close(ErrorCode::Closed, "");
    let mut status = client.status();
    let ended = async { while status.next().await.is_some() {} };
    join!(node.refuse(ErrorCode::AuthExpired), ended);
    let error = client.publish("live.a", "x").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::AuthExpired));
}

#[tokio::test]
async fn a_full_node_is_asked_again_and_a_bad_token_is_not_shown_twice() {
    let mesh = Mesh::new();
    let (full, free) = (mesh.node("fra-1", "fra"), mesh.node("fra-2", "fra"));
    let connect = Client::connect(mesh.options([&full]));
    let later = async {
        full.refuse(ErrorCode::TooManyConnections).await;
        full.welcome().await
    };
    let (client, _session) = join!(connect, later);
    assert_eq!(client.unwrap().node().as_str(), "fra-1");

    let connect = Client::connect(mesh.options([&full, &free]).node(NodeName::parse("fra-1").unwrap()));
    let refuse = full.refuse(ErrorCode::AuthInvalid);
    let (client, ()) = join!(connect, refuse);
    assert!(matches!(client, Err(ConnectError::Refused(error)) if error.code == ErrorCode::AuthInvalid));
}

#[tokio::test]
async fn a_wished_region_that_only_the_mesh_knows_is_found_through_any_node() {
    let mesh = Mesh::new();
    let (given, wished) = (mesh.node("fra-1", "fra"), mesh.node("sin-1", "sin"));
    let connect = Client::connect(mesh.options([&given]).region(RegionName::parse("sin").unwrap()));
    let (client, left, _session) = join!(connect, given.welcome_telling_of(&wished), wished.welcome());
    let client = client.unwrap();
    assert_eq!(client.region().as_str(), "sin");
    assert_eq!(left.connection.closed().await.code(), Some(ErrorCode::Closed));
    let told = client.entry_points();
    assert_eq!(told.iter().filter_map(|entry| entry.node.as_ref()).collect::<Vec<_>>(), [&client.node()]);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_with_its_fault() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let text = distrust(&mesh, &other.node("fra-1", "fra")).await;
    assert!(text.contains("authority that is not trusted") && text.contains("--ca FILE"), "{text}");
    let week = Duration::from_secs(7 * 86_400);
    let text = distrust(&mesh, &mesh.node_certified_at(SystemTime::now() - week, "fra-1", "fra")).await;
    assert!(text.contains("has expired") && text.contains("clock"), "{text}");
    let text = distrust(&mesh, &mesh.node_certified_at(SystemTime::now() + week, "fra-1", "fra")).await;
    assert!(text.contains("is not valid yet") && text.contains("clock"), "{text}");
}

#[tokio::test]
async fn a_token_file_that_is_not_there_names_the_remedy() {
    let mesh = Mesh::new();
    let options = mesh.options([&mesh.node("fra-1", "fra")]).token_file("no/such/file");
    let text = Client::connect(options).await.unwrap_err().to_string();
    assert!(text.contains("no/such/file") && text.contains("farwire token mint"), "{text}");
}

#[tokio::test]
async fn a_client_may_insist_on_who_it_is() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let me = ClientId::parse("me").unwrap();
    let (_session, hello) = tokio::select! {
        client = Client::connect(mesh.options([&node]).client_id(me.clone())) => panic!("without a welcome: {client:?}"),
        greeted = node.greeted() => greeted,
    };
    assert_eq!(hello.client_id, Some(me));
}

#[tokio::test]
async fn closing_waits_for_the_acks_and_says_goodbye() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let (mut subscription, _stream) = subscribed(&client, &mut session).await;
    let pending = client.publish_pipelined("live.a", "last").await.unwrap();
    let answer = async {
        let request = session.request().await.request;
        session.answer(request, PUBLISHED).await;
        session.connection.closed().await
    };
    let (closed, ()) = join!(answer, client.close());
    assert_eq!(closed.code(), Some(ErrorCode::Closed));
    assert!(pending.await.is_ok());
    assert_eq!(subscription.next().await, None);
    assert!(subscription.error().is_some());
}

#[tokio::test]
async fn the_last_handle_ends_the_session() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, session) = connected(&mesh, &node).await;
    drop(client);
    let closed = tokio::time::timeout(Duration::from_secs(4), session.connection.closed()).await.unwrap();
    assert_eq!(closed.code(), Some(ErrorCode::Closed));
}
