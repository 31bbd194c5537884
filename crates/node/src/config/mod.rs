//! The node's config: read once at start, checked, never changed afterwards. A value of [`Config`] obeys every
//! rule that can be judged without looking at other files; [`Config::check_files`] opens those.
//!
//! Layers, each over the one before: the defaults, the file, the environment (`FARWIRE_CLIENT_BIND` is
//! `client.bind`), `--set key=value`. Namespaces come from the file only. All faults of all layers are reported
//! at once. One table, in `schema`, names every setting with its default and its parser; `deploy/config/node.toml`
//! explains them and is held equal to the table by a test.
//!
//! Called by the binary's `node` and `node check`; read by the whole node.

mod address;
mod checks;
mod draft;
mod faults;
mod files;
mod layers;
mod namespace;
mod parse;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use farwire_transport::TlsClock;
use farwire_wire::names::{NodeName, RegionName};

pub use address::{HostPort, HostPortError};
pub use faults::{Fault, Faults, Place};
pub(crate) use files::Opened;
pub use namespace::{Namespace, Namespaces, Order};

/// Everything that a node is told. Made by [`Config::load`] or [`Config::parse`] only.
#[derive(Debug, Clone)]
pub struct Config {
    /// The mesh file.
    pub mesh: PathBuf,
    /// The node's own name.
    pub name: NodeName,
    /// The region that the node stands in.
    pub region: RegionName,
    /// What the node keeps lies under it.
    pub data_dir: PathBuf,
    /// Share of the ring relative to the other nodes of the region, 1 to 16.
    pub weight: u16,
    /// The port for clients.
    pub client: ClientListen,
    /// The port for other nodes.
    pub peer: PeerListen,
    /// The port for people and monitoring.
    pub admin: AdminListen,
    /// Certificates and keys.
    pub tls: TlsPaths,
    /// Whose tokens are believed.
    pub auth: Auth,
    /// How the log is stored.
    pub log: LogSettings,
    /// Bounds of what others can make the node do.
    pub limits: Limits,
    /// When members leave the ring.
    pub membership: Membership,
    /// Settings of channels by prefix.
    pub namespaces: Namespaces,
    /// Where each setting was written, for faults that come up later.
    places: BTreeMap<&'static str, Place>,
}

/// The port for clients (UDP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientListen {
    /// Where the socket listens.
    pub bind: SocketAddr,
    /// What clients dial. `None`: the address that the socket got, and then `bind` is not a wildcard.
    pub advertise: Option<HostPort>,
}

/// The port for other nodes (UDP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerListen {
    /// Where the socket listens.
    pub bind: SocketAddr,
    /// What other nodes dial. `None`: the address that the socket got, and then `bind` is not a wildcard.
    pub advertise: Option<SocketAddr>,
    /// Nodes to ask for the others. Empty: the node waits to be found.
    pub seeds: Vec<HostPort>,
}

/// The port for people and monitoring (TCP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminListen {
    /// Where the socket listens: always a loopback address.
    pub bind: SocketAddr,
}

/// Certificates and private keys in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPaths {
    /// Shown to clients.
    pub client_cert: PathBuf,
    /// The key of `client_cert`.
    pub client_key: PathBuf,
    /// Shown to other nodes.
    pub peer_cert: PathBuf,
    /// The key of `peer_cert`.
    pub peer_key: PathBuf,
    /// The authority that other nodes' certificates must come from.
    pub peer_ca: PathBuf,
}

/// Whose tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Files with the public keys of those who sign tokens; at least one.
    pub issuers: Vec<PathBuf>,
}

/// How the log is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Whether a write counts only once the disk has it.
    pub sync: bool,
    /// Memory for blocks read from disk.
    pub cache_bytes: u64,
}

/// Bounds of what others can make the node do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of the whole node.
    pub sessions_max: usize,
    /// Sessions from one IPv4 address or one IPv6 /56.
    pub sessions_per_address_max: usize,
    /// Handshakes that the client port begins in a second; as many at once after a rest.
    pub handshakes_per_second_max: u32,
    /// The same of one IPv4 /24 or one IPv6 /56; two and a half times as many at once after a rest.
    pub handshakes_per_second_per_network_max: u32,
    /// Subscribes that one session may ask for in a second; `subscriptions_per_session_max` at once after a rest.
    pub subscribes_per_second_per_session_max: u32,
    /// Subscriptions of one session.
    pub subscriptions_per_session_max: usize,
    /// Enters and states that one session may send in a second; `presence_channels_per_session_max` at once after a rest.
    pub presence_updates_per_second_per_session_max: u32,
    /// Channels that one session may be present on at a time.
    pub presence_channels_per_session_max: usize,
    /// From the handshake to a complete hello with its token.
    pub hello_timeout: Duration,
    /// From the moment when the rest of a frame is waited for until all of it is there.
    pub frame_timeout: Duration,
    /// Largest payload, at most what the protocol carries.
    pub payload_bytes_max: usize,
    /// QUIC's window for all streams of an authenticated session, each way.
    pub session_window_bytes: u32,
    /// Recent entries in memory, per shard.
    pub tail_bytes_max: usize,
    /// What waits to be sent to one peer.
    pub link_queue_bytes_max: usize,
}

/// When members leave the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// A member that is down this long loses its share of the ring.
    pub ring_leave_after: Duration,
}

impl ClientListen {
    /// The host that clients are told to dial, and the setting that says so.
    fn handed_out(&self) -> (String, &'static str) {
        match &self.advertise {
            Some(address) => (address.host().to_owned(), "client.advertise"),
            None => (self.bind.ip().to_string(), "client.bind"),
        }
    }
}

impl Config {
    /// Reads and checks the file at `path` under what `environment` and `sets` say over it. `environment` looks a
    /// variable up by its name: pass `|name| std::env::var(name).ok()`. `sets` are the pairs of `--set key=value`.
    ///
    /// # Errors
    /// Every fault of the file, the environment and the pairs.
    pub fn load(
        path: &Path,
        environment: impl Fn(&str) -> Option<String>,
        sets: &[(String, String)],
    ) -> Result<Self, Faults> {
        let text = layers::read(path)?;
        Self::parse(&text, path, environment, sets)
    }

    /// Like [`Config::load`], of a text that stands for the file at `path`: faults name it, and relative paths
    /// start from its directory.
    ///
    /// # Errors
    /// Every fault of the text, the environment and the pairs.
    pub fn parse(
        text: &str,
        path: &Path,
        environment: impl Fn(&str) -> Option<String>,
        sets: &[(String, String)],
    ) -> Result<Self, Faults> {
        layers::config(text, path, environment, sets)
    }

    /// Opens all files that the config names, as a node does at its start, and throws away what is in them. Reads the
    /// disk, so not for a task that others wait for.
    ///
    /// # Errors
    /// Everything that would keep the node from starting: a file that is missing or of another node or mesh, a key that
    /// is not its certificate's, dates, a region that the mesh file has otherwise, an address that the certificate does
    /// not cover, a data directory that cannot be written to.
    pub fn check_files(&self) -> Result<(), Faults> {
        self.open_files(&None).map(drop)
    }

    /// What the files say; dates are judged by `clock`.
    pub(crate) fn open_files(&self, clock: &TlsClock) -> Result<Opened, Faults> {
        files::open(self, clock)
    }

    /// What the table is applied to. Never seen outside: each of these values is overwritten by a default of the
    /// table or by the config, else there is a fault and no config.
    fn blank() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            mesh: PathBuf::new(),
            name: NodeName::parse("unset").expect("a sound name"),
            region: RegionName::parse("unset").expect("a sound name"),
            data_dir: PathBuf::new(),
            weight: 0,
            client: ClientListen { bind: nowhere, advertise: None },
            peer: PeerListen { bind: nowhere, advertise: None, seeds: Vec::new() },
            admin: AdminListen { bind: nowhere },
            tls: TlsPaths {
                client_cert: PathBuf::new(),
                client_key: PathBuf::new(),
                peer_cert: PathBuf::new(),
                peer_key: PathBuf::new(),
                peer_ca: PathBuf::new(),
            },
            auth: Auth { issuers: Vec::new() },
            log: LogSettings { sync: false, cache_bytes: 0 },
            limits: Limits {
                sessions_max: 0,
                sessions_per_address_max: 0,
                handshakes_per_second_max: 0,
                handshakes_per_second_per_network_max: 0,
                subscribes_per_second_per_session_max: 0,
                subscriptions_per_session_max: 0,
                presence_updates_per_second_per_session_max: 0,
                presence_channels_per_session_max: 0,
                hello_timeout: Duration::ZERO,
                frame_timeout: Duration::ZERO,
                payload_bytes_max: 0,
                session_window_bytes: 0,
                tail_bytes_max: 0,
                link_queue_bytes_max: 0,
            },
            membership: Membership { ring_leave_after: Duration::ZERO },
            namespaces: Namespaces::new([]),
            places: BTreeMap::new(),
        }
    }
}
