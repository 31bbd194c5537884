//! A socket of the switch and the inbox behind it. A socket whose host was unplugged, or whose address another one has
//! taken, is mute and deaf.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use farwire_transport::packets::PacketSocket;

use super::Net;

/// Packets that wait for their reader, as a kernel's buffer would hold. Policy: shed the newest.
const INBOX_MAX: usize = 4_096;

/// Where packets for an address arrive.
#[derive(Debug)]
pub(super) struct Port {
    /// Tells the socket that has the address from those that had it.
    pub(super) number: u64,
    inbox: VecDeque<(SocketAddr, Bytes)>,
    waker: Option<Waker>,
}

impl Port {
    pub(super) fn new(number: u64) -> Self {
        Self { number, inbox: VecDeque::new(), waker: None }
    }

    pub(super) fn take(&mut self, from: SocketAddr, packet: Bytes) -> Option<Waker> {
        if self.inbox.len() < INBOX_MAX {
            self.inbox.push_back((from, packet));
        }
        self.waker.take()
    }
}

/// A socket of a [`Net`].
#[derive(Debug)]
pub struct SimSocket {
    pub(super) net: Arc<Net>,
    address: SocketAddr,
    number: u64,
}

impl SimSocket {
    pub(super) fn new(net: Arc<Net>, address: SocketAddr, number: u64) -> Self {
        Self { net, address, number }
    }
}

impl PacketSocket for SimSocket {
    fn send(&self, to: SocketAddr, packet: &[u8]) {
        self.net.send(self.number, self.address, to, packet);
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<(SocketAddr, Bytes)> {
        let mut state = self.net.lock();
        let Some(port) = state.ports.get_mut(&self.address).filter(|port| port.number == self.number) else {
            return Poll::Pending;
        };
        match port.inbox.pop_front() {
            Some(received) => Poll::Ready(received),
            None => {
                port.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn local_address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut state = self.net.lock();
        if state.ports.get(&self.address).is_some_and(|port| port.number == self.number) {
            state.ports.remove(&self.address);
        }
    }
}
