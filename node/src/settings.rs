//! The border between the coordinator's settings and what storage and the batch checks take: neither knows the other.

use pyralog_coordinator::config::{self, TopicSettings};
use pyralog_coordinator::metadata::LogState;
use pyralog_protocol::batch::{Codec, Compression, ProduceRules, TimestampType};
use pyralog_protocol::{LeaderEpoch, PartitionIndex, WallMs};
use pyralog_storage::{CompactionConfig, LogConfig};

use crate::partition::{Durability, FlushLimits, Service};
use crate::vlsn::{VlsnRules, Writer};

/// Settings of a partition's log.
pub(crate) fn log_config(settings: &TopicSettings, producer_expiration_ms: i32) -> LogConfig {
    let limit = |value: i64| u64::try_from(value).ok().filter(|_| settings.cleanup.delete);
    let defaults = LogConfig::default();
    LogConfig {
        segment_bytes: u32::try_from(settings.segment_bytes).unwrap_or(u32::MAX),
        // As in Kafka: what has to be compacted in time must not stay in the active segment for longer.
        segment_ms: if settings.cleanup.compact {
            u64::try_from(settings.segment_ms.min(settings.max_compaction_lag_ms)).unwrap_or(u64::MAX)
        } else {
            u64::try_from(settings.segment_ms).unwrap_or(u64::MAX)
        },
        segment_jitter_ms: u64::try_from(settings.segment_jitter_ms).unwrap_or(0),
        segment_index_bytes: u32::try_from(settings.segment_index_bytes).unwrap_or(u32::MAX),
        preallocate: settings.preallocate,
        retention_bytes: limit(settings.retention_bytes),
        retention_ms: limit(settings.retention_ms),
        delete_delay_ms: delete_delay_ms(settings),
        // Where everything acknowledged is on disk, in the journal at least, there is nothing more to be asked for.
        flush_records: match durability(settings) {
            Durability::Fsync => u64::MAX,
            Durability::Memory(limits) => limits.records,
        },
        index_interval_bytes: u32::try_from(settings.index_interval_bytes).unwrap_or(0),
        producer_expiration_ms: u64::try_from(producer_expiration_ms).unwrap_or(u64::MAX),
        vlsn: settings.vlsn,
        compaction: settings.cleanup.compact.then(|| compaction(settings)),
        ..defaults
    }
}

/// How long files stay on disk that are out of service.
pub(crate) fn delete_delay_ms(settings: &TopicSettings) -> u64 {
    u64::try_from(settings.file_delete_delay_ms).unwrap_or(0)
}

/// How a partition of the log serves.
pub(crate) fn service(log: &LogState, index: PartitionIndex) -> Service {
    let (epoch, durability) = (leader_epoch(log, index), durability(&log.settings));
    Service { epoch, durability, paused: log.settings.paused, rules: vlsn_rules(log) }
}

/// By which rules partitions of the log take VLSNs.
fn vlsn_rules(log: &LogState) -> VlsnRules {
    let writer = log.metadata.writer.and_then(|held| {
        let producer_id = held.producer_id?;
        Some(Writer { epoch: held.epoch, producer_id })
    });
    VlsnRules { routing: log.metadata.routing.clone(), writer }
}

fn compaction(settings: &TopicSettings) -> CompactionConfig {
    let ms = |value: i64| u64::try_from(value).unwrap_or(0);
    CompactionConfig {
        delete_retention_ms: ms(settings.delete_retention_ms),
        min_lag_ms: ms(settings.min_compaction_lag_ms),
        max_lag_ms: ms(settings.max_compaction_lag_ms),
        min_dirty_millionths: millionths(settings.min_cleanable_dirty_ratio),
    }
}

/// A ratio, 0 to 1 by the catalogue's check.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
fn millionths(ratio: f64) -> u32 {
    (ratio.clamp(0.0, 1.0) * 1e6).round() as u32
}

/// When an append to the log counts as acknowledged. To flush after every record is to acknowledge what is on disk.
pub(crate) fn durability(settings: &TopicSettings) -> Durability {
    let records = u64::try_from(settings.flush_messages).unwrap_or(u64::MAX);
    match settings.durability {
        config::Durability::Memory if records > 1 => {
            let ms = u64::try_from(settings.flush_ms).ok().filter(|_| settings.flush_ms < i64::MAX);
            Durability::Memory(FlushLimits { records, ms })
        }
        config::Durability::Memory | config::Durability::Fsync => Durability::Fsync,
    }
}

/// Generation of the partition's leadership.
pub(crate) fn leader_epoch(log: &LogState, index: PartitionIndex) -> LeaderEpoch {
    let partition = usize::try_from(index.0).ok().and_then(|i| log.metadata.partitions.get(i));
    partition.map_or(LeaderEpoch(0), |p| p.leader_epoch)
}

/// What a batch must be like to be appended to the log.
pub(crate) fn produce_rules(settings: &TopicSettings, zstd_allowed: bool, now: WallMs) -> ProduceRules {
    ProduceRules {
        max_message_bytes: usize::try_from(settings.max_message_bytes).unwrap_or(0),
        segment_bytes: usize::try_from(settings.segment_bytes).unwrap_or(0),
        compacted: settings.cleanup.compact,
        timestamp_type: match settings.timestamp_type {
            config::TimestampType::CreateTime => TimestampType::CreateTime,
            config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        before_max_ms: settings.timestamp_before_max_ms,
        after_max_ms: settings.timestamp_after_max_ms,
        target: target_codec(settings.compression),
        zstd_allowed,
        now,
        vlsn: None,
    }
}

fn target_codec(wanted: config::Compression) -> Option<Compression> {
    let (codec, level) = match wanted {
        config::Compression::Producer => return None,
        config::Compression::Uncompressed => (Codec::None, 0),
        config::Compression::Gzip(level) => (Codec::Gzip, level),
        config::Compression::Snappy => (Codec::Snappy, 0),
        config::Compression::Lz4(level) => (Codec::Lz4, level),
        config::Compression::Zstd(level) => (Codec::Zstd, level),
    };
    Some(Compression { codec, level })
}
