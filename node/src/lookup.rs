//! Look-ups in a partition that may have to wait for the disk, and for an index that is missing. The lock of the partition is
//! held for none of that but the reads of a few pages by VLSN, and for others not even where they come from the disk. Building an
//! index reads a segment from end to end, and neither producers nor other readers wait for it.
//!
//! Holds: a request that waits in its connection has an index built by somebody who does nothing else, however many wait for it,
//! and is woken when that is over, whatever came of it.

use std::fmt;
use std::sync::Arc;

use pyralog_protocol::{LogOffset, Vlsn};
use pyralog_storage::{Disk, Log, Patience, ReadError};

use crate::connection::ConnId;
use crate::outputs::Outputs;
use crate::partition::{Bounds, Partition, ReadLimits, Refusal};

/// Most indexes that one look-up misses. More than a log has segments: behind that, something else is wrong.
const MISSES_MAX: usize = 100_000;

/// What a request could not have without waiting, run for what it leaves in memory, or in an index.
#[derive(Debug)]
pub struct Lookup<D: Disk> {
    partition: Arc<Partition<D>>,
    what: What<D>,
}

/// What looks at a log, and changes nothing.
type Look<D> = Box<dyn Fn(&mut Log<D>, Bounds) -> Result<(), ReadError> + Send + Sync>;

enum What<D: Disk> {
    /// Only the indexes that were missed.
    Indexes,
    /// From a VLSN on, for so many bytes.
    Vlsns(Vlsn, u64),
    /// From an offset on, within these limits.
    Read(LogOffset, ReadLimits),
    /// Whatever this looks at.
    Any(Look<D>),
}

impl<D: Disk> fmt::Debug for What<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Indexes => f.write_str("Indexes"),
            Self::Vlsns(from, bytes) => f.debug_tuple("Vlsns").field(from).field(bytes).finish(),
            Self::Read(from, limits) => f.debug_tuple("Read").field(from).field(limits).finish(),
            Self::Any(_) => f.write_str("Any"),
        }
    }
}

impl<D: Disk> Lookup<D> {
    /// Only the indexes that were missed.
    pub(crate) fn of_indexes(partition: &Arc<Partition<D>>) -> Self {
        Self { partition: Arc::clone(partition), what: What::Indexes }
    }

    /// About so many bytes from a VLSN on, and the indexes that this takes.
    pub(crate) fn of_vlsns(partition: &Arc<Partition<D>>, from: Vlsn, bytes: u64) -> Self {
        Self { partition: Arc::clone(partition), what: What::Vlsns(from, bytes) }
    }

    /// Where a read from an offset on begins and ends, and the index that this takes.
    pub(crate) fn of_read(partition: &Arc<Partition<D>>, from: LogOffset, limits: ReadLimits) -> Self {
        Self { partition: Arc::clone(partition), what: What::Read(from, limits) }
    }

    /// What a look-up that changes nothing looks at, and the indexes that this takes.
    pub(crate) fn of<T>(
        partition: &Arc<Partition<D>>,
        look: impl Fn(&mut Log<D>, Bounds) -> Result<T, ReadError> + Send + Sync + 'static,
    ) -> Self {
        let look = Box::new(move |log: &mut Log<D>, bounds: Bounds| look(log, bounds).map(drop));
        Self { partition: Arc::clone(partition), what: What::Any(look) }
    }

    /// Runs it. Blocks, but for no index: where one is missing, that is asked for in `out`, and the connection is woken once it
    /// is there. Tells whether nothing is missing. What goes wrong shows where the request is looked at again.
    pub fn run(&self, conn: ConnId, out: &mut Outputs<D>) -> bool {
        match &self.what {
            What::Indexes => {}
            What::Any(look) => {
                if let Ok((aside, bounds)) = self.partition.with_log(|log, bounds| (log.aside(), bounds)) {
                    self.partition.make_room_for_files();
                    let _ = aside.run(|log| look(log, bounds));
                }
            }
            &What::Vlsns(from, bytes) => {
                let found = self.partition.look_up(Patience::Reads, |log, bounds| {
                    log.read_vlsns(from, bytes, bounds.high_watermark, Patience::Reads).map(drop)
                });
                if !matches!(found, Ok(Err(error)) if error.would_wait()) {
                    return true;
                }
            }
            &What::Read(from, (max_bytes, at_least_one)) => {
                let prefetch = self
                    .partition
                    .with_log(|log, bounds| log.prefetch(from, max_bytes as u64, at_least_one, bounds.high_watermark));
                if let Ok(Some(prefetch)) = prefetch {
                    self.partition.make_room_for_files();
                    prefetch.run();
                }
            }
        }
        !self.partition.await_index(conn, out)
    }
}

impl<D: Disk> Partition<D> {
    /// Runs a look-up on the open log. Where an index is missing, it is built without the lock, and the look-up is run again;
    /// one that must not wait for that, or for a page, ends as one that would.
    pub(crate) fn look_up<T>(
        self: &Arc<Self>,
        patience: Patience,
        mut look: impl FnMut(&mut Log<D>, Bounds) -> Result<T, ReadError>,
    ) -> Result<Result<T, ReadError>, Refusal> {
        let here = if patience == Patience::Hurries { Patience::Hurries } else { Patience::Reads };
        for _ in 0..MISSES_MAX {
            let found = self.with_log(|log, bounds| log.with_patience(here, |log| look(log, bounds)))?;
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
