//! Which brokers hold a new partition. Names registered brokers only (RL-21), none twice per partition. Spreads
//! leaders evenly, and the followers of one broker's partitions over all others, so that a lost broker's load does not
//! fall on one neighbour. Knows no racks and no load yet.

use super::record::PartitionMetadata;
use pyralog_protocol::{LeaderEpoch, NodeId};

/// Places partitions `first..first + count` of a log on `brokers`, `replicas` each; `start` is where the round begins,
/// drawn, so that logs with one partition do not all begin on the same broker. At most as many replicas as brokers.
pub(super) fn place(first: usize, count: usize, replicas: usize, brokers: &[NodeId], start: u64) -> Vec<Vec<NodeId>> {
    let n = brokers.len();
    if n == 0 {
        return Vec::new();
    }
    let start = usize::try_from(start % n as u64).unwrap_or(0);
    (first..first + count)
        .map(|partition| {
            let leader = start + partition;
            let shift = leader / n;
            let follower = |r: usize| leader + 1 + (shift + r) % (n - 1).max(1);
            let chosen = std::iter::once(leader).chain((0..replicas.min(n).saturating_sub(1)).map(follower));
            chosen.map(|at| brokers[at % n]).collect()
        })
        .collect()
}

/// A new partition: everybody is in sync, for there is nothing to catch up with, and the first replica leads.
pub(super) fn fresh(replicas: Vec<NodeId>) -> PartitionMetadata {
    PartitionMetadata {
        leader: replicas.first().copied(),
        leader_epoch: LeaderEpoch(0),
        isr: replicas.clone(),
        replicas,
    }
}
