//! Clients that break the protocol after a proper handshake: each is told what was wrong, and loses its session alone.

use std::time::Duration;

use bytes::Bytes;
use farwire_tests::wait::within_patience;
use farwire_transport::{Connection, Dialer, FrameReader, FrameWriter, Socket, tls};
use farwire_wire::client::{CLIENT_ALPN, ClientBody, ClientFrame, Hello, ServerBody, ServerFrame};
use farwire_wire::limits::SERVER_FRAME_BYTES_MAX;
use farwire_wire::{ErrorCode, Instance, WireError};

use crate::beside::Beside;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_the_protocol_is_told_how_and_ended() {
    let beside = Beside::start().await;
    let token = std::fs::read_to_string(beside.mesh.dir.path().join("token")).unwrap().trim().to_owned();
    let hello = |versions| ClientFrame {
        request: 1,
        body: ClientBody::Hello(Hello {
            versions,
            token: token.clone(),
            client_id: None,
            instance: Instance(1),
            agent: "stranger".to_owned(),
            connects: 1,
        }),
    };
    let early = ClientFrame { request: 1, body: ClientBody::Unsubscribe(1) }.encode();
    let first_words = [
        (hello(99..=99).encode(), ErrorCode::UnsupportedVersion, "99"),
        (Bytes::from_static(b"\x04\xff\xff\xff\xff"), ErrorCode::Malformed, "does not decode"),
        (Bytes::from_static(b"\xff\xff\xff\x7f"), ErrorCode::FrameTooLarge, "8192 bytes"),
        (Bytes::from_static(b"\x80\x00"), ErrorCode::Malformed, "canonical"),
        (early, ErrorCode::ProtocolState, "not a hello"),
    ];
    for (words, code, part) in first_words {
        let mut client = RawClient::connect(&beside).await;
        client.requests.write_raw(words).await.unwrap();
        client.assert_refused(code, part).await;
    }
    // A session that stands ends with its connection, whose close says why.
    for (words, code) in [
        (Bytes::from_static(b"\x04\xff\xff\xff\xff"), ErrorCode::Malformed),
        (Bytes::from_static(b"\xff\xff\xff\x7f"), ErrorCode::FrameTooLarge),
        (hello(1..=1).encode(), ErrorCode::ProtocolState),
    ] {
        let mut client = RawClient::connect(&beside).await;
        client.requests.write(hello(1..=1).encode()).await.unwrap();
        let answer = client.answer().await;
        assert!(matches!(answer.body, ServerBody::Welcome(_)), "{answer:?}");
        client.requests.write_raw(words).await.unwrap();
        client.assert_closed(code).await;
    }
    beside.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_says_hello_is_ended_in_time() {
    let beside = Beside::start().await;
    let silent = RawClient::connect(&beside).await;
    let mut slow = RawClient::connect(&beside).await;
    // Half of a frame.
    slow.requests.write_raw(Bytes::from_static(b"\x40\x08\x01")).await.unwrap();
    for client in [silent, slow] {
        client.assert_closed(ErrorCode::AuthTimeout).await;
    }
    beside.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_a_rule_is_refused_and_the_session_goes_on() {
    let beside = Beside::start().await;
    let client = beside.mesh.client("fra-1").await;
    let session = client.session();
    let too_large = client.publish("live.a", vec![0; 65_537]).await.unwrap_err();
    assert_eq!(too_large.code(), Some(ErrorCode::FrameTooLarge), "{too_large}");
    let reserved = client.publish("farwire:probe.fra", "hi").await.unwrap_err();
    assert_eq!(reserved.code(), Some(ErrorCode::Forbidden), "{reserved}");
    let reserved = client.subscribe("farwire:probe.>").await.unwrap_err();
    assert_eq!(reserved.code(), Some(ErrorCode::Forbidden), "{reserved}");
    client.publish("live.a", "hi").await.unwrap();
    assert_eq!(client.session(), session);
    beside.assert_undisturbed().await;
}

/// A client whose every byte is the test's.
struct RawClient {
    connection: Connection,
    requests: FrameWriter,
    answers: FrameReader,
    // Owns the socket.
    _dialer: Dialer,
}

impl RawClient {
    async fn connect(beside: &Beside) -> Self {
        let roots = tls::load_roots(&beside.mesh.dir.path().join("client-ca.pem")).unwrap();
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dialer = Dialer::open(socket, tls::sdk_client(roots, CLIENT_ALPN, None).unwrap()).unwrap();
        let node = beside.address("fra", "client");
        let connection = dialer.dial(node, "127.0.0.1", Duration::from_secs(60)).await.unwrap();
        let (requests, answers) = connection.open_bi(SERVER_FRAME_BYTES_MAX).await.unwrap();
        Self { connection, requests, answers, _dialer: dialer }
    }

    async fn answer(&mut self) -> ServerFrame {
        let frame = within_patience("an answer", self.answers.next_frame()).await.unwrap();
        ServerFrame::decode(frame.expect("the node ended the stream")).unwrap()
    }

    /// The node says what was wrong, and closes the connection with the same code.
    async fn assert_refused(mut self, code: ErrorCode, part: &str) {
        let answer = self.answer().await;
        let ServerBody::Error(WireError { code: told, message, .. }) = answer.body else { panic!("{answer:?}") };
        assert_eq!(told, code, "{message}");
        assert!(message.contains(part), "{part:?} is not in {message:?}");
        self.assert_closed(code).await;
    }

    async fn assert_closed(&self, code: ErrorCode) {
        let closed = within_patience("the end of the connection", self.connection.closed()).await;
        assert_eq!(closed.code(), Some(code), "{closed}");
    }
}
