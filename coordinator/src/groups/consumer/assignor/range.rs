//! `range`: each topic is cut into contiguous ranges, one per subscriber. Where all members subscribe to the same topics
//! and these have equally many partitions, partitions of the same number meet at one member. Static members come first,
//! by instance id, so that a restart under a new member id moves nothing.

use std::collections::BTreeMap;

use pyralog_protocol::TopicId;

use super::super::partitions::Partitions;
use super::Subject;

pub(super) fn assign(members: &[Subject<'_>], counts: &BTreeMap<TopicId, i32>) -> Vec<Partitions> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    // Stable, so that dynamic members stay in the order of their ids.
    order.sort_by_key(|i| members.get(*i).map(|m| (m.instance.is_none(), m.instance)));
    let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for i in order {
        for topic in members.get(i).into_iter().flat_map(|m| m.topics.iter()) {
            subscribers.entry(*topic).or_default().push(i);
        }
    }
    let mut assigned = vec![Partitions::default(); members.len()];
    for (topic, subscribers) in subscribers {
        let count = counts.get(&topic).copied().unwrap_or(0);
        for (nth, i) in subscribers.iter().enumerate() {
            let range = range_of(nth, subscribers.len(), count);
            if let Some(share) = assigned.get_mut(*i) {
                range.for_each(|partition| share.insert(topic, partition));
            }
        }
    }
    assigned
}

/// The nth of so many ranges; the first ones are longer by one where the count does not divide.
fn range_of(nth: usize, ranges: usize, count: i32) -> std::ops::Range<i32> {
    let bound = |nth: usize| {
        let (count, nth, ranges) = (usize::try_from(count).unwrap_or(0), nth, ranges.max(1));
        let start = nth * (count / ranges) + nth.min(count % ranges);
        i32::try_from(start).unwrap_or(i32::MAX)
    };
    bound(nth)..bound(nth + 1)
}
