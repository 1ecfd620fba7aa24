//! What is in force, typed: computed once per change and shared, so that nobody parses text while serving.
//! What a value may be was checked when it was set; a value that another version stored and this one cannot read
//! counts as not set.

use super::brokers::{BrokerConfigs, Overrides, Source};
use super::catalogue::{Config, Scope, lookup};
use super::value::{canonical, items};
use crate::groups::GroupSettings;
use crate::groups::consumer::{Assignor, Bounded, ConsumerSettings, Migration};

/// What happens to old segments. Both off: they stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// They are deleted by age and size.
    pub delete: bool,
    /// They are compacted to the newest record of each key.
    pub compact: bool,
}

/// The codec in which batches are stored, with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As the producer sent them.
    Producer,
    /// Not compressed.
    Uncompressed,
    /// gzip; -1 is the codec's default level.
    Gzip(i32),
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4(i32),
    /// zstd.
    Zstd(i32),
}

/// Whose time a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's.
    LogAppendTime,
}

/// When a record counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk.
    Fsync,
    /// In memory of the in-sync replicas.
    Memory,
}

/// What a writer to a paused log is told (ID-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PausedError {
    /// Try again: clients wait until the log is resumed, or their delivery timeout ends.
    Retriable,
    /// Give up: clients report it at once.
    Fatal,
}

/// Configs in force of one log. Numbers are checked against Kafka's bounds; `-1` in retention is without limit,
/// `i64::MAX` in spans is never.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicSettings {
    /// What happens to old segments.
    pub cleanup: Cleanup,
    /// The stored codec.
    pub compression: Compression,
    /// How long tombstones stay, in ms.
    pub delete_retention_ms: i64,
    /// When a record counts as written.
    pub durability: Durability,
    /// How long a removed segment's file stays, in ms.
    pub file_delete_delay_ms: i64,
    /// Sync after this many records (memory durability).
    pub flush_messages: i64,
    /// Sync after this many ms (memory durability).
    pub flush_ms: i64,
    /// Bytes between two index entries.
    pub index_interval_bytes: i32,
    /// A record is compacted at the latest after this, in ms.
    pub max_compaction_lag_ms: i64,
    /// Largest batch, its 12 leading bytes included.
    pub max_message_bytes: i32,
    /// How far a timestamp may lie ahead, in ms.
    pub timestamp_after_max_ms: i64,
    /// How far a timestamp may lie back, in ms.
    pub timestamp_before_max_ms: i64,
    /// Whose time a record carries.
    pub timestamp_type: TimestampType,
    /// Share of dirty bytes from which compaction runs, 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
    /// A record stays uncompacted at least this long, in ms.
    pub min_compaction_lag_ms: i64,
    /// Replicas that must have a record before acks=all is answered.
    pub min_insync_replicas: i32,
    /// Writes are refused so, while reads go on; `None`: the log is not paused.
    pub paused: Option<PausedError>,
    /// Whether a new segment's file takes its full size at once.
    pub preallocate: bool,
    /// Largest size of a partition; -1 is without limit.
    pub retention_bytes: i64,
    /// Age at which records go, in ms; -1 is never.
    pub retention_ms: i64,
    /// Largest segment, in bytes.
    pub segment_bytes: i32,
    /// Largest index, in bytes.
    pub segment_index_bytes: i32,
    /// Most that chance takes off `segment_ms`, in ms.
    pub segment_jitter_ms: i64,
    /// Age at which a segment is rolled, in ms.
    pub segment_ms: i64,
    /// Whether a replica out of sync may lead.
    pub unclean_leader_election: bool,
    /// Whether the log is addressed by VLSN.
    pub vlsn: bool,
}

impl TopicSettings {
    /// Computes what is in force for a log with these overrides.
    pub fn resolve(overrides: &Overrides, brokers: &BrokerConfigs) -> Self {
        let v = View { overrides, brokers };
        let vlsn = v.text("vlsn.enable") == "true";
        Self {
            cleanup: {
                let policy = v.text("cleanup.policy");
                let has = |word| items(&policy).contains(&word);
                // Brokers may have been started with a policy that no VLSN log may have: nothing of it goes then.
                Cleanup { delete: has("delete"), compact: has("compact") && !vlsn }
            },
            compression: v.compression(),
            delete_retention_ms: v.number("delete.retention.ms"),
            durability: if v.text("pyralog.durability") == "memory" { Durability::Memory } else { Durability::Fsync },
            file_delete_delay_ms: v.number("file.delete.delay.ms"),
            flush_messages: v.number("flush.messages"),
            flush_ms: v.number("flush.ms"),
            index_interval_bytes: v.number("index.interval.bytes"),
            max_compaction_lag_ms: v.number("max.compaction.lag.ms"),
            max_message_bytes: v.number("max.message.bytes"),
            timestamp_after_max_ms: v.number("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: v.number("message.timestamp.before.max.ms"),
            timestamp_type: match v.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: v.number("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: v.number("min.compaction.lag.ms"),
            min_insync_replicas: v.number("min.insync.replicas"),
            paused: (v.text("pyralog.paused") == "true").then(|| match v.text("pyralog.paused.error").as_str() {
                "fatal" => PausedError::Fatal,
                _ => PausedError::Retriable,
            }),
            preallocate: v.text("preallocate") == "true",
            retention_bytes: v.number("retention.bytes"),
            retention_ms: v.number("retention.ms"),
            segment_bytes: v.segment_bytes(),
            segment_index_bytes: v.number("segment.index.bytes"),
            segment_jitter_ms: v.number("segment.jitter.ms"),
            segment_ms: v.number("segment.ms"),
            unclean_leader_election: v.text("unclean.leader.election.enable") == "true",
            vlsn,
        }
    }
}

struct View<'a> {
    overrides: &'a Overrides,
    brokers: &'a BrokerConfigs,
}

impl View<'_> {
    fn text(&self, name: &str) -> String {
        let config = lookup(Scope::Topic, name);
        config.and_then(|c| value_in_force(c, self.overrides, self.brokers).0).unwrap_or_default()
    }

    fn number<T: std::str::FromStr + Default>(&self, name: &str) -> T {
        self.text(name).parse().unwrap_or_default()
    }

    fn compression(&self) -> Compression {
        match self.text("compression.type").as_str() {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip(self.number("compression.gzip.level")),
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4(self.number("compression.lz4.level")),
            "zstd" => Compression::Zstd(self.number("compression.zstd.level")),
            _ => Compression::Producer,
        }
    }

    /// The hidden config for tests wins, as in Kafka: it has no lower bound.
    fn segment_bytes(&self) -> i32 {
        self.text("internal.segment.bytes").parse().unwrap_or_else(|_| self.number("segment.bytes"))
    }
}

/// The value in force of one config of a log or group: its own, else the first broker synonym that has a value, else the
/// default.
pub(crate) fn value_in_force(
    config: &Config,
    overrides: &Overrides,
    brokers: &BrokerConfigs,
) -> (Option<String>, Source) {
    if let Some(own) = overrides.get(config.name).filter(|own| canonical(config, own).is_ok()) {
        return (Some(own.clone()), Source::Topic);
    }
    for synonym in config.synonyms {
        let Some(broker_config) = lookup(Scope::Broker, synonym) else { continue };
        if let (Some(value), source) = brokers.value(broker_config) {
            return (Some(in_topic_unit(synonym, value)), source);
        }
    }
    (config.default.map(str::to_owned), Source::Default)
}

/// Broker configs in minutes and hours stand for topic configs in milliseconds; anything negative is "no limit".
pub(super) fn in_topic_unit(synonym: &str, value: &str) -> String {
    let scale = match synonym.rsplit_once('.') {
        Some((_, "minutes")) => 60_000,
        Some((_, "hours")) => 3_600_000,
        Some((_, _)) | None => return if synonym == "log.retention.ms" { no_limit(value) } else { value.to_owned() },
    };
    let whole: i64 = value.parse().unwrap_or(-1);
    no_limit(&whole.saturating_mul(scale).to_string())
}

fn no_limit(value: &str) -> String {
    if value.starts_with('-') { "-1".to_owned() } else { value.to_owned() }
}

fn consumer_settings(b: &BrokerConfigs) -> ConsumerSettings {
    let bounded = |rest: &str| Bounded {
        default: b.number(&format!("group.consumer.{rest}")),
        min: b.number(&format!("group.consumer.min.{rest}")),
        max: b.number(&format!("group.consumer.max.{rest}")),
    };
    let policy = b.get("group.consumer.migration.policy").unwrap_or_default().to_ascii_lowercase();
    let assignors = b.get("group.consumer.assignors").unwrap_or_default();
    let protocols = b.get("group.coordinator.rebalance.protocols").unwrap_or_default();
    ConsumerSettings {
        enabled: items(protocols).contains(&"consumer"),
        session_timeout_ms: bounded("session.timeout.ms"),
        heartbeat_interval_ms: bounded("heartbeat.interval.ms"),
        assignment_interval_ms: bounded("assignment.interval.ms"),
        size_max: b.number("group.consumer.max.size"),
        assignors: items(assignors).into_iter().filter_map(Assignor::of).collect(),
        migration: Migration {
            upgrade: matches!(policy.as_str(), "upgrade" | "bidirectional"),
            downgrade: matches!(policy.as_str(), "downgrade" | "bidirectional"),
        },
        pattern_refresh_ms: b.number("group.consumer.regex.refresh.interval.ms"),
    }
}

/// Configs in force of this broker, in groups.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerSettings {
    /// Creating and deleting logs.
    pub logs: LogDefaults,
    /// Classic groups and committed offsets.
    pub groups: GroupSettings,
    /// Connections and requests.
    pub network: NetworkSettings,
    /// Work in the background.
    pub upkeep: UpkeepSettings,
    /// Producers and transactions.
    pub producers: ProducerSettings,
    /// Compaction.
    pub cleaner: CleanerSettings,
}

/// Creating and deleting logs.
#[derive(Clone, Debug, PartialEq)]
pub struct LogDefaults {
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub delete_enabled: bool,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_partitions: i32,
    /// `transaction.state.log.num.partitions`.
    pub transaction_topic_partitions: i32,
    /// `max.request.partition.size.limit`: most partitions of one DescribeTopicPartitions answer.
    pub describe_partitions_max: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// Connections and requests.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSettings {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: i32,
    /// `connections.max.idle.ms`; negative is never.
    pub idle_max_ms: i64,
    /// `max.connections`.
    pub connections_max: i32,
    /// `max.connections.per.ip`.
    pub connections_per_ip_max: i32,
    /// `queued.max.request.bytes`; -1 takes the node's own limit.
    pub queued_max_bytes: i64,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: i32,
    /// `socket.send.buffer.bytes`; -1 is the system's.
    pub send_buffer_bytes: i32,
    /// `socket.receive.buffer.bytes`; -1 is the system's.
    pub receive_buffer_bytes: i32,
    /// `socket.listen.backlog.size`.
    pub backlog: i32,
    /// `pyralog.private.apis.enable`.
    pub private_apis: bool,
}

/// Work in the background.
#[derive(Clone, Debug, PartialEq)]
pub struct UpkeepSettings {
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: i64,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads: i32,
    /// `pyralog.disk.reserve.bytes`; -1 leaves it to the node.
    pub disk_reserve_bytes: i64,
    /// `pyralog.scrub.interval.ms`; 0 is never.
    pub scrub_interval_ms: i64,
    /// `pyralog.scrub.bytes.per.second`.
    pub scrub_bytes_per_second: i64,
}

/// How compaction runs.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanerSettings {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// `log.cleaner.threads`.
    pub threads: i32,
    /// `log.cleaner.backoff.ms`: pause where there is nothing to clean.
    pub backoff_ms: i64,
    /// `log.cleaner.dedupe.buffer.size`: memory for keys, of all threads.
    pub dedupe_buffer_bytes: i64,
    /// `log.cleaner.io.buffer.load.factor`: how full that may become.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size`: memory for reading and writing, of all threads.
    pub io_buffer_bytes: i32,
    /// `log.cleaner.io.max.bytes.per.second`: reads and writes of all threads.
    pub bytes_per_second_max: f64,
}

/// Producers and transactions.
#[derive(Clone, Debug, PartialEq)]
pub struct ProducerSettings {
    /// `producer.id.expiration.ms`.
    pub expiration_ms: i32,
    /// `producer.id.expiration.check.interval.ms`.
    pub expiration_check_interval_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub transactional_id_expiration_ms: i32,
    /// `transaction.max.timeout.ms`.
    pub transaction_timeout_max_ms: i32,
}

impl BrokerSettings {
    /// Computes what is in force.
    pub fn resolve(b: &BrokerConfigs) -> Self {
        Self {
            logs: LogDefaults {
                num_partitions: b.number("num.partitions"),
                default_replication_factor: b.number("default.replication.factor"),
                auto_create: b.flag("auto.create.topics.enable"),
                delete_enabled: b.flag("delete.topic.enable"),
                offsets_topic_partitions: b.number("offsets.topic.num.partitions"),
                transaction_topic_partitions: b.number("transaction.state.log.num.partitions"),
                describe_partitions_max: b.number("max.request.partition.size.limit"),
                rack: b.get("broker.rack").map(str::to_owned),
            },
            groups: GroupSettings {
                initial_rebalance_delay_ms: b.number("group.initial.rebalance.delay.ms"),
                session_timeout_ms_min: b.number("group.min.session.timeout.ms"),
                session_timeout_ms_max: b.number("group.max.session.timeout.ms"),
                group_size_max: b.number("group.max.size"),
                offset_metadata_max: b.number("offset.metadata.max.bytes"),
                offsets_retention_ms: b.number::<i64>("offsets.retention.minutes").saturating_mul(60_000),
                retention_check_interval_ms: b.number("offsets.retention.check.interval.ms"),
                consumer: consumer_settings(b),
                ..GroupSettings::default()
            },
            network: NetworkSettings {
                request_max_bytes: b.number("socket.request.max.bytes"),
                idle_max_ms: b.number("connections.max.idle.ms"),
                connections_max: b.number("max.connections"),
                connections_per_ip_max: b.number("max.connections.per.ip"),
                queued_max_bytes: b.number("queued.max.request.bytes"),
                fetch_max_bytes: b.number("fetch.max.bytes"),
                fetch_sessions_max: b.number("max.incremental.fetch.session.cache.slots"),
                send_buffer_bytes: b.number("socket.send.buffer.bytes"),
                receive_buffer_bytes: b.number("socket.receive.buffer.bytes"),
                backlog: b.number("socket.listen.backlog.size"),
                private_apis: b.flag("pyralog.private.apis.enable"),
            },
            upkeep: UpkeepSettings {
                retention_check_interval_ms: b.number("log.retention.check.interval.ms"),
                recovery_threads: b.number("num.recovery.threads.per.data.dir"),
                disk_reserve_bytes: b.number("pyralog.disk.reserve.bytes"),
                scrub_interval_ms: b.number("pyralog.scrub.interval.ms"),
                scrub_bytes_per_second: b.number("pyralog.scrub.bytes.per.second"),
            },
            producers: ProducerSettings {
                expiration_ms: b.number("producer.id.expiration.ms"),
                expiration_check_interval_ms: b.number("producer.id.expiration.check.interval.ms"),
                transactional_id_expiration_ms: b.number("transactional.id.expiration.ms"),
                transaction_timeout_max_ms: b.number("transaction.max.timeout.ms"),
            },
            cleaner: CleanerSettings {
                enabled: b.flag("log.cleaner.enable"),
                threads: b.number("log.cleaner.threads"),
                backoff_ms: b.number("log.cleaner.backoff.ms"),
                dedupe_buffer_bytes: b.number("log.cleaner.dedupe.buffer.size"),
                load_factor: b.number("log.cleaner.io.buffer.load.factor"),
                io_buffer_bytes: b.number("log.cleaner.io.buffer.size"),
                bytes_per_second_max: b.number("log.cleaner.io.max.bytes.per.second"),
            },
        }
    }
}
