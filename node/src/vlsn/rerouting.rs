//! A change of the partition count routes VLSNs anew from one on that lies above all that were written. Between finding
//! that one and the new routing being in force, nothing is appended: clients are told to look again.

use std::collections::BTreeSet;
use std::sync::Arc;

use pyralog_coordinator::{Command, RoutingFrom};
use pyralog_protocol::{TopicId, Vlsn};
use pyralog_storage::Disk;

use crate::partition::Partition;
use crate::topology::Topology;

/// Partitions of a log that take nothing: the first so many. Others may be added before these are let go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frozen {
    topic: TopicId,
    partitions: usize,
}

/// Completes a command that may change the routing of logs, and stops appends to them until [`thaw`].
pub(crate) fn freeze<D: Disk>(topology: &Topology<D>, command: Command) -> (Command, Vec<Frozen>) {
    let Command::CreatePartitions(mut asked) = command else { return (command, Vec::new()) };
    let (mut frozen, mut seen) = (Vec::new(), BTreeSet::new());
    // One that is named twice is refused.
    for topic in asked.request.topics.iter().filter(|topic| seen.insert(topic.name.clone())) {
        let Some(entry) = topology.by_name(&topic.name.0).filter(|entry| entry.log.metadata.routing.is_some()) else {
            continue;
        };
        // All of them, also behind one that cannot tell its last.
        let freeze = |partition: &Arc<Partition<D>>| partition.freeze().map_err(|_| partition.index);
        let each: Vec<_> = entry.partitions.iter().map(freeze).collect();
        let last = each.into_iter().try_fold(None, |last, own| Ok(last.max(own?)));
        // A count that nothing was written under has no VLSN of its own either.
        let begun = entry.log.metadata.routing.as_ref().and_then(|routing| routing.epochs().last());
        let begun = begun.map_or(Vlsn::ZERO, |epoch| epoch.from);
        let from = last.map(|last| last.map_or(Vlsn::ZERO, Vlsn::next).max(begun));
        let (topic, partitions) = (entry.log.metadata.topic_id, entry.partitions.len());
        asked.routing_from.push(RoutingFrom { topic, partitions, from });
        frozen.push(Frozen { topic, partitions });
    }
    (Command::CreatePartitions(asked), frozen)
}

/// Lets the logs go on that a command stopped.
pub(crate) fn thaw<D: Disk>(topology: &Topology<D>, frozen: &[Frozen]) {
    for Frozen { topic, partitions } in frozen {
        let there = topology.by_id(*topic).into_iter().flat_map(|entry| &entry.partitions);
        there.take(*partitions).for_each(|partition| partition.thaw());
    }
}
