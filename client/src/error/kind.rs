//! What each error amounts to, in few words.

use pyralog_protocol::ErrorCode;

use super::{
    BrokerError, CallError, ClusterError, ConfigError, ConnectError, ConsumeError, CreateLogError, GroupError,
    LogError, ProduceError, PyralogError, UpdateLogError,
};

/// What an error amounts to, for callers that decide by it: a command line by its exit code, a service by its answer.
///
/// ```
/// use pyralog_client::{BrokerError, CreateLogError, ErrorKind, LogId, PyralogError};
///
/// let reason = BrokerError { code: 36, message: None };
/// let error: PyralogError = CreateLogError::Exists { log: LogId::new("orders").unwrap(), reason }.into();
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
                UpdateLogError::Name(_) | UpdateLogError::Config { .. } => ErrorKind::Input,
                // Such as a full disk; a number that cannot be is what the caller gave.
                UpdateLogError::Partitions { reason, .. } => match reason.known() {
                    Some(ErrorCode::InvalidPartitions) => ErrorKind::Input,
                    _ => reason.kind(),
                },
                UpdateLogError::Unknown { .. } => ErrorKind::Missing,
                UpdateLogError::Refused { reason, .. } => reason.kind(),
                UpdateLogError::Call(error) => error.kind(),
            },
            Self::Log(error) => match error {
                LogError::Name(_) => ErrorKind::Input,
                LogError::Unknown { .. } | LogError::NoPartition { .. } => ErrorKind::Missing,
                LogError::NoLeader { .. } => ErrorKind::Unreachable,
                LogError::Refused { reason, .. }
                | LogError::RefusedPartition { reason, .. }
                | LogError::RefusedAll(reason) => reason.kind(),
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
            Self::RecordNotFound => ErrorKind::Missing,
            Self::NoNumberLeft { .. } => ErrorKind::Refused,
            Self::Handler(_) => ErrorKind::Caller,
        }
    }
}
