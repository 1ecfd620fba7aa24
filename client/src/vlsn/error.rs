//! What can go wrong with VLSN logs.

use pyralog_protocol::{ErrorCode, LogId, LogIdError, Vlsn};

use crate::error::{BrokerError, CallError, ConsumeError, ErrorKind, LogError, ProduceError};
use crate::net::cluster::LogFailure;

/// Why something about a VLSN log did not work.
///
/// ```no_run
/// # async fn example(log: pyralog_client::VlsnClient) {
/// use pyralog_client::VlsnError;
///
/// match log.write("tea").await {
///     Ok(vlsn) => println!("it is VLSN {vlsn}"),
///     Err(VlsnError::Fenced { reason, .. }) => println!("another writer took over: {reason}"),
///     Err(other) => println!("{other}; resume() says where to go on"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VlsnError {
    /// The name of the log is illegal.
    #[error(transparent)]
    Name(#[from] LogIdError),
    /// There is no log of that name.
    #[error("there is no log {log}")]
    UnknownLog {
        /// Its name.
        log: LogId,
    },
    /// The log has no VLSNs, or its broker is not Pyralog.
    #[error("log {log} has no VLSNs: create it with vlsn.enable=true (it cannot be changed later)")]
    NotVlsn {
        /// Its name.
        log: LogId,
    },
    /// A VLSN that no log takes.
    #[error("VLSN {vlsn} is above {max}, the largest there is", max = Vlsn::MAX)]
    TooLarge {
        /// What was asked for.
        vlsn: u64,
    },
    /// The VLSN was left out, and later ones of its partition are written: it never comes.
    #[error("VLSN {vlsn} of log {log} is a gap: its partition has gone on to {last}")]
    Gap {
        /// The log.
        log: LogId,
        /// The VLSN.
        vlsn: u64,
        /// The last one of its partition.
        last: u64,
    },
    /// Retention took everything around the VLSN; whether it was written is not known any more.
    #[error("VLSN {vlsn} of log {log} is in the range that retention took")]
    Trimmed {
        /// The log.
        log: LogId,
        /// The VLSN.
        vlsn: u64,
    },
    /// The partition does not end where a conditional write thought, or somebody else wrote under its VLSN.
    #[error(
        "VLSN {vlsn} of log {log} was not written: partition {partition} ends at {}, {} was expected",
        word(*last), word(*expected)
    )]
    Unexpected {
        /// The log.
        log: LogId,
        /// What was to be written.
        vlsn: u64,
        /// Its partition.
        partition: u32,
        /// What the last VLSN was thought to be.
        expected: Option<u64>,
        /// What it is.
        last: Option<u64>,
    },
    /// There is no record at a VLSN; only [`VlsnRead::record`](crate::VlsnRead::record) says so.
    #[error("there is no record at VLSN {vlsn}: {why}")]
    RecordNotFound {
        /// The VLSN.
        vlsn: u64,
        /// Whether it may still come.
        why: &'static str,
    },
    /// Another writer took the log for itself.
    #[error("log {log} has another writer now: {reason}")]
    Fenced {
        /// The log.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// An earlier record was not written. Nothing behind it is, because it would become a gap, until
    /// [`VlsnClient::resume`](crate::VlsnClient::resume).
    #[error("log {log} is not written to since VLSN {vlsn} failed ({because}); resume() goes on")]
    Stopped {
        /// The log.
        log: LogId,
        /// The first VLSN that failed.
        vlsn: u64,
        /// Why.
        because: Box<VlsnError>,
    },
    /// The counter that hands out VLSNs failed.
    #[error("the counter of log {log} gives no VLSN: {reason}")]
    Counter {
        /// The log.
        log: LogId,
        /// Why.
        reason: String,
    },
    /// A sequencer gives no numbers.
    #[error("sequencer {name}: {reason}")]
    Sequencer {
        /// Its name.
        name: String,
        /// What the broker says.
        reason: BrokerError,
    },
    /// A commit goes back without being forced to.
    #[error("consumer {consumer} has committed VLSN {committed} of log {log}, which is above {vlsn}")]
    CommittedBeyond {
        /// The log.
        log: LogId,
        /// The consumer.
        consumer: String,
        /// What was to be committed.
        vlsn: u64,
        /// What is.
        committed: u64,
    },
    /// The number of partitions that somebody counts on was never that of the log.
    #[error("log {log} never had {found} partitions, it has {now}: leave partition_count out, or correct it")]
    PartitionCount {
        /// The log.
        log: LogId,
        /// What was said.
        found: u32,
        /// What is so.
        now: u32,
    },
    /// A record was not written.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// Records could not be read.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// The broker says no.
    #[error("log {log}: {reason}")]
    Refused {
        /// The log.
        log: LogId,
        /// What the broker says.
        reason: BrokerError,
    },
    /// The broker was not reached or not understood.
    #[error(transparent)]
    Call(#[from] CallError),
}

fn word(vlsn: Option<u64>) -> String {
    vlsn.map_or_else(|| "none".to_owned(), |vlsn| vlsn.to_string())
}

impl VlsnError {
    /// Of a record that was to be written.
    pub(crate) fn of_write(log: &LogId, error: ProduceError) -> Self {
        if let ProduceError::Refused { reason, .. } = &error
            && reason.code == ErrorCode::ProducerFenced.code()
        {
            return Self::Fenced { log: log.clone(), reason: reason.clone() };
        }
        Self::Produce(error)
    }

    /// Of a log whose partitions are not known.
    pub(crate) fn of_look_up(log: &LogId, failure: LogFailure) -> Self {
        match failure {
            LogFailure::Unknown => Self::UnknownLog { log: log.clone() },
            LogFailure::Refused(reason) => Self::of_answer(log, reason),
            LogFailure::Call(error) => Self::Call(error),
        }
    }

    /// Of what a broker answered about a log.
    pub(crate) fn of_answer(log: &LogId, reason: BrokerError) -> Self {
        if reason.code == ErrorCode::UnknownTopicOrPartition.code() {
            return Self::UnknownLog { log: log.clone() };
        }
        Self::Refused { log: log.clone(), reason }
    }

    /// Whether the same may work later.
    ///
    /// ```
    /// assert!(!pyralog_client::VlsnError::TooLarge { vlsn: u64::MAX }.is_retriable());
    /// ```
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Name(_)
            | Self::UnknownLog { .. }
            | Self::NotVlsn { .. }
            | Self::TooLarge { .. }
            | Self::Gap { .. }
            | Self::Trimmed { .. }
            | Self::RecordNotFound { .. }
            | Self::Unexpected { .. }
            | Self::Fenced { .. }
            | Self::Stopped { .. }
            | Self::Counter { .. }
            | Self::CommittedBeyond { .. }
            | Self::PartitionCount { .. } => false,
            Self::Produce(error) => error.is_retriable(),
            Self::Consume(error) => crate::reader::is_retriable(error),
            Self::Refused { reason, .. } | Self::Sequencer { reason, .. } => reason.is_retriable(),
            Self::Call(error) => error.is_retriable(),
        }
    }
}

impl VlsnError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) | Self::NotVlsn { .. } | Self::TooLarge { .. } | Self::PartitionCount { .. } => {
                ErrorKind::Input
            }
            Self::UnknownLog { .. } | Self::Gap { .. } | Self::Trimmed { .. } | Self::RecordNotFound { .. } => {
                ErrorKind::Missing
            }
            Self::Fenced { .. } | Self::CommittedBeyond { .. } | Self::Unexpected { .. } => ErrorKind::Refused,
            Self::Stopped { because, .. } => because.kind(),
            Self::Counter { .. } => ErrorKind::Caller,
            Self::Produce(error) => error.kind(),
            Self::Consume(error) => error.kind(),
            Self::Refused { reason, .. } | Self::Sequencer { reason, .. } => reason.kind(),
            Self::Call(error) => error.kind(),
        }
    }
}

impl From<LogError> for VlsnError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unknown { log } => Self::UnknownLog { log },
            LogError::Refused { log, reason } | LogError::RefusedPartition { log, reason, .. } => {
                Self::of_answer(&log, reason)
            }
            LogError::Name(error) => Self::Name(error),
            LogError::Call(error) => Self::Call(error),
            other @ (LogError::NoPartition { .. } | LogError::NoLeader { .. } | LogError::RefusedAll(_)) => {
                Self::Consume(other.into())
            }
        }
    }
}
