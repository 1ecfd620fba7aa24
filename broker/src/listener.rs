//! Accepts connections, within limits. Out of descriptors it pauses instead of spinning (OP-12).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pyralog_coordinator::config::settings::NetworkSettings;
use pyralog_node::{ConnId, Connection, Limits};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use crate::lanes::NetworkThreads;
use crate::session::Session;
use crate::shell::Shell;
use crate::sockets::SocketBuffers;
use crate::traffic::Threads;

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

/// Most connections now, in all and from one address: what is configured, which may change at any time, within what the node can
/// have. Those that are there stay. One is always possible: a limit of 0 could never be undone.
fn most(network: &NetworkSettings, limits: &Limits) -> (usize, usize) {
    let unless_open = |configured: i32, ours: usize| match configured {
        // Kafka's default is no limit.
        i32::MAX => ours,
        configured => usize::try_from(configured).map_or(1, |most| most.max(1)),
    };
    let all = unless_open(network.connections_max, limits.connections).min(limits.sockets);
    (all, unless_open(network.connections_per_ip_max, limits.connections_per_address))
}

fn admit(census: &Arc<Mutex<Census>>, address: IpAddr, shell: &Shell) -> Option<Counted> {
    let (all, per_address) = most(&shell.node.topology().image.broker().network, shell.node.limits());
    let mut counts = census.lock();
    let from_there = counts.by_address.get(&address).copied().unwrap_or(0);
    if counts.total >= all || from_there >= per_address {
        return None;
    }
    counts.total += 1;
    counts.by_address.insert(address, from_there + 1);
    Some(Counted { census: Arc::clone(census), address })
}

/// Accepts until the task is aborted.
pub async fn accept(shell: Arc<Shell>, buffers: SocketBuffers, listener: TcpListener) {
    let census = Arc::new(Mutex::new(Census::default()));
    let numbers = AtomicU64::new(1);
    let network = Arc::new(NetworkThreads::new());
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
        if let Err(error) = serve((&shell, &network), buffers, stream, id, counted) {
            debug!(%peer, %error, "a connection failed before its first request");
        }
    }
}

fn serve(
    (shell, network): (&Arc<Shell>, &Arc<NetworkThreads>),
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
    let session = Session::new(Arc::clone(shell), (stream, buffers), conn);
    go_on(Threads::Shared, session, Arc::clone(network), counted);
    Ok(())
}

/// Serves a connection with these threads, and then with those that it belongs to.
fn go_on(threads: Threads, mut session: Session, network: Arc<NetworkThreads>, counted: Counted) {
    let all = Arc::clone(&network);
    all.spawn(threads, async move {
        if threads != session.threads()
            && let Err(error) = session.settle(threads)
        {
            warn!(%error, "a connection could not go on, and is closed");
            return;
        }
        match session.run().await {
            Some((threads, session)) => go_on(threads, session, network, counted),
            None => drop(counted),
        }
    });
}
