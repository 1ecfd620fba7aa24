//! What the node refuses, in the words of HTTP. Its own explanation is the detail; the code of Kafka is a member.

use pyralog_protocol::ErrorCode;

use super::problem::{Kind, Problem};

/// A refusal of the node with its explanation.
pub fn refused(code: i16, message: Option<&str>) -> Problem {
    let known = ErrorCode::from_code(code);
    let kind = known.map_or(Kind::Unavailable, kind_of);
    let detail = message.map_or_else(|| format!("the node refuses this with error code {code}"), str::to_owned);
    Problem::new(kind, detail).with("kafka_error_code", code)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes is the node's own trouble")]
fn kind_of(code: ErrorCode) -> Kind {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => Kind::UnknownLog,
        ErrorCode::OutOfOrderSequenceNumber => Kind::Expected,
        ErrorCode::ProducerFenced => Kind::Fenced,
        ErrorCode::InvalidRecord => Kind::Conflict,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => Kind::TooLarge,
        ErrorCode::InvalidRequest | ErrorCode::OffsetMetadataTooLarge | ErrorCode::InvalidTimestamp => Kind::Content,
        ErrorCode::PolicyViolation | ErrorCode::OffsetOutOfRange => Kind::Conflict,
        _ => Kind::Unavailable,
    }
}
