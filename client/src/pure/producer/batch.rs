//! One batch on its way: records that collect, then the bytes that are sent, perhaps more than once.
//!
//! Holds: once a batch has been built its records never change, unless it is split because it is too large for the log; a new
//! sequence number changes the header and the CRC only.

use bytes::{Bytes, BytesMut};
use pyralog_protocol::MonoMs;
use pyralog_protocol::batch::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchHeader, Codec, CodecError, Compression, NewRecord, RecordError,
    Records, decompress, inflate_limit,
};

/// Who sends, and the number of the batch's first record: what makes a repetition recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Number of the first record; 2147483647 is followed by 0.
    pub first: i32,
}

impl Sequence {
    /// The sequence of the record after this many.
    pub fn after(self, records: i32) -> Self {
        // Adds in the 31 bits that sequence numbers have (I8).
        let first = (self.first.cast_unsigned().wrapping_add(records.cast_unsigned()) & 0x7fff_ffff).cast_signed();
        Self { first, ..self }
    }
}

/// Why the bytes of a batch could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Compression failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// What was built does not read back, which no input should make happen.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Likewise.
    #[error(transparent)]
    Record(#[from] RecordError),
}

enum Payload {
    /// Takes more records.
    Open(BatchBuilder),
    /// As on the wire.
    Built(BytesMut),
}

/// Records with the tokens of those who wait for them, in the same order.
pub struct Batch<T> {
    payload: Payload,
    /// One per record.
    pub tokens: Vec<T>,
    /// When its first record came.
    pub since: MonoMs,
    /// Whether it does without more records.
    pub hurries: bool,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// Not to be sent before.
    pub not_before: MonoMs,
    /// Given with the first attempt.
    pub sequence: Option<Sequence>,
    /// Why the last attempt failed.
    pub last_failure: Option<super::Failure>,
    /// It may be in the log, or still come there: it was sent, and what came of that is not known.
    pub in_doubt: bool,
    /// What was split off, which goes when this has its outcome.
    pub rest: Option<Box<Batch<T>>>,
}

impl<T> Batch<T> {
    /// An empty batch.
    pub fn open(compression: Compression, now: MonoMs) -> Self {
        Self {
            payload: Payload::Open(BatchBuilder::new().compression(compression)),
            tokens: Vec::new(),
            since: now,
            hurries: false,
            failures: 0,
            not_before: MonoMs(0),
            sequence: None,
            last_failure: None,
            in_doubt: false,
            rest: None,
        }
    }

    /// Adds a record, if the batch is still open and stays within this many bytes, or has no record yet.
    /// `record_bytes` is what the record takes at most. The token comes back if it does not fit.
    pub fn push(&mut self, record: NewRecord<'_>, record_bytes: usize, limit: usize, token: T) -> Result<(), T> {
        let Payload::Open(builder) = &mut self.payload else { return Err(token) };
        if builder.record_count() > 0 && builder.plain_bytes().saturating_add(record_bytes) > limit {
            return Err(token);
        }
        builder.push(record);
        self.tokens.push(token);
        Ok(())
    }

    /// Records in it.
    pub fn records(&self) -> i32 {
        i32::try_from(self.tokens.len()).unwrap_or(i32::MAX)
    }

    /// Records in it and in what was split off.
    pub fn records_with_rest(&self) -> i32 {
        self.records().saturating_add(self.rest.as_ref().map_or(0, |rest| rest.records_with_rest()))
    }

    /// The tokens of it and of what was split off.
    pub fn into_tokens(self) -> Vec<T> {
        let (mut tokens, mut rest) = (self.tokens, self.rest);
        while let Some(next) = rest {
            tokens.extend(next.tokens);
            rest = next.rest;
        }
        tokens
    }

    /// Splits the second half of its records off. The answer is whether there is one.
    pub fn split(&mut self, compression: Compression) -> Result<bool, BuildError> {
        let Payload::Built(bytes) = &self.payload else { return Ok(false) };
        let half = self.tokens.len() / 2;
        if half == 0 {
            return Ok(false);
        }
        let header = BatchHeader::parse(bytes)?;
        let body = bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default();
        let inflated = match header.codec().unwrap_or(Codec::None) {
            Codec::None => body.to_vec(),
            codec @ (Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd) => {
                decompress(codec, body, inflate_limit(body.len()))?
            }
        };
        let mut halves = [BatchBuilder::new().compression(compression), BatchBuilder::new().compression(compression)];
        let [first, second] = &mut halves;
        for (at, record) in Records::new(&inflated).enumerate() {
            let record = record?;
            let headers: Vec<_> = record.headers.iter().map(|header| (header.key, header.value)).collect();
            let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
            let record = NewRecord { timestamp, key: record.key, value: record.value, headers: &headers };
            if at < half { first.push(record) } else { second.push(record) }
        }
        let [first, second] = halves;
        self.payload = Payload::Open(first);
        let rest = Self {
            payload: Payload::Open(second),
            tokens: self.tokens.split_off(half),
            rest: self.rest.take(),
            in_doubt: self.in_doubt,
            ..Self::open(compression, self.since)
        };
        self.rest = Some(Box::new(rest));
        Ok(true)
    }

    /// Bytes, before compression while it is open.
    pub fn bytes(&self) -> usize {
        match &self.payload {
            Payload::Open(builder) => builder.plain_bytes(),
            Payload::Built(bytes) => bytes.len(),
        }
    }

    /// The bytes to send, with the current sequence in them.
    pub fn encode(&mut self) -> Result<Bytes, BuildError> {
        let sequence = self.sequence;
        let bytes = match std::mem::replace(&mut self.payload, Payload::Built(BytesMut::new())) {
            Payload::Open(builder) => match sequence {
                Some(Sequence { id, epoch, first }) => builder.producer(id, epoch, first).build()?,
                None => builder.build()?,
            },
            Payload::Built(mut bytes) => {
                if let Some(sequence) = sequence {
                    renumber(&mut bytes, sequence)?;
                }
                bytes
            }
        };
        let sent = Bytes::copy_from_slice(&bytes);
        self.payload = Payload::Built(bytes);
        Ok(sent)
    }
}

/// Writes another sequence into a built batch.
fn renumber(bytes: &mut BytesMut, sequence: Sequence) -> Result<(), BatchError> {
    let mut header = BatchHeader::parse(bytes)?;
    let found = Sequence { id: header.producer_id, epoch: header.producer_epoch, first: header.base_sequence };
    if found == sequence {
        return Ok(());
    }
    (header.producer_id, header.producer_epoch) = (sequence.id, sequence.epoch);
    header.base_sequence = sequence.first;
    let (head, body) = bytes.split_at_mut(BATCH_HEADER_BYTES);
    header.crc = header.crc_with(body);
    head.copy_from_slice(&header.encode());
    Ok(())
}
