//! Answers that need nothing but an image: Metadata, DescribeCluster, DescribeTopicPartitions. Pure functions. Every
//! leader that they name is in the list of brokers of the same answer, as far as it is registered (RL-21).

use super::image::{Endpoint, Image, LogState};
use super::record::PartitionMetadata;
use super::wire::{broker, brokers, text, topic_id, topic_name, wire_id};
use kafka_protocol::messages as m;
use kafka_protocol::messages::describe_topic_partitions_response as dtp;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use pyralog_protocol::created::{is_created_asked, tell_created};
use pyralog_protocol::{ErrorCode, LogId, TopicId, kafka_protocol};
use std::collections::BTreeSet;

/// What everybody may do with a log while there is no authorizer, as Kafka's bits (behaviours M13): read, write, create,
/// delete, alter, describe, describe configs, alter configs.
pub const TOPIC_OPERATIONS: i32 = 3576;
/// The same for the cluster.
pub const CLUSTER_OPERATIONS: i32 = 8096;
/// What stands where no operations are told.
const OPERATIONS_NOT_SAID: i32 = i32::MIN;

/// An answer to Metadata, and what has to happen besides.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataAnswer {
    /// The answer.
    pub response: m::MetadataResponse,
    /// Logs that were asked for, do not exist, and are to be created now ([`crate::Command::AutoCreate`]).
    pub create: Vec<LogId>,
}

/// Answers Metadata (behaviours M1-M14, M19). `endpoint` is where the asking client reaches this node.
pub fn metadata(image: &Image, endpoint: &Endpoint, request: &m::MetadataRequest, version: i16) -> MetadataAnswer {
    let asked = request.topics.as_deref().filter(|topics| !(version == 0 && topics.is_empty()));
    let (mut topics, mut create) = (Vec::new(), Vec::new());
    match asked {
        None => topics.extend(image.sorted_logs().into_values().map(found)),
        Some(asked) => {
            // Ids came with v10 and were answered from v12 on (M11).
            let too_early = |t: &MetadataRequestTopic| t.name.is_none() || !topic_id(&t.topic_id).is_zero();
            let refused = version < 12 && asked.iter().any(too_early);
            let mut seen = BTreeSet::new();
            // The name beside an id does not count (M9), so neither does it tell two entries apart (M8).
            let named = |t: &MetadataRequestTopic| {
                if refused || topic_id(&t.topic_id).is_zero() { t.name.clone() } else { None }
            };
            for topic in asked.iter().filter(|t| seen.insert((named(t), topic_id(&t.topic_id)))) {
                let answer = if refused { invalid(topic, version) } else { one(image, topic, version) };
                let missing = answer.error_code == ErrorCode::UnknownTopicOrPartition.code();
                if missing && (version < 4 || request.allow_auto_topic_creation) {
                    create.extend(creatable(image, topic));
                }
                topics.push(answer);
            }
        }
    }
    if version >= 8 && request.include_topic_authorized_operations {
        // Of a name that no log has, too, as in Kafka: it is about what one may do with a log of that name.
        let nameless = [ErrorCode::UnknownTopicId.code(), ErrorCode::InvalidRequest.code()];
        for topic in topics.iter_mut().filter(|t| !nameless.contains(&t.error_code)) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    if is_created_asked(request) {
        for topic in topics.iter_mut().filter(|t| t.error_code == ErrorCode::None.code()) {
            if let Some(log) = image.log_by_id(topic_id(&topic.topic_id)) {
                tell_created(topic, log.metadata.created_at);
            }
        }
    }
    let this = MetadataResponseBroker::default()
        .with_node_id(broker(endpoint.node))
        .with_host(text(&endpoint.host))
        .with_port(i32::from(endpoint.port))
        .with_rack(image.broker().logs.rack.as_deref().map(text));
    let mut response = m::MetadataResponse::default()
        .with_brokers(vec![this])
        .with_cluster_id(Some(text(image.cluster_id())))
        .with_controller_id(broker(image.node()))
        .with_topics(topics);
    if (8..=10).contains(&version) && request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    MetadataAnswer { response, create }
}

fn one(image: &Image, topic: &MetadataRequestTopic, version: i16) -> MetadataResponseTopic {
    let id = topic_id(&topic.topic_id);
    match (&topic.name, id.is_zero()) {
        // The id wins, whatever the name says (M9).
        (_, false) => match image.log_by_id(id) {
            Some(log) => found(log),
            None => refused(ErrorCode::UnknownTopicId).with_name(None).with_topic_id(wire_id(id)),
        },
        (Some(name), true) => match (image.log(name.as_str()), LogId::new(name.as_str())) {
            (Some(log), _) => found(log),
            (None, Ok(log)) => {
                let missing = refused(ErrorCode::UnknownTopicOrPartition).with_is_internal(log.is_internal());
                missing.with_name(Some(name.clone()))
            }
            (None, Err(_)) => refused(ErrorCode::InvalidTopicException).with_name(Some(name.clone())),
        },
        (None, true) => invalid(topic, version),
    }
}

/// Neither name nor id, or an id too early (M11, M12). Names may be null from v12 on.
fn invalid(topic: &MetadataRequestTopic, version: i16) -> MetadataResponseTopic {
    let name = topic.name.clone().or_else(|| (version < 12).then(m::TopicName::default));
    refused(ErrorCode::InvalidRequest).with_name(name).with_topic_id(topic.topic_id)
}

fn refused(code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(code.code())
}

/// A log that Metadata creates (M3-M6): a legal name that collides with no other, where the broker wants it.
fn creatable(image: &Image, topic: &MetadataRequestTopic) -> Option<LogId> {
    let log = LogId::new(topic.name.as_ref()?.as_str()).ok()?;
    (image.broker().logs.auto_create && image.collision(&log).is_none()).then_some(log)
}

fn found(log: &std::sync::Arc<LogState>) -> MetadataResponseTopic {
    let of = &log.metadata;
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(&of.log_id)))
        .with_topic_id(wire_id(of.topic_id))
        .with_is_internal(of.log_id.is_internal())
        .with_partitions((0..).zip(of.partitions.iter()).map(|(index, p)| partition(index, p)).collect())
}

fn partition(index: i32, p: &PartitionMetadata) -> MetadataResponsePartition {
    MetadataResponsePartition::default()
        .with_error_code(partition_code(p))
        .with_partition_index(index)
        .with_leader_id(p.leader.map_or(m::BrokerId(-1), broker))
        .with_leader_epoch(p.leader_epoch.0)
        .with_replica_nodes(brokers(&p.replicas))
        .with_isr_nodes(brokers(&p.isr))
}

/// A partition without leader says so; the log itself is in order (M19).
fn partition_code(p: &PartitionMetadata) -> i16 {
    if p.leader.is_some() { ErrorCode::None.code() } else { ErrorCode::LeaderNotAvailable.code() }
}

/// Answers DescribeCluster (behaviours M13, M17).
pub fn describe_cluster(
    image: &Image,
    endpoint: &Endpoint,
    request: &m::DescribeClusterRequest,
    version: i16,
) -> m::DescribeClusterResponse {
    let refused = |code: ErrorCode, message: &str| {
        let response = m::DescribeClusterResponse::default().with_error_code(code.code());
        response.with_error_message(Some(text(message)))
    };
    match request.endpoint_type {
        1 => {}
        _ if version < 1 => {}
        2 => {
            let message = "this listener is for clients: ask for endpoint type 1 (brokers)";
            return refused(ErrorCode::MismatchedEndpointType, message);
        }
        _ => return refused(ErrorCode::UnsupportedEndpointType, "endpoint type 1 (brokers) or 2 (controllers)"),
    }
    let this = m::describe_cluster_response::DescribeClusterBroker::default()
        .with_broker_id(broker(endpoint.node))
        .with_host(text(&endpoint.host))
        .with_port(i32::from(endpoint.port))
        .with_rack(image.broker().logs.rack.as_deref().map(text));
    let mut response = m::DescribeClusterResponse::default()
        .with_error_message(None)
        .with_cluster_id(text(image.cluster_id()))
        .with_controller_id(broker(image.node()))
        .with_brokers(vec![this]);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

/// Answers DescribeTopicPartitions (behaviours M18). At the limit the cursor names the first partition that is left.
pub fn describe_topic_partitions(
    image: &Image,
    request: &m::DescribeTopicPartitionsRequest,
) -> m::DescribeTopicPartitionsResponse {
    let cursor = request.cursor.as_ref().map(|c| (c.topic_name.as_str(), c.partition_index));
    let asked: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
    // Who names topics goes on at one of them.
    let strays = |(topic, partition)| partition < 0 || !(asked.is_empty() || asked.contains(topic));
    if cursor.is_some_and(strays) {
        let refused = request.topics.iter().map(|topic| {
            unknown(topic.name.as_str(), ErrorCode::InvalidRequest)
                .with_topic_authorized_operations(OPERATIONS_NOT_SAID)
        });
        return m::DescribeTopicPartitionsResponse::default().with_topics(refused.collect());
    }
    let names = if asked.is_empty() { image.sorted_logs().into_keys().collect() } else { asked };
    let limit = request.response_partition_limit.clamp(1, image.broker().logs.describe_partitions_max.max(1));
    let mut room = usize::try_from(limit).unwrap_or(1);
    let (mut topics, mut next_cursor) = (Vec::new(), None);
    for name in names.into_iter().filter(|name| cursor.is_none_or(|(first, _)| *name >= first)) {
        let first = cursor.filter(|(topic, _)| *topic == name).map_or(0, |(_, partition)| partition);
        if room == 0 {
            next_cursor = Some((name, first));
            break;
        }
        let Some(log) = image.log(name) else {
            let legal = LogId::new(name).is_ok();
            let code = if legal { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
            topics.push(unknown(name, code));
            continue;
        };
        let rest = (0..).zip(log.metadata.partitions.iter()).skip(usize::try_from(first).unwrap_or(0));
        let partitions: Vec<_> = rest.take(room).map(|(index, p)| described(index, p)).collect();
        room -= partitions.len();
        let end = partitions.last().map_or(first, |p| p.partition_index + 1);
        topics.push(topic(log).with_partitions(partitions));
        if end < log.metadata.partition_count {
            next_cursor = Some((name, end));
            break;
        }
    }
    let cursor = |(name, partition): (&str, i32)| {
        let cursor = dtp::Cursor::default().with_topic_name(m::TopicName(text(name)));
        cursor.with_partition_index(partition)
    };
    m::DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next_cursor.map(cursor))
}

fn unknown(name: &str, code: ErrorCode) -> dtp::DescribeTopicPartitionsResponseTopic {
    dtp::DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(m::TopicName(text(name))))
        .with_topic_id(wire_id(TopicId::ZERO))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn topic(log: &LogState) -> dtp::DescribeTopicPartitionsResponseTopic {
    dtp::DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic_name(&log.metadata.log_id)))
        .with_topic_id(wire_id(log.metadata.topic_id))
        .with_is_internal(log.metadata.log_id.is_internal())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn described(index: i32, p: &PartitionMetadata) -> dtp::DescribeTopicPartitionsResponsePartition {
    dtp::DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(partition_code(p))
        .with_partition_index(index)
        .with_leader_id(p.leader.map_or(m::BrokerId(-1), broker))
        .with_leader_epoch(p.leader_epoch.0)
        .with_replica_nodes(brokers(&p.replicas))
        .with_isr_nodes(brokers(&p.isr))
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}
