//! Opening a log: what the disk still holds after a clean stop, a kill, or a power loss.
//!
//! After a clean stop only the directory, `partition.meta` and the newest snapshot are read. Otherwise the batches from
//! the recovery point on are checked one by one (IO-04): sane length, CRC, offsets without a hole, epochs not falling.
//! What fails at or above the recovery point was never acknowledged and is cut; what fails below it is never cut
//! (IO-06): the log does not open and the range is named.
//!
//! What was scanned may have been written by a process that died before its sync (IO-14). It is on disk when this
//! returns, or the log says that it is not: [`Settle`]. Whatever recovery changes (a cut, a removed file) is on disk
//! before the log grows, because a power loss that brought it back would bring it back under new batches.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use pyralog_protocol::{LogOffset, Now};

use crate::compact::swap::remove_if_there;
use crate::config::LogConfig;
use crate::disk::Disk;
use crate::files::{FileError, read_small};
use crate::journal::{JournalPlace, Redo, RedoBatch, Since};
use crate::log::Log;
use crate::segment::{Env, Trust, file_name};
use crate::state::{PartitionMeta, Snapshot};
use crate::truncation::Truncated;

mod listing;
mod rebuild;
mod scan;

pub(crate) use scan::OTHER_EPOCH;

/// How much of what recovery finds is synced before it returns (IO-14). What is not counts as appended and not yet synced:
/// the log's next sync covers it, and until then its recovery point stays where it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Settle {
    /// All of it, and no file stays open.
    #[default]
    All,
    /// What is neither below the recovery point nor in the journal: the stable end is the log end.
    Unproven,
    /// Nothing: for a log that promises nothing over a power loss.
    Nothing,
}

/// What is known about how the log was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenHint {
    /// It was closed by [`Log::close_clean`] and nobody has opened it since.
    pub clean: bool,
    /// Everything below was synced once. Nothing below is ever cut.
    pub recovery_point: LogOffset,
    /// What is synced before the log serves.
    pub settle: Settle,
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
    /// It was synced before the open returned.
    pub synced: bool,
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

/// What recovery goes by.
#[derive(Clone, Copy)]
struct Known {
    /// Everything below is on disk in the segments.
    point: LogOffset,
    /// Everything below that was acknowledged is on disk, in the journal at least.
    journaled: LogOffset,
    /// What the journal has not of what lies below was acknowledged, and is in the segments: it is not cut, though it is
    /// looked at.
    promised: LogOffset,
    settle: Settle,
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
        Self::open_trusting(Env::new(disk, dir, config, Trust::default()), hint, redo, now)
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
        log.unsettled = listing.unsettled && !log.env.trust.recoveries;
        log.drop_files(&listing.leftovers).map_err(|e| log.io(e))?;
        for grave in &listing.graves {
            remove_if_there(&*log.env.disk, &log.env.path(grave)).map_err(|e| log.io(e))?;
        }
        if !hint.clean && log.start_may_be_new(&listing) {
            log.env.disk.sync_dir(&log.env.dir).map_err(|e| log.io(e))?;
        }
        log.add_segments(&listing, now).map_err(|e| log.io(e))?;
        if listing.truncated && !log.env.trust.truncation {
            let note = Truncated::read(&*log.env.disk, &log.env.dir).map_err(OpenError::Meta)?;
            log.truncated = Some(if note.done { note } else { log.finish_truncation(note)? });
        }
        let redo = redo.map(|redo| redo.since(log.truncated.map_or(JournalPlace::default(), |note| note.journal)));
        let flushed = redo.as_ref().map_or(LogOffset::ZERO, |redo| redo.flushed);
        // All that was left when it was cut was on disk.
        let cut = log.truncated.map_or(LogOffset::ZERO, |note| note.end);
        let point = hint.recovery_point.max(cut).max(flushed);
        log.snapshots.clone_from(&listing.snapshots);
        let mut report = RecoveryReport::default();
        if listing.suspect {
            log.write_again(point).map_err(|e| log.io(e))?;
        }
        if hint.clean && !listing.suspect && log.open_clean() {
            report.clean = true;
        } else {
            let journaled = redo.as_ref().map_or(LogOffset::ZERO, Since::end);
            let promised = redo.as_ref().map_or(LogOffset::ZERO, |redo| redo.promised);
            let known = Known { point, journaled, promised, settle: hint.settle };
            let batches = redo.map(|redo| redo.batches).unwrap_or_default();
            log.recover(known, batches, now, &mut report)?;
            // Whether it is, nobody knows; it is cut to its size when it is sealed.
            if let Some(active) = log.segments.last_mut() {
                active.preallocated |= log.env.config.preallocate || active.has_grown();
            }
            // Many logs are opened in a row (OP-12); what is not on disk yet keeps its descriptor.
            log.close_files(false);
        }
        log.settle_changes().map_err(|e| log.io(e))?;
        log.find_last_vlsn()?;
        log.producers.expire(log.alive_since(now));
        log.plan_flush(log.flushed_end);
        log.plan_roll();
        Ok((log, report))
    }

    pub(crate) fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { dir: self.env.dir.clone(), source }
    }

    pub(crate) fn corrupt(&self, range: Range<i64>, what: impl Into<String>) -> OpenError {
        let range = LogOffset(range.start)..LogOffset(range.end.max(range.start));
        OpenError::Corrupt { dir: self.env.dir.clone(), range, what: what.into() }
    }

    /// What is left to be settled where no segment was scanned: files that are gone.
    fn settle_changes(&mut self) -> io::Result<()> {
        if self.unsettled {
            self.env.disk.sync_dir(&self.env.dir)?;
        }
        self.end_change()
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
        self.take_over(snapshot);
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
        known: Known,
        batches: &[RedoBatch<D::File>],
        now: Now,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        let start = self.log_start();
        // What compaction wrote was synced, and is the only place where holes are legal: neither scanned nor cut.
        let point = known.point.max(self.meta.cleaned_end);
        let bound = point.max(known.promised);
        let mut followed = None;
        match self.segments.first().map(|first| first.base) {
            None if bound > start => return Err(self.corrupt(start.0..bound.0, "no segment is there")),
            None => {}
            Some(first) if first > start && bound > start => {
                return Err(self.corrupt(start.0..first.0.min(bound.0), "the first segment is missing"));
            }
            Some(first) if first > start => {
                self.begin_change().map_err(|e| self.io(e))?;
                self.cut_segments(0, start, report, "the first segment is missing")?;
            }
            Some(_) => followed = self.scan((point, bound), now, report)?,
        }
        let on_disk = if report.synced { self.log_end } else { point };
        self.rebuild(followed, now, report)?;
        // What the journal has may open another segment, and the cut before that is not on disk yet.
        self.flushed_end = on_disk.min(self.log_end);
        self.redo(batches, now, report)?;
        if self.log_end < start {
            // All of it was deleted, durably, before any of it was synced.
            self.begin_change().map_err(|e| self.io(e))?;
            self.cut_segments(0, start, report, "deleted records were never synced")?;
            self.rebuild(None, now, report)?;
        }
        self.flushed_end = if self.dirty.is_empty() { self.log_end } else { on_disk.min(self.log_end) };
        self.stable_end = self.flushed_end.max(known.journaled.min(self.log_end));
        self.epochs.cut_start(start);
        self.settle(known.settle, report).map_err(|e| self.io(e))
    }

    /// Syncs what has to be on disk now, and lets go of the files that nothing is to be synced in.
    fn settle(&mut self, settle: Settle, report: &mut RecoveryReport) -> io::Result<()> {
        if self.env.trust.scanned {
            (self.flushed_end, self.stable_end) = (self.log_end, self.log_end);
            self.dirty.clear();
        }
        let due = match settle {
            Settle::All => self.flushed_end < self.log_end,
            Settle::Unproven => self.stable_end < self.log_end,
            Settle::Nothing => false,
        };
        if due {
            self.sync().map_err(io::Error::other)?;
            report.synced = true;
        }
        let dirty = self.dirty.first().map_or(LogOffset::MAX, |(base, _)| *base);
        for segment in self.segments.iter_mut().filter(|segment| segment.base < dirty) {
            segment.release();
        }
        Ok(())
    }
}
