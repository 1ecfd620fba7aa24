//! The target assignment of a KIP-848 group: when it has to be made anew, and making it.
//! Holds: the group epoch rises with every change of what the target depends on; the assignment epoch follows it, but not
//! more often than `group.consumer.assignment.interval.ms`. Who may have what already is decided in `reconcile`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pyralog_protocol::{MonoMs, TopicId};

use super::assignor::{Subject, assign};
use super::record::{ConsumerHead, Subscriber};
use crate::groups::record::GroupRecord;
use crate::groups::step::Step;
use crate::groups::{Groups, TopicView};

/// Names and pattern that a member subscribes to.
type Subscribed<'a> = (&'a BTreeSet<String>, Option<&'a String>);

impl Groups {
    /// Raises the group epoch if the subscription changed, or the topics that are subscribed to.
    pub(super) fn refresh(&mut self, group: &str, subscription_changed: bool, step: &mut Step<'_>) {
        let count = self.topic_changes;
        let seen = self.watches.get(group).and_then(|watch| watch.topics_seen);
        if !subscription_changed && seen == Some(count) {
            return;
        }
        let hash = self.topics_hash(group, step);
        self.change_consumer_head(group, step, |head| {
            if subscription_changed || head.topics_hash != hash {
                (head.epoch, head.topics_hash) = (head.epoch.saturating_add(1), hash);
            }
        });
        if let Some(watch) = self.watches.get_mut(group) {
            watch.topics_seen = Some(count);
        }
    }

    /// Makes a new target, if the group's epoch is ahead of the last one and that is old enough. Without room it waits:
    /// each one may be as large as the group.
    pub(super) fn retarget(&mut self, group: &str, step: &mut Step<'_>) {
        let interval_ms = self.pace(group, step.topics).assignment_interval_ms;
        let last = self.watches.get(group).and_then(|watch| watch.assigned_at);
        let behind = self.hard.consumer(group).is_some_and(|g| g.head.epoch > g.head.assignment_epoch);
        let early = |last: MonoMs| step.now.mono < last.after_ms(interval_ms.into());
        if !behind || step.no_room || last.is_some_and(early) {
            return;
        }
        for record in self.new_targets(group, step) {
            self.put(record, step);
        }
        self.change_consumer_head(group, step, |head| head.assignment_epoch = head.epoch);
        if let Some(watch) = self.watches.get_mut(group) {
            watch.assigned_at = Some(step.now.mono);
        }
    }

    /// The targets that change.
    fn new_targets(&mut self, group: &str, step: &Step<'_>) -> Vec<GroupRecord> {
        let (topics, now) = (step.topics, step.now.mono);
        let (hard, settings, patterns) = (&self.hard, &self.settings.consumer, &mut self.patterns);
        let Some(consumer) = hard.consumer(group) else { return Vec::new() };
        // Most members of a group subscribe to the same: looked up once, and told apart by the pointer.
        let mut shared: BTreeMap<Subscribed<'_>, Rc<[TopicId]>> = BTreeMap::new();
        let mut counts = BTreeMap::new();
        let mut subjects = Vec::with_capacity(consumer.members.len());
        for member in consumer.members.values() {
            let about = &member.about;
            let list = shared.entry((&about.topics, about.pattern.as_ref())).or_insert_with(|| {
                let matched =
                    about.pattern.as_ref().map(|p| patterns.topics(p, topics, now, settings.pattern_refresh_ms));
                let matched = matched.iter().flat_map(|set| set.iter()).map(|log| log.as_str());
                let found =
                    about.topics.iter().map(String::as_str).chain(matched).filter_map(|name| topics.topic(name));
                let found: BTreeMap<TopicId, i32> = found.collect();
                counts.extend(found.iter().map(|(id, count)| (*id, *count)));
                found.into_keys().collect()
            });
            let instance = about.instance.as_deref();
            subjects.push(Subject { instance, topics: list.clone(), before: &member.target });
        }
        let assignor = consumer.preferred_assignor(&settings.assignors).unwrap_or(settings.default_assignor());
        let targets = assign(assignor, &subjects, &counts);
        let changed = consumer.members.iter().zip(targets).filter(|((_, member), target)| member.target != *target);
        let record = |((id, _), partitions): ((&String, _), _)| GroupRecord::Target {
            group: group.to_string(),
            member: id.clone(),
            partitions,
        };
        changed.map(record).collect()
    }

    /// A digest of the topics that exist and are subscribed to. No topics have none.
    pub(super) fn topics_hash(&mut self, group: &str, step: &Step<'_>) -> u64 {
        let (topics, now) = (step.topics, step.now.mono);
        let (hard, patterns, refresh_ms) = (&self.hard, &mut self.patterns, self.settings.consumer.pattern_refresh_ms);
        let Some(consumer) = hard.consumer(group) else { return 0 };
        let matched: Vec<_> = consumer.patterns.keys().map(|p| patterns.topics(p, topics, now, refresh_ms)).collect();
        let mut names: BTreeSet<&str> = consumer.subscribers.keys().map(String::as_str).collect();
        names.extend(matched.iter().flat_map(|set| set.iter()).map(|log| log.as_str()));
        let mut hash = 0;
        for (name, (id, count)) in names.into_iter().filter_map(|name| Some((name, topics.topic(name)?))) {
            hash = fnv(fnv(fnv(hash, name.as_bytes()), &id.0), &count.to_be_bytes());
        }
        hash
    }

    /// Topics that exist and that a member subscribes to.
    pub(super) fn subscribed(&mut self, about: &Subscriber, step: &Step<'_>) -> BTreeSet<TopicId> {
        let (topics, now) = (step.topics, step.now.mono);
        let refresh_ms = self.settings.consumer.pattern_refresh_ms;
        let matched = about.pattern.as_ref().map(|p| self.patterns.topics(p, topics, now, refresh_ms));
        let matched = matched.iter().flat_map(|set| set.iter()).map(|log| log.as_str());
        let names = about.topics.iter().map(String::as_str).chain(matched);
        names.filter_map(|name| Some(topics.topic(name)?.0)).collect()
    }

    pub(super) fn pace(&self, group: &str, topics: &dyn TopicView) -> super::settings::Pace {
        self.settings.consumer.pace(topics.group_configs(group))
    }

    /// Writes the group's head if `change` changes it.
    pub(super) fn change_consumer_head(
        &mut self,
        group: &str,
        step: &mut Step<'_>,
        change: impl FnOnce(&mut ConsumerHead),
    ) {
        let Some(old) = self.hard.consumer(group).map(|consumer| consumer.head.clone()) else { return };
        let mut head = old.clone();
        change(&mut head);
        if head == old {
            return;
        }
        if head.epoch != old.epoch
            && let Some(watch) = self.watches.get_mut(group)
        {
            watch.changed_at = Some(step.now.mono);
        }
        self.put(GroupRecord::ConsumerHead { group: group.to_string(), head }, step);
    }
}

/// Goes on with a 64-bit FNV-1a. It is stored, so it must be the same in every release.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    let start = if hash == 0 { 0xcbf2_9ce4_8422_2325 } else { hash };
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
