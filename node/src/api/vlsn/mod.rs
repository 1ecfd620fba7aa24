//! The private APIs. What they change goes through the coordinator as every change does; here is what only the data plane
//! can add to the answers, and what it answers alone: how far logs are, and reads by VLSN. Appends stand with Produce.

mod append;
mod describe;
mod read;

pub(crate) use append::{Appended, append};
pub(crate) use describe::describe;
pub(crate) use read::{ReadWait, abandon, read, read_range, resume};

use std::collections::BTreeMap;

use pyralog_protocol::Vlsn;
use pyralog_protocol::vlsn::messages::VlsnCommittedResponse;
use pyralog_storage::Disk;

use crate::topology::Topology;

/// What the coordinator does not know of a commit: how much behind it is decided and waits for the consumer.
pub(crate) fn with_lags<D: Disk>(topology: &Topology<D>, mut response: VlsnCommittedResponse) -> VlsnCommittedResponse {
    let mut ends = BTreeMap::new();
    for entry in &mut response.commits {
        let end = *ends.entry(entry.log.clone()).or_insert_with(|| undecided(topology, &entry.log));
        entry.lag = end.map_or(UNKNOWN, |end| lag(entry.vlsn, end));
    }
    response
}

const UNKNOWN: i64 = -1;

/// `None` where the log is gone, or a partition of it does not serve.
fn undecided<D: Disk>(topology: &Topology<D>, log: &str) -> Option<Vlsn> {
    let bounds = topology.vlsn_log(topology.by_name(log)?)?.bounds();
    bounds.ok().map(|bounds| bounds.undecided)
}

/// A commit may lie ahead of what is written: nothing is left to do then.
fn lag(done: Vlsn, undecided: Vlsn) -> i64 {
    i64::try_from(undecided.0.saturating_sub(done.next().0)).unwrap_or(i64::MAX)
}
