//! What can go wrong, one enum per kind of operation, and what all of them share: a call that got no answer, and a broker
//! that said no.

use std::time::Duration;

use pyralog_protocol::{AnswerError, ApiKey, ErrorCode, LogId, LogIdError, LogOffset};

use crate::pure::producer::{Failure, Untaken};
use crate::pure::verdict::verdict;
use crate::pure::versions::NotOffered;

/// The result of most calls; the error is the operation's own where that matters.
///
/// ```
/// fn parse(name: &str) -> pyralog_client::Result<pyralog_client::LogId> {
///     Ok(pyralog_client::LogId::new(name)?)
/// }
/// assert!(parse("orders").is_ok());
/// assert!(parse("or/ders").is_err());
/// ```
pub type Result<T, E = PyralogError> = std::result::Result<T, E>;

/// A request that got no answer, or none that could be read.
///
/// ```
/// use pyralog_client::CallError;
///
/// let error = CallError::Connect { address: "localhost:1".into(), reason: "connection refused".into() };
/// assert!(error.is_retriable());
/// assert_eq!(error.to_string(), "cannot connect to localhost:1: connection refused");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No connection came about.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// None of the brokers that are known could be reached.
    #[error("no broker could be reached; {tried}")]
    NoBroker {
        /// Each address with its reason.
        tried: String,
    },
    /// The connection ended before the answer came; whether the request was carried out is unknown.
    #[error("the connection to {address} ended before {api} was answered: {reason}")]
    Closed {
        /// Host and port.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// Why.
        reason: String,
    },
    /// No answer in time; whether the request was carried out is unknown.
    #[error("{address} did not answer {api} within {} ms", after.as_millis())]
    Timeout {
        /// Host and port.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// How long it was waited.
        after: Duration,
    },
    /// The answer is not one.
    #[error("{address} sent an answer that makes no sense: {error}")]
    Answer {
        /// Host and port.
        address: String,
        /// What is wrong with it.
        error: AnswerError,
    },
    /// An answer that does not belong to the request, or says nothing of what was asked.
    #[error("{address} answered {api} with something else: {reason}")]
    Unexpected {
        /// Host and port.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// What was found.
        reason: String,
    },
    /// The broker is too old, too new, or of another kind.
    #[error("{address}: {refused}")]
    NotOffered {
        /// Host and port.
        address: String,
        /// What is not offered.
        refused: NotOffered,
    },
    /// The request cannot be put into bytes.
    #[error("{api} cannot be encoded: {reason}")]
    Encode {
        /// What was to be asked.
        api: ApiKey,
        /// Why.
        reason: String,
    },
    /// The client was closed.
    #[error("the client is closed")]
    ClientClosed,
}

impl CallError {
    /// Whether the same call may succeed later.
    ///
    /// ```
    /// assert!(!pyralog_client::CallError::ClientClosed.is_retriable());
    /// ```
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::NoBroker { .. } | Self::Closed { .. } | Self::Timeout { .. } => true,
            Self::Answer { .. }
            | Self::Unexpected { .. }
            | Self::NotOffered { .. }
            | Self::Encode { .. }
            | Self::ClientClosed => false,
        }
    }
}

/// A broker's no.
///
/// ```
/// use pyralog_client::BrokerError;
///
/// let error = BrokerError { code: 40, message: Some("retention.ms is -7".into()) };
/// assert_eq!(error.to_string(), "INVALID_CONFIG(40): retention.ms is -7");
/// assert!(!error.is_retriable());
/// assert!(BrokerError { code: 6, message: None }.is_retriable());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerError {
    /// Kafka's error code.
    pub code: i16,
    /// The broker's explanation.
    pub message: Option<String>,
}

impl BrokerError {
    /// Whether the same request may succeed later.
    ///
    /// ```
    /// use pyralog_client::BrokerError;
    ///
    /// assert!(BrokerError { code: 15, message: None }.is_retriable()); // COORDINATOR_NOT_AVAILABLE
    /// ```
    pub fn is_retriable(&self) -> bool {
        verdict(self.code).is_retriable()
    }

    pub(crate) fn new(code: i16, message: Option<&str>) -> Self {
        Self { code, message: message.filter(|text| !text.is_empty()).map(str::to_owned) }
    }

    pub(crate) fn known(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.code)
    }
}

impl std::fmt::Display for BrokerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.known() {
            Some(code) => write!(f, "{code}")?,
            None => write!(f, "error code {}", self.code)?,
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BrokerError {}

/// Why [`PyralogClient::connect`](crate::PyralogClient::connect) failed.
///
/// ```no_run
/// # async fn example() {
/// use pyralog_client::{ConnectError, PyralogClient};
///
/// match PyralogClient::connect("localhost").await {
///     Err(ConnectError::Address { found }) => println!("{found} lacks a port"),
///     Err(other) => println!("{other}"),
///     Ok(_) => {}
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Something in the list of bootstrap addresses is not an address.
    #[error("{found:?} is not an address; write host:port, for instance localhost:9092, several separated by commas")]
    Address {
        /// What was found.
        found: String,
    },
    /// A setting has a value that cannot work.
    #[error("{name} is {found}: {reason}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        found: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No broker answered.
    #[error(transparent)]
    Call(#[from] CallError),
}

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
    #[error("log {log} exists already")]
    Exists {
        /// Its name.
        log: LogId,
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

/// Why a record was not written.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) {
/// use pyralog_client::Record;
///
/// match client.produce("orders", Record::new(None, b"tea".to_vec())).await {
///     Ok(appended) => println!("at {}", appended.offset),
///     Err(error) if error.is_retriable() => println!("later perhaps: {error}"),
///     Err(error) => println!("never: {error}"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// The name of the log is illegal.
    #[error(transparent)]
    Name(#[from] LogIdError),
    /// There is no log of that name.
    #[error("there is no log {log}")]
    UnknownLog {
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
    /// The record is larger than a request may be.
    #[error("the record takes {bytes} bytes, ProducerConfig::request_bytes is {limit}")]
    TooLarge {
        /// Bytes at most.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The buffer stayed full.
    #[error("the buffer of {bytes} bytes was full for {} ms: brokers take less than is written", waited.as_millis())]
    BufferFull {
        /// [`ProducerConfig::buffer_bytes`](crate::ProducerConfig::buffer_bytes).
        bytes: usize,
        /// How long it was waited.
        waited: Duration,
    },
    /// A broker refuses it for good.
    #[error("partition {partition} of log {log} refused the record: {reason}")]
    Refused {
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// What the broker says.
        reason: BrokerError,
    },
    /// A broker refused another record of the same batch, and with it this one, which may be sent again.
    #[error("another record of the batch for partition {partition} of log {log} was refused: {reason}")]
    InBadCompany {
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// What the broker says.
        reason: BrokerError,
    },
    /// No broker acknowledged it in time. If it was sent, whether it is in the log is unknown.
    #[error("partition {partition} of log {log} acknowledged nothing within {} ms{}{last}", after.as_millis(), if *sent { "; the record was sent and may be there" } else { "" })]
    Expired {
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// [`ProducerConfig::delivery_timeout`](crate::ProducerConfig::delivery_timeout).
        after: Duration,
        /// Whether it was sent at least once.
        sent: bool,
        /// The last thing that went wrong, as the end of a sentence.
        last: String,
    },
    /// The record was given up before it was sent.
    #[error("the record for log {log} was not sent: {reason}")]
    NotSent {
        /// The log.
        log: LogId,
        /// Why.
        reason: String,
    },
    /// The broker says no to a question about the log.
    #[error("log {log}: {reason}")]
    Log {
        /// The log.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// No broker was reached or understood.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The client was closed.
    #[error("the client is closed")]
    ClientClosed,
}

impl ProduceError {
    /// Whether the same record may be written later.
    ///
    /// ```
    /// use pyralog_client::ProduceError;
    ///
    /// assert!(!ProduceError::TooLarge { bytes: 2_000_000, limit: 1_048_576 }.is_retriable());
    /// ```
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Name(_) | Self::NoPartition { .. } | Self::TooLarge { .. } | Self::ClientClosed => false,
            Self::UnknownLog { .. }
            | Self::BufferFull { .. }
            | Self::InBadCompany { .. }
            | Self::Expired { .. }
            | Self::NotSent { .. } => true,
            Self::Refused { reason, .. } | Self::Log { reason, .. } => reason.is_retriable(),
            Self::Call(error) => error.is_retriable(),
        }
    }

    pub(crate) fn untaken(log: &LogId, target: Option<u32>, untaken: Untaken) -> Self {
        let log = log.clone();
        match untaken {
            Untaken::UnknownLog => Self::UnknownLog { log },
            Untaken::NoPartition { count } => Self::NoPartition { log, partition: target.unwrap_or(0), count },
            Untaken::TooLarge { bytes, limit } => Self::TooLarge { bytes, limit },
            Untaken::Halted => Self::NotSent { log, reason: "an earlier record of the log was not written".to_owned() },
        }
    }

    pub(crate) fn failed(log: &LogId, partition: u32, failure: Failure, timeout: Duration) -> Self {
        let log = log.clone();
        match failure {
            Failure::Refused { code, message } => {
                Self::Refused { log, partition, reason: BrokerError { code, message } }
            }
            Failure::InBadCompany { code, message } => {
                Self::InBadCompany { log, partition, reason: BrokerError { code, message } }
            }
            Failure::Expired { sent, last } => {
                let last = last.map_or(String::new(), |last| format!("; {}", describe(&last)));
                Self::Expired { log, partition, after: timeout, sent, last }
            }
            Failure::Lost { reason } | Failure::GivenUp { reason } | Failure::Unbuildable { reason } => {
                Self::NotSent { log, reason }
            }
        }
    }
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Refused { code, message } | Failure::InBadCompany { code, message } => {
            BrokerError { code: *code, message: message.clone() }.to_string()
        }
        Failure::Expired { .. } => "no acknowledgement".to_owned(),
        Failure::Lost { reason } | Failure::GivenUp { reason } | Failure::Unbuildable { reason } => reason.clone(),
    }
}

/// Why records could not be read.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) {
/// use pyralog_client::{ConsumeError, LogOffset};
///
/// match client.consume("orders", LogOffset::ZERO, 100).await {
///     Ok(records) => println!("{} records", records.len()),
///     Err(ConsumeError::UnknownLog { log }) => println!("there is no log {log}"),
///     Err(other) => println!("{other}"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The name of the log is illegal.
    #[error(transparent)]
    Name(#[from] LogIdError),
    /// There is no log of that name.
    #[error("there is no log {log}")]
    UnknownLog {
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
    /// The position lies outside of what the partition has, and the reader was told not to go elsewhere.
    #[error("partition {partition} of log {log} has no offset {offset}: it begins at {start} and ends at {end}")]
    OutOfRange {
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// What was asked for.
        offset: LogOffset,
        /// The first offset there is.
        start: LogOffset,
        /// The one after the last.
        end: LogOffset,
    },
    /// A batch is damaged, or not what batches are.
    #[error("partition {partition} of log {log}: the batch at offset {offset} cannot be read: {reason}")]
    Corrupt {
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// Where it begins, or the position when even that is unknown.
        offset: LogOffset,
        /// What is wrong.
        reason: String,
    },
    /// The broker says no.
    #[error("partition {partition} of log {log} cannot be read: {reason}")]
    Refused {
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker says no to a question about the log.
    #[error("log {log}: {reason}")]
    Log {
        /// The log.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// No broker was reached or understood.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Everything together, for functions that do several things.
///
/// ```
/// use pyralog_client::{LogId, PyralogError};
///
/// let error: PyralogError = LogId::new("").unwrap_err().into();
/// assert_eq!(error.to_string(), "a log name must not be empty");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PyralogError {
    /// Connecting failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A log has an illegal name.
    #[error(transparent)]
    Name(#[from] LogIdError),
    /// A log was not created.
    #[error(transparent)]
    CreateLog(#[from] CreateLogError),
    /// A log was not changed.
    #[error(transparent)]
    UpdateLog(#[from] UpdateLogError),
    /// A question about a log was not answered, or a log not deleted.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Positions were not read or committed.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Configs were not described or changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A question about the cluster was not answered.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A record was not written.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// Records could not be read.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// Something about a VLSN log did not work.
    #[cfg(feature = "net")]
    #[error(transparent)]
    Vlsn(#[from] crate::vlsn::VlsnError),
    /// A broker was not reached or not understood.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The caller's own code failed while it handled a record.
    #[error(transparent)]
    Handler(Box<dyn std::error::Error + Send + Sync>),
}

impl PyralogError {
    /// Wraps an error of one's own, for handlers.
    ///
    /// ```
    /// use pyralog_client::PyralogError;
    ///
    /// let error = PyralogError::handler("the printer is out of paper");
    /// assert_eq!(error.to_string(), "the printer is out of paper");
    /// ```
    pub fn handler(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Handler(error.into())
    }
}

/// What an error amounts to, for callers that decide by it: a command line by its exit code, a service by its answer.
///
/// ```
/// use pyralog_client::{CreateLogError, ErrorKind, LogId, PyralogError};
///
/// let error: PyralogError = CreateLogError::Exists { log: LogId::new("orders").unwrap() }.into();
/// assert_eq!(error.kind(), ErrorKind::Exists);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for cannot be meant: an illegal name, a setting that cannot work, an offset out of range.
    Input,
    /// No broker was reached, or it did not answer in time.
    Unreachable,
    /// A broker was reached, and is not what this client can talk with.
    NotUnderstood,
    /// What was named is not there.
    Missing,
    /// What was to be created is there already.
    Exists,
    /// The broker says no.
    Refused,
    /// The caller's own code failed.
    Caller,
}

impl BrokerError {
    pub(crate) fn kind(&self) -> ErrorKind {
        #[allow(clippy::wildcard_enum_match_arm, reason = "whatever else a broker refuses for")]
        match self.known() {
            Some(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::GroupIdNotFound
                | ErrorCode::ResourceNotFound,
            ) => ErrorKind::Missing,
            Some(ErrorCode::TopicAlreadyExists) => ErrorKind::Exists,
            Some(ErrorCode::InvalidConfig | ErrorCode::InvalidRequest | ErrorCode::InvalidTopicException) => {
                ErrorKind::Input
            }
            Some(ErrorCode::UnsupportedVersion) => ErrorKind::NotUnderstood,
            _ => ErrorKind::Refused,
        }
    }
}

impl CallError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. } | Self::NoBroker { .. } | Self::Closed { .. } | Self::Timeout { .. } => {
                ErrorKind::Unreachable
            }
            Self::Answer { .. } | Self::Unexpected { .. } | Self::NotOffered { .. } => ErrorKind::NotUnderstood,
            Self::Encode { .. } => ErrorKind::Input,
            Self::ClientClosed => ErrorKind::Caller,
        }
    }
}

impl ProduceError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) | Self::TooLarge { .. } => ErrorKind::Input,
            Self::UnknownLog { .. } | Self::NoPartition { .. } => ErrorKind::Missing,
            Self::Refused { reason, .. } | Self::InBadCompany { reason, .. } | Self::Log { reason, .. } => {
                reason.kind()
            }
            Self::BufferFull { .. } | Self::Expired { .. } | Self::NotSent { .. } => ErrorKind::Unreachable,
            Self::Call(error) => error.kind(),
            Self::ClientClosed => ErrorKind::Caller,
        }
    }
}

impl ConsumeError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) | Self::OutOfRange { .. } => ErrorKind::Input,
            Self::UnknownLog { .. } | Self::NoPartition { .. } => ErrorKind::Missing,
            Self::Corrupt { .. } => ErrorKind::NotUnderstood,
            Self::Refused { reason, .. } | Self::Log { reason, .. } => reason.kind(),
            Self::Call(error) => error.kind(),
        }
    }
}

impl PyralogError {
    /// What the error amounts to.
    ///
    /// ```no_run
    /// # async fn example() {
    /// use pyralog_client::{ErrorKind, PyralogClient, PyralogError};
    ///
    /// if let Err(error) = PyralogClient::connect("localhost:9092").await.map_err(PyralogError::from)
    ///     && error.kind() == ErrorKind::Unreachable
    /// {
    ///     println!("start a broker first");
    /// }
    /// # }
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect(ConnectError::Address { .. } | ConnectError::Setting { .. }) | Self::Name(_) => {
                ErrorKind::Input
            }
            Self::Connect(ConnectError::Call(error)) | Self::Call(error) => error.kind(),
            Self::CreateLog(error) => match error {
                CreateLogError::Name(_) | CreateLogError::Config { .. } => ErrorKind::Input,
                CreateLogError::Exists { .. } => ErrorKind::Exists,
                CreateLogError::Refused { reason, .. } => reason.kind(),
                CreateLogError::NotServing { .. } => ErrorKind::Unreachable,
                CreateLogError::Call(error) => error.kind(),
            },
            Self::UpdateLog(error) => match error {
                UpdateLogError::Name(_) | UpdateLogError::Config { .. } | UpdateLogError::Partitions { .. } => {
                    ErrorKind::Input
                }
                UpdateLogError::Unknown { .. } => ErrorKind::Missing,
                UpdateLogError::Refused { reason, .. } => reason.kind(),
                UpdateLogError::Call(error) => error.kind(),
            },
            Self::Log(error) => match error {
                LogError::Name(_) => ErrorKind::Input,
                LogError::Unknown { .. } | LogError::NoPartition { .. } => ErrorKind::Missing,
                LogError::NoLeader { .. } => ErrorKind::Unreachable,
                LogError::Refused { reason, .. } | LogError::RefusedAll(reason) => reason.kind(),
                LogError::Call(error) => error.kind(),
            },
            Self::Group(error) => match error {
                GroupError::Name(_) => ErrorKind::Input,
                GroupError::UnknownLog { .. } | GroupError::Unknown { .. } => ErrorKind::Missing,
                GroupError::NotEmpty { .. } => ErrorKind::Refused,
                GroupError::Refused { reason, .. } | GroupError::RefusedPartition { reason, .. } => reason.kind(),
                GroupError::Call(error) => error.kind(),
            },
            Self::Config(error) => match error {
                ConfigError::NoNode { .. } => ErrorKind::Missing,
                ConfigError::Refused { reason, .. } => reason.kind(),
                ConfigError::Call(error) => error.kind(),
            },
            Self::Cluster(error) => match error {
                ClusterError::Refused(reason) => reason.kind(),
                ClusterError::Call(error) => error.kind(),
            },
            Self::Produce(error) => error.kind(),
            Self::Consume(error) => error.kind(),
            #[cfg(feature = "net")]
            Self::Vlsn(error) => error.kind(),
            Self::Handler(_) => ErrorKind::Caller,
        }
    }
}
