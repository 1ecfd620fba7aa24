//! Whether a conditional append that is there already is the caller's own. Two writers that expect the same last VLSN and
//! write under the same next one must not both be told that they succeeded; one writer that sends again must be.

use std::sync::Arc;

use bytes::Bytes;
use pyralog_protocol::LogOffset;
use pyralog_protocol::batch::{
    BATCH_HEADER_BYTES, CheckedBatch, Codec, Records, STORED_INFLATE_MAX, StoredBatch, decompress,
};
use pyralog_storage::{Appended, Disk, Patience, ReadError};

use super::VlsnError;
use crate::partition::Partition;

/// Bytes of stored batches that are read at a time.
const READ_BYTES: u64 = 1 << 20;

/// Whether the records that a partition has from `appended.base_offset` to `appended.last_offset` contain those of the batch, with the same
/// values and headers. Timestamps are not compared: they may have been given by the broker or by a second attempt. Reads
/// what was found by its VLSNs a moment ago, durable or not. Blocks.
pub(crate) fn holds<D: Disk>(
    partition: &Arc<Partition<D>>,
    batch: &CheckedBatch,
    appended: &Appended,
) -> Result<bool, VlsnError> {
    let index = partition.index;
    let stored = |error| VlsnError::Stored { index, error };
    let body = inflated(batch).map_err(|error| stored(error.into()))?;
    let mut wanted = batch.vlsns.iter().zip(Records::new(&body)).peekable();
    let (mut next, bound) = (appended.base_offset, LogOffset(appended.last_offset.0.saturating_add(1)));
    while wanted.peek().is_some() {
        let slice = partition.look_up(Patience::Waits, |log, _| log.read(next, READ_BYTES, true, LogOffset(i64::MAX)));
        let slice = slice.map_err(|why| VlsnError::Refused { index, why })?;
        let read = |error| VlsnError::Read { index, error };
        let Some(slice) = slice.map_err(read)?.filter(|_| next < bound) else { return Ok(false) };
        let bytes = slice.read().map_err(|error| read(ReadError::Io(error)))?;
        let mut rest = &bytes[..];
        while rest.len() >= BATCH_HEADER_BYTES {
            let found = StoredBatch::open(rest).map_err(stored)?;
            for record in found.records() {
                let record = record.map_err(stored)?;
                while let Some((_, sent)) = wanted.next_if(|(vlsn, _)| **vlsn <= record.vlsn) {
                    let sent = sent.map_err(|error| stored(error.into()))?;
                    if sent.after_deltas() != record.record.after_deltas() {
                        return Ok(false);
                    }
                }
            }
            next = LogOffset(found.header.last_offset().saturating_add(1));
            rest = rest.get(found.header.total_size()..).unwrap_or_default();
        }
    }
    Ok(true)
}

fn inflated(batch: &CheckedBatch) -> Result<Bytes, pyralog_protocol::batch::CodecError> {
    match batch.header.codec() {
        Ok(Codec::None) | Err(_) => Ok(batch.body.clone()),
        Ok(codec) => decompress(codec, &batch.body, STORED_INFLATE_MAX).map(Bytes::from),
    }
}
