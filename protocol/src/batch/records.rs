//! The records of an uncompressed (or inflated) payload, one view after the other, without copying.
//!
//! Holds: every length and count is compared with the bytes that remain before it is used (SE-05), a record ends
//! exactly where its length says, and header lists are walked while the record is read, so that later iteration cannot fail.
//! Stricter than Kafka on purpose: lengths below -1 are refused instead of being read as null, because no client writes
//! them and not every client reads them.

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A varint runs past the end or over its longest form.
    #[error("a varint is cut or too long")]
    Varint,
    /// The record's own length is negative or past the end.
    #[error("record length {found} with {remaining} bytes remaining")]
    Length {
        /// Declared length.
        found: i32,
        /// Bytes left in the payload.
        remaining: usize,
    },
    /// The attributes byte is missing.
    #[error("the record ends before its attributes")]
    Empty,
    /// Length of the key, value, header key or header value.
    #[error("{field} length {found} with {remaining} bytes remaining")]
    Field {
        /// Which part.
        field: &'static str,
        /// Declared length.
        found: i32,
        /// Bytes left in the record.
        remaining: usize,
    },
    /// Number of headers.
    #[error("header count {found} with {remaining} bytes remaining")]
    HeaderCount {
        /// Declared count.
        found: i32,
        /// Bytes left in the record.
        remaining: usize,
    },
    /// The record's fields end before its length does.
    #[error("{bytes} bytes of the record are left over")]
    LeftOver {
        /// Surplus bytes.
        bytes: usize,
    },
}

/// One record, borrowed from its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp minus the batch's base timestamp, in milliseconds.
    pub timestamp_delta: i64,
    /// Unused by Kafka, kept as sent (P9).
    pub attributes: i8,
    /// Null and empty are different (P9).
    pub key: Option<&'a [u8]>,
    /// Null is a tombstone on a compacted log.
    pub value: Option<&'a [u8]>,
    /// The headers, checked.
    pub headers: RecordHeaders<'a>,
    /// The record as it stands in the payload, its length prefix included.
    pub bytes: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// The record as it stands in the payload, from the length of its key on.
    pub fn after_deltas(&self) -> &'a [u8] {
        let skip = |bytes: &'a [u8]| {
            let varint = bytes.iter().take_while(|byte| **byte >= 0x80).count() + 1;
            bytes.get(varint..).unwrap_or_default()
        };
        skip(skip(skip(self.bytes).get(1..).unwrap_or_default()))
    }
}

/// A record's headers: checked when the record was read, split when iterated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordHeaders<'a> {
    count: usize,
    bytes: &'a [u8],
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Never null; meant to be UTF-8, not checked.
    pub key: &'a [u8],
    /// May be null.
    pub value: Option<&'a [u8]>,
}

impl<'a> RecordHeaders<'a> {
    /// Number of headers.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers in order.
    pub fn iter(&self) -> impl Iterator<Item = RecordHeader<'a>> + use<'a> {
        let mut cursor = Cursor { rest: self.bytes };
        (0..self.count).map_while(move |_| cursor.header().ok())
    }
}

/// Iterator over a payload. Ends after the last byte or after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Records<'a> {
    /// Over the bytes after a batch's header, inflated.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { cursor: Cursor { rest: payload } }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.cursor.rest.len()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.rest.is_empty() {
            return None;
        }
        let record = self.cursor.record();
        if record.is_err() {
            self.cursor.rest = &[];
        }
        Some(record)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    pub rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    #[inline]
    fn record(&mut self) -> Result<RecordView<'a>, RecordError> {
        let whole = self.rest;
        let found = self.varint()?;
        let remaining = self.rest.len();
        let split = usize::try_from(found).ok().and_then(|length| self.rest.split_at_checked(length));
        let (body, after) = split.ok_or(RecordError::Length { found, remaining })?;
        self.rest = after;
        let mut body = Cursor { rest: body };
        let (attributes, rest) = body.rest.split_first().ok_or(RecordError::Empty)?;
        body.rest = rest;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let key = body.nullable("key")?;
        let value = body.nullable("value")?;
        let headers = body.headers()?;
        if !body.rest.is_empty() {
            return Err(RecordError::LeftOver { bytes: body.rest.len() });
        }
        let attributes = i8::from_be_bytes([*attributes]);
        let bytes = &whole[..whole.len() - after.len()];
        Ok(RecordView { offset_delta, timestamp_delta, attributes, key, value, headers, bytes })
    }

    #[inline]
    fn headers(&mut self) -> Result<RecordHeaders<'a>, RecordError> {
        /// An empty key and a null value.
        const HEADER_BYTES_MIN: usize = 2;
        let found = self.varint()?;
        let remaining = self.rest.len();
        let count = usize::try_from(found).ok().filter(|n| *n <= remaining / HEADER_BYTES_MIN);
        let count = count.ok_or(RecordError::HeaderCount { found, remaining })?;
        let bytes = self.rest;
        for _ in 0..count {
            self.header()?;
        }
        Ok(RecordHeaders { count, bytes: &bytes[..bytes.len() - self.rest.len()] })
    }

    fn header(&mut self) -> Result<RecordHeader<'a>, RecordError> {
        let remaining = self.rest.len();
        let key = self.nullable("header key")?;
        let key = key.ok_or(RecordError::Field { field: "header key", found: -1, remaining })?;
        let value = self.nullable("header value")?;
        Ok(RecordHeader { key, value })
    }

    #[inline]
    pub fn nullable(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, RecordError> {
        let found = self.varint()?;
        if found == -1 {
            return Ok(None);
        }
        let remaining = self.rest.len();
        let split = usize::try_from(found).ok().and_then(|length| self.rest.split_at_checked(length));
        let (bytes, rest) = split.ok_or(RecordError::Field { field, found, remaining })?;
        self.rest = rest;
        Ok(Some(bytes))
    }

    #[inline]
    pub fn varint(&mut self) -> Result<i32, RecordError> {
        let zigzag = match self.rest.split_first() {
            Some((byte, rest)) if *byte < 0x80 => {
                self.rest = rest;
                u32::from(*byte)
            }
            Some(_) | None => self.long_varint()?,
        };
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    fn long_varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(RecordError::Varint)?;
            self.rest = rest;
            value |= u32::from(byte & 0x7f) << shift; // the fifth byte's surplus bits fall off, as in Java
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::Varint)
    }

    #[inline]
    pub fn varlong(&mut self) -> Result<i64, RecordError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(RecordError::Varint)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(RecordError::Varint)
    }
}
