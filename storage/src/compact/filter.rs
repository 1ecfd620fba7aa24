//! What of a batch stays. Kafka's rules (4.3.1), with two that keep more than Kafka does:
//!
//! * A record stays if it is at or above the end of what was mapped, or if no later record below it has its key.
//!   A tombstone stays until its batch's delete horizon, which the first run that sees it sets. Records without key go:
//!   they are from before the log was compacted (IO-20).
//! * A batch that loses its last record goes, unless it has to stay as an empty one (F23): the last five batches of a
//!   producer, for its duplicate check (Kafka: the last one), the first batch of a leader epoch, for the epochs can be
//!   rebuilt from the batches then, and the last batch of a segment, so that its end can be reached (TX-07).
//!
//! Markers of transactions stay as they are.

use std::borrow::Cow;

use pyralog_protocol::LogOffset;
use pyralog_protocol::batch::{
    BatchHeader, Codec, CodecError, RecordView, Records, STORED_INFLATE_MAX, decompress, emptied, retain,
};

use super::keymap::KeyMap;
use super::source::Batch;

/// What the fate of batches depends on.
pub(super) struct Rules<'a> {
    /// Newest offset of each key of what was mapped.
    pub map: &'a KeyMap,
    /// End of what was mapped; nothing from there on goes.
    pub end: LogOffset,
    /// Records below were deleted.
    pub log_start: LogOffset,
    pub now_ms: i64,
    /// Delete horizon of tombstones that have none.
    pub horizon_ms: i64,
    /// Base offsets of batches that stay, empty if need be; rising.
    pub needed: &'a [LogOffset],
}

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Goes,
    Shrinks { header: BatchHeader, body: Vec<u8> },
}

/// Why a batch could not be looked into.
#[derive(Debug)]
pub(super) enum Opaque {
    /// Its records are not what was accepted once.
    Damaged(&'static str),
    /// Its records take more memory than allowed.
    TooLarge(CodecError),
}

/// The records of a batch whose checksum fits, inflated.
pub(super) fn payload_of<'a>(batch: &Batch<'a>) -> Result<Cow<'a, [u8]>, Opaque> {
    let codec = batch.header.codec().map_err(|_| Opaque::Damaged("unknown codec"))?;
    if codec == Codec::None {
        return Ok(Cow::Borrowed(batch.body()));
    }
    match decompress(codec, batch.body(), STORED_INFLATE_MAX) {
        Ok(payload) => Ok(Cow::Owned(payload)),
        Err(error @ CodecError::TooLarge { .. }) => Err(Opaque::TooLarge(error)),
        Err(CodecError::Undecodable { .. } | CodecError::Compress { .. }) => Err(Opaque::Damaged("cannot be inflated")),
    }
}

/// The next record, with its offset.
pub(super) fn checked<'a>(
    header: &BatchHeader,
    record: Result<RecordView<'a>, pyralog_protocol::batch::RecordError>,
) -> Result<(i64, RecordView<'a>), Opaque> {
    let record = record.map_err(|_| Opaque::Damaged("a record cannot be read"))?;
    if !(0..=header.last_offset_delta).contains(&record.offset_delta) {
        return Err(Opaque::Damaged("a record lies outside of its batch"));
    }
    Ok((header.base_offset.saturating_add(i64::from(record.offset_delta)), record))
}

/// Decides about a batch. `last`: its segment ends with it.
pub(super) fn judge(batch: &Batch<'_>, last: bool, rules: &Rules<'_>) -> Result<Fate, Opaque> {
    let header = &batch.header;
    if header.is_control() || header.base_offset >= rules.end.0 {
        return Ok(Fate::Stays);
    }
    let needed = last || rules.needed.binary_search(&LogOffset(header.base_offset)).is_ok();
    if header.record_count == 0 {
        return Ok(if needed { Fate::Stays } else { Fate::Goes });
    }
    let payload = payload_of(batch)?;
    let (mut stays, mut tombstones) = (Vec::new(), false);
    for record in Records::new(&payload) {
        let (offset, record) = checked(header, record)?;
        let kept = rules.keep(header, offset, &record);
        tombstones |= kept && record.value.is_none();
        stays.push(kept);
    }
    let kept = stays.iter().filter(|stays| **stays).count();
    let horizon = (tombstones && !header.has_delete_horizon()).then_some(rules.horizon_ms);
    if kept == 0 {
        let header = emptied(header);
        return Ok(if needed { Fate::Shrinks { header, body: Vec::new() } } else { Fate::Goes });
    }
    if kept == stays.len() && horizon.is_none() {
        return Ok(Fate::Stays);
    }
    let stays = |place: usize| stays.get(place).copied().unwrap_or(false);
    let (header, body) = retain(header, &payload, stays, horizon).map_err(Opaque::TooLarge)?;
    Ok(Fate::Shrinks { header, body })
}

impl Rules<'_> {
    fn keep(&self, header: &BatchHeader, offset: i64, record: &RecordView<'_>) -> bool {
        if offset >= self.end.0 {
            return true;
        }
        if offset < self.log_start.0 {
            return false;
        }
        let Some(key) = record.key else { return false };
        if self.map.get(key).is_some_and(|newest| newest > offset) {
            return false;
        }
        record.value.is_some() || header.delete_horizon().is_none_or(|horizon| self.now_ms < horizon)
    }
}
