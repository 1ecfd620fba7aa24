//! Answers of DescribeConfigs, as a pure function of an image.

use crate::metadata::Image;
use kafka_protocol::messages as m;
use pyralog_protocol::kafka_protocol;

/// Answers DescribeConfigs (behaviours K1-K4, K11).
pub fn describe_configs(
    image: &Image,
    request: &m::DescribeConfigsRequest,
    version: i16,
) -> m::DescribeConfigsResponse {
    todo!()
}
