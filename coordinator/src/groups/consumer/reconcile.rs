//! One step of one member from what it holds to its target. A pure function.
//! Holds: the result never holds what another member holds; a partition leaves `revoking` only when the member said that
//! it does not own it any more; the member epoch only rises, and only when nothing is left to give back. The previous
//! epoch (N7) is the one before the last step, as in Kafka, also where that step raised none.

use std::collections::BTreeSet;

use pyralog_protocol::TopicId;

use super::partitions::{Held, Partitions};
use super::record::{Current, MemberState};

/// What a member says that it owns. A heartbeat that says nothing changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) enum Owned {
    /// Nothing was said: it may own everything that it ever was told to have.
    Unsaid,
    /// Exactly this.
    Said(Partitions),
}

impl Owned {
    /// Whether the member may still own some of these.
    fn any_of(&self, held: &Held) -> bool {
        match self {
            Self::Unsaid => !held.is_empty(),
            Self::Said(owned) => held.iter().any(|(topic, partition, _)| owned.contains(topic, partition)),
        }
    }
}

/// Where a member is to go.
pub(in crate::groups) struct Goal<'a> {
    pub target: &'a Partitions,
    pub assignment_epoch: i32,
    /// Topics that the member subscribes to now, where they may differ from those that the target was made for.
    pub subscribed: Option<&'a BTreeSet<TopicId>>,
}

impl Goal<'_> {
    fn is_subscribed(&self, topic: TopicId) -> bool {
        self.subscribed.is_none_or(|topics| topics.contains(&topic))
    }

    fn wants(&self, topic: TopicId, partition: i32) -> bool {
        self.target.contains(topic, partition) && self.is_subscribed(topic)
    }
}

/// The next state of a member; an equal one if there is nothing to do. `is_free` says whether nobody else holds a
/// partition.
pub(in crate::groups) fn reconcile(
    current: &Current,
    goal: &Goal<'_>,
    owned: &Owned,
    is_free: impl Fn(TopicId, i32) -> bool,
) -> Current {
    match current.state {
        MemberState::Stable if current.epoch == goal.assignment_epoch => drop_unsubscribed(current, goal, owned),
        MemberState::Unrevoked if owned.any_of(&current.revoking) => drop_unsubscribed(current, goal, owned),
        MemberState::Stable | MemberState::Unrevoked | MemberState::Unreleased => {
            advance(current, goal, owned, is_free)
        }
    }
}

/// No new target yet, but what is not subscribed to any more need not wait for one.
fn drop_unsubscribed(current: &Current, goal: &Goal<'_>, owned: &Owned) -> Current {
    if current.assigned.by_topic().all(|(topic, _)| goal.is_subscribed(topic)) {
        return current.clone();
    }
    let (kept, dropped): (Vec<_>, Vec<_>) = current.assigned.iter().partition(|(topic, ..)| goal.is_subscribed(*topic));
    let revoking: Held = current.revoking.iter().chain(dropped).collect();
    let (assigned, previous): (Held, _) = (kept.into_iter().collect(), current.epoch);
    match owned.any_of(&revoking) {
        true => Current { state: MemberState::Unrevoked, previous, assigned, revoking, ..current.clone() },
        false => Current { assigned, previous, ..current.clone() },
    }
}

/// Towards the target: first back what is not in it, then the new epoch with all that is free.
fn advance(current: &Current, goal: &Goal<'_>, owned: &Owned, is_free: impl Fn(TopicId, i32) -> bool) -> Current {
    let (kept, revoking): (Vec<_>, Vec<_>) = current.assigned.iter().partition(|(topic, p, _)| goal.wants(*topic, *p));
    let mut assigned: Held = kept.into_iter().collect();
    let (revoking, previous): (Held, _) = (revoking.into_iter().collect(), current.epoch);
    if owned.any_of(&revoking) {
        return Current { state: MemberState::Unrevoked, previous, assigned, revoking, ..current.clone() };
    }
    let mut state = MemberState::Stable;
    for (topic, partition) in goal.target.iter().filter(|(topic, _)| goal.is_subscribed(*topic)) {
        if assigned.since(topic, partition).is_some() {
            continue;
        }
        match is_free(topic, partition) {
            true => assigned.insert(topic, partition, goal.assignment_epoch),
            false => state = MemberState::Unreleased,
        }
    }
    Current { epoch: goal.assignment_epoch, previous, state, assigned, revoking: Held::default() }
}
