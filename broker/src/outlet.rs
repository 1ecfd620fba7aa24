//! An answer that leaves on the thread that made it ready, past the connection's task.
//!
//! A produce request that waits for the disk is answered by a thread of the journal or a disk worker. To wake the
//! connection's task for that costs a hand-over between threads, and the wait for a processor, for each request. So while
//! that task waits for bytes only, with one request in the making, it leaves its outlet open, and whoever has the answer
//! writes it into the socket: 64 clients with one synced record at a time, 64 to 78 thousand requests per second.
//! With several requests in the making there is nothing to gain; the task is awake for the next ones anyway.
//!
//! Holds: answers leave in the order of their requests, and whole. What the socket does not take at once is the task's
//! again, as is every error. While the task works, the outlet is closed.

use bytes::Buf;
use pyralog_node::Answer;
use rustix::net::{SendFlags, send};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

/// The writing side of a connection's socket, for others than its task.
#[derive(Debug, Default)]
pub struct Outlet {
    socket: Option<OwnedWriteHalf>,
    /// The only request in the making; none while the outlet is closed.
    slot: Option<u64>,
    left: Option<Left>,
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

impl Outlet {
    /// Gives it a socket, or takes it away. The socket stays as it is: its reading half decides when it is closed.
    pub fn set_socket(&mut self, socket: Option<OwnedWriteHalf>) {
        if let Some(before) = std::mem::replace(&mut self.socket, socket) {
            before.forget();
        }
        self.slot = None;
    }

    /// Opens it for the answer to the only request in the making.
    pub fn open(&mut self, slot: u64) {
        self.slot = Some(slot);
    }

    /// Closes it. Tells what has left since it was opened.
    pub fn close(&mut self) -> Option<Left> {
        self.slot = None;
        self.left.take()
    }

    /// Sends the answer if the outlet is open for it, and closes it. Gives the number of bytes that have left, and what is for the
    /// connection's task: all of it, or what the socket did not take.
    pub fn send(&mut self, slot: u64, mut answer: Answer) -> (usize, Option<Answer>) {
        let (Some(socket), Answer::Frame(frame)) = (&self.socket, &mut answer) else { return (0, Some(answer)) };
        if self.slot.take_if(|open| *open == slot).is_none() {
            return (0, Some(answer));
        }
        // The task meets an error as well, and ends the connection.
        let sent = send(socket.as_ref(), frame, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).unwrap_or(0);
        if sent < frame.len() {
            frame.advance(sent);
            return (sent, Some(answer));
        }
        self.left = Some(Left { slot, bytes: sent, at: Instant::now() });
        (sent, None)
    }
}

#[cfg(test)]
mod tests;
