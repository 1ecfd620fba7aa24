//! The private APIs: what is asked of VLSN logs and sequencers where Kafka has no words for it. Requests and answers, as
//! they travel. All are flexible and in version 0; they are in one high block of API keys, [`FIRST_KEY`] and up.
//! Error codes are Kafka's; a message beside one is for people.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use super::Vlsn;
use super::wire::{Wire, WireError, message};
use crate::TopicId;
use crate::body::Body;

/// The first key of the block: far above Kafka's, and below 2^15.
pub const FIRST_KEY: i16 = 30_720;
/// Longest name of a consumer that commits, in bytes of UTF-8.
pub const CONSUMER_BYTES_MAX: usize = 249;
/// Longest metadata of a commit, in bytes of UTF-8.
pub const COMMIT_METADATA_BYTES_MAX: usize = 4_096;
/// Most VLSNs that one VlsnRead asks for.
pub const READ_VLSNS_MAX: usize = 1_000;
/// Most numbers that one SequencerReserve takes.
pub const RESERVE_MAX: u64 = 1 << 32;
/// The end of what a sequencer hands out: every number fits an offset.
pub const SEQUENCE_END: u64 = 1 << 63;

/// Outcomes of a point read, as [`VlsnReadResult::outcome`] says them.
pub mod outcome {
    /// The record is there.
    pub const FOUND: i8 = 0;
    /// Nobody wrote it so far.
    pub const NOT_YET: i8 = 1;
    /// It never comes: a later VLSN of its partition is written.
    pub const GAP: i8 = 2;
    /// It was there, and retention took it.
    pub const TRIMMED: i8 = 3;
    /// The answer has no room for it: ask again.
    pub const LEFT_OUT: i8 = 4;
}

/// What a VlsnAppend may expect of a partition besides a last VLSN.
pub mod expected {
    /// Nothing written yet.
    pub const EMPTY: i64 = -1;
    /// Nothing is expected.
    pub const ANYTHING: i64 = -2;
}

/// What WriterEpoch does.
pub mod writer {
    /// The caller becomes the only writer.
    pub const TAKE: i8 = 0;
    /// Anybody may write again.
    pub const RELEASE: i8 = 1;
}

// VlsnDescribe (30720)
message! {
    /// How far VLSN logs are, and how their VLSNs find their partitions.
    VlsnDescribeRequest {
        /// The logs; null is all.
        logs: Option<Vec<StrBytes>>,
    }
    /// The answer.
    VlsnDescribeResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// Each log once, in the order of the request.
        logs: Vec<VlsnDescribedLog>,
    }
    /// One log.
    VlsnDescribedLog {
        /// Why nothing is known of it, or 0.
        error_code: i16,
        /// The same for people.
        error_message: Option<StrBytes>,
        /// Its name.
        name: StrBytes,
        /// Its id.
        topic_id: TopicId,
        /// The smallest VLSN that is not trimmed.
        first: Vlsn,
        /// The smallest VLSN that is neither written nor a gap.
        undecided: Vlsn,
        /// The largest VLSN that is written; -1 is none.
        last: i64,
        /// The writer epoch; -1 is that it was never taken.
        writer_epoch: i32,
        /// Routing epochs, oldest first.
        routing: Vec<VlsnRoutingEpoch>,
        /// Its partitions, by index.
        partitions: Vec<VlsnDescribedPartition>,
    }
    /// From a VLSN on, so many partitions.
    VlsnRoutingEpoch {
        /// The first VLSN that it routes.
        from: Vlsn,
        /// The partition count.
        partitions: i32,
    }
    /// One partition of a log.
    VlsnDescribedPartition {
        /// Its index.
        index: i32,
        /// Why nothing is known of it, or 0.
        error_code: i16,
        /// The smallest VLSN that is not trimmed.
        first: Vlsn,
        /// The largest VLSN that is written; -1 is none.
        last: i64,
        /// The smallest VLSN that may be written next.
        next: Vlsn,
        /// Its first offset.
        log_start: i64,
        /// Its high watermark.
        high_watermark: i64,
    }
}

// VlsnRead (30721)
message! {
    /// Records of a log by VLSN.
    VlsnReadRequest {
        /// The log.
        log: StrBytes,
        /// How long to wait for VLSNs that are not decided.
        max_wait_ms: i32,
        /// Bytes of records in the answer; the first one always has room.
        max_bytes: i32,
        /// The VLSNs, at most [`READ_VLSNS_MAX`].
        vlsns: Vec<Vlsn>,
    }
    /// The answer.
    VlsnReadResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// Why nothing was read, or 0.
        error_code: i16,
        /// The same for people.
        error_message: Option<StrBytes>,
        /// One per VLSN, in the order of the request.
        results: Vec<VlsnReadResult>,
    }
    /// What became of one VLSN.
    VlsnReadResult {
        /// The VLSN.
        vlsn: Vlsn,
        /// One of [`outcome`].
        outcome: i8,
        /// The partition that it belongs to.
        partition: i32,
        /// Where the record is; -1 where there is none.
        offset: i64,
        /// The leader epoch under which it was written; -1 where there is none.
        epoch: i32,
        /// The record's timestamp; -1 where there is none.
        timestamp: i64,
        /// Its value.
        value: Option<Bytes>,
        /// Its headers.
        headers: Vec<VlsnHeader>,
    }
    /// One header of a record.
    VlsnHeader {
        /// Its key.
        key: StrBytes,
        /// Its value.
        value: Option<Bytes>,
    }
}

// VlsnReadRange (30722)
message! {
    /// Records of a log in the order of their VLSNs, over all partitions.
    VlsnReadRangeRequest {
        /// The log.
        log: StrBytes,
        /// The first VLSN.
        from: Vlsn,
        /// The VLSN behind the last one.
        to: Vlsn,
        /// How long to wait while the first VLSN is not decided.
        max_wait_ms: i32,
        /// Bytes of records in the answer; the first one always has room.
        max_bytes: i32,
        /// Records in the answer.
        max_records: i32,
    }
    /// The answer.
    VlsnReadRangeResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// Why nothing was read, or 0.
        error_code: i16,
        /// The same for people.
        error_message: Option<StrBytes>,
        /// Where to go on: everything below is in this answer.
        next: Vlsn,
        /// The smallest VLSN of the log that is neither written nor a gap.
        undecided: Vlsn,
        /// VLSNs of the answer's range that never come.
        gaps: Vec<VlsnRange>,
        /// VLSNs of the answer's range that retention took.
        trimmed: Vec<VlsnRange>,
        /// Record batches whose offsets are VLSNs.
        records: Option<Bytes>,
    }
    /// A half-open range.
    VlsnRange {
        /// The first one.
        from: Vlsn,
        /// The one behind the last.
        to: Vlsn,
    }
}

// VlsnAppend (30723)
message! {
    /// Appends batches if their partitions end where the writer thinks they do.
    VlsnAppendRequest {
        /// The log.
        log: StrBytes,
        /// How long to wait for the acknowledgement.
        timeout_ms: i32,
        /// One per partition.
        parts: Vec<VlsnAppendPart>,
    }
    /// What is for one partition.
    VlsnAppendPart {
        /// Its index.
        partition: i32,
        /// Its last VLSN as the writer knows it, or one of [`expected`].
        expected_last: i64,
        /// One record batch, keyed by VLSN.
        records: Bytes,
    }
    /// The answer.
    VlsnAppendResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// Why nothing was appended anywhere, or 0.
        error_code: i16,
        /// The same for people.
        error_message: Option<StrBytes>,
        /// One per partition, in the order of the request.
        parts: Vec<VlsnAppendedPart>,
    }
    /// What became of one partition's batch.
    VlsnAppendedPart {
        /// Its index.
        partition: i32,
        /// Why nothing was appended, or 0.
        error_code: i16,
        /// The same for people.
        error_message: Option<StrBytes>,
        /// Offset of the first record; -1 where there is none.
        base_offset: i64,
        /// The partition's last VLSN now; -1 is none.
        last: i64,
    }
}

// VlsnCommit (30724)
message! {
    /// A consumer has everything up to a VLSN.
    VlsnCommitRequest {
        /// Who: 1 to [`CONSUMER_BYTES_MAX`] bytes without control characters.
        consumer: StrBytes,
        /// Whether the commit may go backwards.
        force: bool,
        /// One per log.
        commits: Vec<VlsnCommitEntry>,
    }
    /// How far in one log.
    VlsnCommitEntry {
        /// The log.
        log: StrBytes,
        /// The last VLSN that is done.
        vlsn: Vlsn,
        /// Anything, up to [`COMMIT_METADATA_BYTES_MAX`] bytes.
        metadata: Option<StrBytes>,
    }
    /// The answer.
    VlsnCommitResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// One per log, in the order of the request.
        results: Vec<VlsnCommitResult>,
    }
    /// What became of one commit.
    VlsnCommitResult {
        /// The log.
        log: StrBytes,
        /// Why it does not count, or 0.
        error_code: i16,
        /// The same for people.
        error_message: Option<StrBytes>,
        /// The VLSN in force now; -1 is none.
        vlsn: i64,
    }
}

// VlsnCommitted (30725)
message! {
    /// How far consumers are.
    VlsnCommittedRequest {
        /// Who; null is everybody.
        consumer: Option<StrBytes>,
        /// In which logs; null is all.
        logs: Option<Vec<StrBytes>>,
    }
    /// The answer.
    VlsnCommittedResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// Why nothing is told, or 0.
        error_code: i16,
        /// By consumer and log; what was never committed is left out.
        commits: Vec<VlsnCommittedEntry>,
    }
    /// How far one consumer is in one log.
    VlsnCommittedEntry {
        /// Who.
        consumer: StrBytes,
        /// The log.
        log: StrBytes,
        /// The last VLSN that is done. The next one is where to go on.
        vlsn: Vlsn,
        /// The partition of the next one.
        resume_partition: i32,
        /// When, in milliseconds since 1970.
        committed_at: i64,
        /// VLSNs that are decided and not done; -1 where that is not known.
        lag: i64,
        /// What was said with the commit.
        metadata: Option<StrBytes>,
    }
}

// VlsnDeleteCommit (30726)
message! {
    /// Forgets how far a consumer is.
    VlsnDeleteCommitRequest {
        /// Who.
        consumer: StrBytes,
        /// In which logs; null is all.
        logs: Option<Vec<StrBytes>>,
    }
    /// The answer.
    VlsnDeleteCommitResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// One per log that was named or had a commit.
        results: Vec<VlsnDeleteCommitResult>,
    }
    /// What became of one commit.
    VlsnDeleteCommitResult {
        /// The log.
        log: StrBytes,
        /// Why it is still there, or 0.
        error_code: i16,
        /// The same for people.
        error_message: Option<StrBytes>,
    }
}

// SequencerReserve (30727)
message! {
    /// Takes numbers that nobody else gets.
    SequencerReserveRequest {
        /// The sequencer; it comes into being with its first use.
        name: StrBytes,
        /// How many, 1 to [`RESERVE_MAX`].
        count: u64,
        /// None of them below this.
        at_least: u64,
    }
    /// The answer.
    SequencerReserveResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// Why none were taken, or 0.
        error_code: i16,
        /// The same for people.
        error_message: Option<StrBytes>,
        /// The first one.
        first: u64,
        /// How many, from it on.
        count: u64,
    }
}

// SequencerDescribe (30728)
message! {
    /// How far sequencers are.
    SequencerDescribeRequest {
        /// Which; null is all.
        names: Option<Vec<StrBytes>>,
    }
    /// The answer.
    SequencerDescribeResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// Each once, by name.
        sequencers: Vec<DescribedSequencer>,
    }
    /// One sequencer.
    DescribedSequencer {
        /// Its name.
        name: StrBytes,
        /// Why nothing is known of it, or 0.
        error_code: i16,
        /// The first number that nobody has.
        next: u64,
    }
}

// WriterEpoch (30729)
message! {
    /// Becomes the only writer of a log, or lets everybody write again.
    WriterEpochRequest {
        /// The log.
        log: StrBytes,
        /// One of [`writer`].
        action: i8,
        /// The epoch that has to be in force; -1 is any.
        expected_epoch: i32,
    }
    /// The answer.
    WriterEpochResponse {
        /// Always 0.
        throttle_time_ms: i32,
        /// Why nothing changed, or 0.
        error_code: i16,
        /// The same for people.
        error_message: Option<StrBytes>,
        /// The epoch in force now; -1 is that it was never taken.
        epoch: i32,
        /// Who may write: batches carry it. -1 is anybody.
        producer_id: i64,
        /// With it.
        producer_epoch: i16,
    }
}

macro_rules! bodies {
    ($($name:ident)*) => {
        $(impl Body for $name {
            fn size(&self, _version: i16) -> Result<usize, String> {
                Ok(Wire::size(self))
            }
            fn encode(&self, _version: i16, out: &mut BytesMut) -> Result<(), String> {
                self.write(out).map_err(|error| error.to_string())
            }
            fn decode(_version: i16, from: &mut Bytes) -> Result<Self, String> {
                Self::read(from).map_err(|error| error.to_string())
            }
        })*
    };
}
bodies! {
    VlsnDescribeRequest VlsnDescribeResponse
    VlsnReadRequest VlsnReadResponse
    VlsnReadRangeRequest VlsnReadRangeResponse
    VlsnAppendRequest VlsnAppendResponse
    VlsnCommitRequest VlsnCommitResponse
    VlsnCommittedRequest VlsnCommittedResponse
    VlsnDeleteCommitRequest VlsnDeleteCommitResponse
    SequencerReserveRequest SequencerReserveResponse
    SequencerDescribeRequest SequencerDescribeResponse
    WriterEpochRequest WriterEpochResponse
}

#[cfg(test)]
mod tests;
