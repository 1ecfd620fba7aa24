//! The server-side assignors of KIP-848, as pure functions from members and topics to target assignments.
//! Holds: every partition of a topic that somebody subscribes to goes to exactly one of its subscribers; the same input
//! gives the same output. Knows no group, no epoch and no record.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::BTreeMap;
use std::rc::Rc;

use pyralog_protocol::TopicId;

use super::partitions::Partitions;

/// A way to distribute partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Members get equally many, and keep what they have as far as possible.
    Uniform,
    /// Each topic is cut into ranges, so that equal partitions of equally large topics meet at one member.
    Range,
}

impl Assignor {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of that name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }
}

/// A member as an assignor sees it.
#[derive(Clone, Debug)]
pub(in crate::groups) struct Subject<'a> {
    /// Its `group.instance.id`, if it is static.
    pub instance: Option<&'a str>,
    /// Topics that exist and that it subscribes to, in order. Shared between members with the same subscription.
    pub topics: Rc<[TopicId]>,
    /// What it was assigned last.
    pub before: &'a Partitions,
}

impl Subject<'_> {
    fn subscribes(&self, topic: TopicId) -> bool {
        self.topics.binary_search(&topic).is_ok()
    }
}

/// New target assignments, in the order of `members`. Those must be in the order of their ids. `counts` has the partition
/// count of each topic that somebody subscribes to.
pub(in crate::groups) fn assign(
    assignor: Assignor,
    members: &[Subject<'_>],
    counts: &BTreeMap<TopicId, i32>,
) -> Vec<Partitions> {
    match assignor {
        Assignor::Range => range::assign(members, counts),
        Assignor::Uniform if is_homogeneous(members) => uniform::homogeneous(members, counts),
        Assignor::Uniform => uniform::heterogeneous(members, counts),
    }
}

/// Whether all members subscribe to the same topics.
fn is_homogeneous(members: &[Subject<'_>]) -> bool {
    let same = |a: &Rc<[TopicId]>, b: &Rc<[TopicId]>| Rc::ptr_eq(a, b) || a == b;
    members.windows(2).all(|pair| matches!(pair, [a, b] if same(&a.topics, &b.topics)))
}
