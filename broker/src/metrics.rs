//! Counters, under names in the style of Kafka's own metrics (`kafka_server_…`), as Prometheus reads them.
//! Counting is a relaxed addition on the hot path; everything that can be read off the node is read when asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::scrubbing::ScrubProgress;

/// One number that only rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the shell counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests taken.
    pub requests: Count,
    /// Connections accepted.
    pub connections: Count,
    /// Connections refused at a limit.
    pub connections_refused: Count,
    /// Requests that closed their connection.
    pub requests_refused: Count,
    /// Bytes received.
    pub bytes_in: Count,
    /// Bytes sent.
    pub bytes_out: Count,
    /// Answers that the thread that had them sent itself.
    pub direct_answers: Count,
    /// Syncs of partitions that failed.
    pub sync_failures: Count,
    /// Syncs of partitions.
    pub syncs: Count,
    /// Rounds written to the journal.
    pub journal_rounds: Count,
    /// Rounds of compaction.
    pub compactions: Count,
    /// Bytes that they read.
    pub compaction_read: Count,
    /// Bytes that they wrote.
    pub compaction_written: Count,
    /// Rounds that failed.
    pub compaction_failures: Count,
    /// Bytes of old segments that were looked over.
    pub scrub_read: Count,
    /// Old segments that were looked over.
    pub scrub_segments: Count,
    /// Partitions in which that found damage.
    pub scrub_damage: Count,
    /// Old segments that could not be read.
    pub scrub_failures: Count,
}

/// What is read off the node at the moment of asking.
#[derive(Debug)]
pub struct Levels {
    /// Open connections.
    pub connections: usize,
    /// Open connections over HTTP.
    pub http_connections: u64,
    /// Connections over HTTP that were refused at the limit.
    pub http_refused: u64,
    /// Logs.
    pub logs: usize,
    /// Partitions that this node leads.
    pub partitions: usize,
    /// Partitions that are offline.
    pub offline: usize,
    /// Bytes of all partitions.
    pub log_bytes: u64,
    /// Partitions that cannot be compacted.
    pub uncleanable: usize,
    /// Largest share of dirty bytes of a compacted log, in percent.
    pub dirtiest_percent: u64,
    /// Fetch sessions.
    pub fetch_sessions: usize,
    /// Room on the volume.
    pub room: pyralog_node::room::Level,
    /// Requests that were refused for want of it.
    pub refused_for_room: u64,
    /// Reads of records that failed.
    pub read_failures: u64,
    /// Appends that files made fail.
    pub append_failures: u64,
    /// Log lines that stderr did not take.
    pub log_lines_lost: u64,
    /// How far the look at old segments is.
    pub scrub: ScrubProgress,
    /// Since the start.
    pub uptime: Duration,
}

impl Metrics {
    /// The exposition text.
    pub fn text(&self, levels: &Levels) -> String {
        let mut registry = Registry::default();
        self.register_counts(&mut registry, levels);
        levels.register(&mut registry);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }

    fn register_counts(&self, registry: &mut Registry, levels: &Levels) {
        let mut counter = |name: &str, help: &str, unit: Option<Unit>, count: &Count| {
            let metric = ConstCounter::new(count.get());
            match unit {
                Some(unit) => registry.register_with_unit(name, help, unit, metric),
                None => registry.register(name, help, metric),
            }
        };
        counter("kafka_network_requests", "Requests taken", None, &self.requests);
        counter(
            "kafka_network_requests_refused",
            "Requests that closed their connection",
            None,
            &self.requests_refused,
        );
        counter("kafka_network_connections_accepted", "Connections accepted", None, &self.connections);
        counter("kafka_network_connections_refused", "Connections refused at a limit", None, &self.connections_refused);
        counter("kafka_server_in", "Bytes received from clients", Some(Unit::Bytes), &self.bytes_in);
        counter("kafka_server_out", "Bytes sent to clients", Some(Unit::Bytes), &self.bytes_out);
        let help = "Answers that left on the thread that made them ready";
        counter("pyralog_network_direct_answers", help, None, &self.direct_answers);
        counter("kafka_log_flushes", "Syncs of partitions", None, &self.syncs);
        counter("pyralog_journal_rounds", "Writes to the journal", None, &self.journal_rounds);
        counter("kafka_log_flush_failures", "Syncs of partitions that failed", None, &self.sync_failures);
        counter("kafka_log_cleaner_runs", "Rounds of compaction", None, &self.compactions);
        counter("kafka_log_cleaner_read", "Read by compaction", Some(Unit::Bytes), &self.compaction_read);
        counter("kafka_log_cleaner_written", "Written by compaction", Some(Unit::Bytes), &self.compaction_written);
        counter("kafka_log_cleaner_failures", "Rounds of compaction that failed", None, &self.compaction_failures);
        counter("pyralog_scrub_read", "Old segments that were looked over", Some(Unit::Bytes), &self.scrub_read);
        counter("pyralog_scrub_segments", "Old segments that were looked over", None, &self.scrub_segments);
        counter("pyralog_scrub_damaged_partitions", "Partitions with damaged old segments", None, &self.scrub_damage);
        counter("pyralog_scrub_failures", "Old segments that could not be read", None, &self.scrub_failures);
        let refused = Count::default();
        refused.add(levels.refused_for_room);
        counter("pyralog_disk_full_refusals", "Requests refused for want of room on the disk", None, &refused);
        let failed = Count::default();
        failed.add(levels.read_failures);
        counter("pyralog_log_read_failures", "Reads of records, and look-ups in them, that failed", None, &failed);
        let failed = Count::default();
        failed.add(levels.append_failures);
        counter("pyralog_log_append_failures", "Appends that failed because of files", None, &failed);
        let lost = Count::default();
        lost.add(levels.log_lines_lost);
        counter("pyralog_log_lines_lost", "Log lines that stderr did not take", None, &lost);
        let refused = Count::default();
        refused.add(levels.http_refused);
        counter("pyralog_http_connections_refused", "HTTP connections refused at the limit", None, &refused);
    }
}

impl Levels {
    fn register(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: u64| {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            match unit {
                Some(unit) => registry.register_with_unit(name, help, unit, metric),
                None => registry.register(name, help, metric),
            }
        };
        gauge("kafka_network_connections", "Open connections", None, self.connections as u64);
        gauge("pyralog_http_connections", "Open HTTP connections", None, self.http_connections);
        gauge("kafka_server_global_topic_count", "Logs", None, self.logs as u64);
        gauge("kafka_server_partition_count", "Partitions on this node", None, self.partitions as u64);
        gauge("kafka_server_offline_partition_count", "Partitions that are offline", None, self.offline as u64);
        gauge("kafka_server_fetch_sessions", "Incremental fetch sessions", None, self.fetch_sessions as u64);
        gauge(
            "kafka_log_cleaner_uncleanable_partitions",
            "Partitions that cannot be compacted before the next start",
            None,
            self.uncleanable as u64,
        );
        gauge(
            "kafka_log_cleaner_max_dirty_percent",
            "Dirty share of the dirtiest compacted log at the last look",
            None,
            self.dirtiest_percent,
        );
        gauge("kafka_log_size", "Size of all partitions", Some(Unit::Bytes), self.log_bytes);
        gauge("pyralog_disk_free", "Room on the disk", Some(Unit::Bytes), self.room.free_bytes);
        gauge("pyralog_disk_reserve", "Room that is kept free", Some(Unit::Bytes), self.room.reserve_bytes);
        if let Some(free) = self.room.free_inodes {
            gauge("pyralog_disk_free_inodes", "Files that the disk has room for", None, free);
            gauge("pyralog_disk_reserve_inodes", "Inodes that are kept free", None, self.room.reserve_inodes);
        }
        let help = "0: enough room, 1: appends are refused, 2: committed offsets and new logs as well";
        gauge("pyralog_disk_full", help, None, self.room.room as u64);
        let scrub = self.scrub;
        gauge("pyralog_scrub_running", "1: old segments are being looked over", None, u64::from(scrub.running));
        gauge(
            "pyralog_scrub_round_checked",
            "Checked in this round or the last one",
            Some(Unit::Bytes),
            scrub.checked_bytes,
        );
        gauge("pyralog_scrub_round_total", "There when that began", Some(Unit::Bytes), scrub.total_bytes);
        let finished = scrub.finished_at.unwrap_or(0);
        gauge(
            "pyralog_scrub_finished",
            "End of the last round, since 1970; 0: none yet",
            Some(Unit::Seconds),
            finished,
        );
        gauge("pyralog_uptime", "Time since the start", Some(Unit::Seconds), self.uptime.as_secs());
    }
}
