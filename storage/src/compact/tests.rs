//! Tests of compaction on the simulated disk. What they share is here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![allow(clippy::wildcard_enum_match_arm)]

mod behaviour;
mod crash;
mod keymap;
mod world;

use pyralog_protocol::batch::{BatchHeader, Records, TimestampType, decompress};
use pyralog_protocol::{LogOffset, Now};

use super::{CompactError, CompactionConfig, KeyMap, Round};
use crate::sim::SimDisk;
use crate::{Log, LogConfig};

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The records of whole batches, with the batches' headers. Checks CRC and counts on the way.
pub fn records_of(mut bytes: &[u8]) -> Vec<(BatchHeader, Vec<Seen>)> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let header = BatchHeader::parse(bytes).unwrap();
        header.verify_crc(bytes).unwrap();
        let body = &bytes[61..header.total_size()];
        let payload = decompress(header.codec().unwrap(), body, 1 << 20).unwrap();
        let records: Vec<Seen> = Records::new(&payload).map(|record| seen(&header, record.unwrap())).collect();
        assert_eq!(records.len() as i32, header.record_count);
        if header.timestamp_type() == TimestampType::CreateTime && !records.is_empty() {
            assert_eq!(records.iter().map(|r| r.timestamp).max(), Some(header.max_timestamp));
        }
        bytes = &bytes[header.total_size()..];
        batches.push((header, records));
    }
    batches
}

fn seen(header: &BatchHeader, record: pyralog_protocol::batch::RecordView<'_>) -> Seen {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    Seen {
        offset: header.base_offset + i64::from(record.offset_delta),
        timestamp: match header.timestamp_type() {
            TimestampType::CreateTime => header.base_timestamp + record.timestamp_delta,
            TimestampType::LogAppendTime => header.max_timestamp,
        },
        key: owned(record.key),
        value: owned(record.value),
        headers: record.headers.iter().map(|h| (h.key.to_vec(), owned(h.value))).collect(),
    }
}

/// Everything that a reader finds from an offset to the end, by reads of a few hundred bytes.
pub fn read_all(log: &mut Log<SimDisk>, from: LogOffset) -> Result<Vec<(BatchHeader, Vec<Seen>)>, crate::ReadError> {
    let end = log.log_end();
    let (mut next, mut found) = (from, Vec::new());
    while let Some(slice) = log.read(next, 700, true, end)? {
        let batches = records_of(&slice.read().unwrap());
        next = LogOffset(batches.last().unwrap().0.last_offset() + 1);
        found.extend(batches);
    }
    assert!(next >= end || from >= end, "stuck at {next} of {end}");
    Ok(found)
}

/// Settings of logs whose segments a few batches fill.
pub fn compacted() -> LogConfig {
    let compaction =
        CompactionConfig { delete_retention_ms: 1000, min_dirty_millionths: 0, ..CompactionConfig::default() };
    LogConfig { compaction: Some(compaction), ..crate::tests::small() }
}

pub const CHUNK: usize = 512;

/// Runs a round to its end, as a node does.
pub fn compact(log: &mut Log<SimDisk>, now: Now, map: &mut KeyMap) -> Option<Result<Round, CompactError>> {
    let bound = log.stable_end();
    let mut plan = log.begin_compaction(now, bound).unwrap()?;
    let outcome = plan.run(map, CHUNK, &mut |_| true, &mut |new| log.swap_in(new));
    log.end_compaction(&outcome);
    Some(outcome)
}

pub fn big_map() -> KeyMap {
    KeyMap::new(1 << 20, 0.9, [1, 2])
}
