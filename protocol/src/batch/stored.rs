//! A batch that is read back from a log: checked, inflated, and its records with their absolute offsets and times.
//! Holds: nothing of it is handed out before its CRC is right (IO-07), and it inflates to its bound at most.

use std::borrow::Cow;

use super::codec::{Codec, CodecError, decompress};
use super::header::{BATCH_HEADER_BYTES, BatchError, BatchHeader, TimestampType};
use super::records::{RecordError, RecordView, Records};
use crate::{LeaderEpoch, LogOffset, Vlsn};

/// Most bytes that a batch may inflate to once it is stored. It was bounded when it was taken, by limits that may have been
/// lowered since, and perhaps compressed better then: with its CRC right, there is no stranger's claim to be bounded again.
pub const STORED_INFLATE_MAX: usize = (1 << 31) - 1;

/// Why stored bytes are not the batch that was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Length, magic or CRC.
    #[error(transparent)]
    Header(#[from] BatchError),
    /// A codec that does not exist.
    #[error("compression codec {found} is unknown")]
    UnknownCodec {
        /// Its number.
        found: i16,
    },
    /// The payload cannot be inflated.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A malformed record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Another batch than the one that belongs there: its base offset is outside the CRC (IO-07).
    #[error("a batch with base offset {found} stands where {expected} belongs")]
    Misplaced {
        /// Where the batches before it end.
        expected: LogOffset,
        /// What its header says.
        found: i64,
    },
    /// The batch is of another leader epoch than its offset; this is outside the CRC too (IO-07).
    #[error("the batch is of leader epoch {found}, {expected} wrote its offsets")]
    OtherEpoch {
        /// Who wrote that offset.
        expected: LeaderEpoch,
        /// What its header says.
        found: i32,
    },
    /// A record of a VLSN log whose key is none.
    #[error("the record at offset {offset} has no VLSN for its key")]
    NoVlsn {
        /// Where it is.
        offset: LogOffset,
    },
}

/// A batch, inflated.
#[derive(Debug, Clone)]
pub struct StoredBatch<'a> {
    /// Its header.
    pub header: BatchHeader,
    payload: Cow<'a, [u8]>,
}

/// A record of a VLSN log.
#[derive(Debug, Clone, Copy)]
pub struct StoredRecord<'a> {
    /// Its VLSN.
    pub vlsn: Vlsn,
    /// Its offset in the partition.
    pub offset: LogOffset,
    /// Milliseconds since 1970, -1 for none: its own, or the append time.
    pub timestamp: i64,
    /// Everything else.
    pub record: RecordView<'a>,
}

impl<'a> StoredBatch<'a> {
    /// Opens the batch that the bytes begin with.
    pub fn open(bytes: &'a [u8]) -> Result<Self, StoredError> {
        let header = BatchHeader::parse(bytes)?;
        let size = header.total_size();
        let body =
            bytes.get(BATCH_HEADER_BYTES..size).ok_or(BatchError::Short { needed: size, available: bytes.len() })?;
        header.verify_crc(bytes)?;
        let codec = header.codec().map_err(|found| StoredError::UnknownCodec { found })?;
        let payload = match codec {
            Codec::None => Cow::Borrowed(body),
            Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
                Cow::Owned(decompress(codec, body, STORED_INFLATE_MAX)?)
            }
        };
        Ok(Self { header, payload })
    }

    /// Its records as they were before compression, one behind the other.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The same, kept: a copy only if it was compressed.
    pub fn into_payload(self) -> Cow<'a, [u8]> {
        self.payload
    }

    /// Its records with their VLSNs, in order.
    pub fn records(&self) -> impl Iterator<Item = Result<StoredRecord<'_>, StoredError>> {
        self.records_from(&self.payload)
    }

    /// The same from somewhere in its payload on.
    pub fn records_from<'s>(&'s self, rest: &'s [u8]) -> impl Iterator<Item = Result<StoredRecord<'s>, StoredError>> {
        self.base().records(rest)
    }

    /// What its records are relative to.
    pub fn base(&self) -> RecordBase {
        RecordBase::of(&self.header)
    }
}

/// What the records of a batch are relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordBase {
    /// Base offset.
    pub offset: LogOffset,
    /// Who wrote the batch.
    pub epoch: LeaderEpoch,
    first_timestamp: i64,
    /// The time of all of them, where the log stamps that.
    appended: Option<i64>,
}

impl RecordBase {
    fn of(header: &BatchHeader) -> Self {
        let appended = (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
        let (offset, epoch) = (LogOffset(header.base_offset), LeaderEpoch(header.leader_epoch));
        Self { offset, epoch, first_timestamp: header.base_timestamp, appended }
    }

    /// Time of a record, in milliseconds since 1970: the append time where the log stamps that.
    #[inline]
    pub fn timestamp(self, delta: i64) -> i64 {
        self.appended.unwrap_or(self.first_timestamp.wrapping_add(delta))
    }

    /// Records with their VLSNs, one behind the other.
    pub(super) fn records<'a>(self, payload: &'a [u8]) -> impl Iterator<Item = Result<StoredRecord<'a>, StoredError>> {
        Records::new(payload).map(move |record| {
            let record = record?;
            let offset = LogOffset(self.offset.0.saturating_add(i64::from(record.offset_delta)));
            let vlsn = record.key.and_then(Vlsn::of_key).ok_or(StoredError::NoVlsn { offset })?;
            Ok(StoredRecord { vlsn, offset, timestamp: self.timestamp(record.timestamp_delta), record })
        })
    }
}
