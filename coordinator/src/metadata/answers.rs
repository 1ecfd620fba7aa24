//! Answers that need nothing but an image: Metadata, DescribeCluster, DescribeTopicPartitions. Pure functions.

use super::image::{Endpoint, Image};
use kafka_protocol::messages as m;
use pyralog_protocol::{LogId, kafka_protocol};

/// An answer to Metadata, and what has to happen besides.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataAnswer {
    /// The answer.
    pub response: m::MetadataResponse,
    /// Logs that were asked for, do not exist, and are to be created now ([`crate::Command::AutoCreate`]).
    pub create: Vec<LogId>,
}

/// Answers Metadata (behaviours M1-M16, M19). `endpoint` is where the asking client reaches this node.
pub fn metadata(image: &Image, endpoint: &Endpoint, request: &m::MetadataRequest, version: i16) -> MetadataAnswer {
    todo!()
}

/// Answers DescribeCluster (M13, M17).
pub fn describe_cluster(
    image: &Image,
    endpoint: &Endpoint,
    request: &m::DescribeClusterRequest,
    version: i16,
) -> m::DescribeClusterResponse {
    todo!()
}

/// Answers DescribeTopicPartitions (M18).
pub fn describe_topic_partitions(
    image: &Image,
    request: &m::DescribeTopicPartitionsRequest,
) -> m::DescribeTopicPartitionsResponse {
    todo!()
}
