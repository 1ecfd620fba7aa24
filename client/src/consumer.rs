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
use crate::reader::LogReader;
use crate::record::Record;

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
    /// Where a partition without a committed position begins.
    pub start: StartAt,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            commit_strategy: CommitStrategy::PerPartition,
            auto_commit: true,
            auto_commit_interval: Duration::from_secs(5),
            start: StartAt::Earliest,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsumerTable {
    commit_strategy: Option<String>,
    auto_commit: Option<bool>,
    auto_commit_interval_ms: Option<u64>,
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
        match table.commit_strategy {
            None => {}
            Some(word) if word == "per_partition" => config.commit_strategy = CommitStrategy::PerPartition,
            Some(found) => {
                return Err(SettingsError::Word { name: "commit_strategy", found, known: "per_partition" });
            }
        }
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
    tracker: PartitionCommitTracker,
    /// Handled and not committed.
    handled: BTreeMap<u32, LogOffset>,
    committed_at: Instant,
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
    /// unless commits are the caller's business.
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
        let records = self.open().await?.reader.poll(max).await?;
        let count = records.len();
        for record in records {
            let (partition, next) = (record.partition, LogOffset(record.offset.0.saturating_add(1)));
            if let Err(error) = handler(record) {
                // The records behind it have to come again.
                let committed = if self.config.auto_commit { self.commit().await } else { Ok(()) };
                self.open = None;
                committed?;
                return Err(error);
            }
            self.open().await?.handled.insert(partition, next);
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
            open.tracker.commit_all(open.handled.clone()).await?;
            open.handled.clear();
            open.committed_at = Instant::now();
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<&mut Open, PyralogError> {
        if self.open.is_none() {
            let client = self.client.clone();
            let tracker = PartitionCommitTracker::load(client, &self.log_id, self.consumer_id.clone()).await?;
            let reader = self.client.reader(&self.log_id).start(self.config.start).from(tracker.resume_from_commits());
            let reader = reader.open().await?;
            self.open = Some(Open { reader, tracker, handled: BTreeMap::new(), committed_at: Instant::now() });
        }
        self.open.as_mut().ok_or_else(|| PyralogError::Call(crate::error::CallError::ClientClosed))
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
        assert_eq!(error.to_string(), "commit_strategy is \"never\", not one of: per_partition");
        let error = ConsumerConfig::from_toml("[consumer.a]\nautocommit = true", "a").unwrap_err();
        assert!(error.to_string().contains("autocommit"));
    }
}
