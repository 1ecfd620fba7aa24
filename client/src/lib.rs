#![doc = include_str!("../README.md")]
//! # The crate inside
//!
//! `pure` has no socket, task or clock: encoders, decoders, the producer as a state machine. `net` carries its bytes and
//! wakes it up; without the feature `net` only the pure half is there.

pub mod config;
mod error;
mod log;
#[doc(hidden)]
pub mod pure;
mod record;

#[cfg(feature = "net")]
mod client;
#[cfg(feature = "net")]
mod commits;
#[cfg(feature = "net")]
mod configs;
#[cfg(feature = "net")]
mod consumer;
#[cfg(feature = "net")]
mod groups;
#[cfg(feature = "net")]
mod logs;
#[cfg(feature = "net")]
mod net;
#[cfg(feature = "net")]
mod nodes;
#[cfg(feature = "net")]
mod reader;
#[cfg(feature = "net")]
mod tenant;
#[cfg(feature = "net")]
mod trim;
#[cfg(feature = "net")]
mod vlsn;

pub use config::{Acks, ClientConfig, ProducerConfig, ReaderConfig, SettingsError};
pub use error::{
    BrokerError, CallError, ClusterError, ConfigError, ConnectError, ConsumeError, CreateLogError, ErrorKind,
    GroupError, LogError, ProduceError, PyralogError, Result, UpdateLogError,
};
pub use log::{
    IntoLogId, LogConfig, LogMetadata, LogPartitions, LogStats, LogSummary, LogUpdate, PartitionMetadata,
    PartitionStats, RetentionConfig, StartAt,
};
pub use pyralog_protocol::batch::Codec;
pub use pyralog_protocol::{EpochOffset, LeaderEpoch as Epoch, LogId, LogIdError, LogOffset, NodeId, TopicId};
pub use record::{Appended, Record, RecordHeader};

#[cfg(feature = "net")]
pub use client::PyralogClient;
#[cfg(feature = "net")]
pub use commits::PartitionCommitTracker;
#[cfg(feature = "net")]
pub use configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource, ConfigSynonym};
#[cfg(feature = "net")]
pub use consumer::{CommitStrategy, ConsumerConfig, UnifiedConsumer};
#[cfg(feature = "net")]
pub use groups::{GroupDescription, GroupKind, GroupMember, GroupPosition, GroupReset, GroupSummary, OffsetChange};
#[cfg(feature = "net")]
pub use net::writer::Delivery;
#[cfg(feature = "net")]
pub use nodes::{ClusterDescription, FolderDescription, NodeDescription, QuorumDescription};
#[cfg(feature = "net")]
pub use reader::{LogReader, OffsetReset, ReaderBuilder};
#[cfg(feature = "net")]
pub use tenant::TenantClient;
#[cfg(feature = "net")]
pub use vlsn::{
    ResumePosition, VlsnBuilder, VlsnClient, VlsnCommitTracker, VlsnDelivery, VlsnError, VlsnPage, VlsnPages, VlsnRead,
    VlsnStanding,
};
