//! Look-ups in a partition that may have to wait for the disk, and for an index that is missing. The lock of the partition is
//! held for none of that but the reads of a few pages: building an index reads a segment from end to end, and neither producers
//! nor other readers wait for it.
//!
//! Holds: a request that waits in its connection has an index built by somebody who does nothing else, however many wait for it,
//! and is woken when that is over, whatever came of it.

use std::sync::Arc;

use pyralog_protocol::Vlsn;
use pyralog_storage::{Disk, Log, Patience, ReadError};

use crate::connection::ConnId;
use crate::outputs::Outputs;
use crate::partition::{Bounds, Partition, Refusal};

/// Most indexes that one look-up misses. More than a log has segments: behind that, something else is wrong.
const MISSES_MAX: usize = 100_000;

/// What a request could not have without waiting, run for what it leaves in memory, or in an index.
#[derive(Debug)]
pub struct Lookup<D: Disk> {
    partition: Arc<Partition<D>>,
    /// What is read: from a VLSN on, and for how many bytes from there.
    vlsns: Option<(Vlsn, u64)>,
}

impl<D: Disk> Lookup<D> {
    /// Only the indexes that were missed.
    pub(crate) fn of_indexes(partition: &Arc<Partition<D>>) -> Self {
        Self { partition: Arc::clone(partition), vlsns: None }
    }

    /// About so many bytes from a VLSN on, and the indexes that this takes.
    pub(crate) fn of_vlsns(partition: &Arc<Partition<D>>, from: Vlsn, bytes: u64) -> Self {
        Self { partition: Arc::clone(partition), vlsns: Some((from, bytes)) }
    }

    /// Runs it. Blocks, but for no index: where one is missing, that is asked for in `out`, and the connection is woken once it
    /// is there. Tells whether nothing is missing. What goes wrong shows where the request is looked at again.
    pub fn run(&self, conn: ConnId, out: &mut Outputs<D>) -> bool {
        if let Some((from, bytes)) = self.vlsns {
            let found = self.partition.look_up(Patience::Reads, |log, bounds| {
                log.read_vlsns(from, bytes, bounds.high_watermark, Patience::Reads).map(drop)
            });
            if !matches!(found, Ok(Err(error)) if error.would_wait()) {
                return true;
            }
        }
        !self.partition.await_index(conn, out)
    }
}

impl<D: Disk> Partition<D> {
    /// Runs a look-up on the open log. Where an index is missing, it is built without the lock, and the look-up is run again;
    /// one that must not wait for that ends as one that would.
    pub(crate) fn look_up<T>(
        self: &Arc<Self>,
        patience: Patience,
        mut look: impl FnMut(&mut Log<D>, Bounds) -> Result<T, ReadError>,
    ) -> Result<Result<T, ReadError>, Refusal> {
        for _ in 0..MISSES_MAX {
            let found = self.with_log(|log, bounds| log.without_building(|log| look(log, bounds)))?;
            match (found, patience) {
                (Err(error), Patience::Waits) if error.would_wait() => self.build_missing_index()?,
                (found, Patience::Waits | Patience::Reads | Patience::Hurries) => return Ok(found),
            }
        }
        self.with_log(look)
    }

    /// Builds an index that a look-up missed, if nobody else did meanwhile. Where it cannot be built, the next look-ups that
    /// miss it end with the reason, as many as wait for it.
    pub(crate) fn build_missing_index(self: &Arc<Self>) -> Result<(), Refusal> {
        let _turn = self.take_turn_to_build();
        let Some(mut build) = self.with_log(|log, _| log.missing_index())? else { return Ok(()) };
        self.make_room_for_files();
        build.run();
        build.awaited_by(self.index_waiters());
        self.with_log(|log, _| log.adopt_index(build))
    }
}
