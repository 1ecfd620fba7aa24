//! What this node's replicas are like: DescribeLogDirs (sizes, room), AlterReplicaLogDirs, DescribeProducers. A node has
//! one folder, so a replica never moves between folders, and "the same folder" is the only legal destination.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeProducersRequest, DescribeProducersResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use pyralog_coordinator::metadata::Image;
use pyralog_protocol::{ErrorCode, LogId, kafka_protocol};
use pyralog_storage::{Disk, ProducerInfo};

use crate::partition::{Partition, Refusal};
use crate::topology::{LogEntry, Topology};

/// The data folder's path, as DescribeConfigs shows it.
fn folder(image: &Image) -> &str {
    image.broker_configs().get("log.dirs").unwrap_or_default()
}

/// Serves DescribeLogDirs. Unknown partitions are left out, and so are those that do not serve: nobody knows their size.
pub(crate) fn describe_log_dirs<D: Disk>(
    topology: &Topology<D>,
    disk: &D,
    request: &DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let dir = DescribeLogDirsResult::default().with_log_dir(StrBytes::from(folder(&topology.image).to_owned()));
    let dir = match disk.space() {
        Ok(space) => dir
            .with_total_bytes(i64::try_from(space.total_bytes).unwrap_or(i64::MAX))
            .with_usable_bytes(i64::try_from(space.usable_bytes).unwrap_or(i64::MAX))
            .with_topics(described(topology, request)),
        Err(_) => dir.with_error_code(ErrorCode::KafkaStorageError.code()),
    };
    DescribeLogDirsResponse::default().with_results(vec![dir])
}

/// Logs and partitions in order, each once however often it was asked for; null is all.
fn described<D: Disk>(topology: &Topology<D>, request: &DescribeLogDirsRequest) -> Vec<DescribeLogDirsTopic> {
    let mut wanted: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    match &request.topics {
        Some(topics) => {
            for topic in topics {
                wanted.entry(topic.topic.as_str()).or_default().extend(&topic.partitions);
            }
        }
        None => wanted.extend(
            topology.image.sorted_logs().into_iter().map(|(n, log)| (n, (0..log.metadata.partition_count).collect())),
        ),
    }
    let topic = |(name, indexes): (&str, BTreeSet<i32>)| {
        let entry = topology.by_name(name)?;
        let partitions: Vec<_> = indexes.into_iter().filter_map(|index| sized(entry, index)).collect();
        let topic = DescribeLogDirsTopic::default().with_name(TopicName(StrBytes::from(name.to_owned())));
        (!partitions.is_empty()).then(|| topic.with_partitions(partitions))
    };
    wanted.into_iter().filter_map(topic).collect()
}

/// A replica that leads never lags behind its own high watermark: its lag is 0.
fn sized<D: Disk>(entry: &LogEntry<D>, index: i32) -> Option<DescribeLogDirsPartition> {
    let size = entry.partition(index)?.with_log(|log, _| log.size_bytes()).ok()?;
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    Some(DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(size))
}

/// Serves AlterReplicaLogDirs. Of a partition that is there twice the last folder counts, as in Kafka.
pub(crate) fn alter_replica_log_dirs<D: Disk>(
    topology: &Topology<D>,
    request: &AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let mut wanted: BTreeMap<&TopicName, BTreeMap<i32, &str>> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in dir.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
            let partitions = wanted.entry(&topic.name).or_default();
            partitions.extend(topic.partitions.iter().map(|index| (*index, dir.path.as_str())));
        }
    }
    let ours = folder(&topology.image);
    let topic = |(name, partitions): (&TopicName, BTreeMap<i32, &str>)| {
        let entry = topology.by_name(name.as_str());
        let partitions = partitions.into_iter().map(|(index, path)| {
            let code = if path == ours { stays(entry, index) } else { ErrorCode::LogDirNotFound };
            AlterReplicaLogDirPartitionResult::default().with_partition_index(index).with_error_code(code.code())
        });
        AlterReplicaLogDirTopicResult::default().with_topic_name(name.clone()).with_partitions(partitions.collect())
    };
    AlterReplicaLogDirsResponse::default().with_results(wanted.into_iter().map(topic).collect())
}

fn stays<D: Disk>(entry: Option<&Arc<LogEntry<D>>>, index: i32) -> ErrorCode {
    match entry.and_then(|entry| entry.partition(index)).map(|partition| partition.bounds()) {
        Some(Ok(_)) => ErrorCode::None,
        Some(Err(refusal)) => refusal.code(),
        None => ErrorCode::UnknownTopicOrPartition,
    }
}

/// Why the producers of a partition are not told.
#[derive(Debug, thiserror::Error)]
enum ProducersError {
    #[error("not a legal name of a log")]
    Name,
    #[error("there is no such partition")]
    Unknown,
    #[error("the partition was asked for before in this request")]
    Twice,
    #[error("the partition does not serve")]
    Refused(Refusal),
}

fn producers_code(error: &ProducersError) -> ErrorCode {
    match error {
        ProducersError::Name => ErrorCode::InvalidTopicException,
        ProducersError::Unknown => ErrorCode::UnknownTopicOrPartition,
        ProducersError::Twice => ErrorCode::InvalidRequest,
        ProducersError::Refused(refusal) => refusal.code(),
    }
}

/// Serves DescribeProducers (I13). A partition that is named again is refused, unlike in Kafka: otherwise a small
/// request could ask for an answer of any size.
pub(crate) fn describe_producers<D: Disk>(
    topology: &Topology<D>,
    request: &DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut told = BTreeSet::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name = topic.name.as_str();
        let entry = topology.by_name(name);
        let legal = entry.is_some() || LogId::new(name).is_ok();
        let partitions = topic.partition_indexes.iter().map(|&index| {
            let producers = match entry.and_then(|entry| entry.partition(index)) {
                Some(_) if !told.insert((name, index)) => Err(ProducersError::Twice),
                Some(partition) => producers_of(partition),
                None if legal => Err(ProducersError::Unknown),
                None => Err(ProducersError::Name),
            };
            producers_answer(index, producers)
        });
        topics.push(TopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name.clone()));
    }
    DescribeProducersResponse::default().with_topics(topics)
}

fn producers_of<D: Disk>(partition: &Arc<Partition<D>>) -> Result<Vec<ProducerState>, ProducersError> {
    partition.with_log(|log, _| log.producers().map(state).collect()).map_err(ProducersError::Refused)
}

/// Transactions are not there yet: nobody has one open, and no coordinator has written a marker.
fn state(info: ProducerInfo) -> ProducerState {
    ProducerState::default()
        .with_producer_id(info.producer_id.into())
        .with_producer_epoch(i32::from(info.epoch))
        .with_last_sequence(info.last_sequence)
        .with_last_timestamp(info.last_timestamp)
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}

fn producers_answer(index: i32, producers: Result<Vec<ProducerState>, ProducersError>) -> PartitionResponse {
    let answer = PartitionResponse::default().with_partition_index(index).with_error_message(None);
    match producers {
        Ok(producers) => answer.with_active_producers(producers),
        Err(error) => answer
            .with_error_code(producers_code(&error).code())
            .with_error_message(Some(StrBytes::from(error.to_string()))),
    }
}

#[cfg(test)]
mod tests;
