//! The ports of a mesh on one machine: a block of them, in which each kind of port has its stretch.
//!
//! Invariant: two runs of `up` never share a block, for free blocks start at multiples of their size and each run holds its
//! control port and fronts from the first moment to its end. The nodes' own ports are found free, then let go for the nodes
//! to bind; blocks lie below the range from which systems pick ports for sockets that do not care, so that nothing
//! takes a killed node's port before it is started again. Called by `run`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::exit::Failure;

/// Ports that nobody else has.
#[derive(Debug)]
pub(super) struct Ports {
    /// One for each node.
    pub(super) nodes: Vec<NodePorts>,
    /// What the nodes advertise to each other, bound, in the order of the nodes.
    pub(super) fronts: Vec<UdpSocket>,
    /// For `farwire up ctl`, bound.
    pub(super) control: TcpListener,
}

/// The ports of one node, all on the loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodePorts {
    /// For clients (UDP).
    pub(super) client: SocketAddr,
    /// Where the node listens for others (UDP); only the WAN sends to it.
    pub(super) peer_bind: SocketAddr,
    /// What the node advertises to others (UDP): its front.
    pub(super) peer: SocketAddr,
    /// The admin endpoint (TCP).
    pub(super) admin: SocketAddr,
}

impl Ports {
    /// Takes a block for `nodes` nodes, at `base` or wherever one is free.
    ///
    /// # Errors
    /// Wrong use when `base` leaves no room for the block, failed when a port is taken.
    pub(super) fn reserve(nodes: u16, base: Option<u16>) -> Result<Self, Failure> {
        let block = Block::of(nodes);
        match base {
            Some(base) if base < LOWEST || base > u16::MAX - block.size => Err(Failure::usage(format!(
                "--port-base {base}: this mesh needs the {} ports after it; give a number from {LOWEST} to {}",
                block.size,
                u16::MAX - block.size
            ))),
            Some(base) => block.take(base).map_err(|taken| Failure::failed(taken.to_string())),
            None => block.take_any(),
        }
    }
}

/// Blocks of `size` ports: twenty of a kind, or more when there are more nodes.
struct Block {
    nodes: u16,
    stretch: u16,
    size: u16,
}

/// A port of a block is taken.
#[derive(Debug)]
struct Taken {
    port: u16,
    err: io::Error,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on port {}: {}; choose another --port-base, or leave it out", self.port, self.err)
    }
}

impl Block {
    fn of(nodes: u16) -> Self {
        let stretch = (nodes + 2).max(20);
        Self { nodes, stretch, size: 5 * stretch }
    }

    fn take_any(&self) -> Result<Ports, Failure> {
        let blocks = (FREE_FROM.div_ceil(self.size)..FREE_TO / self.size).map(|index| index * self.size);
        let first = rand::random_range(0..blocks.len());
        let mut in_turn = blocks.clone().cycle().skip(first).take(blocks.len());
        in_turn.find_map(|base| self.take(base).ok()).ok_or_else(|| {
            Failure::failed(format!(
                "no {} free ports in a row between {FREE_FROM} and {FREE_TO}; give --port-base",
                self.size
            ))
        })
    }

    fn take(&self, base: u16) -> Result<Ports, Taken> {
        // What is held on to comes first: it tells another `up` at once that the block is in use.
        let control = listen(base + self.size - 1)?;
        let nodes: Vec<_> = (1..=self.nodes).map(|number| self.node(base + number)).collect();
        let fronts = nodes.iter().map(|node| bind(node.peer.port())).collect::<Result<_, _>>()?;
        for node in &nodes {
            bind(node.client.port())?;
            bind(node.peer_bind.port())?;
            listen(node.admin.port())?;
        }
        Ok(Ports { nodes, fronts, control })
    }

    fn node(&self, first: u16) -> NodePorts {
        let address = |stretches: u16| loopback(first + stretches * self.stretch);
        NodePorts { client: address(0), peer_bind: address(1), peer: address(2), admin: address(4) }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn bind(port: u16) -> Result<UdpSocket, Taken> {
    UdpSocket::bind(loopback(port)).map_err(|err| Taken { port, err })
}

fn listen(port: u16) -> Result<TcpListener, Taken> {
    TcpListener::bind(loopback(port)).map_err(|err| Taken { port, err })
}

/// Below it, systems ask for privileges.
const LOWEST: u16 = 1024;
const FREE_FROM: u16 = 20_000;
/// Linux picks from 32,768 upwards, others from 49,152.
const FREE_TO: u16 = 32_700;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_each_kind_of_port_in_its_stretch() {
        let node = Block::of(3).node(7401);
        let ports = [node.client, node.peer_bind, node.peer, node.admin].map(|address| address.port());
        assert_eq!(ports, [7401, 7421, 7441, 7481]);
        let block = Block::of(64);
        let last = block.node(64);
        assert!(last.client.port() < block.stretch && last.admin.port() < block.size - 1);
    }

    #[test]
    fn two_meshes_have_different_ports() {
        let (a, b) = (Ports::reserve(3, None).expect("free ports"), Ports::reserve(3, None).expect("free ports"));
        assert!(a.nodes.iter().all(|node| !b.nodes.contains(node)));
        assert_eq!(a.fronts[2].local_addr().ok(), Some(a.nodes[2].peer));
    }

    #[test]
    fn a_taken_port_is_named() {
        let mine = Ports::reserve(1, None).expect("free ports");
        let base = mine.nodes[0].client.port() - 1;
        let err = Ports::reserve(1, Some(base)).expect_err("taken");
        assert!(err.message.contains(&format!("port {}", base + 99)), "{}", err.message);
        assert_eq!(Ports::reserve(1, Some(65_500)).expect_err("no room").exit, crate::exit::Exit::Usage);
    }
}
