//! The records of groups and committed offsets, and the keys under which their latest values are stored.
//! Holds: all keys of one group share a prefix that no other group's keys have, and in key order a group's head comes
//! first, then each member followed by what it has, then offsets. Knows nothing of how they are decided.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::consumer::record::{held_bytes, partitions_bytes};
use super::consumer::{ConsumerHead, Current, Partitions, Subscriber};
use crate::record::{Family, Placement};

/// A change of the groups' hard state: an upsert or a delete of one keyed thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GroupRecord {
    /// What a group has once.
    Head {
        /// Group id.
        group: String,
        /// The new head, whole.
        head: GroupHead,
    },
    /// A member as its last JoinGroup described it. Does not touch its assignment.
    Member {
        /// Group id.
        group: String,
        /// Member id.
        member: String,
        /// The description, whole.
        join: MemberJoin,
    },
    /// What a member was assigned in the generation of the last completed SyncGroup.
    Assignment {
        /// Group id.
        group: String,
        /// Member id.
        member: String,
        /// The leader's bytes; empty when the leader named no assignment for this member.
        assignment: Blob,
    },
    /// A member left, was expelled, or its static instance came back under another id. Its assignment goes with it.
    MemberRemoved {
        /// Group id.
        group: String,
        /// Member id.
        member: String,
    },
    /// A committed offset.
    Offset {
        /// Group id.
        group: String,
        /// Topic name.
        topic: String,
        /// Partition index.
        partition: i32,
        /// The commit, whole.
        committed: Committed,
    },
    /// A committed offset was deleted or expired.
    OffsetRemoved {
        /// Group id.
        group: String,
        /// Topic name.
        topic: String,
        /// Partition index.
        partition: i32,
    },
    /// The topic was deleted: all offsets that the group committed for it go.
    TopicRemoved {
        /// Group id.
        group: String,
        /// Topic name.
        topic: String,
    },
    /// The group and everything in it goes.
    GroupRemoved {
        /// Group id.
        group: String,
    },
    /// Every member goes with all that it has: the group changes its protocol.
    MembersRemoved {
        /// Group id.
        group: String,
    },
    /// What a KIP-848 group has once. Takes the place of a classic head, as that takes its.
    ConsumerHead {
        /// Group id.
        group: String,
        /// The new head, whole.
        head: ConsumerHead,
    },
    /// A member of a KIP-848 group as it describes itself.
    ConsumerMember {
        /// Group id.
        group: String,
        /// Member id.
        member: String,
        /// The description, whole.
        about: Subscriber,
    },
    /// What a member is to have.
    Target {
        /// Group id.
        group: String,
        /// Member id.
        member: String,
        /// All of it.
        partitions: Partitions,
    },
    /// What a member holds.
    Current {
        /// Group id.
        group: String,
        /// Member id.
        member: String,
        /// All of it.
        current: Current,
    },
}

/// Where a group stands. The names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Stage {
    /// No members.
    #[default]
    Empty,
    /// Waits for all members to (re)join.
    PreparingRebalance,
    /// A generation began; waits for the leader's assignment.
    CompletingRebalance,
    /// Everybody can fetch the assignment.
    Stable,
}

impl Stage {
    /// Kafka's spelling, as DescribeGroups and ListGroups show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }

    /// Whether a group may go from here to `next`.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Empty | Self::Stable => next == Self::PreparingRebalance,
            Self::PreparingRebalance => matches!(next, Self::CompletingRebalance | Self::Empty),
            Self::CompletingRebalance => matches!(next, Self::Stable | Self::PreparingRebalance),
        }
    }
}

/// What a group has once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupHead {
    /// Protocol type, as `consumer`; none until somebody joined.
    pub protocol_type: Option<String>,
    /// Rises with each completed JoinGroup round, also with the one that leaves the group empty.
    pub generation: i32,
    /// Member id of the leader.
    pub leader: Option<String>,
    /// Protocol that the members of this generation agreed on.
    pub protocol: Option<String>,
    /// Where the group stands.
    pub stage: Stage,
    /// Since when, in wall-clock milliseconds. Retention of an empty group counts from here.
    pub since_ms: i64,
}

/// A member as its JoinGroup described it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberJoin {
    /// `group.instance.id`; members with one are static (KIP-345).
    pub instance: Option<String>,
    /// Client id from the request header.
    pub client_id: String,
    /// Client address, as `/127.0.0.1`.
    pub client_host: String,
    /// Without a heartbeat for so long it is expelled, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for it, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Names and metadata of its protocols, the preferred one first.
    pub protocols: Vec<(String, Blob)>,
}

impl MemberJoin {
    /// As [`GroupRecord::bytes`].
    fn bytes(&self) -> usize {
        let ids = self.instance.as_ref().map_or(0, String::len) + self.client_id.len() + self.client_host.len();
        self.protocols.iter().map(|(name, blob)| name.len() + blob.as_slice().len() + 10).sum::<usize>() + ids
    }
}

/// One committed offset. All numbers are the client's own and are returned as they came (O4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The offset; negative ones are legal here.
    pub offset: i64,
    /// Leader epoch of the record before it, or -1.
    pub leader_epoch: i32,
    /// The client's own text.
    pub metadata: String,
    /// When it was committed, in wall-clock milliseconds.
    pub commit_ms: i64,
    /// When it expires by the request's own retention (OffsetCommit v2-v4), in wall-clock milliseconds.
    pub expire_ms: Option<i64>,
}

/// Bytes that belong to a client. Copied out of the request's frame, so that a small value never pins a large frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob(Bytes);

impl Blob {
    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BlobVisitor)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob::copy_of(bytes))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Blob, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Blob(bytes.into()))
    }
}

const HEAD: u8 = 0;
const MEMBER: u8 = 1;
const OFFSET: u8 = 2;

const JOIN: u8 = 0;
const ASSIGNMENT: u8 = 1;
const TARGET: u8 = 2;
const CURRENT: u8 = 3;

/// Length first, so that no name is a prefix of another one's key. Names longer than the prefix can say never get
/// here: the border refuses them (`super::NAME_BYTES_MAX`).
fn named(mut key: Vec<u8>, name: &str) -> Vec<u8> {
    key.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(name.as_bytes());
    key
}

fn group_key(group: &str) -> Vec<u8> {
    named(Vec::with_capacity(2 + group.len()), group)
}

fn kind_key(group: &str, kind: u8) -> Vec<u8> {
    let mut key = group_key(group);
    key.push(kind);
    key
}

fn member_key(group: &str, member: &str, part: u8) -> Vec<u8> {
    let mut key = named(kind_key(group, MEMBER), member);
    key.push(part);
    key
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Vec<u8> {
    let mut key = named(kind_key(group, OFFSET), topic);
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// Bytes of the numbers, tags and lengths of one record; those of names and blobs come on top.
const FIXED_BYTES: usize = 64;

impl GroupRecord {
    /// About how long the record is when it is encoded; never less.
    pub(crate) fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let named = match self {
            Self::Head { group, head } => {
                group.len() + text(&head.protocol_type) + text(&head.leader) + text(&head.protocol)
            }
            Self::Member { group, member, join } => group.len() + member.len() + join.bytes(),
            Self::Assignment { group, member, assignment } => group.len() + member.len() + assignment.as_slice().len(),
            Self::MemberRemoved { group, member } => group.len() + member.len(),
            Self::Offset { group, topic, committed, .. } => group.len() + topic.len() + committed.metadata.len(),
            Self::OffsetRemoved { group, topic, .. } | Self::TopicRemoved { group, topic } => group.len() + topic.len(),
            Self::GroupRemoved { group } | Self::MembersRemoved { group } | Self::ConsumerHead { group, .. } => {
                group.len()
            }
            Self::ConsumerMember { group, member, about } => group.len() + member.len() + about.bytes(),
            Self::Target { group, member, partitions } => group.len() + member.len() + partitions_bytes(partitions),
            Self::Current { group, member, current } => {
                group.len() + member.len() + held_bytes(&current.assigned) + held_bytes(&current.revoking)
            }
        };
        named + FIXED_BYTES
    }

    /// The group whose head the record is, in either protocol.
    pub(super) fn head_of(&self) -> Option<&str> {
        match self {
            Self::Head { group, .. } | Self::ConsumerHead { group, .. } => Some(group),
            Self::Member { .. }
            | Self::Assignment { .. }
            | Self::MemberRemoved { .. }
            | Self::Offset { .. }
            | Self::OffsetRemoved { .. }
            | Self::TopicRemoved { .. }
            | Self::GroupRemoved { .. }
            | Self::MembersRemoved { .. }
            | Self::ConsumerMember { .. }
            | Self::Target { .. }
            | Self::Current { .. } => None,
        }
    }

    /// Where the record lives in the state store. Keys start with length and text of the group id.
    pub fn placement(&self) -> Placement {
        let family = Family::Groups;
        match self {
            Self::Head { group, .. } => Placement::Put(family, kind_key(group, HEAD)),
            Self::Member { group, member, .. } => Placement::Put(family, member_key(group, member, JOIN)),
            Self::Assignment { group, member, .. } => Placement::Put(family, member_key(group, member, ASSIGNMENT)),
            Self::MemberRemoved { group, member } => {
                Placement::DeletePrefix(family, named(kind_key(group, MEMBER), member))
            }
            Self::Offset { group, topic, partition, .. } => {
                Placement::Put(family, offset_key(group, topic, *partition))
            }
            Self::OffsetRemoved { group, topic, partition } => {
                Placement::Delete(family, offset_key(group, topic, *partition))
            }
            Self::TopicRemoved { group, topic } => {
                Placement::DeletePrefix(family, named(kind_key(group, OFFSET), topic))
            }
            Self::GroupRemoved { group } => Placement::DeletePrefix(family, group_key(group)),
            Self::MembersRemoved { group } => Placement::DeletePrefix(family, kind_key(group, MEMBER)),
            Self::ConsumerHead { group, .. } => Placement::Put(family, kind_key(group, HEAD)),
            Self::ConsumerMember { group, member, .. } => Placement::Put(family, member_key(group, member, JOIN)),
            Self::Target { group, member, .. } => Placement::Put(family, member_key(group, member, TARGET)),
            Self::Current { group, member, .. } => Placement::Put(family, member_key(group, member, CURRENT)),
        }
    }
}
