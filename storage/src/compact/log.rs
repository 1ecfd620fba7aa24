//! What compaction asks of a log while it is locked: how dirty it is, a plan for a round, the swap, and the end.

use std::io;
use std::ops::Range;

use pyralog_protocol::{LogOffset, Now, WallMs};

use super::run::{Compaction, Rewritten, Round, Source};
use super::swap::{CLEANED, CLEANED_INDEX, REPLACED, remove_if_there};
use super::{CompactError, CompactionConfig};
use crate::disk::Disk;
use crate::log::{Log, Offline};
use crate::read::ReadError;
use crate::retention::{DeleteError, Retention, Written};
use crate::segment::{Segment, file_name};
use crate::state::PartitionMeta;

/// What a log remembers of its compaction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// No two records below have the same key.
    pub first_dirty: LogOffset,
    /// A round was planned and has not come back.
    running: bool,
    /// A round failed in a way that another one would as well.
    failed: bool,
}

/// How dirty a log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleanable {
    /// Bytes of segments that are clean.
    pub clean_bytes: u64,
    /// Bytes of segments that can be cleaned now.
    pub dirty_bytes: u64,
    /// By how much the oldest of them has outstayed `max.compaction.lag.ms`.
    pub overdue_ms: u64,
    /// It is worthwhile, or overdue.
    pub due: bool,
    /// Full segments wait only for their sync.
    pub unflushed: bool,
}

impl Cleanable {
    /// Share of dirty bytes in millionths.
    pub fn dirty_millionths(&self) -> u64 {
        let total = u128::from(self.clean_bytes) + u128::from(self.dirty_bytes);
        u64::try_from(u128::from(self.dirty_bytes) * 1_000_000 / total.max(1)).unwrap_or(u64::MAX)
    }
}

impl<D: Disk> Log<D> {
    /// How dirty the log is below `bound`, the high watermark. None: it is not compacted, offline, or busy with a round.
    pub fn cleanable(&mut self, now: Now, bound: LogOffset) -> Result<Option<Cleanable>, ReadError> {
        let Some(config) = self.env.config.compaction.filter(|_| self.can_begin()) else { return Ok(None) };
        let (dirty, until) = (self.first_dirty(), self.cleanable_segments(&config, now, bound)?);
        let mut found = Cleanable { unflushed: self.sealed_unflushed(), ..Cleanable::default() };
        let mut oldest = None;
        for at in 0..until {
            let (base, end, size) = self.extent_of(at);
            if end <= dirty {
                found.clean_bytes += size;
                continue;
            }
            found.dirty_bytes += size;
            if config.max_lag_ms < i64::MAX.unsigned_abs() {
                let first =
                    self.look(at, |segment, env| segment.first_timestamp(env)).map_err(|e| ReadError::of(base, e))?;
                oldest = oldest.into_iter().chain(first.filter(|t| *t >= 0)).min();
            }
        }
        let age = oldest.map_or(0, |oldest| u64::try_from(now.wall.0.saturating_sub(oldest)).unwrap_or(0));
        found.overdue_ms = age.saturating_sub(config.max_lag_ms);
        let worthwhile = found.dirty_millionths() > u64::from(config.min_dirty_millionths);
        found.due = found.dirty_bytes > 0 && (worthwhile || found.overdue_ms > 0);
        Ok(Some(found))
    }

    /// Plans a round over what can be cleaned below `bound`. It has to come back to [`Log::end_compaction`].
    pub fn begin_compaction(&mut self, now: Now, bound: LogOffset) -> Result<Option<Compaction<D>>, ReadError> {
        let Some(config) = self.env.config.compaction.filter(|_| self.can_begin()) else { return Ok(None) };
        let (first_dirty, until) = (self.first_dirty(), self.cleanable_segments(&config, now, bound)?);
        let extents: Vec<_> = (0..until).map(|at| self.extent_of(at)).collect();
        let sources: Vec<Source> = std::iter::zip(&mut self.segments, extents)
            .map(|(segment, (base, end, size))| Source { base, end, size, touched: segment.last_written(&self.env) })
            .collect();
        if sources.last().is_none_or(|last| last.end <= first_dirty) {
            return Ok(None);
        }
        self.compact.running = true;
        let retention = i64::try_from(config.delete_retention_ms).unwrap_or(i64::MAX);
        Ok(Some(Compaction {
            disk: self.env.disk.clone(),
            dir: self.env.dir.clone(),
            topic_id: self.meta.topic_id,
            config: self.env.config.clone(),
            sources,
            first_dirty,
            log_start: self.log_start(),
            now: now.wall,
            horizon_ms: now.wall.0.saturating_add(retention),
            needed: self.needed_batches(),
            trust: self.env.trust,
            read: 0,
            written: 0,
        }))
    }

    /// Puts a cleaned segment in the place of those it was made of, here and now. To be called by the round.
    pub fn swap_in(&mut self, new: &Rewritten) -> Result<(), CompactError> {
        let raised = self.plan_swap(new)?.map(|plan| (plan.run(), plan));
        self.swap_in_after(new, raised)
    }

    /// The first step of the same for a log that goes on meanwhile: holes may lie in the new segment, and that has to be on disk
    /// before there are any. None: it is.
    pub fn plan_swap(&self, new: &Rewritten) -> Result<Option<Retention<D>>, CompactError> {
        self.place_of(new)?;
        let (before, cleaned_end) = (self.meta, new.cleaned_end);
        Ok((before.cleaned_end < cleaned_end).then(|| self.plan_meta(PartitionMeta { cleaned_end, ..before })))
    }

    /// The last step, after [`Retention::run`], if there was something to run. Readers that hold a range of an old segment keep
    /// it.
    pub fn swap_in_after(
        &mut self,
        new: &Rewritten,
        raised: Option<(Written, Retention<D>)>,
    ) -> Result<(), CompactError> {
        if let Some((written, plan)) = raised {
            // It takes no segment.
            self.retain(plan, written).map(drop).map_err(not_raised)?;
        }
        let place = self.place_of(new)?;
        let path = |base, kind| self.env.path(&file_name(base, kind));
        let (disk, base) = (&*self.env.disk, new.swap.base);
        // An old index could pass for one of the new segment.
        let first = remove_if_there(disk, &path(base, "index"))
            .and_then(|()| disk.rename(&path(base, CLEANED), &path(base, "log")));
        first.map_err(|source| CompactError::Io { what: "renaming of a cleaned segment", source })?;
        let _ = disk.rename(&path(base, CLEANED_INDEX), &path(base, "index"));
        let mut others: io::Result<()> = Ok(());
        for (replaced, _) in new.replaced.iter().skip(1) {
            others = others.and(disk.rename(&path(*replaced, "log"), &path(*replaced, REPLACED)));
        }
        let mut cleaned = Segment::existing(base, new.swap.size, new.touched);
        // Not when its file was: it is as old as what it was made of.
        cleaned.touch_is_known = true;
        self.segments.splice(place, [cleaned]);
        others.map_err(CompactError::HalfWay)
    }

    /// Where the segments are that a cleaned one replaces, if it still can.
    fn place_of(&self, new: &Rewritten) -> Result<Range<usize>, CompactError> {
        self.check_online()?;
        if self.env.config.compaction.is_none() {
            return Err(CompactError::Changed("it is not compacted any more"));
        }
        let at = self.segments.partition_point(|s| s.base < new.swap.base);
        let place = at..at + new.replaced.len();
        let now = self.segments.get(place.clone()).unwrap_or_default().iter().map(|s| (s.base, s.size));
        if !now.eq(new.replaced.iter().copied()) || place.end >= self.segments.len() {
            return Err(CompactError::Changed("its segments changed"));
        }
        Ok(place)
    }

    /// Takes the outcome of a round.
    pub fn end_compaction(&mut self, outcome: &Result<Round, CompactError>) {
        self.compact.running = false;
        match outcome {
            Ok(round) => {
                self.compact.first_dirty = round.clean_end;
                self.note_clean();
            }
            Err(CompactError::Folder(error)) => {
                self.fail(format!("sync of {}: {error}", self.env.dir));
            }
            Err(error) => self.compact.failed |= error.is_lasting(),
        }
    }

    /// Whether a round failed in a way that another one would as well. Until the next start.
    pub fn is_uncleanable(&self) -> bool {
        self.compact.failed
    }

    /// Seals an active segment whose first record has outstayed `max.compaction.lag.ms` while nobody appended, so that it
    /// can be cleaned. Kafka leaves it until the next append.
    pub fn seal_for_compaction(&mut self, now: Now) -> Result<bool, ReadError> {
        let Some(config) = self.env.config.compaction.filter(|_| self.can_begin()) else { return Ok(false) };
        let Some(at) = self.segments.len().checked_sub(1) else { return Ok(false) };
        let (base, _, size) = self.extent_of(at);
        if size == 0 || config.max_lag_ms >= i64::MAX.unsigned_abs() {
            return Ok(false);
        }
        let first = self.look(at, |segment, env| segment.first_timestamp(env)).map_err(|e| ReadError::of(base, e))?;
        let (touched, created) =
            self.segments.last().map_or((now.wall, now.wall), |active| (active.touched, active.created));
        let since = |then: i64| u64::try_from(now.wall.0.saturating_sub(then)).unwrap_or(0);
        if first.is_none_or(|first| since(first) <= config.max_lag_ms)
            || since(touched.0) <= IDLE_MS.min(config.max_lag_ms)
            || since(created.0) <= SEAL_MS.min(config.max_lag_ms)
        {
            return Ok(false);
        }
        self.roll(now.wall).map_err(ReadError::Io)?;
        Ok(true)
    }

    fn can_begin(&self) -> bool {
        self.check_online().is_ok() && !self.compact.running && !self.compact.failed
    }

    fn first_dirty(&self) -> LogOffset {
        self.compact.first_dirty.max(self.log_start())
    }

    /// How many of the oldest segments may be cleaned: sealed, on disk, below the bound, and old enough.
    fn cleanable_segments(
        &mut self,
        config: &CompactionConfig,
        now: Now,
        bound: LogOffset,
    ) -> Result<usize, ReadError> {
        let flushed = if self.env.trust.unflushed { self.log_end } else { self.flushed_end };
        let (limit, dirty) = (bound.min(flushed), self.first_dirty());
        let sealed = self.segments.len().saturating_sub(1);
        for at in 0..sealed {
            let (base, end, _) = self.extent_of(at);
            let young = config.min_lag_ms > 0 && end > dirty && {
                let newest = self.look(at, |segment, env| match segment.max_timestamp(env)? {
                    newest @ 0.. => Ok(WallMs(newest)),
                    _ => Ok(segment.last_written(env)),
                });
                let newest = newest.map_err(|e| ReadError::of(base, e))?;
                u64::try_from(now.wall.0.saturating_sub(newest.0)).map_or(true, |age| age < config.min_lag_ms)
            };
            if end > limit || young {
                return Ok(at);
            }
        }
        Ok(sealed)
    }

    /// Looks into a sealed segment, and lets go of the descriptors that it took: a log that only waits has none (OP-13).
    fn look<T>(
        &mut self,
        at: usize,
        ask: impl FnOnce(&mut Segment<D::File>, &crate::segment::Env<D>) -> Result<T, crate::segment::SegmentError>,
    ) -> Result<T, crate::segment::SegmentError> {
        let active = at + 1 >= self.segments.len();
        self.holds_files |= active;
        let Some(segment) = self.segments.get_mut(at) else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        let held = segment.open_files();
        let answer = ask(segment, &self.env);
        if held == 0 && !active {
            segment.release();
        }
        answer
    }

    fn sealed_unflushed(&self) -> bool {
        self.segments.len() > 1 && self.segments.last().is_some_and(|active| active.base > self.flushed_end)
    }

    /// Base, end and size of a segment.
    fn extent_of(&self, at: usize) -> (LogOffset, LogOffset, u64) {
        let (base, size) = self.segments.get(at).map_or((self.log_end, 0), |s| (s.base, s.size));
        (base, self.segments.get(at + 1).map_or(self.log_end, |s| s.base), size)
    }

    /// Batches from which producers and epochs are rebuilt when no snapshot is left.
    fn needed_batches(&self) -> Vec<LogOffset> {
        let producers = self.producers.iter().flat_map(|(_, p)| p.batches.iter().map(|batch| batch.base_offset));
        let mut needed: Vec<LogOffset> = producers.chain(self.epochs.entries().iter().map(|e| e.offset)).collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }
}

fn not_raised(error: DeleteError) -> CompactError {
    match error {
        DeleteError::DiskFull(error) => CompactError::DiskFull(error),
        DeleteError::Offline(offline) => offline.into(),
        DeleteError::Read(ReadError::Io(source)) => CompactError::Io { what: "write of partition.meta", source },
        error @ (DeleteError::Read(_) | DeleteError::OutOfRange { .. }) => Offline(error.to_string()).into(),
    }
}

/// An active segment that was written this recently is not sealed: appends do it when they want to.
const IDLE_MS: u64 = 1000;

/// Nor is one that was begun this recently: records with old timestamps, that come now and then, would have all of the log read
/// for each of them.
const SEAL_MS: u64 = 600_000;
