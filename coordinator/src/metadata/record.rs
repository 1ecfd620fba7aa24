//! The records of the metadata machine, what they hold, and the keys under which their latest values are stored.
//! Holds: all keys of one log share a prefix, and in key order the log comes before the rest of them. A record is a whole
//! value, never a difference, so that applying one twice is harmless. Knows nothing of how records are decided.

use crate::config::{Overrides, TopicSettings};
use crate::record::{Family, Placement};
use crate::stored;
use pyralog_protocol::vlsn::Routing;
use pyralog_protocol::{LeaderEpoch, LogId, NodeId, TopicId, WallMs};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A change of the metadata's hard state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// The cluster was founded. Never changes afterwards.
    Cluster {
        /// Kafka's spelling of a 128-bit id, 22 characters.
        id: String,
    },
    /// How many atomic changes there were. Ends each of them.
    Version(u64),
    /// A log as it is now, without its configs.
    Log(LogRecord),
    /// The log and its configs go.
    LogDeleted {
        /// The log.
        #[serde(with = "stored::topic_id")]
        id: TopicId,
        /// Its name, for whoever keeps things by name.
        #[serde(with = "stored::log_id")]
        log: LogId,
    },
    /// Everything that is set on a log, a broker, a group or a subscription. Empty: nothing is.
    Configs(ConfigsRecord),
    /// Producer ids below this are handed out, or reserved by somebody who is gone.
    ProducerIds {
        /// The first free one.
        next: i64,
    },
    /// The log is addressed by VLSN, and how. Comes with the log, and goes with it.
    Routing(RoutingRecord),
    /// Who may write the log. Goes with it.
    Writer(WriterRecord),
}

/// A log as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Its identity.
    #[serde(with = "stored::topic_id")]
    pub id: TopicId,
    /// Its name.
    #[serde(with = "stored::log_id")]
    pub log: LogId,
    /// Replicas that each partition was created with.
    pub replication_factor: i16,
    /// How records find their partition.
    pub partitioning_mode: PartitioningMode,
    /// When it was created.
    #[serde(with = "stored::wall")]
    pub created_at: WallMs,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionMetadata>,
}

impl LogRecord {
    /// The record that leads to this state.
    pub(super) fn of(log: &LogMetadata) -> Self {
        Self {
            id: log.topic_id,
            log: log.log_id.clone(),
            replication_factor: log.replication_factor,
            partitioning_mode: log.partitioning_mode,
            created_at: log.created_at,
            partitions: log.partitions.to_vec(),
        }
    }
}

/// How VLSNs of a log find their partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoutingRecord {
    /// The log.
    #[serde(with = "stored::topic_id")]
    pub id: TopicId,
    /// All routing epochs, as (first VLSN, partition count).
    #[serde(with = "stored::routing")]
    pub routing: Routing,
}

/// Who may write a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriterRecord {
    /// The log.
    #[serde(with = "stored::topic_id")]
    pub id: TopicId,
    /// Who.
    pub writer: Writer,
}

/// The last writer that took a VLSN log for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Writer epoch; rises by one whenever it is taken, and never falls.
    pub epoch: i32,
    /// What its batches carry: those of others are refused. `None` once it is released, and everybody may write again.
    pub producer_id: Option<i64>,
}

/// Configs that are set on one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ConfigsRecord {
    /// On a log.
    Log {
        /// The log.
        #[serde(with = "stored::topic_id")]
        id: TopicId,
        /// Canonical values by name.
        configs: Overrides,
    },
    /// On all brokers.
    Cluster {
        /// Canonical values by name.
        configs: Overrides,
    },
    /// On one broker.
    Broker {
        /// The broker.
        #[serde(with = "stored::node")]
        node: NodeId,
        /// Canonical values by name.
        configs: Overrides,
    },
    /// On a group.
    Group {
        /// Group id.
        group: String,
        /// Canonical values by name.
        configs: Overrides,
    },
    /// On a subscription to client metrics.
    ClientMetrics {
        /// Its name.
        name: String,
        /// Canonical values by name.
        configs: Overrides,
    },
}

/// How records find their partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitioningMode {
    /// The producer chooses among a count that people change.
    Static,
    /// The count follows the load.
    Dynamic,
}

/// One partition of a log. Holds: isr ⊆ replicas, none twice; a leader is in isr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionMetadata {
    /// Who leads; nobody when all replicas that could are gone (behaviours M19).
    #[serde(with = "stored::leader")]
    pub leader: Option<NodeId>,
    /// Generation of the leadership; only ever rises.
    #[serde(with = "stored::epoch")]
    pub leader_epoch: LeaderEpoch,
    /// Who holds it, the preferred leader first.
    #[serde(with = "stored::nodes")]
    pub replicas: Vec<NodeId>,
    /// Who is in sync.
    #[serde(with = "stored::nodes")]
    pub isr: Vec<NodeId>,
}

/// When records go, as the configs in force say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Largest size of a partition in bytes; `None` is without limit.
    pub bytes: Option<u64>,
    /// Age in milliseconds; `None` is never.
    pub age_ms: Option<u64>,
}

impl RetentionConfig {
    /// What the settings say; nothing goes by age or size where the log is not cleaned by deletion.
    pub fn of(settings: &TopicSettings) -> Self {
        let limit = |n: i64| u64::try_from(n).ok().filter(|_| settings.cleanup.delete);
        Self { bytes: limit(settings.retention_bytes), age_ms: limit(settings.retention_ms) }
    }
}

/// What is known of one log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogMetadata {
    /// Its name.
    pub log_id: LogId,
    /// Its identity.
    pub topic_id: TopicId,
    /// How many partitions it has; the length of `partitions`.
    pub partition_count: i32,
    /// Replicas that each partition was created with.
    pub replication_factor: i16,
    /// How records find their partition.
    pub partitioning_mode: PartitioningMode,
    /// When records go.
    pub retention_config: RetentionConfig,
    /// When it was created.
    pub created_at: WallMs,
    /// Its partitions, by index.
    pub partitions: Arc<[PartitionMetadata]>,
    /// How VLSNs find their partition; `None` where the log is not addressed by VLSN.
    pub routing: Option<Routing>,
    /// Who took the log for itself last, if anybody did.
    pub writer: Option<Writer>,
}

/// First byte of the keys, one per kind. New kinds get new bytes: the store of an older version stays readable.
mod tag {
    pub const CLUSTER: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const LOG: u8 = 3;
    pub const CLUSTER_CONFIGS: u8 = 4;
    pub const BROKER_CONFIGS: u8 = 5;
    pub const GROUP_CONFIGS: u8 = 6;
    pub const CLIENT_METRICS: u8 = 7;
    pub const PRODUCER_IDS: u8 = 8;
}

/// Last byte of the keys of one log, in the order in which they are loaded: everything else is of a log that is there.
mod part {
    pub const LOG: u8 = 0;
    pub const CONFIGS: u8 = 1;
    pub const ROUTING: u8 = 2;
    pub const WRITER: u8 = 3;
}

/// Key of a log, in front of [`log_key`]'s last byte: `LOG`, id.
fn log_prefix(id: TopicId) -> Vec<u8> {
    let mut key = vec![tag::LOG];
    key.extend_from_slice(&id.0);
    key
}

fn log_key(id: TopicId, part: u8) -> Vec<u8> {
    let mut key = log_prefix(id);
    key.push(part);
    key
}

fn named(tag: u8, name: &[u8]) -> Vec<u8> {
    let mut key = vec![tag];
    key.extend_from_slice(name);
    key
}

impl MetadataRecord {
    /// Where the record lives in the state store.
    pub fn placement(&self) -> Placement {
        let put = |key| Placement::Put(Family::Meta, key);
        match self {
            Self::Cluster { .. } => put(vec![tag::CLUSTER]),
            Self::Version(_) => put(vec![tag::VERSION]),
            Self::Log(log) => put(log_key(log.id, part::LOG)),
            Self::LogDeleted { id, log: _ } => Placement::DeletePrefix(Family::Meta, log_prefix(*id)),
            Self::Configs(record) => record.placement(),
            Self::ProducerIds { .. } => put(vec![tag::PRODUCER_IDS]),
            Self::Routing(record) => put(log_key(record.id, part::ROUTING)),
            Self::Writer(record) => put(log_key(record.id, part::WRITER)),
        }
    }
}

impl ConfigsRecord {
    fn placement(&self) -> Placement {
        let (key, configs) = match self {
            Self::Log { id, configs } => (log_key(*id, part::CONFIGS), configs),
            Self::Cluster { configs } => (vec![tag::CLUSTER_CONFIGS], configs),
            Self::Broker { node, configs } => (named(tag::BROKER_CONFIGS, &node.0.to_be_bytes()), configs),
            Self::Group { group, configs } => (named(tag::GROUP_CONFIGS, group.as_bytes()), configs),
            Self::ClientMetrics { name, configs } => (named(tag::CLIENT_METRICS, name.as_bytes()), configs),
        };
        match configs.is_empty() {
            true => Placement::Delete(Family::Meta, key),
            false => Placement::Put(Family::Meta, key),
        }
    }
}
