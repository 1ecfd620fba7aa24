//! Requests prepared before the run, and what of their answers is looked at.
//!
//! Holds: during the run a request is a copy of some hundred bytes with a few fields filled in, in front of a batch that is
//! never copied. One request is for one partition, so that every field of its answer that matters has a fixed place.
//! Everything that is read from an answer is checked against the bytes that are there.

use bytes::{Bytes, BytesMut};
use pyralog_protocol::frame::LENGTH_BYTES;
use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::request::encode_request;
use pyralog_protocol::{ApiKey, Request, RequestHead};

use crate::error::BenchError;

/// Where the correlation id stands in a request, its length included.
const CORRELATION_AT: usize = 8;
/// How this tool calls itself.
pub const CLIENT_ID: &str = "pyralog-bench";

/// The beginning of the header of a request of ours.
pub fn head(api: ApiKey, version: i16, correlation_id: i32) -> RequestHead {
    RequestHead { api, version, correlation_id, client_id: Some(StrBytes::from_static_str(CLIENT_ID)) }
}

/// Encodes a request, its length included.
pub fn encode(api: ApiKey, version: i16, request: impl Into<Request>) -> Result<BytesMut, BenchError> {
    let what = api.name();
    encode_request(&head(api, version, 0), &request.into())
        .map_err(|e| BenchError::Request { what, detail: e.to_string() })
}

fn topic_name(name: &str) -> kp::TopicName {
    kp::TopicName(StrBytes::from_string(name.to_owned()))
}

/// Writes a correlation id into an encoded request.
pub fn set_correlation(frame: &mut [u8], id: i32) {
    set(frame, CORRELATION_AT, &id.to_be_bytes());
}

/// Writes bytes over a field, if it is there.
pub fn set(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = frame.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// What stands around a batch in a Produce request for one partition.
#[derive(Debug, Clone)]
pub struct ProduceFrame {
    /// Up to the length of the records, which it does not hold.
    before: Vec<u8>,
    /// Behind the records.
    after: &'static [u8],
    compact: bool,
}

/// What a Produce request says besides its batch.
#[derive(Debug, Clone, Copy)]
pub struct ProduceHead<'a> {
    /// Of the API.
    pub version: i16,
    /// Name of the topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// 0, 1 or -1.
    pub acks: i16,
    /// How long the broker may wait for replicas.
    pub timeout_ms: i32,
}

impl ProduceFrame {
    /// Encodes a request with a sample in the batch's place and takes it apart there.
    pub fn new(head: &ProduceHead<'_>) -> Result<Self, BenchError> {
        const SAMPLE: &[u8] = &[0xAB; 64];
        let partition = kp::produce_request::PartitionProduceData::default()
            .with_index(head.partition)
            .with_records(Some(Bytes::from_static(SAMPLE)));
        let topic = kp::produce_request::TopicProduceData::default()
            .with_name(topic_name(head.topic))
            .with_partition_data(vec![partition]);
        let request = kp::ProduceRequest::default()
            .with_acks(head.acks)
            .with_timeout_ms(head.timeout_ms)
            .with_topic_data(vec![topic]);
        let mut before = encode(ApiKey::Produce, head.version, request)?.to_vec();
        let compact = ApiKey::Produce.spec().is_flexible(head.version);
        // Behind the records: the tag counts of partition, topic and request.
        let after: &[u8] = if compact { &[0; 3] } else { &[] };
        let length_bytes = if compact { 1 } else { 4 };
        before.truncate(before.len().saturating_sub(after.len() + SAMPLE.len() + length_bytes));
        Ok(Self { before, after, compact })
    }

    /// Appends what stands in front of a batch.
    pub fn put_before(&self, correlation: i32, batch_bytes: usize, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&self.before);
        let length = u32::try_from(batch_bytes).unwrap_or(u32::MAX);
        if self.compact {
            put_uvarint(length.saturating_add(1), out);
        } else {
            out.extend_from_slice(&length.to_be_bytes());
        }
        let frame = out.get_mut(at..).unwrap_or_default();
        let bytes = frame.len() - LENGTH_BYTES + batch_bytes + self.after.len();
        set(frame, 0, &u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes());
        set_correlation(frame, correlation);
    }

    /// What stands behind it.
    pub fn after(&self) -> &'static [u8] {
        self.after
    }
}

fn put_uvarint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Where the error code stands in the answer to a Produce request for one partition.
pub fn produce_error_at(version: i16, topic: &str) -> usize {
    let layout = Layout::of(ApiKey::Produce, version);
    layout.header() + layout.count() + layout.name(topic) + layout.count() + 4
}

/// Sizes of what every answer consists of, in one version.
#[derive(Debug, Clone, Copy)]
struct Layout {
    flexible: bool,
}

impl Layout {
    fn of(api: ApiKey, version: i16) -> Self {
        Self { flexible: api.spec().is_flexible(version) }
    }

    /// Correlation id, and the count of tagged fields.
    fn header(self) -> usize {
        if self.flexible { 5 } else { 4 }
    }

    /// A count below 127.
    fn count(self) -> usize {
        if self.flexible { 1 } else { 4 }
    }

    fn name(self, name: &str) -> usize {
        let prefix = match self.flexible {
            true if name.len() < 127 => 1,
            true | false => 2,
        };
        prefix + name.len()
    }
}

/// A Fetch request for one partition: its bytes, and where the offset stands.
#[derive(Debug, Clone)]
pub struct FetchFrame {
    frame: Vec<u8>,
    offset_at: usize,
}

/// What a Fetch request asks for.
#[derive(Debug, Clone, Copy)]
pub struct FetchHead<'a> {
    /// Of the API.
    pub version: i16,
    /// Name of the topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// How long the broker may wait for the first byte.
    pub max_wait_ms: i32,
    /// Bytes wanted.
    pub max_bytes: i32,
}

impl FetchFrame {
    /// Encodes the request. No fetch session is asked for.
    pub fn new(head: &FetchHead<'_>) -> Result<Self, BenchError> {
        // Found again in the encoded request; no other field looks like it.
        const PLACE: i64 = 0x7a6b_5c4d_3e2f_1a0b;
        let partition = kp::fetch_request::FetchPartition::default()
            .with_partition(head.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(PLACE)
            .with_partition_max_bytes(head.max_bytes);
        let topic = kp::fetch_request::FetchTopic::default()
            .with_topic(topic_name(head.topic))
            .with_partitions(vec![partition]);
        let request = kp::FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(head.max_wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(head.max_bytes)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let frame = encode(ApiKey::Fetch, head.version, request)?.to_vec();
        let offset_at = frame.windows(8).position(|bytes| bytes == PLACE.to_be_bytes());
        let detail = || "the offset is not in it".to_owned();
        let offset_at = offset_at.ok_or_else(|| BenchError::Request { what: "Fetch", detail: detail() })?;
        Ok(Self { frame, offset_at })
    }

    /// Appends the request for an offset.
    pub fn put(&self, correlation: i32, offset: i64, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&self.frame);
        let frame = out.get_mut(at..).unwrap_or_default();
        set_correlation(frame, correlation);
        set(frame, self.offset_at, &offset.to_be_bytes());
    }
}

/// Where the fields of the answer to a Fetch request for one partition stand, from Fetch v7 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLayout {
    /// Error code of the whole answer.
    pub error_at: usize,
    /// Index of the partition; its error code, high watermark, last stable offset and log start offset follow.
    pub partition_at: usize,
    /// Length of the records.
    pub records_at: usize,
    /// Whether that length is a varint of one more, instead of four bytes.
    pub compact: bool,
}

impl FetchLayout {
    /// Of a version.
    pub fn of(version: i16, topic: &str) -> Self {
        let layout = Layout::of(ApiKey::Fetch, version);
        let error_at = layout.header() + 4;
        let partition_at = error_at + 2 + 4 + layout.count() + layout.name(topic) + layout.count();
        let preferred_replica = if version >= 11 { 4 } else { 0 };
        // index, error code, three offsets, no aborted transactions
        let records_at = partition_at + 4 + 2 + 3 * 8 + layout.count() + preferred_replica;
        Self { error_at, partition_at, records_at, compact: layout.flexible }
    }

    /// How many bytes stand in front of the records, as far as the ones that are there tell: a varint may go on.
    pub fn head_bytes(&self, there: &[u8]) -> usize {
        if !self.compact {
            return self.records_at + 4;
        }
        let length = there.get(self.records_at..).unwrap_or_default();
        let unfinished = length.iter().take(4).take_while(|byte| **byte >= 0x80).count();
        self.records_at + unfinished + 1
    }

    /// How many bytes of records follow the head.
    pub fn records_bytes(&self, head: &[u8]) -> Option<usize> {
        let length = head.get(self.records_at..)?;
        if self.compact {
            return usize::try_from(uvarint(length)?.saturating_sub(1)).ok();
        }
        usize::try_from(i32_at(length, 0)?.max(0)).ok()
    }
}

/// The fields at fixed places in bytes of an answer; `None` where the answer ends too early.
pub fn i16_at(bytes: &[u8], at: usize) -> Option<i16> {
    bytes.get(at..)?.first_chunk().copied().map(i16::from_be_bytes)
}

/// As [`i16_at`].
pub fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().copied().map(i32::from_be_bytes)
}

/// As [`i16_at`].
pub fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk().copied().map(i64::from_be_bytes)
}

/// An unsigned varint of at most five bytes; `None` if it does not end in these bytes.
fn uvarint(bytes: &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
