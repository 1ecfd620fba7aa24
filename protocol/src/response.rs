//! Responses, encoded with length and header, ready for the socket.
//!
//! Holds: the header version follows the table (ApiVersions always 0, C3). Fields that an older version does not have are
//! reset before encoding: `kafka_protocol` refuses to encode them, and each is a hint that the old client never knew
//! of. Two answers differ in shape instead, and their makers must build the right one: OffsetFetch (`groups` from v8,
//! `topics` below) and FindCoordinator (`coordinators` from v4, the single fields below).

use bytes::{Bytes, BytesMut};

use crate::ErrorCode;
use crate::api::{APIS, ApiKey};
use crate::body::Body;
use crate::frame::LENGTH_BYTES;
use crate::messages as kp;
use crate::request::{for_each_api, with_kafka_apis, with_private_apis};

/// Why an answer could not be encoded: a mistake of the broker, never of the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The message does not fit the version.
    #[error("{api} v{version} cannot be encoded: {detail}")]
    Message {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What the encoder says.
        detail: String,
    },
    /// The frame has more bytes than its length can say.
    #[error("{api} v{version} has {bytes} bytes, a frame may have 2147483647")]
    TooLarge {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// Size of the frame.
        bytes: usize,
    },
}

/// Value of `authorized_operations` that says "not asked".
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

macro_rules! responses {
    ($($name:ident, $request:ident, $response:ident;)*) => {
        /// An answer of any API that is offered.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the names are Kafka's")]
        pub enum Response {
            $($name(kp::$response),)*
        }

        impl Response {
            /// The API.
            pub fn api(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            fn size(&self, version: i16) -> Result<usize, String> {
                match self {
                    $(Self::$name(body) => Body::size(body, version),)*
                }
            }

            fn encode_body(&self, version: i16, out: &mut BytesMut) -> Result<(), String> {
                match self {
                    $(Self::$name(body) => Body::encode(body, version, out),)*
                }
            }

            pub(crate) fn decode_body(api: ApiKey, version: i16, body: &mut Bytes) -> Result<Self, String> {
                match api {
                    $(ApiKey::$name => <kp::$response as Body>::decode(version, body).map(Self::$name),)*
                }
            }
        }

        $(impl From<kp::$response> for Response {
            fn from(body: kp::$response) -> Self {
                Self::$name(body)
            }
        })*
    };
}
for_each_api!(responses);

/// Encodes an answer: length, header, body.
pub fn encode_response(correlation_id: i32, version: i16, mut response: Response) -> Result<Bytes, EncodeError> {
    /// Length, correlation id, and the header's tag byte.
    const HEAD_BYTES_MAX: usize = LENGTH_BYTES + 5;
    let api = response.api();
    let fail = |detail| EncodeError::Message { api, version, detail };
    fit(&mut response, version);
    let mut out = BytesMut::with_capacity(HEAD_BYTES_MAX + response.size(version).map_err(fail)?);
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.extend_from_slice(&correlation_id.to_be_bytes());
    if api.spec().response_header_version(version) == 1 {
        out.extend_from_slice(&[0]); // no tagged fields
    }
    response.encode_body(version, &mut out).map_err(fail)?;
    write_length(&mut out, api, version)?;
    Ok(out.freeze())
}

/// Writes the frame's length into its first four bytes.
pub(crate) fn write_length(frame: &mut BytesMut, api: ApiKey, version: i16) -> Result<(), EncodeError> {
    let bytes = frame.len().saturating_sub(LENGTH_BYTES);
    let length = i32::try_from(bytes).map_err(|_| EncodeError::TooLarge { api, version, bytes })?;
    if let Some(prefix) = frame.first_chunk_mut() {
        *prefix = length.to_be_bytes();
    }
    Ok(())
}

/// Reads an answer (without its length), and what is left behind it: for tests of our own answers. There is no guard here;
/// clients use [`crate::read_answer`].
pub fn decode_response(mut frame: Bytes, api: ApiKey, version: i16) -> Result<(i32, Response, Bytes), String> {
    let header_version = api.spec().response_header_version(version);
    let header = <kp::ResponseHeader as Body>::decode(header_version, &mut frame)?;
    let response = Response::decode_body(api, version, &mut frame)?;
    Ok((header.correlation_id, response, frame))
}

/// The answer to ApiVersions in a version that is not served: body v0, error 35 and the range of key 18 alone (C1).
pub fn unsupported_api_versions(correlation_id: i32) -> Result<Bytes, EncodeError> {
    let body = kp::ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(listed_apis().filter(|api| api.api_key == ApiKey::ApiVersions.code()).collect());
    encode_response(correlation_id, 0, body.into())
}

/// The ranges that ApiVersions lists.
pub fn listed_apis() -> impl Iterator<Item = kp::api_versions_response::ApiVersion> {
    APIS.iter().map(|spec| {
        kp::api_versions_response::ApiVersion::default()
            .with_api_key(spec.key.code())
            .with_min_version(spec.listed.min)
            .with_max_version(spec.listed.max)
    })
}

/// Resets what the version cannot carry. Tagged fields and those that Kafka calls ignorable need
/// no care: the encoder leaves them out by itself.
fn fit(response: &mut Response, version: i16) {
    match response {
        Response::Fetch(body) => fit_fetch(body, version),
        Response::ListOffsets(body) if version < 4 => {
            body.topics.iter_mut().flat_map(|t| &mut t.partitions).for_each(|p| p.leader_epoch = -1);
        }
        Response::Metadata(body) => fit_metadata(body, version),
        Response::JoinGroup(body) if version < 9 => body.skip_assignment = false,
        Response::LeaveGroup(body) if version < 3 => body.members.clear(),
        Response::DescribeGroups(body) => fit_describe_groups(body, version),
        Response::DescribeCluster(body) => fit_describe_cluster(body, version),
        Response::ElectLeaders(body) if version < 1 => body.error_code = 0,
        Response::DescribeQuorum(body) if version < 2 => fit_describe_quorum(body),
        Response::ListOffsets(_)
        | Response::ElectLeaders(_)
        | Response::AlterPartitionReassignments(_)
        | Response::UpdateFeatures(_)
        | Response::ListConfigResources(_)
        | Response::AlterReplicaLogDirs(_)
        | Response::ListPartitionReassignments(_)
        | Response::DescribeProducers(_)
        | Response::ConsumerGroupHeartbeat(_)
        | Response::ConsumerGroupDescribe(_)
        | Response::DescribeLogDirs(_)
        | Response::DescribeQuorum(_)
        | Response::JoinGroup(_)
        | Response::LeaveGroup(_)
        | Response::Produce(_)
        | Response::OffsetCommit(_)
        | Response::OffsetFetch(_)
        | Response::FindCoordinator(_)
        | Response::Heartbeat(_)
        | Response::SyncGroup(_)
        | Response::ListGroups(_)
        | Response::ApiVersions(_)
        | Response::CreateTopics(_)
        | Response::DeleteTopics(_)
        | Response::DeleteRecords(_)
        | Response::InitProducerId(_)
        | Response::OffsetForLeaderEpoch(_)
        | Response::DescribeConfigs(_)
        | Response::AlterConfigs(_)
        | Response::CreatePartitions(_)
        | Response::DeleteGroups(_)
        | Response::IncrementalAlterConfigs(_)
        | Response::OffsetDelete(_)
        | Response::DescribeTopicPartitions(_)
        | Response::VlsnDescribe(_)
        | Response::VlsnRead(_)
        | Response::VlsnReadRange(_)
        | Response::VlsnAppend(_)
        | Response::VlsnCommit(_)
        | Response::VlsnCommitted(_)
        | Response::VlsnDeleteCommit(_)
        | Response::SequencerReserve(_)
        | Response::SequencerDescribe(_)
        | Response::WriterEpoch(_) => {}
    }
}

pub(crate) fn fit_fetch(body: &mut kp::FetchResponse, version: i16) {
    if version < 7 {
        body.session_id = 0;
    }
    if version < 11 {
        body.responses.iter_mut().flat_map(|t| &mut t.partitions).for_each(|p| p.preferred_read_replica = (-1).into());
    }
}

fn fit_metadata(body: &mut kp::MetadataResponse, version: i16) {
    if !(8..=10).contains(&version) {
        body.cluster_authorized_operations = OPERATIONS_NOT_ASKED;
    }
    if version < 8 {
        body.topics.iter_mut().for_each(|t| t.topic_authorized_operations = OPERATIONS_NOT_ASKED);
    }
}

fn fit_describe_groups(body: &mut kp::DescribeGroupsResponse, version: i16) {
    for group in &mut body.groups {
        if version < 6 {
            group.error_message = None;
        }
        if version < 3 {
            group.authorized_operations = OPERATIONS_NOT_ASKED;
        }
    }
}

fn fit_describe_cluster(body: &mut kp::DescribeClusterResponse, version: i16) {
    if version < 1 {
        body.endpoint_type = 1;
    }
    if version < 2 {
        body.brokers.iter_mut().for_each(|b| b.is_fenced = false);
    }
}

fn fit_describe_quorum(body: &mut kp::DescribeQuorumResponse) {
    body.nodes.clear();
    for partition in body.topics.iter_mut().flat_map(|t| &mut t.partitions) {
        let replicas = partition.current_voters.iter_mut().chain(&mut partition.observers);
        replicas.for_each(|replica| replica.replica_directory_id = Default::default());
    }
}

#[cfg(test)]
mod tests;
