//! The records of one partition in the order of their VLSNs, for a page: read in windows that stay at hand while their
//! records are copied on. A page of many partitions so costs the memory of a window each, not of all that it looks at.
//! Holds: nothing of a batch is handed out before its CRC is right, and before it is known to be the one that follows on
//! those before it (IO-07): how far a partition goes is told by offsets, which no CRC covers.

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
    /// Its payload if it was compressed; else it is in the window.
    inflated: Option<Vec<u8>>,
    /// Records that are left, in the window or in `inflated`.
    left: Range<usize>,
}

/// Whole batches of one partition.
#[derive(Debug)]
pub(super) struct Cursor<F> {
    pub index: PartitionIndex,
    /// What is not in the window yet.
    unread: Option<ReadSlice<F>>,
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
    pub fn new(index: PartitionIndex, run: Option<VlsnRun<F>>) -> Self {
        let (next_offset, epoch) = run.as_ref().map_or((LogOffset::ZERO, None), |run| (run.first, run.epoch));
        let (unread, window) = (run.map(|run| run.slice), Vec::new());
        Self { index, unread, next_offset, epoch, window, ahead: 0..0, batch: None }
    }

    /// The next record that is not below `from`, which rises. Blocks where it is not in the page cache.
    pub fn next(&mut self, from: Vlsn) -> Result<Option<Head>, VlsnError> {
        loop {
            while let Some(head) = self.next_of_batch().map_err(|error| self.stored(error))? {
                if head.vlsn >= from {
                    return Ok(Some(head));
                }
            }
            if !self.next_batch()? {
                return Ok(None);
            }
        }
    }

    /// Offset of the last record, once all of them were handed out. `None`: there are none.
    pub fn last_offset(&self) -> Option<i64> {
        self.batch.as_ref().map(|batch| batch.last_offset)
    }

    /// The record that came last.
    pub fn record(&self, head: &Head) -> ViewRecord<'_> {
        let rest = self.payload().get(head.rest.clone()).unwrap_or_default();
        ViewRecord { vlsn: head.vlsn, timestamp: head.timestamp, attributes: head.attributes, rest }
    }

    fn payload(&self) -> &[u8] {
        self.batch.as_ref().and_then(|batch| batch.inflated.as_deref()).unwrap_or(&self.window)
    }

    fn stored(&self, error: StoredError) -> VlsnError {
        VlsnError::Stored { index: self.index, error }
    }

    #[inline]
    fn next_of_batch(&mut self) -> Result<Option<Head>, StoredError> {
        let Some(batch) = self.batch.as_mut().filter(|batch| !batch.left.is_empty()) else { return Ok(None) };
        let payload = batch.inflated.as_deref().unwrap_or(&self.window);
        let record = KeyedRecord::first_of(payload.get(batch.left.clone()).unwrap_or_default(), batch.base.offset)?;
        batch.left.start += record.size;
        let end = batch.left.start;
        Ok(Some(Head {
            vlsn: record.vlsn,
            size: record.size,
            codec: batch.codec,
            timestamp: batch.base.timestamp(record.timestamp_delta),
            attributes: record.attributes,
            rest: end - record.rest.len()..end,
        }))
    }

    /// Goes on to the next batch, if there is one.
    fn next_batch(&mut self) -> Result<bool, VlsnError> {
        if self.ahead.is_empty() && self.unread.is_none() {
            return Ok(false);
        }
        self.fetch(BATCH_HEADER_BYTES)?;
        let header = self.in_window().and_then(|bytes| Ok(BatchHeader::parse(bytes)?));
        let header = header.and_then(|header| belongs(&header, self.next_offset, self.epoch).map(|()| header));
        let header = header.map_err(|error| self.stored(error))?;
        let size = header.total_size();
        (self.next_offset, self.epoch) = (LogOffset(header.last_offset().saturating_add(1)), None);
        self.fetch(size)?;
        let (opened, start) = (self.in_window().and_then(StoredBatch::open), self.ahead.start);
        let batch = opened.and_then(|batch| {
            let (base, last_offset) = (batch.base(), batch.header.last_offset());
            let codec = batch.header.codec().map_err(|found| StoredError::UnknownCodec { found })?;
            let inflated = (codec != Codec::None).then(|| batch.into_payload().into_owned());
            let left = match &inflated {
                Some(payload) => 0..payload.len(),
                None => start + BATCH_HEADER_BYTES..start + size,
            };
            Ok(Batch { base, last_offset, codec, inflated, left })
        });
        self.batch = Some(batch.map_err(|error| self.stored(error))?);
        self.ahead.start += size;
        Ok(true)
    }

    fn in_window(&self) -> Result<&[u8], StoredError> {
        let bytes = self.window.get(self.ahead.clone());
        bytes.ok_or_else(|| BatchError::Short { needed: self.ahead.end, available: self.window.len() }.into())
    }

    /// Has so many bytes of the next batch in the window, or as many as there are. No record of the batch before is
    /// wanted any more.
    fn fetch(&mut self, bytes: usize) -> Result<(), VlsnError> {
        let have = self.ahead.len();
        let Some(unread) = self.unread.as_mut().filter(|_| have < bytes) else { return Ok(()) };
        let more = unread.len.min((bytes - have).max(WINDOW_BYTES.saturating_sub(have)));
        self.window.copy_within(self.ahead.clone(), 0);
        if self.window.len() < have + more {
            self.window.resize(have + more, 0);
        }
        self.ahead = 0..have + more;
        let part = ReadSlice { file: unread.file.clone(), position: unread.position, len: more };
        unread.position += more as u64;
        unread.len -= more;
        if unread.len == 0 {
            self.unread = None;
        }
        let read = part.read_into(self.window.get_mut(have..have + more).unwrap_or_default());
        read.map_err(|error| VlsnError::Read { index: self.index, error: ReadError::Io(error) })
    }
}
