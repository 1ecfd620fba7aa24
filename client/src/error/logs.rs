//! What can go wrong with logs, groups, configs and questions about the cluster.

use pyralog_protocol::{LogId, LogIdError};

use super::{BrokerError, CallError};

/// Why a log was not created.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::CreateLogError;
///
/// match client.create_log("orders").await {
///     Ok(()) | Err(CreateLogError::Exists { .. }) => println!("it is there"),
///     Err(other) => return Err(other.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateLogError {
    /// The name is illegal.
    #[error(transparent)]
    Name(#[from] LogIdError),
    /// There is one of that name.
    #[error("log {log} was not created: {reason}")]
    Exists {
        /// Its name.
        log: LogId,
        /// What the broker says: a log, or the view of one.
        reason: BrokerError,
    },
    /// A setting of the log is refused.
    #[error("log {log} was not created: {reason}")]
    Config {
        /// Its name.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker says no for another reason.
    #[error("log {log} was not created: {reason}")]
    Refused {
        /// Its name.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// It was created, but its partitions have no leaders yet.
    #[error("log {log} was created and does not serve yet")]
    NotServing {
        /// Its name.
        log: LogId,
    },
    /// The broker was not reached or not understood.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a log was not changed.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::{LogUpdate, UpdateLogError};
///
/// let fewer = client.update_log_config("orders", LogUpdate::new().partition_count(1)).await;
/// assert!(matches!(fewer, Err(UpdateLogError::Partitions { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateLogError {
    /// The name is illegal.
    #[error(transparent)]
    Name(#[from] LogIdError),
    /// There is none of that name.
    #[error("there is no log {log}")]
    Unknown {
        /// Its name.
        log: LogId,
    },
    /// A setting is refused; nothing was changed.
    #[error("log {log} was not changed: {reason}")]
    Config {
        /// Its name.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The number of partitions is refused (it can only grow). Settings of the same update are in force already.
    #[error("the partitions of log {log} were not changed: {reason}")]
    Partitions {
        /// Its name.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker says no for another reason.
    #[error("log {log} was not changed: {reason}")]
    Refused {
        /// Its name.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker was not reached or not understood.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a question about a log was not answered, or a log not deleted or truncated.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) {
/// use pyralog_client::LogError;
///
/// if let Err(LogError::Unknown { log }) = client.get_log_metadata("no-such-log").await {
///     println!("{log} is not there");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The name is illegal.
    #[error(transparent)]
    Name(#[from] LogIdError),
    /// There is none of that name.
    #[error("there is no log {log}")]
    Unknown {
        /// Its name.
        log: LogId,
    },
    /// The log has fewer partitions.
    #[error("log {log} has no partition {partition}, it has {count}")]
    NoPartition {
        /// Its name.
        log: LogId,
        /// What was asked for.
        partition: u32,
        /// How many there are.
        count: u32,
    },
    /// A partition has no leader now.
    #[error("partition {partition} of log {log} has no leader at the moment")]
    NoLeader {
        /// Its name.
        log: LogId,
        /// The partition.
        partition: u32,
    },
    /// The broker says no.
    #[error("log {log}: {reason}")]
    Refused {
        /// Its name.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker says no for one partition.
    #[error("partition {partition} of log {log}: {reason}")]
    RefusedPartition {
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker says no to a question about all logs.
    #[error(transparent)]
    RefusedAll(BrokerError),
    /// The broker was not reached or not understood.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why positions of a consumer were not read or committed.
///
/// ```no_run
/// # async fn example(mut tracker: pyralog_client::PartitionCommitTracker) {
/// use pyralog_client::{GroupError, LogOffset};
///
/// if let Err(GroupError::NotEmpty { group }) = tracker.commit(0, LogOffset::new(7)).await {
///     println!("{group} has members of its own");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The name of the log is illegal.
    #[error(transparent)]
    Name(#[from] LogIdError),
    /// There is no log of that name.
    #[error("there is no log {log}")]
    UnknownLog {
        /// Its name.
        log: LogId,
    },
    /// There is no group of that name.
    #[error("there is no group {group}")]
    Unknown {
        /// Its name.
        group: String,
    },
    /// The group has members, and its offsets are theirs.
    #[error("group {group} has members; stop them first")]
    NotEmpty {
        /// Its name.
        group: String,
    },
    /// The broker says no.
    #[error("group {group}: {reason}")]
    Refused {
        /// Its name.
        group: String,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker says no for one partition.
    #[error("group {group}, partition {partition} of log {log}: {reason}")]
    RefusedPartition {
        /// The group's name.
        group: String,
        /// The log.
        log: String,
        /// The partition.
        partition: u32,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker was not reached or not understood.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why configs were not described or changed.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) {
/// use pyralog_client::{ConfigChange, ConfigError, ConfigResource};
///
/// let changes = [("num.partitions".to_owned(), ConfigChange::Set("-3".to_owned()))].into();
/// if let Err(ConfigError::Refused { reason, .. }) = client.alter_configs(&ConfigResource::AllNodes, &changes, true).await {
///     println!("{reason}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no node of that number.
    #[error("there is no node {}, there are {nodes}", node.0)]
    NoNode {
        /// What was asked for.
        node: pyralog_protocol::NodeId,
        /// Those that there are.
        nodes: String,
    },
    /// The broker says no; nothing was changed.
    #[error("configs of {of}: {reason}")]
    Refused {
        /// What has the configs.
        of: String,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker was not reached or not understood.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a question about the cluster was not answered.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) {
/// use pyralog_client::ClusterError;
///
/// if let Err(ClusterError::Refused(reason)) = client.describe_quorum().await {
///     println!("{reason}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The broker says no.
    #[error(transparent)]
    Refused(BrokerError),
    /// The broker was not reached or not understood.
    #[error(transparent)]
    Call(#[from] CallError),
}
