//! The metadata machine: logs with their partitions and configs, configs of brokers, groups and client metrics,
//! producer ids, the cluster's identity. Holds: a log's name and id name the same [`LogState`]; leader epochs and
//! handed-out producer ids only rise; every stored config value is canonical and was legal when it was set.
//! [`Metadata::apply`] is the only writer, live and on load. Knows no partition's content, no clock and no connection.

mod alter;
pub mod answers;
mod buckets;
mod image;
mod machine;
mod placement;
pub mod reassign;
mod record;
mod topics;
mod views;
pub(crate) mod wire;
mod writers;

pub use alter::{AlterError, alter_code};
pub use image::{Endpoint, Image, LogState};
pub use machine::{Limits, Metadata};
pub use record::{
    ConfigsRecord, LogMetadata, LogRecord, MetadataRecord, PartitionMetadata, PartitioningMode, RetentionConfig,
    RoutingRecord, Writer, WriterRecord,
};
pub use topics::{TopicError, topic_code};
pub use views::{NotVlsn, ReadOnlyView, VLSN_NAME_MAX, ViewWish, view_id, view_name};

#[cfg(test)]
mod tests;
