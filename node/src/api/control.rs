//! Requests that the coordinator serves: which command each becomes, and which answer its reply.

use pyralog_coordinator::{Command, Reply};
use pyralog_protocol::{Request, Response};
use pyralog_storage::Disk;

use super::vlsn::with_lags;
use crate::topology::Topology;

/// The command of a request, or the request back when the coordinator does not serve it.
pub(crate) fn command_of(request: Request) -> Result<Command, Box<Request>> {
    Ok(match request {
        Request::CreateTopics(r) => Command::CreateTopics(r),
        Request::DeleteTopics(r) => Command::DeleteTopics(r),
        Request::CreatePartitions(r) => Command::CreatePartitions(r.into()),
        Request::AlterConfigs(r) => Command::AlterConfigs(r),
        Request::IncrementalAlterConfigs(r) => Command::IncrementalAlterConfigs(r),
        Request::InitProducerId(r) => Command::InitProducerId(r),
        Request::JoinGroup(r) => Command::JoinGroup(r),
        Request::SyncGroup(r) => Command::SyncGroup(r),
        Request::Heartbeat(r) => Command::Heartbeat(r),
        Request::LeaveGroup(r) => Command::LeaveGroup(r),
        Request::OffsetCommit(r) => Command::OffsetCommit(r),
        Request::OffsetFetch(r) => Command::OffsetFetch(r),
        Request::OffsetDelete(r) => Command::OffsetDelete(r),
        Request::ConsumerGroupHeartbeat(r) => Command::ConsumerGroupHeartbeat(r),
        Request::ConsumerGroupDescribe(r) => Command::ConsumerGroupDescribe(r),
        Request::DescribeGroups(r) => Command::DescribeGroups(r),
        Request::ListGroups(r) => Command::ListGroups(r),
        Request::DeleteGroups(r) => Command::DeleteGroups(r),
        Request::VlsnCommit(r) => Command::VlsnCommit(r),
        Request::VlsnCommitted(r) => Command::VlsnCommitted(r),
        Request::VlsnDeleteCommit(r) => Command::VlsnDeleteCommit(r),
        Request::SequencerReserve(r) => Command::SequencerReserve(r),
        Request::SequencerDescribe(r) => Command::SequencerDescribe(r),
        Request::WriterEpoch(r) => Command::WriterEpoch(r),
        other @ (Request::Produce(_)
        | Request::VlsnDescribe(_)
        | Request::VlsnRead(_)
        | Request::VlsnReadRange(_)
        | Request::VlsnAppend(_)
        | Request::Fetch(_)
        | Request::ListOffsets(_)
        | Request::Metadata(_)
        | Request::FindCoordinator(_)
        | Request::ApiVersions(_)
        | Request::OffsetForLeaderEpoch(_)
        | Request::DescribeConfigs(_)
        | Request::DescribeCluster(_)
        | Request::DescribeTopicPartitions(_)
        | Request::DescribeLogDirs(_)
        | Request::AlterReplicaLogDirs(_)
        | Request::DescribeProducers(_)
        | Request::ElectLeaders(_)
        | Request::AlterPartitionReassignments(_)
        | Request::ListPartitionReassignments(_)
        | Request::DescribeQuorum(_)
        | Request::UpdateFeatures(_)
        | Request::ListConfigResources(_)
        | Request::DeleteRecords(_)) => return Err(Box::new(other)),
    })
}

/// The answer of a reply; `None` for replies to commands that no client sends.
pub(crate) fn response_of<D: Disk>(reply: Reply, topology: &Topology<D>) -> Option<Response> {
    Some(match reply {
        Reply::CreateTopics(r) => Response::CreateTopics(r),
        Reply::DeleteTopics(r) => Response::DeleteTopics(r),
        Reply::CreatePartitions(r) => Response::CreatePartitions(r),
        Reply::AlterConfigs(r) => Response::AlterConfigs(r),
        Reply::IncrementalAlterConfigs(r) => Response::IncrementalAlterConfigs(r),
        Reply::InitProducerId(r) => Response::InitProducerId(r),
        Reply::JoinGroup(r) => Response::JoinGroup(r),
        Reply::SyncGroup(r) => Response::SyncGroup(r),
        Reply::Heartbeat(r) => Response::Heartbeat(r),
        Reply::LeaveGroup(r) => Response::LeaveGroup(r),
        Reply::OffsetCommit(r) => Response::OffsetCommit(r),
        Reply::OffsetFetch(r) => Response::OffsetFetch(r),
        Reply::OffsetDelete(r) => Response::OffsetDelete(r),
        Reply::ConsumerGroupHeartbeat(r) => Response::ConsumerGroupHeartbeat(r),
        Reply::ConsumerGroupDescribe(r) => Response::ConsumerGroupDescribe(r),
        Reply::DescribeGroups(r) => Response::DescribeGroups(r),
        Reply::ListGroups(r) => Response::ListGroups(r),
        Reply::DeleteGroups(r) => Response::DeleteGroups(r),
        Reply::VlsnCommit(r) => Response::VlsnCommit(r),
        Reply::VlsnCommitted(r) => Response::VlsnCommitted(with_lags(topology, r)),
        Reply::VlsnDeleteCommit(r) => Response::VlsnDeleteCommit(r),
        Reply::SequencerReserve(r) => Response::SequencerReserve(r),
        Reply::SequencerDescribe(r) => Response::SequencerDescribe(r),
        Reply::WriterEpoch(r) => Response::WriterEpoch(r),
        Reply::AutoCreate(()) | Reply::DeclareLogs(_) | Reply::RaiseEpochs(()) => return None,
    })
}
