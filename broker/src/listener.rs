//! Accepts connections, within limits. Out of descriptors it pauses instead of spinning (OP-12).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pyralog_coordinator::config::NetworkSettings;
use pyralog_node::{ConnId, Connection};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use crate::lanes::Lanes;
use crate::session::Session;
use crate::shell::Shell;

/// Pause after accepting failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Open connections by address.
#[derive(Debug, Default)]
struct Census {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Takes its connection out of the census when dropped.
struct Counted {
    census: Arc<Mutex<Census>>,
    address: IpAddr,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut census = self.census.lock();
        census.total -= 1;
        if let Some(count) = census.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                census.by_address.remove(&self.address);
            }
        }
    }
}

fn admit(census: &Arc<Mutex<Census>>, address: IpAddr, shell: &Shell) -> Option<Counted> {
    let limits = shell.node.limits();
    let mut counts = census.lock();
    let from_there = counts.by_address.get(&address).copied().unwrap_or(0);
    if counts.total >= limits.connections || from_there >= limits.connections_per_address {
        return None;
    }
    counts.total += 1;
    counts.by_address.insert(address, from_there + 1);
    Some(Counted { census: Arc::clone(census), address })
}

/// Sizes of the kernel's buffers of a connection. A send buffer that fits into the processor's cache makes large fetches
/// nearly twice as fast as one that the system lets grow to megabytes, at a third of the processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// `socket.send.buffer.bytes`; `None` is the system's.
    pub send: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` is the system's.
    pub receive: Option<usize>,
}

impl SocketBuffers {
    /// What the settings say; -1 is the system's.
    pub fn of(network: &NetworkSettings) -> Self {
        let bytes = |configured: i32| usize::try_from(configured).ok();
        Self { send: bytes(network.send_buffer_bytes), receive: bytes(network.receive_buffer_bytes) }
    }

    fn set(self, stream: &TcpStream) -> std::io::Result<()> {
        if let Some(bytes) = self.send {
            rustix::net::sockopt::set_socket_send_buffer_size(stream, bytes)?;
        }
        if let Some(bytes) = self.receive {
            rustix::net::sockopt::set_socket_recv_buffer_size(stream, bytes)?;
        }
        Ok(())
    }
}

/// On loopback no link can be congested. Where the system's own choice is BBR, what is sent would be paced by timers: a fifth of the
/// processor time of large fetches, for nothing. It has to be said of the listener, before there are connections: one that
/// began with BBR goes on being paced. Every Linux has Reno; nothing rests on it.
pub fn spare_congestion_control(listener: &TcpListener, address: SocketAddr) {
    if address.ip().to_canonical().is_loopback()
        && let Err(error) = rustix::net::sockopt::set_tcp_congestion(listener, "reno")
    {
        debug!(%error, "the system's congestion control stays, on loopback as well");
    }
}

/// Accepts until the task is aborted.
pub async fn accept(shell: Arc<Shell>, buffers: SocketBuffers, listener: TcpListener) {
    let census = Arc::new(Mutex::new(Census::default()));
    let numbers = AtomicU64::new(1);
    let lanes = Arc::new(Lanes::default());
    let mut refused_in_a_row = 0_u32;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection; pausing (raise the limit of open files, ulimit -n)");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(counted) = admit(&census, peer.ip(), &shell) else {
            shell.metrics.connections_refused.add(1);
            refused_in_a_row += 1;
            if refused_in_a_row.is_power_of_two() {
                warn!(%peer, "connection refused: max.connections or max.connections.per.ip is reached");
            }
            continue;
        };
        refused_in_a_row = 0;
        let id = ConnId(numbers.fetch_add(1, Ordering::Relaxed));
        if let Err(error) = serve((&shell, &lanes), buffers, stream, id, counted) {
            debug!(%peer, %error, "a connection failed before its first request");
        }
    }
}

fn serve(
    (shell, lanes): (&Arc<Shell>, &Arc<Lanes>),
    buffers: SocketBuffers,
    stream: TcpStream,
    id: ConnId,
    counted: Counted,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    buffers.set(&stream)?;
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    let local = stream.local_addr()?;
    let reached = (local.ip().to_canonical().to_string(), local.port());
    let conn = Connection::new(id, counted.address.to_canonical(), reached, shell.node.limits().in_flight);
    shell.metrics.connections.add(1);
    let session = Session::new(Arc::clone(shell), stream, conn);
    tokio::spawn(run(session, Arc::clone(lanes), counted));
    Ok(())
}

/// Serves a connection, here and then in a lane if it is one for that.
async fn run(session: Session, lanes: Arc<Lanes>, counted: Counted) {
    let Some(mut session) = session.run().await else { return };
    let Some(lane) = lanes.next() else {
        session.run().await;
        return;
    };
    lane.spawn(async move {
        match session.settle_here() {
            Ok(()) => drop(session.run().await),
            Err(error) => warn!(%error, "a connection could not go on, and is closed"),
        }
        drop(counted);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What connections inherit from a listener.
    async fn congestion_control_of(address: &str) -> String {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let bound = listener.local_addr().expect("an address");
        spare_congestion_control(&listener, bound);
        rustix::net::sockopt::tcp_congestion(&listener).expect("a name")
    }

    #[tokio::test]
    async fn on_loopback_nothing_is_paced_and_elsewhere_the_system_decides() {
        let system = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            rustix::net::sockopt::tcp_congestion(&listener).expect("a name")
        };
        assert_eq!(congestion_control_of("127.0.0.1:0").await, "reno");
        assert_eq!(congestion_control_of("0.0.0.0:0").await, system);
    }
}
