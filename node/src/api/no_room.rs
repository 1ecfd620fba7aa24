//! What the coordinator is not asked while the volume has no room left at all (OP-10): the metadata store must not meet a
//! full disk, because a store that cannot write ends the process. Whatever reads, or makes room, is served. So are signs of life and
//! changes of configs; which of them would write more than that, the coordinator knows, and refuses by itself. The same holds for a
//! command that would take what is left: see [`disk_bytes`].

use kafka_protocol::messages as m;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::protocol::StrBytes;
use pyralog_coordinator::Command;
use pyralog_coordinator::metadata::Image;
use pyralog_protocol::vlsn::messages as v;
use pyralog_protocol::{ErrorCode, Response, kafka_protocol};

/// For what belongs to groups: their clients retry it, whereas a storage error would end them.
const GROUPS: i16 = ErrorCode::CoordinatorNotAvailable.code();
const STORAGE: i16 = ErrorCode::KafkaStorageError.code();

/// Bytes of the disk that any command takes that writes, and how many for each byte of its request: what it says is written to the
/// log of changes and to the state, and once more when the store makes tables of these.
const COMMAND_BYTES: u64 = 1 << 10;
const WRITTEN_TIMES: u64 = 4;
/// Bytes that a new partition takes: its folder, and a file in it.
const PARTITION_BYTES: u64 = 12 << 10;
/// No request creates more.
const PARTITIONS_MAX: u64 = 10_000;

/// Bytes of the disk that a command may take whose request has so many; 0: it writes nothing to speak of, or makes room.
pub(crate) fn disk_bytes(command: &Command, request_bytes: usize, image: &Image) -> u64 {
    let defaults = image.broker().logs.num_partitions;
    let partitions = match command {
        Command::CreateTopics(r) => {
            let asked = |topic: &m::create_topics_request::CreatableTopic| match topic.num_partitions {
                -1 => partitions_of(defaults).max(topic.assignments.len() as u64),
                asked => partitions_of(asked),
            };
            r.topics.iter().map(asked).fold(0, u64::saturating_add)
        }
        Command::CreatePartitions(r) => {
            let there = |name: &m::TopicName| image.log(name).map_or(0, |log| log.metadata.partition_count);
            let more =
                r.request.topics.iter().map(|topic| partitions_of(topic.count.saturating_sub(there(&topic.name))));
            more.fold(0, u64::saturating_add)
        }
        Command::AutoCreate(logs) => partitions_of(defaults).saturating_mul(logs.len() as u64),
        Command::AlterConfigs(_)
        | Command::IncrementalAlterConfigs(_)
        | Command::InitProducerId(_)
        | Command::WriterEpoch(_)
        | Command::JoinGroup(_)
        | Command::SyncGroup(_)
        | Command::ConsumerGroupHeartbeat(_)
        | Command::OffsetCommit(_)
        | Command::VlsnCommit(_)
        | Command::SequencerReserve(_) => 0,
        Command::DeclareLogs(_)
        | Command::RaiseEpochs(())
        | Command::DeleteTopics(_)
        | Command::Heartbeat(_)
        | Command::LeaveGroup(_)
        | Command::OffsetFetch(_)
        | Command::OffsetDelete(_)
        | Command::DescribeGroups(_)
        | Command::ListGroups(_)
        | Command::DeleteGroups(_)
        | Command::ConsumerGroupDescribe(_)
        | Command::VlsnCommitted(_)
        | Command::VlsnDeleteCommit(_)
        | Command::SequencerDescribe(_) => return 0,
    };
    let said = WRITTEN_TIMES.saturating_mul(request_bytes as u64);
    COMMAND_BYTES.saturating_add(said).saturating_add(PARTITION_BYTES * partitions.min(PARTITIONS_MAX))
}

fn partitions_of(count: i32) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// What becomes of a command.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is served.
    Serve,
    /// It is answered with this.
    Refuse(Box<Response>),
    /// It is left out: whoever sent it is answered something else anyway.
    LeaveOut,
}

/// Whether a command makes files as it is done: not enough inodes is less than it needs, however small it is.
pub(crate) fn makes_files(command: &Command) -> bool {
    matches!(
        command,
        Command::CreateTopics(_) | Command::CreatePartitions(_) | Command::AutoCreate(_) | Command::DeclareLogs(_)
    )
}

/// What becomes of a command while there is no room. `why` is for people.
pub(crate) fn verdict(command: &Command, version: i16, why: impl FnOnce() -> String) -> Verdict {
    let response = match command {
        Command::DeleteTopics(_)
        | Command::AlterConfigs(_)
        | Command::IncrementalAlterConfigs(_)
        | Command::RaiseEpochs(())
        | Command::Heartbeat(_)
        | Command::LeaveGroup(_)
        | Command::OffsetFetch(_)
        | Command::OffsetDelete(_)
        | Command::DescribeGroups(_)
        | Command::ListGroups(_)
        | Command::DeleteGroups(_)
        | Command::ConsumerGroupHeartbeat(_)
        | Command::ConsumerGroupDescribe(_)
        | Command::VlsnCommitted(_)
        | Command::VlsnDeleteCommit(_)
        | Command::SequencerDescribe(_) => return Verdict::Serve,
        Command::AutoCreate(_) | Command::DeclareLogs(_) => return Verdict::LeaveOut,
        Command::CreateTopics(r) => {
            let why = StrBytes::from_string(why());
            let refused = |name: &m::TopicName| {
                let result = CreatableTopicResult::default().with_name(name.clone());
                result.with_error_code(STORAGE).with_error_message(Some(why.clone()))
            };
            let topics = r.topics.iter().map(|topic| refused(&topic.name)).collect();
            Response::CreateTopics(m::CreateTopicsResponse::default().with_topics(topics))
        }
        Command::CreatePartitions(r) => {
            let why = StrBytes::from_string(why());
            let refused = |name: &m::TopicName| {
                let result = CreatePartitionsTopicResult::default().with_name(name.clone());
                result.with_error_code(STORAGE).with_error_message(Some(why.clone()))
            };
            let results = r.request.topics.iter().map(|topic| refused(&topic.name)).collect();
            Response::CreatePartitions(m::CreatePartitionsResponse::default().with_results(results))
        }
        Command::InitProducerId(_) => {
            let none = m::InitProducerIdResponse::default().with_producer_id(m::ProducerId(-1)).with_producer_epoch(-1);
            Response::InitProducerId(none.with_error_code(STORAGE))
        }
        Command::VlsnCommit(r) => commits_refused(r, &why()),
        Command::SequencerReserve(_) => Response::SequencerReserve(v::SequencerReserveResponse {
            error_code: STORAGE,
            error_message: Some(StrBytes::from_string(why())),
            ..v::SequencerReserveResponse::default()
        }),
        Command::WriterEpoch(_) => writer_refused(why()),
        Command::JoinGroup(r) => {
            let refused = m::JoinGroupResponse::default().with_error_code(GROUPS).with_generation_id(-1);
            let protocol = (version < 7).then(StrBytes::default);
            Response::JoinGroup(refused.with_protocol_name(protocol).with_member_id(r.member_id.clone()))
        }
        Command::SyncGroup(_) => Response::SyncGroup(m::SyncGroupResponse::default().with_error_code(GROUPS)),
        Command::OffsetCommit(r) => {
            let topics = r.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|p| {
                    let refused = OffsetCommitResponsePartition::default().with_partition_index(p.partition_index);
                    refused.with_error_code(GROUPS)
                });
                let answer = OffsetCommitResponseTopic::default().with_name(topic.name.clone());
                answer.with_partitions(partitions.collect())
            });
            Response::OffsetCommit(m::OffsetCommitResponse::default().with_topics(topics.collect()))
        }
    };
    Verdict::Refuse(Box::new(response))
}

fn commits_refused(request: &v::VlsnCommitRequest, why: &str) -> Response {
    let why = StrBytes::from_string(why.to_owned());
    let refused = |entry: &v::VlsnCommitEntry| {
        let (log, error_message) = (entry.log.clone(), Some(why.clone()));
        v::VlsnCommitResult { log, error_code: GROUPS, error_message, vlsn: -1 }
    };
    let results = request.commits.iter().map(refused).collect();
    Response::VlsnCommit(v::VlsnCommitResponse { throttle_time_ms: 0, results })
}

fn writer_refused(why: String) -> Response {
    Response::WriterEpoch(v::WriterEpochResponse {
        throttle_time_ms: 0,
        error_code: STORAGE,
        error_message: Some(StrBytes::from_string(why)),
        epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
    })
}
