//! What is known of a stored batch once all of it was read and its CRC was right: its parts, a few records each, with a CRC
//! of their own. Whoever wants one record then reads and checks its part, not the batch.
//! Holds: nothing of a part is handed out whose bytes are not those that were part of the checked batch (IO-07).

use std::ops::Range;

use super::codec::Codec;
use super::header::{BATCH_HEADER_BYTES, BatchError};
use super::keyed::KeyedRecord;
use super::stored::{RecordBase, StoredBatch, StoredError, StoredRecord};
use crate::{LeaderEpoch, Vlsn};

/// A part ends with the record that brings it to so many bytes. Less costs memory, more costs reading.
const PART_BYTES: usize = 1 << 10;

/// The parts of an uncompressed batch whose records have VLSNs.
#[derive(Debug)]
pub struct Outline {
    base: RecordBase,
    size: usize,
    parts: Box<[Part]>,
}

#[derive(Debug)]
struct Part {
    first: Vlsn,
    /// Where it ends in the batch, whose header is not part of any.
    end: u32,
    crc: u32,
}

/// Some records of a batch: where they are, and what tells that they still are what they were.
#[derive(Debug, Clone)]
pub struct BatchPart {
    range: Range<usize>,
    crc: u32,
    base: RecordBase,
}

impl Outline {
    /// Of a batch that is open. `None`: it is compressed, or so small that reading less of it gains nothing.
    pub fn of(batch: &StoredBatch<'_>) -> Result<Option<Self>, StoredError> {
        let (base, payload, size) = (batch.base(), batch.payload(), batch.header.total_size());
        if batch.header.codec() != Ok(Codec::None) || payload.len() < 2 * PART_BYTES || u32::try_from(size).is_err() {
            return Ok(None);
        }
        let mut parts = Vec::with_capacity(payload.len() / PART_BYTES + 1);
        let (mut rest, mut bytes, mut first) = (payload, 0, None);
        let mut start = payload;
        while !rest.is_empty() {
            let record = KeyedRecord::first_of(rest, base.offset)?;
            rest = rest.get(record.size..).unwrap_or_default();
            bytes += record.size;
            let part_first = *first.get_or_insert(record.vlsn);
            if bytes >= PART_BYTES || rest.is_empty() {
                let crc = crc32c::crc32c(start.get(..bytes).unwrap_or_default());
                let end = u32::try_from(BATCH_HEADER_BYTES + payload.len() - rest.len()).unwrap_or(u32::MAX);
                parts.push(Part { first: part_first, end, crc });
                (start, bytes, first) = (rest, 0, None);
            }
        }
        Ok(Some(Self { base, size, parts: parts.into_boxed_slice() }))
    }

    /// Bytes of the whole batch.
    pub fn batch_bytes(&self) -> usize {
        self.size
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val::<[Part]>(&self.parts)
    }

    /// Where the record of a VLSN is, if the batch has it. `None`: it begins above.
    pub fn part(&self, vlsn: Vlsn) -> Option<BatchPart> {
        let behind = self.parts.partition_point(|part| part.first <= vlsn);
        let (before, from) = self.parts.split_at_checked(behind.checked_sub(1)?)?;
        let part = from.first()?;
        let start = before.last().map_or(BATCH_HEADER_BYTES, |before| index(before.end));
        Some(BatchPart { range: start..index(part.end), crc: part.crc, base: self.base })
    }
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

impl BatchPart {
    /// Its bytes in the batch.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Who wrote the batch.
    pub fn epoch(&self) -> LeaderEpoch {
        self.base.epoch
    }

    /// The record of a VLSN in the bytes of [`Self::range`]; `None` if there is none. An error: they are not what they were,
    /// or never belonged there.
    pub fn find<'a>(&self, bytes: &'a [u8], vlsn: Vlsn) -> Result<Option<StoredRecord<'a>>, StoredError> {
        let (found, stored) = (crc32c::crc32c(bytes), self.crc);
        if found != stored {
            return Err(BatchError::Crc { found, stored }.into());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let here = KeyedRecord::first_of(rest, self.base.offset)?;
            if here.vlsn >= vlsn {
                return if here.vlsn == vlsn { self.base.records(rest).next().transpose() } else { Ok(None) };
            }
            rest = rest.get(here.size..).unwrap_or_default();
        }
        Ok(None)
    }
}
