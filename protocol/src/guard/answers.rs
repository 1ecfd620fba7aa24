//! What answers look like on the wire, one line per field, in the order of the wire, as `schema.rs` says it of requests.
//! Only those are here that a client of ours reads.

use kafka_protocol::messages::{
    api_versions_response, consumer_group_describe_response, create_partitions_response, create_topics_response,
    delete_groups_response, delete_records_response, delete_topics_response, describe_cluster_response,
    describe_configs_response, describe_groups_response, describe_log_dirs_response, describe_quorum_response,
    fetch_response, find_coordinator_response, incremental_alter_configs_response, init_producer_id_response,
    list_groups_response, list_offsets_response, metadata_response, offset_commit_response, offset_delete_response,
    offset_fetch_response, produce_response,
};

use super::walk::Kind::{Bool, Bytes, I8, I16, I32, I64, Many, One, Str, Uuid};
use super::walk::{Shape, field, shape};
use crate::api::ApiKey;
use crate::vlsn::messages as vlsn;

/// The shape of an API's answer; `None` where no client of ours asks.
pub(super) fn of(api: ApiKey) -> Option<&'static Shape> {
    Some(match api {
        ApiKey::Produce => &PRODUCE,
        ApiKey::Fetch => &FETCH,
        ApiKey::ListOffsets => &LIST_OFFSETS,
        ApiKey::Metadata => &METADATA,
        ApiKey::OffsetCommit => &OFFSET_COMMIT,
        ApiKey::OffsetFetch => &OFFSET_FETCH,
        ApiKey::FindCoordinator => &FIND_COORDINATOR,
        ApiKey::DescribeGroups => &DESCRIBE_GROUPS,
        ApiKey::ListGroups => &LIST_GROUPS,
        ApiKey::ApiVersions => &API_VERSIONS,
        ApiKey::CreateTopics => &CREATE_TOPICS,
        ApiKey::DeleteTopics => &DELETE_TOPICS,
        ApiKey::DeleteRecords => &DELETE_RECORDS,
        ApiKey::InitProducerId => &INIT_PRODUCER_ID,
        ApiKey::DescribeConfigs => &DESCRIBE_CONFIGS,
        ApiKey::DescribeLogDirs => &DESCRIBE_LOG_DIRS,
        ApiKey::CreatePartitions => &CREATE_PARTITIONS,
        ApiKey::DeleteGroups => &DELETE_GROUPS,
        ApiKey::IncrementalAlterConfigs => &INCREMENTAL_ALTER_CONFIGS,
        ApiKey::OffsetDelete => &OFFSET_DELETE,
        ApiKey::DescribeQuorum => &DESCRIBE_QUORUM,
        ApiKey::DescribeCluster => &DESCRIBE_CLUSTER,
        ApiKey::VlsnDescribe => vlsn::VlsnDescribeResponse::SHAPE,
        ApiKey::VlsnRead => vlsn::VlsnReadResponse::SHAPE,
        ApiKey::VlsnReadRange => vlsn::VlsnReadRangeResponse::SHAPE,
        ApiKey::VlsnAppend => vlsn::VlsnAppendResponse::SHAPE,
        ApiKey::VlsnCommit => vlsn::VlsnCommitResponse::SHAPE,
        ApiKey::VlsnCommitted => vlsn::VlsnCommittedResponse::SHAPE,
        ApiKey::VlsnDeleteCommit => vlsn::VlsnDeleteCommitResponse::SHAPE,
        ApiKey::SequencerReserve => vlsn::SequencerReserveResponse::SHAPE,
        ApiKey::SequencerDescribe => vlsn::SequencerDescribeResponse::SHAPE,
        ApiKey::WriterEpoch => vlsn::WriterEpochResponse::SHAPE,
        ApiKey::ConsumerGroupDescribe => &CONSUMER_GROUP_DESCRIBE,
        ApiKey::JoinGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::SyncGroup
        | ApiKey::OffsetForLeaderEpoch
        | ApiKey::AlterConfigs
        | ApiKey::AlterReplicaLogDirs
        | ApiKey::ElectLeaders
        | ApiKey::AlterPartitionReassignments
        | ApiKey::ListPartitionReassignments
        | ApiKey::UpdateFeatures
        | ApiKey::DescribeProducers
        | ApiKey::ConsumerGroupHeartbeat
        | ApiKey::ListConfigResources
        | ApiKey::DescribeTopicPartitions => return None,
    })
}

/// What stands in front of every answer.
pub(super) static HEAD: Shape = shape::<kafka_protocol::messages::ResponseHeader>(&[field("correlation_id", I32)]);

// Produce (0)

static BATCH_INDEX_AND_ERROR_MESSAGE: Shape = shape::<produce_response::BatchIndexAndErrorMessage>(&[
    field("batch_index", I32).since(8),
    field("batch_index_error_message", Str).since(8).nullable(0),
]);

static LEADER_ID_AND_EPOCH: Shape = shape::<produce_response::LeaderIdAndEpoch>(&[
    field("leader_id", I32).since(10),
    field("leader_epoch", I32).since(10),
]);

static PARTITION_PRODUCE_RESPONSE: Shape = shape::<produce_response::PartitionProduceResponse>(&[
    field("index", I32),
    field("error_code", I16),
    field("base_offset", I64),
    field("log_append_time_ms", I64),
    field("log_start_offset", I64).since(5),
    field("record_errors", Many(&One(&BATCH_INDEX_AND_ERROR_MESSAGE))).since(8),
    field("error_message", Str).since(8).nullable(0),
    field("current_leader", One(&LEADER_ID_AND_EPOCH)).since(10).tagged(0),
]);

static TOPIC_PRODUCE_RESPONSE: Shape = shape::<produce_response::TopicProduceResponse>(&[
    field("name", Str).between(3, 12),
    field("topic_id", Uuid).since(13),
    field("partition_responses", Many(&One(&PARTITION_PRODUCE_RESPONSE))),
]);

static NODE_ENDPOINT: Shape = shape::<produce_response::NodeEndpoint>(&[
    field("node_id", I32).since(10),
    field("host", Str).since(10),
    field("port", I32).since(10),
    field("rack", Str).since(10).nullable(0),
]);

static PRODUCE: Shape = shape::<produce_response::ProduceResponse>(&[
    field("responses", Many(&One(&TOPIC_PRODUCE_RESPONSE))),
    field("throttle_time_ms", I32),
    field("node_endpoints", Many(&One(&NODE_ENDPOINT))).since(10).tagged(0),
]);

// Fetch (1)

static EPOCH_END_OFFSET: Shape =
    shape::<fetch_response::EpochEndOffset>(&[field("epoch", I32).since(12), field("end_offset", I64).since(12)]);

static FETCH_LEADER_ID_AND_EPOCH: Shape = shape::<fetch_response::LeaderIdAndEpoch>(&[
    field("leader_id", I32).since(12),
    field("leader_epoch", I32).since(12),
]);

static SNAPSHOT_ID: Shape = shape::<fetch_response::SnapshotId>(&[field("end_offset", I64), field("epoch", I32)]);

static ABORTED_TRANSACTION: Shape =
    shape::<fetch_response::AbortedTransaction>(&[field("producer_id", I64), field("first_offset", I64)]);

static PARTITION_DATA: Shape = shape::<fetch_response::PartitionData>(&[
    field("partition_index", I32),
    field("error_code", I16),
    field("high_watermark", I64),
    field("last_stable_offset", I64),
    field("log_start_offset", I64).since(5),
    field("diverging_epoch", One(&EPOCH_END_OFFSET)).since(12).tagged(0),
    field("current_leader", One(&FETCH_LEADER_ID_AND_EPOCH)).since(12).tagged(1),
    field("snapshot_id", One(&SNAPSHOT_ID)).since(12).tagged(2),
    field("aborted_transactions", Many(&One(&ABORTED_TRANSACTION))).nullable(0),
    field("preferred_read_replica", I32).since(11),
    field("records", Bytes).nullable(0),
]);

static FETCHABLE_TOPIC_RESPONSE: Shape = shape::<fetch_response::FetchableTopicResponse>(&[
    field("topic", Str).between(4, 12),
    field("topic_id", Uuid).since(13),
    field("partitions", Many(&One(&PARTITION_DATA))),
]);

static FETCH_NODE_ENDPOINT: Shape = shape::<fetch_response::NodeEndpoint>(&[
    field("node_id", I32).since(16),
    field("host", Str).since(16),
    field("port", I32).since(16),
    field("rack", Str).since(16).nullable(0),
]);

static FETCH: Shape = shape::<fetch_response::FetchResponse>(&[
    field("throttle_time_ms", I32),
    field("error_code", I16).since(7),
    field("session_id", I32).since(7),
    field("responses", Many(&One(&FETCHABLE_TOPIC_RESPONSE))),
    field("node_endpoints", Many(&One(&FETCH_NODE_ENDPOINT))).since(16).tagged(0),
]);

// ListOffsets (2)

static LIST_OFFSETS_PARTITION_RESPONSE: Shape = shape::<list_offsets_response::ListOffsetsPartitionResponse>(&[
    field("partition_index", I32),
    field("error_code", I16),
    field("timestamp", I64),
    field("offset", I64),
    field("leader_epoch", I32).since(4),
]);

static LIST_OFFSETS_TOPIC_RESPONSE: Shape = shape::<list_offsets_response::ListOffsetsTopicResponse>(&[
    field("name", Str),
    field("partitions", Many(&One(&LIST_OFFSETS_PARTITION_RESPONSE))),
]);

static LIST_OFFSETS: Shape = shape::<list_offsets_response::ListOffsetsResponse>(&[
    field("throttle_time_ms", I32).since(2),
    field("topics", Many(&One(&LIST_OFFSETS_TOPIC_RESPONSE))),
]);

// Metadata (3)

static METADATA_RESPONSE_BROKER: Shape = shape::<metadata_response::MetadataResponseBroker>(&[
    field("node_id", I32),
    field("host", Str),
    field("port", I32),
    field("rack", Str).since(1).nullable(0),
]);

static METADATA_RESPONSE_PARTITION: Shape = shape::<metadata_response::MetadataResponsePartition>(&[
    field("error_code", I16),
    field("partition_index", I32),
    field("leader_id", I32),
    field("leader_epoch", I32).since(7),
    field("replica_nodes", Many(&I32)),
    field("isr_nodes", Many(&I32)),
    field("offline_replicas", Many(&I32)).since(5),
]);

static METADATA_RESPONSE_TOPIC: Shape = shape::<metadata_response::MetadataResponseTopic>(&[
    field("error_code", I16),
    field("name", Str).nullable(0),
    field("topic_id", Uuid).since(10),
    field("is_internal", Bool).since(1),
    field("partitions", Many(&One(&METADATA_RESPONSE_PARTITION))),
    field("topic_authorized_operations", I32).since(8),
]);

static METADATA: Shape = shape::<metadata_response::MetadataResponse>(&[
    field("throttle_time_ms", I32).since(3),
    field("brokers", Many(&One(&METADATA_RESPONSE_BROKER))),
    field("cluster_id", Str).since(2).nullable(0),
    field("controller_id", I32).since(1),
    field("topics", Many(&One(&METADATA_RESPONSE_TOPIC))),
    field("cluster_authorized_operations", I32).between(8, 10),
    field("error_code", I16).since(13),
]);

// OffsetCommit (8)

static OFFSET_COMMIT_RESPONSE_PARTITION: Shape = shape::<offset_commit_response::OffsetCommitResponsePartition>(&[
    field("partition_index", I32),
    field("error_code", I16),
]);

static OFFSET_COMMIT_RESPONSE_TOPIC: Shape = shape::<offset_commit_response::OffsetCommitResponseTopic>(&[
    field("name", Str),
    field("topic_id", Uuid).since(10),
    field("partitions", Many(&One(&OFFSET_COMMIT_RESPONSE_PARTITION))),
]);

static OFFSET_COMMIT: Shape = shape::<offset_commit_response::OffsetCommitResponse>(&[
    field("throttle_time_ms", I32).since(3),
    field("topics", Many(&One(&OFFSET_COMMIT_RESPONSE_TOPIC))),
]);

// OffsetFetch (9)

static OFFSET_FETCH_RESPONSE_PARTITION: Shape = shape::<offset_fetch_response::OffsetFetchResponsePartition>(&[
    field("partition_index", I32).between(1, 7),
    field("committed_offset", I64).between(1, 7),
    field("committed_leader_epoch", I32).between(5, 7),
    field("metadata", Str).between(1, 7).nullable(0),
    field("error_code", I16).between(1, 7),
]);

static OFFSET_FETCH_RESPONSE_TOPIC: Shape = shape::<offset_fetch_response::OffsetFetchResponseTopic>(&[
    field("name", Str).between(1, 7),
    field("partitions", Many(&One(&OFFSET_FETCH_RESPONSE_PARTITION))).between(1, 7),
]);

static OFFSET_FETCH_RESPONSE_PARTITIONS: Shape = shape::<offset_fetch_response::OffsetFetchResponsePartitions>(&[
    field("partition_index", I32).since(8),
    field("committed_offset", I64).since(8),
    field("committed_leader_epoch", I32).since(8),
    field("metadata", Str).since(8).nullable(0),
    field("error_code", I16).since(8),
]);

static OFFSET_FETCH_RESPONSE_TOPICS: Shape = shape::<offset_fetch_response::OffsetFetchResponseTopics>(&[
    field("name", Str).since(8),
    field("topic_id", Uuid).since(10),
    field("partitions", Many(&One(&OFFSET_FETCH_RESPONSE_PARTITIONS))).since(8),
]);

static OFFSET_FETCH_RESPONSE_GROUP: Shape = shape::<offset_fetch_response::OffsetFetchResponseGroup>(&[
    field("group_id", Str).since(8),
    field("topics", Many(&One(&OFFSET_FETCH_RESPONSE_TOPICS))).since(8),
    field("error_code", I16).since(8),
]);

static OFFSET_FETCH: Shape = shape::<offset_fetch_response::OffsetFetchResponse>(&[
    field("throttle_time_ms", I32).since(3),
    field("topics", Many(&One(&OFFSET_FETCH_RESPONSE_TOPIC))).between(1, 7),
    field("error_code", I16).between(2, 7),
    field("groups", Many(&One(&OFFSET_FETCH_RESPONSE_GROUP))).since(8),
]);

// FindCoordinator (10)

static COORDINATOR: Shape = shape::<find_coordinator_response::Coordinator>(&[
    field("key", Str).since(4),
    field("node_id", I32).since(4),
    field("host", Str).since(4),
    field("port", I32).since(4),
    field("error_code", I16).since(4),
    field("error_message", Str).since(4).nullable(0),
]);

static FIND_COORDINATOR: Shape = shape::<find_coordinator_response::FindCoordinatorResponse>(&[
    field("throttle_time_ms", I32).since(1),
    field("error_code", I16).between(0, 3),
    field("error_message", Str).between(1, 3).nullable(0),
    field("node_id", I32).between(0, 3),
    field("host", Str).between(0, 3),
    field("port", I32).between(0, 3),
    field("coordinators", Many(&One(&COORDINATOR))).since(4),
]);

// DescribeGroups (15)

static DESCRIBED_GROUP_MEMBER: Shape = shape::<describe_groups_response::DescribedGroupMember>(&[
    field("member_id", Str),
    field("group_instance_id", Str).since(4).nullable(0),
    field("client_id", Str),
    field("client_host", Str),
    field("member_metadata", Bytes),
    field("member_assignment", Bytes),
]);

static DESCRIBED_GROUP: Shape = shape::<describe_groups_response::DescribedGroup>(&[
    field("error_code", I16),
    field("error_message", Str).since(6).nullable(0),
    field("group_id", Str),
    field("group_state", Str),
    field("protocol_type", Str),
    field("protocol_data", Str),
    field("members", Many(&One(&DESCRIBED_GROUP_MEMBER))),
    field("authorized_operations", I32).since(3),
]);

static DESCRIBE_GROUPS: Shape = shape::<describe_groups_response::DescribeGroupsResponse>(&[
    field("throttle_time_ms", I32).since(1),
    field("groups", Many(&One(&DESCRIBED_GROUP))),
]);

// ListGroups (16)

static LISTED_GROUP: Shape = shape::<list_groups_response::ListedGroup>(&[
    field("group_id", Str),
    field("protocol_type", Str),
    field("group_state", Str).since(4),
    field("group_type", Str).since(5),
]);

static LIST_GROUPS: Shape = shape::<list_groups_response::ListGroupsResponse>(&[
    field("throttle_time_ms", I32).since(1),
    field("error_code", I16),
    field("groups", Many(&One(&LISTED_GROUP))),
]);

// ApiVersions (18)

static API_VERSION: Shape = shape::<api_versions_response::ApiVersion>(&[
    field("api_key", I16),
    field("min_version", I16),
    field("max_version", I16),
]);

static SUPPORTED_FEATURE_KEY: Shape = shape::<api_versions_response::SupportedFeatureKey>(&[
    field("name", Str).since(3),
    field("min_version", I16).since(3),
    field("max_version", I16).since(3),
]);

static FINALIZED_FEATURE_KEY: Shape = shape::<api_versions_response::FinalizedFeatureKey>(&[
    field("name", Str).since(3),
    field("max_version_level", I16).since(3),
    field("min_version_level", I16).since(3),
]);

static API_VERSIONS: Shape = shape::<api_versions_response::ApiVersionsResponse>(&[
    field("error_code", I16),
    field("api_keys", Many(&One(&API_VERSION))),
    field("throttle_time_ms", I32).since(1),
    field("supported_features", Many(&One(&SUPPORTED_FEATURE_KEY))).since(3).tagged(0),
    field("finalized_features_epoch", I64).since(3).tagged(1),
    field("finalized_features", Many(&One(&FINALIZED_FEATURE_KEY))).since(3).tagged(2),
    field("zk_migration_ready", Bool).since(3).tagged(3),
]);

// CreateTopics (19)

static CREATABLE_TOPIC_CONFIGS: Shape = shape::<create_topics_response::CreatableTopicConfigs>(&[
    field("name", Str).since(5),
    field("value", Str).since(5).nullable(0),
    field("read_only", Bool).since(5),
    field("config_source", I8).since(5),
    field("is_sensitive", Bool).since(5),
]);

static CREATABLE_TOPIC_RESULT: Shape = shape::<create_topics_response::CreatableTopicResult>(&[
    field("name", Str),
    field("topic_id", Uuid).since(7),
    field("error_code", I16),
    field("error_message", Str).nullable(0),
    field("topic_config_error_code", I16).since(5).tagged(0),
    field("num_partitions", I32).since(5),
    field("replication_factor", I16).since(5),
    field("configs", Many(&One(&CREATABLE_TOPIC_CONFIGS))).since(5).nullable(0),
]);

static CREATE_TOPICS: Shape = shape::<create_topics_response::CreateTopicsResponse>(&[
    field("throttle_time_ms", I32),
    field("topics", Many(&One(&CREATABLE_TOPIC_RESULT))),
]);

// DeleteTopics (20)

static DELETABLE_TOPIC_RESULT: Shape = shape::<delete_topics_response::DeletableTopicResult>(&[
    field("name", Str).nullable(0),
    field("topic_id", Uuid).since(6),
    field("error_code", I16),
    field("error_message", Str).since(5).nullable(0),
]);

static DELETE_TOPICS: Shape = shape::<delete_topics_response::DeleteTopicsResponse>(&[
    field("throttle_time_ms", I32),
    field("responses", Many(&One(&DELETABLE_TOPIC_RESULT))),
]);

// DeleteRecords (21)

static DELETE_RECORDS_PARTITION_RESULT: Shape = shape::<delete_records_response::DeleteRecordsPartitionResult>(&[
    field("partition_index", I32),
    field("low_watermark", I64),
    field("error_code", I16),
]);

static DELETE_RECORDS_TOPIC_RESULT: Shape = shape::<delete_records_response::DeleteRecordsTopicResult>(&[
    field("name", Str),
    field("partitions", Many(&One(&DELETE_RECORDS_PARTITION_RESULT))),
]);

static DELETE_RECORDS: Shape = shape::<delete_records_response::DeleteRecordsResponse>(&[
    field("throttle_time_ms", I32),
    field("topics", Many(&One(&DELETE_RECORDS_TOPIC_RESULT))),
]);

// InitProducerId (22)

static INIT_PRODUCER_ID: Shape = shape::<init_producer_id_response::InitProducerIdResponse>(&[
    field("throttle_time_ms", I32),
    field("error_code", I16),
    field("producer_id", I64),
    field("producer_epoch", I16),
    field("ongoing_txn_producer_id", I64).since(6),
    field("ongoing_txn_producer_epoch", I16).since(6),
]);

// DescribeConfigs (32)

static DESCRIBE_CONFIGS_SYNONYM: Shape = shape::<describe_configs_response::DescribeConfigsSynonym>(&[
    field("name", Str),
    field("value", Str).nullable(0),
    field("source", I8),
]);

static DESCRIBE_CONFIGS_RESOURCE_RESULT: Shape = shape::<describe_configs_response::DescribeConfigsResourceResult>(&[
    field("name", Str),
    field("value", Str).nullable(0),
    field("read_only", Bool),
    field("config_source", I8),
    field("is_sensitive", Bool),
    field("synonyms", Many(&One(&DESCRIBE_CONFIGS_SYNONYM))),
    field("config_type", I8).since(3),
    field("documentation", Str).since(3).nullable(0),
]);

static DESCRIBE_CONFIGS_RESULT: Shape = shape::<describe_configs_response::DescribeConfigsResult>(&[
    field("error_code", I16),
    field("error_message", Str).nullable(0),
    field("resource_type", I8),
    field("resource_name", Str),
    field("configs", Many(&One(&DESCRIBE_CONFIGS_RESOURCE_RESULT))),
]);

static DESCRIBE_CONFIGS: Shape = shape::<describe_configs_response::DescribeConfigsResponse>(&[
    field("throttle_time_ms", I32),
    field("results", Many(&One(&DESCRIBE_CONFIGS_RESULT))),
]);

// DescribeLogDirs (35)

static DESCRIBE_LOG_DIRS_PARTITION: Shape = shape::<describe_log_dirs_response::DescribeLogDirsPartition>(&[
    field("partition_index", I32),
    field("partition_size", I64),
    field("offset_lag", I64),
    field("is_future_key", Bool),
]);

static DESCRIBE_LOG_DIRS_TOPIC: Shape = shape::<describe_log_dirs_response::DescribeLogDirsTopic>(&[
    field("name", Str),
    field("partitions", Many(&One(&DESCRIBE_LOG_DIRS_PARTITION))),
]);

static DESCRIBE_LOG_DIRS_RESULT: Shape = shape::<describe_log_dirs_response::DescribeLogDirsResult>(&[
    field("error_code", I16),
    field("log_dir", Str),
    field("topics", Many(&One(&DESCRIBE_LOG_DIRS_TOPIC))),
    field("total_bytes", I64).since(4),
    field("usable_bytes", I64).since(4),
]);

static DESCRIBE_LOG_DIRS: Shape = shape::<describe_log_dirs_response::DescribeLogDirsResponse>(&[
    field("throttle_time_ms", I32),
    field("error_code", I16).since(3),
    field("results", Many(&One(&DESCRIBE_LOG_DIRS_RESULT))),
]);

// CreatePartitions (37)

static CREATE_PARTITIONS_TOPIC_RESULT: Shape = shape::<create_partitions_response::CreatePartitionsTopicResult>(&[
    field("name", Str),
    field("error_code", I16),
    field("error_message", Str).nullable(0),
]);

static CREATE_PARTITIONS: Shape = shape::<create_partitions_response::CreatePartitionsResponse>(&[
    field("throttle_time_ms", I32),
    field("results", Many(&One(&CREATE_PARTITIONS_TOPIC_RESULT))),
]);

// DeleteGroups (42)

static DELETABLE_GROUP_RESULT: Shape =
    shape::<delete_groups_response::DeletableGroupResult>(&[field("group_id", Str), field("error_code", I16)]);

static DELETE_GROUPS: Shape = shape::<delete_groups_response::DeleteGroupsResponse>(&[
    field("throttle_time_ms", I32),
    field("results", Many(&One(&DELETABLE_GROUP_RESULT))),
]);

// IncrementalAlterConfigs (44)

static ALTER_CONFIGS_RESOURCE_RESPONSE: Shape =
    shape::<incremental_alter_configs_response::AlterConfigsResourceResponse>(&[
        field("error_code", I16),
        field("error_message", Str).nullable(0),
        field("resource_type", I8),
        field("resource_name", Str),
    ]);

static INCREMENTAL_ALTER_CONFIGS: Shape =
    shape::<incremental_alter_configs_response::IncrementalAlterConfigsResponse>(&[
        field("throttle_time_ms", I32),
        field("responses", Many(&One(&ALTER_CONFIGS_RESOURCE_RESPONSE))),
    ]);

// OffsetDelete (47)

static OFFSET_DELETE_RESPONSE_PARTITION: Shape = shape::<offset_delete_response::OffsetDeleteResponsePartition>(&[
    field("partition_index", I32),
    field("error_code", I16),
]);

static OFFSET_DELETE_RESPONSE_TOPIC: Shape = shape::<offset_delete_response::OffsetDeleteResponseTopic>(&[
    field("name", Str),
    field("partitions", Many(&One(&OFFSET_DELETE_RESPONSE_PARTITION))),
]);

static OFFSET_DELETE: Shape = shape::<offset_delete_response::OffsetDeleteResponse>(&[
    field("error_code", I16),
    field("throttle_time_ms", I32),
    field("topics", Many(&One(&OFFSET_DELETE_RESPONSE_TOPIC))),
]);

// DescribeQuorum (55)

static QUORUM_REPLICA_STATE: Shape = shape::<describe_quorum_response::ReplicaState>(&[
    field("replica_id", I32),
    field("replica_directory_id", Uuid).since(2),
    field("log_end_offset", I64),
    field("last_fetch_timestamp", I64).since(1),
    field("last_caught_up_timestamp", I64).since(1),
]);

static QUORUM_PARTITION_DATA: Shape = shape::<describe_quorum_response::PartitionData>(&[
    field("partition_index", I32),
    field("error_code", I16),
    field("error_message", Str).since(2).nullable(2),
    field("leader_id", I32),
    field("leader_epoch", I32),
    field("high_watermark", I64),
    field("current_voters", Many(&One(&QUORUM_REPLICA_STATE))),
    field("observers", Many(&One(&QUORUM_REPLICA_STATE))),
]);

static QUORUM_TOPIC_DATA: Shape = shape::<describe_quorum_response::TopicData>(&[
    field("topic_name", Str),
    field("partitions", Many(&One(&QUORUM_PARTITION_DATA))),
]);

static QUORUM_LISTENER: Shape = shape::<describe_quorum_response::Listener>(&[
    field("name", Str).since(2),
    field("host", Str).since(2),
    field("port", I16).since(2),
]);

static QUORUM_NODE: Shape = shape::<describe_quorum_response::Node>(&[
    field("node_id", I32).since(2),
    field("listeners", Many(&One(&QUORUM_LISTENER))).since(2),
]);

static DESCRIBE_QUORUM: Shape = shape::<describe_quorum_response::DescribeQuorumResponse>(&[
    field("error_code", I16),
    field("error_message", Str).since(2).nullable(2),
    field("topics", Many(&One(&QUORUM_TOPIC_DATA))),
    field("nodes", Many(&One(&QUORUM_NODE))).since(2),
]);

// DescribeCluster (60)

static DESCRIBE_CLUSTER_BROKER: Shape = shape::<describe_cluster_response::DescribeClusterBroker>(&[
    field("broker_id", I32),
    field("host", Str),
    field("port", I32),
    field("rack", Str).nullable(0),
    field("is_fenced", Bool).since(2),
]);

static DESCRIBE_CLUSTER: Shape = shape::<describe_cluster_response::DescribeClusterResponse>(&[
    field("throttle_time_ms", I32),
    field("error_code", I16),
    field("error_message", Str).nullable(0),
    field("endpoint_type", I8).since(1),
    field("cluster_id", Str),
    field("controller_id", I32),
    field("brokers", Many(&One(&DESCRIBE_CLUSTER_BROKER))),
    field("cluster_authorized_operations", I32),
]);

// ConsumerGroupDescribe (69)

static GROUP_TOPIC_PARTITIONS: Shape = shape::<consumer_group_describe_response::TopicPartitions>(&[
    field("topic_id", Uuid),
    field("topic_name", Str),
    field("partitions", Many(&I32)),
]);

static GROUP_ASSIGNMENT: Shape = shape::<consumer_group_describe_response::Assignment>(&[field(
    "topic_partitions",
    Many(&One(&GROUP_TOPIC_PARTITIONS)),
)]);

static GROUP_MEMBER: Shape = shape::<consumer_group_describe_response::Member>(&[
    field("member_id", Str),
    field("instance_id", Str).nullable(0),
    field("rack_id", Str).nullable(0),
    field("member_epoch", I32),
    field("client_id", Str),
    field("client_host", Str),
    field("subscribed_topic_names", Many(&Str)),
    field("subscribed_topic_regex", Str).nullable(0),
    field("assignment", One(&GROUP_ASSIGNMENT)),
    field("target_assignment", One(&GROUP_ASSIGNMENT)),
    field("member_type", I8).since(1),
]);

static CONSUMER_GROUP: Shape = shape::<consumer_group_describe_response::DescribedGroup>(&[
    field("error_code", I16),
    field("error_message", Str).nullable(0),
    field("group_id", Str),
    field("group_state", Str),
    field("group_epoch", I32),
    field("assignment_epoch", I32),
    field("assignor_name", Str),
    field("members", Many(&One(&GROUP_MEMBER))),
    field("authorized_operations", I32),
]);

static CONSUMER_GROUP_DESCRIBE: Shape = shape::<consumer_group_describe_response::ConsumerGroupDescribeResponse>(&[
    field("throttle_time_ms", I32),
    field("groups", Many(&One(&CONSUMER_GROUP))),
]);
