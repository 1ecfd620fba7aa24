//! What each request looks like on the wire, one line per field, in the order of the wire. Facts of the protocol, as
//! far as the guard needs them: type, versions, nullability, tag. Whether they agree with the decoder is tested on
//! captured and on mutated frames of every version.

use kafka_protocol::messages::{
    alter_configs_request, alter_partition_reassignments_request, alter_replica_log_dirs_request, api_versions_request,
    consumer_group_describe_request, consumer_group_heartbeat_request, create_partitions_request,
    create_topics_request, delete_groups_request, delete_records_request, delete_topics_request,
    describe_cluster_request, describe_configs_request, describe_groups_request, describe_log_dirs_request,
    describe_producers_request, describe_quorum_request, describe_topic_partitions_request, elect_leaders_request,
    fetch_request, find_coordinator_request, heartbeat_request, incremental_alter_configs_request,
    init_producer_id_request, join_group_request, leave_group_request, list_config_resources_request,
    list_groups_request, list_offsets_request, list_partition_reassignments_request, metadata_request,
    offset_commit_request, offset_delete_request, offset_fetch_request, offset_for_leader_epoch_request,
    produce_request, sync_group_request, update_features_request,
};

use super::walk::Kind::{Bool, Bytes, I8, I16, I32, I64, Many, One, Str, Uuid};
use super::walk::{Shape, field, shape};
use crate::api::ApiKey;
use crate::vlsn::messages as vlsn;

/// The shape of an API's request.
pub(super) fn of(api: ApiKey) -> &'static Shape {
    match api {
        ApiKey::Produce => &PRODUCE,
        ApiKey::Fetch => &FETCH,
        ApiKey::ListOffsets => &LIST_OFFSETS,
        ApiKey::Metadata => &METADATA,
        ApiKey::OffsetCommit => &OFFSET_COMMIT,
        ApiKey::OffsetFetch => &OFFSET_FETCH,
        ApiKey::FindCoordinator => &FIND_COORDINATOR,
        ApiKey::JoinGroup => &JOIN_GROUP,
        ApiKey::Heartbeat => &HEARTBEAT,
        ApiKey::LeaveGroup => &LEAVE_GROUP,
        ApiKey::SyncGroup => &SYNC_GROUP,
        ApiKey::DescribeGroups => &DESCRIBE_GROUPS,
        ApiKey::ListGroups => &LIST_GROUPS,
        ApiKey::ApiVersions => &API_VERSIONS,
        ApiKey::CreateTopics => &CREATE_TOPICS,
        ApiKey::DeleteTopics => &DELETE_TOPICS,
        ApiKey::DeleteRecords => &DELETE_RECORDS,
        ApiKey::InitProducerId => &INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => &OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => &DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => &ALTER_CONFIGS,
        ApiKey::AlterReplicaLogDirs => &ALTER_REPLICA_LOG_DIRS,
        ApiKey::DescribeLogDirs => &DESCRIBE_LOG_DIRS,
        ApiKey::CreatePartitions => &CREATE_PARTITIONS,
        ApiKey::DeleteGroups => &DELETE_GROUPS,
        ApiKey::ElectLeaders => &ELECT_LEADERS,
        ApiKey::IncrementalAlterConfigs => &INCREMENTAL_ALTER_CONFIGS,
        ApiKey::AlterPartitionReassignments => &ALTER_PARTITION_REASSIGNMENTS,
        ApiKey::ListPartitionReassignments => &LIST_PARTITION_REASSIGNMENTS,
        ApiKey::OffsetDelete => &OFFSET_DELETE,
        ApiKey::DescribeQuorum => &DESCRIBE_QUORUM,
        ApiKey::UpdateFeatures => &UPDATE_FEATURES,
        ApiKey::DescribeCluster => &DESCRIBE_CLUSTER,
        ApiKey::DescribeProducers => &DESCRIBE_PRODUCERS,
        ApiKey::ConsumerGroupHeartbeat => &CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => &CONSUMER_GROUP_DESCRIBE,
        ApiKey::ListConfigResources => &LIST_CONFIG_RESOURCES,
        ApiKey::DescribeTopicPartitions => &DESCRIBE_TOPIC_PARTITIONS,
        ApiKey::VlsnDescribe => vlsn::VlsnDescribeRequest::SHAPE,
        ApiKey::VlsnRead => vlsn::VlsnReadRequest::SHAPE,
        ApiKey::VlsnReadRange => vlsn::VlsnReadRangeRequest::SHAPE,
        ApiKey::VlsnAppend => vlsn::VlsnAppendRequest::SHAPE,
        ApiKey::VlsnCommit => vlsn::VlsnCommitRequest::SHAPE,
        ApiKey::VlsnCommitted => vlsn::VlsnCommittedRequest::SHAPE,
        ApiKey::VlsnDeleteCommit => vlsn::VlsnDeleteCommitRequest::SHAPE,
        ApiKey::SequencerReserve => vlsn::SequencerReserveRequest::SHAPE,
        ApiKey::SequencerDescribe => vlsn::SequencerDescribeRequest::SHAPE,
        ApiKey::WriterEpoch => vlsn::WriterEpochRequest::SHAPE,
    }
}

// Produce (0)

static PARTITION_PRODUCE_DATA: Shape =
    shape::<produce_request::PartitionProduceData>(&[field("index", I32), field("records", Bytes).nullable(0)]);

static TOPIC_PRODUCE_DATA: Shape = shape::<produce_request::TopicProduceData>(&[
    field("name", Str).between(0, 12),
    field("topic_id", Uuid).since(13),
    field("partition_data", Many(&One(&PARTITION_PRODUCE_DATA))),
]);

static PRODUCE: Shape = shape::<produce_request::ProduceRequest>(&[
    field("transactional_id", Str).since(3).nullable(3),
    field("acks", I16),
    field("timeout_ms", I32),
    field("topic_data", Many(&One(&TOPIC_PRODUCE_DATA))),
]);

// Fetch (1)

static REPLICA_STATE: Shape =
    shape::<fetch_request::ReplicaState>(&[field("replica_id", I32).since(15), field("replica_epoch", I64).since(15)]);

static FETCH_PARTITION: Shape = shape::<fetch_request::FetchPartition>(&[
    field("partition", I32),
    field("current_leader_epoch", I32).since(9),
    field("fetch_offset", I64),
    field("last_fetched_epoch", I32).since(12),
    field("log_start_offset", I64).since(5),
    field("partition_max_bytes", I32),
    field("replica_directory_id", Uuid).since(17).tagged(0),
    field("high_watermark", I64).since(18).tagged(1),
]);

static FETCH_TOPIC: Shape = shape::<fetch_request::FetchTopic>(&[
    field("topic", Str).between(0, 12),
    field("topic_id", Uuid).since(13),
    field("partitions", Many(&One(&FETCH_PARTITION))),
]);

static FORGOTTEN_TOPIC: Shape = shape::<fetch_request::ForgottenTopic>(&[
    field("topic", Str).between(7, 12),
    field("topic_id", Uuid).since(13),
    field("partitions", Many(&I32)).since(7),
]);

static FETCH: Shape = shape::<fetch_request::FetchRequest>(&[
    field("cluster_id", Str).since(12).nullable(12).tagged(0),
    field("replica_id", I32).between(0, 14),
    field("replica_state", One(&REPLICA_STATE)).since(15).tagged(1),
    field("max_wait_ms", I32),
    field("min_bytes", I32),
    field("max_bytes", I32).since(3),
    field("isolation_level", I8).since(4),
    field("session_id", I32).since(7),
    field("session_epoch", I32).since(7),
    field("topics", Many(&One(&FETCH_TOPIC))),
    field("forgotten_topics_data", Many(&One(&FORGOTTEN_TOPIC))).since(7),
    field("rack_id", Str).since(11),
]);

// ListOffsets (2)

static LIST_OFFSETS_PARTITION: Shape = shape::<list_offsets_request::ListOffsetsPartition>(&[
    field("partition_index", I32),
    field("current_leader_epoch", I32).since(4),
    field("timestamp", I64),
]);

static LIST_OFFSETS_TOPIC: Shape = shape::<list_offsets_request::ListOffsetsTopic>(&[
    field("name", Str),
    field("partitions", Many(&One(&LIST_OFFSETS_PARTITION))),
]);

static LIST_OFFSETS: Shape = shape::<list_offsets_request::ListOffsetsRequest>(&[
    field("replica_id", I32),
    field("isolation_level", I8).since(2),
    field("topics", Many(&One(&LIST_OFFSETS_TOPIC))),
    field("timeout_ms", I32).since(10),
]);

// Metadata (3)

static METADATA_REQUEST_TOPIC: Shape = shape::<metadata_request::MetadataRequestTopic>(&[
    field("topic_id", Uuid).since(10),
    field("name", Str).nullable(10),
]);

static METADATA: Shape = shape::<metadata_request::MetadataRequest>(&[
    field("topics", Many(&One(&METADATA_REQUEST_TOPIC))).nullable(1),
    field("allow_auto_topic_creation", Bool).since(4),
    field("include_cluster_authorized_operations", Bool).between(8, 10),
    field("include_topic_authorized_operations", Bool).since(8),
]);

// OffsetCommit (8)

static OFFSET_COMMIT_REQUEST_PARTITION: Shape = shape::<offset_commit_request::OffsetCommitRequestPartition>(&[
    field("partition_index", I32),
    field("committed_offset", I64),
    field("committed_leader_epoch", I32).since(6),
    field("committed_metadata", Str).nullable(0),
]);

static OFFSET_COMMIT_REQUEST_TOPIC: Shape = shape::<offset_commit_request::OffsetCommitRequestTopic>(&[
    field("name", Str).between(0, 9),
    field("topic_id", Uuid).since(10),
    field("partitions", Many(&One(&OFFSET_COMMIT_REQUEST_PARTITION))),
]);

static OFFSET_COMMIT: Shape = shape::<offset_commit_request::OffsetCommitRequest>(&[
    field("group_id", Str),
    field("generation_id_or_member_epoch", I32).since(1),
    field("member_id", Str).since(1),
    field("group_instance_id", Str).since(7).nullable(7),
    field("retention_time_ms", I64).between(2, 4),
    field("topics", Many(&One(&OFFSET_COMMIT_REQUEST_TOPIC))),
]);

// OffsetFetch (9)

static OFFSET_FETCH_REQUEST_TOPIC: Shape = shape::<offset_fetch_request::OffsetFetchRequestTopic>(&[
    field("name", Str).between(0, 7),
    field("partition_indexes", Many(&I32)).between(0, 7),
]);

static OFFSET_FETCH_REQUEST_TOPICS: Shape = shape::<offset_fetch_request::OffsetFetchRequestTopics>(&[
    field("name", Str).between(8, 9),
    field("topic_id", Uuid).since(10),
    field("partition_indexes", Many(&I32)).since(8),
]);

static OFFSET_FETCH_REQUEST_GROUP: Shape = shape::<offset_fetch_request::OffsetFetchRequestGroup>(&[
    field("group_id", Str).since(8),
    field("member_id", Str).since(9).nullable(9),
    field("member_epoch", I32).since(9),
    field("topics", Many(&One(&OFFSET_FETCH_REQUEST_TOPICS))).since(8).nullable(8),
]);

static OFFSET_FETCH: Shape = shape::<offset_fetch_request::OffsetFetchRequest>(&[
    field("group_id", Str).between(0, 7),
    field("topics", Many(&One(&OFFSET_FETCH_REQUEST_TOPIC))).between(0, 7).nullable(2),
    field("groups", Many(&One(&OFFSET_FETCH_REQUEST_GROUP))).since(8),
    field("require_stable", Bool).since(7),
]);

// FindCoordinator (10)

static FIND_COORDINATOR: Shape = shape::<find_coordinator_request::FindCoordinatorRequest>(&[
    field("key", Str).between(0, 3),
    field("key_type", I8).since(1),
    field("coordinator_keys", Many(&Str)).since(4),
]);

// JoinGroup (11)

static JOIN_GROUP_REQUEST_PROTOCOL: Shape =
    shape::<join_group_request::JoinGroupRequestProtocol>(&[field("name", Str), field("metadata", Bytes)]);

static JOIN_GROUP: Shape = shape::<join_group_request::JoinGroupRequest>(&[
    field("group_id", Str),
    field("session_timeout_ms", I32),
    field("rebalance_timeout_ms", I32).since(1),
    field("member_id", Str),
    field("group_instance_id", Str).since(5).nullable(5),
    field("protocol_type", Str),
    field("protocols", Many(&One(&JOIN_GROUP_REQUEST_PROTOCOL))),
    field("reason", Str).since(8).nullable(8),
]);

// Heartbeat (12)

static HEARTBEAT: Shape = shape::<heartbeat_request::HeartbeatRequest>(&[
    field("group_id", Str),
    field("generation_id", I32),
    field("member_id", Str),
    field("group_instance_id", Str).since(3).nullable(3),
]);

// LeaveGroup (13)

static MEMBER_IDENTITY: Shape = shape::<leave_group_request::MemberIdentity>(&[
    field("member_id", Str).since(3),
    field("group_instance_id", Str).since(3).nullable(3),
    field("reason", Str).since(5).nullable(5),
]);

static LEAVE_GROUP: Shape = shape::<leave_group_request::LeaveGroupRequest>(&[
    field("group_id", Str),
    field("member_id", Str).between(0, 2),
    field("members", Many(&One(&MEMBER_IDENTITY))).since(3),
]);

// SyncGroup (14)

static SYNC_GROUP_REQUEST_ASSIGNMENT: Shape =
    shape::<sync_group_request::SyncGroupRequestAssignment>(&[field("member_id", Str), field("assignment", Bytes)]);

static SYNC_GROUP: Shape = shape::<sync_group_request::SyncGroupRequest>(&[
    field("group_id", Str),
    field("generation_id", I32),
    field("member_id", Str),
    field("group_instance_id", Str).since(3).nullable(3),
    field("protocol_type", Str).since(5).nullable(5),
    field("protocol_name", Str).since(5).nullable(5),
    field("assignments", Many(&One(&SYNC_GROUP_REQUEST_ASSIGNMENT))),
]);

// DescribeGroups (15)

static DESCRIBE_GROUPS: Shape = shape::<describe_groups_request::DescribeGroupsRequest>(&[
    field("groups", Many(&Str)),
    field("include_authorized_operations", Bool).since(3),
]);

// ListGroups (16)

static LIST_GROUPS: Shape = shape::<list_groups_request::ListGroupsRequest>(&[
    field("states_filter", Many(&Str)).since(4),
    field("types_filter", Many(&Str)).since(5),
]);

// ApiVersions (18)

static API_VERSIONS: Shape = shape::<api_versions_request::ApiVersionsRequest>(&[
    field("client_software_name", Str).since(3),
    field("client_software_version", Str).since(3),
]);

// CreateTopics (19)

static CREATABLE_REPLICA_ASSIGNMENT: Shape = shape::<create_topics_request::CreatableReplicaAssignment>(&[
    field("partition_index", I32),
    field("broker_ids", Many(&I32)),
]);

static CREATABLE_TOPIC_CONFIG: Shape =
    shape::<create_topics_request::CreatableTopicConfig>(&[field("name", Str), field("value", Str).nullable(0)]);

static CREATABLE_TOPIC: Shape = shape::<create_topics_request::CreatableTopic>(&[
    field("name", Str),
    field("num_partitions", I32),
    field("replication_factor", I16),
    field("assignments", Many(&One(&CREATABLE_REPLICA_ASSIGNMENT))),
    field("configs", Many(&One(&CREATABLE_TOPIC_CONFIG))),
]);

static CREATE_TOPICS: Shape = shape::<create_topics_request::CreateTopicsRequest>(&[
    field("topics", Many(&One(&CREATABLE_TOPIC))),
    field("timeout_ms", I32),
    field("validate_only", Bool).since(1),
]);

// DeleteTopics (20)

static DELETE_TOPIC_STATE: Shape = shape::<delete_topics_request::DeleteTopicState>(&[
    field("name", Str).since(6).nullable(6),
    field("topic_id", Uuid).since(6),
]);

static DELETE_TOPICS: Shape = shape::<delete_topics_request::DeleteTopicsRequest>(&[
    field("topics", Many(&One(&DELETE_TOPIC_STATE))).since(6),
    field("topic_names", Many(&Str)).between(0, 5),
    field("timeout_ms", I32),
]);

// DeleteRecords (21)

static DELETE_RECORDS_PARTITION: Shape =
    shape::<delete_records_request::DeleteRecordsPartition>(&[field("partition_index", I32), field("offset", I64)]);

static DELETE_RECORDS_TOPIC: Shape = shape::<delete_records_request::DeleteRecordsTopic>(&[
    field("name", Str),
    field("partitions", Many(&One(&DELETE_RECORDS_PARTITION))),
]);

static DELETE_RECORDS: Shape = shape::<delete_records_request::DeleteRecordsRequest>(&[
    field("topics", Many(&One(&DELETE_RECORDS_TOPIC))),
    field("timeout_ms", I32),
]);

// InitProducerId (22)

static INIT_PRODUCER_ID: Shape = shape::<init_producer_id_request::InitProducerIdRequest>(&[
    field("transactional_id", Str).nullable(0),
    field("transaction_timeout_ms", I32),
    field("producer_id", I64).since(3),
    field("producer_epoch", I16).since(3),
    field("enable2_pc", Bool).since(6),
    field("keep_prepared_txn", Bool).since(6),
]);

// OffsetForLeaderEpoch (23)

static OFFSET_FOR_LEADER_PARTITION: Shape = shape::<offset_for_leader_epoch_request::OffsetForLeaderPartition>(&[
    field("partition", I32),
    field("current_leader_epoch", I32).since(2),
    field("leader_epoch", I32),
]);

static OFFSET_FOR_LEADER_TOPIC: Shape = shape::<offset_for_leader_epoch_request::OffsetForLeaderTopic>(&[
    field("topic", Str),
    field("partitions", Many(&One(&OFFSET_FOR_LEADER_PARTITION))),
]);

static OFFSET_FOR_LEADER_EPOCH: Shape = shape::<offset_for_leader_epoch_request::OffsetForLeaderEpochRequest>(&[
    field("replica_id", I32).since(3),
    field("topics", Many(&One(&OFFSET_FOR_LEADER_TOPIC))),
]);

// DescribeConfigs (32)

static DESCRIBE_CONFIGS_RESOURCE: Shape = shape::<describe_configs_request::DescribeConfigsResource>(&[
    field("resource_type", I8),
    field("resource_name", Str),
    field("configuration_keys", Many(&Str)).nullable(0),
]);

static DESCRIBE_CONFIGS: Shape = shape::<describe_configs_request::DescribeConfigsRequest>(&[
    field("resources", Many(&One(&DESCRIBE_CONFIGS_RESOURCE))),
    field("include_synonyms", Bool).since(1),
    field("include_documentation", Bool).since(3),
]);

// AlterConfigs (33)

static ALTERABLE_CONFIG: Shape =
    shape::<alter_configs_request::AlterableConfig>(&[field("name", Str), field("value", Str).nullable(0)]);

static ALTER_CONFIGS_RESOURCE: Shape = shape::<alter_configs_request::AlterConfigsResource>(&[
    field("resource_type", I8),
    field("resource_name", Str),
    field("configs", Many(&One(&ALTERABLE_CONFIG))),
]);

static ALTER_CONFIGS: Shape = shape::<alter_configs_request::AlterConfigsRequest>(&[
    field("resources", Many(&One(&ALTER_CONFIGS_RESOURCE))),
    field("validate_only", Bool),
]);

// AlterReplicaLogDirs (34)

static ALTER_REPLICA_LOG_DIR_TOPIC: Shape = shape::<alter_replica_log_dirs_request::AlterReplicaLogDirTopic>(&[
    field("name", Str),
    field("partitions", Many(&I32)),
]);

static ALTER_REPLICA_LOG_DIR: Shape = shape::<alter_replica_log_dirs_request::AlterReplicaLogDir>(&[
    field("path", Str),
    field("topics", Many(&One(&ALTER_REPLICA_LOG_DIR_TOPIC))),
]);

static ALTER_REPLICA_LOG_DIRS: Shape = shape::<alter_replica_log_dirs_request::AlterReplicaLogDirsRequest>(&[field(
    "dirs",
    Many(&One(&ALTER_REPLICA_LOG_DIR)),
)]);

// DescribeLogDirs (35)

static DESCRIBABLE_LOG_DIR_TOPIC: Shape =
    shape::<describe_log_dirs_request::DescribableLogDirTopic>(&[field("topic", Str), field("partitions", Many(&I32))]);

static DESCRIBE_LOG_DIRS: Shape = shape::<describe_log_dirs_request::DescribeLogDirsRequest>(&[field(
    "topics",
    Many(&One(&DESCRIBABLE_LOG_DIR_TOPIC)),
)
.nullable(0)]);

// CreatePartitions (37)

static CREATE_PARTITIONS_ASSIGNMENT: Shape =
    shape::<create_partitions_request::CreatePartitionsAssignment>(&[field("broker_ids", Many(&I32))]);

static CREATE_PARTITIONS_TOPIC: Shape = shape::<create_partitions_request::CreatePartitionsTopic>(&[
    field("name", Str),
    field("count", I32),
    field("assignments", Many(&One(&CREATE_PARTITIONS_ASSIGNMENT))).nullable(0),
]);

static CREATE_PARTITIONS: Shape = shape::<create_partitions_request::CreatePartitionsRequest>(&[
    field("topics", Many(&One(&CREATE_PARTITIONS_TOPIC))),
    field("timeout_ms", I32),
    field("validate_only", Bool),
]);

// DeleteGroups (42)

static DELETE_GROUPS: Shape = shape::<delete_groups_request::DeleteGroupsRequest>(&[field("groups_names", Many(&Str))]);

// ElectLeaders (43)

static ELECT_LEADERS_TOPIC_PARTITIONS: Shape =
    shape::<elect_leaders_request::TopicPartitions>(&[field("topic", Str), field("partitions", Many(&I32))]);

static ELECT_LEADERS: Shape = shape::<elect_leaders_request::ElectLeadersRequest>(&[
    field("election_type", I8).since(1),
    field("topic_partitions", Many(&One(&ELECT_LEADERS_TOPIC_PARTITIONS))).nullable(0),
    field("timeout_ms", I32),
]);

// IncrementalAlterConfigs (44)

static INCREMENTAL_ALTER_CONFIGS_ALTERABLE_CONFIG: Shape =
    shape::<incremental_alter_configs_request::AlterableConfig>(&[
        field("name", Str),
        field("config_operation", I8),
        field("value", Str).nullable(0),
    ]);

static INCREMENTAL_ALTER_CONFIGS_ALTER_CONFIGS_RESOURCE: Shape =
    shape::<incremental_alter_configs_request::AlterConfigsResource>(&[
        field("resource_type", I8),
        field("resource_name", Str),
        field("configs", Many(&One(&INCREMENTAL_ALTER_CONFIGS_ALTERABLE_CONFIG))),
    ]);

static INCREMENTAL_ALTER_CONFIGS: Shape =
    shape::<incremental_alter_configs_request::IncrementalAlterConfigsRequest>(&[
        field("resources", Many(&One(&INCREMENTAL_ALTER_CONFIGS_ALTER_CONFIGS_RESOURCE))),
        field("validate_only", Bool),
    ]);

// AlterPartitionReassignments (45)

static REASSIGNABLE_PARTITION: Shape = shape::<alter_partition_reassignments_request::ReassignablePartition>(&[
    field("partition_index", I32),
    field("replicas", Many(&I32)).nullable(0),
]);

static REASSIGNABLE_TOPIC: Shape = shape::<alter_partition_reassignments_request::ReassignableTopic>(&[
    field("name", Str),
    field("partitions", Many(&One(&REASSIGNABLE_PARTITION))),
]);

static ALTER_PARTITION_REASSIGNMENTS: Shape =
    shape::<alter_partition_reassignments_request::AlterPartitionReassignmentsRequest>(&[
        field("timeout_ms", I32),
        field("allow_replication_factor_change", Bool).since(1),
        field("topics", Many(&One(&REASSIGNABLE_TOPIC))),
    ]);

// ListPartitionReassignments (46)

static LIST_PARTITION_REASSIGNMENTS_TOPICS: Shape = shape::<
    list_partition_reassignments_request::ListPartitionReassignmentsTopics,
>(&[field("name", Str), field("partition_indexes", Many(&I32))]);

static LIST_PARTITION_REASSIGNMENTS: Shape =
    shape::<list_partition_reassignments_request::ListPartitionReassignmentsRequest>(&[
        field("timeout_ms", I32),
        field("topics", Many(&One(&LIST_PARTITION_REASSIGNMENTS_TOPICS))).nullable(0),
    ]);

// OffsetDelete (47)

static OFFSET_DELETE_REQUEST_PARTITION: Shape =
    shape::<offset_delete_request::OffsetDeleteRequestPartition>(&[field("partition_index", I32)]);

static OFFSET_DELETE_REQUEST_TOPIC: Shape = shape::<offset_delete_request::OffsetDeleteRequestTopic>(&[
    field("name", Str),
    field("partitions", Many(&One(&OFFSET_DELETE_REQUEST_PARTITION))),
]);

static OFFSET_DELETE: Shape = shape::<offset_delete_request::OffsetDeleteRequest>(&[
    field("group_id", Str),
    field("topics", Many(&One(&OFFSET_DELETE_REQUEST_TOPIC))),
]);

// DescribeQuorum (55)

static DESCRIBE_QUORUM_PARTITION_DATA: Shape =
    shape::<describe_quorum_request::PartitionData>(&[field("partition_index", I32)]);

static DESCRIBE_QUORUM_TOPIC_DATA: Shape = shape::<describe_quorum_request::TopicData>(&[
    field("topic_name", Str),
    field("partitions", Many(&One(&DESCRIBE_QUORUM_PARTITION_DATA))),
]);

static DESCRIBE_QUORUM: Shape = shape::<describe_quorum_request::DescribeQuorumRequest>(&[field(
    "topics",
    Many(&One(&DESCRIBE_QUORUM_TOPIC_DATA)),
)]);

// UpdateFeatures (57)

static FEATURE_UPDATE_KEY: Shape = shape::<update_features_request::FeatureUpdateKey>(&[
    field("feature", Str),
    field("max_version_level", I16),
    field("allow_downgrade", Bool).between(0, 0),
    field("upgrade_type", I8).since(1),
]);

static UPDATE_FEATURES: Shape = shape::<update_features_request::UpdateFeaturesRequest>(&[
    field("timeout_ms", I32),
    field("feature_updates", Many(&One(&FEATURE_UPDATE_KEY))),
    field("validate_only", Bool).since(1),
]);

// DescribeCluster (60)

static DESCRIBE_CLUSTER: Shape = shape::<describe_cluster_request::DescribeClusterRequest>(&[
    field("include_cluster_authorized_operations", Bool),
    field("endpoint_type", I8).since(1),
    field("include_fenced_brokers", Bool).since(2),
]);

// DescribeProducers (61)

static DESCRIBE_PRODUCERS_TOPIC_REQUEST: Shape =
    shape::<describe_producers_request::TopicRequest>(&[field("name", Str), field("partition_indexes", Many(&I32))]);

static DESCRIBE_PRODUCERS: Shape = shape::<describe_producers_request::DescribeProducersRequest>(&[field(
    "topics",
    Many(&One(&DESCRIBE_PRODUCERS_TOPIC_REQUEST)),
)]);

// ConsumerGroupHeartbeat (68)

static OWNED_PARTITIONS: Shape = shape::<consumer_group_heartbeat_request::TopicPartitions>(&[
    field("topic_id", Uuid),
    field("partitions", Many(&I32)),
]);

static CONSUMER_GROUP_HEARTBEAT: Shape = shape::<consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest>(&[
    field("group_id", Str),
    field("member_id", Str),
    field("member_epoch", I32),
    field("instance_id", Str).nullable(0),
    field("rack_id", Str).nullable(0),
    field("rebalance_timeout_ms", I32),
    field("subscribed_topic_names", Many(&Str)).nullable(0),
    field("subscribed_topic_regex", Str).since(1).nullable(1),
    field("server_assignor", Str).nullable(0),
    field("topic_partitions", Many(&One(&OWNED_PARTITIONS))).nullable(0),
]);

// ConsumerGroupDescribe (69)

static CONSUMER_GROUP_DESCRIBE: Shape = shape::<consumer_group_describe_request::ConsumerGroupDescribeRequest>(&[
    field("group_ids", Many(&Str)),
    field("include_authorized_operations", Bool),
]);

// ListConfigResources (74)

static LIST_CONFIG_RESOURCES: Shape =
    shape::<list_config_resources_request::ListConfigResourcesRequest>(&[field("resource_types", Many(&I8)).since(1)]);

// DescribeTopicPartitions (75)

static TOPIC: Shape = shape::<describe_topic_partitions_request::TopicRequest>(&[field("name", Str)]);

static CURSOR: Shape =
    shape::<describe_topic_partitions_request::Cursor>(&[field("topic_name", Str), field("partition_index", I32)]);

static DESCRIBE_TOPIC_PARTITIONS: Shape =
    shape::<describe_topic_partitions_request::DescribeTopicPartitionsRequest>(&[
        field("topics", Many(&One(&TOPIC))),
        field("response_partition_limit", I32),
        field("cursor", One(&CURSOR)).nullable(0),
    ]);
