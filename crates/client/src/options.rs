//! How to connect: where to, whom to trust, which token to show, and what to prefer. Checked by `Client::connect`.

use std::fmt;
use std::path::{Path, PathBuf};

use farwire_transport::endpoint::{Dialer, Socket};
use farwire_transport::tls::{self, TlsClock};
use farwire_wire::client::{AckLevel, CLIENT_ALPN};
use farwire_wire::limits::PUBLISHES_IN_FLIGHT_MAX;
use farwire_wire::{ClientId, NodeName, PublisherId, RegionName};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::context::Context;
use crate::entry_points::{EntryPoint, Wish};
use crate::error::OptionsError;

/// How to connect.
///
/// ```no_run
/// use farwire_client::{Client, ConnectOptions, RegionName};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let options = ConnectOptions::new(["fra-1.example.net:7400", "iad-1.example.net:7400"])
///     .ca_file("client-ca.pem")
///     .token_file("token")
///     .region(RegionName::parse("fra")?);
/// let client = Client::connect(options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ConnectOptions {
    pub(crate) entry_points: Vec<EntryPoint>,
    pub(crate) wish: Wish,
    pub(crate) agent: String,
    pub(crate) publisher: Option<PublisherId>,
    pub(crate) ack_level: Option<AckLevel>,
    pub(crate) in_flight_max: u32,
    pub(crate) token: Option<Token>,
    pub(crate) client_id: Option<ClientId>,
    ca: Option<Authority>,
    socket: Option<Socket>,
    clock: TlsClock,
    seed: Option<u64>,
}

impl ConnectOptions {
    /// Options for the nodes at `entry_points`, each `"host:port"` or an [`EntryPoint`]. One is enough: the others of
    /// the mesh are told on arrival.
    pub fn new<E: Into<EntryPoint>>(entry_points: impl IntoIterator<Item = E>) -> Self {
        Self {
            entry_points: entry_points.into_iter().map(Into::into).collect(),
            wish: Wish::default(),
            agent: concat!("farwire-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            publisher: None,
            ack_level: None,
            in_flight_max: 256,
            token: None,
            client_id: None,
            ca: None,
            socket: None,
            clock: None,
            seed: None,
        }
    }

    /// Options from a context file, such as the `mesh.json` that `farwire up` writes. Blocking file access.
    ///
    /// # Errors
    /// The file cannot be read or is not a context.
    pub fn from_context(path: impl AsRef<Path>) -> Result<Self, OptionsError> {
        Ok(Self::from(&Context::load(path)?))
    }

    /// Trusts the authorities in this PEM file: the mesh's `client-ca.pem`.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(Authority::File(path.into()));
        self
    }

    /// Trusts the authorities in this PEM text.
    pub fn ca_pem(mut self, pem: impl Into<String>) -> Self {
        self.ca = Some(Authority::Pem(pem.into()));
        self
    }

    /// Shows this token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token::Text(token.into()));
        self
    }

    /// Shows the token in this file. It is read again at each reconnect, so a newer token may be put there at any time.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Some(Token::File(path.into()));
        self
    }

    /// Insists on being this client: a node refuses a token of another. Default: whoever the token says.
    pub fn client_id(mut self, id: ClientId) -> Self {
        self.client_id = Some(id);
        self
    }

    /// Prefers the nodes of this region. Default: the nearest node that answers, the first listed on a tie.
    pub fn region(mut self, region: RegionName) -> Self {
        self.wish.region = Some(region);
        self
    }

    /// Prefers this node, and after it the others of its region.
    pub fn node(mut self, node: NodeName) -> Self {
        self.wish.node = Some(node);
        self
    }

    /// Name and version of the application, for people who look at the node. At most 64 bytes are kept.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    /// Numbers messages as this publisher: the k-th message of a channel has number k, so that publishing the same
    /// again in the same order is a retry. Default: a random one.
    ///
    /// A client remembers the numbers of 65,536 channels. With the next channel it goes on under another id, which follows
    /// from this one, and numbers every channel from 1 anew; the same messages in the same order are still a retry.
    pub fn publisher(mut self, publisher: PublisherId) -> Self {
        self.publisher = Some(publisher);
        self
    }

    /// Asks for this ack level with every publish. Default: the namespace's usual one.
    pub fn ack_level(mut self, level: AckLevel) -> Self {
        self.ack_level = Some(level);
        self
    }

    /// Most publishes under way without an ack, 1 to 4096 and at most what the node allows. Default: 256.
    pub fn in_flight_max(mut self, publishes: u32) -> Self {
        self.in_flight_max = publishes.clamp(1, PUBLISHES_IN_FLIGHT_MAX);
        self
    }

    /// Uses this socket, which may be a simulated one. Default: a UDP socket on a free port.
    pub fn socket(mut self, socket: Socket) -> Self {
        self.socket = Some(socket);
        self
    }

    /// Checks certificates by this clock. Default: the system's.
    pub fn certificate_clock(mut self, clock: TlsClock) -> Self {
        self.clock = clock;
        self
    }

    /// Draws ids and pauses from this seed, for runs that must repeat. Default: from the operating system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    pub(crate) fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed.unwrap_or_else(|| rand::rng().random()))
    }

    /// Reads the authority and opens the socket. Blocking file access, of a few kilobytes.
    pub(crate) fn dialer(&self) -> Result<Dialer, OptionsError> {
        if self.entry_points.is_empty() {
            return Err(OptionsError::NoEntryPoints);
        }
        let roots = match &self.ca {
            None => return Err(OptionsError::NoAuthority),
            Some(Authority::File(path)) => tls::load_roots(path)?,
            Some(Authority::Pem(pem)) => tls::parse_roots(pem.as_bytes(), Path::new("(the given text)"))?,
        };
        let tls = tls::sdk_client(roots, CLIENT_ALPN, self.clock.clone())?;
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => any_socket().map_err(|error| OptionsError::Socket(error.into()))?,
        };
        Ok(Dialer::open(socket, tls)?)
    }
}

/// A socket for both families; for IPv4 alone where the machine has no IPv6.
fn any_socket() -> std::io::Result<Socket> {
    Socket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0).into())
        .or_else(|_| Socket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0).into()))
}

impl From<&Context> for ConnectOptions {
    fn from(context: &Context) -> Self {
        Self::new(context.entry_points()).ca_file(&context.ca).token_file(&context.token)
    }
}

impl fmt::Debug for ConnectOptions {
    /// Without the token: options end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("entry_points", &self.entry_points)
            .field("wish", &self.wish)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Authority {
    File(PathBuf),
    Pem(String),
}

#[derive(Clone)]
pub(crate) enum Token {
    Text(String),
    File(PathBuf),
}

impl Token {
    /// The token. Blocking file access, of at most a few kilobytes.
    pub(crate) fn read(&self) -> Result<String, OptionsError> {
        match self {
            Self::Text(token) => Ok(token.clone()),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(token) => Ok(token.trim().to_owned()),
                Err(source) => Err(OptionsError::TokenRead { path: path.clone(), source }),
            },
        }
    }
}
