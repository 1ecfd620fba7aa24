//! One connection as a value: which requests are unanswered and in which order answers leave.
//! Holds: answers leave in the order of their requests (C15), whatever order they become ready in. Knows no socket.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use pyralog_protocol::{ApiKey, MonoMs, Response};
use pyralog_storage::DiskFile;

use crate::waiting::Wait;

/// Number of a connection, unique while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The place of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The connection.
    pub conn: ConnId,
    /// The request's number within the connection.
    pub slot: u64,
}

/// Whole batches in a segment's file, on their way to a client without a stop in our memory. They stay readable after
/// retention removed the segment.
#[derive(Clone)]
pub struct FileRange {
    /// The file; the shell knows what it really is.
    pub file: Arc<dyn DiskFile>,
    /// First byte.
    pub position: u64,
    /// Number of bytes.
    pub len: usize,
}

impl std::fmt::Debug for FileRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileRange({}+{})", self.position, self.len)
    }
}

impl FileRange {
    /// Reads it into memory: for a shell that cannot send files.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut buffer = vec![0; self.len];
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.position + filled as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(buffer.into())
    }
}

/// A part of an answer.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes in a file.
    Range(FileRange),
}

impl Piece {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Range(range) => range.len,
        }
    }

    /// Whether there is nothing left of it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Range(_) => size_of::<Self>(),
        }
    }
}

/// What became of a request that had been waiting.
#[derive(Debug)]
pub enum Answer {
    /// These bytes, length prefix included.
    Frame(Bytes),
    /// The same in pieces.
    Pieces(Vec<Piece>),
    /// A value, for a request that was asked as one.
    Value(Box<Response>),
    /// The connection closes, once everything before is answered.
    Close,
    /// Our own answer could not be encoded; the reason goes to the log and the connection closes (E5).
    Unencodable(String),
}

/// State of one connection.
#[derive(Debug)]
pub struct Connection {
    /// Its number.
    pub id: ConnId,
    /// Address of the client.
    pub peer: IpAddr,
    /// Host and port that the client reached us at; what Metadata answers when nothing is advertised (X1).
    pub local: (String, u16),
    slots: VecDeque<Slot>,
    next_slot: u64,
    /// The slot that blocks the ones behind it: everything but Produce is served one at a time, as Kafka does (C16).
    blocking: Option<u64>,
    /// A request that waits for something to change.
    pub(crate) waiting: Option<Wait>,
    closing: bool,
    in_flight_limit: usize,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    answer: Option<Answer>,
}

impl Connection {
    /// A new connection.
    pub fn new(id: ConnId, peer: IpAddr, local: (String, u16), in_flight_limit: usize) -> Self {
        Self {
            id,
            peer,
            local,
            slots: VecDeque::new(),
            next_slot: 0,
            blocking: None,
            waiting: None,
            closing: false,
            in_flight_limit,
        }
    }

    /// Whether more requests may be read from the client.
    pub fn accepts(&self) -> bool {
        !self.closing && self.blocking.is_none() && self.slots.len() < self.in_flight_limit
    }

    /// Whether this frame (without its length prefix) may be served now. Only produce requests overlap: every other one
    /// waits for the answers before it, and so sees what the client wrote before, as with Kafka, which serves one request
    /// of a connection at a time.
    pub fn accepts_frame(&self, frame: &[u8]) -> bool {
        self.accepts() && (self.slots.is_empty() || Self::is_produce(frame))
    }

    /// Whether this frame is a produce request.
    pub fn is_produce(frame: &[u8]) -> bool {
        frame.starts_with(&ApiKey::Produce.code().to_be_bytes())
    }

    /// Whether serving this frame may wait for the disk for longer than others can be kept waiting: for syncs, or for reads of
    /// whatever look-ups need.
    pub fn may_wait_for_disk(frame: &[u8]) -> bool {
        [ApiKey::DeleteRecords, ApiKey::ListOffsets].iter().any(|key| frame.starts_with(&key.code().to_be_bytes()))
    }

    /// Whether what waits may do so too when it is looked at again.
    pub fn looks_at_disk(&self) -> bool {
        matches!(self.waiting, Some(Wait::Lookup(_)))
    }

    /// Whether nothing is unanswered.
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty()
    }

    /// Requests without an answer that has left.
    pub fn unanswered(&self) -> usize {
        self.slots.len()
    }

    /// Whether the connection is to be closed now: it was told to, and all earlier answers have left.
    pub fn is_closed(&self) -> bool {
        self.closing && self.slots.is_empty()
    }

    /// Ends the wait of a request: at the next look it is answered with what there is.
    pub fn stop_waiting(&mut self) {
        if let Some(wait) = self.waiting.as_mut() {
            wait.stop();
        }
    }

    /// When this connection wants to be looked at again.
    pub fn deadline(&self) -> Option<MonoMs> {
        self.waiting.as_ref().map(Wait::deadline)
    }

    /// Reserves the next answer's place. A blocking one keeps later requests from being served.
    pub(crate) fn reserve(&mut self, blocking: bool) -> Ticket {
        let slot = self.next_slot;
        self.next_slot += 1;
        self.slots.push_back(Slot { number: slot, answer: None });
        if blocking {
            self.blocking = Some(slot);
        }
        Ticket { conn: self.id, slot }
    }

    /// Fills a place. A slot that is unknown (connection closed in between) is ignored.
    pub fn complete(&mut self, slot: u64, answer: Answer) {
        if self.blocking == Some(slot) {
            self.blocking = None;
            self.waiting = None;
        }
        let first = self.slots.front().map_or(self.next_slot, |s| s.number);
        let index = slot.checked_sub(first).and_then(|i| usize::try_from(i).ok());
        if let Some(entry) = index.and_then(|i| self.slots.get_mut(i)) {
            entry.answer = Some(answer);
        }
    }

    /// The request that is all this connection waits for. Others may be served meanwhile, and whoever has its answer may send it,
    /// see [`Self::answered_elsewhere`].
    pub fn awaits(&self) -> Option<u64> {
        if self.blocking.is_some() || self.closing {
            return None;
        }
        let mut slots = self.slots.iter();
        match (slots.next(), slots.next()) {
            (Some(Slot { number, answer: None }), None) => Some(*number),
            (Some(_) | None, _) => None,
        }
    }

    /// The answer to this request, which was all that this connection [awaited](Self::awaits), has left by another way.
    pub fn answered_elsewhere(&mut self, slot: u64) {
        match self.slots.front() {
            Some(oldest) if oldest.number == slot => drop(self.slots.pop_front()),
            Some(_) | None => debug_assert!(false, "request {slot} is not the oldest one"),
        }
    }

    /// Stops reading; the connection closes after the answers before this point.
    pub(crate) fn close_here(&mut self) {
        self.closing = true;
    }

    /// The answer to the oldest request, if it is there and a value.
    pub fn next_value(&mut self) -> Option<Response> {
        self.slots.front()?.answer.as_ref()?;
        match self.slots.pop_front()?.answer? {
            Answer::Value(response) => Some(*response),
            Answer::Frame(_) | Answer::Pieces(_) | Answer::Close | Answer::Unencodable(_) => None,
        }
    }

    /// The next answer whose turn it is.
    pub fn next_answer(&mut self) -> Option<Vec<Piece>> {
        self.slots.front()?.answer.as_ref()?;
        match self.slots.pop_front()?.answer? {
            Answer::Frame(bytes) => Some(vec![Piece::Bytes(bytes)]),
            Answer::Pieces(pieces) => Some(pieces),
            // Values are asked for by the shell, never by who sends frames.
            Answer::Value(_) | Answer::Close | Answer::Unencodable(_) => {
                self.slots.clear();
                self.closing = true;
                None
            }
        }
    }
}
