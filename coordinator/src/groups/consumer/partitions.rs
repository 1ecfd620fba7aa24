//! Sets of partitions by topic id: what a member should have, what it holds and since which epoch.
//! Holds: no topic has an empty set. Knows no member and no group.

use std::collections::{BTreeMap, BTreeSet};

use pyralog_protocol::TopicId;
use serde::{Deserialize, Serialize};

type StoredSets = Vec<([u8; 16], Vec<i32>)>;
type StoredEpochs = Vec<([u8; 16], Vec<(i32, i32)>)>;

/// Some partitions of some topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredSets", into = "StoredSets")]
pub struct Partitions(BTreeMap<TopicId, BTreeSet<i32>>);

impl Partitions {
    /// Adds one.
    pub fn insert(&mut self, topic: TopicId, partition: i32) {
        self.0.entry(topic).or_default().insert(partition);
    }

    /// Takes one out; says whether it was there.
    pub fn remove(&mut self, topic: TopicId, partition: i32) -> bool {
        let Some(partitions) = self.0.get_mut(&topic) else { return false };
        let was_there = partitions.remove(&partition);
        if partitions.is_empty() {
            self.0.remove(&topic);
        }
        was_there
    }

    /// Whether this one is in it.
    pub fn contains(&self, topic: TopicId, partition: i32) -> bool {
        self.0.get(&topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// By topic, in order.
    pub fn by_topic(&self) -> impl Iterator<Item = (TopicId, &BTreeSet<i32>)> {
        self.0.iter().map(|(topic, partitions)| (*topic, partitions))
    }

    /// Each one, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, i32)> + '_ {
        self.0.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |p| (*topic, *p)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(TopicId, i32)> for Partitions {
    fn from_iter<I: IntoIterator<Item = (TopicId, i32)>>(all: I) -> Self {
        let mut partitions = Self::default();
        all.into_iter().for_each(|(topic, partition)| partitions.insert(topic, partition));
        partitions
    }
}

impl From<StoredSets> for Partitions {
    fn from(stored: StoredSets) -> Self {
        let each = |(id, partitions): ([u8; 16], Vec<i32>)| partitions.into_iter().map(move |p| (TopicId(id), p));
        stored.into_iter().flat_map(each).collect()
    }
}

impl From<Partitions> for StoredSets {
    fn from(partitions: Partitions) -> Self {
        partitions.0.into_iter().map(|(topic, set)| (topic.0, set.into_iter().collect())).collect()
    }
}

/// Partitions that a member holds, each with the member epoch since which it does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredEpochs", into = "StoredEpochs")]
pub struct Held(BTreeMap<TopicId, BTreeMap<i32, i32>>);

impl Held {
    /// Adds one that is held since `epoch`.
    pub fn insert(&mut self, topic: TopicId, partition: i32, epoch: i32) {
        self.0.entry(topic).or_default().insert(partition, epoch);
    }

    /// Since when it is held; `None` when it is not.
    pub fn since(&self, topic: TopicId, partition: i32) -> Option<i32> {
        self.0.get(&topic)?.get(&partition).copied()
    }

    /// Each one with its epoch, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, i32, i32)> + '_ {
        self.0.iter().flat_map(|(topic, held)| held.iter().map(move |(p, epoch)| (*topic, *p, *epoch)))
    }

    /// By topic, in order.
    pub fn by_topic(&self) -> impl Iterator<Item = (TopicId, impl Iterator<Item = i32> + '_)> {
        self.0.iter().map(|(topic, held)| (*topic, held.keys().copied()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both hold the same partitions, since whatever epochs.
    pub fn same_partitions(&self, other: &Self) -> bool {
        let mine = self.iter().map(|(topic, partition, _)| (topic, partition));
        mine.eq(other.iter().map(|(topic, partition, _)| (topic, partition)))
    }
}

impl FromIterator<(TopicId, i32, i32)> for Held {
    fn from_iter<I: IntoIterator<Item = (TopicId, i32, i32)>>(all: I) -> Self {
        let mut held = Self::default();
        all.into_iter().for_each(|(topic, partition, epoch)| held.insert(topic, partition, epoch));
        held
    }
}

impl From<StoredEpochs> for Held {
    fn from(stored: StoredEpochs) -> Self {
        let each =
            |(id, held): ([u8; 16], Vec<(i32, i32)>)| held.into_iter().map(move |(p, epoch)| (TopicId(id), p, epoch));
        stored.into_iter().flat_map(each).collect()
    }
}

impl From<Held> for StoredEpochs {
    fn from(held: Held) -> Self {
        held.0.into_iter().map(|(topic, held)| (topic.0, held.into_iter().collect())).collect()
    }
}
