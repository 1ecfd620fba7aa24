//! The files of a partition directory, and what a process that died in the middle of something left among them.

use std::io;
use std::sync::Arc;

use pyralog_protocol::{LogOffset, Now};

use super::OpenError;
use crate::compact::swap::{self, Unsettled, remove_if_there};
use crate::disk::Disk;
use crate::log::Log;
use crate::retention::is_grave;
use crate::segment::{DERIVED, Segment, file_name, parse_name};
use crate::suspect::{RECOVERING_FILE, SYNC_FAILED_FILE};
use crate::truncation::TRUNCATED_FILE;

/// Names in a partition directory.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) segments: Vec<LogOffset>,
    pub(super) snapshots: Vec<LogOffset>,
    /// What an unfinished replacement left, and indexes without their segment.
    pub(super) leftovers: Vec<String>,
    /// What a compaction left.
    swaps: Vec<String>,
    /// Of segments that had left the log when its process ended.
    pub(super) graves: Vec<String>,
    /// The log was cut, or was about to be.
    pub(super) truncated: bool,
    /// A process ended after a failed sync.
    pub(super) suspect: bool,
    /// One ended in a recovery that had begun to change something.
    pub(super) unsettled: bool,
}

impl<D: Disk> Log<D> {
    fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let mut derived = Vec::new();
        for name in self.env.disk.list(&self.env.dir)? {
            listing.segments.extend(parse_name(&name, "log"));
            listing.snapshots.extend(parse_name(&name, "snapshot"));
            derived.extend(DERIVED.iter().filter_map(|kind| Some((parse_name(&name, kind)?, *kind))));
            listing.suspect |= name == SYNC_FAILED_FILE;
            listing.truncated |= name == TRUNCATED_FILE;
            listing.unsettled |= name == RECOVERING_FILE;
            if swap::is_ours(&name) {
                listing.swaps.push(name);
            } else if is_grave(&name) {
                listing.graves.push(name);
            } else if name.ends_with(".tmp") {
                listing.leftovers.push(name);
            }
        }
        listing.segments.sort_unstable();
        listing.snapshots.sort_unstable();
        derived.retain(|(base, _)| listing.segments.binary_search(base).is_err());
        listing.leftovers.extend(derived.into_iter().map(|(base, kind)| file_name(base, kind)));
        Ok(listing)
    }

    /// What is there once the swaps of a compaction that was cut off are finished or undone.
    pub(super) fn list_settled(&mut self) -> Result<Listing, OpenError> {
        let listing = self.list().map_err(|e| self.io(e))?;
        if listing.swaps.is_empty() {
            return Ok(listing);
        }
        let disk = Arc::clone(&self.env.disk);
        swap::settle(&*disk, &self.env.dir, &mut self.meta, &listing.swaps).map_err(|unsettled| match unsettled {
            Unsettled::Io(error) => self.io(error),
            Unsettled::Missing(swap) => self.corrupt(swap.base.0..swap.end.0, "a cleaned segment is missing"),
        })?;
        self.list().map_err(|e| self.io(e))
    }

    /// The segments that are there. Those wholly below the log start were deleted already, but for a crash.
    pub(super) fn add_segments(&mut self, listing: &Listing, now: Now) -> io::Result<()> {
        let first = listing.segments.partition_point(|base| *base <= self.log_start()).saturating_sub(1);
        for (at, base) in listing.segments.iter().enumerate() {
            if at < first {
                self.remove_segment_files(*base)?;
                continue;
            }
            let size = self.env.disk.file_len(&self.env.path(&file_name(*base, "log")))?;
            self.segments.push(Segment::existing(*base, size, now.wall));
        }
        Ok(())
    }

    /// Whether a process may have died while it moved the log start, before that was durable: the segments below are
    /// there. It must not fall back after somebody saw it (IO-15), and no file goes before.
    pub(super) fn start_may_be_new(&self, listing: &Listing) -> bool {
        let start = self.log_start();
        start > LogOffset::ZERO && listing.segments.first().is_none_or(|first| *first < start)
    }

    /// Removes what would get in the way of its successor, durably. An unfinished replacement: the next one would write
    /// into the same file, and a power loss could bring back its old content, an index or snapshot of batches that are
    /// gone, under a good name. An index without its segment: a segment of the same name may come, with other batches.
    /// It holds as well when this is cut off and done again.
    pub(super) fn drop_files(&mut self, names: &[String]) -> io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let before = self.unsettled;
        self.begin_change()?;
        for name in names {
            remove_if_there(&*self.env.disk, &self.env.path(name))?;
        }
        self.env.disk.sync_dir(&self.env.dir)?;
        if before { Ok(()) } else { self.end_change() }
    }

    pub(super) fn remove_segment_files(&self, base: LogOffset) -> io::Result<()> {
        for kind in DERIVED {
            remove_if_there(&*self.env.disk, &self.env.path(&file_name(base, kind)))?;
        }
        remove_if_there(&*self.env.disk, &self.env.path(&file_name(base, "log")))
    }
}
