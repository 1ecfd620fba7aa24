//! The indexes of one segment: where batches begin, and how far something that rises had risen by then. The sparse one
//! says so of timestamps, and one file serves look-ups by offset and by time; that of a VLSN log says so of VLSNs, for
//! every batch. Derived: an entry is a hint, and whoever follows it checks the batch header there.
//!
//! File, big-endian: header of 48 bytes (magic `PLIX` or `PLVX`, version u16, entry size u16, base offset i64, covered bytes u64,
//! offset after them i64, maximum i64, entry count u32, CRC-32C of the above), then blocks of up to 256 entries, each block followed by
//! the CRC-32C of (header CRC, block number, entries): a torn, scrambled or misplaced block is told from a good one
//! without reading the rest. Entry: offset minus base u32, position u32, maximum of everything before it i64.

use std::io;

use bytes::{Buf, BufMut};
use pyralog_protocol::batch::BatchHeader;

use crate::disk::{DiskFile, Patience};

/// What an index is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    magic: [u8; 4],
    /// Of its file.
    pub extension: &'static str,
}

/// Offsets and timestamps.
pub(crate) const SPARSE: Kind = Kind { magic: *b"PLIX", extension: "index" };
/// VLSNs.
pub(crate) const VLSNS: Kind = Kind { magic: *b"PLVX", extension: "vlsn" };

const VERSION: u16 = 1;
pub(crate) const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 16;
const BLOCK_ENTRIES: usize = 256;
const BLOCK_CRC_BYTES: usize = 4;

/// A batch that begins at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its base offset minus the segment's.
    pub relative_offset: u32,
    /// Bytes from the beginning of the segment.
    pub position: u32,
    /// Largest timestamp (or VLSN) of the batches before it, `i64::MIN` if there are none.
    pub max_before: i64,
}

impl Entry {
    /// Where every segment begins.
    pub const START: Self = Self { relative_offset: 0, position: 0, max_before: i64::MIN };
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Around {
    /// The last entry for which something holds.
    pub entry: Entry,
    /// The first for which it does not; None if there is no more.
    pub next: Option<Entry>,
}

/// An index in memory: complete for the first `covered` bytes of its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub entries: Vec<Entry>,
    pub covered: u64,
    /// Offset after the last covered record.
    pub next_offset: i64,
    /// Largest timestamp (or VLSN) in the covered bytes, `i64::MIN` if there is none.
    pub max: i64,
}

/// Header of an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexHeader {
    pub base_offset: i64,
    pub covered: u64,
    pub next_offset: i64,
    pub max: i64,
    pub count: u32,
    crc: u32,
}

impl Index {
    pub fn new(base_offset: i64) -> Self {
        Self { entries: Vec::new(), covered: 0, next_offset: base_offset, max: i64::MIN }
    }

    /// Whether the batch at the end of what is covered gets an entry.
    fn is_due(&self, interval: u32) -> bool {
        let due = self.entries.last().map_or(0, |e| u64::from(e.position)).saturating_add(u64::from(interval));
        self.covered >= due && self.covered > 0
    }

    /// Whether the file has room for the batch at the end of what is covered.
    pub fn has_room(&self, interval: u32, max_bytes: u32) -> bool {
        let entries = self.entries.len() + 1;
        let bytes = HEADER_BYTES + entries * ENTRY_BYTES + entries.div_ceil(BLOCK_ENTRIES) * BLOCK_CRC_BYTES;
        bytes as u64 <= u64::from(max_bytes) || !self.is_due(interval)
    }

    /// Notes the batch at the end of what is covered, by its largest timestamp.
    pub fn note(&mut self, base_offset: i64, header: &BatchHeader, interval: u32) {
        self.note_max(base_offset, header, interval, header.max_timestamp);
    }

    /// Notes the batch at the end of what is covered, whose largest timestamp (or VLSN) is `max`.
    pub fn note_max(&mut self, base_offset: i64, header: &BatchHeader, interval: u32, max: i64) {
        if self.is_due(interval)
            && let Ok(position) = u32::try_from(self.covered)
            && let Ok(relative_offset) = u32::try_from(header.base_offset.saturating_sub(base_offset))
        {
            self.entries.push(Entry { relative_offset, position, max_before: self.max });
        }
        self.covered = self.covered.saturating_add(header.total_size() as u64);
        self.next_offset = header.last_offset().saturating_add(1);
        self.max = self.max.max(max);
    }

    /// The part that covers nothing at or above an offset: what may be stored while the rest can still be lost.
    pub fn below(&self, base_offset: i64, offset: i64) -> Self {
        if self.next_offset <= offset {
            return self.clone();
        }
        let wanted = offset.saturating_sub(base_offset);
        let keep = self.entries.partition_point(|e| i64::from(e.relative_offset) <= wanted);
        let Some((last, entries)) = self.entries.get(..keep).and_then(<[Entry]>::split_last) else {
            return Self::new(base_offset);
        };
        Self {
            entries: entries.to_vec(),
            covered: u64::from(last.position),
            next_offset: base_offset.saturating_add(i64::from(last.relative_offset)),
            max: last.max_before,
        }
    }

    /// The part by which so many bytes from a relative offset on are found: from the entry in front of the batch that begins them,
    /// which lies before the entry behind.
    pub fn part(&self, from: i64, bytes: u64) -> Self {
        let behind = self.entries.partition_point(|e| i64::from(e.relative_offset) <= from);
        let begins_below = self.entries.get(behind).map_or(self.covered, |e| u64::from(e.position));
        let end = self.entries.partition_point(|e| u64::from(e.position) <= begins_below.saturating_add(bytes));
        let entries = self.entries.get(behind.saturating_sub(1)..end).unwrap_or_default().to_vec();
        Self { entries, ..*self }
    }

    /// The last entry for which `before` holds; `before` holds for a prefix of the entries.
    pub fn last_where(&self, before: impl Fn(&Entry) -> bool) -> Entry {
        self.around(before).entry
    }

    /// The same, with the entry behind it.
    pub fn around(&self, before: impl Fn(&Entry) -> bool) -> Around {
        let at = self.entries.partition_point(before);
        let entry = at.checked_sub(1).and_then(|at| self.entries.get(at)).copied().unwrap_or(Entry::START);
        Around { entry, next: self.entries.get(at).copied() }
    }

    pub fn encode(&self, kind: Kind, base_offset: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.entries.len() * (ENTRY_BYTES + 1));
        out.put_slice(&kind.magic);
        out.put_u16(VERSION);
        out.put_u16(16);
        out.put_i64(base_offset);
        out.put_u64(self.covered);
        out.put_i64(self.next_offset);
        out.put_i64(self.max);
        out.put_u32(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let header_crc = crc32c::crc32c(&out);
        out.put_u32(header_crc);
        for (number, block) in (0u32..).zip(self.entries.chunks(BLOCK_ENTRIES)) {
            let start = out.len();
            for entry in block {
                out.put_u32(entry.relative_offset);
                out.put_u32(entry.position);
                out.put_i64(entry.max_before);
            }
            let crc = block_crc(header_crc, number, out.get(start..).unwrap_or_default());
            out.put_u32(crc);
        }
        out
    }

    /// Reads a whole index file; None if any part of it is not what was written.
    pub fn load<F: DiskFile>(file: &F, kind: Kind, base_offset: i64) -> Option<Self> {
        let header = IndexHeader::load(file, kind, base_offset)?;
        let mut entries = Vec::new();
        for number in 0..header.blocks() {
            entries.extend(header.block(file, number, Patience::Waits).ok()??);
        }
        let IndexHeader { covered, next_offset, max, .. } = header;
        Some(Self { entries, covered, next_offset, max })
    }
}

impl IndexHeader {
    /// Reads and checks the header of an index file.
    pub fn load<F: DiskFile>(file: &F, kind: Kind, base_offset: i64) -> Option<Self> {
        Self::read(file, kind, base_offset, Patience::Waits).ok().flatten()
    }

    /// The same, with that patience. The only error is that it would have to wait.
    pub fn read<F: DiskFile>(file: &F, kind: Kind, base_offset: i64, patience: Patience) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER_BYTES];
        match patience.read_full(file, &mut bytes, 0) {
            Ok(filled) => Ok(Self::of(&bytes, filled, kind, base_offset)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn of(bytes: &[u8], filled: usize, kind: Kind, base_offset: i64) -> Option<Self> {
        let crc = crc32c::crc32c(bytes.get(..HEADER_BYTES - 4)?);
        let mut rest = bytes.get(..filled).filter(|b| b.len() == HEADER_BYTES && b.starts_with(&kind.magic))?;
        rest.advance(4);
        let format = (rest.get_u16(), rest.get_u16());
        let header = Self {
            base_offset: rest.get_i64(),
            covered: rest.get_u64(),
            next_offset: rest.get_i64(),
            max: rest.get_i64(),
            count: rest.get_u32(),
            crc: rest.get_u32(),
        };
        (format == (VERSION, 16) && header.crc == crc && header.base_offset == base_offset).then_some(header)
    }

    /// The last entry for which `before` holds. None if a block is damaged.
    pub fn last_where<F: DiskFile>(&self, file: &F, before: impl Fn(&Entry) -> bool) -> Option<Entry> {
        self.around(file, before, Patience::Waits).ok().flatten().map(|around| around.entry)
    }

    /// The same, with the entry behind it, by binary search over the blocks of the file: a few reads of 4 KiB, no map and no
    /// memory kept (IO-13). The only error is that it would have to wait.
    pub fn around<F: DiskFile>(
        &self,
        file: &F,
        before: impl Fn(&Entry) -> bool,
        patience: Patience,
    ) -> io::Result<Option<Around>> {
        let (mut low, mut high) = (0, self.blocks());
        let mut found = Around { entry: Entry::START, next: None };
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(block) = self.block(file, middle, patience)? else { return Ok(None) };
            let within = block.partition_point(&before);
            match within.checked_sub(1).and_then(|at| block.get(at)) {
                None => {
                    // The blocks from here on have been looked at or are behind this one: nothing is nearer so far.
                    found.next = block.first().copied();
                    high = middle;
                }
                Some(entry) => {
                    found.entry = *entry;
                    if let Some(next) = block.get(within) {
                        found.next = Some(*next);
                        return Ok(Some(found));
                    }
                    low = middle + 1;
                }
            }
        }
        Ok(Some(found))
    }

    fn blocks(&self) -> u32 {
        self.count.div_ceil(256)
    }

    /// A block of entries; None if it is not what was written, or cannot be read. The only error is that it would have to
    /// wait.
    fn block<F: DiskFile>(&self, file: &F, number: u32, patience: Patience) -> io::Result<Option<Vec<Entry>>> {
        const STRIDE: u64 = (BLOCK_ENTRIES * ENTRY_BYTES + 4) as u64;
        let behind = number.checked_mul(256).and_then(|before| self.count.checked_sub(before));
        let Some(behind) = behind else { return Ok(None) };
        let entries = (behind as usize).min(BLOCK_ENTRIES);
        let mut bytes = vec![0; entries * ENTRY_BYTES + 4];
        match patience.read_full(file, &mut bytes, HEADER_BYTES as u64 + u64::from(number) * STRIDE) {
            Ok(filled) => Ok(bytes.get(..filled).and_then(|bytes| self.entries_of(number, bytes, entries))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn entries_of(&self, number: u32, bytes: &[u8], entries: usize) -> Option<Vec<Entry>> {
        let (body, mut crc) = bytes.split_at_checked(entries * ENTRY_BYTES)?;
        if crc.len() != 4 || block_crc(self.crc, number, body) != crc.get_u32() {
            return None;
        }
        let parse =
            |mut b: &[u8]| Entry { relative_offset: b.get_u32(), position: b.get_u32(), max_before: b.get_i64() };
        Some(body.chunks_exact(ENTRY_BYTES).map(parse).collect())
    }
}

fn block_crc(header_crc: u32, number: u32, entries: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&header_crc.to_be_bytes());
    let crc = crc32c::crc32c_append(crc, &number.to_be_bytes());
    crc32c::crc32c_append(crc, entries)
}
