//! Requests, decoded: header, guard, then `kafka_protocol`.
//!
//! Holds: no input makes this panic or allocate beyond the guard's bound. Strings and records stay slices of the frame:
//! whoever keeps one longer than the request copies it, or a group id pins a frame of many megabytes, and what is
//! [held](Frame::holding) for it. Bytes
//! behind a complete body are ignored (C13). Strings that are not UTF-8 end the connection, unlike in Kafka, which
//! replaces the bad characters: no client sends them, and no name with them is legal.

use bytes::{Bytes, BytesMut};

use crate::api::ApiKey;
use crate::body::Body;
use crate::frame::Frame;
use crate::guard::{DecodeLimits, check_body};
use crate::header::{DecodeError, RequestHead, read_head};
use crate::messages as kp;
use crate::response::EncodeError;

/// Calls a macro with the APIs that Kafka has, behind what it is called with: name, request message, response message.
macro_rules! with_kafka_apis {
    ($use:ident $($before:tt)*) => {
        $use! {
            $($before)*
            Produce, ProduceRequest, ProduceResponse;
            Fetch, FetchRequest, FetchResponse;
            ListOffsets, ListOffsetsRequest, ListOffsetsResponse;
            Metadata, MetadataRequest, MetadataResponse;
            OffsetCommit, OffsetCommitRequest, OffsetCommitResponse;
            OffsetFetch, OffsetFetchRequest, OffsetFetchResponse;
            FindCoordinator, FindCoordinatorRequest, FindCoordinatorResponse;
            JoinGroup, JoinGroupRequest, JoinGroupResponse;
            Heartbeat, HeartbeatRequest, HeartbeatResponse;
            LeaveGroup, LeaveGroupRequest, LeaveGroupResponse;
            SyncGroup, SyncGroupRequest, SyncGroupResponse;
            DescribeGroups, DescribeGroupsRequest, DescribeGroupsResponse;
            ListGroups, ListGroupsRequest, ListGroupsResponse;
            ApiVersions, ApiVersionsRequest, ApiVersionsResponse;
            CreateTopics, CreateTopicsRequest, CreateTopicsResponse;
            DeleteTopics, DeleteTopicsRequest, DeleteTopicsResponse;
            DeleteRecords, DeleteRecordsRequest, DeleteRecordsResponse;
            InitProducerId, InitProducerIdRequest, InitProducerIdResponse;
            OffsetForLeaderEpoch, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
            DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResponse;
            AlterConfigs, AlterConfigsRequest, AlterConfigsResponse;
            AlterReplicaLogDirs, AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse;
            DescribeLogDirs, DescribeLogDirsRequest, DescribeLogDirsResponse;
            CreatePartitions, CreatePartitionsRequest, CreatePartitionsResponse;
            DeleteGroups, DeleteGroupsRequest, DeleteGroupsResponse;
            ElectLeaders, ElectLeadersRequest, ElectLeadersResponse;
            IncrementalAlterConfigs, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
            AlterPartitionReassignments, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
            ListPartitionReassignments, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
            OffsetDelete, OffsetDeleteRequest, OffsetDeleteResponse;
            DescribeQuorum, DescribeQuorumRequest, DescribeQuorumResponse;
            UpdateFeatures, UpdateFeaturesRequest, UpdateFeaturesResponse;
            DescribeCluster, DescribeClusterRequest, DescribeClusterResponse;
            DescribeProducers, DescribeProducersRequest, DescribeProducersResponse;
            ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
            ConsumerGroupDescribe, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
            ListConfigResources, ListConfigResourcesRequest, ListConfigResourcesResponse;
            DescribeTopicPartitions, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
        }
    };
}

/// The same with the private ones.
macro_rules! with_private_apis {
    ($use:ident $($before:tt)*) => {
        $use! {
            $($before)*
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
        }
    };
}

/// Calls a macro with every API: name, request message, response message.
macro_rules! for_each_api {
    ($use:ident) => {
        with_kafka_apis!(with_private_apis $use);
    };
}
pub(crate) use {for_each_api, with_kafka_apis, with_private_apis};

macro_rules! requests {
    ($($name:ident, $request:ident, $response:ident;)*) => {
        /// A decoded request of any API that is offered.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the names are Kafka's")]
        pub enum Request {
            $($name(kp::$request),)*
        }

        impl Request {
            /// The API.
            pub fn api(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            fn decode(api: ApiKey, version: i16, body: &mut Bytes) -> Result<Self, String> {
                match api {
                    $(ApiKey::$name => <kp::$request as Body>::decode(version, body).map(Self::$name),)*
                }
            }

            fn encode_body(&self, version: i16, out: &mut BytesMut) -> Result<(), String> {
                match self {
                    $(Self::$name(body) => Body::encode(body, version, out),)*
                }
            }
        }

        $(impl From<kp::$request> for Request {
            fn from(body: kp::$request) -> Self {
                Self::$name(body)
            }
        })*
    };
}
for_each_api!(requests);

/// Decodes a frame (without its length). Takes it whole, because records are handed on as slices of it.
pub fn decode_request(frame: BytesMut, limits: &DecodeLimits) -> Result<(RequestHead, Request), DecodeError> {
    decode_frame(frame.into(), limits)
}

/// The same for a frame for which something is held.
pub fn decode_frame(mut frame: Frame, limits: &DecodeLimits) -> Result<(RequestHead, Request), DecodeError> {
    let (head, body_at) = read_head(&frame, limits)?;
    frame.skip(body_at);
    let (api, version) = (head.api, head.version);
    check_body(frame.bytes_mut(), api, version, limits).map_err(|error| DecodeError::Guard { api, version, error })?;
    let request = Request::decode(api, version, &mut frame.freeze());
    request.map(|request| (head, request)).map_err(|detail| DecodeError::Body { api, version, detail })
}

/// Encodes a request with its length in front: for clients of ours and for tests.
pub fn encode_request(head: &RequestHead, request: &Request) -> Result<BytesMut, EncodeError> {
    let fail = |detail: String| EncodeError::Message { api: head.api, version: head.version, detail };
    let mut out = BytesMut::new();
    out.extend_from_slice(&[0; crate::frame::LENGTH_BYTES]);
    let header = kp::RequestHeader::default()
        .with_request_api_key(head.api.code())
        .with_request_api_version(head.version)
        .with_correlation_id(head.correlation_id)
        .with_client_id(head.client_id.clone());
    Body::encode(&header, head.api.spec().request_header_version(head.version), &mut out).map_err(fail)?;
    request.encode_body(head.version, &mut out).map_err(fail)?;
    crate::response::write_length(&mut out, head.api, head.version)?;
    Ok(out)
}
