//! A client whose every frame is the test's choice, to see what a node says beside what the SDK makes of it.

use std::time::Duration;

use bytes::Bytes;
use farwire_transport::endpoint::Dialer;
use farwire_transport::{Closed, Connection, FrameReader, FrameWriter, Socket, tls};
use farwire_wire::Instance;
use farwire_wire::client::{CLIENT_ALPN, ClientBody, ClientFrame, Hello, ServerBody, ServerFrame, Welcome};
use farwire_wire::limits::SERVER_FRAME_BYTES_MAX;

use crate::mesh::TestMesh;
use crate::wait;

/// A session of the test's own.
pub struct RawClient {
    /// The connection.
    pub connection: Connection,
    /// What the node said at the start.
    pub welcome: Welcome,
    requests: FrameWriter,
    answers: FrameReader,
    last: u64,
    // Owns the socket.
    _dialer: Dialer,
}

impl RawClient {
    /// Opens a session.
    ///
    /// # Panics
    /// When the node refuses.
    pub async fn open(mesh: &TestMesh, node: &str) -> Self {
        match Self::try_open(mesh, node).await {
            Ok(client) => client,
            Err(answer) => panic!("instead of a welcome: {answer:?}"),
        }
    }

    /// Opens a session, or gives back what the node said instead.
    ///
    /// # Errors
    /// The answer to the hello, where it is no welcome.
    ///
    /// # Panics
    /// When the node does not answer.
    pub async fn try_open(mesh: &TestMesh, node: &str) -> Result<Self, ServerBody> {
        let roots = tls::load_roots(&mesh.client_ca()).unwrap();
        let tls = tls::sdk_client(roots, CLIENT_ALPN, None).unwrap();
        let dialer = Dialer::open(Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap(), tls).unwrap();
        let address = mesh.node(node).addresses().client.parse().unwrap();
        let connection = dialer.dial(address, "127.0.0.1", Duration::from_secs(5)).await.unwrap();
        let (mut requests, mut answers) = connection.open_bi(SERVER_FRAME_BYTES_MAX).await.unwrap();
        let token = mesh.token("raw", &["live.>:publish,subscribe,presence"]);
        let instance = Instance(rand::random());
        let hello = Hello { versions: 1..=1, token, client_id: None, instance, agent: "raw".to_owned(), connects: 1 };
        requests.write(ClientFrame { request: 1, body: ClientBody::Hello(hello) }.encode()).await.unwrap();
        let frame = answers.next_frame().await.unwrap().unwrap();
        match ServerFrame::decode(frame).unwrap().body {
            ServerBody::Welcome(welcome) => {
                Ok(Self { connection, welcome, requests, answers, last: 1, _dialer: dialer })
            }
            other => Err(other),
        }
    }

    /// Sends requests in one write; returns the number of the first.
    ///
    /// # Panics
    /// When the session has ended.
    pub async fn ask(&mut self, bodies: impl IntoIterator<Item = ClientBody>) -> u64 {
        let first = self.last + 1;
        let mut frames = Vec::new();
        for body in bodies {
            self.last += 1;
            frames.push(ClientFrame { request: self.last, body }.encode());
        }
        self.requests.write_batch(&mut frames).await.unwrap();
        first
    }

    /// Writes bytes that need not be a frame.
    ///
    /// # Panics
    /// When the session has ended.
    pub async fn write(&mut self, bytes: Bytes) {
        self.requests.write_raw(bytes).await.unwrap();
    }

    /// The next frame of the node; `None` once it has finished the stream.
    ///
    /// # Panics
    /// When the stream breaks, or nothing comes for a minute.
    pub async fn answer(&mut self) -> Option<ServerFrame> {
        let frame = wait::within_patience("an answer of the node", self.answers.next_frame()).await.unwrap();
        frame.map(|frame| ServerFrame::decode(frame).unwrap())
    }

    /// Why the connection ended.
    pub async fn closed(&self) -> Closed {
        wait::within_patience("the end of the connection", self.connection.closed()).await
    }
}
