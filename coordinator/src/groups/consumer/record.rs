//! What the records of a KIP-848 group hold. Values are whole, never differences.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::partitions::{Held, Partitions};
use crate::groups::record::Blob;

/// Member epoch of a static member that left for a while (KIP-848, and the request's own number for it).
pub(in crate::groups) const LEFT_FOR_A_WHILE: i32 = -2;

/// What a KIP-848 group has once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerHead {
    /// Rises with every change of members, subscriptions or subscribed topics.
    pub epoch: i32,
    /// The group epoch that the target assignment was made for; never above `epoch`.
    pub assignment_epoch: i32,
    /// Digest of the subscribed topics and their partition counts, when they were last looked at.
    pub topics_hash: u64,
    /// Since when the group has no members, in wall-clock milliseconds. Retention counts from here.
    pub empty_since_ms: i64,
}

impl Default for ConsumerHead {
    /// Of a group that was just founded: there is nothing yet that was assigned.
    fn default() -> Self {
        Self { epoch: 1, assignment_epoch: 0, topics_hash: 0, empty_since_ms: 0 }
    }
}

/// A member as it described itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// `group.instance.id`; members with one are static.
    pub instance: Option<String>,
    /// Where it runs. Accepted and shown: partitions have no racks yet that an assignor could match.
    pub rack: Option<String>,
    /// Client id from the request header.
    pub client_id: String,
    /// Client address, as `/127.0.0.1`.
    pub client_host: String,
    /// How long it may take to give partitions back, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Topics by name.
    pub topics: BTreeSet<String>,
    /// Topics by pattern.
    pub pattern: Option<String>,
    /// The assignor that it prefers.
    pub assignor: Option<String>,
    /// There if the member speaks the classic protocol.
    pub classic: Option<ClassicSide>,
}

/// What is left of the classic protocol in a member that speaks it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicSide {
    /// Without a heartbeat for so long it is expelled, in milliseconds.
    pub session_timeout_ms: i32,
    /// Names and metadata of its protocols, the preferred one first.
    pub protocols: Vec<(String, Blob)>,
}

/// How far a member is on its way to its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemberState {
    /// It has what it is to have.
    #[default]
    Stable,
    /// It was told to give partitions back and did not say yet that it did.
    Unrevoked,
    /// Some of its target is still held by others.
    Unreleased,
}

/// What a member holds, as far as the coordinator knows: until it says that it gave something back, it holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Member epoch: the assignment epoch that the member has caught up with. 0 before the first answer, -2 while a
    /// static member is away.
    pub epoch: i32,
    /// The one before: an answer that raised it may have been lost.
    pub previous: i32,
    /// How far it is.
    pub state: MemberState,
    /// What it was told to have.
    pub assigned: Held,
    /// What it was told to give back.
    pub revoking: Held,
}

impl Current {
    /// Whether the member has everything of this assignment epoch and nothing else.
    pub fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }

    /// Since which member epoch a partition is held.
    pub fn holds_since(&self, topic: pyralog_protocol::TopicId, partition: i32) -> Option<i32> {
        self.assigned.since(topic, partition).or_else(|| self.revoking.since(topic, partition))
    }
}

impl Subscriber {
    /// As [`GroupRecord::bytes`](crate::groups::GroupRecord).
    pub(in crate::groups) fn bytes(&self) -> usize {
        let optional = [&self.instance, &self.rack, &self.pattern, &self.assignor];
        let ids = optional.into_iter().flatten().map(String::len).sum::<usize>();
        let topics = self.topics.iter().map(|topic| topic.len() + 3).sum::<usize>();
        let protocols = self.classic.iter().flat_map(|classic| &classic.protocols);
        let protocols = protocols.map(|(name, blob)| name.len() + blob.as_slice().len() + 10).sum::<usize>();
        ids + self.client_id.len() + self.client_host.len() + topics + protocols
    }
}

/// Upper bounds of what a set of partitions takes when it is encoded.
pub(in crate::groups) fn partitions_bytes(partitions: &Partitions) -> usize {
    partitions.by_topic().map(|(_, set)| 20 + 5 * set.len()).sum()
}

/// As [`partitions_bytes`].
pub(in crate::groups) fn held_bytes(held: &Held) -> usize {
    held.by_topic().map(|(_, set)| 20 + 10 * set.count()).sum()
}
