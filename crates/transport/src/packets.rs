//! Real QUIC over a network of the caller's making: how a simulation runs whole nodes without a socket. Knows how quinn
//! wants its sockets, so that nobody else has to.
//!
//! Invariant: a [`PacketSocket`] has no errors. A network that fails loses packets; quinn would take an error for the end
//! of the endpoint.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::endpoint::Socket;

/// A socket of a simulated network.
pub trait PacketSocket: fmt::Debug + Send + Sync + 'static {
    /// Sends a packet. Never waits: what the network cannot take is lost.
    fn send(&self, to: SocketAddr, packet: &[u8]);

    /// The next packet and its sender; wakes the last caller when there is one.
    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<(SocketAddr, Bytes)>;

    /// The address that others reach the socket at.
    fn local_address(&self) -> SocketAddr;
}

impl Socket {
    /// A socket over a simulated network. Timers and tasks run on the tokio runtime that uses it, whose clock may be
    /// paused; `rng_seed` fixes QUIC's own choices.
    #[must_use]
    pub fn over(packets: Arc<dyn PacketSocket>, rng_seed: [u8; 32]) -> Self {
        Self {
            socket: Arc::new(Adapter(packets)),
            runtime: Arc::new(quinn::TokioRuntime),
            rng_seed: Some(rng_seed),
            reset_secret: None,
        }
    }
}

#[derive(Debug)]
struct Adapter(Arc<dyn PacketSocket>);

impl AsyncUdpSocket for Adapter {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.send(transmit.destination, transmit.contents);
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut received = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Poll::Ready((from, packet)) = self.0.poll_receive(context) else { break };
            let length = packet.len().min(buffer.len());
            buffer[..length].copy_from_slice(&packet[..length]);
            *meta = RecvMeta::default();
            meta.addr = from;
            meta.len = length;
            // Zero, the default, would have quinn split nothing for ever.
            meta.stride = length;
            meta.dst_ip = Some(self.0.local_address().ip());
            received += 1;
        }
        if received == 0 { Poll::Pending } else { Poll::Ready(Ok(received)) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_address())
    }

    fn may_fragment(&self) -> bool {
        // Else QUIC does not look for the path's largest packet.
        false
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
