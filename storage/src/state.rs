//! The two small files of a partition.
//!
//! * `partition.meta`: topic id, log start offset, below which offset compaction may have left holes, and the largest VLSN below
//!   the log start. Not derivable, so it is replaced durably, and a damaged one
//!   quarantines the partition.
//! * `<offset>.snapshot`: producers and leader epochs as they were when the log ended at that offset, how large the
//!   active segment was, and how far the log was clean. Derived from the batches: written without a sync, and a missing or damaged one costs a scan.
//!
//! And one of the data folder, for whoever owns several partitions: the recovery points.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, TryGetError};
use pyralog_protocol::{EpochOffset, LeaderEpoch, LogOffset, TopicId, Vlsn, WallMs};

use crate::disk::Disk;
use crate::epochs::Epochs;
use crate::files::{FileError, Kind, read_small, replace_durably, seal, unseal};
use crate::producers::{BATCHES_KEPT, PastBatch, Producer, Producers};
use crate::segment::parse_name;

/// Name of the file that makes a directory a partition.
pub const META_FILE: &str = "partition.meta";
const META: Kind = Kind { magic: *b"PLMT", version: 3 };
/// Before logs had VLSNs.
const META_2: Kind = Kind { version: 2, ..META };
/// Before logs were compacted.
const META_1: Kind = Kind { version: 1, ..META };
const SNAPSHOT: Kind = Kind { magic: *b"PLSN", version: 2 };
const RECOVERY_POINTS: Kind = Kind { magic: *b"PLRP", version: 1 };

/// What `partition.meta` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMeta {
    /// The log that this partition belongs to; another id means another log of the same name.
    pub topic_id: TopicId,
    /// First offset that is served.
    pub log_start: LogOffset,
    /// Offsets may be missing below, because compaction took their records. Everything below was synced.
    pub cleaned_end: LogOffset,
    /// Largest VLSN of a record below the log start, where the log has VLSNs: whatever retention takes, none is written twice.
    pub trimmed: Option<Vlsn>,
}

impl PartitionMeta {
    /// Reads the file of the partition in `dir`.
    pub fn read<D: Disk>(disk: &D, dir: &str) -> Result<Self, FileError> {
        let path = format!("{dir}/{META_FILE}");
        let bytes = read_small(disk, &path)?;
        let (mut payload, length) = match unseal(META, &path, &bytes) {
            Err(FileError::Version { found: 1, .. }) => (unseal(META_1, &path, &bytes)?, 24),
            Err(FileError::Version { found: 2, .. }) => (unseal(META_2, &path, &bytes)?, 32),
            payload => (payload?, 40),
        };
        if payload.len() != length {
            return Err(FileError::Damaged { path, what: "length" });
        }
        let mut id = [0; 16];
        payload.copy_to_slice(&mut id);
        let log_start = LogOffset(payload.get_i64());
        let cleaned_end = payload.try_get_i64().map_or(LogOffset::ZERO, LogOffset);
        let trimmed = payload.try_get_i64().ok().and_then(|vlsn| u64::try_from(vlsn).ok()).map(Vlsn);
        Ok(Self { topic_id: TopicId(id), log_start, cleaned_end, trimmed })
    }

    /// Where the log in `dir` ended when it was last closed or checkpointed, by the name of its newest snapshot. After a stop in
    /// order the log ends there.
    pub fn newest_snapshot<D: Disk>(disk: &D, dir: &str) -> std::io::Result<Option<LogOffset>> {
        Ok(disk.list(dir)?.iter().filter_map(|name| parse_name(name, "snapshot")).max())
    }

    pub(crate) fn write<D: Disk>(&self, disk: &D, dir: &str) -> std::io::Result<()> {
        replace_durably(disk, dir, META_FILE, &self.encode())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(40);
        payload.put_slice(&self.topic_id.0);
        payload.put_i64(self.log_start.0);
        payload.put_i64(self.cleaned_end.0);
        payload.put_i64(self.trimmed.map_or(-1, Vlsn::offset));
        seal(META, &payload)
    }
}

/// Derived state of a log that ends at `log_end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub log_end: LogOffset,
    pub active_base: LogOffset,
    pub active_size: u64,
    /// No two records below have the same key, where the log is compacted.
    pub first_dirty: LogOffset,
    pub epochs: Epochs,
    pub producers: Producers,
}

impl Snapshot {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_i64(self.log_end.0);
        out.put_i64(self.active_base.0);
        out.put_u64(self.active_size);
        out.put_i64(self.first_dirty.0);
        out.put_u32(count(self.epochs.entries().len()));
        for entry in self.epochs.entries() {
            out.put_i32(entry.epoch.0);
            out.put_i64(entry.offset.0);
        }
        out.put_u32(count(self.producers.iter().len()));
        for (id, producer) in self.producers.iter() {
            put_producer(&mut out, id, producer);
        }
        seal(SNAPSHOT, &out)
    }

    pub fn decode(path: &str, bytes: &[u8]) -> Result<Self, FileError> {
        let mut payload = unseal(SNAPSHOT, path, bytes)?;
        let damaged = |_| FileError::Damaged { path: path.to_owned(), what: "ends early" };
        Self::parse(&mut payload).map_err(damaged)
    }

    fn parse(from: &mut &[u8]) -> Result<Self, TryGetError> {
        let log_end = LogOffset(from.try_get_i64()?);
        let active_base = LogOffset(from.try_get_i64()?);
        let active_size = from.try_get_u64()?;
        let first_dirty = LogOffset(from.try_get_i64()?);
        let mut epochs = Epochs::default();
        for _ in 0..from.try_get_u32()? {
            let entry = EpochOffset { epoch: LeaderEpoch(from.try_get_i32()?), offset: LogOffset(from.try_get_i64()?) };
            epochs.assign(entry.epoch, entry.offset);
        }
        let mut producers = Producers::default();
        for _ in 0..from.try_get_u32()? {
            let (id, producer) = get_producer(from)?;
            producers.restore(id, producer);
        }
        Ok(Self { log_end, active_base, active_size, first_dirty, epochs, producers })
    }
}

fn put_producer(out: &mut Vec<u8>, id: i64, producer: &Producer) {
    out.put_i64(id);
    out.put_i16(producer.epoch);
    out.put_i64(producer.seen_at.0);
    out.put_i64(producer.last_timestamp);
    out.put_u8(u8::try_from(producer.batches.len()).unwrap_or(u8::MAX));
    for batch in &producer.batches {
        out.put_i32(batch.first_sequence);
        out.put_i32(batch.last_sequence);
        out.put_i64(batch.base_offset.0);
        out.put_i64(batch.last_offset.0);
        out.put_i64(batch.max_timestamp);
    }
}

fn get_producer(from: &mut &[u8]) -> Result<(i64, Producer), TryGetError> {
    let id = from.try_get_i64()?;
    let epoch = from.try_get_i16()?;
    let seen_at = WallMs(from.try_get_i64()?);
    let last_timestamp = from.try_get_i64()?;
    let mut batches = VecDeque::with_capacity(BATCHES_KEPT);
    for _ in 0..from.try_get_u8()? {
        batches.push_back(PastBatch {
            first_sequence: from.try_get_i32()?,
            last_sequence: from.try_get_i32()?,
            base_offset: LogOffset(from.try_get_i64()?),
            last_offset: LogOffset(from.try_get_i64()?),
            max_timestamp: from.try_get_i64()?,
        });
    }
    Ok((id, Producer { epoch, batches, seen_at, last_timestamp }))
}

/// Recovery points by partition directory: below them everything is known to be on disk and is never cut.
pub type RecoveryPoints = BTreeMap<String, LogOffset>;

/// Bytes of a recovery-point file (magic `PLRP`).
pub fn encode_recovery_points(points: &RecoveryPoints) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(count(points.len()));
    for (dir, offset) in points {
        out.put_u16(u16::try_from(dir.len()).unwrap_or(u16::MAX));
        out.put_slice(dir.as_bytes());
        out.put_i64(offset.0);
    }
    seal(RECOVERY_POINTS, &out)
}

/// Reads the bytes of a recovery-point file; `path` is for the message.
pub fn decode_recovery_points(path: &str, bytes: &[u8]) -> Result<RecoveryPoints, FileError> {
    let mut from = unseal(RECOVERY_POINTS, path, bytes)?;
    let damaged = |what| FileError::Damaged { path: path.to_owned(), what };
    let early = |_| damaged("ends early");
    let mut points = RecoveryPoints::new();
    for _ in 0..from.try_get_u32().map_err(early)? {
        let length = usize::from(from.try_get_u16().map_err(early)?);
        let (dir, rest) = from.split_at_checked(length).ok_or_else(|| damaged("ends early"))?;
        let dir = std::str::from_utf8(dir).map_err(|_| damaged("name is not UTF-8"))?;
        from = rest;
        points.insert(dir.to_owned(), LogOffset(from.try_get_i64().map_err(early)?));
    }
    Ok(points)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
