//! What a node takes from strangers and from clients that mean harm: each limit over loopback, from a client that knows
//! no manners. Figures are set low, so that a handful of requests is a flood.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farwire_tests::client::RawClient;
use farwire_tests::mesh::TestMesh;
use farwire_tests::{http, wait};
use farwire_transport::{Closed, Connection, DialError, Dialer, Socket, tls};
use farwire_wire::client::{CLIENT_ALPN, ClientBody, ServerBody};
use farwire_wire::limits::SERVER_FRAME_BYTES_MAX;
use farwire_wire::{ErrorCode, Filter, Pattern};
use tokio::task::JoinSet;

/// Longer than a stream takes to open over loopback, if it may.
const A_MOMENT: Duration = Duration::from_millis(300);

const NODE: &str = "fra-1";

struct OneNode(TestMesh);

impl OneNode {
    async fn start(limits: &str) -> Self {
        let mut mesh = TestMesh::prepare(&[("fra", 1)]);
        mesh.start_node_with(&NODE.parse().unwrap(), &format!("[limits]\n{limits}")).await;
        Self(mesh)
    }

    fn dialer(&self) -> Dialer {
        let tls = tls::sdk_client(tls::load_roots(&self.0.client_ca()).unwrap(), CLIENT_ALPN, None).unwrap();
        Dialer::open(Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap(), tls).unwrap()
    }

    fn client_address(&self) -> SocketAddr {
        self.0.node(NODE).addresses().client.parse().unwrap()
    }

    async fn dial(&self, dialer: &Dialer) -> Result<Connection, DialError> {
        dial(dialer, self.client_address()).await
    }

    async fn client(&self) -> RawClient {
        RawClient::open(&self.0, NODE).await
    }

    async fn counter(&self, name: &str) -> u64 {
        let (_, page) = http::get(self.0.node(NODE).addresses().admin, "/metrics").await.unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("farwire_{name} ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }
}

async fn dial(dialer: &Dialer, address: SocketAddr) -> Result<Connection, DialError> {
    dialer.dial(address, "127.0.0.1", Duration::from_secs(10)).await
}

async fn answer(client: &mut RawClient) -> ServerBody {
    client.answer().await.expect("the session goes on").body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handshakes_is_asked_for_proof_and_bounded_and_does_not_touch_who_is_there() {
    let (rate, flood) = (10, 60);
    let node = OneNode::start(&format!("handshakes_per_second_max = {rate}")).await;
    let mut before = node.client().await;
    let start = Instant::now();
    let mut knocking = JoinSet::new();
    for _ in 0..flood {
        let (dialer, address) = (node.dialer(), node.client_address());
        // With its dialer a connection would end, and make place.
        knocking.spawn(async move { (dial(&dialer, address).await, dialer) });
    }
    let (knocks, _dialers): (Vec<_>, Vec<_>) = knocking.join_all().await.into_iter().unzip();
    let admitted = knocks.iter().filter(|knock| knock.is_ok()).count();
    let refused = |knock: &&Result<_, _>| matches!(knock, Err(DialError::Closed(Closed::Refused(_))));
    assert_eq!(knocks.iter().filter(refused).count(), flood - admitted, "{knocks:?}");
    let most = rate + rate * usize::try_from(start.elapsed().as_secs() + 1).unwrap();
    assert!((1..=most).contains(&admitted), "{admitted} of {flood} in {:?}", start.elapsed());
    assert!(node.counter("address_proofs_asked_total").await >= u64::try_from(rate).unwrap());
    // Who was there before is served, and a stranger comes in once the flood is over.
    before.ask([ClientBody::Unsubscribe(99)]).await;
    assert!(matches!(answer(&mut before).await, ServerBody::Error(error) if error.code == ErrorCode::ProtocolState));
    let dialer = node.dialer();
    wait::until("a stranger comes in", async || node.dial(&dialer).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_has_only_so_many_connections() {
    let node = OneNode::start("sessions_per_address_max = 3").await;
    let dialer = node.dialer();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(node.dial(&dialer).await.unwrap());
    }
    let refused = node.dial(&dialer).await;
    assert!(matches!(refused, Err(DialError::Closed(Closed::Refused(_)))), "{refused:?}");
    held.pop().unwrap().close(ErrorCode::Closed, "");
    wait::until("the place is free again", async || node.dial(&dialer).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_before_the_hello_ends_the_connection() {
    let node = OneNode::start("").await;
    let dialer = node.dialer();
    let connection = node.dial(&dialer).await.unwrap();
    assert!(connection.send_datagram(Bytes::from_static(b"anything")));
    let closed = wait::within_patience("the end", connection.closed()).await;
    assert_eq!(closed.code(), Some(ErrorCode::ProtocolState));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_one_stream_before_and_after_its_hello() {
    let node = OneNode::start("").await;
    let dialer = node.dialer();
    let stranger = node.dial(&dialer).await.unwrap();
    let _first = stranger.open_bi(SERVER_FRAME_BYTES_MAX).await.unwrap();
    let client = node.client().await;
    for connection in [&stranger, &client.connection] {
        // Nothing to open means nothing to open and reset a thousand times a second.
        assert!(tokio::time::timeout(A_MOMENT, connection.open_bi(SERVER_FRAME_BYTES_MAX)).await.is_err());
        assert!(tokio::time::timeout(A_MOMENT, connection.open_uni()).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_begun_and_not_finished_ends_the_session() {
    let node = OneNode::start("frame_timeout = \"500ms\"").await;
    let mut client = node.client().await;
    // The length of a frame of 100 bytes, and one of them.
    client.write(Bytes::from_static(&[100, 8])).await;
    assert_eq!(client.closed().await.code(), Some(ErrorCode::FrameTimeout));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_subscribes_and_unsubscribes_all_the_time_is_told_to_wait() {
    let limits = "subscriptions_per_session_max = 5\nsubscribes_per_second_per_session_max = 1";
    let node = OneNode::start(limits).await;
    let mut client = node.client().await;
    let filter = Filter::from(Pattern::parse("live.churn").unwrap());
    let mut answered = Vec::new();
    for _ in 0..12 {
        let subscription = client.ask([ClientBody::Subscribe(filter.clone())]).await;
        match answer(&mut client).await {
            ServerBody::SubscribeOk { .. } => {
                answered.push(Ok(()));
                client.ask([ClientBody::Unsubscribe(subscription)]).await;
                assert!(matches!(answer(&mut client).await, ServerBody::UnsubscribeOk));
            }
            ServerBody::Error(error) => answered.push(Err((error.code, error.retry_after_ms))),
            other => panic!("{other:?}"),
        }
    }
    let limited = |answer: &&Result<(), (ErrorCode, u32)>| matches!(answer, Err((ErrorCode::RateLimited, 1..=1_001)));
    assert!(answered[..5].iter().all(Result::is_ok), "{answered:?}");
    assert!(answered[5..].iter().filter(limited).count() >= 1, "{answered:?}");
}
