//! Batches of a VLSN log's view, whose offsets are VLSNs: written from records of the log's partitions.
//! Holds: key, value, headers and attributes of a record are copied as they stand; only its deltas are encoded anew.

use bytes::{BufMut, BytesMut};

use super::build::{put_length, put_varlong};
use super::codec::{Codec, CodecError, Compression, compress};
use super::header::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, MAGIC_V2};
use super::stored::StoredRecord;
use crate::{LeaderEpoch, Vlsn};

/// A batch in the making. VLSNs come rising, and none lies more than `i32::MAX` above the first.
#[derive(Debug)]
pub struct ViewBatch {
    header: BatchHeader,
    payload: Vec<u8>,
    scratch: Vec<u8>,
    codec: Codec,
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

impl ViewBatch {
    /// An empty one that begins at a VLSN, in this leader epoch and codec.
    pub fn new(base: Vlsn, epoch: LeaderEpoch, codec: Codec) -> Self {
        Self { header: header_at(base, epoch), payload: Vec::new(), scratch: Vec::new(), codec }
    }

    /// Whether a record fits behind what is there: by codec, and by how far its VLSN lies above the first.
    pub fn takes(&self, vlsn: Vlsn, codec: Codec) -> bool {
        codec == self.codec && i32::try_from(vlsn.offset().saturating_sub(self.header.base_offset)).is_ok()
    }

    /// Bytes of records so far, before compression.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// Adds a record.
    pub fn push(&mut self, stored: &StoredRecord<'_>) {
        let header = &mut self.header;
        if header.record_count == 0 {
            header.base_timestamp = stored.timestamp;
        }
        header.max_timestamp = header.max_timestamp.max(stored.timestamp);
        header.record_count += 1;
        let delta = stored.vlsn.offset().saturating_sub(header.base_offset);
        header.last_offset_delta = i32::try_from(delta).unwrap_or(i32::MAX);
        let deltas = &mut self.scratch;
        deltas.clear();
        put_varlong(deltas, stored.timestamp.wrapping_sub(header.base_timestamp));
        put_varlong(deltas, delta);
        let rest = stored.record.after_deltas();
        put_length(&mut self.payload, 1 + deltas.len() + rest.len());
        self.payload.extend_from_slice(&stored.record.attributes.to_be_bytes());
        self.payload.extend_from_slice(deltas);
        self.payload.extend_from_slice(rest);
    }

    /// Appends the finished batch.
    pub fn finish(self, out: &mut BytesMut) -> Result<(), CodecError> {
        let Self { mut header, payload, codec, .. } = self;
        header.set_codec(codec);
        let body = if codec == Codec::None { payload } else { compress(Compression::of(codec), &payload)? };
        seal(&mut header, &body)?;
        out.put_slice(&header.encode());
        out.put_slice(&body);
        Ok(())
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
