//! What travels: frames, Kafka messages, record batches, ids, error codes. Knows bytes and versions; knows no state,
//! disk, clock or socket.

pub mod answer;
pub mod api;
pub mod batch;
mod body;
pub mod created;
pub mod error;
pub mod fetch;
pub mod frame;
pub mod guard;
pub mod header;
pub mod ids;
pub mod request;
pub mod response;
pub mod values;
pub mod vlsn;

pub use answer::{AnswerError, read_answer};
pub use api::ApiKey;
pub use error::ErrorCode;
pub use frame::Frame;
pub use guard::DecodeLimits;
pub use header::{DecodeError, Reaction, RequestHead};
pub use ids::{EpochOffset, LeaderEpoch, LogId, LogIdError, LogOffset, NodeId, PartitionIndex, TopicId};
pub use kafka_protocol;
pub use request::{Request, decode_frame, decode_request};
pub use response::{EncodeError, Response, encode_response};
pub use values::{Draw, MonoMs, Now, WallMs};
pub use vlsn::{Routing, Vlsn};

/// Messages of all APIs, Kafka's and our own.
pub mod messages {
    pub use crate::vlsn::messages::*;
    pub use kafka_protocol::messages::*;
}

/// Captured frames, for unit tests and integration tests alike.
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
