//! Why requests about KIP-848 groups are refused, and their one map to Kafka's codes. Messages go to the client.

use pyralog_protocol::ErrorCode;

use super::pattern::PatternError;
use super::record::LEFT_FOR_A_WHILE;

/// Why a group does not change its protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::groups) enum MigrationError {
    #[error("group.consumer.migration.policy does not allow groups with members to change from classic to consumer")]
    Policy,
    #[error("the members use the protocol type {0:?}, only \"consumer\" can be converted")]
    ProtocolType(String),
    #[error("it has {members} members, group.consumer.max.size={max} are allowed")]
    Size { members: usize, max: usize },
    #[error("the subscription of member {0} cannot be read")]
    Subscription(String),
    #[error("the assignment of member {0} cannot be read")]
    Assignment(String),
    #[error("the assignment of member {0} carries data of a custom assignor, which would be lost")]
    UserData(String),
    #[error("its members take {bytes} bytes, {max} can be converted at once")]
    TooLarge { bytes: usize, max: usize },
}

/// Why a ConsumerGroupHeartbeat is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::groups) enum HeartbeatError {
    #[error("group.coordinator.rebalance.protocols does not have \"consumer\"")]
    Disabled,
    #[error("{0}")]
    Invalid(&'static str),
    #[error("MemberEpoch {0} is below {LEFT_FOR_A_WHILE}")]
    MemberEpoch(i32),
    #[error("{what} has {bytes} bytes, {max} are allowed")]
    TooLong { what: &'static str, bytes: usize, max: usize },
    #[error("the subscription has {bytes} bytes, {max} are allowed per member")]
    TooLarge { bytes: usize, max: usize },
    #[error("assignor {found:?} is not supported; supported are {known}")]
    Assignor { found: String, known: String },
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("group {0:?} not found")]
    NoGroup(String),
    #[error("group {0:?} is not a consumer group")]
    NotConsumer(String),
    #[error("group {group:?} cannot be converted to a consumer group: {why}")]
    Migration { group: String, why: MigrationError },
    #[error("there are {max} groups; delete some or raise the limit")]
    TooManyGroups { max: usize },
    #[error("the group has group.consumer.max.size={max} members")]
    GroupFull { max: usize },
    #[error(
        "the disk of the broker has no room left to note who joins and what members subscribe to \
         (pyralog.disk.reserve.bytes): try again when there is some"
    )]
    NoRoom,
    #[error(transparent)]
    Fence(#[from] FenceError),
    #[error("the instance id {instance:?} is in use by member {owner}; it must leave first")]
    Unreleased { instance: String, owner: String },
    #[error("member epoch {found} is not the known one ({known}): give all partitions up and join again")]
    Fenced { found: i32, known: i32 },
}

/// Why somebody is not taken for a member of a KIP-848 group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::groups) enum FenceError {
    #[error("{0:?} is not a member of the group")]
    UnknownMember(String),
    #[error("no member has the instance id {0:?}")]
    UnknownInstance(String),
    #[error("the instance id {instance:?} belongs to member {owner} now")]
    FencedInstance { instance: String, owner: String },
}

impl FenceError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownMember(_) | Self::UnknownInstance(_) => ErrorCode::UnknownMemberId,
            Self::FencedInstance { .. } => ErrorCode::FencedInstanceId,
        }
    }
}

impl HeartbeatError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Disabled => ErrorCode::UnsupportedVersion,
            Self::Invalid(_) | Self::MemberEpoch(_) | Self::TooLong { .. } => ErrorCode::InvalidRequest,
            Self::TooLarge { .. } | Self::TooManyGroups { .. } | Self::Pattern(PatternError::TooMany { .. }) => {
                ErrorCode::PolicyViolation
            }
            Self::Assignor { .. } => ErrorCode::UnsupportedAssignor,
            Self::Pattern(
                PatternError::TooLong { .. } | PatternError::Syntax { .. } | PatternError::TooLarge { .. },
            ) => ErrorCode::InvalidRegularExpression,
            Self::NoGroup(_) | Self::NotConsumer(_) | Self::Migration { .. } => ErrorCode::GroupIdNotFound,
            Self::GroupFull { .. } => ErrorCode::GroupMaxSizeReached,
            Self::NoRoom => ErrorCode::CoordinatorNotAvailable,
            Self::Fence(error) => error.code(),
            Self::Unreleased { .. } => ErrorCode::UnreleasedInstanceId,
            Self::Fenced { .. } => ErrorCode::FencedMemberEpoch,
        }
    }
}
