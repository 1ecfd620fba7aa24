//! The 61 bytes in front of a batch's records, as a value and as edits in place.
//!
//! Holds: `parse` accepts only magic 2 with a batch length that covers the header, so sizes derived from a parsed header
//! are never negative. It says nothing of the CRC, the counts or the records: those are checks of their own.

/// Bytes of a v2 batch header, base offset and length included.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Base offset and batch length: the bytes that `batch_length` does not count.
pub const BATCH_PREFIX_BYTES: usize = 12;
/// The only magic that is stored.
pub const MAGIC_V2: i8 = 2;

/// Smallest `batch_length`: the header without its prefix.
const BATCH_LENGTH_MIN: i32 = 49;
/// The CRC covers the batch from its attributes on.
const CRC_START: usize = 21;
const LEADER_EPOCH_AT: usize = 12;

const CODEC_BITS: i16 = 0b111;
const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// What is wrong with the bytes of a stored or received batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or the declared batch has.
    #[error("{available} bytes are there, the batch needs {needed}")]
    Short {
        /// Bytes needed.
        needed: usize,
        /// Bytes found.
        available: usize,
    },
    /// `batch_length` does not even cover the header.
    #[error("batch length is {found}, at least {BATCH_LENGTH_MIN} is needed")]
    Length {
        /// The declared length.
        found: i32,
    },
    /// Another format.
    #[error("batch has magic {found}, only {MAGIC_V2} is supported")]
    Magic {
        /// The magic found.
        found: i8,
    },
    /// The bytes are not those that the CRC was made of.
    #[error("CRC-32C is {found:#010x}, the header says {stored:#010x}")]
    Crc {
        /// CRC of the bytes.
        found: u32,
        /// CRC in the header.
        stored: u32,
    },
}

/// Who set a batch's timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer, per record.
    CreateTime,
    /// The broker: every record has the batch's `max_timestamp`.
    LogAppendTime,
}

/// The header of a v2 batch, field by field as on the wire (big-endian there).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; assigned by the leader, outside the CRC.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; outside the CRC.
    pub leader_epoch: i32,
    /// Format, always 2.
    pub magic: i8,
    /// CRC-32C of everything from `attributes` on.
    pub crc: u32,
    /// Bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
    pub attributes: i16,
    /// Offset of the last record minus `base_offset`; stays when compaction removes records.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970 that the records' deltas count from.
    pub base_timestamp: i64,
    /// Largest record timestamp in milliseconds, or the append time.
    pub max_timestamp: i64,
    /// Producer id, negative without idempotence.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

/// The `N` bytes at `at`; zeros beyond the end, which `parse` excludes before it reads.
fn at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

impl BatchHeader {
    /// Reads a header from the first 61 bytes. The rest of the batch may be missing: see [`Self::total_size`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() < BATCH_HEADER_BYTES {
            return Err(BatchError::Short { needed: BATCH_HEADER_BYTES, available: bytes.len() });
        }
        let header = Self {
            base_offset: i64::from_be_bytes(at(bytes, 0)),
            batch_length: i32::from_be_bytes(at(bytes, 8)),
            leader_epoch: i32::from_be_bytes(at(bytes, LEADER_EPOCH_AT)),
            magic: i8::from_be_bytes(at(bytes, 16)),
            crc: u32::from_be_bytes(at(bytes, 17)),
            attributes: i16::from_be_bytes(at(bytes, CRC_START)),
            last_offset_delta: i32::from_be_bytes(at(bytes, 23)),
            base_timestamp: i64::from_be_bytes(at(bytes, 27)),
            max_timestamp: i64::from_be_bytes(at(bytes, 35)),
            producer_id: i64::from_be_bytes(at(bytes, 43)),
            producer_epoch: i16::from_be_bytes(at(bytes, 51)),
            base_sequence: i32::from_be_bytes(at(bytes, 53)),
            record_count: i32::from_be_bytes(at(bytes, 57)),
        };
        if header.magic != MAGIC_V2 {
            return Err(BatchError::Magic { found: header.magic });
        }
        if header.batch_length < BATCH_LENGTH_MIN {
            return Err(BatchError::Length { found: header.batch_length });
        }
        Ok(header)
    }

    /// The header as it stands in front of the body.
    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = [0; BATCH_HEADER_BYTES];
        let mut rest = &mut out[..];
        put(&mut rest, &self.base_offset.to_be_bytes());
        put(&mut rest, &self.batch_length.to_be_bytes());
        put(&mut rest, &self.leader_epoch.to_be_bytes());
        put(&mut rest, &self.magic.to_be_bytes());
        put(&mut rest, &self.crc.to_be_bytes());
        put(&mut rest, &self.attributes.to_be_bytes());
        put(&mut rest, &self.last_offset_delta.to_be_bytes());
        put(&mut rest, &self.base_timestamp.to_be_bytes());
        put(&mut rest, &self.max_timestamp.to_be_bytes());
        put(&mut rest, &self.producer_id.to_be_bytes());
        put(&mut rest, &self.producer_epoch.to_be_bytes());
        put(&mut rest, &self.base_sequence.to_be_bytes());
        put(&mut rest, &self.record_count.to_be_bytes());
        out
    }

    /// Bytes of the whole batch: prefix, rest of the header, records.
    pub fn total_size(&self) -> usize {
        usize::try_from(self.batch_length).unwrap_or(0).saturating_add(BATCH_PREFIX_BYTES)
    }

    /// Bytes after the header.
    pub fn body_size(&self) -> usize {
        self.total_size().saturating_sub(BATCH_HEADER_BYTES)
    }

    /// Offset of the last record (saturates at the end of the range).
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Compression of the records, or the unknown codec number (5-7).
    pub fn codec(&self) -> Result<super::Codec, i16> {
        super::Codec::from_bits(self.attributes & CODEC_BITS)
    }

    /// Sets the codec bits; the CRC is stale afterwards.
    pub fn set_codec(&mut self, codec: super::Codec) {
        self.attributes = (self.attributes & !CODEC_BITS) | codec.bits();
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Sets the timestamp type bit; the CRC is stale afterwards.
    pub fn set_timestamp_type(&mut self, kind: TimestampType) {
        match kind {
            TimestampType::CreateTime => self.attributes &= !TIMESTAMP_TYPE_BIT,
            TimestampType::LogAppendTime => self.attributes |= TIMESTAMP_TYPE_BIT,
        }
    }

    /// Whether the records belong to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether this is a marker of the broker instead of records.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether `base_timestamp` is the time from which the cleaner may drop tombstones.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// The time from which the cleaner may drop the batch's tombstones, once one is set.
    pub fn delete_horizon(&self) -> Option<i64> {
        self.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Sets that time, or takes it away. `base_timestamp` is another one then, from which the records' deltas have to
    /// count, and the CRC is stale.
    pub fn set_delete_horizon(&mut self, horizon: Option<i64>) {
        match horizon {
            Some(at) => (self.attributes, self.base_timestamp) = (self.attributes | DELETE_HORIZON_BIT, at),
            None => self.attributes &= !DELETE_HORIZON_BIT,
        }
    }

    /// Whether the batch takes part in idempotence: any other producer id means that epoch and sequence are noise (I9).
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence number of the last record; 2147483647 is followed by 0 (I8).
    pub fn last_sequence(&self) -> i32 {
        let sum = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        let wrapped = if sum > i64::from(i32::MAX) { sum - (i64::from(i32::MAX) + 1) } else { sum };
        i32::try_from(wrapped).unwrap_or(i32::MAX)
    }

    /// CRC-32C of this header's covered fields followed by `body`.
    pub fn crc_with(&self, body: &[u8]) -> u32 {
        crc32c::crc32c_append(self.head_crc(), body)
    }

    /// Compares the CRC with the bytes of a whole batch (header included; more may follow).
    pub fn verify_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        let Some(covered) = batch.get(CRC_START..self.total_size()) else {
            return Err(BatchError::Short { needed: self.total_size(), available: batch.len() });
        };
        let found = crc32c::crc32c(covered);
        if found == self.crc { Ok(()) } else { Err(BatchError::Crc { found, stored: self.crc }) }
    }

    fn head_crc(&self) -> u32 {
        let header = self.encode();
        crc32c::crc32c(header.get(CRC_START..).unwrap_or_default())
    }
}

fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    if let Some((head, tail)) = std::mem::take(rest).split_at_mut_checked(bytes.len()) {
        head.copy_from_slice(bytes);
        *rest = tail;
    }
}

/// Writes the base offset into a batch (or its header) in place; false when the bytes end before.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) -> bool {
    overwrite(batch, 0, &base_offset.to_be_bytes())
}

/// Writes the leader epoch into a batch (or its header) in place; false when the bytes end before.
pub fn set_leader_epoch(batch: &mut [u8], leader_epoch: i32) -> bool {
    overwrite(batch, LEADER_EPOCH_AT, &leader_epoch.to_be_bytes())
}

fn overwrite(batch: &mut [u8], at: usize, bytes: &[u8]) -> bool {
    let Some(field) = batch.get_mut(at..at + bytes.len()) else { return false };
    field.copy_from_slice(bytes);
    true
}
