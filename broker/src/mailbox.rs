//! What other threads have to say to a connection's task: answers that became ready, and wake-ups.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pyralog_node::{Answer, ConnId, Ticket};
use tokio::sync::Notify;

/// Events for one connection.
#[derive(Debug, Default)]
pub struct Mailbox {
    events: Mutex<Events>,
    bell: Notify,
}

/// What has come in since the last look.
#[derive(Debug, Default)]
pub struct Events {
    /// Answers, by slot.
    pub answers: Vec<(u64, Answer)>,
    /// A waiting fetch should look again.
    pub wake: bool,
    /// So many bytes that the connection wanted to send are in memory now.
    pub warmed: Option<usize>,
    /// The server stops: finish what was asked and close.
    pub stop: bool,
}

impl Mailbox {
    fn put(&self, write: impl FnOnce(&mut Events)) {
        write(&mut self.events.lock());
        self.bell.notify_one();
    }

    /// Waits until there is something to [take](Self::take).
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Everything that came in.
    pub fn take(&self) -> Events {
        std::mem::take(&mut *self.events.lock())
    }
}

/// Number of locks that the connections are spread over.
const SHARDS: usize = 32;

/// The mailboxes of all open connections.
#[derive(Debug, Default)]
pub struct Mailboxes {
    shards: [Mutex<HashMap<ConnId, Arc<Mailbox>>>; SHARDS],
}

impl Mailboxes {
    fn shard(&self, conn: ConnId) -> &Mutex<HashMap<ConnId, Arc<Mailbox>>> {
        let index = usize::try_from(conn.0 % SHARDS as u64).unwrap_or(0);
        &self.shards[index]
    }

    /// Opens the mailbox of a connection.
    pub fn open(&self, conn: ConnId) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::default());
        self.shard(conn).lock().insert(conn, Arc::clone(&mailbox));
        mailbox
    }

    /// Closes it; what comes later for this connection is dropped.
    pub fn close(&self, conn: ConnId) {
        self.shard(conn).lock().remove(&conn);
    }

    fn put(&self, conn: ConnId, write: impl FnOnce(&mut Events)) {
        let mailbox = self.shard(conn).lock().get(&conn).cloned();
        if let Some(mailbox) = mailbox {
            mailbox.put(write);
        }
    }

    /// Hands answers to their connections, each of which is woken once for all that come in a row: woken for each, it would serve
    /// one at a time, and take the processor from who hands them out.
    pub fn answer_all(&self, answers: Vec<(Ticket, Answer)>) {
        let mut answers = answers.into_iter().peekable();
        while let Some((Ticket { conn, slot }, answer)) = answers.next() {
            let mut row = vec![(slot, answer)];
            while let Some((ticket, answer)) = answers.next_if(|(ticket, _)| ticket.conn == conn) {
                row.push((ticket.slot, answer));
            }
            self.put(conn, |events| events.answers.extend(row));
        }
    }

    /// Makes a waiting fetch look again.
    pub fn wake(&self, conn: ConnId) {
        self.put(conn, |events| events.wake = true);
    }

    /// Tells a connection that the records it wants to send are in memory.
    pub fn warmed(&self, conn: ConnId, bytes: usize) {
        self.put(conn, |events| events.warmed = Some(bytes));
    }

    /// Tells every connection that the server stops.
    pub fn stop_all(&self) {
        for shard in &self.shards {
            for mailbox in shard.lock().values() {
                mailbox.put(|events| events.stop = true);
            }
        }
    }

    /// Number of open mailboxes.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Number of those whose connection is `wanted`.
    pub fn count(&self, wanted: impl Fn(ConnId) -> bool) -> usize {
        self.shards.iter().map(|shard| shard.lock().keys().filter(|conn| wanted(**conn)).count()).sum()
    }
}

#[cfg(test)]
mod tests;
