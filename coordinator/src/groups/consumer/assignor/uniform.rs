//! `uniform`: all members get equally many partitions as far as their subscriptions allow, and keep what they have as far
//! as that allows. Balance goes before stickiness.

use std::collections::{BTreeMap, BTreeSet};

use pyralog_protocol::TopicId;

use super::super::partitions::Partitions;
use super::Subject;

/// Passes over all topics at most. Where subscribers of a topic subscribe to the same topics, one is enough; overlapping
/// subscriptions come closer to balance with each.
const PASSES_MAX: usize = 16;

/// All members subscribe to the same topics: nobody gets more than one partition more than anybody else.
pub(super) fn homogeneous(members: &[Subject<'_>], counts: &BTreeMap<TopicId, i32>) -> Vec<Partitions> {
    let Some(first) = members.first() else { return Vec::new() };
    let all = || first.topics.iter().flat_map(|topic| partitions_of(*topic, counts));
    let total = all().count();
    let (quota, longer) = (total / members.len(), total % members.len());
    let kept: Vec<Vec<(TopicId, i32)>> = members.iter().map(|m| keepable(m, counts)).collect();
    // Who already has one more than the quota may keep it before others are given one more.
    let having = kept.iter().enumerate().filter(|(_, kept)| kept.len() > quota).map(|(i, _)| i);
    let others = kept.iter().enumerate().filter(|(_, kept)| kept.len() <= quota).map(|(i, _)| i);
    let favoured: BTreeSet<usize> = having.chain(others).take(longer).collect();
    let mut taken = Partitions::default();
    let (mut assigned, mut room) = (Vec::with_capacity(members.len()), Vec::with_capacity(members.len()));
    for (i, kept) in kept.into_iter().enumerate() {
        let quota = quota + usize::from(favoured.contains(&i));
        let kept: Partitions = kept.into_iter().take(quota).collect();
        kept.iter().for_each(|(topic, partition)| taken.insert(topic, partition));
        room.push(quota - kept.len());
        assigned.push(kept);
    }
    let mut free = all().filter(|(topic, partition)| !taken.contains(*topic, *partition));
    for (share, room) in assigned.iter_mut().zip(room) {
        free.by_ref().take(room).for_each(|(topic, partition)| share.insert(topic, partition));
    }
    assigned
}

/// Members subscribe to different topics: no partition can move to a member that has at least two fewer.
pub(super) fn heterogeneous(members: &[Subject<'_>], counts: &BTreeMap<TopicId, i32>) -> Vec<Partitions> {
    let mut table = Table::new(members, counts);
    let order = table.order();
    for topic in &order {
        table.hand_out(*topic);
    }
    for _ in 0..PASSES_MAX {
        let moved: usize = order.iter().map(|topic| table.balance(*topic)).sum();
        if moved == 0 {
            break;
        }
    }
    table.assigned
}

fn partitions_of(topic: TopicId, counts: &BTreeMap<TopicId, i32>) -> impl Iterator<Item = (TopicId, i32)> + use<> {
    (0..counts.get(&topic).copied().unwrap_or(0)).map(move |partition| (topic, partition))
}

/// What a member has and may keep.
fn keepable(member: &Subject<'_>, counts: &BTreeMap<TopicId, i32>) -> Vec<(TopicId, i32)> {
    let kept = |(topic, p): &(TopicId, i32)| member.subscribes(*topic) && exists(*topic, *p, counts);
    member.before.iter().filter(kept).collect()
}

fn exists(topic: TopicId, partition: i32, counts: &BTreeMap<TopicId, i32>) -> bool {
    counts.get(&topic).is_some_and(|count| (0..*count).contains(&partition))
}

/// Who has what while it is handed out. Members are their positions.
struct Table {
    assigned: Vec<Partitions>,
    /// How many partitions each member has, of all topics.
    loads: Vec<usize>,
    topics: BTreeMap<TopicId, Row>,
}

/// One topic.
struct Row {
    subscribers: Vec<usize>,
    /// By partition.
    owners: Vec<Option<usize>>,
}

impl Table {
    /// What members have and may keep.
    fn new(members: &[Subject<'_>], counts: &BTreeMap<TopicId, i32>) -> Self {
        let mut topics: BTreeMap<TopicId, Row> = BTreeMap::new();
        for (i, member) in members.iter().enumerate() {
            for topic in member.topics.iter() {
                let owners = || vec![None; partitions_of(*topic, counts).count()];
                let row = topics.entry(*topic).or_insert_with(|| Row { subscribers: Vec::new(), owners: owners() });
                row.subscribers.push(i);
            }
        }
        let (assigned, loads) = (vec![Partitions::default(); members.len()], vec![0; members.len()]);
        let mut table = Self { assigned, loads, topics };
        for (i, member) in members.iter().enumerate() {
            keepable(member, counts).into_iter().for_each(|(topic, partition)| table.give(topic, partition, i));
        }
        table
    }

    /// The topics that leave least choice first: many partitions per subscriber, then few subscribers.
    fn order(&self) -> Vec<TopicId> {
        let mut order: Vec<TopicId> = self.topics.keys().copied().collect();
        let key = |topic: &TopicId| self.topics.get(topic).map_or((0, 0), |r| (r.owners.len(), r.subscribers.len()));
        order.sort_by(|a, b| {
            let ((partitions_a, members_a), (partitions_b, members_b)) = (key(a), key(b));
            let per_member = (partitions_b * members_a).cmp(&(partitions_a * members_b));
            per_member.then(members_a.cmp(&members_b)).then(a.cmp(b))
        });
        order
    }

    fn give(&mut self, topic: TopicId, partition: i32, to: usize) {
        let row = self.topics.get_mut(&topic);
        let owner = row.and_then(|row| row.owners.get_mut(usize::try_from(partition).ok()?));
        let Some(owner) = owner else { return };
        if let Some(from) = owner.replace(to) {
            if let Some(share) = self.assigned.get_mut(from) {
                share.remove(topic, partition);
            }
            self.shift(from, |load| load.saturating_sub(1));
        }
        if let Some(share) = self.assigned.get_mut(to) {
            share.insert(topic, partition);
        }
        self.shift(to, |load| load + 1);
    }

    fn shift(&mut self, member: usize, change: impl FnOnce(usize) -> usize) {
        if let Some(load) = self.loads.get_mut(member) {
            *load = change(*load);
        }
    }

    fn load(&self, member: usize) -> usize {
        self.loads.get(member).copied().unwrap_or(0)
    }

    /// Subscribers of a topic by what they have, the least first.
    fn by_load(&self, topic: TopicId) -> BTreeSet<(usize, usize)> {
        let subscribers = self.topics.get(&topic).map(|row| row.subscribers.as_slice()).unwrap_or_default();
        subscribers.iter().map(|member| (self.load(*member), *member)).collect()
    }

    /// Each partition without an owner goes to the subscriber that has least.
    fn hand_out(&mut self, topic: TopicId) {
        let mut by_load = self.by_load(topic);
        let owners = self.topics.get(&topic).map(|row| row.owners.as_slice()).unwrap_or_default();
        let free: Vec<i32> = (0..).zip(owners).filter(|(_, owner)| owner.is_none()).map(|(p, _)| p).collect();
        for partition in free {
            let Some((load, member)) = by_load.pop_first() else { return };
            self.give(topic, partition, member);
            by_load.insert((load + 1, member));
        }
    }

    /// Moves partitions from subscribers that have most to those that have least, until they differ by one at most, or
    /// who has more has none of this topic. Says how many moved.
    fn balance(&mut self, topic: TopicId) -> usize {
        let mut by_load = self.by_load(topic);
        let mut owned: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
        let owners = self.topics.get(&topic).map(|row| row.owners.as_slice()).unwrap_or_default();
        for (partition, owner) in (0..).zip(owners) {
            owned.entry(owner.unwrap_or(usize::MAX)).or_default().push(partition);
        }
        let mut moved = 0;
        while let (Some(&(least, to)), Some(&(most, from))) = (by_load.first(), by_load.last()) {
            if most <= least + 1 {
                break;
            }
            by_load.remove(&(most, from));
            // Who has nothing of this topic to give is out.
            let Some(partition) = owned.get_mut(&from).and_then(Vec::pop) else { continue };
            by_load.remove(&(least, to));
            self.give(topic, partition, to);
            by_load.extend([(most - 1, from), (least + 1, to)]);
            moved += 1;
        }
        moved
    }
}
