//! What the node asks of the coordinator and what it gets back. The messages are Kafka's own request and response
//! structs, so that nothing is translated twice; what the wire does not carry is in [`Context`].

use kafka_protocol::messages as m;
use pyralog_protocol::kafka_protocol;
use pyralog_protocol::vlsn::{Vlsn, messages as v};
use pyralog_protocol::{Draw, LogId, PartitionIndex, TopicId};

/// Names the place that waits for a reply. The node hands them out; the coordinator only gives them back, once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What a request carries besides its body.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where the reply goes.
    pub token: Token,
    /// Version of the request; some answers depend on it.
    pub api_version: i16,
    /// Client id from the header, empty when it was null.
    pub client_id: String,
    /// Address of the client without port, as `/127.0.0.1` (Kafka's spelling with the leading slash).
    pub client_host: String,
    /// Randomness for the ids that this request may need.
    pub draw: Draw,
    /// The disk is all but full (OP-10): what would write much and can wait is refused.
    pub no_room: Option<NoRoom>,
}

/// A disk that is all but full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// For the how-manieth time it is, since the process was started.
    pub time: u64,
    /// Bytes of it that changes of configs may take in all, until there is room again.
    pub configs_bytes: u64,
}

/// One log of the `[logs.<name>]` tables: created at start when it is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredLog {
    /// Its name.
    pub log: LogId,
    /// Partition count; `None` takes the broker's default.
    pub partition_count: Option<i32>,
    /// Replication factor; `None` takes the broker's default.
    pub replication_factor: Option<i16>,
    /// Topic configs, by Kafka's names.
    pub configs: Vec<(String, String)>,
}

/// What became of the declared logs; each text is for the terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Why logs were not created.
    pub refused: Vec<String>,
    /// Where logs that were there already are not as declared.
    pub differing: Vec<String>,
}

/// Raise partition counts, and where the new counts begin.
#[derive(Clone, Debug, Default)]
pub struct NewPartitions {
    /// The request.
    pub request: m::CreatePartitionsRequest,
    /// For each VLSN log.
    pub routing_from: Vec<RoutingFrom>,
}

/// Where a new partition count of a VLSN log begins.
#[derive(Clone, Debug)]
pub struct RoutingFrom {
    /// The log.
    pub topic: TopicId,
    /// How many partitions it has. What others took that came since then is not known here.
    pub partitions: usize,
    /// A VLSN above every one that was written: the first one that the new count routes. Whoever says it sees to it that
    /// nothing is written from there on before the change is in force. Else a partition that cannot tell what it has.
    pub from: Result<Vlsn, PartitionIndex>,
}

impl From<m::CreatePartitionsRequest> for NewPartitions {
    fn from(request: m::CreatePartitionsRequest) -> Self {
        Self { request, routing_from: Vec::new() }
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $response:ty),* $(,)?) => {
        /// A request to the coordinator.
        #[derive(Clone, Debug)]
        pub enum Command { $($(#[$doc])* $name($request),)* }

        /// The answer to the [`Command`] of the same name.
        #[derive(Clone, Debug)]
        pub enum Reply { $($(#[$doc])* $name($response),)* }
    };
}

commands! {
    /// Create logs.
    CreateTopics(m::CreateTopicsRequest) -> m::CreateTopicsResponse,
    /// Create logs that Metadata asked for with the broker's defaults. Names that exist are no error; names that
    /// collide (behaviours M6) are left out silently.
    AutoCreate(Vec<LogId>) -> (),
    /// Create the logs of the configuration file that are not there.
    DeclareLogs(Vec<DeclaredLog>) -> Declared,
    /// Delete logs by name or id.
    DeleteTopics(m::DeleteTopicsRequest) -> m::DeleteTopicsResponse,
    /// Raise partition counts.
    CreatePartitions(NewPartitions) -> m::CreatePartitionsResponse,
    /// Replace configs.
    AlterConfigs(m::AlterConfigsRequest) -> m::AlterConfigsResponse,
    /// Change single configs.
    IncrementalAlterConfigs(m::IncrementalAlterConfigsRequest) -> m::IncrementalAlterConfigsResponse,
    /// Hand out a producer id.
    InitProducerId(m::InitProducerIdRequest) -> m::InitProducerIdResponse,
    /// After an unclean stop: raise the leader epoch of every partition that this node leads.
    RaiseEpochs(()) -> (),
    /// Take or release the writer epoch of a VLSN log.
    WriterEpoch(v::WriterEpochRequest) -> v::WriterEpochResponse,
    /// Commit VLSNs.
    VlsnCommit(v::VlsnCommitRequest) -> v::VlsnCommitResponse,
    /// Read committed VLSNs.
    VlsnCommitted(v::VlsnCommittedRequest) -> v::VlsnCommittedResponse,
    /// Forget committed VLSNs.
    VlsnDeleteCommit(v::VlsnDeleteCommitRequest) -> v::VlsnDeleteCommitResponse,
    /// Take numbers of a sequencer.
    SequencerReserve(v::SequencerReserveRequest) -> v::SequencerReserveResponse,
    /// Describe sequencers.
    SequencerDescribe(v::SequencerDescribeRequest) -> v::SequencerDescribeResponse,
    /// Join a classic group.
    JoinGroup(m::JoinGroupRequest) -> m::JoinGroupResponse,
    /// Hand in or fetch the assignment.
    SyncGroup(m::SyncGroupRequest) -> m::SyncGroupResponse,
    /// A member is alive.
    Heartbeat(m::HeartbeatRequest) -> m::HeartbeatResponse,
    /// Members leave.
    LeaveGroup(m::LeaveGroupRequest) -> m::LeaveGroupResponse,
    /// Join, stay in or leave a KIP-848 group.
    ConsumerGroupHeartbeat(m::ConsumerGroupHeartbeatRequest) -> m::ConsumerGroupHeartbeatResponse,
    /// Describe KIP-848 groups.
    ConsumerGroupDescribe(m::ConsumerGroupDescribeRequest) -> m::ConsumerGroupDescribeResponse,
    /// Commit offsets.
    OffsetCommit(m::OffsetCommitRequest) -> m::OffsetCommitResponse,
    /// Read committed offsets.
    OffsetFetch(m::OffsetFetchRequest) -> m::OffsetFetchResponse,
    /// Delete committed offsets.
    OffsetDelete(m::OffsetDeleteRequest) -> m::OffsetDeleteResponse,
    /// Describe groups.
    DescribeGroups(m::DescribeGroupsRequest) -> m::DescribeGroupsResponse,
    /// List groups.
    ListGroups(m::ListGroupsRequest) -> m::ListGroupsResponse,
    /// Delete groups.
    DeleteGroups(m::DeleteGroupsRequest) -> m::DeleteGroupsResponse,
}
