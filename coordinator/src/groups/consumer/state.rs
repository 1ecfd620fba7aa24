//! Hard state of one KIP-848 group: what the records built, and what follows from it alone.
//! Holds: no partition is held by two members at any moment; `statics`, `subscribers`, `patterns` and `owners` say
//! nothing that the members do not say. Knows no time, session or token.

use std::collections::BTreeMap;

use pyralog_protocol::TopicId;

use super::assignor::Assignor;
use super::partitions::Partitions;
use super::record::{ConsumerHead, Current, LEFT_FOR_A_WHILE, Subscriber};

/// One KIP-848 group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::groups) struct Consumer {
    pub head: ConsumerHead,
    pub members: BTreeMap<String, Member>,
    /// Instance id to member id; exactly the static ones of `members`.
    pub statics: BTreeMap<String, String>,
    /// How many members subscribe to a topic by name.
    pub subscribers: BTreeMap<String, usize>,
    /// How many members subscribe by a pattern.
    pub patterns: BTreeMap<String, usize>,
    /// Who holds a partition: has it, or was told to give it back and did not yet.
    owners: BTreeMap<TopicId, BTreeMap<i32, String>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::groups) struct Member {
    pub about: Subscriber,
    pub target: Partitions,
    pub current: Current,
}

impl Member {
    pub fn is_classic(&self) -> bool {
        self.about.classic.is_some()
    }
}

impl Consumer {
    pub fn put_member(&mut self, id: &str, about: &Subscriber) {
        let member = self.members.entry(id.to_string()).or_default();
        let old = std::mem::replace(&mut member.about, about.clone());
        self.unlist(id, &old);
        if let Some(instance) = &about.instance {
            self.statics.insert(instance.clone(), id.to_string());
        }
        about.topics.iter().for_each(|topic| count_up(&mut self.subscribers, topic));
        about.pattern.iter().for_each(|pattern| count_up(&mut self.patterns, pattern));
    }

    pub fn put_target(&mut self, id: &str, target: &Partitions) {
        self.members.entry(id.to_string()).or_default().target.clone_from(target);
    }

    pub fn put_current(&mut self, id: &str, current: &Current) {
        let old = std::mem::take(&mut self.members.entry(id.to_string()).or_default().current);
        self.release(&old);
        self.hold(id, current);
        if let Some(member) = self.members.get_mut(id) {
            member.current.clone_from(current);
        }
    }

    pub fn remove_member(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        self.unlist(id, &member.about);
        self.release(&member.current);
    }

    pub fn remove_members(&mut self) {
        *self = Self { head: self.head.clone(), ..Self::default() };
    }

    /// An instance that already belongs to another member id stays with that one.
    fn unlist(&mut self, id: &str, about: &Subscriber) {
        if let Some(instance) = &about.instance
            && self.statics.get(instance).is_some_and(|owner| owner == id)
        {
            self.statics.remove(instance);
        }
        about.topics.iter().for_each(|topic| count_down(&mut self.subscribers, topic));
        about.pattern.iter().for_each(|pattern| count_down(&mut self.patterns, pattern));
    }

    fn hold(&mut self, id: &str, current: &Current) {
        for (topic, partition, _) in current.assigned.iter().chain(current.revoking.iter()) {
            let before = self.owners.entry(topic).or_default().insert(partition, id.to_string());
            assert!(before.is_none(), "{topic}-{partition} has two owners: {before:?} and {id:?}");
        }
    }

    fn release(&mut self, current: &Current) {
        for (topic, partition, _) in current.assigned.iter().chain(current.revoking.iter()) {
            let Some(owners) = self.owners.get_mut(&topic) else { continue };
            owners.remove(&partition);
            if owners.is_empty() {
                self.owners.remove(&topic);
            }
        }
    }

    /// Who holds the partition.
    pub fn owner(&self, topic: TopicId, partition: i32) -> Option<&str> {
        self.owners.get(&topic)?.get(&partition).map(String::as_str)
    }

    /// Whether nobody but this member holds the partition.
    pub fn is_free_for(&self, id: &str, topic: TopicId, partition: i32) -> bool {
        self.owner(topic, partition).is_none_or(|owner| owner == id)
    }

    /// Kafka's word for where the group stands.
    pub fn state(&self) -> &'static str {
        let epoch = self.head.assignment_epoch;
        match () {
            () if self.members.is_empty() => "Empty",
            () if self.head.epoch > epoch => "Assigning",
            () if self.members.values().all(|m| m.current.is_reconciled_to(epoch)) => "Stable",
            () => "Reconciling",
        }
    }

    /// The assignor that most members prefer, if any prefers one of these. The first of them decides a tie.
    pub fn preferred_assignor(&self, known: &[Assignor]) -> Option<Assignor> {
        let votes = |assignor: &Assignor| {
            let wanted = |m: &&Member| m.about.assignor.as_deref() == Some(assignor.name());
            self.members.values().filter(wanted).count()
        };
        // The last of several largest wins in `max_by_key`: looked at from behind, that is the first.
        let (count, winner) = known.iter().rev().map(|a| (votes(a), *a)).max_by_key(|(count, _)| *count)?;
        (count > 0).then_some(winner)
    }

    /// Whether a member may rejoin to more than it has: all that is missing of its target is free, or none is missing.
    pub fn can_complete(&self, id: &str) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let missing = member.target.iter().filter(|(topic, p)| member.current.assigned.since(*topic, *p).is_none());
        missing.into_iter().all(|(topic, partition)| self.is_free_for(id, topic, partition))
    }

    /// The classic protocols that every classic member supports.
    pub fn shares_protocol<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        let classic = || self.members.values().filter_map(|m| m.about.classic.as_ref());
        names.any(|name| classic().all(|side| side.protocols.iter().any(|(own, _)| own == name)))
    }

    /// Whether a static member is away with the promise to come back.
    pub fn is_away(&self, id: &str) -> bool {
        self.members.get(id).is_some_and(|m| m.current.epoch == LEFT_FOR_A_WHILE)
    }
}

fn count_up(counts: &mut BTreeMap<String, usize>, name: &str) {
    *counts.entry(name.to_string()).or_default() += 1;
}

fn count_down(counts: &mut BTreeMap<String, usize>, name: &str) {
    let Some(count) = counts.get_mut(name) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(name);
    }
}
