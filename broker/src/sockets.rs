//! What the broker asks of the kernel for its sockets.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use pyralog_coordinator::config::NetworkSettings;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

/// Kafka's default for both buffers.
const DEFAULT_BYTES: usize = 102_400;
/// What it grows to for a connection that moves much. 1 MiB answers on loopback: 4.9 GB/s with the default, 5.4 with 256 KiB, 6.0 with this
/// and more. 64 KiB produce requests: 1.94, 1.94 and 2.02 GB/s.
const LARGE_BYTES: usize = 512 << 10;

/// Sizes of the kernel's buffers of a connection. As they are configured; but the default, which is right for small requests and small answers,
/// makes a connection with large ones wait again and again for the peer, and grows when it has shown that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// `socket.send.buffer.bytes`; `None` is the system's.
    send: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` is the system's.
    receive: Option<usize>,
}

impl SocketBuffers {
    /// What the settings say; -1 is the system's.
    pub fn of(network: &NetworkSettings) -> Self {
        let bytes = |configured: i32| usize::try_from(configured).ok();
        Self { send: bytes(network.send_buffer_bytes), receive: bytes(network.receive_buffer_bytes) }
    }

    /// For a new connection.
    pub fn set(self, stream: &TcpStream) -> io::Result<()> {
        if let Some(bytes) = self.send {
            sockopt::set_socket_send_buffer_size(stream, bytes)?;
        }
        if let Some(bytes) = self.receive {
            sockopt::set_socket_recv_buffer_size(stream, bytes)?;
        }
        Ok(())
    }

    /// For a connection that sends large requests.
    pub fn expect_large_requests(self, stream: &TcpStream) {
        if self.receive == Some(DEFAULT_BYTES) {
            told(sockopt::set_socket_recv_buffer_size(stream, LARGE_BYTES));
        }
    }

    /// For a connection that gets large answers.
    pub fn expect_large_answers(self, stream: &TcpStream) {
        if self.send == Some(DEFAULT_BYTES) {
            told(sockopt::set_socket_send_buffer_size(stream, LARGE_BYTES));
        }
    }
}

/// A connection works with the buffer that it has.
fn told(result: rustix::io::Result<()>) {
    if let Err(error) = result {
        debug!(%error, "the buffer of a connection could not be made larger");
    }
}

/// An address to listen on. As in Kafka's `listeners`, no host means all interfaces.
pub fn with_host(address: &str) -> Cow<'_, str> {
    if address.starts_with(':') { format!("0.0.0.0{address}").into() } else { address.into() }
}

/// On loopback no link can be congested. Where the system's own choice is BBR, what is sent would be paced by timers: a fifth of the
/// processor time of large fetches, for nothing. It has to be said of the listener, before there are connections: one that
/// began with BBR goes on being paced. Every Linux has Reno; nothing rests on it.
pub fn spare_congestion_control(listener: &TcpListener, address: SocketAddr) {
    if address.ip().to_canonical().is_loopback()
        && let Err(error) = sockopt::set_tcp_congestion(listener, "reno")
    {
        debug!(%error, "the system's congestion control stays, on loopback as well");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What connections inherit from a listener.
    async fn congestion_control_of(address: &str) -> String {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let bound = listener.local_addr().expect("an address");
        spare_congestion_control(&listener, bound);
        sockopt::tcp_congestion(&listener).expect("a name")
    }

    #[tokio::test]
    async fn on_loopback_nothing_is_paced_and_elsewhere_the_system_decides() {
        let system = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            sockopt::tcp_congestion(&listener).expect("a name")
        };
        assert_eq!(congestion_control_of("127.0.0.1:0").await, "reno");
        assert_eq!(congestion_control_of("0.0.0.0:0").await, system);
    }

    /// Sizes of the send and the receive buffer after large requests and answers. Linux doubles what it is asked for, and caps it
    /// at what the system allows.
    async fn sizes_after_large_ones(send: i32, receive: i32) -> (usize, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        let (stream, _) = listener.accept().await.expect("a connection");
        let bytes = |configured: i32| usize::try_from(configured).ok();
        let buffers = SocketBuffers { send: bytes(send), receive: bytes(receive) };
        buffers.set(&stream).expect("sizes are taken");
        buffers.expect_large_requests(&stream);
        buffers.expect_large_answers(&stream);
        drop(client);
        let sent = sockopt::socket_send_buffer_size(&stream).expect("a size");
        (sent, sockopt::socket_recv_buffer_size(&stream).expect("a size"))
    }

    #[tokio::test]
    async fn only_the_default_grows_with_what_a_connection_moves() {
        let (send, receive) = sizes_after_large_ones(102_400, 102_400).await;
        assert!(send > 2 * DEFAULT_BYTES && receive > 2 * DEFAULT_BYTES, "{send} {receive}");
        assert_eq!(sizes_after_large_ones(65_536, 32_768).await, (2 * 65_536, 2 * 32_768));
        let (send, receive) = sizes_after_large_ones(-1, -1).await;
        assert!(send != 2 * LARGE_BYTES && receive != 2 * LARGE_BYTES, "the system's own: {send} {receive}");
    }
}
