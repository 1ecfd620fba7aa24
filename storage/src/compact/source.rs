//! Reads the batches of a segment one after the other, whole, with their checksums: what is damaged is never copied.
//! Memory is a chunk, or one batch where that is larger.

use std::io;

use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader};

use crate::disk::{DiskFile, read_full};
use crate::segment::SegmentError;
use crate::walk::{Found, Walk, header_of};

/// Batches above this are checked before they are read into memory.
const LARGE: usize = 16 << 20;

/// A batch as it stands in its segment.
pub(super) struct Batch<'a> {
    pub header: BatchHeader,
    /// Header and body.
    pub bytes: &'a [u8],
    /// Position after it.
    pub end: u64,
}

impl<'a> Batch<'a> {
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default()
    }
}

/// The batches of a file, from a position that one begins at.
pub(super) struct Reader<'a, F> {
    file: &'a F,
    position: u64,
    end: u64,
    /// Bytes of the file from `position` on, behind `used` that were taken already.
    buffer: Vec<u8>,
    used: usize,
    chunk: usize,
}

impl<'a, F: DiskFile> Reader<'a, F> {
    pub fn new(file: &'a F, end: u64, chunk: usize) -> Self {
        Self { file, position: 0, end, buffer: Vec::new(), used: 0, chunk: chunk.max(BATCH_HEADER_BYTES) }
    }

    /// The next one; None at the end. Damage is told with the position of the batch.
    pub fn next(&mut self) -> Result<Option<Batch<'_>>, SegmentError> {
        let position = self.position;
        let remaining = self.end.saturating_sub(position);
        if remaining == 0 {
            return Ok(None);
        }
        self.fill(BATCH_HEADER_BYTES)?;
        let header = header_of(self.ahead(BATCH_HEADER_BYTES), remaining).map_err(|e| SegmentError::at(position, e))?;
        let size = header.total_size();
        if size > LARGE {
            // A length that is damaged must not buy memory.
            let found = Found { position, header: header.clone() };
            Walk::new(self.file, position, self.end).verify(&found).map_err(|e| SegmentError::at(position, e))?;
        }
        self.fill(size)?;
        let start = self.used;
        self.used += size;
        self.position = self.position.saturating_add(size as u64);
        let damaged = |what| SegmentError::Damaged { position, what };
        let bytes = self.buffer.get(start..self.used).ok_or(damaged("the batch is cut"))?;
        header.verify_crc(bytes).map_err(|_| damaged("checksum"))?;
        Ok(Some(Batch { header, bytes, end: self.position }))
    }

    fn ahead(&self, bytes: usize) -> &[u8] {
        let rest = self.buffer.get(self.used..).unwrap_or_default();
        rest.get(..bytes).unwrap_or(rest)
    }

    /// Sees to so many bytes ahead, as far as the file has them.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let ahead = self.buffer.len() - self.used;
        if ahead >= bytes {
            return Ok(());
        }
        if self.buffer.capacity() > 2 * self.chunk.max(bytes) {
            self.buffer = self.buffer.split_off(self.used);
        } else {
            self.buffer.drain(..self.used);
        }
        self.used = 0;
        let remaining = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = bytes.max(self.chunk).min(remaining).max(ahead);
        self.buffer.resize(wanted, 0);
        let at = self.position.saturating_add(ahead as u64);
        let filled = read_full(self.file, self.buffer.get_mut(ahead..).unwrap_or_default(), at)?;
        self.buffer.truncate(ahead + filled);
        Ok(())
    }
}
