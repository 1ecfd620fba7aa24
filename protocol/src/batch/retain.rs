//! What is left of a stored batch when compaction takes records out of it.
//!
//! Holds: offsets, sequences, epochs, codec and timestamps of what stays are what they were; base offset and last offset
//! delta too, so that readers and the producer's duplicate check see the batch where it was (IO-19). Nothing of a record
//! that stays is encoded anew but its timestamp delta, and that only where the delete horizon takes the place of the base.

use super::build::{put_length, put_varlong};
use super::codec::{Codec, CodecError, Compression, compress};
use super::header::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, TimestampType};
use super::records::{RecordView, Records};

/// The timestamp that means "none".
const NO_TIMESTAMP: i64 = -1;

/// The batch with those records of its (inflated, checked) payload that `stays` names by their place. `horizon` is the
/// time from which its tombstones may go, where that is decided now.
pub fn retain(
    header: &BatchHeader,
    payload: &[u8],
    stays: impl Fn(usize) -> bool,
    horizon: Option<i64>,
) -> Result<(BatchHeader, Vec<u8>), CodecError> {
    let mut left = header.clone();
    if horizon.is_some() {
        left.set_delete_horizon(horizon);
    }
    let shift = header.base_timestamp.wrapping_sub(left.base_timestamp);
    let mut kept = Vec::with_capacity(payload.len());
    let (mut count, mut newest) = (0, NO_TIMESTAMP);
    for (_, record) in Records::new(payload).flatten().enumerate().filter(|(place, _)| stays(*place)) {
        newest = newest.max(header.base_timestamp.wrapping_add(record.timestamp_delta));
        put_record(&mut kept, &record, record.timestamp_delta.wrapping_add(shift));
        count += 1;
    }
    left.record_count = count;
    if left.timestamp_type() == TimestampType::CreateTime {
        left.max_timestamp = newest;
    }
    let codec = header.codec().unwrap_or(Codec::None);
    let body = if codec == Codec::None { kept } else { compress(Compression::of(codec), &kept)? };
    let length = body.len() + BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES;
    let limit = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
    left.batch_length = i32::try_from(length).map_err(|_| CodecError::TooLarge { codec, limit })?;
    left.crc = left.crc_with(&body);
    Ok((left, body))
}

/// The batch without any record: what says which offsets, sequences and epoch were there (F23).
pub fn emptied(header: &BatchHeader) -> BatchHeader {
    let mut left = header.clone();
    left.set_delete_horizon(None);
    left.set_codec(Codec::None);
    left.base_timestamp = NO_TIMESTAMP;
    left.record_count = 0;
    left.batch_length = i32::try_from(BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES).unwrap_or(i32::MAX);
    left.crc = left.crc_with(&[]);
    left
}

/// Appends a record whose timestamp counts from another base.
fn put_record(out: &mut Vec<u8>, record: &RecordView<'_>, timestamp_delta: i64) {
    if timestamp_delta == record.timestamp_delta {
        return out.extend_from_slice(record.bytes);
    }
    let varint = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let body = record.bytes.get(varint(record.bytes)..).unwrap_or_default();
    let (attributes, rest) = body.split_at_checked(1).unwrap_or_default();
    let rest = rest.get(varint(rest)..).unwrap_or_default();
    let mut delta = Vec::with_capacity(10);
    put_varlong(&mut delta, timestamp_delta);
    put_length(out, attributes.len() + delta.len() + rest.len());
    out.extend_from_slice(attributes);
    out.extend_from_slice(&delta);
    out.extend_from_slice(rest);
}
