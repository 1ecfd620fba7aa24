//! What can go wrong, one enum per kind of operation, and what all of them share: a call that got no answer, and a broker
//! that said no.

mod call;
mod kind;
mod logs;
mod records;

use pyralog_protocol::LogIdError;

pub use call::{BrokerError, CallError, ConnectError};
pub use kind::ErrorKind;
pub use logs::{ClusterError, ConfigError, CreateLogError, GroupError, LogError, UpdateLogError};
pub use records::{ConsumeError, ProduceError};

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
    /// A record that was looked for is not there: for look-ups of one's own. The SDK's name the VLSN
    /// (`VlsnError::RecordNotFound`).
    #[error("the record is not there")]
    RecordNotFound,
    /// A tenant's largest number is taken, and none is left for its next record.
    #[error("tenant {tenant} has no number left: a record has the largest there is")]
    NoNumberLeft {
        /// The tenant.
        tenant: String,
    },
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
