//! Configs of a log and of a group: Kafka 4.3.1's names, types, defaults and bounds, and our own (`pyralog.*`).
//! Sorted by name. One row, one config; what a row does not say is the common case.

use super::catalogue::Unused::*;
use super::catalogue::{Check, Config, boolean, double, int, list, long, string};

/// Configs of a log (Kafka: topic).
#[rustfmt::skip]
pub(super) const TOPIC: &[Config] = &[
    list("cleanup.policy", Some("delete")).values(&["compact", "delete"]).synonyms(&["log.cleanup.policy"]).doc("What happens to old segments: delete them, compact them to the newest record of each key, or both. Empty keeps everything."),
    int("compression.gzip.level", Some("-1")).range_or(1, 9, -1).synonyms(&["compression.gzip.level"]).doc("Level of gzip when compression.type is gzip; -1 is the codec's own default."),
    int("compression.lz4.level", Some("9")).range(1, 17).synonyms(&["compression.lz4.level"]).doc("Level of LZ4 when compression.type is lz4.").unused(OneLevel),
    string("compression.type", Some("producer")).values(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]).synonyms(&["compression.type"]).doc("Codec in which batches are stored; producer keeps what the producer chose."),
    int("compression.zstd.level", Some("3")).range(-131072, 22).synonyms(&["compression.zstd.level"]).doc("Level of zstd when compression.type is zstd."),
    long("delete.retention.ms", Some("86400000")).min(0).synonyms(&["log.cleaner.delete.retention.ms"]).doc("How long tombstones of a compacted log stay readable, in milliseconds."),
    long("file.delete.delay.ms", Some("60000")).min(0).synonyms(&["log.segment.delete.delay.ms"]).doc("How long a removed segment stays on disk before its file goes, and the folder of a deleted log, in milliseconds; not while the disk is short of room."),
    long("flush.messages", Some("9223372036854775807")).min(1).synonyms(&["log.flush.interval.messages"]).doc("Sync after this many records, where the durability is memory."),
    long("flush.ms", Some("9223372036854775807")).min(0).synonyms(&["log.flush.interval.ms", "log.flush.scheduler.interval.ms"]).doc("Sync at the latest after this many milliseconds, where the durability is memory."),
    list("follower.replication.throttled.replicas", Some("")).check(Check::ThrottledReplicas).doc("Replicas whose catching up is throttled, as partition:broker pairs or *.").unused(Replication),
    int("index.interval.bytes", Some("4096")).min(0).synonyms(&["log.index.interval.bytes"]).doc("Bytes of batches between two entries of a sparse index."),
    int("internal.segment.bytes", None).hidden().doc("Segment size without a lower bound, for tests."),
    list("leader.replication.throttled.replicas", Some("")).check(Check::ThrottledReplicas).doc("Replicas whose leader throttles, as partition:broker pairs or *.").unused(Replication),
    long("local.retention.bytes", Some("-2")).min(-2).synonyms(&["log.local.retention.bytes"]).doc("Size kept on local disk when older segments are tiered; -2 follows retention.bytes.").unused(Tiering),
    long("local.retention.ms", Some("-2")).min(-2).synonyms(&["log.local.retention.ms"]).doc("Time kept on local disk when older segments are tiered; -2 follows retention.ms.").unused(Tiering),
    long("max.compaction.lag.ms", Some("9223372036854775807")).min(1).synonyms(&["log.cleaner.max.compaction.lag.ms"]).doc("A record is compacted at the latest after this many milliseconds."),
    int("max.message.bytes", Some("1048588")).min(0).synonyms(&["message.max.bytes"]).doc("Largest record batch that is accepted, in bytes."),
    long("message.timestamp.after.max.ms", Some("3600000")).min(0).synonyms(&["log.message.timestamp.after.max.ms"]).doc("How far a record's timestamp may lie in the future, in milliseconds."),
    long("message.timestamp.before.max.ms", Some("9223372036854775807")).min(0).synonyms(&["log.message.timestamp.before.max.ms"]).doc("How far a record's timestamp may lie in the past, in milliseconds."),
    string("message.timestamp.type", Some("CreateTime")).values(&["CreateTime", "LogAppendTime"]).synonyms(&["log.message.timestamp.type"]).doc("Whether the timestamp is the producer's (CreateTime) or the broker's (LogAppendTime)."),
    double("min.cleanable.dirty.ratio", Some("0.5")).between(0.0, 1.0).synonyms(&["log.cleaner.min.cleanable.ratio"]).doc("Share of uncompacted bytes from which compaction is worthwhile."),
    long("min.compaction.lag.ms", Some("0")).min(0).synonyms(&["log.cleaner.min.compaction.lag.ms"]).doc("A record stays uncompacted for at least this many milliseconds."),
    int("min.insync.replicas", Some("1")).min(1).synonyms(&["min.insync.replicas"]).doc("Replicas that must have a record before acks=all is answered; never more than there are."),
    boolean("preallocate", Some("false")).synonyms(&["log.preallocate"]).doc("Whether a new segment's file takes its full size at once."),
    string("pyralog.durability", Some("fsync")).values(&["fsync", "memory"]).synonyms(&["pyralog.durability"]).doc("When a record counts as written: on disk (fsync), or in the memory of the in-sync replicas (memory)."),
    boolean("pyralog.paused", Some("false")).doc("Whether the log is paused: writes are refused as pyralog.paused.error says, reads go on."),
    string("pyralog.paused.error", Some("retriable")).values(&["retriable", "fatal"]).doc("What a writer to a paused log is told: NOT_ENOUGH_REPLICAS, which clients retry until their delivery timeout (retriable), or POLICY_VIOLATION, which they report at once (fatal)."),
    boolean("remote.log.copy.disable", Some("false")).doc("Whether copying to tiered storage is stopped.").unused(Tiering),
    boolean("remote.log.delete.on.disable", Some("false")).doc("Whether tiered data goes when tiering is switched off.").unused(Tiering),
    boolean("remote.storage.enable", Some("false")).doc("Whether old segments are tiered.").unused(Tiering),
    long("retention.bytes", Some("-1")).synonyms(&["log.retention.bytes"]).doc("Largest size of a partition before its oldest segments go; -1 is without limit."),
    long("retention.ms", Some("604800000")).min(-1).synonyms(&["log.retention.ms", "log.retention.minutes", "log.retention.hours"]).doc("How long records are kept, in milliseconds; -1 is for ever."),
    int("segment.bytes", Some("1073741824")).min(1048576).synonyms(&["log.segment.bytes"]).doc("Largest size of a segment, in bytes."),
    int("segment.index.bytes", Some("10485760")).min(4).synonyms(&["log.index.size.max.bytes"]).doc("Largest size of a segment's index, in bytes; a full index rolls the segment."),
    long("segment.jitter.ms", Some("0")).min(0).synonyms(&["log.roll.jitter.ms", "log.roll.jitter.hours"]).doc("Up to this many milliseconds are taken off segment.ms by chance, so that segments do not roll together."),
    long("segment.ms", Some("604800000")).min(1).synonyms(&["log.roll.ms", "log.roll.hours"]).doc("A segment is rolled at the latest after this many milliseconds."),
    boolean("unclean.leader.election.enable", Some("false")).synonyms(&["unclean.leader.election.enable"]).doc("Whether a replica that is not in sync may lead when no other is left; loses records.").unused(Replication),
    boolean("vlsn.enable", Some("false")).doc("Whether the log is addressed by VLSN: keys are 8-byte numbers of the writer's own, which rise. Fixed when the log is created; not with cleanup.policy=compact."),
];

/// Configs of a group.
#[rustfmt::skip]
pub(super) const GROUP: &[Config] = &[
    int("consumer.assignment.interval.ms", Some("1000")).min(0).synonyms(&["group.consumer.assignment.interval.ms"]).doc("Shortest time between two assignments of a consumer group, in milliseconds."),
    int("consumer.heartbeat.interval.ms", Some("5000")).min(1).synonyms(&["group.consumer.heartbeat.interval.ms"]).doc("Heartbeat interval that members of a consumer group are told, in milliseconds."),
    int("consumer.session.timeout.ms", Some("45000")).min(1).synonyms(&["group.consumer.session.timeout.ms"]).doc("A member that is silent for this many milliseconds leaves its consumer group."),
    int("share.assignment.interval.ms", Some("1000")).min(0).synonyms(&["group.share.assignment.interval.ms"]).unused(ShareGroups),
    string("share.auto.offset.reset", Some("latest")).check(Check::OffsetReset).unused(ShareGroups),
    int("share.delivery.count.limit", Some("5")).min(2).synonyms(&["group.share.delivery.count.limit"]).unused(ShareGroups),
    int("share.heartbeat.interval.ms", Some("5000")).min(1).synonyms(&["group.share.heartbeat.interval.ms"]).unused(ShareGroups),
    string("share.isolation.level", Some("read_uncommitted")).values(&["read_committed", "read_uncommitted"]).unused(ShareGroups),
    int("share.partition.max.record.locks", Some("2000")).min(100).synonyms(&["group.share.partition.max.record.locks"]).unused(ShareGroups),
    int("share.record.lock.duration.ms", Some("30000")).min(1000).synonyms(&["group.share.record.lock.duration.ms"]).unused(ShareGroups),
    boolean("share.renew.acknowledge.enable", Some("true")).unused(ShareGroups),
    int("share.session.timeout.ms", Some("45000")).min(1).synonyms(&["group.share.session.timeout.ms"]).unused(ShareGroups),
    int("streams.assignment.interval.ms", Some("1000")).min(0).synonyms(&["group.streams.assignment.interval.ms"]).unused(StreamsGroups),
    int("streams.heartbeat.interval.ms", Some("5000")).min(1).synonyms(&["group.streams.heartbeat.interval.ms"]).unused(StreamsGroups),
    int("streams.initial.rebalance.delay.ms", Some("3000")).min(0).synonyms(&["group.streams.initial.rebalance.delay.ms"]).unused(StreamsGroups),
    int("streams.num.standby.replicas", Some("0")).min(0).synonyms(&["group.streams.num.standby.replicas"]).unused(StreamsGroups),
    int("streams.session.timeout.ms", Some("45000")).min(1).synonyms(&["group.streams.session.timeout.ms"]).unused(StreamsGroups),
];

/// Configs of a subscription to client metrics. Pyralog collects none yet: they are stored and shown.
#[rustfmt::skip]
pub(super) const CLIENT_METRICS: &[Config] = &[
    int("interval.ms", Some("300000")).range(100, 3_600_000).doc("How often clients push, in milliseconds.").unused(Telemetry),
    list("match", Some("")).check(Check::ClientMatch).doc("Which clients push, as name=pattern pairs.").unused(Telemetry),
    list("metrics", Some("")).doc("Prefixes of the metrics that are pushed; * is all.").unused(Telemetry),
];
