//! The sockets of the WAN: one front per node, and a thread that carries packets between them.
//!
//! A node binds its peer port and advertises its front. A packet that node j sends to the front of i leaves, after the
//! delay, from the front of j towards i: so every node sees the others at the addresses that they advertise, answers
//! come back through here, and no table of connections is needed. Decides nothing: `wan` does.
//! A thread of its own, without an async runtime: nothing that the rest of `up` does can delay a packet, and the system's
//! timer is finer than the runtime's steps of a millisecond. Started by `run`; ends when the [`Relay`] is dropped.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use super::wan::{Direction, Packet, Wan};

/// The running WAN.
pub(super) struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts to carry packets. `fronts[i]` is what node i advertises, `nodes[i]` the address that it binds.
    pub(super) fn start(wan: Arc<Mutex<Wan>>, fronts: Vec<UdpSocket>, nodes: Vec<SocketAddr>) -> io::Result<Self> {
        for front in &fronts {
            front.set_nonblocking(true)?;
            // The system may grant less; a burst then loses packets, which QUIC repeats.
            let _ = sockopt::set_socket_recv_buffer_size(front, SOCKET_BYTES);
            let _ = sockopt::set_socket_send_buffer_size(front, SOCKET_BYTES);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let indexes = nodes.iter().enumerate().map(|(index, address)| (*address, index)).collect();
        let carrier = Carrier { wan, fronts, nodes, indexes, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("wan".into()).spawn(move || carrier.run())?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already, and there is nobody here to tell.
            let _ = thread.join();
        }
    }
}

struct Carrier {
    wan: Arc<Mutex<Wan>>,
    fronts: Vec<UdpSocket>,
    nodes: Vec<SocketAddr>,
    indexes: HashMap<SocketAddr, usize>,
    stop: Arc<AtomicBool>,
}

impl Carrier {
    fn run(self) {
        let mut waiting: Vec<PollFd<'_>> = self.fronts.iter().map(|front| PollFd::new(front, PollFlags::IN)).collect();
        let (mut received, mut due, mut buffer) = (Vec::new(), Vec::new(), vec![0; PACKET_BYTES_MAX]);
        while !self.stop.load(Ordering::Relaxed) {
            if poll(&mut waiting, Some(&self.patience())).is_ok() {
                let ready = waiting.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty());
                ready.for_each(|(to, _)| self.receive(to, &mut buffer, &mut received));
            }
            self.pass(&mut received, &mut due);
            due.drain(..).for_each(|packet| self.deliver(&packet));
        }
    }

    /// How long the thread may sleep unless a packet comes.
    fn patience(&self) -> Timespec {
        let deadline = self.wan.lock().unwrap_or_else(PoisonError::into_inner).next_deadline();
        let wait = deadline.map_or(IDLE, |deadline| deadline.saturating_duration_since(Instant::now()).min(IDLE));
        Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() }
    }

    fn receive(&self, to: usize, buffer: &mut [u8], received: &mut Vec<Packet>) {
        for _ in 0..BATCH {
            // An error is an empty socket, or a node that has just died: both end the batch.
            let Ok((length, sender)) = self.fronts[to].recv_from(buffer) else { return };
            let Some(from) = self.indexes.get(&sender) else { continue };
            received.push(Packet { direction: Direction { from: *from, to }, bytes: buffer[..length].to_vec() });
        }
    }

    fn pass(&self, received: &mut Vec<Packet>, due: &mut Vec<Packet>) {
        let mut wan = self.wan.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        received.drain(..).for_each(|packet| wan.send(now, packet));
        wan.due(now, due);
    }

    /// Errors are losses: a full socket, or a node that is gone.
    fn deliver(&self, packet: &Packet) {
        let Direction { from, to } = packet.direction;
        let _ = self.fronts[from].send_to(&packet.bytes, self.nodes[to]);
    }
}

/// Below a second, because [`Carrier::patience`] says the nanoseconds only.
const IDLE: Duration = Duration::from_millis(100);
/// Packets taken from one front before the others get their turn.
const BATCH: usize = 64;
const PACKET_BYTES_MAX: usize = 65_536;
const SOCKET_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair {
        relay: Relay,
        wan: Arc<Mutex<Wan>>,
        nodes: [UdpSocket; 2],
        fronts: [SocketAddr; 2],
    }

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        socket
    }

    fn pair(delay: Duration) -> Pair {
        let (nodes, fronts) = ([socket(), socket()], [socket(), socket()]);
        let address = |socket: &UdpSocket| socket.local_addr().expect("bound");
        let (node_addresses, front_addresses) = (nodes.each_ref().map(address), fronts.each_ref().map(address));
        let wan = Arc::new(Mutex::new(Wan::new(2, 1, |_| delay)));
        let relay = Relay::start(Arc::clone(&wan), fronts.into(), node_addresses.into()).expect("threads");
        Pair { relay, wan, nodes, fronts: front_addresses }
    }

    #[test]
    fn a_packet_arrives_late_and_from_the_senders_front() {
        let pair = pair(Duration::from_millis(30));
        let sent = Instant::now();
        pair.nodes[0].send_to(b"ping", pair.fronts[1]).expect("sent");
        let mut buffer = [0; 16];
        let (length, from) = pair.nodes[1].recv_from(&mut buffer).expect("arrived");
        assert_eq!((&buffer[..length], from), (&b"ping"[..], pair.fronts[0]));
        assert!(sent.elapsed() >= Duration::from_millis(30), "{:?}", sent.elapsed());
        pair.nodes[1].send_to(b"pong", from).expect("sent");
        assert_eq!(pair.nodes[0].recv_from(&mut buffer).expect("arrived").1, pair.fronts[1]);
    }

    #[test]
    fn strangers_are_not_relayed() {
        let pair = pair(Duration::ZERO);
        socket().send_to(b"stranger", pair.fronts[1]).expect("sent");
        pair.nodes[0].send_to(b"node", pair.fronts[1]).expect("sent");
        let mut buffer = [0; 16];
        let (length, _) = pair.nodes[1].recv_from(&mut buffer).expect("arrived");
        assert_eq!(&buffer[..length], b"node");
    }

    #[test]
    fn a_cut_direction_carries_nothing() {
        let pair = pair(Duration::ZERO);
        let there = Direction { from: 0, to: 1 };
        let send = |text: &[u8]| pair.nodes[0].send_to(text, pair.fronts[1]).expect("sent");
        pair.wan.lock().expect("sound").change(there, |rule| rule.cut = true);
        send(b"lost");
        // A packet the other way, sent later and through the same thread, shows that the first one was looked at.
        pair.nodes[1].send_to(b"back", pair.fronts[0]).expect("sent");
        let mut buffer = [0; 16];
        pair.nodes[0].recv_from(&mut buffer).expect("arrived");
        pair.wan.lock().expect("sound").heal();
        send(b"through");
        let (length, _) = pair.nodes[1].recv_from(&mut buffer).expect("arrived");
        assert_eq!(&buffer[..length], b"through");
        drop(pair.relay);
    }
}
