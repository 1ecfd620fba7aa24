//! How a request over HTTP waits: under a number of its own among the connections, so that partitions and the control loop
//! reach it as they reach any. No thread waits with it.
//! Holds: whoever goes away leaves nothing behind, also in the middle of a wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyralog_node::ConnId;
use pyralog_node::partition::Partition;
use tokio::time::{Instant, timeout_at};

use crate::disk::RealDisk;
use crate::mailbox::Mailbox;
use crate::shell::Shell;

/// Connections over the Kafka protocol have smaller numbers.
const FIRST_ID: u64 = 1 << 63;

/// Whether a number is that of a request over HTTP.
pub fn is_http(conn: ConnId) -> bool {
    conn.0 >= FIRST_ID
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something changed.
    Changed,
    /// Its time is over.
    Late,
    /// The server stops.
    Stopping,
}

/// One request that waits.
pub struct Waiter {
    shell: Arc<Shell>,
    id: ConnId,
    mailbox: Arc<Mailbox>,
    watched: Vec<Arc<Partition<RealDisk>>>,
}

/// A number for one request.
pub fn next_id() -> ConnId {
    static NEXT: AtomicU64 = AtomicU64::new(FIRST_ID);
    ConnId(NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Waiter {
    /// A waiter that nothing wakes yet.
    pub fn new(shell: &Arc<Shell>) -> Self {
        let id = next_id();
        let mailbox = shell.mailboxes.open(id);
        Self { shell: Arc::clone(shell), id, mailbox, watched: Vec::new() }
    }

    /// Is woken once by these partitions' next change. To be called before looking, so that no change is missed.
    pub fn watch(&mut self, partitions: impl Iterator<Item = Arc<Partition<RealDisk>>>) {
        self.unwatch();
        self.watched.extend(partitions);
        self.watched.iter().for_each(|partition| partition.watch(self.id));
    }

    fn unwatch(&mut self) {
        self.watched.drain(..).for_each(|partition| partition.unwatch(self.id));
    }

    /// Waits for a change, or until the deadline.
    pub async fn woken(&self, deadline: Instant) -> Woken {
        loop {
            if timeout_at(deadline, self.mailbox.rung()).await.is_err() {
                return Woken::Late;
            }
            let events = self.mailbox.take();
            if events.stop {
                return Woken::Stopping;
            }
            if events.wake {
                return Woken::Changed;
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.unwatch();
        self.shell.mailboxes.close(self.id);
    }
}
