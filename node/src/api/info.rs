//! Answers that come from the metadata image alone: FindCoordinator, and the borders to the image's own answer builders.

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use pyralog_coordinator::metadata::Image;
use pyralog_protocol::{ErrorCode, LogId, NodeId, kafka_protocol};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// FindCoordinator v4 asks for several keys at once (KIP-699).
const BATCHED_FROM: i16 = 4;

/// The internal topic that comes into being when a group looks for its coordinator (G1), if it is not there yet. Our
/// offsets live in the coordinator's store; the topic is what tools and clients expect to see.
pub(crate) fn missing_internal_topic(image: &Image, request: &FindCoordinatorRequest) -> Option<LogId> {
    let wanted = request.key_type == GROUP && image.log(CONSUMER_OFFSETS).is_none();
    wanted.then(|| LogId::new(CONSUMER_OFFSETS).ok()).flatten()
}

/// Serves FindCoordinator. One node is the coordinator of everything, and ready at once.
pub(crate) fn find_coordinator(
    version: i16,
    request: &FindCoordinatorRequest,
    node: NodeId,
    address: (&str, u16),
) -> FindCoordinatorResponse {
    let refusal = match request.key_type {
        GROUP | TRANSACTION => None,
        other => Some(format!("key type {other} is not 0 (group) or 1 (transaction)")),
    };
    let host = StrBytes::from(address.0.to_owned());
    let port = i32::from(address.1);
    if version < BATCHED_FROM {
        return match refusal {
            Some(why) => FindCoordinatorResponse::default()
                .with_error_code(ErrorCode::InvalidRequest.code())
                .with_error_message((version >= 1).then(|| StrBytes::from(why)))
                .with_node_id(BrokerId(-1))
                .with_port(-1),
            None => FindCoordinatorResponse::default()
                .with_error_message((version >= 1).then(|| StrBytes::from_static_str("NONE")))
                .with_node_id(BrokerId(node.0))
                .with_host(host)
                .with_port(port),
        };
    }
    let coordinators = request.coordinator_keys.iter().map(|key| {
        let answer = Coordinator::default().with_key(key.clone());
        match &refusal {
            Some(why) => answer
                .with_error_code(ErrorCode::InvalidRequest.code())
                .with_error_message(Some(StrBytes::from(why.clone())))
                .with_node_id(BrokerId(-1))
                .with_port(-1),
            None => answer.with_node_id(BrokerId(node.0)).with_host(host.clone()).with_port(port),
        }
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}
