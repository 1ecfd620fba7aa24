//! Configs: the catalogue of everything that Kafka 4.3.1 knows and what is ours, checks of values with messages for
//! people, what is in force for a broker and for a log, and the answers of DescribeConfigs. Knows no file and no
//! environment: static configs come in as pairs.

mod broker_table;
pub mod brokers;
pub mod catalogue;
pub mod describe;
pub mod list;
pub mod settings;
mod topic_table;
pub mod value;

pub use brokers::{BrokerConfigs, Overrides, Source};
pub use catalogue::{Config, Scope, lookup, nearest, unused};
pub use describe::describe_configs;
pub use list::list_config_resources;
pub use settings::{
    BrokerSettings, CleanerSettings, Cleanup, Compression, Durability, NetworkSettings, PausedError, TimestampType,
    TopicSettings, UpkeepSettings,
};
pub use value::{ConfigError, config_code, validate};

#[cfg(test)]
mod tests;
