//! How far a consumer has come, kept by the broker as ordinary offsets of a consumer group.

use std::collections::BTreeMap;

use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use pyralog_protocol::kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use pyralog_protocol::{ApiKey, ErrorCode, LogId, LogOffset};

use crate::client::PyralogClient;
use crate::error::{BrokerError, CallError, GroupError};
use crate::log::IntoLogId;
use crate::net::cluster::{GroupFailure, str_bytes};

/// One offset per partition of a log, for one consumer (Kafka's way). A committed offset is that of the first record which
/// is still to be read. The name of the consumer is a group id, so Kafka's tools show the offsets and the lag.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::{LogOffset, PartitionCommitTracker};
///
/// let mut tracker = PartitionCommitTracker::load(client, "visits", "statistics").await?;
/// for (partition, offset) in tracker.resume_from_commits() {
///     println!("partition {partition}: go on at {offset}");
/// }
/// tracker.commit(0, LogOffset::new(1000)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PartitionCommitTracker {
    client: PyralogClient,
    log_id: LogId,
    consumer_group: String,
    offsets: BTreeMap<u32, LogOffset>,
}

impl PartitionCommitTracker {
    /// With what was committed before.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::PartitionCommitTracker;
    ///
    /// let tracker = PartitionCommitTracker::load(client, "visits", "statistics").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn load(
        client: PyralogClient,
        log: impl IntoLogId,
        consumer_group: impl Into<String>,
    ) -> Result<Self, GroupError> {
        let (log_id, consumer_group) = (log.into_log_id()?, consumer_group.into());
        let offsets = fetch(&client, &log_id, &consumer_group).await?;
        Ok(Self { client, log_id, consumer_group, offsets })
    }

    /// Commits the offset of the first record of a partition that is still to be read.
    ///
    /// ```no_run
    /// # async fn example(mut tracker: pyralog_client::PartitionCommitTracker) -> pyralog_client::Result<()> {
    /// use pyralog_client::LogOffset;
    ///
    /// tracker.commit(2, LogOffset::new(890)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn commit(&mut self, partition: u32, offset: LogOffset) -> Result<(), GroupError> {
        self.commit_all([(partition, offset)]).await
    }

    /// Commits several partitions with one request.
    ///
    /// ```no_run
    /// # async fn example(mut tracker: pyralog_client::PartitionCommitTracker) -> pyralog_client::Result<()> {
    /// use pyralog_client::LogOffset;
    ///
    /// tracker.commit_all([(0, LogOffset::new(1000)), (1, LogOffset::new(2500))]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn commit_all(&mut self, offsets: impl IntoIterator<Item = (u32, LogOffset)>) -> Result<(), GroupError> {
        let offsets: BTreeMap<u32, LogOffset> = offsets.into_iter().collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let entries = offsets.iter().map(|(partition, offset)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(i32::try_from(*partition).unwrap_or(i32::MAX))
                .with_committed_offset(offset.0)
                .with_committed_metadata(None)
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(str_bytes(self.log_id.as_str()).into())
            .with_partitions(entries.collect());
        let request = kp::OffsetCommitRequest::default()
            .with_group_id(str_bytes(&self.consumer_group).into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let first_error = |answer: &kp::OffsetCommitResponse| {
            let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
            codes.into_iter().find(|code| *code != 0).unwrap_or(0)
        };
        let answer = self.client.cluster().ask_coordinator(&self.consumer_group, request, first_error).await;
        let answer = answer.map_err(|failure| group_error(&self.consumer_group, failure))?;
        for found in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            let partition = u32::try_from(found.partition_index).unwrap_or(u32::MAX);
            if found.error_code != 0 {
                return Err(self.refused(partition, found.error_code));
            }
            if let Some(offset) = offsets.get(&partition) {
                self.offsets.insert(partition, *offset);
            }
        }
        Ok(())
    }

    /// Whether anything is committed for a partition.
    pub(crate) fn has(&self, partition: u32) -> bool {
        self.offsets.contains_key(&partition)
    }

    fn refused(&self, partition: u32, code: i16) -> GroupError {
        let group = self.consumer_group.clone();
        if code == ErrorCode::UnknownMemberId.code() {
            return GroupError::NotEmpty { group };
        }
        let reason = BrokerError { code, message: None };
        GroupError::RefusedPartition { group, log: self.log_id.to_string(), partition, reason }
    }

    /// What is committed: each partition with the offset to go on at. Partitions without a commit are not among them.
    ///
    /// ```no_run
    /// # async fn example(tracker: pyralog_client::PartitionCommitTracker) {
    /// let offsets = tracker.resume_from_commits();
    /// # }
    /// ```
    pub fn resume_from_commits(&self) -> Vec<(u32, LogOffset)> {
        self.offsets.iter().map(|(partition, offset)| (*partition, *offset)).collect()
    }
}

fn group_error(group: &str, failure: GroupFailure) -> GroupError {
    match failure {
        GroupFailure::Refused(reason) => GroupError::Refused { group: group.to_owned(), reason },
        GroupFailure::Call(error) => GroupError::Call(error),
    }
}

async fn fetch(client: &PyralogClient, log: &LogId, group: &str) -> Result<BTreeMap<u32, LogOffset>, GroupError> {
    let view = client.cluster().await_log(log).await.map_err(|failure| match failure {
        crate::net::cluster::LogFailure::Unknown => GroupError::UnknownLog { log: log.clone() },
        crate::net::cluster::LogFailure::Refused(reason) => GroupError::Refused { group: group.to_owned(), reason },
        crate::net::cluster::LogFailure::Call(error) => GroupError::Call(error),
    })?;
    let topic = OffsetFetchRequestTopics::default()
        .with_name(str_bytes(log.as_str()).into())
        .with_partition_indexes((0i32..).take(view.partitions.len()).collect());
    let asked =
        OffsetFetchRequestGroup::default().with_group_id(str_bytes(group).into()).with_topics(Some(vec![topic]));
    let request = kp::OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(true);
    let code = |answer: &kp::OffsetFetchResponse| {
        let partitions = answer.groups.iter().flat_map(|group| &group.topics).flat_map(|topic| &topic.partitions);
        let of_partitions = partitions.map(|partition| partition.error_code);
        answer.groups.iter().map(|group| group.error_code).chain(of_partitions).find(|code| *code != 0).unwrap_or(0)
    };
    let answer = client.cluster().ask_coordinator(group, request, code).await;
    let answer = answer.map_err(|failure| group_error(group, failure))?;
    let missing = || CallError::Unexpected {
        address: "the coordinator".to_owned(),
        api: ApiKey::OffsetFetch,
        reason: format!("it says nothing of group {group}"),
    };
    let found = answer.groups.first().ok_or_else(missing)?;
    if found.error_code != 0 {
        let reason = BrokerError { code: found.error_code, message: None };
        return Err(GroupError::Refused { group: group.to_owned(), reason });
    }
    let mut offsets = BTreeMap::new();
    for entry in found.topics.iter().flat_map(|topic| &topic.partitions) {
        let Ok(partition) = u32::try_from(entry.partition_index) else { continue };
        if entry.error_code != 0 {
            let (group, log) = (group.to_owned(), log.to_string());
            let reason = BrokerError { code: entry.error_code, message: None };
            return Err(GroupError::RefusedPartition { group, log, partition, reason });
        }
        if entry.committed_offset >= 0 {
            offsets.insert(partition, LogOffset(entry.committed_offset));
        }
    }
    Ok(offsets)
}
