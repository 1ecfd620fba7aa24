//! What travels: frames, Kafka messages, record batches, ids, error codes. Knows bytes and versions; knows no state,
//! disk, clock or socket.

pub mod batch;
pub mod error;
pub mod ids;
pub mod values;

pub use error::ErrorCode;
pub use ids::{EpochOffset, LeaderEpoch, LogId, LogIdError, LogOffset, NodeId, PartitionIndex, TopicId};
pub use kafka_protocol;
pub use values::{Draw, MonoMs, Now, WallMs};
