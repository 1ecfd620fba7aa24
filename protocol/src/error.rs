//! Kafka's error codes, complete as of 4.3.1. The enum is closed on purpose: every domain error maps onto it in an
//! exhaustive `match` without `_ =>`, so that a new refusal breaks the build instead of becoming -1 (ID-03).

/// An error code as it travels in responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum ErrorCode {
    /// `UNKNOWN_SERVER_ERROR`: never on purpose; Java may retry and duplicate.
    UnknownServerError = -1,
    /// `NONE`: success.
    None = 0,
    /// `OFFSET_OUT_OF_RANGE`: Fetch outside [log start, log end]; DeleteRecords above HW; diverging epoch without history.
    OffsetOutOfRange = 1,
    /// `CORRUPT_MESSAGE`: wrong CRC, wrong magic, bad batch length, undecodable compressed data.
    CorruptMessage = 2,
    /// `UNKNOWN_TOPIC_OR_PARTITION`: unknown topic or partition in any API by name; also while auto-creating.
    UnknownTopicOrPartition = 3,
    /// `INVALID_FETCH_SIZE`: Not answered by Pyralog.
    InvalidFetchSize = 4,
    /// `LEADER_NOT_AVAILABLE`: partition without leader (Metadata partition error).
    LeaderNotAvailable = 5,
    /// `NOT_LEADER_OR_FOLLOWER`: not leader here; v10+ Produce and v12+ Fetch carry the leader hint; replica id that is no replica.
    NotLeaderOrFollower = 6,
    /// `REQUEST_TIMED_OUT`: CreateTopics and similar not finished within timeout_ms; acks=-1 not replicated in time.
    RequestTimedOut = 7,
    /// `BROKER_NOT_AVAILABLE`: Not answered by Pyralog.
    BrokerNotAvailable = 8,
    /// `REPLICA_NOT_AVAILABLE`: Metadata: replica down (old versions); Fetch from a replica that has not got the partition.
    ReplicaNotAvailable = 9,
    /// `MESSAGE_TOO_LARGE`: batch larger than max.message.bytes.
    MessageTooLarge = 10,
    /// `STALE_CONTROLLER_EPOCH`: Not answered by Pyralog.
    StaleControllerEpoch = 11,
    /// `OFFSET_METADATA_TOO_LARGE`: commit metadata over offset.metadata.max.bytes.
    OffsetMetadataTooLarge = 12,
    /// `NETWORK_EXCEPTION`: client side only.
    NetworkException = 13,
    /// `COORDINATOR_LOAD_IN_PROGRESS`: coordinator shard is loading.
    CoordinatorLoadInProgress = 14,
    /// `COORDINATOR_NOT_AVAILABLE`: no coordinator yet (FindCoordinator), coordinator shutting down.
    CoordinatorNotAvailable = 15,
    /// `NOT_COORDINATOR`: another node is coordinator, or the shard is not loaded here.
    NotCoordinator = 16,
    /// `INVALID_TOPIC_EXCEPTION`: invalid or colliding topic name; internal topic written or truncated by a client.
    InvalidTopicException = 17,
    /// `RECORD_LIST_TOO_LARGE`: batch larger than segment.bytes.
    RecordListTooLarge = 18,
    /// `NOT_ENOUGH_REPLICAS`: acks=-1 and ISR below min.insync.replicas before the append; paused log (retriable).
    NotEnoughReplicas = 19,
    /// `NOT_ENOUGH_REPLICAS_AFTER_APPEND`: the same after the append.
    NotEnoughReplicasAfterAppend = 20,
    /// `INVALID_REQUIRED_ACKS`: acks not -1, 0, 1.
    InvalidRequiredAcks = 21,
    /// `ILLEGAL_GENERATION`: wrong generation of a known classic member; commit with generation to an unknown group (≤ v8).
    IllegalGeneration = 22,
    /// `INCONSISTENT_GROUP_PROTOCOL`: no common protocol, other protocol type, empty protocols.
    InconsistentGroupProtocol = 23,
    /// `INVALID_GROUP_ID`: empty group id where one is needed.
    InvalidGroupId = 24,
    /// `UNKNOWN_MEMBER_ID`: unknown member id; commit without member id into a group with members.
    UnknownMemberId = 25,
    /// `INVALID_SESSION_TIMEOUT`: session timeout outside the group bounds.
    InvalidSessionTimeout = 26,
    /// `REBALANCE_IN_PROGRESS`: heartbeat, sync or commit during a rebalance.
    RebalanceInProgress = 27,
    /// `INVALID_COMMIT_OFFSET_SIZE`: offset record too large.
    InvalidCommitOffsetSize = 28,
    /// `TOPIC_AUTHORIZATION_FAILED`: ACL.
    TopicAuthorizationFailed = 29,
    /// `GROUP_AUTHORIZATION_FAILED`: ACL.
    GroupAuthorizationFailed = 30,
    /// `CLUSTER_AUTHORIZATION_FAILED`: ACL.
    ClusterAuthorizationFailed = 31,
    /// `INVALID_TIMESTAMP`: record timestamp outside before/after bounds.
    InvalidTimestamp = 32,
    /// `UNSUPPORTED_SASL_MECHANISM`: SASL mechanism not enabled.
    UnsupportedSaslMechanism = 33,
    /// `ILLEGAL_SASL_STATE`: SASL request on a plain or already authenticated connection.
    IllegalSaslState = 34,
    /// `UNSUPPORTED_VERSION`: ApiVersions too new; ListOffsets special below its version; old OffsetCommit from a KIP-848 member; unknown quota entity type.
    UnsupportedVersion = 35,
    /// `TOPIC_ALREADY_EXISTS`: CreateTopics of an existing topic.
    TopicAlreadyExists = 36,
    /// `INVALID_PARTITIONS`: partition count 0, < -1, or not an increase.
    InvalidPartitions = 37,
    /// `INVALID_REPLICATION_FACTOR`: replication factor 0, < -1, above broker count.
    InvalidReplicationFactor = 38,
    /// `INVALID_REPLICA_ASSIGNMENT`: manual assignment invalid.
    InvalidReplicaAssignment = 39,
    /// `INVALID_CONFIG`: unknown config, bad value, wrong operation for the type.
    InvalidConfig = 40,
    /// `NOT_CONTROLLER`: metadata write on a node that is not controller and cannot forward.
    NotController = 41,
    /// `INVALID_REQUEST`: malformed request that could be decoded; duplicates of an item; negative limits.
    InvalidRequest = 42,
    /// `UNSUPPORTED_FOR_MESSAGE_FORMAT`: Not answered by Pyralog.
    UnsupportedForMessageFormat = 43,
    /// `POLICY_VIOLATION`: request refused by a limit or policy; DeleteRecords on a non-delete log; paused log (fatal variant).
    PolicyViolation = 44,
    /// `OUT_OF_ORDER_SEQUENCE_NUMBER`: sequence is neither next nor a known duplicate.
    OutOfOrderSequenceNumber = 45,
    /// `DUPLICATE_SEQUENCE_NUMBER`: never seen: a duplicate is a success.
    DuplicateSequenceNumber = 46,
    /// `INVALID_PRODUCER_EPOCH`: older producer epoch: Produce, TxnOffsetCommit, old versions of the transaction APIs.
    InvalidProducerEpoch = 47,
    /// `INVALID_TXN_STATE`: transaction operation not allowed in this state.
    InvalidTxnState = 48,
    /// `INVALID_PRODUCER_ID_MAPPING`: producer id does not belong to the transactional id.
    InvalidProducerIdMapping = 49,
    /// `INVALID_TRANSACTION_TIMEOUT`: transaction timeout ≤ 0 or above the maximum.
    InvalidTransactionTimeout = 50,
    /// `CONCURRENT_TRANSACTIONS`: previous transaction still completing.
    ConcurrentTransactions = 51,
    /// `TRANSACTION_COORDINATOR_FENCED`: marker from an old coordinator epoch.
    TransactionCoordinatorFenced = 52,
    /// `TRANSACTIONAL_ID_AUTHORIZATION_FAILED`: ACL; transactional batch without transactional id.
    TransactionalIdAuthorizationFailed = 53,
    /// `SECURITY_DISABLED`: ACL APIs without authorizer.
    SecurityDisabled = 54,
    /// `OPERATION_NOT_ATTEMPTED`: AddPartitionsToTxn: the other partitions when one failed.
    OperationNotAttempted = 55,
    /// `KAFKA_STORAGE_ERROR`: log directory offline, I/O error, disk full.
    KafkaStorageError = 56,
    /// `LOG_DIR_NOT_FOUND`: AlterReplicaLogDirs to an unknown directory.
    LogDirNotFound = 57,
    /// `SASL_AUTHENTICATION_FAILED`: SASL failed.
    SaslAuthenticationFailed = 58,
    /// `UNKNOWN_PRODUCER_ID`: never seen: unknown producers are accepted instead; librdkafka still knows how to recover from it.
    UnknownProducerId = 59,
    /// `REASSIGNMENT_IN_PROGRESS`: reassignment running.
    ReassignmentInProgress = 60,
    /// `DELEGATION_TOKEN_AUTH_DISABLED`: tokens off.
    DelegationTokenAuthDisabled = 61,
    /// `DELEGATION_TOKEN_NOT_FOUND`: tokens.
    DelegationTokenNotFound = 62,
    /// `DELEGATION_TOKEN_OWNER_MISMATCH`: tokens.
    DelegationTokenOwnerMismatch = 63,
    /// `DELEGATION_TOKEN_REQUEST_NOT_ALLOWED`: token request on a plain or token-authenticated connection.
    DelegationTokenRequestNotAllowed = 64,
    /// `DELEGATION_TOKEN_AUTHORIZATION_FAILED`: tokens.
    DelegationTokenAuthorizationFailed = 65,
    /// `DELEGATION_TOKEN_EXPIRED`: tokens.
    DelegationTokenExpired = 66,
    /// `INVALID_PRINCIPAL_TYPE`: tokens.
    InvalidPrincipalType = 67,
    /// `NON_EMPTY_GROUP`: DeleteGroups with members.
    NonEmptyGroup = 68,
    /// `GROUP_ID_NOT_FOUND`: unknown group (DeleteGroups, OffsetDelete, DescribeGroups v6, KIP-848 with epoch ≠ 0, commit v9), or group of another type.
    GroupIdNotFound = 69,
    /// `FETCH_SESSION_ID_NOT_FOUND`: unknown fetch session.
    FetchSessionIdNotFound = 70,
    /// `INVALID_FETCH_SESSION_EPOCH`: wrong fetch session epoch.
    InvalidFetchSessionEpoch = 71,
    /// `LISTENER_NOT_FOUND`: no such listener on the leader.
    ListenerNotFound = 72,
    /// `TOPIC_DELETION_DISABLED`: delete.topic.enable=false.
    TopicDeletionDisabled = 73,
    /// `FENCED_LEADER_EPOCH`: client's leader epoch is old.
    FencedLeaderEpoch = 74,
    /// `UNKNOWN_LEADER_EPOCH`: client's leader epoch is newer than this node's.
    UnknownLeaderEpoch = 75,
    /// `UNSUPPORTED_COMPRESSION_TYPE`: zstd with Produce ≤ v6; unknown codec (Pyralog).
    UnsupportedCompressionType = 76,
    /// `STALE_BROKER_EPOCH`: between brokers.
    StaleBrokerEpoch = 77,
    /// `OFFSET_NOT_AVAILABLE`: ListOffsets latest while HW lags the epoch start after an election.
    OffsetNotAvailable = 78,
    /// `MEMBER_ID_REQUIRED`: first JoinGroup v4+ without member id.
    MemberIdRequired = 79,
    /// `PREFERRED_LEADER_NOT_AVAILABLE`: ElectLeaders preferred: leader not eligible.
    PreferredLeaderNotAvailable = 80,
    /// `GROUP_MAX_SIZE_REACHED`: group.max.size reached.
    GroupMaxSizeReached = 81,
    /// `FENCED_INSTANCE_ID`: another member took the instance id.
    FencedInstanceId = 82,
    /// `ELIGIBLE_LEADERS_NOT_AVAILABLE`: ElectLeaders unclean: no candidate.
    EligibleLeadersNotAvailable = 83,
    /// `ELECTION_NOT_NEEDED`: ElectLeaders: nothing to do.
    ElectionNotNeeded = 84,
    /// `NO_REASSIGNMENT_IN_PROGRESS`: cancel without a running reassignment.
    NoReassignmentInProgress = 85,
    /// `GROUP_SUBSCRIBED_TO_TOPIC`: OffsetDelete of a subscribed topic.
    GroupSubscribedToTopic = 86,
    /// `INVALID_RECORD`: batch not acceptable: none or two, count, deltas, magic 0/1, control batch, null key on a compacted log.
    InvalidRecord = 87,
    /// `UNSTABLE_OFFSET_COMMIT`: OffsetFetch require_stable with a pending transactional commit.
    UnstableOffsetCommit = 88,
    /// `THROTTLING_QUOTA_EXCEEDED`: quota on topic mutations.
    ThrottlingQuotaExceeded = 89,
    /// `PRODUCER_FENCED`: fenced by a newer producer (transaction APIs v2+).
    ProducerFenced = 90,
    /// `RESOURCE_NOT_FOUND`: unknown SCRAM user.
    ResourceNotFound = 91,
    /// `DUPLICATE_RESOURCE`: SCRAM: user twice.
    DuplicateResource = 92,
    /// `UNACCEPTABLE_CREDENTIAL`: SCRAM: iterations, mechanism, empty name.
    UnacceptableCredential = 93,
    /// `INCONSISTENT_VOTER_SET`: quorum.
    InconsistentVoterSet = 94,
    /// `INVALID_UPDATE_VERSION`: UpdateFeatures: unknown feature or level.
    InvalidUpdateVersion = 95,
    /// `FEATURE_UPDATE_FAILED`: UpdateFeatures failed.
    FeatureUpdateFailed = 96,
    /// `PRINCIPAL_DESERIALIZATION_FAILURE`: forwarding.
    PrincipalDeserializationFailure = 97,
    /// `SNAPSHOT_NOT_FOUND`: quorum.
    SnapshotNotFound = 98,
    /// `POSITION_OUT_OF_RANGE`: quorum.
    PositionOutOfRange = 99,
    /// `UNKNOWN_TOPIC_ID`: unknown or zero topic id in any API by id.
    UnknownTopicId = 100,
    /// `DUPLICATE_BROKER_REGISTRATION`: between brokers.
    DuplicateBrokerRegistration = 101,
    /// `BROKER_ID_NOT_REGISTERED`: UnregisterBroker of an unknown id.
    BrokerIdNotRegistered = 102,
    /// `INCONSISTENT_TOPIC_ID`: between brokers.
    InconsistentTopicId = 103,
    /// `INCONSISTENT_CLUSTER_ID`: other cluster id in the request.
    InconsistentClusterId = 104,
    /// `TRANSACTIONAL_ID_NOT_FOUND`: DescribeTransactions of an unknown id.
    TransactionalIdNotFound = 105,
    /// `FETCH_SESSION_TOPIC_ID_ERROR`: fetch session changed between names and ids.
    FetchSessionTopicIdError = 106,
    /// `INELIGIBLE_REPLICA`: ISR change refused.
    IneligibleReplica = 107,
    /// `NEW_LEADER_ELECTED`: ISR change: leader changed.
    NewLeaderElected = 108,
    /// `OFFSET_MOVED_TO_TIERED_STORAGE`: tiered reads.
    OffsetMovedToTieredStorage = 109,
    /// `FENCED_MEMBER_EPOCH`: KIP-848 and share members: wrong member epoch.
    FencedMemberEpoch = 110,
    /// `UNRELEASED_INSTANCE_ID`: KIP-848: instance id in use.
    UnreleasedInstanceId = 111,
    /// `UNSUPPORTED_ASSIGNOR`: KIP-848: unknown assignor.
    UnsupportedAssignor = 112,
    /// `STALE_MEMBER_EPOCH`: OffsetCommit/OffsetFetch v9+: wrong member epoch.
    StaleMemberEpoch = 113,
    /// `MISMATCHED_ENDPOINT_TYPE`: DescribeCluster for controllers on the client listener.
    MismatchedEndpointType = 114,
    /// `UNSUPPORTED_ENDPOINT_TYPE`: DescribeCluster: unknown endpoint type.
    UnsupportedEndpointType = 115,
    /// `UNKNOWN_CONTROLLER_ID`: quorum.
    UnknownControllerId = 116,
    /// `UNKNOWN_SUBSCRIPTION_ID`: telemetry.
    UnknownSubscriptionId = 117,
    /// `TELEMETRY_TOO_LARGE`: telemetry.
    TelemetryTooLarge = 118,
    /// `INVALID_REGISTRATION`: between brokers.
    InvalidRegistration = 119,
    /// `TRANSACTION_ABORTABLE`: transaction must be aborted: partition or group not added (Produce v11+, TxnOffsetCommit).
    TransactionAbortable = 120,
    /// `INVALID_RECORD_STATE`: share: record not in the acknowledged state.
    InvalidRecordState = 121,
    /// `SHARE_SESSION_NOT_FOUND`: share: no such session.
    ShareSessionNotFound = 122,
    /// `INVALID_SHARE_SESSION_EPOCH`: share: wrong session epoch.
    InvalidShareSessionEpoch = 123,
    /// `FENCED_STATE_EPOCH`: share state.
    FencedStateEpoch = 124,
    /// `INVALID_VOTER_KEY`: quorum.
    InvalidVoterKey = 125,
    /// `DUPLICATE_VOTER`: quorum.
    DuplicateVoter = 126,
    /// `VOTER_NOT_FOUND`: quorum.
    VoterNotFound = 127,
    /// `INVALID_REGULAR_EXPRESSION`: KIP-848: bad regex.
    InvalidRegularExpression = 128,
    /// `REBOOTSTRAP_REQUIRED`: ApiVersions v5+: client expects another cluster or node.
    RebootstrapRequired = 129,
    /// `STREAMS_INVALID_TOPOLOGY`: streams.
    StreamsInvalidTopology = 130,
    /// `STREAMS_INVALID_TOPOLOGY_EPOCH`: streams.
    StreamsInvalidTopologyEpoch = 131,
    /// `STREAMS_TOPOLOGY_FENCED`: streams.
    StreamsTopologyFenced = 132,
    /// `SHARE_SESSION_LIMIT_REACHED`: share: too many sessions.
    ShareSessionLimitReached = 133,
}

impl ErrorCode {
    /// The code on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The upper-case name, as Kafka's documentation spells it.
    #[allow(clippy::too_many_lines, reason = "a flat table")]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownServerError => "UNKNOWN_SERVER_ERROR",
            Self::None => "NONE",
            Self::OffsetOutOfRange => "OFFSET_OUT_OF_RANGE",
            Self::CorruptMessage => "CORRUPT_MESSAGE",
            Self::UnknownTopicOrPartition => "UNKNOWN_TOPIC_OR_PARTITION",
            Self::InvalidFetchSize => "INVALID_FETCH_SIZE",
            Self::LeaderNotAvailable => "LEADER_NOT_AVAILABLE",
            Self::NotLeaderOrFollower => "NOT_LEADER_OR_FOLLOWER",
            Self::RequestTimedOut => "REQUEST_TIMED_OUT",
            Self::BrokerNotAvailable => "BROKER_NOT_AVAILABLE",
            Self::ReplicaNotAvailable => "REPLICA_NOT_AVAILABLE",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Self::StaleControllerEpoch => "STALE_CONTROLLER_EPOCH",
            Self::OffsetMetadataTooLarge => "OFFSET_METADATA_TOO_LARGE",
            Self::NetworkException => "NETWORK_EXCEPTION",
            Self::CoordinatorLoadInProgress => "COORDINATOR_LOAD_IN_PROGRESS",
            Self::CoordinatorNotAvailable => "COORDINATOR_NOT_AVAILABLE",
            Self::NotCoordinator => "NOT_COORDINATOR",
            Self::InvalidTopicException => "INVALID_TOPIC_EXCEPTION",
            Self::RecordListTooLarge => "RECORD_LIST_TOO_LARGE",
            Self::NotEnoughReplicas => "NOT_ENOUGH_REPLICAS",
            Self::NotEnoughReplicasAfterAppend => "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
            Self::InvalidRequiredAcks => "INVALID_REQUIRED_ACKS",
            Self::IllegalGeneration => "ILLEGAL_GENERATION",
            Self::InconsistentGroupProtocol => "INCONSISTENT_GROUP_PROTOCOL",
            Self::InvalidGroupId => "INVALID_GROUP_ID",
            Self::UnknownMemberId => "UNKNOWN_MEMBER_ID",
            Self::InvalidSessionTimeout => "INVALID_SESSION_TIMEOUT",
            Self::RebalanceInProgress => "REBALANCE_IN_PROGRESS",
            Self::InvalidCommitOffsetSize => "INVALID_COMMIT_OFFSET_SIZE",
            Self::TopicAuthorizationFailed => "TOPIC_AUTHORIZATION_FAILED",
            Self::GroupAuthorizationFailed => "GROUP_AUTHORIZATION_FAILED",
            Self::ClusterAuthorizationFailed => "CLUSTER_AUTHORIZATION_FAILED",
            Self::InvalidTimestamp => "INVALID_TIMESTAMP",
            Self::UnsupportedSaslMechanism => "UNSUPPORTED_SASL_MECHANISM",
            Self::IllegalSaslState => "ILLEGAL_SASL_STATE",
            Self::UnsupportedVersion => "UNSUPPORTED_VERSION",
            Self::TopicAlreadyExists => "TOPIC_ALREADY_EXISTS",
            Self::InvalidPartitions => "INVALID_PARTITIONS",
            Self::InvalidReplicationFactor => "INVALID_REPLICATION_FACTOR",
            Self::InvalidReplicaAssignment => "INVALID_REPLICA_ASSIGNMENT",
            Self::InvalidConfig => "INVALID_CONFIG",
            Self::NotController => "NOT_CONTROLLER",
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::UnsupportedForMessageFormat => "UNSUPPORTED_FOR_MESSAGE_FORMAT",
            Self::PolicyViolation => "POLICY_VIOLATION",
            Self::OutOfOrderSequenceNumber => "OUT_OF_ORDER_SEQUENCE_NUMBER",
            Self::DuplicateSequenceNumber => "DUPLICATE_SEQUENCE_NUMBER",
            Self::InvalidProducerEpoch => "INVALID_PRODUCER_EPOCH",
            Self::InvalidTxnState => "INVALID_TXN_STATE",
            Self::InvalidProducerIdMapping => "INVALID_PRODUCER_ID_MAPPING",
            Self::InvalidTransactionTimeout => "INVALID_TRANSACTION_TIMEOUT",
            Self::ConcurrentTransactions => "CONCURRENT_TRANSACTIONS",
            Self::TransactionCoordinatorFenced => "TRANSACTION_COORDINATOR_FENCED",
            Self::TransactionalIdAuthorizationFailed => "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
            Self::SecurityDisabled => "SECURITY_DISABLED",
            Self::OperationNotAttempted => "OPERATION_NOT_ATTEMPTED",
            Self::KafkaStorageError => "KAFKA_STORAGE_ERROR",
            Self::LogDirNotFound => "LOG_DIR_NOT_FOUND",
            Self::SaslAuthenticationFailed => "SASL_AUTHENTICATION_FAILED",
            Self::UnknownProducerId => "UNKNOWN_PRODUCER_ID",
            Self::ReassignmentInProgress => "REASSIGNMENT_IN_PROGRESS",
            Self::DelegationTokenAuthDisabled => "DELEGATION_TOKEN_AUTH_DISABLED",
            Self::DelegationTokenNotFound => "DELEGATION_TOKEN_NOT_FOUND",
            Self::DelegationTokenOwnerMismatch => "DELEGATION_TOKEN_OWNER_MISMATCH",
            Self::DelegationTokenRequestNotAllowed => "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
            Self::DelegationTokenAuthorizationFailed => "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
            Self::DelegationTokenExpired => "DELEGATION_TOKEN_EXPIRED",
            Self::InvalidPrincipalType => "INVALID_PRINCIPAL_TYPE",
            Self::NonEmptyGroup => "NON_EMPTY_GROUP",
            Self::GroupIdNotFound => "GROUP_ID_NOT_FOUND",
            Self::FetchSessionIdNotFound => "FETCH_SESSION_ID_NOT_FOUND",
            Self::InvalidFetchSessionEpoch => "INVALID_FETCH_SESSION_EPOCH",
            Self::ListenerNotFound => "LISTENER_NOT_FOUND",
            Self::TopicDeletionDisabled => "TOPIC_DELETION_DISABLED",
            Self::FencedLeaderEpoch => "FENCED_LEADER_EPOCH",
            Self::UnknownLeaderEpoch => "UNKNOWN_LEADER_EPOCH",
            Self::UnsupportedCompressionType => "UNSUPPORTED_COMPRESSION_TYPE",
            Self::StaleBrokerEpoch => "STALE_BROKER_EPOCH",
            Self::OffsetNotAvailable => "OFFSET_NOT_AVAILABLE",
            Self::MemberIdRequired => "MEMBER_ID_REQUIRED",
            Self::PreferredLeaderNotAvailable => "PREFERRED_LEADER_NOT_AVAILABLE",
            Self::GroupMaxSizeReached => "GROUP_MAX_SIZE_REACHED",
            Self::FencedInstanceId => "FENCED_INSTANCE_ID",
            Self::EligibleLeadersNotAvailable => "ELIGIBLE_LEADERS_NOT_AVAILABLE",
            Self::ElectionNotNeeded => "ELECTION_NOT_NEEDED",
            Self::NoReassignmentInProgress => "NO_REASSIGNMENT_IN_PROGRESS",
            Self::GroupSubscribedToTopic => "GROUP_SUBSCRIBED_TO_TOPIC",
            Self::InvalidRecord => "INVALID_RECORD",
            Self::UnstableOffsetCommit => "UNSTABLE_OFFSET_COMMIT",
            Self::ThrottlingQuotaExceeded => "THROTTLING_QUOTA_EXCEEDED",
            Self::ProducerFenced => "PRODUCER_FENCED",
            Self::ResourceNotFound => "RESOURCE_NOT_FOUND",
            Self::DuplicateResource => "DUPLICATE_RESOURCE",
            Self::UnacceptableCredential => "UNACCEPTABLE_CREDENTIAL",
            Self::InconsistentVoterSet => "INCONSISTENT_VOTER_SET",
            Self::InvalidUpdateVersion => "INVALID_UPDATE_VERSION",
            Self::FeatureUpdateFailed => "FEATURE_UPDATE_FAILED",
            Self::PrincipalDeserializationFailure => "PRINCIPAL_DESERIALIZATION_FAILURE",
            Self::SnapshotNotFound => "SNAPSHOT_NOT_FOUND",
            Self::PositionOutOfRange => "POSITION_OUT_OF_RANGE",
            Self::UnknownTopicId => "UNKNOWN_TOPIC_ID",
            Self::DuplicateBrokerRegistration => "DUPLICATE_BROKER_REGISTRATION",
            Self::BrokerIdNotRegistered => "BROKER_ID_NOT_REGISTERED",
            Self::InconsistentTopicId => "INCONSISTENT_TOPIC_ID",
            Self::InconsistentClusterId => "INCONSISTENT_CLUSTER_ID",
            Self::TransactionalIdNotFound => "TRANSACTIONAL_ID_NOT_FOUND",
            Self::FetchSessionTopicIdError => "FETCH_SESSION_TOPIC_ID_ERROR",
            Self::IneligibleReplica => "INELIGIBLE_REPLICA",
            Self::NewLeaderElected => "NEW_LEADER_ELECTED",
            Self::OffsetMovedToTieredStorage => "OFFSET_MOVED_TO_TIERED_STORAGE",
            Self::FencedMemberEpoch => "FENCED_MEMBER_EPOCH",
            Self::UnreleasedInstanceId => "UNRELEASED_INSTANCE_ID",
            Self::UnsupportedAssignor => "UNSUPPORTED_ASSIGNOR",
            Self::StaleMemberEpoch => "STALE_MEMBER_EPOCH",
            Self::MismatchedEndpointType => "MISMATCHED_ENDPOINT_TYPE",
            Self::UnsupportedEndpointType => "UNSUPPORTED_ENDPOINT_TYPE",
            Self::UnknownControllerId => "UNKNOWN_CONTROLLER_ID",
            Self::UnknownSubscriptionId => "UNKNOWN_SUBSCRIPTION_ID",
            Self::TelemetryTooLarge => "TELEMETRY_TOO_LARGE",
            Self::InvalidRegistration => "INVALID_REGISTRATION",
            Self::TransactionAbortable => "TRANSACTION_ABORTABLE",
            Self::InvalidRecordState => "INVALID_RECORD_STATE",
            Self::ShareSessionNotFound => "SHARE_SESSION_NOT_FOUND",
            Self::InvalidShareSessionEpoch => "INVALID_SHARE_SESSION_EPOCH",
            Self::FencedStateEpoch => "FENCED_STATE_EPOCH",
            Self::InvalidVoterKey => "INVALID_VOTER_KEY",
            Self::DuplicateVoter => "DUPLICATE_VOTER",
            Self::VoterNotFound => "VOTER_NOT_FOUND",
            Self::InvalidRegularExpression => "INVALID_REGULAR_EXPRESSION",
            Self::RebootstrapRequired => "REBOOTSTRAP_REQUIRED",
            Self::StreamsInvalidTopology => "STREAMS_INVALID_TOPOLOGY",
            Self::StreamsInvalidTopologyEpoch => "STREAMS_INVALID_TOPOLOGY_EPOCH",
            Self::StreamsTopologyFenced => "STREAMS_TOPOLOGY_FENCED",
            Self::ShareSessionLimitReached => "SHARE_SESSION_LIMIT_REACHED",
        }
    }

    /// The error with this code; `None` for a code that Kafka 4.3.1 does not know.
    #[allow(clippy::too_many_lines, reason = "a flat table")]
    pub const fn from_code(code: i16) -> Option<Self> {
        Some(match code {
            -1 => Self::UnknownServerError,
            0 => Self::None,
            1 => Self::OffsetOutOfRange,
            2 => Self::CorruptMessage,
            3 => Self::UnknownTopicOrPartition,
            4 => Self::InvalidFetchSize,
            5 => Self::LeaderNotAvailable,
            6 => Self::NotLeaderOrFollower,
            7 => Self::RequestTimedOut,
            8 => Self::BrokerNotAvailable,
            9 => Self::ReplicaNotAvailable,
            10 => Self::MessageTooLarge,
            11 => Self::StaleControllerEpoch,
            12 => Self::OffsetMetadataTooLarge,
            13 => Self::NetworkException,
            14 => Self::CoordinatorLoadInProgress,
            15 => Self::CoordinatorNotAvailable,
            16 => Self::NotCoordinator,
            17 => Self::InvalidTopicException,
            18 => Self::RecordListTooLarge,
            19 => Self::NotEnoughReplicas,
            20 => Self::NotEnoughReplicasAfterAppend,
            21 => Self::InvalidRequiredAcks,
            22 => Self::IllegalGeneration,
            23 => Self::InconsistentGroupProtocol,
            24 => Self::InvalidGroupId,
            25 => Self::UnknownMemberId,
            26 => Self::InvalidSessionTimeout,
            27 => Self::RebalanceInProgress,
            28 => Self::InvalidCommitOffsetSize,
            29 => Self::TopicAuthorizationFailed,
            30 => Self::GroupAuthorizationFailed,
            31 => Self::ClusterAuthorizationFailed,
            32 => Self::InvalidTimestamp,
            33 => Self::UnsupportedSaslMechanism,
            34 => Self::IllegalSaslState,
            35 => Self::UnsupportedVersion,
            36 => Self::TopicAlreadyExists,
            37 => Self::InvalidPartitions,
            38 => Self::InvalidReplicationFactor,
            39 => Self::InvalidReplicaAssignment,
            40 => Self::InvalidConfig,
            41 => Self::NotController,
            42 => Self::InvalidRequest,
            43 => Self::UnsupportedForMessageFormat,
            44 => Self::PolicyViolation,
            45 => Self::OutOfOrderSequenceNumber,
            46 => Self::DuplicateSequenceNumber,
            47 => Self::InvalidProducerEpoch,
            48 => Self::InvalidTxnState,
            49 => Self::InvalidProducerIdMapping,
            50 => Self::InvalidTransactionTimeout,
            51 => Self::ConcurrentTransactions,
            52 => Self::TransactionCoordinatorFenced,
            53 => Self::TransactionalIdAuthorizationFailed,
            54 => Self::SecurityDisabled,
            55 => Self::OperationNotAttempted,
            56 => Self::KafkaStorageError,
            57 => Self::LogDirNotFound,
            58 => Self::SaslAuthenticationFailed,
            59 => Self::UnknownProducerId,
            60 => Self::ReassignmentInProgress,
            61 => Self::DelegationTokenAuthDisabled,
            62 => Self::DelegationTokenNotFound,
            63 => Self::DelegationTokenOwnerMismatch,
            64 => Self::DelegationTokenRequestNotAllowed,
            65 => Self::DelegationTokenAuthorizationFailed,
            66 => Self::DelegationTokenExpired,
            67 => Self::InvalidPrincipalType,
            68 => Self::NonEmptyGroup,
            69 => Self::GroupIdNotFound,
            70 => Self::FetchSessionIdNotFound,
            71 => Self::InvalidFetchSessionEpoch,
            72 => Self::ListenerNotFound,
            73 => Self::TopicDeletionDisabled,
            74 => Self::FencedLeaderEpoch,
            75 => Self::UnknownLeaderEpoch,
            76 => Self::UnsupportedCompressionType,
            77 => Self::StaleBrokerEpoch,
            78 => Self::OffsetNotAvailable,
            79 => Self::MemberIdRequired,
            80 => Self::PreferredLeaderNotAvailable,
            81 => Self::GroupMaxSizeReached,
            82 => Self::FencedInstanceId,
            83 => Self::EligibleLeadersNotAvailable,
            84 => Self::ElectionNotNeeded,
            85 => Self::NoReassignmentInProgress,
            86 => Self::GroupSubscribedToTopic,
            87 => Self::InvalidRecord,
            88 => Self::UnstableOffsetCommit,
            89 => Self::ThrottlingQuotaExceeded,
            90 => Self::ProducerFenced,
            91 => Self::ResourceNotFound,
            92 => Self::DuplicateResource,
            93 => Self::UnacceptableCredential,
            94 => Self::InconsistentVoterSet,
            95 => Self::InvalidUpdateVersion,
            96 => Self::FeatureUpdateFailed,
            97 => Self::PrincipalDeserializationFailure,
            98 => Self::SnapshotNotFound,
            99 => Self::PositionOutOfRange,
            100 => Self::UnknownTopicId,
            101 => Self::DuplicateBrokerRegistration,
            102 => Self::BrokerIdNotRegistered,
            103 => Self::InconsistentTopicId,
            104 => Self::InconsistentClusterId,
            105 => Self::TransactionalIdNotFound,
            106 => Self::FetchSessionTopicIdError,
            107 => Self::IneligibleReplica,
            108 => Self::NewLeaderElected,
            109 => Self::OffsetMovedToTieredStorage,
            110 => Self::FencedMemberEpoch,
            111 => Self::UnreleasedInstanceId,
            112 => Self::UnsupportedAssignor,
            113 => Self::StaleMemberEpoch,
            114 => Self::MismatchedEndpointType,
            115 => Self::UnsupportedEndpointType,
            116 => Self::UnknownControllerId,
            117 => Self::UnknownSubscriptionId,
            118 => Self::TelemetryTooLarge,
            119 => Self::InvalidRegistration,
            120 => Self::TransactionAbortable,
            121 => Self::InvalidRecordState,
            122 => Self::ShareSessionNotFound,
            123 => Self::InvalidShareSessionEpoch,
            124 => Self::FencedStateEpoch,
            125 => Self::InvalidVoterKey,
            126 => Self::DuplicateVoter,
            127 => Self::VoterNotFound,
            128 => Self::InvalidRegularExpression,
            129 => Self::RebootstrapRequired,
            130 => Self::StreamsInvalidTopology,
            131 => Self::StreamsInvalidTopologyEpoch,
            132 => Self::StreamsTopologyFenced,
            133 => Self::ShareSessionLimitReached,
            _ => return None,
        })
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.name(), self.code())
    }
}
