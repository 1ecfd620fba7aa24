//! Between ids of the domain and what the message structs hold. The structs' UUID type is not named here: a pure crate
//! has no use for a crate that can draw UUIDs.

use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{ErrorCode, LogId, NodeId, TopicId, kafka_protocol};

/// An id as the messages carry it.
pub(crate) fn wire_id<T: TryFrom<Vec<u8>> + Default>(id: TopicId) -> T {
    T::try_from(id.0.to_vec()).unwrap_or_default()
}

/// An id from a message.
pub(crate) fn topic_id(wire: &impl AsRef<[u8]>) -> TopicId {
    <[u8; 16]>::try_from(wire.as_ref()).map_or(TopicId::ZERO, TopicId)
}

pub(crate) fn topic_name(log: &LogId) -> TopicName {
    TopicName(text(log.as_str()))
}

pub(crate) fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

pub(crate) fn broker(node: NodeId) -> BrokerId {
    BrokerId(node.0)
}

pub(crate) fn brokers(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().copied().map(broker).collect()
}

/// A refusal as an item carries it: code and, where the version has a place for it, the message.
pub(crate) fn refusal(code: ErrorCode, message: &impl ToString) -> (i16, Option<StrBytes>) {
    (code.code(), Some(StrBytes::from_string(message.to_string())))
}
