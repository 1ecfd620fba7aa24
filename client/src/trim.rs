//! Removing the beginning of a log.

use std::collections::BTreeMap;

use pyralog_protocol::kafka_protocol::messages::DeleteRecordsRequest;
use pyralog_protocol::kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use pyralog_protocol::{LogId, LogOffset, NodeId};

use crate::client::PyralogClient;
use crate::error::{BrokerError, LogError};
use crate::log::IntoLogId;
use crate::net::cluster::{LogFailure, str_bytes};

impl PyralogClient {
    /// Removes the records below these offsets; [`LogOffset::MAX`] stands for the end. The answer is where each of the
    /// partitions begins now.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::LogOffset;
    ///
    /// client.delete_records("visits", [(0, LogOffset::new(1000)), (1, LogOffset::MAX)]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_records(
        &self,
        log: impl IntoLogId,
        below: impl IntoIterator<Item = (u32, LogOffset)>,
    ) -> Result<BTreeMap<u32, LogOffset>, LogError> {
        let log = log.into_log_id()?;
        let below: BTreeMap<u32, LogOffset> = below.into_iter().collect();
        self.cluster().repeat(LogError::is_retriable, || self.delete_records_once(&log, &below)).await
    }

    async fn delete_records_once(
        &self,
        log: &LogId,
        below: &BTreeMap<u32, LogOffset>,
    ) -> Result<BTreeMap<u32, LogOffset>, LogError> {
        let view = self.cluster().look_up(log).await.map_err(|failure| match failure {
            LogFailure::Unknown => LogError::Unknown { log: log.clone() },
            LogFailure::Refused(reason) => LogError::Refused { log: log.clone(), reason },
            LogFailure::Call(error) => LogError::Call(error),
        })?;
        let count = u32::try_from(view.partitions.len()).unwrap_or(u32::MAX);
        let mut by_node: BTreeMap<NodeId, Vec<DeleteRecordsPartition>> = BTreeMap::new();
        for (&partition, offset) in below {
            let index = usize::try_from(partition).unwrap_or(usize::MAX);
            let no_partition = || LogError::NoPartition { log: log.clone(), partition, count };
            let known = view.partitions.get(index).ok_or_else(no_partition)?;
            let leader = known.leader.ok_or_else(|| LogError::NoLeader { log: log.clone(), partition })?;
            let asked = DeleteRecordsPartition::default()
                .with_partition_index(i32::try_from(partition).unwrap_or(i32::MAX))
                .with_offset(if *offset == LogOffset::MAX { -1 } else { offset.0 });
            by_node.entry(leader).or_default().push(asked);
        }
        let mut starts = BTreeMap::new();
        for (node, partitions) in by_node {
            let topic =
                DeleteRecordsTopic::default().with_name(str_bytes(log.as_str()).into()).with_partitions(partitions);
            let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(self.timeout_ms());
            let answer = self.cluster().ask_node(node, request).await?;
            for found in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                if found.error_code != 0 {
                    let reason = BrokerError::new(found.error_code, None);
                    let partition = u32::try_from(found.partition_index).unwrap_or(u32::MAX);
                    return Err(LogError::RefusedPartition { log: log.clone(), partition, reason });
                }
                let Ok(partition) = u32::try_from(found.partition_index) else { continue };
                starts.insert(partition, LogOffset(found.low_watermark));
            }
        }
        Ok(starts)
    }
}
