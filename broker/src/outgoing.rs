//! Answers on their way into a socket: bytes from memory, records from their files by `sendfile`.
//!
//! Holds: pieces leave in order and whole; a file that has become shorter than promised ends the connection, because the
//! length is out already; a range that is not in the page cache is first brought there by a reader thread, so that no
//! network thread waits for the disk.

use std::any::Any;
use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Buf;
use pyralog_node::{FileRange, Piece};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::disk::RealFile;

/// Most pieces handed to the kernel in one write.
const PIECES: usize = 64;
/// Bytes of a range that are looked for in the page cache, and brought there, at a time.
pub const WINDOW: usize = 2 << 20;

/// What the front of the queue waits for.
#[derive(Debug)]
pub enum Progress {
    /// Nothing is left.
    Done,
    /// The socket takes no more.
    Full,
    /// As many bytes as were allowed have left; the socket may take more.
    TurnOver,
    /// These bytes have to come from the disk first.
    Cold(FileRange),
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub struct Outgoing {
    pieces: VecDeque<Piece>,
    bytes: usize,
    memory: usize,
    /// Memory that the piece at the front had before any of it was sent, if that has begun: all of it is held until the last
    /// byte is sent.
    begun: Option<usize>,
    /// Bytes of the range at the front that are known to be in the page cache.
    warm: usize,
}

impl Outgoing {
    /// Adds an answer. Gives the memory that it holds until it is sent.
    pub fn push(&mut self, answer: Vec<Piece>) -> usize {
        let memory = answer.iter().map(Piece::memory).sum();
        self.bytes += answer.iter().map(Piece::len).sum::<usize>();
        self.memory += memory;
        self.pieces.extend(answer);
        memory
    }

    /// Whether everything is sent.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that they hold: a piece does until its last byte is sent.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// A range that was [`Progress::Cold`] is in the page cache now, or as near to it as it gets.
    pub fn warmed(&mut self, bytes: usize) {
        self.warm = bytes;
    }

    /// Sends what the socket takes, up to about `most` bytes. `sent` is told of every step: bytes, and memory that became
    /// free.
    pub fn write(
        &mut self,
        stream: &TcpStream,
        most: usize,
        mut sent: impl FnMut(usize, usize),
    ) -> io::Result<Progress> {
        let mut left = most;
        loop {
            if left == 0 && !self.pieces.is_empty() {
                return Ok(Progress::TurnOver);
            }
            let step = match self.pieces.front() {
                None => return Ok(Progress::Done),
                Some(Piece::Bytes(_)) => self.write_bytes(stream),
                Some(Piece::Range(range)) => {
                    if self.warm == 0 {
                        let ahead = range.len.min(WINDOW);
                        if !range.file.is_cached(range.position, ahead) {
                            return Ok(Progress::Cold(FileRange { len: ahead, ..range.clone() }));
                        }
                        self.warm = ahead;
                    }
                    send_range(stream, range, self.warm.min(left))
                }
            };
            match step {
                Ok(written) => {
                    left = left.saturating_sub(written);
                    let free = self.advance(written);
                    sent(written, free);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Full),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// All bytes from memory up to the next range, in one call.
    fn write_bytes(&self, stream: &TcpStream) -> io::Result<usize> {
        let mut slices = Vec::with_capacity(self.pieces.len().min(PIECES));
        let mut more = SendFlags::empty();
        for piece in self.pieces.iter().take(PIECES) {
            match piece {
                Piece::Bytes(bytes) => slices.push(IoSlice::new(bytes)),
                // The head of an answer shares its packet with the records.
                Piece::Range(_) => {
                    more = SendFlags::MORE;
                    break;
                }
            }
        }
        stream.try_io(Interest::WRITABLE, || {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT | more;
            Ok(sendmsg(stream, &slices, &mut SendAncillaryBuffer::default(), flags)?)
        })
    }

    /// Takes off what was sent. Gives the memory that became free.
    fn advance(&mut self, mut written: usize) -> usize {
        self.bytes -= written;
        let mut free = 0;
        while let Some(front) = self.pieces.front_mut() {
            let part = written.min(front.len());
            let memory = *self.begun.get_or_insert(front.memory());
            match front {
                Piece::Bytes(bytes) => bytes.advance(part),
                Piece::Range(range) => {
                    range.position += part as u64;
                    range.len -= part;
                    self.warm = self.warm.saturating_sub(part);
                }
            }
            written -= part;
            if !front.is_empty() {
                break;
            }
            free += memory;
            self.pieces.pop_front();
            (self.begun, self.warm) = (None, 0);
        }
        self.memory -= free;
        free
    }
}

fn send_range(stream: &TcpStream, range: &FileRange, most: usize) -> io::Result<usize> {
    let file: &dyn Any = &*range.file;
    let Some(file) = file.downcast_ref::<RealFile>() else {
        return Err(io::Error::other("records in a file that cannot be sent"));
    };
    let mut position = range.position;
    let sent = stream.try_io(Interest::WRITABLE, || {
        Ok(rustix::fs::sendfile(stream, file.as_file(), Some(&mut position), range.len.min(most))?)
    })?;
    if sent == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment is shorter than what was promised of it"));
    }
    Ok(sent)
}

#[cfg(test)]
mod tests;
