//! DescribeQuorum: the Raft group behind the metadata, as administration tools look at it (A13). On the wire it is
//! partition 0 of a log `__cluster_metadata`, which exists nowhere else. Raft counts entries from 1, Kafka offsets from
//! 0, so the index of the last applied entry is the high watermark.

use kafka_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use kafka_protocol::protocol::StrBytes;
use pyralog_coordinator::metadata::Endpoint;
use pyralog_protocol::{ErrorCode, WallMs, kafka_protocol};

use crate::control_loop::Quorum;

const METADATA_LOG: &str = "__cluster_metadata";
/// The listener where the quorum is reached. There is none of its own: one node talks to nobody.
const LISTENER: &str = "PLAINTEXT";
const OTHER_LOG: &str = "only partition 0 of __cluster_metadata has a quorum";

/// Serves DescribeQuorum. The only voter is the node that answers, at the endpoint where it was asked.
pub(crate) fn describe_quorum(
    request: &DescribeQuorumRequest,
    quorum: Quorum,
    endpoint: &Endpoint,
    now: WallMs,
) -> DescribeQuorumResponse {
    let answer = DescribeQuorumResponse::default().with_error_message(None);
    if !asks_for_the_quorum(request) {
        return answer.with_topics(refused(request));
    }
    if !quorum.leads {
        return answer.with_error_code(ErrorCode::NotLeaderOrFollower.code());
    }
    let node = endpoint.node.0.into();
    let log_end = i64::try_from(quorum.applied).unwrap_or(i64::MAX);
    let voter = ReplicaState::default()
        .with_replica_id(node)
        .with_log_end_offset(log_end)
        .with_last_fetch_timestamp(now.0)
        .with_last_caught_up_timestamp(now.0);
    let partition = PartitionData::default()
        .with_error_message(None)
        .with_leader_id(node)
        .with_leader_epoch(i32::try_from(quorum.term).unwrap_or(i32::MAX))
        .with_high_watermark(log_end)
        .with_current_voters(vec![voter]);
    let log = TopicData::default().with_topic_name(StrBytes::from_static_str(METADATA_LOG).into());
    let listener = Listener::default()
        .with_name(StrBytes::from_static_str(LISTENER))
        .with_host(StrBytes::from(endpoint.host.clone()))
        .with_port(endpoint.port);
    answer
        .with_topics(vec![log.with_partitions(vec![partition])])
        .with_nodes(vec![Node::default().with_node_id(node).with_listeners(vec![listener])])
}

/// Kafka answers when this partition is asked for and nothing else is.
fn asks_for_the_quorum(request: &DescribeQuorumRequest) -> bool {
    match &request.topics[..] {
        [topic] if topic.topic_name.as_str() == METADATA_LOG => {
            matches!(&topic.partitions[..], [only] if only.partition_index == 0)
        }
        _ => false,
    }
}

fn refused(request: &DescribeQuorumRequest) -> Vec<TopicData> {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            PartitionData::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
                .with_error_message(Some(StrBytes::from_static_str(OTHER_LOG)))
        });
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions.collect())
    });
    topics.collect()
}

#[cfg(test)]
mod tests;
