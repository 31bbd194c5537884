//! A node for tests: the client protocol over real QUIC on loopback, and every answer said by the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use farwire_client::{
    ChannelName, Client, ClientId, ConnectError, ConnectOptions, Event, NodeName, PublisherId, RegionName, SessionId,
    Subscription,
};
use farwire_transport::certs::authority::{Authority, AuthorityKind, Leaf};
use farwire_transport::endpoint::{Arrival, CLIENT_PORT_ALPN};
use farwire_transport::tls::{ReloadingKey, client_port_server};
use farwire_transport::{ClientPort, Connection, FrameReader, FrameWriter, Socket};
use farwire_wire::client::{
    ClientBody, ClientFrame, EntryPoint, GoAway, Hello, ServerBody, ServerFrame, SessionLimits, Welcome,
    delivery_header,
};
use farwire_wire::entry::delivery_frame;
use farwire_wire::limits::{CLIENT_FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX};
use farwire_wire::{Entry, ErrorCode, MeshName};
use tokio::join;

/// An authority, and nodes with its certificates.
pub(crate) struct Mesh {
    authority: Authority,
    ca_pem: String,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let name = MeshName::parse("test").unwrap();
        let (authority, pem) = Authority::create(AuthorityKind::Client, &name, SystemTime::now()).unwrap();
        Self { authority, ca_pem: pem.certificate }
    }

    pub(crate) fn node(&self, name: &str, region: &str) -> Node {
        self.node_certified_at(SystemTime::now(), name, region)
    }

    /// A node whose certificate is of this moment, and good for an hour.
    pub(crate) fn node_certified_at(&self, at: SystemTime, name: &str, region: &str) -> Node {
        let name = NodeName::parse(name).unwrap();
        let leaf = Leaf::Client { node: &name, addresses: &[] };
        let pem = self.authority.sign(leaf, at, Duration::from_secs(3_600)).unwrap();
        let key = Arc::new(ReloadingKey::in_memory(&pem).unwrap());
        let socket = Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = ClientPort::open(socket, client_port_server(key, CLIENT_PORT_ALPN, None).unwrap()).unwrap();
        Node { address: port.local_address().unwrap(), port, name, region: RegionName::parse(region).unwrap() }
    }

    pub(crate) fn options<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) -> ConnectOptions {
        let addresses: Vec<_> = nodes.into_iter().map(|node| node.address.to_string()).collect();
        ConnectOptions::new(addresses).ca_pem(&self.ca_pem).token("a token").seed(7)
    }
}

pub(crate) struct Node {
    port: ClientPort,
    address: SocketAddr,
    name: NodeName,
    region: RegionName,
}

impl Node {
    pub(crate) fn entry_point(&self) -> EntryPoint {
        let address = self.address.to_string();
        EntryPoint { node: self.name.clone(), region: self.region.clone(), address }
    }

    /// Takes the next client's session.
    pub(crate) async fn welcome(&self) -> Session {
        self.welcome_with(2).await
    }

    pub(crate) async fn welcome_with(&self, publishes_in_flight_max: u32) -> Session {
        self.welcome_by(publishes_in_flight_max, vec![self.entry_point()]).await
    }

    /// Takes the next client's session and tells it of another node too.
    pub(crate) async fn welcome_telling_of(&self, other: &Self) -> Session {
        self.welcome_by(2, vec![self.entry_point(), other.entry_point()]).await
    }

    async fn welcome_by(&self, publishes_in_flight_max: u32, entry_points: Vec<EntryPoint>) -> Session {
        let (mut session, hello) = self.greeted().await;
        assert_eq!(hello.token, "a token");
        let limits = SessionLimits { payload_bytes_max: 1_000, subscriptions_max: 10, publishes_in_flight_max };
        let welcome = Welcome {
            version: 1,
            session: SessionId(1),
            mesh: "test".into(),
            node: self.name.clone(),
            region: self.region.clone(),
            client_id: ClientId::parse("me").unwrap(),
            limits,
            entry_points,
        };
        session.connection.widen(512 * 1024);
        session.answer(1, ServerBody::Welcome(welcome)).await;
        session
    }

    /// Refuses the next client.
    pub(crate) async fn refuse(&self, code: ErrorCode) {
        let (mut session, _) = self.greeted().await;
        session.answer(1, ServerBody::Error(code.into())).await;
        session.connection.closed().await;
    }

    pub(crate) async fn greeted(&self) -> (Session, Hello) {
        within_patience("a client", self.next_greeted()).await
    }

    async fn next_greeted(&self) -> (Session, Hello) {
        loop {
            let knock = self.port.accept().await.unwrap();
            // A client that found another node in the race has gone.
            let Ok(Arrival::Native(connection)) = knock.into_client().await else { continue };
            let Ok((writer, mut reader)) = connection.accept_bi(HELLO_FRAME_BYTES_MAX).await else { continue };
            let frame = ClientFrame::decode(reader.next_frame().await.unwrap().unwrap()).unwrap();
            let ClientBody::Hello(hello) = frame.body else { panic!("first frame: {frame:?}") };
            reader.set_frame_bytes_max(CLIENT_FRAME_BYTES_MAX);
            return (Session { connection, writer, reader, connects: hello.connects }, hello);
        }
    }
}

pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// How often its client had said hello.
    pub(crate) connects: u32,
    writer: FrameWriter,
    reader: FrameReader,
}

impl Session {
    pub(crate) async fn request(&mut self) -> ClientFrame {
        let frame = within_patience("a request", self.reader.next_frame()).await;
        ClientFrame::decode(frame.unwrap().unwrap()).unwrap()
    }

    pub(crate) async fn answer(&mut self, request: u64, body: ServerBody) {
        self.writer.write(ServerFrame { request, body }.encode()).await.unwrap();
    }

    /// Ends the session as a node does: what was written arrives before the close.
    pub(crate) async fn finish_and_close(mut self, code: ErrorCode) {
        self.writer.finish_and_wait().await;
        self.connection.close(code, "");
    }

    /// Puts the next request, which must be a subscribe, into force.
    pub(crate) async fn subscribed(&mut self) -> (u64, FrameWriter) {
        let frame = self.request().await;
        assert!(matches!(frame.body, ClientBody::Subscribe(_)), "{frame:?}");
        // The stream first: it may overtake the answer.
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write(delivery_header(frame.request)).await.unwrap();
        self.answer(frame.request, ServerBody::SubscribeOk { pending_regions: vec![] }).await;
        (frame.request, stream)
    }
}

/// Waits, but not for ever.
async fn within_patience<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, future).await.unwrap_or_else(|_| panic!("still not: {what}"))
}

pub(crate) fn stored(number: u64, payload: Vec<u8>) -> Bytes {
    let entry = Entry {
        channel: ChannelName::parse("live.a").unwrap(),
        payload: payload.into(),
        publisher: PublisherId(1),
        number,
        published_at_us: 1,
        session: 1,
        count: number,
        datagram: false,
    };
    entry.encode()
}

pub(crate) fn delivery(number: u64) -> Bytes {
    delivery_frame(&stored(number, vec![]))
}

pub(crate) async fn connected(mesh: &Mesh, node: &Node) -> (Client, Session) {
    let (client, session) = join!(Client::connect(mesh.options([node])), node.welcome());
    (client.unwrap(), session)
}

pub(crate) async fn subscribed(client: &Client, session: &mut Session) -> (Subscription, FrameWriter) {
    let (subscription, (_, stream)) = join!(client.subscribe("live.>"), session.subscribed());
    (subscription.unwrap(), stream)
}

pub(crate) fn go_away(retry_after_ms: u32, alternatives: &[&Node]) -> ServerBody {
    let alternatives = alternatives.iter().map(|node| node.entry_point()).collect();
    ServerBody::GoAway(GoAway { retry_after_ms, jitter_ms: 0, alternatives, reason: "drain".into() })
}

pub(crate) async fn lose(session: Session) {
    session.connection.close(ErrorCode::Closed, "");
}

pub(crate) async fn next_number(subscription: &mut Subscription) -> u64 {
    match subscription.next().await {
        Some(Event::Message(message)) => message.number,
        other => panic!("no message: {other:?}"),
    }
}

/// What a client of `mesh` says that finds only `node`.
pub(crate) async fn distrust(mesh: &Mesh, node: &Node) -> String {
    let client = tokio::select! {
        client = Client::connect(mesh.options([node])) => client,
        _ = node.welcome() => panic!("the client said hello"),
    };
    match client {
        Err(error @ ConnectError::Tls(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}
