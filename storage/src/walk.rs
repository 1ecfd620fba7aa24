//! Goes over the batches of one segment, header by header. Checks sizes and, where asked, CRCs; the order of offsets
//! and epochs is [`Chain`]'s. Reads in chunks, small ones to begin with and larger ones where it reads everything: memory
//! stays bounded whatever a header claims.

use std::io;

use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader};
use pyralog_protocol::{LeaderEpoch, LogOffset};

use crate::disk::{DiskFile, Patience};

/// As far apart as index entries are by default, so that a walk from an entry is about one read.
const CHUNK_BYTES: usize = 4096;
/// Chunks double up to this as long as one begins where the last one ended.
const CHUNK_BYTES_MAX: usize = 128 << 10;
/// What the CRC covers begins here, at the attributes.
const CRC_START: u64 = 21;

/// A batch in its segment.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub position: u64,
    pub header: BatchHeader,
}

impl Found {
    pub fn size(&self) -> u64 {
        self.header.total_size() as u64
    }

    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.size())
    }
}

/// Why a walk ended before the end of the segment.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nothing was ever written here: the whole header is zero (IO-05).
    Unwritten,
    /// Something is here, but no batch that was written.
    Damaged(&'static str),
    /// The disk failed, which says nothing of the bytes.
    Io(io::Error),
}

/// A walk over `position..end` of a file.
pub(crate) struct Walk<'a, F> {
    file: &'a F,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    chunk: usize,
    patience: Patience,
}

impl<'a, F: DiskFile> Walk<'a, F> {
    pub fn new(file: &'a F, position: u64, end: u64) -> Self {
        let (buffer, chunk, patience) = (Vec::new(), CHUNK_BYTES / 2, Patience::Waits);
        Self { file, position, end, buffer, buffer_at: position, chunk, patience }
    }

    /// The same, with that patience.
    pub fn with(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Where the next batch begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next batch; None exactly at the end.
    pub fn next(&mut self) -> Result<Option<Found>, Stop> {
        let remaining = self.end.saturating_sub(self.position);
        if remaining == 0 {
            return Ok(None);
        }
        let header = header_of(self.peek().map_err(Stop::Io)?, remaining)?;
        let found = Found { position: self.position, header };
        self.position = found.end();
        Ok(Some(found))
    }

    /// Compares the CRC of the batch that was found last with its bytes. Each byte is read once, together with the next
    /// header.
    pub fn verify(&mut self, found: &Found) -> Result<(), Stop> {
        let mut crc = 0;
        let mut at = found.position.saturating_add(CRC_START);
        while at < found.end() {
            if self.buffered(at).is_empty() {
                self.refill(at).map_err(Stop::Io)?;
            }
            let wanted = usize::try_from(found.end() - at).unwrap_or(usize::MAX);
            let part = self.buffered(at);
            let part = part.get(..wanted).unwrap_or(part);
            if part.is_empty() {
                return Err(Stop::Damaged("the batch is cut"));
            }
            crc = crc32c::crc32c_append(crc, part);
            at += part.len() as u64;
        }
        if crc == found.header.crc { Ok(()) } else { Err(Stop::Damaged("checksum")) }
    }

    /// The next header's bytes, fewer at the end of the range.
    fn peek(&mut self) -> io::Result<&[u8]> {
        let wanted = usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(BATCH_HEADER_BYTES);
        if self.buffered(self.position).len() < wanted {
            self.refill(self.position)?;
        }
        let rest = self.buffered(self.position);
        Ok(rest.get(..wanted).unwrap_or(rest))
    }

    /// What is in the buffer from a position on.
    fn buffered(&self, at: u64) -> &[u8] {
        let skip = at.checked_sub(self.buffer_at).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.buffer.get(skip..)).unwrap_or_default()
    }

    /// Reads on at a position.
    fn refill(&mut self, at: u64) -> io::Result<()> {
        let goes_on = at >= self.buffer_at && at <= self.buffer_at.saturating_add(self.buffer.len() as u64);
        self.chunk = if goes_on { (2 * self.chunk).min(CHUNK_BYTES_MAX) } else { CHUNK_BYTES };
        let chunk = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX).min(self.chunk);
        self.buffer.resize(chunk, 0);
        self.buffer_at = at;
        let filled = self.patience.read_full(self.file, &mut self.buffer, at)?;
        self.buffer.truncate(filled);
        Ok(())
    }
}

/// The batch at a byte of a file whose batches end at `end`, by a read of its header alone. None exactly at the end.
pub(crate) fn batch_at<F: DiskFile>(
    file: &F,
    position: u64,
    end: u64,
    patience: Patience,
) -> Result<Option<Found>, Stop> {
    let remaining = end.saturating_sub(position);
    if remaining == 0 {
        return Ok(None);
    }
    let mut bytes = [0; BATCH_HEADER_BYTES];
    let wanted = usize::try_from(remaining).unwrap_or(usize::MAX).min(BATCH_HEADER_BYTES);
    let into = bytes.get_mut(..wanted).unwrap_or_default();
    let filled = patience.read_full(file, into, position).map_err(Stop::Io)?;
    let header = header_of(bytes.get(..filled).unwrap_or_default(), remaining)?;
    Ok(Some(Found { position, header }))
}

/// The header in these bytes, if it is one that was written and its batch ends within the `remaining` ones.
pub(crate) fn header_of(bytes: &[u8], remaining: u64) -> Result<BatchHeader, Stop> {
    if bytes.iter().all(|b| *b == 0) {
        return Err(Stop::Unwritten);
    }
    if bytes.len() < BATCH_HEADER_BYTES {
        return Err(Stop::Damaged("the header is cut"));
    }
    let header = BatchHeader::parse(bytes).map_err(|_| Stop::Damaged("magic or length"))?;
    if header.base_offset < 0 || header.last_offset_delta < 0 || header.last_offset() == i64::MAX {
        return Err(Stop::Damaged("offsets"));
    }
    if header.total_size() as u64 > remaining {
        return Err(Stop::Damaged("the batch is cut"));
    }
    Ok(header)
}

/// Whether a batch with this base offset may follow where `next` is the next offset. Holes are legal in front of batches below
/// `cleaned_end`, where compaction took records (IO-19), and nowhere else.
pub(crate) fn is_in_order(base: i64, next: i64, cleaned_end: LogOffset) -> bool {
    base == next || base > next && base < cleaned_end.0
}

/// The order that batches of one log are in: offsets rise, epochs do not fall (IO-04).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    /// The next offset.
    pub next: i64,
    epoch: i32,
    /// Epoch that the last batch had at least, by another's word: of the batch before it, or of a snapshot.
    epoch_before: i32,
    /// First offset of the last batch, if it is only believed: nobody has compared its checksum.
    believed: Option<i64>,
}

impl Chain {
    pub fn from(next: i64) -> Self {
        Self { next, epoch: i32::MIN, epoch_before: i32::MIN, believed: None }
    }

    /// Epoch of the last batch; `i32::MIN` before the first.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// A snapshot says of the batch that ends here that it has this epoch.
    pub fn confirm(&mut self, epoch: LeaderEpoch) {
        if self.epoch == i32::MIN {
            self.epoch = epoch.0;
        } else if epoch.0 == self.epoch {
            self.epoch_before = self.epoch;
        }
    }

    /// Offset of the last batch, if it is only believed and alone in saying that the epoch falls with this one.
    pub fn contested(&self, header: &BatchHeader) -> Option<i64> {
        self.believed.filter(|_| header.leader_epoch < self.epoch && self.epoch_before == i32::MIN)
    }

    /// This batch is in front of the last one.
    pub fn hear(&mut self, header: &BatchHeader) {
        if header.leader_epoch <= self.epoch {
            self.epoch_before = header.leader_epoch;
        }
    }

    /// This batch, which is only believed, is in front of the first one.
    pub fn begin_behind(&mut self, header: &BatchHeader) {
        (self.epoch, self.believed) = (header.leader_epoch, Some(header.base_offset));
    }

    /// Takes the next batch, which is `believed` where nobody has compared its checksum, if it is [in order](is_in_order).
    ///
    /// What falls behind a batch that is only believed convicts that one: the chain then ends before it, so that it is named
    /// and nothing is cut for its sake (IO-06). A batch whose checksum was compared may have lost its base offset when it
    /// was torn; and its epoch, where the one before it is not alone in saying that it falls.
    pub fn accept(&mut self, header: &BatchHeader, believed: bool, cleaned_end: LogOffset) -> Result<(), Stop> {
        let (base, epoch) = (header.base_offset, header.leader_epoch);
        if !is_in_order(base, self.next, cleaned_end) || epoch < self.epoch {
            let falls = epoch < self.epoch && epoch >= self.epoch_before || believed && base < self.next;
            if let Some(before) = self.believed.filter(|_| falls) {
                self.next = before;
            }
            let what = if epoch < self.epoch { "leader epoch out of order" } else { "offset out of order" };
            return Err(Stop::Damaged(what));
        }
        (self.epoch_before, self.epoch) = (self.epoch, epoch);
        self.believed = believed.then_some(base);
        self.next = header.last_offset() + 1;
        Ok(())
    }
}
