//! Whether the UDP ports of nodes answer from here: a real handshake on each, and how large a packet gets through.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farwire_node::Config;
use farwire_node::config::HostPort;
use farwire_transport::endpoint::PEER_PORT_ALPN;
use farwire_transport::tls::{self, KeyFiles, ReloadingKey};
use farwire_transport::{
    CertificateFault, Closed, Connection, DialError, Dialer, MeshFile, PeerPort, PeerRole, Socket,
};
use farwire_wire::ErrorCode;
use farwire_wire::client::CLIENT_ALPN;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::finding::Finding;

/// A client port: whose, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) node: String,
    pub(super) address: String,
}

/// Knocks on client ports, all at once. With `vouches` the authority in `ca` is that of clients, and must have issued the certificates;
/// else any answer is one. Cancel safe.
pub(super) async fn client_ports(targets: &[Target], ca: &Path, vouches: bool) -> Vec<Finding> {
    join_all(targets.iter().map(|target| client_port(target, ca, vouches))).await
}

async fn client_port(target: &Target, ca: &Path, vouches: bool) -> Finding {
    let Target { node, address } = target;
    let began = Instant::now();
    match knock(address, ca).await {
        Ok(connection) => {
            let round_trip = began.elapsed();
            let mtu = mtu(&connection).await;
            connection.close(ErrorCode::Closed, "only asking");
            answered(target, round_trip, mtu)
        }
        Err(Fault::Dial(DialError::Closed(Closed::Certificate(CertificateFault::Authority)))) if !vouches => {
            Finding::ok("client ports", format!("{node} answers at {address}"))
        }
        Err(fault) => Finding::fail("client ports", format!("{node} at {address}: {fault}"), fault.remedy("client")),
    }
}

fn answered(Target { node, address }: &Target, round_trip: Duration, mtu: u16) -> Finding {
    let text = format!("{node} answers at {address} in {} ms, packets of {mtu} bytes", round_trip.as_millis());
    if mtu > MTU_LEAST {
        return Finding::ok("client ports", text);
    }
    let remedy =
        "larger ones are lost on the way, which costs throughput: see the MTU of tunnels, and let ICMP through";
    Finding::warn("client ports", text, remedy)
}

async fn knock(address: &str, ca: &Path) -> Result<Connection, Fault> {
    let (to, host) = resolve(address).await?;
    let failed = |err: &dyn std::fmt::Display| Fault::Here(err.to_string());
    let roots = tls::load_roots(ca).map_err(|err| failed(&err))?;
    let tls = tls::sdk_client(roots, CLIENT_ALPN, None).map_err(|err| failed(&err))?;
    let dialer = Dialer::open(socket(to)?, tls).map_err(|err| failed(&err))?;
    dialer.dial(to, &host, WITHIN).await.map_err(Fault::Dial)
}

/// How large packets get through: QUIC finds out within a few round trips.
async fn mtu(connection: &Connection) -> u16 {
    let until = Instant::now() + MTU_WITHIN;
    loop {
        let mtu = connection.path_stats().mtu;
        if mtu > MTU_GOOD || Instant::now() > until {
            return mtu;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Dials the seeds of a node's config with its certificate, as the node does, all at once. Cancel safe.
pub(super) async fn peer_ports(config: &Config) -> Vec<Finding> {
    join_all(config.peer.seeds.iter().map(|seed| peer_port(config, seed))).await
}

async fn peer_port(config: &Config, seed: &HostPort) -> Finding {
    let began = Instant::now();
    match dial_seed(config, seed).await {
        Ok(node) if node == config.name.as_str() => Finding::ok("peer ports", format!("{seed} is this node itself")),
        Ok(node) => {
            Finding::ok("peer ports", format!("{node} answers at {seed} in {} ms", began.elapsed().as_millis()))
        }
        Err(fault) => Finding::fail("peer ports", format!("{seed}: {fault}"), fault.remedy("peer")),
    }
}

/// The name of the node that answers.
async fn dial_seed(config: &Config, seed: &HostPort) -> Result<String, Fault> {
    let failed = |err: &dyn std::fmt::Display| Fault::Here(err.to_string());
    let (to, _) = resolve(seed.as_str()).await?;
    let mesh = MeshFile::load(&config.mesh).map_err(|err| failed(&err))?;
    let roots = Arc::new(tls::load_roots(&config.tls.peer_ca).map_err(|err| failed(&err))?);
    let files = KeyFiles { certificate: config.tls.peer_cert.clone(), key: config.tls.peer_key.clone() };
    let key = Arc::new(ReloadingKey::load(files, Some(roots.clone()), None).map_err(|err| failed(&err))?);
    let server = tls::peer_server(key.clone(), roots.clone(), PEER_PORT_ALPN, None).map_err(|err| failed(&err))?;
    let dialing = |alpn: &[u8]| tls::peer_client(key.clone(), roots.clone(), alpn, None);
    let port = PeerPort::open(socket(to)?, mesh.name, server, dialing).map_err(|err| failed(&err))?;
    let peer = port.dial(to, PeerRole::Control, WITHIN).await.map_err(Fault::Dial)?;
    peer.connection.close(ErrorCode::Closed, "only asking");
    Ok(peer.node.to_string())
}

/// Why a port was not reached.
#[derive(Debug)]
enum Fault {
    Name(std::io::Error),
    Dial(DialError),
    /// Something of this machine.
    Here(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(err) => write!(f, "the name is not known: {err}"),
            Self::Dial(err) => err.fmt(f),
            Self::Here(fault) => write!(f, "cannot be tried from here: {fault}"),
        }
    }
}

impl Fault {
    fn remedy(&self, port: &str) -> String {
        match self {
            Self::Name(_) => "correct the name, or see DNS".to_owned(),
            Self::Dial(DialError::TimedOut(_) | DialError::Closed(Closed::TimedOut)) => {
                format!(
                    "see that the node runs and that UDP of its {port} port is let through: `ss -ulpn; nft list ruleset` there"
                )
            }
            Self::Dial(_) => {
                "see that both are of one mesh, with certificates in date: `farwire node check` on that host".to_owned()
            }
            Self::Here(_) => "mend that first".to_owned(),
        }
    }
}

/// An address to dial and the host that its certificate must name.
async fn resolve(address: &str) -> Result<(SocketAddr, String), Fault> {
    let unknown = |text: &str| Fault::Name(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
    let parsed = HostPort::parse(address).map_err(|err| unknown(&err.to_string()))?;
    let to = tokio::net::lookup_host(parsed.as_str()).await.map_err(Fault::Name)?.next();
    Ok((to.ok_or_else(|| unknown("it has no address"))?, parsed.host().to_owned()))
}

fn socket(to: SocketAddr) -> Result<Socket, Fault> {
    let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Socket::bind(SocketAddr::new(any, 0)).map_err(|err| Fault::Here(err.to_string()))
}

const WITHIN: Duration = Duration::from_secs(4);
/// What QUIC begins with, and what passes everywhere.
const MTU_LEAST: u16 = 1_200;
/// What passes a network of 1,500 bytes with a tunnel in it.
const MTU_GOOD: u16 = 1_380;
const MTU_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn small_packets_only_are_worth_a_look() {
        let target = Target { node: "fra-1".into(), address: "h:1".into() };
        let level = |mtu| answered(&target, Duration::from_millis(3), mtu).level;
        assert_eq!([1_200, 1_201, 1_452].map(level), [Level::Warn, Level::Ok, Level::Ok]);
    }

    #[tokio::test]
    async fn what_is_no_address_is_told_before_anything_is_sent() {
        for bad in ["host", "host:0", "[::1]"] {
            assert!(matches!(resolve(bad).await, Err(Fault::Name(_))), "{bad}");
        }
        let (to, host) = resolve("[::1]:7400").await.expect("an address");
        assert_eq!((to.to_string().as_str(), host.as_str()), ("[::1]:7400", "::1"));
    }
}
