//! Logs, as they are created and described.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use pyralog_protocol::{LeaderEpoch, LogId, LogIdError, LogOffset, NodeId, TopicId};

/// A log as it is to be created. What is left alone is what the broker is configured for.
///
/// ```
/// use pyralog_client::{LogConfig, RetentionConfig};
///
/// let config = LogConfig {
///     partition_count: 10,
///     retention: RetentionConfig::Size(10_000_000_000),
///     ..Default::default()
/// }
/// .with("compression.type", "zstd");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogConfig {
    /// Partitions; 0 is the broker's default.
    pub partition_count: u32,
    /// Copies of each partition; 0 is the broker's default.
    pub replication_factor: u32,
    /// How long records are kept.
    pub retention: RetentionConfig,
    /// Copies that must have a record before it counts as written; 0 is the broker's default.
    pub min_in_sync_replicas: u32,
    /// Any other topic config, by Kafka's name.
    pub configs: BTreeMap<String, String>,
}

impl LogConfig {
    /// With one more topic config, by Kafka's name.
    ///
    /// ```
    /// let config = pyralog_client::LogConfig::default().with("cleanup.policy", "compact");
    /// assert_eq!(config.configs["cleanup.policy"], "compact");
    /// ```
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }

    /// Everything but partitions and copies, by Kafka's names.
    pub(crate) fn all_configs(&self) -> BTreeMap<String, String> {
        let mut configs = self.configs.clone();
        configs.extend(self.retention.configs());
        if self.min_in_sync_replicas > 0 {
            configs.insert("min.insync.replicas".into(), self.min_in_sync_replicas.to_string());
        }
        configs
    }
}

/// How long records of a log are kept. Sizes count per partition, as Kafka's `retention.bytes` does.
///
/// ```
/// use pyralog_client::RetentionConfig;
/// use std::time::Duration;
///
/// let week = RetentionConfig::Time(Duration::from_secs(7 * 24 * 3600));
/// assert_ne!(week, RetentionConfig::Forever);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetentionConfig {
    /// As the broker is configured.
    #[default]
    BrokerDefault,
    /// For this long.
    Time(Duration),
    /// While the partition has at most so many bytes.
    Size(u64),
    /// Until either is exceeded.
    TimeAndSize {
        /// The longest.
        time: Duration,
        /// Most bytes of a partition.
        bytes: u64,
    },
    /// For ever.
    Forever,
}

impl RetentionConfig {
    fn configs(&self) -> Vec<(String, String)> {
        let (time, bytes) = match self {
            Self::BrokerDefault => return Vec::new(),
            Self::Time(time) => (Some(*time), None),
            Self::Size(bytes) => (None, Some(*bytes)),
            Self::TimeAndSize { time, bytes } => (Some(*time), Some(*bytes)),
            Self::Forever => (None, None),
        };
        let time = time.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let bytes = bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        vec![("retention.ms".into(), time.to_string()), ("retention.bytes".into(), bytes.to_string())]
    }

    /// From the values of `retention.ms` and `retention.bytes`; negative is unlimited.
    pub(crate) fn of(ms: i64, bytes: i64) -> Self {
        let time = u64::try_from(ms).ok().map(Duration::from_millis);
        match (time, u64::try_from(bytes).ok()) {
            (None, None) => Self::Forever,
            (Some(time), None) => Self::Time(time),
            (None, Some(bytes)) => Self::Size(bytes),
            (Some(time), Some(bytes)) => Self::TimeAndSize { time, bytes },
        }
    }
}

/// Changes of a log; what is not named stays as it is.
///
/// ```
/// use pyralog_client::{LogUpdate, RetentionConfig};
///
/// let update = LogUpdate::new().retention(RetentionConfig::Forever).partition_count(20).reset("segment.bytes");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogUpdate {
    pub(crate) partition_count: Option<u32>,
    /// `None` takes a config back to its default.
    pub(crate) configs: BTreeMap<String, Option<String>>,
}

impl LogUpdate {
    /// No change.
    ///
    /// ```
    /// assert_eq!(pyralog_client::LogUpdate::new(), pyralog_client::LogUpdate::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// More partitions. Keys belong to other partitions afterwards.
    ///
    /// ```
    /// let update = pyralog_client::LogUpdate::new().partition_count(20);
    /// ```
    #[must_use]
    pub fn partition_count(mut self, count: u32) -> Self {
        self.partition_count = Some(count);
        self
    }

    /// Another retention; [`RetentionConfig::BrokerDefault`] takes it back.
    ///
    /// ```
    /// use pyralog_client::{LogUpdate, RetentionConfig};
    ///
    /// let update = LogUpdate::new().retention(RetentionConfig::Size(1 << 30));
    /// ```
    #[must_use]
    pub fn retention(mut self, retention: RetentionConfig) -> Self {
        match retention {
            RetentionConfig::BrokerDefault => self.reset("retention.ms").reset("retention.bytes"),
            RetentionConfig::Time(_)
            | RetentionConfig::Size(_)
            | RetentionConfig::TimeAndSize { .. }
            | RetentionConfig::Forever => {
                self.configs.extend(retention.configs().into_iter().map(|(name, value)| (name, Some(value))));
                self
            }
        }
    }

    /// Sets a topic config, by Kafka's name.
    ///
    /// ```
    /// let update = pyralog_client::LogUpdate::new().set("max.message.bytes", "2000000");
    /// ```
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), Some(value.into()));
        self
    }

    /// Takes a topic config back to its default.
    ///
    /// ```
    /// let update = pyralog_client::LogUpdate::new().reset("max.message.bytes");
    /// ```
    #[must_use]
    pub fn reset(mut self, name: impl Into<String>) -> Self {
        self.configs.insert(name.into(), None);
        self
    }
}

/// A log in a listing.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// for log in client.list_logs().await? {
///     println!("{}: {} partitions, {} copies each", log.log_id, log.partition_count, log.replication_factor);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// Its name.
    pub log_id: LogId,
    /// Partitions.
    pub partition_count: u32,
    /// Copies of each partition.
    pub replication_factor: u32,
    /// Whether the broker keeps it for itself.
    pub is_internal: bool,
}

/// A log in a listing, with its partitions.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// for log in client.list_partitions().await? {
///     let led = log.partitions.iter().filter(|partition| partition.leader.is_some()).count();
///     println!("{}: {led} of {} partitions are served", log.log_id, log.partitions.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPartitions {
    /// Its name.
    pub log_id: LogId,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionMetadata>,
}

/// A log, described.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// let metadata = client.get_log_metadata("orders").await?;
/// println!("{} partitions, kept {:?}", metadata.partition_count, metadata.retention_config);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogMetadata {
    /// Its name.
    pub log_id: LogId,
    /// Its identity: another one under the same name is another log.
    pub topic_id: TopicId,
    /// Partitions.
    pub partition_count: u32,
    /// Copies of each partition.
    pub replication_factor: u32,
    /// How long records are kept.
    pub retention_config: RetentionConfig,
    /// When it was created, to the millisecond; `None` where the broker does not tell, as Apache Kafka does not.
    pub created_at: Option<SystemTime>,
    /// Whether the broker keeps it for itself.
    pub is_internal: bool,
    /// Partitions, by number.
    pub partitions: Vec<PartitionMetadata>,
    /// Every config with the value in force; `None` where there is none, or it is secret.
    pub configs: BTreeMap<String, Option<String>>,
}

/// A partition, described.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// for partition in client.get_log_metadata("orders").await?.partitions {
///     println!("{} is led by {:?} in epoch {}", partition.partition, partition.leader, partition.epoch);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its number.
    pub partition: u32,
    /// The node that leads it, if one does.
    pub leader: Option<NodeId>,
    /// The number of that leadership.
    pub epoch: LeaderEpoch,
    /// Nodes with a copy.
    pub replicas: Vec<NodeId>,
    /// Those that are in sync.
    pub in_sync_replicas: Vec<NodeId>,
}

/// What a log holds.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// let stats = client.get_log_stats("orders").await?;
/// println!("{} records, {} bytes, {:.1} records/s", stats.record_count, stats.size_bytes, stats.write_rate);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogStats {
    /// Offsets between the start and the end of each partition, added up; compacted logs have fewer records than that.
    pub record_count: u64,
    /// Bytes on disk, one copy of each partition.
    pub size_bytes: u64,
    /// Records per second, between two looks at the log.
    pub write_rate: f64,
    /// The same of each partition, by number.
    pub partitions: Vec<PartitionStats>,
    /// Partitions that cannot be read now, and are not among those above.
    pub unreadable: Vec<u32>,
}

/// What a partition holds.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// for partition in client.get_log_stats("orders").await?.partitions {
///     println!("{}: offsets {} to {}, {} bytes", partition.partition, partition.start, partition.end, partition.size_bytes);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PartitionStats {
    /// Its number.
    pub partition: u32,
    /// The first offset that is still there.
    pub start: LogOffset,
    /// The offset after the last record.
    pub end: LogOffset,
    /// Offsets between them.
    pub record_count: u64,
    /// Bytes on disk of the leader's copy.
    pub size_bytes: u64,
    /// Records per second, between two looks at the log.
    pub write_rate: f64,
}

/// A position in a partition.
///
/// ```
/// use pyralog_client::{LogOffset, StartAt};
///
/// assert_eq!(StartAt::from(LogOffset::MAX), StartAt::Latest);
/// assert_eq!(StartAt::from(LogOffset::new(42)), StartAt::Offset(LogOffset::new(42)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// The first record that is still there.
    Earliest,
    /// Behind the last record.
    Latest,
    /// This offset; the first record that is still there if that comes later.
    Offset(LogOffset),
    /// The first record that is not older; behind the last one if all are.
    Time(std::time::SystemTime),
}

impl From<LogOffset> for StartAt {
    fn from(offset: LogOffset) -> Self {
        match offset {
            LogOffset::MAX => Self::Latest,
            offset if offset <= LogOffset::ZERO => Self::Earliest,
            offset => Self::Offset(offset),
        }
    }
}

/// What names a log: a [`LogId`], or text that is checked to be one.
///
/// ```
/// use pyralog_client::{IntoLogId, LogId};
///
/// fn length(log: impl IntoLogId) -> usize {
///     log.into_log_id().map_or(0, |log| log.as_str().len())
/// }
/// assert_eq!(length("orders"), 6);
/// assert_eq!(length(&LogId::new("orders").unwrap()), 6);
/// assert_eq!(length("or/ders"), 0);
/// ```
pub trait IntoLogId {
    /// The name, or what is wrong with it.
    ///
    /// ```
    /// use pyralog_client::IntoLogId;
    ///
    /// assert!("no spaces".into_log_id().is_err());
    /// ```
    fn into_log_id(self) -> Result<LogId, LogIdError>;
}

impl IntoLogId for LogId {
    fn into_log_id(self) -> Result<LogId, LogIdError> {
        Ok(self)
    }
}

impl IntoLogId for &LogId {
    fn into_log_id(self) -> Result<LogId, LogIdError> {
        Ok(self.clone())
    }
}

impl IntoLogId for &str {
    fn into_log_id(self) -> Result<LogId, LogIdError> {
        LogId::new(self)
    }
}

impl IntoLogId for &String {
    fn into_log_id(self) -> Result<LogId, LogIdError> {
        LogId::new(self)
    }
}

impl IntoLogId for String {
    fn into_log_id(self) -> Result<LogId, LogIdError> {
        LogId::new(&self)
    }
}
