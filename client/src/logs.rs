//! Creating, changing, deleting and describing logs.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use pyralog_protocol::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use pyralog_protocol::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use pyralog_protocol::kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use pyralog_protocol::{ApiKey, ErrorCode, LogId, LogOffset, NodeId};
use tokio::time::Instant;

use crate::client::{PyralogClient, Sample};
use crate::error::{BrokerError, CallError, CreateLogError, LogError, UpdateLogError};
use crate::log::{
    IntoLogId, LogConfig, LogMetadata, LogPartitions, LogStats, LogSummary, LogUpdate, PartitionMetadata,
    PartitionStats, RetentionConfig, StartAt,
};
use crate::net::clock::ms;
use crate::net::cluster::{LogFailure, str_bytes};
use crate::pure::view::LogView;
use crate::record::{from_ms, to_ms};

/// Kafka's number for topics in config requests.
const TOPIC_RESOURCE: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Whether writes are refused.
const PAUSED: &str = "pyralog.paused";
/// The write rate is measured over at least this long.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// A sample older than this says nothing of now.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(60);
/// Logs whose samples are remembered.
const SAMPLES_MAX: usize = 1024;

/// The offset of a position in each partition, or why it is not known.
pub(crate) type PartitionOffsets = BTreeMap<u32, Result<LogOffset, LogError>>;

fn unexpected(api: ApiKey, log: &LogId) -> CallError {
    CallError::Unexpected { address: "a broker".to_owned(), api, reason: format!("it says nothing of log {log}") }
}

impl LogError {
    fn from_failure(log: &LogId, failure: LogFailure) -> Self {
        match failure {
            LogFailure::Unknown => Self::Unknown { log: log.clone() },
            LogFailure::Refused(reason) => Self::Refused { log: log.clone(), reason },
            LogFailure::Call(error) => Self::Call(error),
        }
    }

    pub(crate) fn is_retriable(&self) -> bool {
        match self {
            Self::Refused { reason, .. } | Self::RefusedPartition { reason, .. } | Self::RefusedAll(reason) => {
                reason.is_retriable()
            }
            Self::Call(error) => error.is_retriable(),
            Self::NoLeader { .. } => true,
            Self::Name(_) | Self::Unknown { .. } | Self::NoPartition { .. } => false,
        }
    }
}

/// The offsets that are known.
fn readable(offsets: &PartitionOffsets) -> BTreeMap<u32, LogOffset> {
    offsets.iter().filter_map(|(partition, found)| Some((*partition, *found.as_ref().ok()?))).collect()
}

fn is_unknown(code: i16) -> bool {
    code == ErrorCode::UnknownTopicOrPartition.code()
}

impl PyralogClient {
    /// Creates a log as the broker is configured, and returns when it serves.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// client.create_log("visits").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_log(&self, log: impl IntoLogId) -> Result<(), CreateLogError> {
        self.create_log_with_config(log, LogConfig::default()).await
    }

    /// Creates a log, and returns when it serves.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::{LogConfig, RetentionConfig};
    ///
    /// let config = LogConfig { partition_count: 6, retention: RetentionConfig::Forever, ..Default::default() };
    /// client.create_log_with_config("ledger", config).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_log_with_config(&self, log: impl IntoLogId, config: LogConfig) -> Result<(), CreateLogError> {
        let log = log.into_log_id()?;
        let or_default = |number: u32| if number == 0 { -1 } else { i32::try_from(number).unwrap_or(i32::MAX) };
        let configs = config.all_configs().into_iter().map(|(name, value)| {
            CreatableTopicConfig::default().with_name(str_bytes(&name)).with_value(Some(str_bytes(&value)))
        });
        let topic = CreatableTopic::default()
            .with_name(str_bytes(log.as_str()).into())
            .with_num_partitions(or_default(config.partition_count))
            .with_replication_factor(i16::try_from(or_default(config.replication_factor)).unwrap_or(i16::MAX))
            .with_configs(configs.collect());
        let request = kp::CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(self.timeout_ms());
        let answer = self.ask_again(request).await?;
        let found = answer.topics.iter().find(|topic| topic.name.as_str() == log.as_str());
        let found = found.ok_or_else(|| unexpected(ApiKey::CreateTopics, &log))?;
        let reason = BrokerError::new(found.error_code, found.error_message.as_deref());
        #[allow(clippy::wildcard_enum_match_arm, reason = "whatever else a broker refuses for")]
        match reason.known() {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::TopicAlreadyExists) => return Err(CreateLogError::Exists { log, reason }),
            Some(ErrorCode::InvalidConfig | ErrorCode::InvalidPartitions | ErrorCode::InvalidReplicationFactor) => {
                return Err(CreateLogError::Config { log, reason });
            }
            _ => return Err(CreateLogError::Refused { log, reason }),
        }
        let deadline = Instant::now() + Self::NEW_LOG_PATIENCE;
        loop {
            let view = self.cluster().look_up(&log).await;
            if view.is_ok_and(|view| view.partitions.iter().all(|partition| partition.leader.is_some())) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(CreateLogError::NotServing { log });
            }
            self.cluster().pause(1).await;
        }
    }

    /// Changes settings of a log, and its number of partitions.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::{LogUpdate, RetentionConfig};
    /// use std::time::Duration;
    ///
    /// let hour = RetentionConfig::Time(Duration::from_secs(3600));
    /// client.update_log_config("visits", LogUpdate::new().retention(hour).partition_count(12)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_log_config(&self, log: impl IntoLogId, update: LogUpdate) -> Result<(), UpdateLogError> {
        let log = log.into_log_id()?;
        if !update.configs.is_empty() {
            self.alter_log(&log, update.configs).await?;
        }
        if let Some(count) = update.partition_count {
            self.add_partitions(&log, count).await?;
        }
        Ok(())
    }

    async fn alter_log(&self, log: &LogId, configs: BTreeMap<String, Option<String>>) -> Result<(), UpdateLogError> {
        let configs = configs.into_iter().map(|(name, value)| {
            AlterableConfig::default()
                .with_name(str_bytes(&name))
                .with_config_operation(if value.is_some() { SET } else { DELETE })
                .with_value(value.map(|value| str_bytes(&value)))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(str_bytes(log.as_str()))
            .with_configs(configs.collect());
        let request = kp::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.ask_again(request).await?;
        let found = answer.responses.first().ok_or_else(|| unexpected(ApiKey::IncrementalAlterConfigs, log))?;
        let reason = BrokerError::new(found.error_code, found.error_message.as_deref());
        match found.error_code {
            0 => Ok(()),
            code if is_unknown(code) => Err(UpdateLogError::Unknown { log: log.clone() }),
            code if code == ErrorCode::InvalidConfig.code() => Err(UpdateLogError::Config { log: log.clone(), reason }),
            _ => Err(UpdateLogError::Refused { log: log.clone(), reason }),
        }
    }

    async fn add_partitions(&self, log: &LogId, count: u32) -> Result<(), UpdateLogError> {
        let topic = kp::create_partitions_request::CreatePartitionsTopic::default()
            .with_name(str_bytes(log.as_str()).into())
            .with_count(i32::try_from(count).unwrap_or(i32::MAX))
            .with_assignments(None);
        let request =
            kp::CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(self.timeout_ms());
        let answer = self.ask_again(request).await?;
        let found = answer.results.first().ok_or_else(|| unexpected(ApiKey::CreatePartitions, log))?;
        let reason = BrokerError::new(found.error_code, found.error_message.as_deref());
        match found.error_code {
            0 => {
                // Writers learn of the new partitions from here.
                drop(self.cluster().look_up(log).await);
                Ok(())
            }
            code if is_unknown(code) => Err(UpdateLogError::Unknown { log: log.clone() }),
            _ => Err(UpdateLogError::Partitions { log: log.clone(), reason }),
        }
    }

    /// Refuses writes to a log, while reads go on, until [`Self::resume_log`]. Producers wait for the end of the pause, as long as
    /// their delivery timeout allows; with `pyralog.paused.error=fatal` ([`LogUpdate::set`]) they give up at once. Apache Kafka
    /// cannot do this, and says so.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// client.pause_log("visits").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pause_log(&self, log: impl IntoLogId) -> Result<(), UpdateLogError> {
        self.update_log_config(log, LogUpdate::new().set(PAUSED, "true")).await
    }

    /// Ends a pause.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// client.resume_log("visits").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume_log(&self, log: impl IntoLogId) -> Result<(), UpdateLogError> {
        self.update_log_config(log, LogUpdate::new().reset(PAUSED)).await
    }

    /// Deletes a log with all its records.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// client.delete_log("visits").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_log(&self, log: impl IntoLogId) -> Result<(), LogError> {
        let log = log.into_log_id()?;
        let topic =
            kp::delete_topics_request::DeleteTopicState::default().with_name(Some(str_bytes(log.as_str()).into()));
        let request = kp::DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(self.timeout_ms());
        let answer = self.ask_again(request).await?;
        let found = answer.responses.first().ok_or_else(|| unexpected(ApiKey::DeleteTopics, &log))?;
        match found.error_code {
            0 => {
                // What is known of it goes with the next look.
                drop(self.cluster().look_up(&log).await);
                Ok(())
            }
            code if is_unknown(code) => Err(LogError::Unknown { log }),
            code => Err(LogError::Refused { log, reason: BrokerError::new(code, found.error_message.as_deref()) }),
        }
    }

    /// All logs, by name.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// for log in client.list_logs().await? {
    ///     println!("{}", log.log_id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_logs(&self) -> Result<Vec<LogSummary>, LogError> {
        let answer = self.cluster().repeat(CallError::is_retriable, || self.cluster().metadata(None)).await?;
        let mut logs: Vec<LogSummary> = answer
            .topics
            .iter()
            .filter(|topic| topic.error_code == 0)
            .filter_map(|topic| {
                let replicas = topic.partitions.first().map_or(0, |partition| partition.replica_nodes.len());
                Some(LogSummary {
                    log_id: LogId::new(topic.name.as_ref()?).ok()?,
                    partition_count: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
                    replication_factor: u32::try_from(replicas).unwrap_or(u32::MAX),
                    is_internal: topic.is_internal,
                })
            })
            .collect();
        logs.sort_by(|a, b| a.log_id.cmp(&b.log_id));
        Ok(logs)
    }

    /// All logs by name, with the partitions of each and who leads them.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// let partitions: usize = client.list_partitions().await?.iter().map(|log| log.partitions.len()).sum();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_partitions(&self) -> Result<Vec<LogPartitions>, LogError> {
        let answer = self.cluster().repeat(CallError::is_retriable, || self.cluster().metadata(None)).await?;
        let nodes = |ids: &[kp::BrokerId]| ids.iter().map(|id| NodeId(id.0)).collect();
        let partition = |found: &kp::metadata_response::MetadataResponsePartition| {
            Some(PartitionMetadata {
                partition: u32::try_from(found.partition_index).ok()?,
                leader: (found.leader_id.0 >= 0).then_some(NodeId(found.leader_id.0)),
                epoch: pyralog_protocol::LeaderEpoch(found.leader_epoch),
                replicas: nodes(&found.replica_nodes),
                in_sync_replicas: nodes(&found.isr_nodes),
            })
        };
        let log = |topic: &kp::metadata_response::MetadataResponseTopic| {
            let log_id = LogId::new(topic.name.as_ref()?).ok()?;
            let mut partitions: Vec<PartitionMetadata> = topic.partitions.iter().filter_map(partition).collect();
            partitions.sort_by_key(|partition| partition.partition);
            Some(LogPartitions { log_id, partitions })
        };
        let mut logs: Vec<LogPartitions> =
            answer.topics.iter().filter(|topic| topic.error_code == 0).filter_map(log).collect();
        logs.sort_by(|a, b| a.log_id.cmp(&b.log_id));
        Ok(logs)
    }

    /// Whether there is a log of this name.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// if !client.log_exists("visits").await? {
    ///     client.create_log("visits").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn log_exists(&self, log: impl IntoLogId) -> Result<bool, LogError> {
        let log = log.into_log_id()?;
        match self.view_of(&log).await {
            Ok(_) => Ok(true),
            Err(LogError::Unknown { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    pub(crate) async fn view_of(&self, log: &LogId) -> Result<LogView, LogError> {
        self.cluster().repeat(LogError::is_retriable, || self.view_of_once(log)).await
    }

    pub(crate) async fn view_of_once(&self, log: &LogId) -> Result<LogView, LogError> {
        self.cluster().look_up(log).await.map_err(|failure| LogError::from_failure(log, failure))
    }

    /// A log's partitions, leaders and configs.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// let metadata = client.get_log_metadata("visits").await?;
    /// println!("{:?}", metadata.configs["cleanup.policy"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_log_metadata(&self, log: impl IntoLogId) -> Result<LogMetadata, LogError> {
        let log = log.into_log_id()?;
        let view = self.view_of(&log).await?;
        let configs = self.log_configs(&log).await?;
        let number = |name: &str| configs.get(name).cloned().flatten().and_then(|value| value.parse::<i64>().ok());
        let retention_config =
            RetentionConfig::of(number("retention.ms").unwrap_or(-1), number("retention.bytes").unwrap_or(-1));
        let partitions: Vec<PartitionMetadata> = (0u32..)
            .zip(view.partitions)
            .map(|(partition, known)| PartitionMetadata {
                partition,
                leader: known.leader,
                epoch: known.epoch,
                replicas: known.replicas,
                in_sync_replicas: known.in_sync,
            })
            .collect();
        let replicas = partitions.first().map_or(0, |partition| partition.replicas.len());
        Ok(LogMetadata {
            log_id: log,
            topic_id: view.id,
            partition_count: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            replication_factor: u32::try_from(replicas).unwrap_or(u32::MAX),
            retention_config,
            created_at: view.created_at.map(|created| from_ms(created.0)),
            is_internal: view.is_internal,
            partitions,
            configs,
        })
    }

    async fn log_configs(&self, log: &LogId) -> Result<BTreeMap<String, Option<String>>, LogError> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(str_bytes(log.as_str()))
            .with_configuration_keys(None);
        let request = kp::DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.ask_again(request).await?;
        let found = answer.results.first().ok_or_else(|| unexpected(ApiKey::DescribeConfigs, log))?;
        match found.error_code {
            0 => {}
            code if is_unknown(code) => return Err(LogError::Unknown { log: log.clone() }),
            code => {
                let reason = BrokerError::new(code, found.error_message.as_deref());
                return Err(LogError::Refused { log: log.clone(), reason });
            }
        }
        let configs = found.configs.iter();
        Ok(configs.map(|c| (c.name.to_string(), c.value.as_ref().map(ToString::to_string))).collect())
    }

    /// How much a log holds, and how fast it grows. The rate is that between the last call and this one; the first call, and
    /// one after more than a minute, looks twice, a second apart.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// println!("{} records", client.get_log_stats("visits").await?.record_count);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_log_stats(&self, log: impl IntoLogId) -> Result<LogStats, LogError> {
        let log = log.into_log_id()?;
        let stats = self.get_stats_of([log.clone()]).await?;
        stats.into_values().next().ok_or(LogError::Unknown { log })
    }

    /// [`Self::get_log_stats`] of many logs, which share the second between the two looks.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// let logs = client.list_logs().await?.into_iter().map(|log| log.log_id);
    /// for (log, stats) in client.get_stats_of(logs).await? {
    ///     println!("{log}: {:.1} records/s", stats.write_rate);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_stats_of(
        &self,
        logs: impl IntoIterator<Item = LogId>,
    ) -> Result<BTreeMap<LogId, LogStats>, LogError> {
        let logs: std::collections::BTreeSet<LogId> = logs.into_iter().collect();
        let mut before = BTreeMap::new();
        let mut is_fresh = false;
        for log in &logs {
            let known = self.samples().get(log).cloned();
            let now = Instant::now();
            let usable = known.filter(|(when, _)| (RATE_WINDOW..=SAMPLE_AGE_MAX).contains(&now.duration_since(*when)));
            let sample = match usable {
                Some(sample) => sample,
                None => {
                    is_fresh = true;
                    (Instant::now(), readable(&self.partition_offsets(log, StartAt::Latest).await?))
                }
            };
            before.insert(log.clone(), sample);
        }
        if is_fresh {
            tokio::time::sleep(RATE_WINDOW).await;
        }
        let mut stats = BTreeMap::new();
        for (log, (when, ends)) in before {
            stats.insert(log.clone(), self.stats_since(&log, when, &ends).await?);
        }
        Ok(stats)
    }

    fn samples(&self) -> std::sync::MutexGuard<'_, BTreeMap<LogId, Sample>> {
        self.inner.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stats_since(
        &self,
        log: &LogId,
        since: Instant,
        before: &BTreeMap<u32, LogOffset>,
    ) -> Result<LogStats, LogError> {
        let now = Instant::now();
        let found = self.partition_offsets(log, StartAt::Latest).await?;
        let mut ends = readable(&found);
        let starts = readable(&self.partition_offsets(log, StartAt::Earliest).await?);
        ends.retain(|partition, _| starts.contains_key(partition));
        let unreadable = found.into_keys().filter(|partition| !ends.contains_key(partition)).collect();
        let sizes = self.partition_bytes(log).await?;
        let seconds = now.duration_since(since).as_secs_f64().max(0.001);
        let distance = |from: LogOffset, to: LogOffset| u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0);
        let partition = |(&partition, &end): (&u32, &LogOffset)| {
            let start = starts.get(&partition).copied().unwrap_or_default();
            let written = match before.get(&partition) {
                Some(before) => distance(*before, end),
                // It was not there at the first look, or could not be read: what it held when it came is not known.
                None => 0,
            };
            PartitionStats {
                partition,
                start,
                end,
                record_count: distance(start, end),
                size_bytes: sizes.get(&partition).copied().unwrap_or(0),
                write_rate: f64::from(u32::try_from(written).unwrap_or(u32::MAX)) / seconds,
            }
        };
        let partitions: Vec<PartitionStats> = ends.iter().map(partition).collect();
        let mut samples = self.samples();
        if samples.len() >= SAMPLES_MAX {
            samples.clear();
        }
        samples.insert(log.clone(), (now, ends));
        Ok(LogStats {
            record_count: partitions.iter().fold(0, |sum, of| sum.saturating_add(of.record_count)),
            size_bytes: partitions.iter().fold(0, |sum, of| sum.saturating_add(of.size_bytes)),
            write_rate: partitions.iter().map(|of| of.write_rate).sum(),
            partitions,
            unreadable,
        })
    }

    /// Bytes on disk of the leader's copy of each partition.
    async fn partition_bytes(&self, log: &LogId) -> Result<BTreeMap<u32, u64>, LogError> {
        let view = self.view_of(log).await?;
        let partitions = (0i32..).take(view.partitions.len()).collect();
        let topic = kp::describe_log_dirs_request::DescribableLogDirTopic::default()
            .with_topic(str_bytes(log.as_str()).into())
            .with_partitions(partitions);
        let request = kp::DescribeLogDirsRequest::default().with_topics(Some(vec![topic]));
        let leaders: std::collections::BTreeSet<NodeId> = view.partitions.iter().filter_map(|p| p.leader).collect();
        let mut bytes = BTreeMap::new();
        for node in leaders {
            let answer = self.cluster().ask_node(node, request.clone()).await?;
            let topics = answer.results.iter().flat_map(|folder| &folder.topics);
            for found in topics.flat_map(|topic| &topic.partitions) {
                let Ok(partition) = u32::try_from(found.partition_index) else { continue };
                let index = usize::try_from(partition).unwrap_or(usize::MAX);
                let is_led = view.partitions.get(index).is_some_and(|known| known.leader == Some(node));
                if is_led && !found.is_future_key {
                    bytes.insert(partition, u64::try_from(found.partition_size).unwrap_or(0));
                }
            }
        }
        Ok(bytes)
    }

    /// The offset of a position in every partition of a log; an error if one of them cannot be read.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::StartAt;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let an_hour_ago = StartAt::Time(SystemTime::now() - Duration::from_secs(3600));
    /// for (partition, offset) in client.log_offsets("visits", an_hour_ago).await? {
    ///     println!("partition {partition}: from {offset} on");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn log_offsets(
        &self,
        log: impl IntoLogId,
        position: StartAt,
    ) -> Result<BTreeMap<u32, LogOffset>, LogError> {
        let log = log.into_log_id()?;
        self.offsets_in(&log, |_| true, position).await
    }

    /// [`Self::log_offsets`] of those partitions that are wanted.
    pub(crate) async fn offsets_in(
        &self,
        log: &LogId,
        is_wanted: impl Fn(u32) -> bool,
        position: StartAt,
    ) -> Result<BTreeMap<u32, LogOffset>, LogError> {
        let all = async || {
            let view = self.view_of_once(log).await?;
            let found = self.offsets_once(log, &view, &is_wanted, position).await;
            found.into_iter().map(|(partition, offset)| Ok((partition, offset?))).collect()
        };
        self.cluster().repeat(LogError::is_retriable, all).await
    }

    /// [`Self::log_offsets`], as of now, where one partition that cannot be read does not matter to the others: each has an
    /// outcome of its own.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::StartAt;
    ///
    /// for (partition, end) in client.partition_offsets("visits", StartAt::Latest).await? {
    ///     match end {
    ///         Ok(end) => println!("partition {partition} ends at {end}"),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn partition_offsets(
        &self,
        log: impl IntoLogId,
        position: StartAt,
    ) -> Result<BTreeMap<u32, Result<LogOffset, LogError>>, LogError> {
        let log = log.into_log_id()?;
        let view = self.view_of(&log).await?;
        Ok(self.offsets_once(&log, &view, &|_| true, position).await)
    }

    /// The offset of a position in those partitions that are wanted, as of now.
    pub(crate) async fn offsets_once(
        &self,
        log: &LogId,
        view: &LogView,
        is_wanted: &impl Fn(u32) -> bool,
        position: StartAt,
    ) -> PartitionOffsets {
        const LATEST: i64 = -1;
        const EARLIEST: i64 = -2;
        let timestamp = match position {
            StartAt::Earliest | StartAt::Offset(_) => EARLIEST,
            StartAt::Latest => LATEST,
            StartAt::Time(time) => to_ms(time).max(0),
        };
        let mut offsets = self.offsets_of(log, view, is_wanted, timestamp).await;
        if let StartAt::Offset(asked) = position {
            offsets.values_mut().flatten().for_each(|start| *start = asked.max(*start));
        }
        // All records are older: behind the last one.
        let is_past = |found: &Result<LogOffset, LogError>| found.as_ref().is_ok_and(|offset| offset.0 < 0);
        if offsets.values().any(is_past) {
            let is_past = |partition| offsets.get(&partition).is_some_and(is_past);
            let ends = self.offsets_of(log, view, &is_past, LATEST).await;
            offsets.extend(ends);
        }
        offsets
    }

    /// What ListOffsets says of a timestamp; -1 where nothing is that new.
    async fn offsets_of(
        &self,
        log: &LogId,
        view: &LogView,
        is_wanted: &impl Fn(u32) -> bool,
        timestamp: i64,
    ) -> PartitionOffsets {
        let mut offsets = BTreeMap::new();
        let mut by_node: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        for (partition, known) in (0u32..).zip(&view.partitions).filter(|(partition, _)| is_wanted(*partition)) {
            match known.leader {
                Some(leader) => by_node.entry(leader).or_default().push(partition),
                None => drop(offsets.insert(partition, Err(LogError::NoLeader { log: log.clone(), partition }))),
            }
        }
        for (node, partitions) in by_node {
            let asked = partitions.iter().map(|partition| {
                let index = i32::try_from(*partition).unwrap_or(i32::MAX);
                ListOffsetsPartition::default().with_partition_index(index).with_timestamp(timestamp)
            });
            let topic =
                ListOffsetsTopic::default().with_name(str_bytes(log.as_str()).into()).with_partitions(asked.collect());
            let request = kp::ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
            let answer = self.cluster().ask_node(node, request).await;
            let silent = answer.as_ref().err().cloned().unwrap_or_else(|| unexpected(ApiKey::ListOffsets, log));
            offsets.extend(partitions.iter().map(|partition| (*partition, Err(silent.clone().into()))));
            for found in answer.iter().flat_map(|answer| &answer.topics).flat_map(|topic| &topic.partitions) {
                let partition = u32::try_from(found.partition_index).unwrap_or(u32::MAX);
                let Some(offset) = offsets.get_mut(&partition) else { continue };
                *offset = match found.error_code {
                    0 => Ok(LogOffset(found.offset)),
                    code => {
                        let (log, reason) = (log.clone(), BrokerError::new(code, None));
                        Err(LogError::RefusedPartition { log, partition, reason })
                    }
                };
            }
        }
        offsets
    }

    pub(crate) fn timeout_ms(&self) -> i32 {
        i32::try_from(ms(self.cluster().config.request_timeout)).unwrap_or(i32::MAX)
    }

    async fn ask_again<A: crate::pure::ask::Ask + Clone>(&self, request: A) -> Result<A::Answer, CallError> {
        self.cluster().repeat(CallError::is_retriable, || self.cluster().ask(request.clone())).await
    }
}
