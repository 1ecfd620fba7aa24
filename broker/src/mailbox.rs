//! What other threads have to say to a connection's task: answers that became ready, and wake-ups. An answer that is
//! all a connection waits for leaves past its task, see [`crate::outlet`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pyralog_node::{Answer, ConnId, Ticket};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::outlet::{Left, Outlet};

/// Events for one connection.
#[derive(Debug, Default)]
pub struct Mailbox {
    contents: Mutex<Contents>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Contents {
    events: Events,
    outlet: Outlet,
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
    /// The answer that has left past the task.
    pub left: Option<Left>,
}

impl Mailbox {
    fn put(&self, write: impl FnOnce(&mut Events)) {
        write(&mut self.contents.lock().events);
        self.bell.notify_one();
    }

    /// Gives the socket to the outlet, or takes it away.
    pub fn set_socket(&self, socket: Option<Arc<TcpStream>>) {
        self.contents.lock().outlet.set_socket(socket);
    }

    /// Until the next [look](Self::take), the answer to this request may leave past the task.
    pub fn open_outlet(&self, slot: u64) {
        self.contents.lock().outlet.open(slot);
    }

    /// An answer that may leave at once does; any other waits for the task.
    fn answer(&self, (slot, answer): (u64, Answer), gone: &mut Gone) {
        let taken = self.contents.lock().outlet.take(slot, answer);
        let sending = match taken {
            Ok(sending) => sending,
            Err(answer) => return self.put(|events| events.answers.push((slot, answer))),
        };
        let sent = sending.run();
        gone.bytes += sent.bytes();
        gone.answers += usize::from(sent.is_whole());
        let awaited = {
            let mut contents = self.contents.lock();
            let (rest, awaited) = contents.outlet.done(sent);
            contents.events.answers.extend(rest);
            awaited
        };
        if awaited {
            self.bell.notify_one();
        }
    }

    /// Waits until there is something to [take](Self::take).
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Everything that came in. Closes the outlet.
    pub fn take(&self) -> Events {
        let mut contents = self.contents.lock();
        let left = contents.outlet.close();
        Events { left, ..std::mem::take(&mut contents.events) }
    }
}

/// Number of locks that the connections are spread over.
const SHARDS: usize = 32;

/// What left past the tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Whole answers.
    pub answers: usize,
    /// Bytes, those of parts of answers too.
    pub bytes: usize,
}

/// The mailboxes of all open connections.
#[derive(Debug, Default)]
pub struct Mailboxes {
    shards: [Mutex<HashMap<ConnId, Arc<Mailbox>>>; SHARDS],
    /// The server stops.
    stopping: AtomicBool,
}

impl Mailboxes {
    fn shard(&self, conn: ConnId) -> &Mutex<HashMap<ConnId, Arc<Mailbox>>> {
        let index = usize::try_from(conn.0 % SHARDS as u64).unwrap_or(0);
        &self.shards[index]
    }

    /// Opens the mailbox of a connection. One that comes after the [stop](Self::stop_all) is told of it as well.
    pub fn open(&self, conn: ConnId) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::default());
        self.shard(conn).lock().insert(conn, Arc::clone(&mailbox));
        // Behind the lock: whoever stops finds the mailbox there, or has said so before.
        if self.stopping.load(Ordering::Acquire) {
            mailbox.put(|events| events.stop = true);
        }
        mailbox
    }

    /// Closes it; what comes later for this connection is dropped.
    pub fn close(&self, conn: ConnId) {
        self.shard(conn).lock().remove(&conn);
    }

    fn get(&self, conn: ConnId) -> Option<Arc<Mailbox>> {
        self.shard(conn).lock().get(&conn).cloned()
    }

    fn put(&self, conn: ConnId, write: impl FnOnce(&mut Events)) {
        if let Some(mailbox) = self.get(conn) {
            mailbox.put(write);
        }
    }

    /// Hands answers to their connections. Up to `here` of those that nothing else is in the making for are sent at once; the other connections are woken
    /// before that, so that other processors serve them meanwhile: once for all answers that come in a row, because who is woken
    /// for each would serve one at a time, and take the processor from who hands them out.
    pub fn answer_all(&self, answers: Vec<(Ticket, Answer)>, here: usize) -> Gone {
        let mut answers = answers.into_iter().peekable();
        let mut single = Vec::new();
        while let Some((Ticket { conn, slot }, answer)) = answers.next() {
            let mut row = vec![(slot, answer)];
            while let Some((ticket, answer)) = answers.next_if(|(ticket, _)| ticket.conn == conn) {
                row.push((ticket.slot, answer));
            }
            match row.pop() {
                Some(only) if row.is_empty() && single.len() < here => single.push((conn, only)),
                last => self.put(conn, |events| events.answers.extend(row.into_iter().chain(last))),
            }
        }
        let mut gone = Gone::default();
        for (conn, answer) in single {
            if let Some(mailbox) = self.get(conn) {
                mailbox.answer(answer, &mut gone);
            }
        }
        gone
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
        self.stopping.store(true, Ordering::Release);
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
