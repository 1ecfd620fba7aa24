//! Answers as they come in, in pieces of any size.
//!
//! Holds: memory is bounded by the few bytes in front of an answer's records and by one batch header; records themselves
//! are counted by their batch headers and passed over. A batch that the answer cuts off is not counted.

use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader};

use crate::frames::{FetchLayout, i16_at, i32_at, i64_at};

/// Answers above this are not those to requests of ours.
const FRAME_BYTES_MAX: usize = 256 << 20;
const LENGTH_BYTES: usize = 4;

/// What is wrong with an answer.
pub type Flaw = String;

/// Collects the first bytes of something until there are enough.
#[derive(Debug, Default)]
struct Prefix {
    kept: Vec<u8>,
}

impl Prefix {
    /// Takes bytes off `input` until there are `wanted`; whether they are there now.
    fn fill(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        let missing = wanted.saturating_sub(self.kept.len());
        let (taken, rest) = input.split_at(missing.min(input.len()));
        self.kept.extend_from_slice(taken);
        *input = rest;
        self.kept.len() >= wanted
    }
}

fn frame_bytes(length: &[u8]) -> Result<usize, Flaw> {
    let length = i32_at(length, 0).unwrap_or(0);
    usize::try_from(length)
        .ok()
        .filter(|bytes| (4..=FRAME_BYTES_MAX).contains(bytes))
        .ok_or_else(|| format!("its length is {length}"))
}

/// Reads small answers whole.
#[derive(Debug, Default)]
pub struct SmallReader {
    frame: Prefix,
}

impl SmallReader {
    /// Calls `each` with every answer that is complete now, without its length.
    pub fn read(&mut self, mut input: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), Flaw>) -> Result<(), Flaw> {
        // Nearly always whole answers arrive: those are not copied.
        while self.frame.kept.is_empty() && input.len() >= LENGTH_BYTES {
            let end = LENGTH_BYTES + frame_bytes(input)?;
            let Some(frame) = input.get(LENGTH_BYTES..end) else { break };
            each(frame)?;
            input = input.get(end..).unwrap_or_default();
        }
        while !input.is_empty() {
            if !self.frame.fill(LENGTH_BYTES, &mut input) {
                return Ok(());
            }
            let end = LENGTH_BYTES + frame_bytes(&self.frame.kept)?;
            if !self.frame.fill(end, &mut input) {
                return Ok(());
            }
            each(self.frame.kept.get(LENGTH_BYTES..end).unwrap_or_default())?;
            self.frame.kept.clear();
        }
        Ok(())
    }
}

/// What a Fetch answer for one partition said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Of the request.
    pub correlation: i32,
    /// Of the whole answer, or else of the partition.
    pub error: i16,
    /// Which partition.
    pub partition: i32,
    /// Records below it can be read.
    pub high_watermark: i64,
    /// Where the partition begins.
    pub log_start: i64,
    /// Bytes of whole batches.
    pub bytes: u64,
    /// Records in them, counted by their headers.
    pub records: u64,
    /// Offset of the first record, and the one behind the last.
    pub offsets: Option<(i64, i64)>,
}

#[derive(Debug)]
enum At {
    Length,
    Head { frame: usize },
    BatchHeader { records: usize, tail: usize },
    BatchBody { left: usize, records: usize, tail: usize, batch: BatchEnd },
    Skip { left: usize },
}

/// What a batch adds once all of it is there.
#[derive(Debug, Clone, Copy)]
struct BatchEnd {
    bytes: u64,
    records: u64,
    offsets: (i64, i64),
}

/// Reads Fetch answers without keeping their records.
#[derive(Debug)]
pub struct FetchReader {
    layout: FetchLayout,
    at: At,
    prefix: Prefix,
    fetched: Fetched,
}

impl FetchReader {
    /// For answers of one version and topic.
    pub fn new(layout: FetchLayout) -> Self {
        Self { layout, at: At::Length, prefix: Prefix::default(), fetched: Fetched::default() }
    }

    /// Calls `each` with every answer that is complete now.
    pub fn read(&mut self, mut input: &[u8], mut each: impl FnMut(Fetched) -> Result<(), Flaw>) -> Result<(), Flaw> {
        while !input.is_empty() {
            if let Some(next) = self.step(&mut input)? {
                self.at = next;
                self.prefix.kept.clear();
                if matches!(self.at, At::Length) {
                    each(std::mem::take(&mut self.fetched))?;
                }
            }
        }
        Ok(())
    }

    /// The next state, once the present one has all its bytes.
    fn step(&mut self, input: &mut &[u8]) -> Result<Option<At>, Flaw> {
        match &mut self.at {
            At::Length => {
                let complete = self.prefix.fill(LENGTH_BYTES, input);
                complete.then(|| frame_bytes(&self.prefix.kept).map(|frame| At::Head { frame })).transpose()
            }
            At::Head { frame } => {
                let frame = *frame;
                let wanted = frame.min(self.layout.head_bytes(&self.prefix.kept));
                let complete =
                    self.prefix.fill(wanted, input) && wanted == frame.min(self.layout.head_bytes(&self.prefix.kept));
                complete.then(|| self.head(frame)).transpose()
            }
            At::BatchHeader { records, tail } => {
                let (records, tail) = (*records, *tail);
                let complete = self.prefix.fill(BATCH_HEADER_BYTES, input);
                complete.then(|| self.batch(records, tail)).transpose()
            }
            At::BatchBody { left, records, tail, batch } => {
                pass(left, input);
                let (left, records, tail, batch) = (*left, *records, *tail, *batch);
                Ok((left == 0).then(|| self.end_batch(batch, records, tail)))
            }
            At::Skip { left } => {
                pass(left, input);
                Ok((*left == 0).then_some(At::Length))
            }
        }
    }

    /// What stands in front of the records.
    fn head(&mut self, frame: usize) -> Result<At, Flaw> {
        let (layout, kept) = (self.layout, &self.prefix.kept);
        let short = || format!("it has only {frame} bytes");
        let at = layout.partition_at;
        self.fetched.correlation = i32_at(kept, 0).ok_or_else(short)?;
        self.fetched.error = i16_at(kept, layout.error_at).ok_or_else(short)?;
        if self.fetched.error != 0 {
            return Ok(after_batches(0, frame.saturating_sub(kept.len())));
        }
        self.fetched.partition = i32_at(kept, at).ok_or_else(short)?;
        self.fetched.error = i16_at(kept, at + 4).ok_or_else(short)?;
        self.fetched.high_watermark = i64_at(kept, at + 6).ok_or_else(short)?;
        self.fetched.log_start = i64_at(kept, at + 22).ok_or_else(short)?;
        let records = layout.records_bytes(kept).ok_or_else(short)?;
        let tail = frame.checked_sub(kept.len() + records);
        let tail = tail.ok_or_else(|| format!("it has {frame} bytes and claims {records} bytes of records"))?;
        Ok(after_batches(records, tail))
    }

    /// The header of a batch is there; `records` bytes are left, the header's included.
    fn batch(&mut self, records: usize, tail: usize) -> Result<At, Flaw> {
        let header = BatchHeader::parse(&self.prefix.kept).map_err(|error| error.to_string())?;
        let size = header.total_size();
        let Some(rest) = records.checked_sub(size) else {
            return Ok(after_batches(0, records - BATCH_HEADER_BYTES + tail)); // the answer cuts it off
        };
        let last = header.base_offset.saturating_add(i64::from(header.last_offset_delta));
        let batch = BatchEnd {
            bytes: u64::try_from(size).unwrap_or(u64::MAX),
            records: u64::try_from(header.record_count).unwrap_or(0),
            offsets: (header.base_offset, last.saturating_add(1)),
        };
        match size - BATCH_HEADER_BYTES {
            0 => Ok(self.end_batch(batch, rest, tail)),
            left => Ok(At::BatchBody { left, records: rest, tail, batch }),
        }
    }

    fn end_batch(&mut self, batch: BatchEnd, records: usize, tail: usize) -> At {
        let fetched = &mut self.fetched;
        fetched.bytes += batch.bytes;
        fetched.records += batch.records;
        let first = fetched.offsets.map_or(batch.offsets.0, |(first, _)| first);
        fetched.offsets = Some((first, batch.offsets.1));
        after_batches(records, tail)
    }
}

/// What comes where a batch might begin, with so many bytes of records and of the answer's rest ahead.
fn after_batches(records: usize, tail: usize) -> At {
    match (records, records + tail) {
        (_, 0) => At::Length,
        (records, left) if records < BATCH_HEADER_BYTES => At::Skip { left },
        (records, _) => At::BatchHeader { records, tail },
    }
}

/// Passes over bytes that nobody looks at.
fn pass(left: &mut usize, input: &mut &[u8]) {
    let (passed, rest) = input.split_at((*left).min(input.len()));
    *left -= passed.len();
    *input = rest;
}

#[cfg(test)]
mod tests;
