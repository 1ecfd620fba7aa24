//! Batches of a VLSN log's view, whose offsets are VLSNs: written from records of the log's partitions.
//! Holds: key, value, headers and attributes of a record are copied as they stand; only its deltas are encoded anew. Each
//! byte is copied once, to where it is sent from; only what is compressed goes there a second time.

use bytes::{BufMut, Bytes, BytesMut};

use super::build::{put_length, put_varlong, varlong_bytes};
use super::codec::{Codec, CodecError, Compression, compress};
use super::header::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, MAGIC_V2};
use crate::{LeaderEpoch, Vlsn};

/// A batch is closed at so many bytes of records: little enough that they are still at hand when its CRC is made.
const BATCH_BYTES: usize = 256 << 10;
/// Most bytes of a record before what is copied: length, attributes, deltas.
const RECORD_HEAD_BYTES: usize = 5 + 1 + 10 + 10;

/// A record on its way into a view.
#[derive(Debug, Clone, Copy)]
pub struct ViewRecord<'a> {
    /// Its VLSN.
    pub vlsn: Vlsn,
    /// Milliseconds since 1970, -1 for none.
    pub timestamp: i64,
    /// Unused by Kafka, kept as sent (P9).
    pub attributes: i8,
    /// From the length of its key to its end.
    pub rest: &'a [u8],
}

/// Batches in the making. VLSNs come rising.
#[derive(Debug)]
pub struct ViewBatches {
    out: Vec<u8>,
    epoch: LeaderEpoch,
    open: Option<Open>,
}

/// The batch at the end, whose header is not written yet.
#[derive(Debug)]
struct Open {
    header: BatchHeader,
    /// Its first byte.
    start: usize,
    codec: Codec,
}

impl Open {
    /// Whether a record fits behind what is there: by codec, by size, and by how far its VLSN lies above the first.
    fn takes(&self, vlsn: Vlsn, codec: Codec, end: usize) -> bool {
        codec == self.codec
            && end - self.start < BATCH_HEADER_BYTES + BATCH_BYTES
            && i32::try_from(vlsn.offset().saturating_sub(self.header.base_offset)).is_ok()
    }
}

fn header_at(base: Vlsn, epoch: LeaderEpoch) -> BatchHeader {
    BatchHeader {
        base_offset: base.offset(),
        batch_length: 0,
        leader_epoch: epoch.0,
        magic: MAGIC_V2,
        crc: 0,
        attributes: 0,
        last_offset_delta: 0,
        base_timestamp: -1,
        max_timestamp: -1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    }
}

impl ViewBatches {
    /// None yet. `bytes` is about how many they will take, and no limit.
    pub fn new(epoch: LeaderEpoch, bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes), epoch, open: None }
    }

    /// Adds a record, to a new batch if it does not fit into the last one.
    pub fn push(&mut self, record: &ViewRecord<'_>, codec: Codec) -> Result<(), CodecError> {
        if self.open.as_ref().is_some_and(|open| !open.takes(record.vlsn, codec, self.out.len())) {
            self.close()?;
        }
        let (out, epoch) = (&mut self.out, self.epoch);
        let Open { header, .. } = self.open.get_or_insert_with(|| {
            let header = BatchHeader { base_timestamp: record.timestamp, ..header_at(record.vlsn, epoch) };
            let start = out.len();
            out.resize(start + BATCH_HEADER_BYTES, 0);
            Open { header, start, codec }
        });
        header.max_timestamp = header.max_timestamp.max(record.timestamp);
        header.record_count += 1;
        let offset_delta = record.vlsn.offset().saturating_sub(header.base_offset);
        header.last_offset_delta = i32::try_from(offset_delta).unwrap_or(i32::MAX);
        let timestamp_delta = record.timestamp.wrapping_sub(header.base_timestamp);
        out.reserve(RECORD_HEAD_BYTES + record.rest.len());
        put_length(out, 1 + varlong_bytes(timestamp_delta) + varlong_bytes(offset_delta) + record.rest.len());
        out.extend_from_slice(&record.attributes.to_be_bytes());
        put_varlong(out, timestamp_delta);
        put_varlong(out, offset_delta);
        out.extend_from_slice(record.rest);
        Ok(())
    }

    fn close(&mut self) -> Result<(), CodecError> {
        let Some(Open { mut header, start, codec }) = self.open.take() else { return Ok(()) };
        let body_at = start + BATCH_HEADER_BYTES;
        header.set_codec(codec);
        if codec != Codec::None {
            let body = compress(Compression::of(codec), self.out.get(body_at..).unwrap_or_default())?;
            self.out.truncate(body_at);
            self.out.extend_from_slice(&body);
        }
        seal(&mut header, self.out.get(body_at..).unwrap_or_default())?;
        if let Some(place) = self.out.get_mut(start..body_at) {
            place.copy_from_slice(&header.encode());
        }
        Ok(())
    }

    /// All of them, one behind the other.
    pub fn finish(mut self) -> Result<Bytes, CodecError> {
        self.close()?;
        Ok(self.out.into())
    }
}

fn seal(header: &mut BatchHeader, body: &[u8]) -> Result<(), CodecError> {
    let length = body.len() + BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES;
    let limit = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
    let codec = header.codec().unwrap_or(Codec::None);
    header.batch_length = i32::try_from(length).map_err(|_| CodecError::TooLarge { codec, limit })?;
    header.crc = header.crc_with(body);
    Ok(())
}

/// A batch without records that covers `from..to`, so that a reader passes over VLSNs that will never come. Covers less
/// where one batch cannot cover all.
pub fn empty_view(from: Vlsn, to: Vlsn, epoch: LeaderEpoch, out: &mut BytesMut) {
    let mut header = header_at(from, epoch);
    let last = to.offset().saturating_sub(from.offset()).saturating_sub(1).max(0);
    header.last_offset_delta = i32::try_from(last).unwrap_or(i32::MAX);
    if seal(&mut header, &[]).is_ok() {
        out.put_slice(&header.encode());
    }
}
