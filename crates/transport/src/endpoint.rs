//! QUIC endpoints: the client port, the peer port and the SDK's dialer. They take an abstract socket and runtime, so
//! that a simulation runs the same code over a network of its own.
//!
//! The role is in the type: a [`PeerConnection`] exists only for a certificate of the peer authority that names a node
//! of this mesh, and nothing parses a frame before that.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use farwire_wire::client::CLIENT_ALPN;
use farwire_wire::peer::{CONTROL_ALPN, PEER_ALPN};
use farwire_wire::{ErrorCode, MeshName, NodeName};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn_proto::HashedConnectionIdGenerator;
use rustls_pki_types::CertificateDer;

use crate::connection::{Closed, Connection};
use crate::settings;
use crate::tls::{self, PEER_SERVER_NAME};

/// Handshakes that the client port keeps waiting before it drops new ones.
const CLIENT_INCOMING_MAX: usize = 1_024;
/// The same of the peer port: every peer dials two connections.
const PEER_INCOMING_MAX: usize = 512;
/// Socket buffers: room for a burst to a thousand subscribers.
pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// A handshake that takes longer has failed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where packets come from and go to.
#[derive(Debug, Clone)]
pub struct Socket {
    /// The socket, real or simulated.
    pub socket: Arc<dyn quinn::AsyncUdpSocket>,
    /// What runs timers and tasks.
    pub runtime: Arc<dyn quinn::Runtime>,
    /// Fixes QUIC's own randomness, for runs that must repeat.
    pub rng_seed: Option<[u8; 32]>,
    /// The same in every run of a node and known to it alone, see [`tls::reset_secret`]: a node that has restarted can
    /// then tell the other sides at once that their connections are gone, which they would otherwise notice only after
    /// the idle timeout.
    pub reset_secret: Option<[u8; 32]>,
}

impl Socket {
    /// Binds a UDP socket on the tokio runtime that calls this.
    ///
    /// # Errors
    /// The address is in use or not of this machine.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let runtime: Arc<dyn quinn::Runtime> = Arc::new(quinn::TokioRuntime);
        let socket = runtime.wrap_udp_socket(udp(address)?)?;
        Ok(Self { socket, runtime, rng_seed: None, reset_secret: None })
    }

    fn endpoint(self, server: Option<quinn::ServerConfig>) -> io::Result<quinn::Endpoint> {
        let mut config = quinn::EndpointConfig::default();
        config.rng_seed(self.rng_seed);
        if let Some(secret) = self.reset_secret {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            // Resets are sent for connection ids of earlier runs: those ids must be known again.
            let signed = hmac::sign(&key, b"connection ids");
            let id_key = signed.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            config.reset_key(Arc::new(key));
            config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
        }
        quinn::Endpoint::new_with_abstract_socket(config, server, self.socket, self.runtime)
    }
}

/// A UDP socket with large buffers; one for both families where the address is of IPv6.
fn udp(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        // Whatever the system's default.
        socket.set_only_v6(false)?;
    }
    // The kernel clamps what it does not grant; small buffers only cost throughput.
    let _clamped = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _clamped = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Why an endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The socket refused.
    #[error("the UDP socket cannot be used: {0}")]
    Io(#[from] io::Error),
    /// The TLS settings have no cipher that QUIC needs.
    #[error("the TLS settings cannot be used for QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The TLS settings cannot be made.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No dial was possible to the address.
    #[error("cannot dial: {0}")]
    Connect(#[from] quinn::ConnectError),
    /// The other side did not answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The handshake failed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The other side's certificate is not that of a node of this mesh.
    #[error(transparent)]
    Identity(#[from] tls::PeerIdentityError),
}

/// What a client connection speaks.
#[derive(Debug)]
pub enum Arrival {
    /// `farwire/1`.
    Native(Connection),
}

/// The port for clients.
#[derive(Debug)]
pub struct ClientPort(quinn::Endpoint);

impl ClientPort {
    /// Opens the port. `tls` comes from [`tls::client_port_server`].
    ///
    /// # Errors
    /// The socket or the TLS settings cannot be used.
    pub fn open(socket: Socket, tls: rustls::ServerConfig) -> Result<Self, EndpointError> {
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        config.transport_config(settings::client_port()).migration(true);
        settings::bound_incoming(&mut config, CLIENT_INCOMING_MAX);
        Ok(Self(socket.endpoint(Some(config))?))
    }

    /// The address that the port is bound to.
    ///
    /// # Errors
    /// The socket does not know.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next client that knocks; `None` once the port is closed. Cancel safe.
    pub async fn accept(&self) -> Option<Knock> {
        self.0.accept().await.map(Knock)
    }

    /// Closes the port and every connection on it.
    pub fn close(&self, code: ErrorCode, reason: &str) {
        self.0.close(code.number().into(), reason.as_bytes());
    }

    /// Waits until every connection has ended. Cancel safe.
    pub async fn wait_idle(&self) {
        self.0.wait_idle().await;
    }
}

/// A connection attempt, before any work was spent on it.
#[derive(Debug)]
pub struct Knock(quinn::Incoming);

impl Knock {
    /// Where it comes from; unproven until `is_address_proven`.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Whether the sender has shown that it receives at its address.
    #[must_use]
    pub fn is_address_proven(&self) -> bool {
        self.0.remote_address_validated()
    }

    /// Asks the sender to prove its address first. Costs this side nothing.
    pub fn ask_for_proof(self) {
        let _no_retry_left = self.0.retry();
    }

    /// Refuses the connection.
    pub fn refuse(self) {
        self.0.refuse();
    }

    /// Drops the attempt without an answer.
    pub fn ignore(self) {
        self.0.ignore();
    }

    /// Completes the handshake of a client and says what it speaks. Not cancel safe: a dropped handshake is refused.
    ///
    /// # Errors
    /// The handshake failed or took longer than 5 s.
    pub async fn into_client(self) -> Result<Arrival, DialError> {
        let connection = self.handshake().await?;
        // TLS lets no other protocol through; `h3` joins here.
        Ok(Arrival::Native(Connection::new(connection)))
    }

    /// Completes the handshake of a peer and checks whose certificate it is. Not cancel safe: a dropped handshake is
    /// refused.
    ///
    /// # Errors
    /// The handshake failed, took longer than 5 s, or the certificate is not that of a node of `mesh`.
    pub async fn into_peer(self, mesh: &MeshName) -> Result<PeerConnection, DialError> {
        PeerConnection::verify(self.handshake().await?, mesh)
    }

    async fn handshake(self) -> Result<quinn::Connection, DialError> {
        let connecting = self.0.accept().map_err(Closed::from)?;
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await;
        Ok(handshake.map_err(|_| DialError::TimedOut(HANDSHAKE_TIMEOUT))?.map_err(Closed::from)?)
    }
}

/// Which of the two protocols between nodes a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRole {
    /// `farwire-peer/1`: a link.
    Link,
    /// `farwire-ctl/1`: membership.
    Control,
}

/// A connection to a node of this mesh, proven by its certificate.
#[derive(Debug, Clone)]
pub struct PeerConnection {
    /// The connection.
    pub connection: Connection,
    /// The node that the certificate names.
    pub node: NodeName,
    /// What it speaks.
    pub role: PeerRole,
}

impl PeerConnection {
    fn verify(connection: quinn::Connection, mesh: &MeshName) -> Result<Self, DialError> {
        let chain = connection.peer_identity().and_then(|id| id.downcast::<Vec<CertificateDer<'static>>>().ok());
        let alpn = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        match tls::peer_node_name(&chain.unwrap_or_default(), mesh) {
            Ok(node) => {
                let control = alpn.and_then(|data| data.protocol).as_deref() == Some(CONTROL_ALPN);
                let role = if control { PeerRole::Control } else { PeerRole::Link };
                Ok(Self { connection: Connection::new(connection), node, role })
            }
            Err(error) => {
                connection.close(ErrorCode::PeerRole.number().into(), b"not a node of this mesh");
                Err(error.into())
            }
        }
    }
}

/// The port for nodes: it accepts and dials from one socket, so that peers see the advertised address.
#[derive(Debug)]
pub struct PeerPort {
    endpoint: quinn::Endpoint,
    mesh: MeshName,
    dialing: ArcSwap<Dialing>,
}

/// How the peer port dials.
#[derive(Debug)]
struct Dialing {
    link: quinn::ClientConfig,
    control: quinn::ClientConfig,
}

impl PeerPort {
    /// Opens the port. `server` comes from [`tls::peer_server`]; `client` makes the dialing side of one ALPN, from
    /// [`tls::peer_client`].
    ///
    /// # Errors
    /// The socket or the TLS settings cannot be used.
    pub fn open(
        socket: Socket,
        mesh: MeshName,
        server: rustls::ServerConfig,
        client: impl Fn(&[u8]) -> Result<rustls::ClientConfig, tls::TlsError>,
    ) -> Result<Self, EndpointError> {
        let (accepting, dialing) = (accepting_peers(server)?, ArcSwap::from_pointee(Dialing::new(client)?));
        Ok(Self { endpoint: socket.endpoint(Some(accepting))?, mesh, dialing })
    }

    /// Replaces what [`open`](Self::open) was given, for the connections that come from now on.
    ///
    /// # Errors
    /// The TLS settings cannot be used; the old ones stay.
    pub fn set_tls(
        &self,
        server: rustls::ServerConfig,
        client: impl Fn(&[u8]) -> Result<rustls::ClientConfig, tls::TlsError>,
    ) -> Result<(), EndpointError> {
        let (accepting, dialing) = (accepting_peers(server)?, Dialing::new(client)?);
        self.endpoint.set_server_config(Some(accepting));
        self.dialing.store(Arc::new(dialing));
        Ok(())
    }

    /// The address that the port is bound to.
    ///
    /// # Errors
    /// The socket does not know.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The next node that knocks; `None` once the port is closed. Cancel safe.
    pub async fn accept(&self) -> Option<Knock> {
        self.endpoint.accept().await.map(Knock)
    }

    /// Dials a node. Waits at most `timeout`: QUIC itself gives up only after its idle timeout. Cancel safe.
    ///
    /// # Errors
    /// Nobody answered, or it was not a node of this mesh.
    pub async fn dial(&self, to: SocketAddr, role: PeerRole, timeout: Duration) -> Result<PeerConnection, DialError> {
        let config = match role {
            PeerRole::Link => self.dialing.load().link.clone(),
            PeerRole::Control => self.dialing.load().control.clone(),
        };
        let connecting = self.endpoint.connect_with(config, to, PEER_SERVER_NAME)?;
        let connection = tokio::time::timeout(timeout, connecting).await.map_err(|_| DialError::TimedOut(timeout))?;
        PeerConnection::verify(connection.map_err(Closed::from)?, &self.mesh)
    }

    /// Closes the port and every connection on it.
    pub fn close(&self, code: ErrorCode, reason: &str) {
        self.endpoint.close(code.number().into(), reason.as_bytes());
    }

    /// Waits until every connection has ended. Cancel safe.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

impl Dialing {
    fn new(client: impl Fn(&[u8]) -> Result<rustls::ClientConfig, tls::TlsError>) -> Result<Self, EndpointError> {
        let dialing = |alpn: &[u8]| -> Result<quinn::ClientConfig, EndpointError> {
            let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client(alpn)?)?));
            config.transport_config(settings::peer_port());
            Ok(config)
        };
        Ok(Self { link: dialing(PEER_ALPN)?, control: dialing(CONTROL_ALPN)? })
    }
}

fn accepting_peers(tls: rustls::ServerConfig) -> Result<quinn::ServerConfig, EndpointError> {
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(settings::peer_port()).migration(false);
    settings::bound_incoming(&mut config, PEER_INCOMING_MAX);
    Ok(config)
}

/// The SDK's end: dials nodes, takes no connections.
#[derive(Debug, Clone)]
pub struct Dialer {
    endpoint: quinn::Endpoint,
    config: quinn::ClientConfig,
}

impl Dialer {
    /// Opens the dialer. `tls` comes from [`tls::sdk_client`].
    ///
    /// # Errors
    /// The socket or the TLS settings cannot be used.
    pub fn open(socket: Socket, tls: rustls::ClientConfig) -> Result<Self, EndpointError> {
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(settings::sdk());
        Ok(Self { endpoint: socket.endpoint(None)?, config })
    }

    /// Dials `to`, whose certificate must name `host`. Waits at most `timeout`. Cancel safe.
    ///
    /// # Errors
    /// Nobody answered, or the certificate is not the host's.
    pub async fn dial(&self, to: SocketAddr, host: &str, timeout: Duration) -> Result<Connection, DialError> {
        let connecting = self.endpoint.connect_with(self.config.clone(), to, host)?;
        let connection = tokio::time::timeout(timeout, connecting).await.map_err(|_| DialError::TimedOut(timeout))?;
        Ok(Connection::new(connection.map_err(Closed::from)?))
    }

    /// Moves to a new UDP socket on a free port; connections live on (QUIC migration).
    ///
    /// # Errors
    /// There is no socket to be had, and the old one stays in use.
    pub fn rebind(&self) -> io::Result<()> {
        let any: IpAddr = match self.endpoint.local_addr()? {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.endpoint.rebind(udp((any, 0).into())?)
    }

    /// Closes every connection and waits until the other sides know, at most for the idle timeout. Cancel safe.
    pub async fn close(&self) {
        self.endpoint.close(ErrorCode::Closed.number().into(), b"");
        self.endpoint.wait_idle().await;
    }
}

/// The protocols of the client port, in the order of preference.
pub const CLIENT_PORT_ALPN: &[&[u8]] = &[CLIENT_ALPN];
/// The protocols of the peer port.
pub const PEER_PORT_ALPN: &[&[u8]] = &[PEER_ALPN, CONTROL_ALPN];
