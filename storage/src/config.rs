//! Settings of one log, under Kafka's names. Can be replaced at run time; the next operation uses the new ones.

use crate::compact::CompactionConfig;

/// Settings of one log. `None` means "no limit" (Kafka's -1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a batch that would make the active segment larger starts a new one; a batch that is larger by
    /// itself is refused. At most `i32::MAX`, which [`LogConfig::segment_bytes`]'s type and Kafka's range both say.
    pub segment_bytes: u32,
    /// `segment.ms`: a batch whose timestamp lies more than this behind the segment's first starts a new segment.
    pub segment_ms: u64,
    /// `segment.jitter.ms`: up to so much is taken off `segment_ms`, other than that for each segment, so that logs that
    /// were created together do not roll together.
    pub segment_jitter_ms: u64,
    /// `segment.index.bytes`: a batch whose index entry would make the index larger starts a new segment.
    pub segment_index_bytes: u32,
    /// `preallocate`: a new segment takes room for `segment_bytes` at once.
    pub preallocate: bool,
    /// `retention.bytes`: the oldest segments go while the log without them is still at least this large.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`: a segment goes when its newest record is older.
    pub retention_ms: Option<u64>,
    /// `file.delete.delay.ms`: how long the file of a segment that has left the log stays on disk.
    pub delete_delay_ms: u64,
    /// `flush.messages`: a sync is due when so many records are not in the segments on disk.
    pub flush_records: u64,
    /// `index.interval.bytes`: distance of index entries in bytes of log.
    pub index_interval_bytes: u32,
    /// `producer.id.expiration.ms`: a producer is forgotten this long after its last batch.
    pub producer_expiration_ms: u64,
    /// Most idempotent producers that are remembered. When one more comes, the tenth that was silent longest is
    /// forgotten, as if it had expired: any sequence of theirs is accepted then (ID-05).
    pub producers_max: usize,
    /// `vlsn.enable`: records are found by the VLSN in their key, and appended in its order.
    pub vlsn: bool,
    /// How the log is compacted, where `cleanup.policy` says that it is.
    pub compaction: Option<CompactionConfig>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            preallocate: false,
            retention_bytes: None,
            retention_ms: Some(7 * 24 * 3_600_000),
            delete_delay_ms: 60_000,
            flush_records: u64::MAX,
            index_interval_bytes: 4096,
            producer_expiration_ms: 86_400_000,
            producers_max: 10_000,
            vlsn: false,
            compaction: None,
        }
    }
}
