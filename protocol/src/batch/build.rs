//! Writes batches: for what the broker itself appends, for clients of ours, and for tests.

use bytes::{BufMut, BytesMut};

use super::codec::{Codec, CodecError, Compression, compress};
use super::header::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, MAGIC_V2};

/// A record to be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Null when absent.
    pub key: Option<&'a [u8]>,
    /// Null when absent.
    pub value: Option<&'a [u8]>,
    /// Key and nullable value each.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Collects records into one batch. Offsets count from 0; the first record's timestamp is the base.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    header: BatchHeader,
    payload: Vec<u8>,
    scratch: Vec<u8>,
    compression: Compression,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty plain batch: no compression, no producer id, CreateTime.
    pub fn new() -> Self {
        let header = BatchHeader {
            base_offset: 0,
            batch_length: 0,
            leader_epoch: -1,
            magic: MAGIC_V2,
            crc: 0,
            attributes: 0,
            last_offset_delta: -1,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        };
        Self { header, payload: Vec::new(), scratch: Vec::new(), compression: Compression::of(Codec::None) }
    }

    /// Compresses the records.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self.header.set_codec(compression.codec);
        self
    }

    /// Makes the batch idempotent.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        (self.header.producer_id, self.header.producer_epoch) = (id, epoch);
        self.header.base_sequence = base_sequence;
        self
    }

    /// Sets further attribute bits (transactional, control).
    pub fn attributes(mut self, bits: i16) -> Self {
        self.header.attributes |= bits;
        self
    }

    /// Adds a record.
    pub fn record(mut self, record: NewRecord<'_>) -> Self {
        self.push(record);
        self
    }

    /// Adds a record in place.
    pub fn push(&mut self, record: NewRecord<'_>) {
        let header = &mut self.header;
        if header.record_count == 0 {
            header.base_timestamp = record.timestamp;
        }
        header.max_timestamp = header.max_timestamp.max(record.timestamp);
        header.last_offset_delta += 1;
        header.record_count += 1;
        let body = &mut self.scratch;
        body.clear();
        body.push(0);
        put_varlong(body, record.timestamp.wrapping_sub(header.base_timestamp));
        put_varlong(body, i64::from(header.last_offset_delta));
        put_nullable(body, record.key);
        put_nullable(body, record.value);
        put_length(body, record.headers.len());
        for (key, value) in record.headers {
            put_nullable(body, Some(key));
            put_nullable(body, *value);
        }
        put_length(&mut self.payload, body.len());
        self.payload.extend_from_slice(body);
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Bytes of the batch if it were built now without compression.
    pub fn plain_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.payload.len()
    }

    /// Adds a record with key and value.
    pub fn kv(self, timestamp: i64, key: &[u8], value: &[u8]) -> Self {
        self.record(NewRecord { timestamp, key: Some(key), value: Some(value), headers: &[] })
    }

    /// The whole batch, CRC included.
    pub fn build(self) -> Result<BytesMut, CodecError> {
        let (header, body) = self.into_parts()?;
        let mut out = BytesMut::with_capacity(BATCH_HEADER_BYTES + body.len());
        out.put_slice(&header.encode());
        out.put_slice(&body);
        Ok(out)
    }

    /// The batch as header and body.
    pub fn into_parts(self) -> Result<(BatchHeader, Vec<u8>), CodecError> {
        let mut header = self.header;
        let body = compress(self.compression, &self.payload)?;
        let length = body.len() + BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES;
        header.batch_length = i32::try_from(length).map_err(|_| CodecError::TooLarge {
            codec: self.compression.codec,
            limit: usize::try_from(i32::MAX).unwrap_or(usize::MAX),
        })?;
        header.crc = header.crc_with(&body);
        Ok((header, body))
    }
}

pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while zigzag >= 0x80 {
        out.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push((zigzag & 0x7f) as u8);
}

/// Bytes that [`put_varlong`] writes.
pub(super) fn varlong_bytes(value: i64) -> usize {
    let zigzag = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    let bits = u64::BITS - (zigzag | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varlong(out, i64::try_from(length).unwrap_or(i64::MAX));
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(out, -1),
        Some(bytes) => {
            put_length(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}
