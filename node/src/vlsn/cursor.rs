//! The records of one partition in the order of their VLSNs, for a page: read in windows that stay at hand while their
//! records are copied on. A page of many partitions so costs the memory of a window each, not of all that it looks at.
//! Holds: nothing of a batch is handed out before its CRC is right, and before it is known to be the one that follows on
//! those before it (IO-07): how far a partition goes is told by offsets, which no CRC covers. While other partitions have
//! their turn, a cursor holds its share of bytes at most: a batch that is larger is opened again for what it has beyond.

use std::ops::Range;

use pyralog_protocol::batch::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, Codec, KeyedRecord, RecordBase, StoredBatch, StoredError, ViewRecord,
};
use pyralog_protocol::{LeaderEpoch, LogOffset, PartitionIndex, Vlsn};
use pyralog_storage::{DiskFile, ReadError, ReadSlice, VlsnRun};

use super::{VlsnError, belongs};

/// Bytes that are read at a time, unless a batch is larger.
const WINDOW_BYTES: usize = 64 << 10;

/// The next record of a partition: where it is in its cursor, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub vlsn: Vlsn,
    /// Bytes in its batch, before compression.
    pub size: usize,
    pub codec: Codec,
    timestamp: i64,
    attributes: i8,
    /// What is copied of it, in the payload of the batch.
    rest: Range<usize>,
}

/// The batch whose records come next.
#[derive(Debug)]
struct Batch {
    base: RecordBase,
    last_offset: i64,
    codec: Codec,
    /// Where it is in the run.
    place: Range<usize>,
    /// Records that are left, in its payload.
    left: Range<usize>,
    /// What is at hand of its payload: whole records.
    held: Range<usize>,
    /// That, if it is not in the window.
    own: Option<Vec<u8>>,
    /// Where it begins there.
    start: usize,
}

impl Batch {
    /// A part of the payload, if it is at hand.
    #[inline]
    fn part<'a>(&'a self, window: &'a [u8], part: Range<usize>) -> Option<&'a [u8]> {
        let from = self.start + part.start.checked_sub(self.held.start)?;
        let held = self.own.as_deref().unwrap_or(window);
        held.get(from..from + part.len()).filter(|_| part.end <= self.held.end)
    }
}

/// Whole batches of one partition.
#[derive(Debug)]
pub(super) struct Cursor<F> {
    pub index: PartitionIndex,
    run: Option<ReadSlice<F>>,
    /// Bytes of the run that were read.
    read: usize,
    /// Most bytes that are held while others have their turn.
    share: usize,
    /// Offset of the next batch.
    next_offset: LogOffset,
    /// Leader epoch of the first one, as far as it is known and until it was seen.
    epoch: Option<LeaderEpoch>,
    window: Vec<u8>,
    /// Bytes of the window behind the batch: the next ones.
    ahead: Range<usize>,
    batch: Option<Batch>,
}

impl<F: DiskFile> Cursor<F> {
    pub fn new(index: PartitionIndex, run: Option<VlsnRun<F>>, share: usize) -> Self {
        let (next_offset, epoch) = run.as_ref().map_or((LogOffset::ZERO, None), |run| (run.first, run.epoch));
        let (run, window) = (run.map(|run| run.slice), Vec::new());
        Self { index, run, read: 0, share, next_offset, epoch, window, ahead: 0..0, batch: None }
    }

    /// The next record that is not below `from`, which rises. Blocks where it is not in the page cache.
    pub fn next(&mut self, from: Vlsn) -> Result<Option<Head>, VlsnError> {
        loop {
            while let Some(head) = self.next_of_batch()? {
                if head.vlsn >= from {
                    if self.held_bytes() > self.share {
                        self.cut(&head);
                    }
                    return Ok(Some(head));
                }
            }
            if !self.next_batch()? {
                self.window = Vec::new();
                self.batch.iter_mut().for_each(|batch| batch.own = None);
                return Ok(None);
            }
        }
    }

    /// Offset of the last record, once all of them were handed out. `None`: there are none.
    pub fn last_offset(&self) -> Option<i64> {
        self.batch.as_ref().map(|batch| batch.last_offset)
    }

    /// The record that came last. Blocks as [`Self::next`] does.
    pub fn record(&mut self, head: &Head) -> Result<ViewRecord<'_>, VlsnError> {
        if self.part(&head.rest).is_none() {
            self.open_again()?;
        }
        let rest = self.part(&head.rest).unwrap_or_default();
        Ok(ViewRecord { vlsn: head.vlsn, timestamp: head.timestamp, attributes: head.attributes, rest })
    }

    fn part(&self, part: &Range<usize>) -> Option<&[u8]> {
        self.batch.as_ref().and_then(|batch| batch.part(&self.window, part.clone()))
    }

    fn stored(&self, error: StoredError) -> VlsnError {
        VlsnError::Stored { index: self.index, error }
    }

    fn held_bytes(&self) -> usize {
        let own = self.batch.as_ref().and_then(|batch| batch.own.as_ref());
        self.window.capacity() + own.map_or(0, Vec::capacity)
    }

    /// Lets go of all but the next record, and those behind it that the share has room for.
    fn cut(&mut self, head: &Head) {
        let Some(batch) = &mut self.batch else { return };
        let (start, mut end) = (head.rest.start, batch.left.start);
        let mut rest = batch.part(&self.window, batch.left.clone()).unwrap_or_default();
        while let Ok(next) = KeyedRecord::first_of(rest, batch.base.offset) {
            if end + next.size - start > self.share {
                break;
            }
            end += next.size;
            rest = rest.get(next.size..).unwrap_or_default();
        }
        let held = start..if end - start > self.share { start } else { end };
        let own = batch.part(&self.window, held.clone()).unwrap_or_default().to_vec();
        (batch.held, batch.own, batch.start) = (held, Some(own), 0);
        // What was read of the batches behind is read again.
        (self.window, self.ahead, self.read) = (Vec::new(), 0..0, batch.place.end);
    }

    #[inline]
    fn next_of_batch(&mut self) -> Result<Option<Head>, VlsnError> {
        let Some(batch) = self.batch.as_ref().filter(|batch| !batch.left.is_empty()) else { return Ok(None) };
        if batch.left.start >= batch.held.end {
            self.open_again()?;
        }
        let Some(batch) = &mut self.batch else { return Ok(None) };
        let rest = batch.part(&self.window, batch.left.start..batch.held.end).unwrap_or_default();
        let record = KeyedRecord::first_of(rest, batch.base.offset)
            .map_err(|error| VlsnError::Stored { index: self.index, error })?;
        let rest_bytes = record.rest.len();
        let head = Head {
            vlsn: record.vlsn,
            size: record.size,
            codec: batch.codec,
            timestamp: batch.base.timestamp(record.timestamp_delta),
            attributes: record.attributes,
            rest: batch.left.start + record.size - rest_bytes..batch.left.start + record.size,
        };
        batch.left.start = head.rest.end;
        Ok(Some(head))
    }

    /// Opens the batch again of which no more is at hand than was cut off it.
    fn open_again(&mut self) -> Result<(), VlsnError> {
        let Some(Batch { base, place, left, .. }) = self.batch.take() else { return Ok(()) };
        (self.read, self.ahead) = (place.start, 0..0);
        (self.next_offset, self.epoch) = (base.offset, Some(base.epoch));
        self.next_batch()?;
        match self.batch.as_mut().filter(|batch| batch.left.end == left.end) {
            Some(batch) => {
                batch.left = left;
                Ok(())
            }
            None => Err(self.stored(BatchError::Short { needed: left.end, available: 0 }.into())),
        }
    }

    /// Goes on to the next batch, if there is one.
    fn next_batch(&mut self) -> Result<bool, VlsnError> {
        if self.ahead.is_empty() && self.unread() == 0 {
            return Ok(false);
        }
        self.batch = None;
        self.fetch(BATCH_HEADER_BYTES)?;
        let header = self.in_window().and_then(|bytes| Ok(BatchHeader::parse(bytes)?));
        let header = header.and_then(|header| belongs(&header, self.next_offset, self.epoch).map(|()| header));
        let header = header.map_err(|error| self.stored(error))?;
        let size = header.total_size();
        (self.next_offset, self.epoch) = (LogOffset(header.last_offset().saturating_add(1)), None);
        self.fetch(size)?;
        let begins = self.read - self.ahead.len();
        let (opened, start) = (self.in_window().and_then(StoredBatch::open), self.ahead.start);
        let batch = opened.and_then(|batch| {
            let (base, last_offset) = (batch.base(), batch.header.last_offset());
            let codec = batch.header.codec().map_err(|found| StoredError::UnknownCodec { found })?;
            let (place, payload) = (begins..begins + size, 0..batch.payload().len());
            let own = (codec != Codec::None).then(|| batch.into_payload().into_owned());
            let start = if own.is_none() { start + BATCH_HEADER_BYTES } else { 0 };
            Ok(Batch { base, last_offset, codec, place, left: payload.clone(), held: payload, own, start })
        });
        self.batch = Some(batch.map_err(|error| self.stored(error))?);
        self.ahead.start += size;
        Ok(true)
    }

    fn unread(&self) -> usize {
        self.run.as_ref().map_or(0, |run| run.len.saturating_sub(self.read))
    }

    fn in_window(&self) -> Result<&[u8], StoredError> {
        let bytes = self.window.get(self.ahead.clone());
        bytes.ok_or_else(|| BatchError::Short { needed: self.ahead.end, available: self.window.len() }.into())
    }

    /// Has so many bytes of the next batch in the window, or as many as there are. No record of the batch before is
    /// wanted any more.
    fn fetch(&mut self, bytes: usize) -> Result<(), VlsnError> {
        let (have, unread) = (self.ahead.len(), self.unread());
        let Some(run) = self.run.as_ref().filter(|_| have < bytes && unread > 0) else { return Ok(()) };
        let window = WINDOW_BYTES.min(self.share);
        let more = unread.min((bytes - have).max(window.saturating_sub(have)));
        self.window.copy_within(self.ahead.clone(), 0);
        if self.window.len() < have + more {
            self.window.resize(have + more, 0);
        }
        self.ahead = 0..have + more;
        let part = ReadSlice { file: run.file.clone(), position: run.position + self.read as u64, len: more };
        self.read += more;
        let read = part.read_into(self.window.get_mut(have..have + more).unwrap_or_default());
        read.map_err(|error| VlsnError::Read { index: self.index, error: ReadError::Io(error) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pyralog_protocol::batch::{BatchBuilder, BatchHeader, Codec, Compression, KeyedRecord, StoredBatch};
    use pyralog_protocol::{Draw, LogOffset, PartitionIndex, Vlsn};
    use pyralog_storage::sim::{SimDisk, SimFile};
    use pyralog_storage::{Disk, DiskFile, OpenMode, ReadSlice, VlsnRun};

    use super::Cursor;

    fn below(draw: &mut Draw, end: u64) -> usize {
        usize::try_from(draw.next_u64() % end).unwrap()
    }

    /// A batch whose first offset is given, with VLSNs from `vlsn` on.
    fn batch(draw: &mut Draw, offset: i64, vlsn: &mut u64) -> Vec<u8> {
        let codec = [Codec::None, Codec::None, Codec::Lz4, Codec::Zstd][below(draw, 4)];
        let (records, largest) = [(1, 200_000), (3, 90_000), (200, 300), (40, 9_000)][below(draw, 4)];
        let mut batch = BatchBuilder::new().compression(Compression::of(codec));
        for _ in 0..=below(draw, records) {
            *vlsn += 1 + below(draw, 3) as u64;
            batch = batch.kv(1_800_000_000_000, &Vlsn(*vlsn).key(), &vec![(*vlsn % 251) as u8; below(draw, largest)]);
        }
        let mut bytes = batch.build().unwrap().to_vec();
        let header = BatchHeader { base_offset: offset, ..BatchHeader::parse(&bytes).unwrap() };
        bytes[..61].copy_from_slice(&header.encode());
        bytes
    }

    /// Batches in a file, and each record as a cursor has it.
    fn written(draw: &mut Draw) -> (VlsnRun<SimFile>, Vec<(Vlsn, Vec<u8>)>) {
        let (mut bytes, mut records, mut offset, mut vlsn) = (Vec::new(), Vec::new(), 0, 0);
        for _ in 0..20 {
            let batch = batch(draw, offset, &mut vlsn);
            let stored = StoredBatch::open(&batch).unwrap();
            offset = stored.header.last_offset() + 1;
            let mut rest = stored.payload();
            while !rest.is_empty() {
                let record = KeyedRecord::first_of(rest, LogOffset(0)).unwrap();
                records.push((record.vlsn, record.rest.to_vec()));
                rest = &rest[record.size..];
            }
            bytes.extend_from_slice(&batch);
        }
        let disk = SimDisk::new();
        let file = disk.open("batches", OpenMode::Create).unwrap();
        file.write_all_at([&bytes, &[]], 0).unwrap();
        let slice = ReadSlice { file: Arc::new(file), position: 0, len: bytes.len() };
        (VlsnRun { slice, first: LogOffset(0), epoch: None }, records)
    }

    /// Reads on as a page does: from where it is, or from somewhere behind that, and not every record that comes.
    fn read(draw: &mut Draw, share: usize) -> Result<(), String> {
        let (run, records) = written(draw);
        let mut cursor = Cursor::new(PartitionIndex(0), Some(run), share);
        let (mut from, mut wanted) = (Vlsn(0), records.iter());
        while let Some(head) = cursor.next(from).map_err(|error| error.to_string())? {
            let held = cursor.held_bytes();
            if held > share {
                return Err(format!("{held} bytes are held at VLSN {}", head.vlsn));
            }
            let Some((vlsn, rest)) = wanted.find(|(vlsn, _)| *vlsn >= from) else { return Err("too many".into()) };
            if head.vlsn != *vlsn {
                return Err(format!("{} comes where {vlsn} is next", head.vlsn));
            }
            if below(draw, 8) > 0 && cursor.record(&head).map_err(|error| error.to_string())?.rest != rest {
                return Err(format!("{vlsn} is another record"));
            }
            from = Vlsn(vlsn.0 + [1, 1, 1, 1, 50][below(draw, 5)]);
        }
        if cursor.held_bytes() > 0 {
            return Err(format!("{} bytes are held at the end", cursor.held_bytes()));
        }
        wanted.find(|(vlsn, _)| *vlsn >= from).map_or(Ok(()), |(vlsn, _)| Err(format!("{vlsn} is missing")))
    }

    #[test]
    fn a_cursor_holds_its_share_at_most_and_leaves_no_record_out() {
        for seed in 0..300 {
            let mut draw = Draw::new(seed | 1 << 91);
            let share = [0, 100, 5_000, 70_000, 300_000][below(&mut draw, 5)];
            read(&mut draw, share).unwrap_or_else(|what| panic!("seed {seed}, share {share}: {what}"));
        }
    }
}
