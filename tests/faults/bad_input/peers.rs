//! Peers that break the protocol after a proper handshake, with a proper certificate: the link ends with the code of what
//! they did, and the mesh goes on without them.

use std::time::Duration;

use bytes::Bytes;
use farwire_node::OfflineMembership;
use farwire_tests::peer::{hello, port};
use farwire_tests::wait::within_patience;
use farwire_transport::{Connection, FrameReader, FrameWriter, MeshFile, PeerPort, PeerRole};
use farwire_wire::limits::PEER_FRAME_BYTES_MAX;
use farwire_wire::peer::{Messages, PeerFrame, PeerHello, Step, StreamKind, swim_envelope};
use farwire_wire::{ErrorCode, MeshId, NodeName, RegionName, ViewDigest};

use crate::beside::Beside;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_what_it_should_be_gets_no_link() {
    let beside = Beside::start().await;
    let peer = Peer::new(&beside);
    let proper = peer.hello();
    let other = NodeName::parse("iad-1").unwrap();
    for (words, code) in [
        (noise(), ErrorCode::Malformed),
        (too_long(), ErrorCode::FrameTooLarge),
        (PeerFrame::Leaving.encode(), ErrorCode::ProtocolState),
        (PeerFrame::Hello(PeerHello { versions: 99..=99, ..proper.clone() }).encode(), ErrorCode::UnsupportedVersion),
        (PeerFrame::Hello(PeerHello { mesh: MeshId(1), ..proper.clone() }).encode(), ErrorCode::MeshMismatch),
        (PeerFrame::Hello(PeerHello { node: other, ..proper }).encode(), ErrorCode::PeerIdentity),
    ] {
        let (connection, mut control, _answers) = peer.dial().await;
        control.write_raw(words).await.unwrap();
        assert_ended(&connection, code).await;
    }
    beside.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_garbage_loses_its_link_and_nobody_else_loses_anything() {
    let beside = Beside::start().await;
    let peer = Peer::new(&beside);
    for (words, code) in [
        (noise(), ErrorCode::Malformed),
        (too_long(), ErrorCode::FrameTooLarge),
        (PeerFrame::Hello(peer.hello()).encode(), ErrorCode::ProtocolState),
    ] {
        let (connection, mut control, _answers) = peer.link().await;
        control.write_raw(words).await.unwrap();
        assert_ended(&connection, code).await;
    }
    for header in [Bytes::new(), StreamKind::Messages.encode(), StreamKind::Presence.encode()] {
        for (words, code) in [(noise(), ErrorCode::Malformed), (too_long(), ErrorCode::FrameTooLarge)] {
            let (connection, _control, _answers) = peer.link().await;
            let mut stream = connection.open_uni().await.unwrap();
            stream.write_raw(header.clone()).await.unwrap();
            stream.write_raw(words).await.unwrap();
            assert_ended(&connection, code).await;
        }
    }
    let (connection, _control, _answers) = peer.link().await;
    assert!(connection.send_datagram(Bytes::from_static(b"\xff\xff\xff\xff")));
    assert_ended(&connection, ErrorCode::Malformed).await;
    beside.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_within_sound_frames_is_dropped_and_the_link_goes_on() {
    let beside = Beside::start().await;
    let peer = Peer::new(&beside);
    let (connection, _control, _answers) = peer.link().await;
    let mut messages = connection.open_uni().await.unwrap();
    messages.write(StreamKind::Messages.encode()).await.unwrap();
    for step in [Step::ToOwner, Step::ToRegion, Step::ToNode] {
        let entries = vec![Bytes::from_static(b"\xff\xff\xff"), Bytes::new()];
        messages
            .write(Messages { step, view: ViewDigest(1), hops: 0, relay_to: None, entries }.encode())
            .await
            .unwrap();
    }
    for words in [noise(), too_long()] {
        let (mut question, mut answers) = connection.open_bi(PEER_FRAME_BYTES_MAX).await.unwrap();
        question.write_raw(words).await.unwrap();
        question.finish();
        let answer = within_patience("the end of a question that is none", answers.next_frame()).await;
        assert!(!matches!(answer, Ok(Some(_))), "{answer:?}");
    }
    assert!(connection.close_reason().is_none(), "{:?}", connection.close_reason());
    beside.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn membership_takes_no_garbage_and_no_word_for_another_node() {
    let beside = Beside::start().await;
    let peer = Peer::new(&beside);
    let dialed = peer.port.dial(peer.node, PeerRole::Control, PATIENCE).await.unwrap();
    let mut other = OfflineMembership::new(peer.mesh.id, "iad-1".parse().unwrap(), "iad".parse().unwrap());
    assert!(other.announce("fra-1".parse().unwrap()));
    let (_, forged) = other.sent().remove(0);
    let envelopes =
        [Bytes::from_static(b"\x01"), swim_envelope(MeshId(1), b"x"), swim_envelope(peer.mesh.id, b"\xff\xff"), forged];
    for envelope in envelopes {
        let mut stream = dialed.connection.open_uni().await.unwrap();
        stream.write_raw(envelope).await.unwrap();
        within_patience("the node has read it", stream.finish_and_wait()).await;
    }
    assert!(dialed.connection.close_reason().is_none(), "{:?}", dialed.connection.close_reason());
    beside.assert_undisturbed().await;
}

/// A peer that has a certificate of the mesh and no part in it.
struct Peer {
    mesh: MeshFile,
    name: NodeName,
    port: PeerPort,
    /// Where fra-1 takes peers.
    node: std::net::SocketAddr,
}

impl Peer {
    fn new(beside: &Beside) -> Self {
        let dir = beside.mesh.dir.path();
        let mesh = MeshFile::load(&dir.join("mesh.toml")).unwrap();
        let name = NodeName::parse("stranger").unwrap();
        let port = port(dir, &mesh, &name);
        Self { mesh, name, port, node: beside.address("fra", "peer") }
    }

    fn hello(&self) -> PeerHello {
        hello(&self.mesh, self.name.clone(), RegionName::parse("fra").unwrap())
    }

    async fn dial(&self) -> (Connection, FrameWriter, FrameReader) {
        let dialed = self.port.dial(self.node, PeerRole::Link, PATIENCE).await.unwrap();
        let (control, answers) = dialed.connection.open_bi(PEER_FRAME_BYTES_MAX).await.unwrap();
        (dialed.connection, control, answers)
    }

    /// A link that stands: both sides have said hello.
    async fn link(&self) -> (Connection, FrameWriter, FrameReader) {
        let (connection, mut control, mut answers) = self.dial().await;
        control.write(PeerFrame::Hello(self.hello()).encode()).await.unwrap();
        // What follows the node's hello shows that it has taken this side's.
        for _ in 0..2 {
            let frame = within_patience("the node's side of the link", answers.next_frame()).await.unwrap();
            PeerFrame::decode(frame.expect("the node ended the link")).unwrap();
        }
        (connection, control, answers)
    }
}

async fn assert_ended(connection: &Connection, code: ErrorCode) {
    let closed = within_patience("the end of the link", connection.closed()).await;
    assert_eq!(closed.code(), Some(code), "{closed}");
}

/// A frame that is none.
fn noise() -> Bytes {
    Bytes::from_static(b"\x04\xff\xff\xff\xff")
}

/// The beginning of a frame far above any limit.
fn too_long() -> Bytes {
    Bytes::from_static(b"\xff\xff\xff\x7f")
}

const PATIENCE: Duration = Duration::from_secs(60);
