//! Opening a log: what the disk still holds after a clean stop, a kill, or a power loss.
//!
//! After a clean stop only the directory, `partition.meta` and the newest snapshot are read. Otherwise the batches from
//! the recovery point on are checked one by one (IO-04): sane length, CRC, offsets without a hole, epochs not falling.
//! What fails at or above the recovery point was never acknowledged and is cut; what fails below it is never cut
//! (IO-06): the log does not open and the range is named. What was scanned is synced before anybody relies on it
//! (IO-14), because a dead process may have written it without.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader};
use pyralog_protocol::{LogOffset, Now};

use crate::compact;
use crate::compact::swap::{self, Unsettled, remove_if_there};
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile};
use crate::epochs::Epochs;
use crate::files::{FileError, read_small};
use crate::journal::{Redo, RedoBatch};
use crate::log::Log;
use crate::producers::Producers;
use crate::read::{locate, step};
use crate::segment::{Env, Segment, SegmentError, Trust, file_name, parse_name};
use crate::state::{PartitionMeta, Snapshot};
use crate::walk::{Chain, Stop, Walk};

/// What is known about how the log was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenHint {
    /// It was closed by [`Log::close_clean`] and nobody has opened it since.
    pub clean: bool,
    /// Everything below was synced once. Nothing below is ever cut.
    pub recovery_point: LogOffset,
}

/// What opening did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// No batch had to be read.
    pub clean: bool,
    /// Bytes that were checked.
    pub scanned_bytes: u64,
    /// What was cut, if anything.
    pub cut: Option<Cut>,
    /// Damaged snapshots that were passed over.
    pub damaged_snapshots: u32,
    /// Batches that the segments had lost and the journal had.
    pub put_back: u64,
}

/// The tail that was cut, before anything was put back from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// New log end.
    pub at: LogOffset,
    /// Bytes that went.
    pub bytes: u64,
    /// Nothing but space that was never written to: no loss (IO-05).
    pub unwritten: bool,
    /// What did not fit.
    pub what: &'static str,
}

/// Why a log cannot be opened. It stays as it is on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no `partition.meta`: the creation did not finish. `create` may be called again.
    #[error("{0} is not a partition: partition.meta is missing")]
    NotAPartition(String),
    /// `partition.meta` is damaged or of another version.
    #[error(transparent)]
    Meta(FileError),
    /// Records that were acknowledged are damaged or missing.
    #[error("{dir}: acknowledged records {}..{} are damaged or missing: {what}", range.start, range.end)]
    Corrupt {
        /// The partition.
        dir: String,
        /// Offsets that cannot be trusted.
        range: Range<LogOffset>,
        /// What does not fit.
        what: String,
    },
    /// The disk failed.
    #[error("{dir}: {source}")]
    Io {
        /// The partition.
        dir: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Names in a partition directory.
#[derive(Default)]
struct Listing {
    segments: Vec<LogOffset>,
    snapshots: Vec<LogOffset>,
    temporary: Vec<String>,
    /// What a compaction left.
    swaps: Vec<String>,
}

impl<D: Disk> Log<D> {
    /// Opens the log in `dir`. After an unclean stop this reads what was written since the recovery point.
    pub fn open(
        disk: Arc<D>,
        dir: &str,
        config: LogConfig,
        hint: OpenHint,
        now: Now,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_with(disk, dir, config, hint, None, now)
    }

    /// Opens the log in `dir`, and puts back what its segments lost and the journal has.
    #[expect(clippy::too_many_arguments, reason = "where it is, how it is kept, and what is known of how it was left")]
    pub fn open_with(
        disk: Arc<D>,
        dir: &str,
        config: LogConfig,
        hint: OpenHint,
        redo: Option<&Redo<D::File>>,
        now: Now,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_trusting(Env { disk, dir: dir.to_owned(), config, trust: Trust::default() }, hint, redo, now)
    }

    pub(crate) fn open_trusting(
        env: Env<D>,
        hint: OpenHint,
        redo: Option<&Redo<D::File>>,
        now: Now,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let meta = PartitionMeta::read(&*env.disk, &env.dir).map_err(|error| match error.is_missing() {
            true => OpenError::NotAPartition(env.dir.clone()),
            false => OpenError::Meta(error),
        })?;
        let mut log = Self::empty(env, meta);
        let listing = log.list_settled()?;
        log.add_segments(&listing, now).map_err(|e| log.io(e))?;
        log.snapshots.clone_from(&listing.snapshots);
        let mut report = RecoveryReport::default();
        if hint.clean && log.open_clean() {
            report.clean = true;
        } else {
            log.drop_temporary(&listing.temporary).map_err(|e| log.io(e))?;
            let point = redo.map_or(hint.recovery_point, |redo| redo.flushed.max(hint.recovery_point));
            let batches = redo.map(|redo| redo.batches.as_slice()).unwrap_or_default();
            log.recover(point, batches, now, &mut report)?;
        }
        log.producers.expire(log.alive_since(now));
        Ok((log, report))
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { dir: self.env.dir.clone(), source }
    }

    fn corrupt(&self, range: Range<i64>, what: impl Into<String>) -> OpenError {
        let range = LogOffset(range.start)..LogOffset(range.end.max(range.start));
        OpenError::Corrupt { dir: self.env.dir.clone(), range, what: what.into() }
    }

    fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for name in self.env.disk.list(&self.env.dir)? {
            listing.segments.extend(parse_name(&name, "log"));
            listing.snapshots.extend(parse_name(&name, "snapshot"));
            if swap::is_ours(&name) {
                listing.swaps.push(name);
            } else if name.ends_with(".tmp") {
                listing.temporary.push(name);
            }
        }
        listing.segments.sort_unstable();
        listing.snapshots.sort_unstable();
        Ok(listing)
    }

    /// What is there once the swaps of a compaction that was cut off are finished or undone.
    fn list_settled(&mut self) -> Result<Listing, OpenError> {
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
    fn add_segments(&mut self, listing: &Listing, now: Now) -> io::Result<()> {
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

    /// Removes what an unfinished replacement left, durably. Otherwise the next one would write into the same file, and
    /// a power loss could bring back its old content, an index or snapshot of batches that are gone, under a good name.
    fn drop_temporary(&self, names: &[String]) -> io::Result<()> {
        for name in names {
            remove_if_there(&*self.env.disk, &self.env.path(name))?;
        }
        if names.is_empty() { Ok(()) } else { self.env.disk.sync_dir(&self.env.dir) }
    }

    fn remove_segment_files(&self, base: LogOffset) -> io::Result<()> {
        remove_if_there(&*self.env.disk, &self.env.path(&file_name(base, "index")))?;
        remove_if_there(&*self.env.disk, &self.env.path(&file_name(base, "log")))
    }

    /// Takes the newest snapshot as the whole truth if it fits the files exactly.
    fn open_clean(&mut self) -> bool {
        let Some(active) = self.segments.last() else { return self.snapshots.is_empty() };
        let (base, size) = (active.base, active.size);
        let Some(snapshot) = self.snapshots.last().and_then(|at| self.read_snapshot(*at)) else { return false };
        if (snapshot.active_base, snapshot.active_size) != (base, size) || snapshot.log_end < self.log_start() {
            return false;
        }
        self.log_end = snapshot.log_end;
        self.stable_end = snapshot.log_end;
        self.flushed_end = snapshot.log_end;
        self.epochs = snapshot.epochs;
        self.producers = snapshot.producers;
        self.compact.first_dirty = snapshot.first_dirty;
        self.epochs.cut_start(self.meta.log_start);
        true
    }

    fn read_snapshot(&self, at: LogOffset) -> Option<Snapshot> {
        let path = self.env.path(&file_name(at, "snapshot"));
        let bytes = read_small(&*self.env.disk, &path).ok()?;
        Snapshot::decode(&path, &bytes).ok().filter(|snapshot| snapshot.log_end == at)
    }

    fn recover(
        &mut self,
        point: LogOffset,
        batches: &[RedoBatch<D::File>],
        now: Now,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        let start = self.log_start();
        // What compaction wrote was synced, and is the only place where holes are legal: neither scanned nor cut.
        let point = point.max(self.meta.cleaned_end);
        match self.segments.first().map(|first| first.base) {
            None if point > start => return Err(self.corrupt(start.0..point.0, "no segment is there")),
            None => {}
            Some(first) if first > start && point > start => {
                return Err(self.corrupt(start.0..first.0.min(point.0), "the first segment is missing"));
            }
            Some(first) if first > start => self.cut_segments(0, start, report, "the first segment is missing")?,
            Some(_) => self.scan(point, report)?,
        }
        self.rebuild(now, report)?;
        self.redo(batches, now, report)?;
        if self.log_end < start {
            // All of it was deleted, durably, before any of it was synced.
            self.cut_segments(0, start, report, "deleted records were never synced")?;
            self.rebuild(now, report)?;
        }
        self.stable_end = self.log_end;
        self.flushed_end = self.log_end;
        self.epochs.cut_start(start);
        Ok(())
    }

    /// Checks everything from the recovery point on, cuts what fails, and syncs the rest.
    fn scan(&mut self, point: LogOffset, report: &mut RecoveryReport) -> Result<(), OpenError> {
        let first = self.segments.partition_point(|s| s.base <= point).saturating_sub(1);
        let mut index_dropped = false;
        for segment in self.segments.iter_mut().skip(first) {
            let dropped = segment.drop_unstable_index(&self.env, point);
            index_dropped |= dropped.map_err(|source| OpenError::Io { dir: self.env.dir.clone(), source })?;
        }
        let mut chain = Chain::from(self.segments.get(first).map_or(self.log_start().0, |s| s.base.0));
        let mut at = first;
        while let Some(segment) = self.segments.get(at) {
            self.log_end = LogOffset(chain.next);
            if segment.base.0 != chain.next {
                self.refuse_below(chain.next, point, "a segment is missing")?;
                self.cut_segments(at, LogOffset(chain.next), report, "a segment is missing")?;
                break;
            }
            match self.scan_segment(at, point, &mut chain, report) {
                Ok(()) => at += 1,
                Err((_, Stop::Io(error))) => return Err(self.io(error)),
                Err((position, stop)) => {
                    let (what, unwritten) = match stop {
                        Stop::Damaged(what) => (what, false),
                        Stop::Unwritten | Stop::Io(_) => ("never written", true),
                    };
                    self.refuse_below(chain.next, point, what)?;
                    let cut = Cut { at: LogOffset(chain.next), bytes: 0, unwritten, what };
                    self.cut_tail(at, position, cut, report)?;
                    break;
                }
            }
        }
        self.log_end = LogOffset(chain.next);
        self.refuse_below(chain.next, point, "the file ends early")?;
        if self.log_end > point || report.cut.is_some() || index_dropped {
            self.sync_scanned(first).map_err(|e| self.io(e))?;
        }
        Ok(())
    }

    /// Whatever is wrong below the recovery point is not ours to cut (IO-06).
    fn refuse_below(&self, next: i64, point: LogOffset, what: &str) -> Result<(), OpenError> {
        if next < point.0 { Err(self.corrupt(next..point.0, what)) } else { Ok(()) }
    }

    /// Walks one segment, by headers below the recovery point and with CRCs above.
    fn scan_segment(
        &mut self,
        at: usize,
        point: LogOffset,
        chain: &mut Chain,
        report: &mut RecoveryReport,
    ) -> Result<(), (u64, Stop)> {
        let cleaned_end = self.meta.cleaned_end;
        let Some(segment) = self.segments.get_mut(at) else { return Ok(()) };
        let stored = if segment.base < point { segment.stored_hint(&self.env, point) } else { None };
        let start = stored.map_or(0, |entry| u64::from(entry.position));
        if let Some(entry) = stored {
            chain.next = segment.base.0.saturating_add(i64::from(entry.relative_offset));
        }
        let file = segment.file(&self.env).map_err(|e| (start, Stop::Io(e)))?;
        let mut walk = Walk::new(&*file, start, segment.size);
        loop {
            let position = walk.position();
            let Some(found) = walk.next().map_err(|stop| (position, stop))? else { return Ok(()) };
            let known = found.header.last_offset() < point.0;
            if !known && !self.env.trust.crc {
                walk.verify(&found).map_err(|stop| (position, stop))?;
            }
            report.scanned_bytes += if known { 0 } else { found.size() };
            chain.accept(&found.header, cleaned_end).map_err(|stop| (position, stop))?;
        }
    }

    /// Cuts segment `at` at a byte position, and everything behind it.
    fn cut_tail(
        &mut self,
        at: usize,
        position: u64,
        mut cut: Cut,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        self.cut_segments(at + 1, cut.at, report, cut.what)?;
        let Some(segment) = self.segments.get_mut(at) else { return Ok(()) };
        let behind = report.cut.as_ref().map_or(0, |later| later.bytes);
        cut.bytes = segment.size.saturating_sub(position).saturating_add(behind);
        cut.unwritten &= behind == 0;
        segment.size = position;
        segment.index = None;
        let index = self.env.path(&file_name(segment.base, "index"));
        let result = segment.file(&self.env).and_then(|file| file.set_len(position));
        result.and_then(|()| remove_if_there(&*self.env.disk, &index)).map_err(|e| self.io(e))?;
        report.cut = Some(cut);
        Ok(())
    }

    /// Removes the segments from `at` on; the log ends at `end` then.
    fn cut_segments(
        &mut self,
        at: usize,
        end: LogOffset,
        report: &mut RecoveryReport,
        what: &'static str,
    ) -> Result<(), OpenError> {
        self.log_end = end;
        if at >= self.segments.len() {
            return Ok(());
        }
        let gone = self.segments.split_off(at);
        // The last one first: a crash in between leaves a log without a hole.
        for segment in gone.iter().rev() {
            self.remove_segment_files(segment.base).map_err(|e| self.io(e))?;
        }
        let bytes = gone.iter().map(|s| s.size).sum();
        report.cut = Some(Cut { at: end, bytes, unwritten: bytes == 0, what });
        self.env.disk.sync_dir(&self.env.dir).map_err(|e| self.io(e))
    }

    /// Appends what the journal has from the log end on, and syncs it: from then on the log does not need the journal.
    fn redo(&mut self, batches: &[RedoBatch<D::File>], now: Now, report: &mut RecoveryReport) -> Result<(), OpenError> {
        let start = self.log_start();
        for batch in batches {
            if batch.last < self.log_end {
                continue;
            }
            if self.segments.is_empty() && batch.base <= start {
                // A batch across the log start, in front of which all was deleted.
                self.log_end = batch.base;
            }
            if batch.base != self.log_end {
                return Err(self.corrupt(self.log_end.0..batch.base.0, "the journal goes on behind a gap"));
            }
            let bytes = batch.read().map_err(|e| self.io(e))?;
            let body = bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default();
            let header =
                BatchHeader::parse(&bytes).map_err(|e| self.corrupt(batch.base.0..batch.last.0, e.to_string()))?;
            self.put_back(&header, body, now).map_err(|e| self.io(io::Error::other(e)))?;
            report.put_back += 1;
        }
        if report.put_back > 0 {
            self.sync().map_err(|e| self.io(io::Error::other(e)))?;
        }
        Ok(())
    }

    /// IO-14: what a dead process wrote may not be on disk.
    fn sync_scanned(&mut self, first: usize) -> io::Result<()> {
        for segment in self.segments.iter_mut().skip(first) {
            segment.file(&self.env)?.sync_data()?;
        }
        self.env.disk.sync_dir(&self.env.dir)
    }

    /// Producers and epochs: the newest snapshot that the log reaches, and the batches after it. A snapshot from before
    /// the first batch does not count: what its producers wrote since is gone, and a wrong state would refuse them where
    /// none lets them go on (ID-05).
    fn rebuild(&mut self, now: Now, report: &mut RecoveryReport) -> Result<(), OpenError> {
        (self.epochs, self.producers, self.compact) =
            (Epochs::default(), Producers::default(), compact::State::default());
        let mut from = LogOffset(i64::MIN);
        let mut snapshots = std::mem::take(&mut self.snapshots);
        let mut stale = Vec::new();
        let first = self.segments.first().map_or(self.log_end, |s| s.base);
        while let Some(at) = snapshots.pop() {
            if (first..=self.log_end).contains(&at)
                && let Some(snapshot) = self.read_snapshot(at)
            {
                (self.epochs, self.producers) = (snapshot.epochs, snapshot.producers);
                self.compact.first_dirty = snapshot.first_dirty;
                from = at;
                snapshots.push(at);
                break;
            }
            report.damaged_snapshots += u32::from((first..=self.log_end).contains(&at));
            stale.push(at);
        }
        self.snapshots = snapshots;
        self.drop_snapshots(&stale).map_err(|e| self.io(e))?;
        self.replay(from, now)
    }

    /// A snapshot above the log end would fit a later log of the same length but other content: its removal is durable
    /// before the log grows.
    fn drop_snapshots(&self, stale: &[LogOffset]) -> io::Result<()> {
        for at in stale {
            remove_if_there(&*self.env.disk, &self.env.path(&file_name(*at, "snapshot")))?;
        }
        if stale.is_empty() { Ok(()) } else { self.env.disk.sync_dir(&self.env.dir) }
    }

    /// Applies the headers from an offset on. When the batches came is not known, so they count as new.
    fn replay(&mut self, from: LogOffset, now: Now) -> Result<(), OpenError> {
        let first = self.segments.partition_point(|s| s.base <= from).saturating_sub(1);
        for at in first..self.segments.len() {
            self.replay_segment(at, from, now).map_err(|(offset, error)| match error {
                SegmentError::Io(error) => self.io(error),
                SegmentError::Damaged { what, .. } => self.corrupt(offset..self.log_end.0, what),
            })?;
        }
        Ok(())
    }

    fn replay_segment(&mut self, at: usize, from: LogOffset, now: Now) -> Result<(), (i64, SegmentError)> {
        let Some(segment) = self.segments.get_mut(at) else { return Ok(()) };
        let mut next = from.0.max(segment.base.0);
        if LogOffset(next) >= self.log_end {
            return Ok(());
        }
        let start = match locate(&self.env, segment, LogOffset(next)).map_err(|e| (next, e))? {
            Some(found) => found.position,
            None => return Ok(()),
        };
        let file = segment.file(&self.env).map_err(|e| (next, e.into()))?;
        let mut walk = Walk::new(&*file, start, segment.size);
        while let Some(found) = step(&mut walk).map_err(|e| (next, e))? {
            let header = &found.header;
            next = header.last_offset() + 1;
            self.epochs.assign(pyralog_protocol::LeaderEpoch(header.leader_epoch), LogOffset(header.base_offset));
            self.producers.apply(header, now.wall, self.env.config.producers_max);
        }
        Ok(())
    }
}
