//! What is written to the journal at once: batches of any number of partitions, in a buffer that is used again and again.

use pyralog_protocol::LogOffset;
use pyralog_protocol::batch::BATCH_HEADER_BYTES;

use super::format::{
    BLOCK, ENTRY_OVERHEAD, PartitionKey, ROUND_HEADER, RoundHeader, put_batch, put_flushed, round_bytes,
};
use crate::log::Pending;

/// Bytes of a note.
const NOTE_BYTES: usize = 1 + 16 + 4 + 8;
/// So many rounds in a row that use less than a [quarter](GIVE_BACK_SHARE) of the memory that larger ones before them used give it
/// back. A disk that stalls once must not cost memory for good; under a steady load the largest rounds come more often than this.
const GIVE_BACK_AFTER: u32 = 4096;
const GIVE_BACK_SHARE: usize = 4;
/// Memory that is not worth giving back.
const KEEP_BYTES: usize = 256 << 10;

/// A round in the making. Its buffer begins at a block border in memory, as direct I/O wants it.
pub struct Round {
    /// As long as the largest round since it was allocated: what is behind its length was never touched, and costs only an
    /// address range.
    buffer: Vec<u8>,
    /// Where the first whole block of the buffer begins.
    start: usize,
    /// Bytes of entries.
    payload: usize,
    entries: u32,
    capacity: usize,
    /// Rounds in a row that used little of the buffer.
    small: u32,
    /// Ends of what is in it, by partition.
    pub(super) ends: Vec<(PartitionKey, LogOffset)>,
}

impl Round {
    /// A round that takes up to `capacity` bytes; memory is used as it fills for the first time.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(BLOCK);
        let (buffer, start) = untouched(capacity);
        Self { buffer, start, payload: 0, entries: 0, capacity, small: 0, ends: Vec::new() }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether these batches fit as well.
    pub fn has_room(&self, batches: &[Pending]) -> bool {
        let more: usize = batches.iter().map(|batch| ENTRY_OVERHEAD + batch.len()).sum();
        ROUND_HEADER + self.payload + more <= self.capacity
    }

    /// Adds batches of one partition, in order. They must [fit](Self::has_room).
    pub fn push(&mut self, key: PartitionKey, batches: &[Pending]) {
        for batch in batches {
            let length = batch.len();
            let Some(mut to) = self.take(ENTRY_OVERHEAD + length) else { return };
            put_batch(&mut to, key, u32::try_from(length).unwrap_or(u32::MAX));
            if let Some((header, body)) = to.split_at_mut_checked(BATCH_HEADER_BYTES) {
                header.copy_from_slice(&batch.header);
                body.copy_from_slice(&batch.body);
            }
        }
        if let Some(last) = batches.last() {
            self.ends.push((key, last.end));
        }
    }

    /// Adds a note that a partition's segments are on disk below an offset, if there is room: it shortens a recovery and
    /// nothing rests on it.
    pub fn note_flushed(&mut self, key: PartitionKey, below: LogOffset) {
        if ROUND_HEADER + self.payload + NOTE_BYTES <= self.capacity
            && let Some(mut to) = self.take(NOTE_BYTES)
        {
            put_flushed(&mut to, key, below);
        }
    }

    /// Empties it for the next use.
    pub fn clear(&mut self) {
        self.give_back();
        self.payload = 0;
        self.entries = 0;
        self.ends.clear();
    }

    /// Bytes of memory that it has used since it last gave any back.
    #[cfg(test)]
    pub(super) fn resident_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Starts over with memory that was never touched, if the rounds of late needed little of what there is.
    fn give_back(&mut self) {
        let used = self.buffer.len();
        if used <= KEEP_BYTES || self.file_bytes() >= used / GIVE_BACK_SHARE {
            self.small = 0;
            return;
        }
        self.small += 1;
        if self.small >= GIVE_BACK_AFTER {
            self.small = 0;
            // The new one first: the allocator would hand the old one out again.
            (self.buffer, self.start) = untouched(self.capacity);
        }
    }

    /// Bytes that it takes in the file.
    pub(super) fn file_bytes(&self) -> usize {
        round_bytes(self.payload)
    }

    /// Its bytes, in whole blocks, for this place in the journal.
    pub(super) fn seal(&mut self, sequence: u64, round: u64) -> &[u8] {
        let total = self.file_bytes();
        self.touch(self.start + total);
        let Some(bytes) = self.buffer.get_mut(self.start..self.start + total) else { return &[] };
        let (front, behind) = bytes.split_at_mut(ROUND_HEADER);
        let (payload, padding) = behind.split_at_mut(self.payload);
        front.copy_from_slice(&RoundHeader::seal(sequence, round, self.entries, payload));
        padding.fill(0);
        bytes
    }

    /// The first block of the buffer, filled by `fill`, for what is not a round.
    pub(super) fn block(&mut self, fill: impl FnOnce(&mut [u8])) -> &[u8] {
        self.touch(self.start + BLOCK);
        let Some(block) = self.buffer.get_mut(self.start..self.start + BLOCK) else { return &[] };
        fill(block);
        block
    }

    fn take(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let at = self.start + ROUND_HEADER + self.payload;
        self.touch(at + bytes);
        let room = self.buffer.get_mut(at..at + bytes)?;
        self.payload += bytes;
        self.entries += 1;
        Some(room)
    }

    /// Makes the buffer at least so long, never longer than what was allocated: its place in memory must not change.
    fn touch(&mut self, length: usize) {
        if length > self.buffer.len() && length <= self.buffer.capacity() {
            self.buffer.resize(length, 0);
        }
    }
}

/// A buffer for rounds of up to `capacity` bytes, and where in it the first whole block begins.
fn untouched(capacity: usize) -> (Vec<u8>, usize) {
    let buffer: Vec<u8> = Vec::with_capacity(capacity + BLOCK);
    let start = buffer.as_ptr().align_offset(BLOCK);
    (buffer, start)
}
