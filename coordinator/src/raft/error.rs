//! What can go wrong, per operation: [`OpenError`] refuses to start, [`ProposeError`] refuses one proposal, [`Fatal`]
//! ends the process.

use pyralog_protocol::ErrorCode;

use super::keys::DecodeError;
use super::log_store::StoreError;

/// Why a coordinator does not start. Nothing is repaired (RA-04): each of these needs a person.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error("the folder {path} is in use by another process; stop that one or choose another folder with --data")]
    Locked {
        /// The folder.
        path: String,
    },
    /// Written by another version.
    #[error(
        "the folder {path} has coordinator format {found}, this version reads and writes {known}; \
             start the version that wrote it, or choose another folder with --data"
    )]
    OtherFormat {
        /// The folder.
        path: String,
        /// Version found, or what is there instead.
        found: String,
        /// The version that this program writes.
        known: u32,
    },
    /// The numbers contradict each other: part of what was written is gone.
    #[error(
        "the coordinator's log and state do not fit together: snapshot={snapshot} truncated={truncated} \
             applied={applied} commit={commit} last={last}, but snapshot ≤ truncated ≤ applied ≤ commit ≤ last must \
             hold; acknowledged writes may be missing, so nothing is repaired: restore the folder from a copy"
    )]
    Inconsistent {
        /// Index that the state was last replaced at.
        snapshot: u64,
        /// Last index that is no longer in the log.
        truncated: u64,
        /// Last index that is in the state.
        applied: u64,
        /// Last index known to be committed.
        commit: u64,
        /// Last index of the log.
        last: u64,
    },
    /// Something expected is not there.
    #[error("the coordinator's store lacks {what}; restore the folder from a copy")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// Something there does not parse.
    #[error("the coordinator's store is corrupt: {0}; restore the folder from a copy")]
    Corrupt(String),
    /// The settings make no sense.
    #[error("the coordinator's settings are invalid: {0}")]
    Options(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The loop failed while it caught up.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl From<DecodeError> for OpenError {
    fn from(e: DecodeError) -> Self {
        Self::Corrupt(e.to_string())
    }
}

/// The replica is dead, and the process is to exit with this text (RA-20). Nothing that waits is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A committed entry cannot be read.
    #[error("committed entry {index} cannot be applied: {cause}")]
    Entry {
        /// Its index.
        index: u64,
        /// Why.
        cause: String,
    },
    /// raft-rs refused.
    #[error("raft: {0}")]
    Raft(String),
    /// It failed before; the first failure was reported then.
    #[error("the coordinator stopped at its first failure")]
    Stopped,
}

/// Why records were not proposed. Nothing of them is in the log. A machine that has already applied them in memory
/// must be loaded again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or this one is not ready yet.
    #[error("not the ready leader of the coordinator (leader: {leader:?})")]
    NotLeader {
        /// Who leads, as far as known.
        leader: Option<u64>,
    },
    /// Too much in one proposal.
    #[error("a change of {bytes} bytes is over the limit of {limit} bytes for one entry of the coordinator's log")]
    TooLarge {
        /// Encoded size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Too much on the way.
    #[error("{limit} bytes of changes already wait for their commit")]
    Busy {
        /// The limit.
        limit: u64,
    },
    /// The records have no encoded form.
    #[error("the change cannot be encoded: {0}")]
    Encode(String),
    /// The replica is dead.
    #[error("the coordinator stopped at its first failure")]
    Stopped,
}

/// What a client is told about a proposal that was refused.
pub fn propose_code(error: &ProposeError) -> ErrorCode {
    match error {
        ProposeError::NotLeader { .. } => ErrorCode::NotCoordinator,
        ProposeError::TooLarge { .. } => ErrorCode::PolicyViolation,
        ProposeError::Busy { .. } => ErrorCode::CoordinatorLoadInProgress,
        ProposeError::Encode(_) => ErrorCode::UnknownServerError,
        ProposeError::Stopped => ErrorCode::CoordinatorNotAvailable,
    }
}
