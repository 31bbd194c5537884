//! What a node takes from strangers and from clients that mean harm: each limit over loopback, from a client that knows
//! no manners. Figures are set low, so that a handful of requests is a flood.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farwire_node::Node;
use farwire_tests::mesh::TestMesh;
use farwire_tests::{http, wait};
use farwire_transport::{Closed, Connection, DialError, Dialer, FrameReader, FrameWriter, Socket, tls};
use farwire_wire::client::{CLIENT_ALPN, ClientBody, ClientFrame, Hello, ServerBody, ServerFrame};
use farwire_wire::limits::SERVER_FRAME_BYTES_MAX;
use farwire_wire::{ErrorCode, Filter, Instance, Pattern};
use tokio::task::JoinSet;

/// Longer than a stream takes to open over loopback, if it may.
const A_MOMENT: Duration = Duration::from_millis(300);

struct OneNode {
    mesh: TestMesh,
    node: Node,
}

impl OneNode {
    async fn start(limits: &str) -> Self {
        let mesh = TestMesh::prepare(&[("fra", 1)]);
        let config = mesh.config(&"fra-1".parse().unwrap(), None, &format!("[limits]\n{limits}"));
        Self { node: Node::start(config).await.unwrap(), mesh }
    }

    fn dialer(&self) -> Dialer {
        let tls = tls::sdk_client(tls::load_roots(&self.mesh.client_ca()).unwrap(), CLIENT_ALPN, None).unwrap();
        Dialer::open(Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap(), tls).unwrap()
    }

    fn client_address(&self) -> SocketAddr {
        self.node.addresses().client.parse().unwrap()
    }

    async fn dial(&self, dialer: &Dialer) -> Result<Connection, DialError> {
        dial(dialer, self.client_address()).await
    }

    /// A client with a session.
    async fn raw(&self) -> Raw {
        let dialer = self.dialer();
        let connection = self.dial(&dialer).await.unwrap();
        let (mut writer, reader) = connection.open_bi(SERVER_FRAME_BYTES_MAX).await.unwrap();
        let token = self.mesh.token("raw", &[">:subscribe"]);
        let hello =
            Hello { versions: 1..=1, token, client_id: None, instance: Instance(1), agent: "a test".to_owned() };
        writer.write(ClientFrame { request: 1, body: ClientBody::Hello(hello) }.encode()).await.unwrap();
        let mut raw = Raw { connection, writer, reader, last: 1, _dialer: dialer };
        assert!(matches!(raw.answer().await.body, ServerBody::Welcome(_)));
        raw
    }

    async fn counter(&self, name: &str) -> u64 {
        let (_, page) = http::get(self.node.addresses().admin, "/metrics").await.unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("farwire_{name} ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }
}

async fn dial(dialer: &Dialer, address: SocketAddr) -> Result<Connection, DialError> {
    dialer.dial(address, "127.0.0.1", Duration::from_secs(10)).await
}

/// A session whose every byte is the test's choice.
struct Raw {
    connection: Connection,
    writer: FrameWriter,
    reader: FrameReader,
    last: u64,
    _dialer: Dialer,
}

impl Raw {
    async fn ask(&mut self, body: ClientBody) -> u64 {
        self.last += 1;
        self.writer.write(ClientFrame { request: self.last, body }.encode()).await.unwrap();
        self.last
    }

    async fn answer(&mut self) -> ServerFrame {
        let frame = wait::within_patience("an answer", self.reader.next_frame()).await.unwrap();
        ServerFrame::decode(frame.expect("the session goes on")).unwrap()
    }

    async fn closed(&self) -> Option<ErrorCode> {
        wait::within_patience("the end of the connection", self.connection.closed()).await.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handshakes_is_asked_for_proof_and_bounded_and_does_not_touch_who_is_there() {
    let (rate, flood) = (10, 60);
    let node = OneNode::start(&format!("handshakes_per_second_max = {rate}")).await;
    let mut before = node.raw().await;
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
    before.ask(ClientBody::Unsubscribe(99)).await;
    assert!(matches!(before.answer().await.body, ServerBody::Error(error) if error.code == ErrorCode::ProtocolState));
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
    let client = node.raw().await;
    for connection in [&stranger, &client.connection] {
        // Nothing to open means nothing to open and reset a thousand times a second.
        assert!(tokio::time::timeout(A_MOMENT, connection.open_bi(SERVER_FRAME_BYTES_MAX)).await.is_err());
        assert!(tokio::time::timeout(A_MOMENT, connection.open_uni()).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_begun_and_not_finished_ends_the_session() {
    let node = OneNode::start("frame_timeout = \"500ms\"").await;
    let mut client = node.raw().await;
    // The length of a frame of 100 bytes, and one of them.
    client.writer.write_raw(Bytes::from_static(&[100, 8])).await.unwrap();
    assert_eq!(client.closed().await, Some(ErrorCode::FrameTimeout));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_subscribes_and_unsubscribes_all_the_time_is_told_to_wait() {
    let limits = "subscriptions_per_session_max = 5\nsubscribes_per_second_per_session_max = 1";
    let node = OneNode::start(limits).await;
    let mut client = node.raw().await;
    let filter = Filter::from(Pattern::parse("live.churn").unwrap());
    let mut answered = Vec::new();
    for _ in 0..12 {
        let subscription = client.ask(ClientBody::Subscribe(filter.clone())).await;
        match client.answer().await.body {
            ServerBody::SubscribeOk { .. } => {
                answered.push(Ok(()));
                client.ask(ClientBody::Unsubscribe(subscription)).await;
                assert!(matches!(client.answer().await.body, ServerBody::UnsubscribeOk));
            }
            ServerBody::Error(error) => answered.push(Err((error.code, error.retry_after_ms))),
            other => panic!("{other:?}"),
        }
    }
    let limited = |answer: &&Result<(), (ErrorCode, u32)>| matches!(answer, Err((ErrorCode::RateLimited, 1..=1_001)));
    assert!(answered[..5].iter().all(Result::is_ok), "{answered:?}");
    assert!(answered[5..].iter().filter(limited).count() >= 1, "{answered:?}");
}
