//! Why requests about VLSNs are refused, one enum per operation, and their map to Kafka's codes. Knows no state.

use pyralog_protocol::ids::LogIdError;
use pyralog_protocol::vlsn::messages::{COMMIT_METADATA_BYTES_MAX, CONSUMER_BYTES_MAX, RESERVE_MAX, SEQUENCE_END};
use pyralog_protocol::{ErrorCode, LogId, Vlsn};

use crate::metadata::NotVlsn;

/// Why a name is none of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConsumerError {
    #[error("the name of the consumer must not be empty")]
    Empty,
    #[error("the name of the consumer has {0} bytes, {CONSUMER_BYTES_MAX} are allowed")]
    TooLong(usize),
    #[error("the name of the consumer has the control character {0:?}")]
    Control(char),
}

/// Checks the name of a consumer.
pub(super) fn check_consumer(name: &str) -> Result<(), ConsumerError> {
    match name.len() {
        0 => return Err(ConsumerError::Empty),
        1..=CONSUMER_BYTES_MAX => {}
        bytes => return Err(ConsumerError::TooLong(bytes)),
    }
    name.chars().find(|c| c.is_control()).map_or(Ok(()), |found| Err(ConsumerError::Control(found)))
}

/// Why a commit does not count, or is not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommitError {
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error(transparent)]
    Log(#[from] NotVlsn),
    #[error("VLSN {asked} is above the largest, {}", Vlsn::MAX)]
    TooLarge { asked: Vlsn },
    #[error("VLSN {asked} is below {current}, which is committed: force the commit to go back")]
    Backwards { asked: Vlsn, current: Vlsn },
    #[error("the metadata has {0} bytes, {COMMIT_METADATA_BYTES_MAX} are allowed")]
    Metadata(usize),
    #[error(
        "the metadata of all commits may have {0} bytes together: commit without, or delete commits of consumers that are gone"
    )]
    TooMuchMetadata(usize),
    #[error("there are {0} commits, and no more are allowed: delete those of consumers that are gone")]
    TooMany(usize),
}

impl CommitError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Consumer(_) | Self::TooLarge { .. } | Self::Backwards { .. } => ErrorCode::InvalidRequest,
            Self::Log(error) => error.code(),
            Self::Metadata(_) => ErrorCode::OffsetMetadataTooLarge,
            Self::TooMany(_) | Self::TooMuchMetadata(_) => ErrorCode::PolicyViolation,
        }
    }
}

/// Why commits are not listed. The answer has room for a code alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListError {
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error("more than {0} commits: name the consumer or the logs")]
    TooMany(usize),
    #[error("more than {0} bytes of names and metadata: name the consumer or the logs")]
    TooMuch(usize),
}

impl ListError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Consumer(_) => ErrorCode::InvalidRequest,
            Self::TooMany(_) | Self::TooMuch(_) => ErrorCode::PolicyViolation,
        }
    }
}

/// Why a sequencer hands nothing out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReserveError {
    #[error("a sequencer is named as a log is: {0}")]
    Name(#[from] LogIdError),
    #[error("{0} numbers: 1 to {RESERVE_MAX} at once")]
    Count(u64),
    #[error("sequencer '{name}' is used up: {count} numbers from {from} on would pass the last, {}", SEQUENCE_END - 1)]
    UsedUp { name: LogId, from: u64, count: u64 },
    #[error("there are {0} sequencers, and no more are allowed")]
    TooMany(usize),
}

impl ReserveError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Name(_) | Self::Count(_) => ErrorCode::InvalidRequest,
            Self::UsedUp { .. } => ErrorCode::OffsetOutOfRange,
            Self::TooMany(_) => ErrorCode::PolicyViolation,
        }
    }
}
