//! Who publishes on and on without reading the answers is held to the limit of the welcome.

use farwire_tests::client::RawClient;
use farwire_tests::mesh::TestMesh;
use farwire_tests::{http, wait};
use farwire_wire::client::{ClientBody, Publish, ServerBody, ServerFrame};
use farwire_wire::{ChannelName, ErrorCode, PublisherId};

/// What the client lets the node send on one stream without reading it.
const WINDOW_BYTES: usize = 512 * 1024;
/// More than may be under way.
const BURST: u64 = 6_000;

fn publish(channel: &str, count: u64) -> ClientBody {
    let (channel, publisher) = (ChannelName::parse(channel).unwrap(), PublisherId(1));
    ClientBody::Publish(Publish { channel, payload: "x".into(), publisher, number: count, count, level: None })
}

/// Fills the stream of answers: with refusals, which are long, and for which no ack can stand.
async fn clog(client: &mut RawClient) -> u64 {
    client.ask([publish("demo.forbidden", 1)]).await;
    let refusal = client.answer().await.unwrap();
    assert!(matches!(&refusal.body, ServerBody::Error(error) if error.code == ErrorCode::Forbidden), "{refusal:?}");
    let fill = WINDOW_BYTES.div_ceil(refusal.encode().len()) as u64 + 1;
    client.ask((0..fill).map(|n| publish("demo.forbidden", 2 + n))).await;
    fill
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_above_the_limit_are_refused_and_the_session_goes_on() {
    let mut mesh = TestMesh::prepare(&[("fra", 1)]);
    mesh.start_node(&"fra-1".parse().unwrap()).await;
    let mut client = RawClient::open(&mesh, "fra-1").await;
    let limit = u64::from(client.welcome.limits.publishes_in_flight_max);
    let fill = clog(&mut client).await;
    let first = client.ask((0..BURST).map(|n| publish("live.a", 10_000 + n))).await;
    let admin = mesh.node("fra-1").addresses().admin;
    wait::until("a publish is refused", async || {
        let (_, page) = http::get(admin, "/metrics").await?;
        let line = page.lines().find_map(|line| line.strip_prefix("farwire_publishes_over_limit_total "))?.to_owned();
        (line != "0").then_some(())
    })
    .await;

    let (mut acked, mut acked_before, mut refused, mut next) = (0, 0, 0, first - fill);
    while next < first + BURST {
        let ServerFrame { request, body } = client.answer().await.expect("the session goes on");
        match body {
            ServerBody::PublishAck { first, .. } => {
                assert_eq!(first, next, "each publish is answered once and in order");
                acked += request - first + 1;
            }
            ServerBody::Error(error) if error.code == ErrorCode::RateLimited => {
                assert!(request == next && error.retry_after_ms > 0, "{error:?}");
                acked_before = if refused == 0 { acked } else { acked_before };
                refused += 1;
            }
            ServerBody::Error(error) => assert!(request == next && request < first, "{error:?}"),
            other => panic!("instead of an answer: {other:?}"),
        }
        next = request + 1;
    }
    assert!((1..=limit).contains(&acked_before), "{acked_before} acked before the first refusal");
    assert!(refused > 0 && acked + refused == BURST, "{acked} acked, {refused} refused");

    let again = client.ask([publish("live.a", 20_000)]).await;
    let answer = client.answer().await.unwrap();
    assert!(matches!(answer.body, ServerBody::PublishAck { first, .. } if first == again), "{answer:?}");
}
