//! Bytes of the journal: a header block per file, then rounds, each of them whole blocks.
//!
//! File header (one block): the usual envelope (magic `PLJF`) around sequence number, oldest file that still counts, and
//! the number of rounds in the file before it; the rest of the block is zero.
//! Round, big-endian: magic `PLJR`, payload length u32, file sequence u64, round number u64 (from 0 in each file), entry
//! count u32, CRC-32C u32 of the 28 bytes before it and the payload; then the entries; zeros up to the end of the block.
//! Entry: kind u8, topic id, partition i32; kind 1: length u32 and a batch as it stands in its segment; kind 2: offset
//! i64 below which the partition's segments are on disk.
//!
//! A round begins at a block of its own, so that no write ever touches a block that an acknowledgement rests on. A file
//! is written again when nothing in it counts any more: what is left of its former life carries another sequence number.

use bytes::{Buf, BufMut};
use pyralog_protocol::{LogOffset, PartitionIndex, TopicId};

use crate::files::{FileError, Kind, seal, unseal};

/// Unit of the journal's writes, for direct I/O and so that a torn write never reaches back.
pub(crate) const BLOCK: usize = 4096;
/// Bytes of a round before its payload.
pub(crate) const ROUND_HEADER: usize = 32;
const ROUND_MAGIC: [u8; 4] = *b"PLJR";
const FILE: Kind = Kind { magic: *b"PLJF", version: 1 };
const FILE_PAYLOAD: usize = 24;
/// Envelope of the file header: 12 bytes before, 4 behind.
const FILE_HEADER: usize = 12 + FILE_PAYLOAD + 4;
const KIND_BATCH: u8 = 1;
const KIND_FLUSHED: u8 = 2;
/// Bytes of an entry besides its batch.
pub(crate) const ENTRY_OVERHEAD: usize = 1 + 16 + 4 + 4;

/// A partition as the journal names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionKey {
    /// Its log, by id: a log of the same name that comes later is another one.
    pub topic: TopicId,
    /// Its number.
    pub index: PartitionIndex,
}

/// First block of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub sequence: u64,
    /// Files with a lower sequence number do not count any more.
    pub oldest: u64,
    /// Rounds that the file before this one holds: all of them were durable when this one was begun.
    pub rounds_before: u64,
}

impl FileHeader {
    /// Writes the header to the front of a block.
    pub fn put(&self, block: &mut [u8]) {
        let mut payload = Vec::with_capacity(FILE_PAYLOAD);
        payload.put_u64(self.sequence);
        payload.put_u64(self.oldest);
        payload.put_u64(self.rounds_before);
        block.fill(0);
        let sealed = seal(FILE, &payload);
        if let Some(front) = block.get_mut(..sealed.len()) {
            front.copy_from_slice(&sealed);
        }
    }

    /// The header of a file; `path` is for the message.
    pub fn parse(path: &str, block: &[u8]) -> Result<Self, FileError> {
        let damaged = |what| FileError::Damaged { path: path.to_owned(), what };
        let mut payload = unseal(FILE, path, block.get(..FILE_HEADER).ok_or_else(|| damaged("too short"))?)?;
        if payload.len() != FILE_PAYLOAD {
            return Err(damaged("length"));
        }
        Ok(Self { sequence: payload.get_u64(), oldest: payload.get_u64(), rounds_before: payload.get_u64() })
    }
}

/// Header of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoundHeader {
    pub length: u32,
    pub sequence: u64,
    pub round: u64,
    pub entries: u32,
    pub crc: u32,
}

impl RoundHeader {
    /// Encodes the header of this payload, with its checksum.
    pub fn seal(sequence: u64, round: u64, entries: u32, payload: &[u8]) -> [u8; ROUND_HEADER] {
        let mut out = [0; ROUND_HEADER];
        let mut to = &mut out[..];
        to.put_slice(&ROUND_MAGIC);
        to.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        to.put_u64(sequence);
        to.put_u64(round);
        to.put_u32(entries);
        let (front, behind) = out.split_at_mut(ROUND_HEADER - 4);
        behind.copy_from_slice(&crc32c::crc32c_append(crc32c::crc32c(front), payload).to_be_bytes());
        out
    }

    /// The header in these bytes, whatever its checksum; None where there is none.
    pub fn parse(mut from: &[u8]) -> Option<Self> {
        if from.len() < ROUND_HEADER || !from.starts_with(&ROUND_MAGIC) {
            return None;
        }
        from.advance(4);
        Some(Self {
            length: from.get_u32(),
            sequence: from.get_u64(),
            round: from.get_u64(),
            entries: from.get_u32(),
            crc: from.get_u32(),
        })
    }

    /// Whether header and payload are what was written.
    pub fn is_whole(&self, header: &[u8], payload: &[u8]) -> bool {
        let front = header.get(..28).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(front), payload) == self.crc
    }
}

/// Bytes that a round with such a payload takes in its file.
pub(crate) fn round_bytes(payload: usize) -> usize {
    (ROUND_HEADER + payload).next_multiple_of(BLOCK)
}

/// Writes the front of a batch entry.
pub(crate) fn put_batch(to: &mut impl BufMut, key: PartitionKey, length: u32) {
    to.put_u8(KIND_BATCH);
    put_key(to, key);
    to.put_u32(length);
}

/// Writes a note of what is in the segments.
pub(crate) fn put_flushed(to: &mut impl BufMut, key: PartitionKey, below: LogOffset) {
    to.put_u8(KIND_FLUSHED);
    put_key(to, key);
    to.put_i64(below.0);
}

fn put_key(to: &mut impl BufMut, key: PartitionKey) {
    to.put_slice(&key.topic.0);
    to.put_i32(key.index.0);
}

/// An entry of a round.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Batch { key: PartitionKey, bytes: &'a [u8] },
    Flushed { key: PartitionKey, below: LogOffset },
}

/// Takes the next entry off a payload; None at its end or where it makes no sense.
pub(crate) fn next_entry<'a>(from: &mut &'a [u8]) -> Option<Entry<'a>> {
    let kind = from.try_get_u8().ok()?;
    let mut topic = [0; 16];
    from.try_copy_to_slice(&mut topic).ok()?;
    let key = PartitionKey { topic: TopicId(topic), index: PartitionIndex(from.try_get_i32().ok()?) };
    match kind {
        KIND_BATCH => {
            let length = usize::try_from(from.try_get_u32().ok()?).ok()?;
            let (bytes, rest) = from.split_at_checked(length)?;
            *from = rest;
            Some(Entry::Batch { key, bytes })
        }
        KIND_FLUSHED => Some(Entry::Flushed { key, below: LogOffset(from.try_get_i64().ok()?) }),
        _ => None,
    }
}
