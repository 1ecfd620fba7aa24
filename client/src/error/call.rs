//! A request that got no answer, a broker that said no, a connection that did not come about.

use std::time::Duration;

use pyralog_protocol::{AnswerError, ApiKey, ErrorCode};

use crate::pure::verdict::verdict;
use crate::pure::versions::NotOffered;

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
