//! What came in on a connection and was not served yet.
//! Holds: no buffer while idle; a buffer grows only with bytes that have arrived (SE-03); one above 64 KiB is covered by the
//! [`RequestMemory`] that all connections share, for as long as it is there, or anything of the frames that came in with it.
//! Knows no socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pyralog_protocol::Frame;
use pyralog_protocol::frame::{Held, LENGTH_BYTES};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::request_memory::{Claim, RequestMemory};

/// First buffer of a connection from which something came in, in bytes: one that says little costs little.
pub const FIRST_BUFFER: usize = 4 << 10;
/// Buffer of a connection that keeps filling it, in bytes.
const BUSY_BUFFER: usize = 64 << 10;
/// Buffers above this are covered by the shared memory. A frame claims all of its length once so much of it is there: who
/// only announces a large one holds nothing.
const COVER_FROM: usize = 64 << 10;
/// Frames from [`BUSY_BUFFER`] to here make the next buffer as large as they were: most clients send batches of one size,
/// and a frame that fills its buffer is read without being copied once.
const FRAME_BUFFER_MAX: usize = 1 << 20;

/// Longest pause in a frame while others wait for its memory.
pub const FRAME_STALL: Duration = Duration::from_secs(5);
/// Longest time that such a frame takes, with a second more for each MiB.
const FRAME_TIME: Duration = Duration::from_secs(30);

/// What a buffer above [`COVER_FROM`] is covered by. Frames that are taken out of it have it as well.
enum Cover {
    /// Taken before the length of the frame was known. The buffer may hold the beginning of the next one as well.
    Ahead(Arc<OwnedSemaphorePermit>),
    /// All of the frame that is coming in. The buffer never becomes longer than that.
    Frame { permit: Arc<OwnedSemaphorePermit>, since: Instant, size: usize },
}

impl Cover {
    fn held(&self) -> Held {
        match self {
            Self::Ahead(permit) | Self::Frame { permit, .. } => Arc::clone(permit) as Held,
        }
    }
}

/// Bytes that came in, and the memory for more.
pub struct Intake {
    memory: Arc<RequestMemory>,
    bytes: BytesMut,
    cover: Option<Cover>,
    /// Memory for a frame of that size is waited for.
    claim: Option<(usize, Claim)>,
    /// Size of the next buffer; grows while reads fill what they are given.
    read_size: usize,
    /// Size of the last frame, if the next one shall have a buffer of that size.
    frame_size: usize,
}

impl Intake {
    /// Nothing, out of this memory.
    pub fn new(memory: Arc<RequestMemory>) -> Self {
        let (bytes, read_size, frame_size) = (BytesMut::new(), FIRST_BUFFER, 0);
        Self { memory, bytes, cover: None, claim: None, read_size, frame_size }
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the next bytes go. There must be [room](Self::make_room).
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Bytes for which there is room.
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// So many bytes came in with one read.
    pub fn came(&mut self, bytes: usize) {
        self.read_size = if self.room() == 0 { (self.read_size * 4).min(BUSY_BUFFER) } else { bytes.max(FIRST_BUFFER) };
    }

    /// Takes out the next frame, which has that length and is there.
    pub fn take_frame(&mut self, length: usize) -> Frame {
        let size = LENGTH_BYTES + length;
        self.frame_size = if (BUSY_BUFFER..=FRAME_BUFFER_MAX).contains(&size) { size } else { 0 };
        self.bytes.advance(LENGTH_BYTES);
        Frame::holding(self.bytes.split_to(length), self.cover.as_ref().map(Cover::held))
    }

    /// Gives back what is not needed, after frames were taken out and served.
    pub fn settle(&mut self, served: bool) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
            self.cover = None;
        } else if served && self.cover.is_some() && self.bytes.len() <= COVER_FROM {
            // A little of the next frame would keep all of the buffer.
            self.move_to(self.bytes.len().max(FIRST_BUFFER));
            self.cover = None;
        }
    }

    /// Lets go of a frame that will not be read on, and of the memory for it.
    pub fn give_up(&mut self) {
        self.bytes = BytesMut::new();
        (self.cover, self.claim) = (None, None);
    }

    /// Makes room for the next read: a first small buffer, then three times as much as has already arrived, up to the frame,
    /// if its size is known. A client that sent a large frame gets a buffer for another one, as far as there is memory.
    /// False: it is to be [waited for](Self::granted).
    pub fn make_room(&mut self, size: Option<usize>) -> bool {
        if self.claim.is_some() {
            return false;
        }
        let held = self.bytes.len();
        if self.bytes.capacity() > held {
            return true;
        }
        if held == 0
            && self.frame_size > 0
            && let Some(permit) = self.memory.ahead(self.frame_size)
        {
            self.bytes = BytesMut::with_capacity(self.frame_size);
            self.cover = Some(Cover::Ahead(Arc::new(permit)));
            return true;
        }
        let unit = held.max(self.read_size);
        match size.filter(|size| *size > COVER_FROM) {
            Some(size) if self.covers(size) => self.grow_to(size.min(unit * 4)),
            Some(size) if held >= COVER_FROM => {
                self.claim = Some((size, self.memory.claim(size)));
                return false;
            }
            Some(_) => self.grow_to(COVER_FROM.min(unit * 4)),
            None => {
                let missing = size.map_or(self.read_size, |size| size.saturating_sub(held));
                let more = missing.max(self.read_size).min(unit * 3);
                self.grow_to((held + more).min(COVER_FROM));
            }
        }
        true
    }

    /// Whether memory is waited for.
    pub fn is_waiting(&self) -> bool {
        self.claim.is_some()
    }

    /// Ends when the memory that was waited for is there. May be dropped and asked for again: the place in the queue stays.
    pub async fn granted(&mut self) {
        let Some((size, claim)) = self.claim.as_mut() else { return std::future::pending().await };
        let size = *size;
        let permit = Arc::new(claim.await);
        self.claim = None;
        self.move_to(size.min(self.bytes.len() * 4));
        self.cover = Some(Cover::Frame { permit, since: Instant::now(), size });
    }

    /// Whether this is a frame whose memory others may come to wait for.
    pub fn may_be_in_the_way(&self) -> bool {
        matches!(self.cover, Some(Cover::Frame { .. }))
    }

    /// Whether others wait for memory while this frame, of which something came last at `active`, stalls or takes too long.
    pub fn is_in_the_way(&self, active: Instant, now: Instant) -> bool {
        match &self.cover {
            Some(Cover::Frame { since, size, .. }) => {
                let allowed = FRAME_TIME + Duration::from_secs((*size >> 20) as u64);
                let late = now.saturating_duration_since(active) >= FRAME_STALL;
                self.memory.is_wanted() && (late || now.saturating_duration_since(*since) > allowed)
            }
            Some(Cover::Ahead(_)) | None => false,
        }
    }

    fn covers(&self, size: usize) -> bool {
        match &self.cover {
            Some(Cover::Frame { .. }) => true,
            // Where something of a frame before is kept, so is the buffer: another one is not covered by that.
            Some(Cover::Ahead(permit)) => Arc::strong_count(permit) == 1 && permit.num_permits() * 1024 >= size,
            None => false,
        }
    }

    /// A buffer for so many bytes in all, and not for more: what it takes beyond would be covered by nobody.
    fn grow_to(&mut self, capacity: usize) {
        let held = self.bytes.len();
        match self.cover {
            // The frame's own buffer. From twice as much on it grows to exactly what is asked for, mostly in place.
            Some(Cover::Frame { .. }) if capacity >= held * 2 => self.bytes.reserve(capacity - held),
            None if self.bytes.try_reclaim(capacity - held) => {}
            Some(_) | None => self.move_to(capacity),
        }
    }

    fn move_to(&mut self, capacity: usize) {
        let mut buffer = BytesMut::with_capacity(capacity);
        buffer.extend_from_slice(&self.bytes);
        self.bytes = buffer;
    }
}

#[cfg(test)]
mod tests;
