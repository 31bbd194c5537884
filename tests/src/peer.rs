//! A peer whose every frame is the test's choice: it has a node's certificate, dials a node, and says a proper hello.
//! It takes no part in membership, so the node has a link to it and no place in its ring for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farwire_transport::certs::{self, IssueRequest};
use farwire_transport::endpoint::PEER_PORT_ALPN;
use farwire_transport::tls::{self, KeyFiles, ReloadingKey};
use farwire_transport::{FrameReader, FrameWriter, MeshFile, PeerConnection, PeerPort, PeerRole, Socket};
use farwire_wire::limits::PEER_FRAME_BYTES_MAX;
use farwire_wire::peer::{Messages, NodeState, PeerFrame, PeerHello, StreamKind};
use farwire_wire::{Life, NodeName, RegionName};

use crate::mesh::TestMesh;
use crate::wait;

/// A link of the test's own to a node.
pub struct RawPeer {
    /// The connection.
    pub connection: PeerConnection,
    control: FrameWriter,
    answers: FrameReader,
    messages: FrameWriter,
    // Owns the socket.
    _port: PeerPort,
}

impl RawPeer {
    /// Links to `node` under the name `name`, which the mesh's file has and no node runs under.
    ///
    /// # Panics
    /// When the node does not take the link.
    pub async fn link(mesh: &TestMesh, name: &str, node: &str) -> Self {
        Self::try_link(mesh, node, &Papers::of(mesh, name)).await.expect("the node takes the link")
    }

    /// Links with these papers; `None` when one of the sides does not trust the other.
    ///
    /// # Panics
    /// When the node answers the hello with anything but its own.
    pub async fn try_link(mesh: &TestMesh, node: &str, papers: &Papers) -> Option<Self> {
        let port = papers.port(mesh.file());
        let region = mesh.file().region_of(&papers.name).expect("the mesh file names the node").clone();
        let address = mesh.node(node).addresses().peer;
        let connection = port.dial(address, PeerRole::Link, Duration::from_secs(5)).await.ok()?;
        let (mut control, mut answers) = connection.connection.open_bi(PEER_FRAME_BYTES_MAX).await.ok()?;
        control.write(PeerFrame::Hello(hello(mesh.file(), papers.name.clone(), region)).encode()).await.ok()?;
        // In TLS 1.3 the dialer is connected before the other side has judged its certificate: only an answer tells.
        let theirs = PeerFrame::decode(answers.next_frame().await.ok()??).unwrap();
        assert!(matches!(&theirs, PeerFrame::Hello(hello) if hello.node.as_str() == node), "{theirs:?}");
        let mut messages = connection.connection.open_uni().await.ok()?;
        messages.write(StreamKind::Messages.encode()).await.ok()?;
        Some(Self { connection, control, answers, messages, _port: port })
    }

    /// Sends a frame on the control stream.
    ///
    /// # Panics
    /// When the link has ended.
    pub async fn say(&mut self, frame: PeerFrame) {
        self.control.write(frame.encode()).await.unwrap();
    }

    /// Sends messages on the stream for them.
    ///
    /// # Panics
    /// When the link has ended.
    pub async fn send(&mut self, messages: &Messages) {
        self.messages.write(messages.encode()).await.unwrap();
    }

    /// The next frame on the control stream that `is` yields something for; others are skipped.
    ///
    /// # Panics
    /// When the link ends, or a minute passes before.
    pub async fn hear<T>(&mut self, what: &str, mut is: impl FnMut(PeerFrame) -> Option<T>) -> T {
        let hearing = async {
            loop {
                let frame = self.answers.next_frame().await.unwrap().expect("the node ended the link");
                if let Some(found) = is(PeerFrame::decode(frame).unwrap()) {
                    return found;
                }
            }
        };
        wait::within_patience(what, hearing).await
    }
}

/// Issues a certificate to `name` in the mesh whose files are in `dir`, and opens a port to dial from with it.
///
/// # Panics
/// When the files are not those of a mesh.
#[must_use]
pub fn port(dir: &Path, mesh: &MeshFile, name: &NodeName) -> PeerPort {
    Papers::issue(dir, name).port(mesh)
}

/// Who a raw peer says it is, and whom it trusts.
pub struct Papers {
    name: NodeName,
    key: Arc<ReloadingKey>,
    roots: Arc<tls::RootCertStore>,
}

impl Papers {
    /// The certificate of node `name`, from the authority that the mesh has now, and trust in that one.
    ///
    /// # Panics
    /// When it cannot be issued.
    #[must_use]
    pub fn of(mesh: &TestMesh, name: &str) -> Self {
        Self::issue(&mesh.path(), &NodeName::parse(name).unwrap())
    }

    fn issue(dir: &Path, name: &NodeName) -> Self {
        let valid_for = Duration::from_secs(3_600);
        let request = IssueRequest { dir: dir.to_owned(), node: name.clone(), addresses: Vec::new(), valid_for };
        certs::issue(&request).unwrap();
        let files = dir.join("nodes").join(name.as_str());
        let roots = Arc::new(tls::load_roots(&dir.join("peer-ca.pem")).unwrap());
        let files = KeyFiles { certificate: files.join("peer.pem"), key: files.join("peer.key") };
        let key = Arc::new(ReloadingKey::load(files, None, None).unwrap());
        Self { name: name.clone(), key, roots }
    }

    /// The same certificate, and trust in whom `other` trusts.
    #[must_use]
    pub fn trusting(&self, other: &Self) -> Self {
        Self { name: self.name.clone(), key: self.key.clone(), roots: other.roots.clone() }
    }

    fn port(&self, mesh: &MeshFile) -> PeerPort {
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let server = tls::peer_server(self.key.clone(), self.roots.clone(), PEER_PORT_ALPN, None).unwrap();
        let dialing = |alpn: &[u8]| tls::peer_client(self.key.clone(), self.roots.clone(), alpn, None);
        PeerPort::open(socket, mesh.name.clone(), server, dialing).unwrap()
    }
}

/// The hello of a node that serves nobody.
#[must_use]
pub fn hello(mesh: &MeshFile, name: NodeName, region: RegionName) -> PeerHello {
    let life = Life(rand::random());
    let state = NodeState {
        node: name.clone(),
        life,
        revision: 1,
        client_address: String::new(),
        weight: 1,
        version: "test".to_owned(),
        sessions: 0,
        links: Vec::new(),
        leaving: false,
        resting: false,
        forgotten: Vec::new(),
    };
    PeerHello { versions: 1..=1, mesh: mesh.id, node: name, region, life, state }
}
