//! What a Produce request's partition may contain, and what becomes of it before storage sees it (behaviours P1-P14,
//! P22-P27, and of I9 what lies in the batch).
//!
//! Holds: an accepted batch is exactly one v2 batch whose CRC, counts, deltas and records are right, so no consumer meets
//! a broken one. An uncompressed batch that needs no change is passed on as a slice of the request: nothing is copied.
//! Where Kafka answers -1 (P12) the code here is one that does not make Java producers duplicate (E2).
//! Absent: everything that needs state (sequences, transactions, topic names) or the request's other fields (P15-P21, P29).

use bytes::Bytes;

use super::codec::{Codec, CodecError, Compression, compress, decompress, inflate_limit};
use super::header::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchError, BatchHeader, MAGIC_V2, TimestampType};
use super::records::{RecordError, RecordView, Records};
use super::stored::STORED_INFLATE_MAX;
use crate::{ErrorCode, PartitionIndex, Routing, Vlsn, WallMs};

/// How many records one refusal names. Kafka names all: a batch of tiny records would be answered with many times its size.
pub const RECORD_ERRORS_MAX: usize = 100;

/// The timestamp that means "none"; it is exempt from the bounds of P24.
const NO_TIMESTAMP: i64 = -1;
/// Most headers of a record of a VLSN log. A reader by VLSN has all of them in memory, one by one, and empty ones compress
/// to nothing: 8 million fit into a batch of 1.5 KB.
const VLSN_HEADERS_MAX: usize = 1_000;
/// Longest name of one of them: the message that answers such a read counts it in an i16.
const VLSN_HEADER_NAME_BYTES_MAX: usize = 32_767;
/// Smallest length that an old format's batch can declare.
const OLD_BATCH_LENGTH_MIN: i32 = 14;

/// The log's configuration and the moment, as far as they decide about one batch.
#[derive(Debug, Clone)]
pub struct ProduceRules {
    /// `max.message.bytes`: limit of the whole batch, its prefix included (P22).
    pub max_message_bytes: usize,
    /// `segment.bytes`: a batch has to fit into one segment (P22).
    pub segment_bytes: usize,
    /// Whether `cleanup.policy` contains `compact`: keys must not be null (P23).
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms` (P24).
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms` (P24).
    pub after_max_ms: i64,
    /// `compression.type` with its level; `None` keeps the producer's (P27).
    pub target: Option<Compression>,
    /// Whether the request's version knows zstd (Produce v7 and above, P13).
    pub zstd_allowed: bool,
    /// The append time.
    pub now: WallMs,
    /// Where a VLSN log expects the batch's records: their keys are VLSNs of that partition, rising.
    pub vlsn: Option<VlsnRoute>,
}

/// What a batch for one partition of a VLSN log is compared with.
#[derive(Debug, Clone)]
pub struct VlsnRoute {
    /// Which VLSN belongs where.
    pub routing: Routing,
    /// Where the batch was sent.
    pub partition: PartitionIndex,
}

/// A batch that may be appended. Storage sets `base_offset` and `leader_epoch` in `header`, both outside the CRC, and
/// writes `header.encode()` followed by `body`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBatch {
    /// The header, CRC up to date.
    pub header: BatchHeader,
    /// Everything after the header: a slice of the request unless it was recompressed.
    pub body: Bytes,
    /// Offset delta of the first record that has `header.max_timestamp`; 0 under LogAppendTime.
    pub max_timestamp_offset_delta: i32,
    /// The VLSN of each record, rising; empty where the log has none.
    pub vlsns: Vec<Vlsn>,
}

impl CheckedBatch {
    /// Bytes that the batch takes in a segment.
    pub fn total_size(&self) -> usize {
        self.header.total_size()
    }

    /// The same with another append time, under LogAppendTime.
    #[must_use]
    pub fn appended_at(&self, time: i64) -> Self {
        let mut batch = self.clone();
        batch.header.max_timestamp = time;
        batch.header.crc = batch.header.crc_with(&batch.body);
        batch
    }

    /// `log_append_time_ms` of the answer: the append time under LogAppendTime, otherwise -1 (P26).
    pub fn log_append_time_ms(&self) -> i64 {
        match self.header.timestamp_type() {
            TimestampType::LogAppendTime => self.header.max_timestamp,
            TimestampType::CreateTime => NO_TIMESTAMP,
        }
    }
}

/// A record named in `record_errors` of the answer (v8 and above).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Index in the batch.
    pub index: i32,
    /// `batch_index_error_message`.
    pub message: String,
}

/// Why a partition's bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// The records field is null (P2).
    #[error("the partition has no records (null)")]
    NullRecords,
    /// Not even the start of a batch (P1).
    #[error("{bytes} bytes hold no batch")]
    NoBatch {
        /// Bytes found.
        bytes: usize,
    },
    /// The batch goes on past the data (P1, P5).
    #[error("the batch declares {declared} bytes, {available} are there")]
    Cut {
        /// Size of the batch as declared.
        declared: usize,
        /// Bytes found.
        available: usize,
    },
    /// Magic 0 or 1 (P4).
    #[error("magic {found} is no longer supported, use a client that writes format v2 (Kafka 0.11 and above)")]
    OldMagic {
        /// The magic.
        found: i8,
    },
    /// More than one batch (P1).
    #[error("{surplus} bytes follow the batch; exactly one batch per partition is allowed")]
    SecondBatch {
        /// Bytes after the first batch.
        surplus: usize,
    },
    /// Bytes behind the batch that cannot be one (P3).
    #[error("{surplus} bytes follow the batch that are no batch")]
    Garbage {
        /// Bytes after the first batch.
        surplus: usize,
    },
    /// The header's base offset is not 0 (P6).
    #[error("base offset is {found}, producers must send 0")]
    BaseOffset {
        /// The base offset.
        found: i64,
    },
    /// Over `max.message.bytes` (P22).
    #[error("the batch has {bytes} bytes, max.message.bytes={limit}")]
    TooLarge {
        /// Size of the batch.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Over `segment.bytes` (P22).
    #[error("the batch has {bytes} bytes, segment.bytes={limit}")]
    TooLargeForSegment {
        /// Size of the batch.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Length, magic or CRC (P4, P5).
    #[error(transparent)]
    Header(#[from] BatchError),
    /// Count and last offset delta disagree, or there are no records (P7).
    #[error("record count {count} with last offset delta {last_offset_delta}")]
    Count {
        /// `record_count`.
        count: i32,
        /// `last_offset_delta`.
        last_offset_delta: i32,
    },
    /// A producer id without a sequence (I9).
    #[error("producer id {producer_id} with base sequence {base_sequence}")]
    Sequence {
        /// The producer id.
        producer_id: i64,
        /// The sequence.
        base_sequence: i32,
    },
    /// Attribute bit 5 (P10).
    #[error("clients must not write control batches")]
    Control,
    /// Attribute bit 6, which would make the cleaner read `base_timestamp` as something else (P11).
    #[error("clients must not set the delete horizon flag")]
    DeleteHorizon,
    /// Codec 5-7 (P12).
    #[error("compression codec {found} is unknown")]
    UnknownCodec {
        /// The codec number.
        found: i16,
    },
    /// zstd in a version that does not have it (P13).
    #[error("zstd needs Produce v7 or above")]
    ZstdTooOld,
    /// The payload cannot be inflated, or not within the bound (P12).
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A malformed record (P8).
    #[error("record {index}: {error}")]
    Record {
        /// Index in the batch.
        index: i32,
        /// What is wrong.
        error: RecordError,
    },
    /// Offset deltas do not count 0, 1, 2, ... (P7).
    #[error("record {index} has offset delta {found}")]
    OffsetDelta {
        /// Index in the batch.
        index: i32,
        /// The delta.
        found: i32,
    },
    /// Fewer or more records than declared (P7).
    #[error("the header declares {declared} records, {read} were read and {left_over} bytes are left over")]
    Records {
        /// `record_count`.
        declared: i32,
        /// Records found.
        read: i32,
        /// Bytes after the declared records.
        left_over: usize,
    },
    /// Null keys on a compacted log (P23).
    #[error(
        "One or more records have been rejected due to {total} record errors in total, and only showing the first three errors at most: {}",
        first_three(.rejected)
    )]
    NullKeys {
        /// How many records.
        total: usize,
        /// The first [`RECORD_ERRORS_MAX`] of them.
        rejected: Vec<RejectedRecord>,
    },
    /// Keys that are no VLSNs of this partition, or do not rise; headers that are more than it takes.
    #[error("{total} of the batch's records are refused by the VLSN log, the first because: {}", first_reason(.rejected))]
    Vlsns {
        /// How many records.
        total: usize,
        /// The first [`RECORD_ERRORS_MAX`] of them.
        rejected: Vec<RejectedRecord>,
    },
    /// Timestamps out of bounds (P24).
    #[error("One or more records have been rejected due to invalid timestamp")]
    Timestamps {
        /// The first [`RECORD_ERRORS_MAX`] of them.
        rejected: Vec<RejectedRecord>,
    },
}

fn first_reason(rejected: &[RejectedRecord]) -> &str {
    rejected.first().map_or("", |record| record.message.as_str())
}

fn first_three(rejected: &[RejectedRecord]) -> String {
    let shown: Vec<String> = rejected
        .iter()
        .take(3)
        .map(|r| format!("RecordError(batchIndex={}, message='{}')", r.index, r.message))
        .collect();
    format!("[{}]", shown.join(", "))
}

impl ProduceError {
    /// The code of the partition's answer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NullRecords
            | Self::NoBatch { .. }
            | Self::Cut { .. }
            | Self::OldMagic { .. }
            | Self::SecondBatch { .. }
            | Self::BaseOffset { .. }
            | Self::Count { .. }
            | Self::Sequence { .. }
            | Self::Control
            | Self::DeleteHorizon
            | Self::Record { .. }
            | Self::OffsetDelta { .. }
            | Self::Records { .. }
            | Self::NullKeys { .. }
            | Self::Vlsns { .. } => ErrorCode::InvalidRecord,
            Self::Garbage { .. } => ErrorCode::CorruptMessage,
            Self::Header(error) => match error {
                BatchError::Short { .. } => ErrorCode::InvalidRecord,
                BatchError::Length { .. } | BatchError::Magic { .. } | BatchError::Crc { .. } => {
                    ErrorCode::CorruptMessage
                }
            },
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::TooLargeForSegment { .. } => ErrorCode::RecordListTooLarge,
            Self::UnknownCodec { .. } | Self::ZstdTooOld => ErrorCode::UnsupportedCompressionType,
            Self::Codec(error) => match error {
                CodecError::Undecodable { .. } => ErrorCode::CorruptMessage,
                // Java splits such a batch and sends the halves, which is what helps.
                CodecError::TooLarge { .. } => ErrorCode::MessageTooLarge,
                CodecError::Compress { .. } => ErrorCode::KafkaStorageError,
            },
            Self::Timestamps { .. } => ErrorCode::InvalidTimestamp,
        }
    }

    /// Whether the answer tells where the log starts: Kafka's does where its log refuses the batch after it measured it and
    /// compared its checksum, and says -1 before that (P21).
    pub fn tells_log_start(&self) -> bool {
        match self {
            Self::NullRecords
            | Self::NoBatch { .. }
            | Self::Cut { .. }
            | Self::OldMagic { .. }
            | Self::SecondBatch { .. }
            | Self::Garbage { .. }
            | Self::Header(_)
            | Self::TooLarge { .. }
            | Self::TooLargeForSegment { .. }
            | Self::ZstdTooOld => false,
            Self::BaseOffset { .. }
            | Self::Count { .. }
            | Self::Sequence { .. }
            | Self::Control
            | Self::DeleteHorizon
            | Self::UnknownCodec { .. }
            | Self::Codec(_)
            | Self::Record { .. }
            | Self::OffsetDelta { .. }
            | Self::Records { .. }
            | Self::NullKeys { .. }
            | Self::Vlsns { .. }
            | Self::Timestamps { .. } => true,
        }
    }

    /// `record_errors` of the answer; empty where Kafka gives none.
    pub fn rejected(&self) -> &[RejectedRecord] {
        if let Self::NullKeys { rejected, .. } | Self::Vlsns { rejected, .. } | Self::Timestamps { rejected } = self {
            rejected
        } else {
            &[]
        }
    }
}

/// Checks the records field of one partition of a Produce request.
pub fn check_produced(records: impl Into<Option<Bytes>>, rules: &ProduceRules) -> Result<CheckedBatch, ProduceError> {
    let records = records.into().ok_or(ProduceError::NullRecords)?;
    let header = outline(&records)?;
    check_place(&header, rules)?;
    // Before whatever the CRC covers: numbers that the network changed are no mistake of the producer, who is to send
    // the batch again.
    header.verify_crc(&records)?;
    check_numbers(&header)?;
    let codec = header.codec().map_err(|found| ProduceError::UnknownCodec { found })?;
    let body = records.slice(BATCH_HEADER_BYTES..header.total_size());
    let payload = match codec {
        Codec::None => body.clone(),
        Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
            Bytes::from(decompress(codec, &body, inflate_limit(body.len()).min(STORED_INFLATE_MAX))?)
        }
    };
    let (newest, vlsns) = walk(&header, &payload, rules)?;
    let mut batch = CheckedBatch { header, body, max_timestamp_offset_delta: newest.offset_delta, vlsns };
    stamp(&mut batch, newest, rules);
    if let Some(target) = rules.target.filter(|target| target.codec != codec) {
        recompress(&mut batch, &payload, target)?;
        check_size(batch.total_size(), rules.max_message_bytes)?;
    }
    if batch.total_size() > rules.segment_bytes {
        return Err(ProduceError::TooLargeForSegment { bytes: batch.total_size(), limit: rules.segment_bytes });
    }
    Ok(batch)
}

/// Finds the one batch in the bytes, in Kafka's order of checks (P1, P3, P4, P5).
fn outline(records: &[u8]) -> Result<BatchHeader, ProduceError> {
    const MAGIC_END: usize = 17;
    let no_batch = ProduceError::NoBatch { bytes: records.len() };
    let Some((length, magic)) = length_and_magic(records) else { return Err(no_batch) };
    if length < OLD_BATCH_LENGTH_MIN {
        return Err(BatchError::Length { found: length }.into());
    }
    let Some(magic) = magic else { return Err(no_batch) };
    if !(0..=MAGIC_V2).contains(&magic) {
        return Err(BatchError::Magic { found: magic }.into());
    }
    let declared = usize::try_from(length).unwrap_or(0).saturating_add(BATCH_PREFIX_BYTES);
    if declared > records.len() || records.len() < MAGIC_END {
        return Err(ProduceError::Cut { declared, available: records.len() });
    }
    if magic != MAGIC_V2 {
        return Err(ProduceError::OldMagic { found: magic });
    }
    if declared < BATCH_HEADER_BYTES {
        return Err(BatchError::Length { found: length }.into());
    }
    let header = BatchHeader::parse(records)?;
    match records.get(declared..) {
        Some(rest) => check_rest(rest).map(|()| header),
        None => Ok(header),
    }
}

/// Up to 11 bytes behind the batch are ignored, as in Kafka (P3). From there on Kafka reads a batch header and drops a
/// batch that is cut; dropping data in silence is worse than refusing it, so that is an error here.
fn check_rest(rest: &[u8]) -> Result<(), ProduceError> {
    let surplus = rest.len();
    match length_and_magic(rest) {
        None => Ok(()),
        Some((length, _)) if length < OLD_BATCH_LENGTH_MIN => Err(ProduceError::Garbage { surplus }),
        Some((_, Some(magic))) if !(0..=MAGIC_V2).contains(&magic) => Err(ProduceError::Garbage { surplus }),
        Some(_) => Err(ProduceError::SecondBatch { surplus }),
    }
}

/// The two fields that all formats have at the same place.
fn length_and_magic(bytes: &[u8]) -> Option<(i32, Option<i8>)> {
    let length = bytes.get(8..BATCH_PREFIX_BYTES)?.first_chunk()?;
    Some((i32::from_be_bytes(*length), bytes.get(16).map(|b| i8::from_be_bytes([*b]))))
}

/// What can be said without the bytes behind the header.
fn check_place(header: &BatchHeader, rules: &ProduceRules) -> Result<(), ProduceError> {
    if header.codec() == Ok(Codec::Zstd) && !rules.zstd_allowed {
        return Err(ProduceError::ZstdTooOld);
    }
    if header.base_offset != 0 {
        return Err(ProduceError::BaseOffset { found: header.base_offset });
    }
    check_size(header.total_size(), rules.max_message_bytes)
}

/// The numbers that the CRC covers.
fn check_numbers(header: &BatchHeader) -> Result<(), ProduceError> {
    if header.record_count < 1 || header.last_offset_delta != header.record_count - 1 {
        let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
        return Err(ProduceError::Count { count, last_offset_delta });
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        let (producer_id, base_sequence) = (header.producer_id, header.base_sequence);
        return Err(ProduceError::Sequence { producer_id, base_sequence });
    }
    if header.is_control() {
        return Err(ProduceError::Control);
    }
    if header.has_delete_horizon() {
        return Err(ProduceError::DeleteHorizon);
    }
    Ok(())
}

fn check_size(bytes: usize, limit: usize) -> Result<(), ProduceError> {
    if bytes > limit { Err(ProduceError::TooLarge { bytes, limit }) } else { Ok(()) }
}

/// The largest record timestamp and the first record that has it.
#[derive(Clone, Copy)]
struct Newest {
    timestamp: i64,
    offset_delta: i32,
}

/// Reads every record once: form, deltas, keys, timestamps.
fn walk(header: &BatchHeader, payload: &[u8], rules: &ProduceRules) -> Result<(Newest, Vec<Vlsn>), ProduceError> {
    let mut vlsns = Vec::new();
    let mut newest = Newest { timestamp: NO_TIMESTAMP, offset_delta: 0 };
    let mut refused = Refused::default();
    let mut records = Records::new(payload);
    let declared = header.record_count;
    for index in 0..declared {
        let record = match records.next() {
            Some(Ok(record)) => record,
            Some(Err(error)) => return Err(ProduceError::Record { index, error }),
            None => return Err(ProduceError::Records { declared, read: index, left_over: 0 }),
        };
        if record.offset_delta != index {
            return Err(ProduceError::OffsetDelta { index, found: record.offset_delta });
        }
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        if timestamp > newest.timestamp {
            newest = Newest { timestamp, offset_delta: index };
        }
        refused.check(index, &record, timestamp, rules);
        if let Some(route) = &rules.vlsn {
            let vlsn = check_headers(&record).and_then(|()| vlsn_of(&record, route, vlsns.last().copied()));
            match vlsn {
                Ok(vlsn) => vlsns.push(vlsn),
                Err(message) => refused.add_vlsn(index, message),
            }
        }
    }
    let left_over = records.remaining();
    if left_over > 0 {
        return Err(ProduceError::Records { declared, read: declared, left_over });
    }
    refused.into_result().map(|()| (newest, vlsns))
}

/// Whether a reader by VLSN can be answered with the headers of the record.
#[inline]
fn check_headers(record: &RecordView<'_>) -> Result<(), String> {
    let found = record.headers.len();
    if found > VLSN_HEADERS_MAX {
        return Err(format!("the record has {found} headers; records of a VLSN log have {VLSN_HEADERS_MAX} at most"));
    }
    match record.headers.iter().map(|header| header.key.len()).find(|bytes| *bytes > VLSN_HEADER_NAME_BYTES_MAX) {
        Some(bytes) => Err(format!(
            "the name of a header has {bytes} bytes; in a VLSN log they have {VLSN_HEADER_NAME_BYTES_MAX} at most"
        )),
        None => Ok(()),
    }
}

/// The record's VLSN, if it is one of this partition and above the one before it.
fn vlsn_of(record: &RecordView<'_>, route: &VlsnRoute, before: Option<Vlsn>) -> Result<Vlsn, String> {
    let key = record.key.ok_or("the key is null; a record of a VLSN log has its VLSN there, 8 bytes big-endian")?;
    let vlsn = Vlsn::of_key(key).ok_or_else(|| {
        format!("the key has {} bytes; a record of a VLSN log has its VLSN there, 8 bytes big-endian", key.len())
    })?;
    if vlsn > Vlsn::MAX {
        return Err(format!("VLSN {vlsn} is above the largest, {}", Vlsn::MAX));
    }
    let (number, epoch) = route.routing.epoch_of(vlsn);
    let partition = route.routing.partition(vlsn);
    if partition != route.partition {
        return Err(format!(
            "VLSN {vlsn} belongs to partition {partition} ({vlsn} mod {} partitions, routing epoch {number} from VLSN {}), not to {}",
            epoch.partitions, epoch.from, route.partition
        ));
    }
    match before.filter(|before| *before >= vlsn) {
        Some(before) => Err(format!("VLSN {vlsn} follows {before} in the batch; VLSNs of a partition rise")),
        None => Ok(vlsn),
    }
}

/// Well-formed records that the log's rules refuse; empty, and without memory, for all but a few batches.
#[derive(Default)]
struct Refused {
    total: usize,
    timestamps: bool,
    vlsns: bool,
    rejected: Vec<RejectedRecord>,
}

impl Refused {
    #[inline]
    fn check(&mut self, index: i32, record: &RecordView<'_>, timestamp: i64, rules: &ProduceRules) {
        if rules.compacted && record.key.is_none() {
            self.add(index, || "Compacted topic cannot accept message without key".to_owned());
        } else if out_of_bounds(timestamp, rules) {
            self.timestamps = true;
            let (now, before, after) = (rules.now.0, rules.before_max_ms, rules.after_max_ms);
            self.add(index, || {
                format!(
                    "Timestamp {timestamp} of message with offset {index} is out of range. The timestamp should be within [{}, {}]",
                    now.saturating_sub(before),
                    now.saturating_add(after)
                )
            });
        }
    }

    #[cold]
    fn add_vlsn(&mut self, index: i32, message: String) {
        self.vlsns = true;
        self.add(index, || message);
    }

    #[cold]
    fn add(&mut self, index: i32, message: impl FnOnce() -> String) {
        self.total += 1;
        if self.rejected.len() < RECORD_ERRORS_MAX {
            self.rejected.push(RejectedRecord { index, message: message() });
        }
    }

    fn into_result(self) -> Result<(), ProduceError> {
        match self {
            Self { total: 0, .. } => Ok(()),
            Self { vlsns: true, total, rejected, .. } => Err(ProduceError::Vlsns { total, rejected }),
            Self { timestamps: true, rejected, .. } => Err(ProduceError::Timestamps { rejected }),
            Self { total, rejected, .. } => Err(ProduceError::NullKeys { total, rejected }),
        }
    }
}

/// P24; "no timestamp" and LogAppendTime are exempt.
#[inline]
fn out_of_bounds(timestamp: i64, rules: &ProduceRules) -> bool {
    rules.timestamp_type == TimestampType::CreateTime
        && timestamp != NO_TIMESTAMP
        && (rules.now.0.saturating_sub(timestamp) > rules.before_max_ms
            || timestamp.saturating_sub(rules.now.0) > rules.after_max_ms)
}

/// Puts the log's timestamp type and the right maximum into the header (P11, P25, P26).
fn stamp(batch: &mut CheckedBatch, newest: Newest, rules: &ProduceRules) {
    let before = (batch.header.attributes, batch.header.max_timestamp);
    batch.header.set_timestamp_type(rules.timestamp_type);
    match rules.timestamp_type {
        TimestampType::CreateTime => batch.header.max_timestamp = newest.timestamp,
        TimestampType::LogAppendTime => {
            batch.header.max_timestamp = rules.now.0;
            batch.max_timestamp_offset_delta = 0;
        }
    }
    if (batch.header.attributes, batch.header.max_timestamp) != before {
        // A second pass at the speed of memory; combining CRCs instead took 40 times as long for 64 KiB.
        batch.header.crc = batch.header.crc_with(&batch.body);
    }
}

/// Stores the records under the log's own codec (P27).
fn recompress(batch: &mut CheckedBatch, payload: &[u8], target: Compression) -> Result<(), ProduceError> {
    let body = compress(target, payload)?;
    let length = body.len() + BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES;
    let limit = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
    batch.header.batch_length =
        i32::try_from(length).map_err(|_| ProduceError::TooLarge { bytes: body.len(), limit })?;
    batch.header.set_codec(target.codec);
    batch.header.crc = batch.header.crc_with(&body);
    batch.body = Bytes::from(body);
    Ok(())
}
