//! The table of APIs: which exist here, in which versions, and from which version on they are flexible.
//!
//! Holds: what `listed` says is what ApiVersions answers, and everything in `served` decodes and encodes (a test does it
//! at both ends of every range). The two differ for Produce only: older librdkafka looks at the listed minimum.
//! Deliberately not taken from `kafka_protocol`'s own ranges, which promise versions that its messages cannot decode.

/// An API that is offered, by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
#[allow(missing_docs, reason = "the names are Kafka's, and from 30720 on those of `vlsn::messages`")]
pub enum ApiKey {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    AlterReplicaLogDirs = 34,
    DescribeLogDirs = 35,
    CreatePartitions = 37,
    DeleteGroups = 42,
    ElectLeaders = 43,
    IncrementalAlterConfigs = 44,
    AlterPartitionReassignments = 45,
    ListPartitionReassignments = 46,
    OffsetDelete = 47,
    DescribeQuorum = 55,
    UpdateFeatures = 57,
    DescribeCluster = 60,
    DescribeProducers = 61,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
    VlsnDescribe = 30720,
    VlsnRead = 30721,
    VlsnReadRange = 30722,
    VlsnAppend = 30723,
    VlsnCommit = 30724,
    VlsnCommitted = 30725,
    VlsnDeleteCommit = 30726,
    SequencerReserve = 30727,
    SequencerDescribe = 30728,
    WriterEpoch = 30729,
}

/// Versions from `min` to `max`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub min: i16,
    /// The newest.
    pub max: i16,
}

impl Versions {
    /// Whether the version lies in the range.
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// All versions, oldest first.
    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.min..=self.max
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiSpec {
    /// The API.
    pub key: ApiKey,
    /// Kafka's name of it, or ours of what is private.
    pub name: &'static str,
    /// What ApiVersions says.
    pub listed: Versions,
    /// What is answered; any other version closes the connection (C9), save for ApiVersions itself (C1).
    pub served: Versions,
    /// First version with compact encodings and tagged fields; none below [`NEVER_FLEXIBLE`].
    pub flexible_from: i16,
}

/// `flexible_from` of APIs that have no flexible version.
pub const NEVER_FLEXIBLE: i16 = i16::MAX;

const fn api(key: ApiKey, name: &'static str, versions: (i16, i16), flexible_from: i16) -> ApiSpec {
    let served = Versions { min: versions.0, max: versions.1 };
    ApiSpec { key, name, listed: served, served, flexible_from }
}

const fn produce() -> ApiSpec {
    let mut spec = api(ApiKey::Produce, "Produce", (3, 13), 9);
    spec.listed.min = 0; // C8: listed from 3, older librdkafka stops compressing without a word
    spec
}

/// Every API, in the order of the keys.
pub static APIS: [ApiSpec; 48] = [
    produce(),
    api(ApiKey::Fetch, "Fetch", (4, 18), 12),
    api(ApiKey::ListOffsets, "ListOffsets", (1, 10), 6),
    api(ApiKey::Metadata, "Metadata", (0, 13), 9),
    api(ApiKey::OffsetCommit, "OffsetCommit", (2, 9), 8),
    api(ApiKey::OffsetFetch, "OffsetFetch", (1, 9), 6),
    api(ApiKey::FindCoordinator, "FindCoordinator", (0, 6), 3),
    api(ApiKey::JoinGroup, "JoinGroup", (0, 9), 6),
    api(ApiKey::Heartbeat, "Heartbeat", (0, 4), 4),
    api(ApiKey::LeaveGroup, "LeaveGroup", (0, 5), 4),
    api(ApiKey::SyncGroup, "SyncGroup", (0, 5), 4),
    api(ApiKey::DescribeGroups, "DescribeGroups", (0, 6), 5),
    api(ApiKey::ListGroups, "ListGroups", (0, 5), 3),
    api(ApiKey::ApiVersions, "ApiVersions", (0, 4), 3),
    api(ApiKey::CreateTopics, "CreateTopics", (2, 7), 5),
    api(ApiKey::DeleteTopics, "DeleteTopics", (1, 6), 4),
    api(ApiKey::DeleteRecords, "DeleteRecords", (0, 2), 2),
    api(ApiKey::InitProducerId, "InitProducerId", (0, 5), 2),
    api(ApiKey::OffsetForLeaderEpoch, "OffsetForLeaderEpoch", (2, 4), 4),
    api(ApiKey::DescribeConfigs, "DescribeConfigs", (1, 4), 4),
    api(ApiKey::AlterConfigs, "AlterConfigs", (0, 2), 2),
    api(ApiKey::AlterReplicaLogDirs, "AlterReplicaLogDirs", (1, 2), 2),
    api(ApiKey::DescribeLogDirs, "DescribeLogDirs", (1, 4), 2),
    api(ApiKey::CreatePartitions, "CreatePartitions", (0, 3), 2),
    api(ApiKey::DeleteGroups, "DeleteGroups", (0, 2), 2),
    api(ApiKey::ElectLeaders, "ElectLeaders", (0, 2), 2),
    api(ApiKey::IncrementalAlterConfigs, "IncrementalAlterConfigs", (0, 1), 1),
    api(ApiKey::AlterPartitionReassignments, "AlterPartitionReassignments", (0, 1), 0),
    api(ApiKey::ListPartitionReassignments, "ListPartitionReassignments", (0, 0), 0),
    api(ApiKey::OffsetDelete, "OffsetDelete", (0, 0), NEVER_FLEXIBLE),
    api(ApiKey::DescribeQuorum, "DescribeQuorum", (0, 2), 0),
    api(ApiKey::UpdateFeatures, "UpdateFeatures", (0, 2), 0),
    api(ApiKey::DescribeCluster, "DescribeCluster", (0, 2), 0),
    api(ApiKey::DescribeProducers, "DescribeProducers", (0, 0), 0),
    api(ApiKey::ConsumerGroupHeartbeat, "ConsumerGroupHeartbeat", (0, 1), 0),
    api(ApiKey::ConsumerGroupDescribe, "ConsumerGroupDescribe", (0, 1), 0),
    api(ApiKey::ListConfigResources, "ListConfigResources", (0, 1), 0),
    api(ApiKey::DescribeTopicPartitions, "DescribeTopicPartitions", (0, 0), 0),
    api(ApiKey::VlsnDescribe, "VlsnDescribe", (0, 0), 0),
    api(ApiKey::VlsnRead, "VlsnRead", (0, 0), 0),
    api(ApiKey::VlsnReadRange, "VlsnReadRange", (0, 0), 0),
    api(ApiKey::VlsnAppend, "VlsnAppend", (0, 0), 0),
    api(ApiKey::VlsnCommit, "VlsnCommit", (0, 0), 0),
    api(ApiKey::VlsnCommitted, "VlsnCommitted", (0, 0), 0),
    api(ApiKey::VlsnDeleteCommit, "VlsnDeleteCommit", (0, 0), 0),
    api(ApiKey::SequencerReserve, "SequencerReserve", (0, 0), 0),
    api(ApiKey::SequencerDescribe, "SequencerDescribe", (0, 0), 0),
    api(ApiKey::WriterEpoch, "WriterEpoch", (0, 0), 0),
];

impl ApiKey {
    /// The API of a number on the wire; `None` for everything that is not offered.
    pub fn from_code(code: i16) -> Option<Self> {
        APIS.iter().map(|spec| spec.key).find(|key| key.code() == code)
    }

    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether the API is our own, and no Kafka has it.
    pub const fn is_private(self) -> bool {
        self.code() >= crate::vlsn::messages::FIRST_KEY
    }

    /// The table's line.
    pub fn spec(self) -> &'static ApiSpec {
        // The table holds every key once, which a test shows; the fallback keeps this total.
        APIS.iter().find(|spec| spec.key == self).unwrap_or(&APIS[0])
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl ApiSpec {
    /// Whether the version has compact encodings and tagged fields.
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Version of the request header that goes with a version of the request.
    pub const fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the response header; ApiVersions stays at 0, because its reader does not know the version yet (C3).
    pub fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && self.key != ApiKey::ApiVersions { 1 } else { 0 }
    }
}

#[cfg(test)]
mod tests;
