//! A consumer that remembers how far it has come.

use std::collections::BTreeMap;
use std::time::Duration;

use pyralog_protocol::{LogId, LogOffset};
use serde::Deserialize;
use tokio::time::Instant;

use crate::client::PyralogClient;
use crate::commits::PartitionCommitTracker;
use crate::config::SettingsError;
use crate::error::{PyralogError, Result};
use crate::log::{IntoLogId, StartAt};
use crate::reader::{LogReader, OffsetReset};
use crate::record::Record;
use crate::vlsn::{Reads, VlsnCommitTracker, VlsnError};

/// How a consumer remembers its position.
///
/// ```
/// use pyralog_client::CommitStrategy;
///
/// assert_eq!(CommitStrategy::default(), CommitStrategy::PerPartition);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CommitStrategy {
    /// One offset per partition, as Kafka does.
    #[default]
    PerPartition,
    /// One VLSN, for logs that have them: records come in the order of VLSNs, across partitions.
    VLSN {
        /// Partitions of the log, as a check on what it is taken for; 0 checks nothing. An earlier count is fine: the log
        /// knows which VLSN belongs where.
        partition_count: u32,
    },
}

/// Settings of a consumer.
///
/// ```
/// use pyralog_client::ConsumerConfig;
///
/// let config = ConsumerConfig { auto_commit: false, ..Default::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// How the position is remembered.
    pub commit_strategy: CommitStrategy,
    /// Whether positions are committed without being asked.
    pub auto_commit: bool,
    /// How often.
    pub auto_commit_interval: Duration,
    /// Where a partition without a committed position begins. With [`CommitStrategy::VLSN`] offsets are VLSNs.
    pub start: StartAt,
    /// What to do when the committed position is not there any more, or not there yet.
    pub offset_reset: OffsetReset,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            commit_strategy: CommitStrategy::PerPartition,
            auto_commit: true,
            auto_commit_interval: Duration::from_secs(5),
            start: StartAt::Earliest,
            offset_reset: OffsetReset::Earliest,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsumerTable {
    commit_strategy: Option<String>,
    auto_commit: Option<bool>,
    auto_commit_interval_ms: Option<u64>,
    auto_offset_reset: Option<String>,
    partition_count: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
struct ConsumerFile {
    #[serde(default)]
    consumer: BTreeMap<String, ConsumerTable>,
}

impl ConsumerConfig {
    /// Settings from the table `[consumer.<name>]` of a TOML text.
    ///
    /// ```
    /// use pyralog_client::ConsumerConfig;
    ///
    /// let config = ConsumerConfig::from_toml(r#"
    ///     [consumer.statistics]
    ///     commit_strategy = "per_partition"
    ///     auto_commit_interval_ms = 2000
    ///
    ///     [consumer.sequencer]
    ///     commit_strategy = "vlsn"
    ///     partition_count = 10        # optional: checked
    ///     auto_commit = true
    ///     auto_offset_reset = "none"  # or "earliest", "latest": where to go without a position, or with one that is gone
    /// "#, "statistics")?;
    /// assert_eq!(config.auto_commit_interval.as_secs(), 2);
    /// # Ok::<(), pyralog_client::SettingsError>(())
    /// ```
    pub fn from_toml(text: &str, name: &str) -> std::result::Result<Self, SettingsError> {
        let mut file: ConsumerFile = toml::from_str(text).map_err(SettingsError::syntax)?;
        let Some(table) = file.consumer.remove(name) else {
            let known = file.consumer.into_keys().collect::<Vec<_>>().join(", ");
            return Err(SettingsError::NoConsumer { name: name.to_owned(), known });
        };
        let mut config = Self::default();
        let partition_count = table.partition_count;
        match table.commit_strategy.as_deref() {
            None | Some("per_partition") if partition_count.is_some() => {
                let known = "vlsn, since partition_count is given";
                let found = "per_partition".to_owned();
                return Err(SettingsError::Word { name: "commit_strategy", found, known });
            }
            None | Some("per_partition") => config.commit_strategy = CommitStrategy::PerPartition,
            Some("vlsn") => {
                config.commit_strategy = CommitStrategy::VLSN { partition_count: partition_count.unwrap_or(0) };
            }
            Some(found) => {
                let found = found.to_owned();
                return Err(SettingsError::Word { name: "commit_strategy", found, known: "per_partition, vlsn" });
            }
        }
        (config.start, config.offset_reset) = match table.auto_offset_reset.as_deref() {
            None | Some("earliest") => (StartAt::Earliest, OffsetReset::Earliest),
            Some("latest") => (StartAt::Latest, OffsetReset::Latest),
            Some("none") => (StartAt::Earliest, OffsetReset::Fail),
            Some(found) => {
                let (found, known) = (found.to_owned(), "earliest, latest, none");
                return Err(SettingsError::Word { name: "auto_offset_reset", found, known });
            }
        };
        config.auto_commit = table.auto_commit.unwrap_or(config.auto_commit);
        let interval = table.auto_commit_interval_ms.map(Duration::from_millis);
        config.auto_commit_interval = interval.unwrap_or(config.auto_commit_interval);
        Ok(config)
    }
}

/// Hands every record of a log to a function, and goes on behind the last one after a restart. A record is committed after
/// the function has returned `Ok` for it, so after a crash some may come a second time, and none is left out. One consumer
/// of a name at a time.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::{CommitStrategy, UnifiedConsumer};
///
/// let mut consumer = UnifiedConsumer::new(client, "visits", "statistics", CommitStrategy::PerPartition)?;
/// consumer.consume(|record| {
///     println!("{:?}", record.value);
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct UnifiedConsumer {
    client: PyralogClient,
    log_id: LogId,
    consumer_id: String,
    config: ConsumerConfig,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    reader: LogReader,
    position: Position,
    committed_at: Instant,
}

/// What was handled and is not committed.
#[derive(Debug)]
enum Position {
    Partitions { tracker: PartitionCommitTracker, handled: BTreeMap<u32, LogOffset> },
    Vlsn { tracker: VlsnCommitTracker, handled: Option<u64>, reads: Box<Reads> },
}

impl Position {
    /// A record as the reader has it, as those who handle it want it.
    fn placed(&self, record: Record) -> Record {
        match self {
            Self::Partitions { .. } => record,
            Self::Vlsn { reads, .. } => reads.placed(record),
        }
    }

    /// What to note once a record is handled.
    fn done(&mut self, partition: u32, offset: LogOffset) {
        match self {
            Self::Partitions { handled, .. } => {
                handled.insert(partition, LogOffset(offset.0.saturating_add(1)));
            }
            Self::Vlsn { handled, .. } => *handled = u64::try_from(offset.0).ok(),
        }
    }

    async fn commit(&mut self, reader: &LogReader) -> Result<()> {
        match self {
            Self::Partitions { tracker, handled } => {
                // Where nothing was handled yet, whoever comes next begins where this consumer did, and not behind what has
                // been written since.
                if reader.partitions().any(|partition| !tracker.has(partition) && !handled.contains_key(&partition)) {
                    let begun = reader.positions().into_iter();
                    let begun = begun.filter(|(of, _)| !tracker.has(*of) && !handled.contains_key(of));
                    handled.extend(begun.collect::<Vec<_>>());
                }
                tracker.commit_all(handled.clone()).await?;
                handled.clear();
            }
            Self::Vlsn { tracker, handled, .. } => {
                if let Some(vlsn) = *handled {
                    tracker.commit(vlsn).await?;
                    *handled = None;
                }
            }
        }
        Ok(())
    }
}

impl UnifiedConsumer {
    /// A consumer with default settings but for the strategy.
    ///
    /// ```no_run
    /// # fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::{CommitStrategy, UnifiedConsumer};
    ///
    /// let consumer = UnifiedConsumer::new(client, "visits", "statistics", CommitStrategy::PerPartition)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(
        client: PyralogClient,
        log: impl IntoLogId,
        consumer_id: impl Into<String>,
        strategy: CommitStrategy,
    ) -> Result<Self> {
        Self::with_config(client, log, consumer_id, ConsumerConfig { commit_strategy: strategy, ..Default::default() })
    }

    /// A consumer.
    ///
    /// ```no_run
    /// # fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::{ConsumerConfig, UnifiedConsumer};
    ///
    /// let config = ConsumerConfig { auto_commit: false, ..Default::default() };
    /// let consumer = UnifiedConsumer::with_config(client, "visits", "statistics", config)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_config(
        client: PyralogClient,
        log: impl IntoLogId,
        consumer_id: impl Into<String>,
        config: ConsumerConfig,
    ) -> Result<Self> {
        Ok(Self { client, log_id: log.into_log_id()?, consumer_id: consumer_id.into(), config, open: None })
    }

    /// Hands records over as they come, until the function or the cluster fails. What was handled is committed then too,
    /// unless commits are the caller's business. The record that the function failed for is the next one when this is called
    /// again.
    ///
    /// ```no_run
    /// # async fn example(mut consumer: pyralog_client::UnifiedConsumer) -> pyralog_client::Result<()> {
    /// use pyralog_client::PyralogError;
    ///
    /// consumer.consume(|record| {
    ///     if record.value.is_empty() { Err(PyralogError::handler("empty")) } else { Ok(()) }
    /// }).await
    /// # }
    /// ```
    pub async fn consume<F>(&mut self, mut handler: F) -> Result<()>
    where
        F: FnMut(Record) -> Result<()>,
    {
        loop {
            self.consume_some(usize::MAX, &mut handler).await?;
        }
    }

    /// Hands over what comes next, at most `max` records, and returns how many there were; 0 if none came within
    /// [`ReaderConfig::max_wait`](crate::ReaderConfig::max_wait).
    ///
    /// ```no_run
    /// # async fn example(mut consumer: pyralog_client::UnifiedConsumer) -> pyralog_client::Result<()> {
    /// while consumer.consume_some(100, |record| Ok(println!("{:?}", record.value))).await? > 0 {}
    /// consumer.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn consume_some<F>(&mut self, max: usize, mut handler: F) -> Result<usize>
    where
        F: FnMut(Record) -> Result<()>,
    {
        let records = match self.open().await?.reader.poll(max).await {
            Ok(records) => records,
            Err(error) => {
                if self.config.auto_commit {
                    // If this fails too, the error is the same or says less.
                    drop(self.commit().await);
                }
                return Err(error.into());
            }
        };
        let count = records.len();
        let mut records = records.into_iter();
        while let Some(record) = records.next() {
            let place = (record.partition, record.offset);
            let Open { reader, position, .. } = self.open().await?;
            if let Err(error) = handler(position.placed(record)) {
                // It has to come again, with those behind it.
                let behind = records.as_slice().iter().map(|record| (record.partition, record.offset));
                reader.go_back(std::iter::once(place).chain(behind));
                if self.config.auto_commit {
                    self.commit().await?;
                }
                return Err(error);
            }
            position.done(place.0, place.1);
        }
        let interval = self.config.auto_commit_interval;
        if self.config.auto_commit && self.open().await?.committed_at.elapsed() >= interval {
            self.commit().await?;
        }
        Ok(count)
    }

    /// Commits what was handled.
    ///
    /// ```no_run
    /// # async fn example(mut consumer: pyralog_client::UnifiedConsumer) -> pyralog_client::Result<()> {
    /// consumer.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn commit(&mut self) -> Result<()> {
        if let Some(open) = &mut self.open {
            open.position.commit(&open.reader).await?;
            open.committed_at = Instant::now();
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<&mut Open, PyralogError> {
        if self.open.is_none() {
            let opened = match self.config.commit_strategy {
                CommitStrategy::PerPartition => self.open_partitions().await?,
                CommitStrategy::VLSN { partition_count } => self.open_view(partition_count).await?,
            };
            self.open = Some(opened);
        }
        self.open.as_mut().ok_or_else(|| PyralogError::Call(crate::error::CallError::ClientClosed))
    }
}

impl UnifiedConsumer {
    async fn open_partitions(&self) -> Result<Open> {
        let client = self.client.clone();
        let tracker = PartitionCommitTracker::load(client, &self.log_id, self.consumer_id.clone()).await?;
        let reader = self.client.reader(&self.log_id).start(self.config.start).offset_reset(self.config.offset_reset);
        let reader = reader.from(tracker.resume_from_commits()).open().await?;
        let position = Position::Partitions { tracker, handled: BTreeMap::new() };
        Ok(Open { reader, position, committed_at: Instant::now() })
    }

    async fn open_view(&self, partition_count: u32) -> Result<Open> {
        let reads = Box::new(Reads::new(self.client.clone(), self.log_id.clone())?);
        let now = reads.standing().await?.partition_count();
        if partition_count > now {
            let (log, found) = (self.log_id.clone(), partition_count);
            return Err(VlsnError::PartitionCount { log, found, now }.into());
        }
        let client = self.client.clone();
        let tracker = VlsnCommitTracker::load(client, &self.log_id, self.consumer_id.clone()).await?;
        let committed = tracker.committed().await?;
        let reader = self.client.reader(reads.view_name()).start(self.config.start);
        let next = committed.map(|vlsn| (0, LogOffset(i64::try_from(vlsn).unwrap_or(i64::MAX).saturating_add(1))));
        let reader = reader.offset_reset(self.config.offset_reset).from(next).open().await?;
        Ok(Open { reader, position: Position::Vlsn { tracker, handled: None, reads }, committed_at: Instant::now() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_configured_by_name() {
        let text = "[consumer.a]\nauto_commit = false\n[consumer.b]\ncommit_strategy = \"per_partition\"\n";
        let a = ConsumerConfig { auto_commit: false, ..Default::default() };
        assert_eq!(ConsumerConfig::from_toml(text, "a").unwrap(), a);
        assert_eq!(ConsumerConfig::from_toml(text, "b").unwrap(), ConsumerConfig::default());
        let error = ConsumerConfig::from_toml(text, "c").unwrap_err();
        assert_eq!(error.to_string(), "there is no [consumer.c]; there are: a, b");
        let error = ConsumerConfig::from_toml("[consumer.a]\ncommit_strategy = \"never\"", "a").unwrap_err();
        assert_eq!(error.to_string(), "commit_strategy is \"never\", not one of: per_partition, vlsn");
        let text = "[consumer.v]\ncommit_strategy = \"vlsn\"\npartition_count = 10\nauto_offset_reset = \"none\"";
        let vlsn = ConsumerConfig::from_toml(text, "v").unwrap();
        assert_eq!(vlsn.commit_strategy, CommitStrategy::VLSN { partition_count: 10 });
        assert_eq!(vlsn.offset_reset, OffsetReset::Fail);
        let error = ConsumerConfig::from_toml("[consumer.a]\npartition_count = 3", "a").unwrap_err();
        assert!(error.to_string().contains("vlsn, since partition_count is given"), "{error}");
        let error = ConsumerConfig::from_toml("[consumer.a]\nautocommit = true", "a").unwrap_err();
        assert!(error.to_string().contains("autocommit"));
    }
}
