//! Look-ups in a partition that may have to wait for the disk, and for an index that is missing. The lock of the partition is
//! held for none of that but the reads of a few pages: building an index reads a segment from end to end, and neither producers
//! nor other readers wait for it.

use std::sync::Arc;

use pyralog_protocol::{LogOffset, Vlsn};
use pyralog_storage::{Disk, Log, Patience, ReadError};

use crate::partition::{Bounds, Partition, Refusal};

/// Most indexes that one look-up misses. More than a log has segments: behind that, something else is wrong.
const MISSES_MAX: usize = 100_000;

/// A look-up that waits for the disk, run for what it leaves in memory, or in an index.
#[derive(Debug)]
pub struct Lookup<D: Disk> {
    partition: Arc<Partition<D>>,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Offset(LogOffset),
    Vlsns {
        from: Vlsn,
        /// How far a read goes on from there.
        bytes: u64,
    },
}

impl<D: Disk> Lookup<D> {
    /// What begins at an offset.
    pub(crate) fn of_offset(partition: &Arc<Partition<D>>, offset: LogOffset) -> Self {
        Self { partition: Arc::clone(partition), wanted: Wanted::Offset(offset) }
    }

    /// About so many bytes from a VLSN on.
    pub(crate) fn of_vlsns(partition: &Arc<Partition<D>>, from: Vlsn, bytes: u64) -> Self {
        Self { partition: Arc::clone(partition), wanted: Wanted::Vlsns { from, bytes } }
    }

    /// Runs it. Blocks. What goes wrong shows where the request is looked at again.
    pub fn run(&self) {
        let look = |log: &mut Log<D>, bounds: Bounds| match self.wanted {
            Wanted::Offset(offset) => log.read(offset, 1, true, bounds.high_watermark).map(drop),
            Wanted::Vlsns { from, bytes } => {
                log.read_vlsns(from, bytes, bounds.high_watermark, Patience::Waits).map(drop)
            }
        };
        let _ = self.partition.look_up(Patience::Waits, look);
    }
}

impl<D: Disk> Partition<D> {
    /// Runs a look-up on the open log. Where an index is missing, it is built without the lock, and the look-up is run again;
    /// one that must not wait ends as one that would.
    pub(crate) fn look_up<T>(
        self: &Arc<Self>,
        patience: Patience,
        mut look: impl FnMut(&mut Log<D>, Bounds) -> Result<T, ReadError>,
    ) -> Result<Result<T, ReadError>, Refusal> {
        for _ in 0..MISSES_MAX {
            let found = self.with_log(|log, bounds| log.without_building(|log| look(log, bounds)))?;
            match (found, patience) {
                (Err(error), Patience::Waits) if error.would_wait() => self.build_missing_index()?,
                (found, Patience::Waits | Patience::Hurries) => return Ok(found),
            }
        }
        self.with_log(look)
    }

    /// Builds an index that a look-up missed, if nobody else did meanwhile. Where it cannot be built, the next look-up that
    /// misses it ends with the reason.
    pub(crate) fn build_missing_index(self: &Arc<Self>) -> Result<(), Refusal> {
        let _turn = self.take_turn_to_build();
        let Some(mut build) = self.with_log(|log, _| log.missing_index())? else { return Ok(()) };
        self.make_room_for_files();
        build.run();
        self.with_log(|log, _| log.adopt_index(build))
    }
}
