//! The records of a VLSN log, looked at as far as their keys: for those who copy them on. What is behind the key was walked
//! when the batch was produced, and a CRC that is right says that it still is what it was.
//! Holds: a record ends where its length says, and that lies within the payload.

use super::records::{Cursor, RecordError};
use super::stored::StoredError;
use crate::{LogOffset, Vlsn};

/// A record by its VLSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedRecord<'a> {
    /// Its key.
    pub vlsn: Vlsn,
    /// Timestamp minus the batch's base timestamp, in milliseconds.
    pub timestamp_delta: i64,
    /// Unused by Kafka, kept as sent (P9).
    pub attributes: i8,
    /// From the length of its key to its end.
    pub rest: &'a [u8],
    /// Bytes in the payload, its length prefix included.
    pub size: usize,
}

impl<'a> KeyedRecord<'a> {
    /// The record that a payload, or what is left of it, begins with. `base` is the offset of the batch.
    #[inline]
    pub fn first_of(payload: &'a [u8], base: LogOffset) -> Result<Self, StoredError> {
        let mut cursor = Cursor::new(payload);
        let found = cursor.varint()?;
        let remaining = cursor.rest.len();
        let body = usize::try_from(found).ok().and_then(|length| cursor.rest.get(..length));
        let body = body.ok_or(RecordError::Length { found, remaining })?;
        let size = payload.len() - remaining + body.len();
        let (attributes, fields) = body.split_first().ok_or(RecordError::Empty)?;
        let mut fields = Cursor::new(fields);
        let timestamp_delta = fields.varlong()?;
        let offset_delta = fields.varint()?;
        let rest = fields.rest;
        let vlsn = fields.nullable("key")?.and_then(Vlsn::of_key);
        let offset = LogOffset(base.0.saturating_add(i64::from(offset_delta)));
        let vlsn = vlsn.ok_or(StoredError::NoVlsn { offset })?;
        Ok(Self { vlsn, timestamp_delta, attributes: i8::from_be_bytes([*attributes]), rest, size })
    }
}
