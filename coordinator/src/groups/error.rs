//! Why requests about groups are refused, one enum per operation, and their one map to Kafka's codes. Codes that a
//! version does not know are mapped down here (head of the error table). Knows no state.

use pyralog_protocol::ErrorCode;

/// Why somebody is not taken for a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MemberError {
    #[error("the group id is empty")]
    EmptyGroupId,
    #[error("the group has no such member")]
    Unknown,
    #[error("another member took over this group.instance.id")]
    Fenced,
    #[error("generation {found} was named, the group is at {current}")]
    Generation { found: i32, current: i32 },
    #[error("the group is rebalancing: join again")]
    Rebalancing,
}

impl MemberError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::EmptyGroupId => ErrorCode::InvalidGroupId,
            Self::Unknown => ErrorCode::UnknownMemberId,
            Self::Fenced => ErrorCode::FencedInstanceId,
            Self::Generation { .. } => ErrorCode::IllegalGeneration,
            Self::Rebalancing => ErrorCode::RebalanceInProgress,
        }
    }
}

/// Why a JoinGroup is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JoinError {
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("the group id has {bytes} bytes, {max} are allowed")]
    GroupIdTooLong { bytes: usize, max: usize },
    #[error("an id or protocol name has {bytes} bytes, {max} are allowed")]
    NameTooLong { bytes: usize, max: usize },
    #[error(
        "session.timeout.ms={found} is outside group.min.session.timeout.ms={min} .. group.max.session.timeout.ms={max}"
    )]
    SessionTimeout { found: i32, min: i32, max: i32 },
    #[error("protocol type or protocols are empty, repeated, or have nothing in common with the group's")]
    Protocols,
    #[error("group.consumer.migration.policy=disabled keeps classic members out of a consumer group")]
    MigrationDisabled,
    #[error("the protocols' metadata has {bytes} bytes, {max} are allowed per member")]
    MetadataTooLarge { bytes: usize, max: usize },
    #[error("the member knows {found} protocols, {max} are allowed")]
    TooManyProtocols { found: usize, max: usize },
    #[error("the group has group.max.size={max} members")]
    GroupFull { max: usize },
    #[error("there are {max} groups; delete some or raise the limit")]
    TooManyGroups { max: usize },
    #[error("join again as {id}")]
    MemberIdRequired { id: String },
}

impl JoinError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Member(e) => e.code(),
            Self::GroupIdTooLong { .. } => ErrorCode::InvalidGroupId,
            Self::NameTooLong { .. } => ErrorCode::InvalidRequest,
            Self::SessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
            Self::Protocols | Self::MigrationDisabled => ErrorCode::InconsistentGroupProtocol,
            Self::GroupFull { .. } => ErrorCode::GroupMaxSizeReached,
            Self::MetadataTooLarge { .. } | Self::TooManyProtocols { .. } | Self::TooManyGroups { .. } => {
                ErrorCode::PolicyViolation
            }
            Self::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
        }
    }
}

/// Why a SyncGroup is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SyncError {
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("protocol type or name is not the one that the group agreed on")]
    Protocol,
    #[error("an assignment has {bytes} bytes, {max} are allowed per member")]
    AssignmentTooLarge { bytes: usize, max: usize },
}

impl SyncError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Member(e) => e.code(),
            Self::Protocol => ErrorCode::InconsistentGroupProtocol,
            Self::AssignmentTooLarge { .. } => ErrorCode::PolicyViolation,
        }
    }
}

/// Why a whole OffsetCommit is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommitError {
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("the group id has {bytes} bytes, {max} are allowed")]
    GroupIdTooLong { bytes: usize, max: usize },
    #[error("a generation was named, but there is no such group")]
    NoGroup,
    #[error("there are {max} groups; delete some or raise the limit")]
    TooManyGroups { max: usize },
    #[error("members that speak the consumer protocol commit with OffsetCommit v9 or newer")]
    OldVersion,
    #[error("member epoch {found} is not valid here, the member is at {current}")]
    Epoch { found: i32, current: i32 },
}

/// Why a KIP-848 member is not given offsets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("member epoch {found} was named, the member is at {current}")]
    Epoch { found: i32, current: i32 },
}

impl FetchError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Member(e) => e.code(),
            Self::Epoch { .. } => ErrorCode::StaleMemberEpoch,
        }
    }
}

impl CommitError {
    /// GROUP_ID_NOT_FOUND is known from v9 on.
    pub fn code(&self, version: i16) -> ErrorCode {
        match self {
            Self::Member(e) => e.code(),
            Self::GroupIdTooLong { .. } => ErrorCode::InvalidGroupId,
            Self::NoGroup if version >= 9 => ErrorCode::GroupIdNotFound,
            Self::NoGroup => ErrorCode::IllegalGeneration,
            Self::TooManyGroups { .. } => ErrorCode::PolicyViolation,
            Self::OldVersion => ErrorCode::UnsupportedVersion,
            Self::Epoch { .. } => ErrorCode::StaleMemberEpoch,
        }
    }
}

/// Why a group or its offsets are not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DeleteError {
    #[error("there is no such group")]
    NoGroup,
    #[error("the group has members")]
    HasMembers,
    #[error("the group id is empty")]
    EmptyGroupId,
}

impl DeleteError {
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NoGroup => ErrorCode::GroupIdNotFound,
            Self::HasMembers => ErrorCode::NonEmptyGroup,
            Self::EmptyGroupId => ErrorCode::InvalidGroupId,
        }
    }
}
