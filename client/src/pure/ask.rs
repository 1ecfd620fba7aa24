//! Requests with the type of their answers, so that the rest of the client never sees the wrong one.

use pyralog_protocol::messages as kp;
use pyralog_protocol::{ApiKey, Request, Response};

/// A request that this client sends.
pub trait Ask: Into<Request> {
    /// What comes back.
    type Answer;
    /// The API.
    const API: ApiKey;
    /// The answer, if it is of this API.
    fn answer(response: Response) -> Option<Self::Answer>;
}

macro_rules! asks {
    ($($name:ident, $request:ident, $response:ident;)*) => {
        $(impl Ask for kp::$request {
            type Answer = kp::$response;
            const API: ApiKey = ApiKey::$name;
            fn answer(response: Response) -> Option<Self::Answer> {
                #[allow(clippy::wildcard_enum_match_arm, reason = "one of all")]
                match response {
                    Response::$name(answer) => Some(answer),
                    _ => None,
                }
            }
        })*
    };
}
asks! {
    Produce, ProduceRequest, ProduceResponse;
    Fetch, FetchRequest, FetchResponse;
    ListOffsets, ListOffsetsRequest, ListOffsetsResponse;
    Metadata, MetadataRequest, MetadataResponse;
    OffsetCommit, OffsetCommitRequest, OffsetCommitResponse;
    OffsetFetch, OffsetFetchRequest, OffsetFetchResponse;
    FindCoordinator, FindCoordinatorRequest, FindCoordinatorResponse;
    DescribeGroups, DescribeGroupsRequest, DescribeGroupsResponse;
    ListGroups, ListGroupsRequest, ListGroupsResponse;
    ApiVersions, ApiVersionsRequest, ApiVersionsResponse;
    CreateTopics, CreateTopicsRequest, CreateTopicsResponse;
    DeleteTopics, DeleteTopicsRequest, DeleteTopicsResponse;
    DeleteRecords, DeleteRecordsRequest, DeleteRecordsResponse;
    InitProducerId, InitProducerIdRequest, InitProducerIdResponse;
    DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResponse;
    DescribeLogDirs, DescribeLogDirsRequest, DescribeLogDirsResponse;
    CreatePartitions, CreatePartitionsRequest, CreatePartitionsResponse;
    DeleteGroups, DeleteGroupsRequest, DeleteGroupsResponse;
    IncrementalAlterConfigs, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    OffsetDelete, OffsetDeleteRequest, OffsetDeleteResponse;
    DescribeQuorum, DescribeQuorumRequest, DescribeQuorumResponse;
    DescribeCluster, DescribeClusterRequest, DescribeClusterResponse;
    VlsnDescribe, VlsnDescribeRequest, VlsnDescribeResponse;
    VlsnRead, VlsnReadRequest, VlsnReadResponse;
    VlsnReadRange, VlsnReadRangeRequest, VlsnReadRangeResponse;
    VlsnAppend, VlsnAppendRequest, VlsnAppendResponse;
    VlsnCommit, VlsnCommitRequest, VlsnCommitResponse;
    VlsnCommitted, VlsnCommittedRequest, VlsnCommittedResponse;
    VlsnDeleteCommit, VlsnDeleteCommitRequest, VlsnDeleteCommitResponse;
    SequencerReserve, SequencerReserveRequest, SequencerReserveResponse;
    SequencerDescribe, SequencerDescribeRequest, SequencerDescribeResponse;
    WriterEpoch, WriterEpochRequest, WriterEpochResponse;
    ConsumerGroupDescribe, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
}
