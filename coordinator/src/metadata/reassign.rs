//! Answers about who leads and who holds partitions: ElectLeaders, AlterPartitionReassignments and
//! ListPartitionReassignments (behaviours A10, A11). Pure functions of an image: with one registered broker every
//! partition is where it can only be and is led by its preferred replica, so each request is either a mistake, which is
//! named, or asks for what is already so. Nothing here changes anything, and no reassignment is ever under way.

use super::image::{Image, LogState};
use super::record::PartitionMetadata;
use super::wire::{refusal, topic_name};
use kafka_protocol::messages as m;
use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use pyralog_protocol::{ErrorCode, NodeId, kafka_protocol};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What an election is to bring about (KIP-460).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Election {
    /// The first replica leads, where it is in sync.
    Preferred,
    /// Anybody leads, where nobody does.
    Unclean,
}

/// Why no leader was elected. The item of the answer names log and partition; the messages stay short, because a request
/// may ask for a million of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ElectError {
    #[error("there is no such log")]
    NoLog,
    #[error("the log has no such partition")]
    NoPartition,
    #[error("the partition is led as asked already")]
    NotNeeded,
    #[error("the preferred replica is not in sync")]
    PreferredAway,
    #[error("no replica of the partition is alive")]
    NobodyEligible,
    #[error("unknown election type {0}: 0 (preferred) or 1 (unclean)")]
    Type(i8),
}

fn elect_code(error: &ElectError) -> ErrorCode {
    match error {
        ElectError::NoLog | ElectError::NoPartition => ErrorCode::UnknownTopicOrPartition,
        ElectError::NotNeeded => ErrorCode::ElectionNotNeeded,
        ElectError::PreferredAway => ErrorCode::PreferredLeaderNotAvailable,
        ElectError::NobodyEligible => ErrorCode::EligibleLeadersNotAvailable,
        ElectError::Type(_) => ErrorCode::InvalidRequest,
    }
}

/// Answers ElectLeaders. Asked for all logs, it names each, without the partitions that are led as asked.
pub fn elect_leaders(image: &Image, request: &m::ElectLeadersRequest) -> m::ElectLeadersResponse {
    let answer = m::ElectLeadersResponse::default();
    let election = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        other => {
            let error = ElectError::Type(other);
            let asked = request.topic_partitions.iter().flatten();
            let results = asked.map(|topic| elected(topic, |_| Err(error.clone()))).collect();
            return answer.with_error_code(elect_code(&error).code()).with_replica_election_results(results);
        }
    };
    let results = match &request.topic_partitions {
        Some(topics) => topics.iter().map(|t| elected(t, |index| elect(image, t.topic.as_str(), index, election))),
        None => return answer.with_replica_election_results(elect_all(image, election)),
    };
    answer.with_replica_election_results(results.collect())
}

fn elect_all(image: &Image, election: Election) -> Vec<ReplicaElectionResult> {
    let log = |log: &Arc<LogState>| {
        let name = &log.metadata.log_id;
        let tried = (0..log.metadata.partition_count).map(|i| (i, elect(image, name.as_str(), i, election)));
        let told = tried.filter(|(_, result)| *result != Err(ElectError::NotNeeded));
        let told = told.map(|(index, result)| partition_result(index, result)).collect();
        ReplicaElectionResult::default().with_topic(topic_name(name)).with_partition_result(told)
    };
    image.sorted_logs().into_values().filter(|log| !log.is_view()).map(log).collect()
}

fn elected(topic: &TopicPartitions, elect: impl Fn(i32) -> Result<(), ElectError>) -> ReplicaElectionResult {
    let results = topic.partitions.iter().map(|&index| partition_result(index, elect(index)));
    ReplicaElectionResult::default().with_topic(topic.topic.clone()).with_partition_result(results.collect())
}

fn partition_result(index: i32, result: Result<(), ElectError>) -> PartitionResult {
    let (code, message) = match result {
        Ok(()) => (0, None),
        Err(error) => refusal(elect_code(&error), &error),
    };
    PartitionResult::default().with_partition_id(index).with_error_code(code).with_error_message(message)
}

/// Why there is nothing to elect. A partition has one replica, on this live node: an election finds its work done.
fn elect(image: &Image, name: &str, index: i32, election: Election) -> Result<(), ElectError> {
    let log = image.log(name).ok_or(ElectError::NoLog)?;
    let partition = partition_of(&log.metadata.partitions, index).ok_or(ElectError::NoPartition)?;
    Err(match (election, partition.leader) {
        (Election::Preferred, leader) if leader.is_some() && leader == partition.replicas.first().copied() => {
            ElectError::NotNeeded
        }
        (Election::Unclean, Some(_)) => ElectError::NotNeeded,
        (Election::Preferred, _) => ElectError::PreferredAway,
        (Election::Unclean, None) => ElectError::NobodyEligible,
    })
}

/// Why replicas were not moved.
#[derive(Debug, thiserror::Error)]
enum ReassignError {
    #[error("there is no such log")]
    NoLog,
    #[error("the log has no such partition")]
    NoPartition,
    #[error("a partition needs at least one replica")]
    NoReplicas,
    #[error("there is no broker {0}")]
    NoBroker(NodeId),
    #[error("broker {0} is there twice")]
    Twice(NodeId),
    #[error("no reassignment of this partition is under way")]
    NothingToCancel,
}

fn reassign_code(error: &ReassignError) -> ErrorCode {
    match error {
        ReassignError::NoLog | ReassignError::NoPartition => ErrorCode::UnknownTopicOrPartition,
        ReassignError::NoReplicas | ReassignError::NoBroker(_) | ReassignError::Twice(_) => {
            ErrorCode::InvalidReplicaAssignment
        }
        ReassignError::NothingToCancel => ErrorCode::NoReassignmentInProgress,
    }
}

/// Answers AlterPartitionReassignments. What is said of the replication factor comes back, except that a request for
/// nothing gets the default, as in Kafka.
pub fn alter_partition_reassignments(
    image: &Image,
    request: &m::AlterPartitionReassignmentsRequest,
) -> m::AlterPartitionReassignmentsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let (code, message) = match reassign(image, topic.name.as_str(), asked) {
                Ok(()) => (0, None),
                Err(error) => refusal(reassign_code(&error), &error),
            };
            let answer = ReassignablePartitionResponse::default().with_partition_index(asked.partition_index);
            answer.with_error_code(code).with_error_message(message)
        });
        ReassignableTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    m::AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.topics.is_empty() || request.allow_replication_factor_change)
        .with_error_message(None)
        .with_responses(topics.collect())
}

/// Whether the partition is where it is asked to be: with one broker, every legal place is that one.
fn reassign(image: &Image, name: &str, asked: &ReassignablePartition) -> Result<(), ReassignError> {
    let log = image.log(name).ok_or(ReassignError::NoLog)?;
    partition_of(&log.metadata.partitions, asked.partition_index).ok_or(ReassignError::NoPartition)?;
    let replicas = asked.replicas.as_ref().ok_or(ReassignError::NothingToCancel)?;
    let mut seen = BTreeSet::new();
    for node in replicas.iter().map(|id| NodeId(id.0)) {
        if node != image.node() {
            return Err(ReassignError::NoBroker(node));
        }
        if !seen.insert(node) {
            return Err(ReassignError::Twice(node));
        }
    }
    if seen.is_empty() { Err(ReassignError::NoReplicas) } else { Ok(()) }
}

/// Answers ListPartitionReassignments: none is ever under way.
pub fn list_partition_reassignments() -> m::ListPartitionReassignmentsResponse {
    m::ListPartitionReassignmentsResponse::default().with_error_message(None)
}

fn partition_of(partitions: &[PartitionMetadata], index: i32) -> Option<&PartitionMetadata> {
    partitions.get(usize::try_from(index).ok()?)
}
