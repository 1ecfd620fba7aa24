//! Bringing into memory what a read looks at, without its log: where batches begin and end stands in pages of the index and in
//! their headers. On a slow disk nobody is to wait for these but who asked.
//!
//! A read or look-up that [hurries](Patience::Hurries) ends as one that [would wait](crate::ReadError::would_wait) at the
//! first such page that is not there. Whoever has the time runs this, and it is tried again.

use std::sync::Arc;

use pyralog_protocol::{LogOffset, WallMs};

use crate::disk::{Disk, Patience};
use crate::log::Log;
use crate::read::{Limits, extent, locate};
use crate::segment::{Env, Segment};

/// What a read looks at.
pub struct Prefetch<D: Disk> {
    env: Env<D>,
    /// With files of its own, so that the log may close its.
    segment: Segment<D::File>,
    offset: LogOffset,
    cleaned_end: LogOffset,
    limits: Limits,
}

impl<D: Disk> Prefetch<D> {
    /// Looks at it. Blocks; needs no log, and builds no index. What goes wrong shows where the read is tried again.
    pub fn run(mut self) {
        let (env, segment) = (&self.env, &mut self.segment);
        if let Ok(Some(first)) = locate(env, segment, self.offset, self.cleaned_end) {
            let _ = extent(env, segment, &first, &self.limits);
        }
    }
}

/// A log beside one that serves, of the same files: for look-ups that wait for the disk, and may bring into memory what they look
/// at, but change nothing.
pub struct Aside<D: Disk>(Log<D>);

impl<D: Disk> Aside<D> {
    /// Runs a look-up, which builds no index.
    pub fn run<T>(mut self, look: impl FnOnce(&mut Log<D>) -> T) -> T {
        look(&mut self.0)
    }
}

impl<D: Disk> Log<D> {
    /// The log as it is now, for who has the time.
    pub fn aside(&self) -> Aside<D> {
        let mut log = Self::empty(self.env_aside(), self.meta);
        (log.log_end, log.last_vlsn) = (self.log_end, self.last_vlsn);
        log.epochs = self.epochs.clone();
        let twins = self.segments.iter().map(|segment| {
            let mut twin = Segment::existing(segment.base, segment.size, WallMs(0));
            // Only the newest ones have theirs in memory.
            (twin.index, twin.vlsns) = (segment.index.clone(), segment.vlsns.clone());
            twin.newest = segment.newest;
            twin
        });
        log.segments = twins.collect();
        Aside(log)
    }

    /// What the same files are found by, with the time to read them.
    fn env_aside(&self) -> Env<D> {
        let Env { disk, dir, config, trust, .. } = &self.env;
        Env { patience: Patience::Reads, ..Env::new(Arc::clone(disk), dir, config.clone(), *trust) }
    }

    /// What [`Log::read`] looks at, or nothing.
    pub fn prefetch(
        &self,
        offset: LogOffset,
        max_bytes: u64,
        min_one_batch: bool,
        bound: LogOffset,
    ) -> Option<Prefetch<D>> {
        let (at, limits) = self.limits_at(offset, max_bytes, min_one_batch, bound)?;
        let segment = self.segments.get(at)?;
        let mut twin = Segment::existing(segment.base, segment.size, WallMs(0));
        // All of it may be large.
        let relative = offset.0.saturating_sub(segment.base.0);
        twin.index = segment.index.as_ref().map(|index| index.part(relative, max_bytes));
        let (env, cleaned_end) = (self.env_aside(), self.meta.cleaned_end);
        Some(Prefetch { env, segment: twin, offset, cleaned_end, limits })
    }
}
