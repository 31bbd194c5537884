//! Bytes from strangers: noise, and handshakes that stop half way, on each of a node's three ports.

use std::net::SocketAddr;
use std::time::Duration;

use farwire_tests::http;
use farwire_tests::wait::within_patience;
use farwire_transport::{Dialer, Socket, tls};
use farwire_wire::client::CLIENT_ALPN;
use farwire_wire::peer::PEER_ALPN;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::beside::Beside;

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_the_udp_ports_is_dropped() {
    let beside = Beside::start().await;
    let mut rng = StdRng::seed_from_u64(1);
    for port in ["client", "peer"] {
        let socket = connected(beside.address("fra", port)).await;
        for size in (0..1500).step_by(5) {
            let mut datagram = vec![0; size];
            rng.fill(&mut datagram[..]);
            // Half of them look like the first packet of a version 1 connection.
            if let [first, v1, v2, v3, v4, ..] = datagram.as_mut_slice()
                && size % 2 == 0
            {
                (*first, *v1, *v2, *v3, *v4) = (0xc0 | *first, 0, 0, 0, 1);
            }
            socket.send(&datagram).await.unwrap();
        }
    }
    beside.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_stop_half_way_hold_up_nobody() {
    let beside = Beside::start().await;
    for (port, alpn) in [("client", CLIENT_ALPN), ("peer", PEER_ALPN)] {
        let address = beside.address("fra", port);
        let beginning = Beginning::new(&beside, alpn).await;
        for _ in 0..2 {
            let datagram = beginning.next().await;
            for cut in [1, 20, 100, 600, 1199, datagram.len() - 1] {
                connected(address).await.send(&datagram[..cut.min(datagram.len())]).await.unwrap();
            }
        }
        // Whole, but from an end that does not go on: it gets an answer, and nothing more is owed to it.
        for _ in 0..HALF_OPEN {
            let answered = answered(Beginning::new(&beside, alpn).await, address);
            within_patience("the node's side of the handshake", answered).await;
        }
    }
    // Somebody who means it gets in all the same.
    beside.mesh.client("fra-1").await.publish("live.a", "hi").await.unwrap();
    beside.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_refuses_noise_and_waits_for_nobody() {
    let beside = Beside::start().await;
    let address = beside.address("fra", "admin");
    let mut rng = StdRng::seed_from_u64(2);
    let mut noise = vec![0; 4096];
    rng.fill(&mut noise[..]);
    let long_header = format!("GET /v1/mesh HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let tls_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    for request in [&noise[..], &tls_hello, long_header.as_bytes(), b"\r\n\r\nGET", b"GET /v1/mesh HTTP/9.9\r\n\r\n"] {
        let answer = answer_to(address, request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
    let unknown = http::get(address, "/v1/nothing").await.expect("the endpoint listens");
    assert_eq!(unknown.0, 404, "{}", unknown.1);
    // Requests that never end do not keep others waiting.
    let mut begun = Vec::new();
    for _ in 0..HALF_OPEN {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /v1/mesh HTTP/1.1\r\nHost: ").await.unwrap();
        begun.push(stream);
    }
    http::get_json(address, "/v1/mesh").await;
    beside.assert_undisturbed().await;
}

/// Sends a request and nothing more, and returns the answer.
async fn answer_to(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // An endpoint that has seen enough closes before it has read all.
    let _closed = stream.write_all(request).await;
    let _closed = stream.shutdown().await;
    let mut answer = Vec::new();
    let _reset = within_patience("the endpoint's answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A client of ours that begins a handshake, and hears nothing.
struct Beginning {
    socket: UdpSocket,
    dialing: JoinHandle<()>,
}

impl Beginning {
    async fn new(beside: &Beside, alpn: &[u8]) -> Self {
        let roots = tls::load_roots(&beside.mesh.dir.path().join("client-ca.pem")).unwrap();
        let own = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dialer = Dialer::open(own, tls::sdk_client(roots, alpn, None).unwrap()).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let dialing = tokio::spawn(async move {
            let dialed = dialer.dial(address, "127.0.0.1", Duration::from_secs(60)).await;
            assert!(dialed.is_err(), "nobody answers");
        });
        Self { socket, dialing }
    }

    /// The next datagram that it sends. The first two are its hello; it repeats them while it hears nothing.
    async fn next(&self) -> Vec<u8> {
        let mut datagram = [0; 2048];
        let bytes = within_patience("a first packet", self.socket.recv(&mut datagram)).await.unwrap();
        datagram[..bytes].to_vec()
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        self.dialing.abort();
    }
}

/// Hands on what the client says until the node answers, and goes away without a word.
async fn answered(beginning: Beginning, node: SocketAddr) {
    let socket = connected(node).await;
    let mut answer = [0; 2048];
    loop {
        tokio::select! {
            biased;
            bytes = socket.recv(&mut answer) => {
                assert!(bytes.unwrap() > 0, "an empty answer");
                return;
            }
            datagram = beginning.next() => {
                socket.send(&datagram).await.unwrap();
            }
        }
    }
}

async fn connected(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

/// Strangers at a time that begin and do not go on.
const HALF_OPEN: usize = 30;
