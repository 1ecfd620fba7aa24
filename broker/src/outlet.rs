//! An answer that leaves on the thread that made it ready, past the connection's task.
//!
//! A produce request that waits for the disk is answered by a thread of the journal or a disk worker. To wake the
//! connection's task for that costs a hand-over between threads, and the wait for a processor, for each request. So while
//! that task waits for bytes only, with one request in the making, it leaves its outlet open, and whoever has the answer
//! writes it into the socket: 64 clients with one synced record at a time get a fifth more.
//! With several requests in the making there is nothing to gain; the task is awake for the next ones anyway.
//!
//! Holds: answers leave in the order of their requests, and whole. What the socket does not take at once is the task's
//! again, as is every error. While the task works, the outlet is closed. Nobody waits for who sends, which may be put off in the middle of
//! it, by the very client that it has just answered: a task that comes by meanwhile serves what it can, and is told later.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use pyralog_node::Answer;
use rustix::net::{SendFlags, send};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Whether others than its task may write into the socket of a connection.
#[derive(Debug, Default)]
pub struct Outlet {
    socket: Option<Arc<TcpStream>>,
    state: State,
    left: Option<Left>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    /// For the answer to this request, the only one in the making.
    Open(u64),
    /// It is being sent.
    Sending {
        /// The task looked meanwhile, and is to look again.
        awaited: bool,
    },
}

/// An answer has left while nobody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The request.
    pub slot: u64,
    /// Length of the answer.
    pub bytes: usize,
    /// When it left.
    pub at: Instant,
}

/// An answer that is to be sent, with no lock held.
#[derive(Debug)]
pub struct Sending {
    socket: Arc<TcpStream>,
    slot: u64,
    frame: Bytes,
}

/// What became of it.
#[derive(Debug)]
pub struct Sent {
    slot: u64,
    bytes: usize,
    rest: Bytes,
}

impl Outlet {
    /// Gives it a socket, or takes it away.
    pub fn set_socket(&mut self, socket: Option<Arc<TcpStream>>) {
        self.socket = socket;
    }

    /// Opens it for the answer to the only request in the making.
    pub fn open(&mut self, slot: u64) {
        if self.state == State::Closed {
            self.state = State::Open(slot);
        }
    }

    /// Closes it, or has its task told when what is being sent has left. Tells what has left since it was opened.
    pub fn close(&mut self) -> Option<Left> {
        self.state = match self.state {
            State::Sending { .. } => State::Sending { awaited: true },
            State::Open(_) | State::Closed => State::Closed,
        };
        self.left.take()
    }

    /// Takes an answer that may leave now. Gives back any other.
    pub fn take(&mut self, slot: u64, answer: Answer) -> Result<Sending, Answer> {
        match (&self.socket, answer) {
            (Some(socket), Answer::Frame(frame)) if self.state == State::Open(slot) => {
                self.state = State::Sending { awaited: false };
                Ok(Sending { socket: Arc::clone(socket), slot, frame })
            }
            (_, answer) => Err(answer),
        }
    }

    /// An answer that was taken has been sent. Gives what is left of it for the task, and whether the task is to look.
    pub fn done(&mut self, sent: Sent) -> (Option<(u64, Answer)>, bool) {
        let awaited = self.state == State::Sending { awaited: true };
        self.state = State::Closed;
        if !sent.is_whole() {
            return (Some((sent.slot, Answer::Frame(sent.rest))), true);
        }
        self.left = Some(Left { slot: sent.slot, bytes: sent.bytes, at: Instant::now() });
        (None, awaited)
    }
}

impl Sending {
    /// Sends what the socket takes without a wait. An error is for the task, which meets it as well.
    pub fn run(self) -> Sent {
        let Self { socket, slot, frame: mut rest } = self;
        let bytes = send(&*socket, &rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).unwrap_or(0);
        rest.advance(bytes);
        if rest.len() < bytes {
            // All of it would be held until the last byte is sent, and only what is left be counted.
            rest = Bytes::copy_from_slice(&rest);
        }
        Sent { slot, bytes, rest }
    }
}

impl Sent {
    /// Bytes that have left.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether these are all.
    pub fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests;
