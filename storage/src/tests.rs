//! Tests of the log on the simulated disk. What they share is here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![allow(clippy::wildcard_enum_match_arm)]

mod append;
mod crash;
mod damage;
mod formats;
mod found;
mod lookup;
mod model;
mod retention;
mod scrub;
mod settings;
mod sync;
mod trouble;
mod truncation;
mod world;

use std::sync::Arc;

use pyralog_protocol::batch::{BatchBuilder, BatchHeader, CheckedBatch, NewRecord};
use pyralog_protocol::{LeaderEpoch, LogOffset, MonoMs, Now, PartitionIndex, TopicId, WallMs};

use crate::sim::SimDisk;
use crate::{Disk, JournalLimits, Log, LogConfig, OpenHint, PartitionKey, RecoveryReport, create};

pub const DIR: &str = "logs/orders-0";
pub const EPOCH: LeaderEpoch = LeaderEpoch(0);
pub const TOPIC: TopicId = TopicId([7; 16]);
pub const KEY: PartitionKey = PartitionKey { topic: TOPIC, index: PartitionIndex(0) };
/// More than any batch may inflate to when it is taken under the default limits: what larger ones had compressed by their log.
pub const DENSE: usize = 65 << 20;
/// Files that a few rounds fill, so that they are used again soon.
pub const JOURNAL: JournalLimits = JournalLimits { file_bytes: 3 * 4096, files: 2 };

#[expect(clippy::disallowed_methods, reason = "seeds to run come from whoever runs the test")]
pub fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// What `tools/schedules` asks for.
pub fn asked_seeds() -> std::ops::Range<u64> {
    let (first, count) = (asked("PYRALOG_FIRST").unwrap_or(0), asked("PYRALOG_SCHEDULES").unwrap_or(10_000));
    first..first + count
}

pub fn at(ms: i64) -> Now {
    Now { mono: MonoMs(ms as u64), wall: WallMs(ms) }
}

pub fn off(offset: i64) -> LogOffset {
    LogOffset(offset)
}

pub fn clean(recovery_point: i64) -> OpenHint {
    OpenHint { clean: true, recovery_point: off(recovery_point), ..OpenHint::default() }
}

pub fn unclean(recovery_point: i64) -> OpenHint {
    OpenHint { recovery_point: off(recovery_point), ..OpenHint::default() }
}

/// Segments and index intervals so small that a few batches fill them.
pub fn small() -> LogConfig {
    LogConfig { segment_bytes: 1500, index_interval_bytes: 200, retention_ms: None, ..LogConfig::default() }
}

pub fn checked(builder: BatchBuilder) -> CheckedBatch {
    let (header, body) = builder.into_parts().unwrap();
    CheckedBatch { header, body: body.into(), max_timestamp_offset_delta: 0, vlsns: Vec::new() }
}

/// A plain batch whose records carry these timestamps.
pub fn stamped(timestamps: &[i64]) -> CheckedBatch {
    let record = |builder: BatchBuilder, t: &i64| builder.kv(*t, b"k", b"value");
    checked(timestamps.iter().fold(BatchBuilder::new(), record))
}

/// A plain batch of so many records, whose values fill it to about `bytes`.
pub fn sized(records: usize, bytes: usize) -> BatchBuilder {
    let value = vec![b'v'; bytes / records];
    let record = NewRecord { timestamp: 1000, key: None, value: Some(&value), headers: &[] };
    (0..records).fold(BatchBuilder::new(), |builder, _| builder.record(record))
}

pub fn idempotent(id: i64, epoch: i16, sequence: i32, records: usize) -> CheckedBatch {
    checked(sized(records, 20 * records).producer(id, epoch, sequence))
}

/// A disk with an empty partition. The folder above the partitions is the node's: durable before it creates any.
pub fn new_disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all("logs").unwrap();
    disk.sync_dir("").unwrap();
    create(&disk, DIR, TOPIC).unwrap();
    disk
}

pub fn open(disk: &SimDisk, config: LogConfig, hint: OpenHint) -> (Log<SimDisk>, RecoveryReport) {
    Log::open(Arc::new(disk.clone()), DIR, config, hint, at(1000)).unwrap()
}

pub fn new_log(config: LogConfig) -> (SimDisk, Log<SimDisk>) {
    let disk = new_disk();
    let (log, _) = open(&disk, config, clean(0));
    (disk, log)
}

/// Appends and returns the base offset.
pub fn put(log: &mut Log<SimDisk>, batch: &CheckedBatch) -> i64 {
    log.append(batch, EPOCH, at(1000)).unwrap().base_offset.0
}

/// Everything from an offset to the end, as (base offset, last offset) of its batches.
pub fn contents(log: &mut Log<SimDisk>, from: i64) -> Vec<(i64, i64)> {
    let end = log.log_end();
    let (mut next, mut found) = (off(from), Vec::new());
    while let Some(slice) = log.read(next, 700, true, end).unwrap() {
        let bytes = slice.read().unwrap();
        found.extend(headers(&bytes).iter().map(|h| (h.base_offset, h.last_offset())));
        next = off(found.last().unwrap().1 + 1);
    }
    found
}

pub fn headers(mut bytes: &[u8]) -> Vec<BatchHeader> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let header = BatchHeader::parse(bytes).unwrap();
        header.verify_crc(bytes).unwrap();
        bytes = &bytes[header.total_size()..];
        headers.push(header);
    }
    headers
}
