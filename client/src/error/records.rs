//! What can go wrong with records: writing and reading them.

use std::time::Duration;

use pyralog_protocol::{LogId, LogIdError, LogOffset};

use super::{BrokerError, CallError};
use crate::pure::producer::{Failure, Untaken};

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
    /// No broker acknowledged it in time. If it was sent and not refused each time, whether it is in the log is unknown.
    #[error("partition {partition} of log {log} acknowledged nothing within {} ms{}{last}", after.as_millis(), if *sent { "; the record was sent and may be there" } else { "" })]
    Expired {
        /// The log.
        log: LogId,
        /// The partition.
        partition: u32,
        /// [`ProducerConfig::delivery_timeout`](crate::ProducerConfig::delivery_timeout).
        after: Duration,
        /// Whether it may be in the log: it was sent, and not refused each time.
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
    /// The client was closed, or the tokio runtime in which it was connected has ended. A record that was handed over before may
    /// have been written in the second case.
    #[error("the client is closed, or the runtime in which it was connected has ended")]
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
            Untaken::Closed => Self::ClientClosed,
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
            Failure::Closed => Self::ClientClosed,
            Failure::Lost { reason }
            | Failure::Unsent { reason }
            | Failure::GivenUp { reason }
            | Failure::Unbuildable { reason } => Self::NotSent { log, reason },
        }
    }
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Refused { code, message } | Failure::InBadCompany { code, message } => {
            BrokerError { code: *code, message: message.clone() }.to_string()
        }
        Failure::Expired { .. } => "no acknowledgement".to_owned(),
        Failure::Closed => "the client is closed".to_owned(),
        Failure::Lost { reason }
        | Failure::Unsent { reason }
        | Failure::GivenUp { reason }
        | Failure::Unbuildable { reason } => reason.clone(),
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
