//! Moving the log start: by age, by size, and because somebody deleted records.
//!
//! Holds: the log start is durable before a file goes or a deletion is answered, so that no deleted record comes back
//! (L9, IO-15). A file whose removal a crash undid lies below the log start and goes at the next open.
//!
//! Each is three steps, of which the log is needed for two short ones: what has to go is decided, what has to be on
//! disk before is written beside the log, the log lets go. Whoever does them sees to it that nothing else replaces
//! `partition.meta` between the first and the last. Files are taken out of service and removed without the log. Compaction
//! moves the cleaned end in the same way.

use std::io;
use std::sync::Arc;

use pyralog_protocol::{ErrorCode, LogOffset, Now};

use crate::disk::{Disk, is_full};
use crate::files::{finish, prepare};
use crate::log::{Log, Offline, end_of_segment};
use crate::read::ReadError;
use crate::segment::{DERIVED, Segment, SegmentError, file_name, parse_name};
use crate::state::{META_FILE, PartitionMeta};

/// What retention took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Segments.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Why the log start could not move.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Above the high watermark, or negative (L12).
    #[error("cannot delete up to {offset}: the high watermark is {bound}")]
    OutOfRange {
        /// The offset asked for.
        offset: LogOffset,
        /// The high watermark.
        bound: LogOffset,
    },
    /// No room to write the new log start. Nothing changed.
    #[error("the disk is full: {0}")]
    DiskFull(io::Error),
    /// An age could not be looked up, or a file could not be opened. Nothing changed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// See [`Offline`].
    #[error(transparent)]
    Offline(#[from] Offline),
}

impl DeleteError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::DiskFull(_) | Self::Read(_) | Self::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// Segments that leave their log in one go at most.
const ROUND: usize = 64;

/// Ending of the file of a segment that has left its log. Whoever finds one may remove it.
const DELETED: &str = ".deleted";

/// Whether a file of that name is the rest of a segment that has left its log.
pub(crate) fn is_grave(name: &str) -> bool {
    name.strip_suffix(DELETED).is_some_and(|log| parse_name(log, "log").is_some())
}

/// Files of segments, the oldest first.
struct Files<D: Disk> {
    disk: Arc<D>,
    dir: String,
    bases: Vec<LogOffset>,
}

impl<D: Disk> Files<D> {
    fn path(&self, base: LogOffset, extension: &str) -> String {
        format!("{}/{}", self.dir, file_name(base, extension))
    }

    fn remove_derived(&self) {
        for (base, kind) in self.bases.iter().flat_map(|base| DERIVED.map(|kind| (*base, kind))) {
            let _ = self.disk.remove_file(&self.path(base, kind));
        }
    }

    /// Replaces a small file, by way of a file of our own: others may replace one of that name meanwhile. Where there is no
    /// room, what is derived makes some (OP-10).
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Trouble> {
        let (disk, temporary) = (&*self.disk, "retention");
        let prepared = match prepare(disk, &self.dir, temporary, bytes) {
            Err(error) if is_full(&error) => {
                self.remove_derived();
                prepare(disk, &self.dir, temporary, bytes)
            }
            prepared => prepared,
        };
        let prepared = prepared.map_err(Trouble::Unchanged)?;
        finish(disk, &self.dir, temporary, name, prepared).map_err(Trouble::Final)
    }
}

/// Segments that have to go, records of which the segments stay for now, or the place of a cleaned one; and what has to be on
/// disk before. Run it while the log goes on, then hand both to [`Log::retain`] or [`Log::swap_in_after`].
pub struct Retention<D: Disk> {
    files: Files<D>,
    /// The log starts here afterwards.
    start: LogOffset,
    before: PartitionMeta,
    /// What takes its place, if the log start moves.
    meta: Option<PartitionMeta>,
    /// Producers and epochs of the moment, and where the log ended then.
    snapshot: (LogOffset, Option<Vec<u8>>),
}

/// How [`Retention::run`] went.
#[derive(Debug)]
#[must_use]
pub struct Written(Result<Stored, Trouble>);

#[cfg(test)]
impl Written {
    /// Whether the log goes offline for it, once it is told.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.is_err()
    }
}

#[derive(Debug)]
enum Stored {
    All,
    /// But the snapshot, for want of room.
    NoSnapshot,
}

#[derive(Debug)]
enum Trouble {
    /// Nothing changed.
    Unchanged(io::Error),
    /// Nobody knows what is on disk.
    Final(io::Error),
}

impl<D: Disk> Retention<D> {
    /// Makes durable what could not be rebuilt without the segments (I11), and then the new log start. Blocks.
    pub fn run(&self) -> Written {
        Written(self.write())
    }

    fn write(&self) -> Result<Stored, Trouble> {
        let stored = match &self.snapshot {
            (at, Some(bytes)) => self.files.replace(&file_name(*at, "snapshot"), bytes),
            (_, None) => Ok(()),
        };
        let snapshot = match stored {
            Ok(()) => Stored::All,
            // To have room again is worth more.
            Err(Trouble::Unchanged(error) | Trouble::Final(error)) if is_full(&error) => Stored::NoSnapshot,
            Err(trouble) => return Err(trouble),
        };
        if let Some(meta) = &self.meta {
            self.files.replace(META_FILE, &meta.encode())?;
        }
        Ok(snapshot)
    }
}

/// What is left of segments that have left their log: their files.
#[must_use]
pub struct Graves<D: Disk> {
    files: Files<D>,
    /// What they held.
    pub removed: Removed,
}

impl<D: Disk> Graves<D> {
    /// Takes the files out of service and gives their new paths: for whoever removes them later. What a crash leaves goes at
    /// the next open. A file that cannot be renamed is removed at once.
    pub fn bury(self) -> Vec<String> {
        let files = &self.files;
        files.remove_derived();
        let mut buried = Vec::with_capacity(files.bases.len());
        for log in files.bases.iter().map(|base| files.path(*base, "log")) {
            let grave = format!("{log}{DELETED}");
            match files.disk.rename(&log, &grave) {
                Ok(()) => buried.push(grave),
                Err(_) => drop(files.disk.remove_file(&log)),
            }
        }
        buried
    }

    /// Removes the files.
    pub fn remove(self) {
        self.files.remove_derived();
        for base in &self.files.bases {
            // What is not removed now lies below the log start and goes at the next open.
            let _ = self.files.disk.remove_file(&self.files.path(*base, "log"));
        }
    }
}

impl<D: Disk> Log<D> {
    /// Deletes the records below `offset`, which must not be above `high_watermark`; returns the log start, which is
    /// durable then (L9, L12). Below the log start nothing changes. The space comes back with the next
    /// [`Log::enforce_retention`].
    pub fn delete_records_to(
        &mut self,
        offset: LogOffset,
        high_watermark: LogOffset,
    ) -> Result<LogOffset, DeleteError> {
        if let Some(plan) = self.plan_deletion(offset, high_watermark)? {
            let written = plan.run();
            self.retain(plan, written)?.remove();
        }
        Ok(self.log_start())
    }

    /// The first step of the same for a log that goes on meanwhile. None: the log starts there already, or later.
    pub fn plan_deletion(
        &mut self,
        offset: LogOffset,
        high_watermark: LogOffset,
    ) -> Result<Option<Retention<D>>, DeleteError> {
        self.check_online()?;
        let bound = high_watermark.min(self.log_end);
        if offset < LogOffset::ZERO || offset > bound {
            return Err(DeleteError::OutOfRange { offset, bound });
        }
        if offset <= self.log_start() {
            return Ok(None);
        }
        let trimmed = self.last_vlsn_below(offset)?;
        Ok(Some(self.plan_meta(PartitionMeta { log_start: offset, trimmed, ..self.meta })))
    }

    /// A plan that replaces `partition.meta`, and takes no segment.
    pub(crate) fn plan_meta(&self, meta: PartitionMeta) -> Retention<D> {
        let files = Files { disk: Arc::clone(&self.env.disk), dir: self.env.dir.clone(), bases: Vec::new() };
        Retention { files, start: meta.log_start, before: self.meta, meta: Some(meta), snapshot: (self.log_end, None) }
    }

    /// Removes the oldest segments that are below the log start, too old, or too much. Only whole segments that end at or
    /// below `high_watermark`; the active one is rolled first if it has to go. Here and now, files included.
    pub fn enforce_retention(&mut self, now: Now, high_watermark: LogOffset) -> Result<Removed, DeleteError> {
        let mut removed = Removed::default();
        while let Some(plan) = self.plan_retention(now, high_watermark)? {
            let written = plan.run();
            let graves = self.retain(plan, written)?;
            removed.segments += graves.removed.segments;
            removed.bytes += graves.removed.bytes;
            graves.remove();
        }
        Ok(removed)
    }

    /// The first step of the same for a log that goes on meanwhile: which segments have to go, at most [`ROUND`] of them, so
    /// that nobody is kept waiting. None: there are no more.
    pub fn plan_retention(&mut self, now: Now, high_watermark: LogOffset) -> Result<Option<Retention<D>>, DeleteError> {
        self.check_online()?;
        self.holds_files = true;
        let mut doomed = self.doomed(now, high_watermark)?;
        if doomed > 0 && doomed == self.segments.len() {
            match self.roll(now.wall) {
                Ok(()) => {}
                Err(error) if is_full(&error) => doomed -= 1,
                Err(error) => return Err(ReadError::Io(error).into()),
            }
        }
        if doomed == 0 {
            return Ok(None);
        }
        let start = self.segments.get(doomed).map_or(self.log_end, |s| s.base);
        let trimmed = self.last_vlsn_below(start)?;
        // What nobody reads any more has no descriptor, so that its room comes back when its file goes.
        self.segments.iter_mut().take(doomed).for_each(Segment::release);
        let bases = self.segments.iter().take(doomed).map(|s| s.base).collect();
        let meta = (start > self.log_start()).then_some(PartitionMeta { log_start: start, trimmed, ..self.meta });
        self.snapshot_aside = Some(self.log_end);
        let snapshot = self.snapshot().map(|snapshot| snapshot.encode());
        let files = Files { disk: Arc::clone(&self.env.disk), dir: self.env.dir.clone(), bases };
        Ok(Some(Retention { files, start, before: self.meta, meta, snapshot: (self.log_end, snapshot) }))
    }

    /// The last step, after [`Retention::run`]: the log starts anew, and lets go of the segments.
    pub fn retain(&mut self, plan: Retention<D>, written: Written) -> Result<Graves<D>, DeleteError> {
        self.check_online()?;
        self.snapshot_aside = None;
        let Retention { files, start, before, meta, snapshot } = plan;
        match written.0 {
            Ok(Stored::All) if snapshot.1.is_some() => self.adopt_snapshot(snapshot.0),
            Ok(Stored::All | Stored::NoSnapshot) => {}
            Err(Trouble::Unchanged(error)) if is_full(&error) => return Err(DeleteError::DiskFull(error)),
            Err(Trouble::Unchanged(error)) => return Err(ReadError::Io(error).into()),
            Err(Trouble::Final(error)) => return Err(self.failed(error)),
        }
        assert_eq!(before, self.meta, "partition.meta was replaced while retention was under way");
        if let Some(meta) = meta {
            self.meta = meta;
            self.epochs.cut_start(start);
        }
        let mut graves = Graves { files, removed: Removed::default() };
        let behind = self.segments.iter().skip(1).take_while(|next| next.base <= start);
        let gone = behind.take(graves.files.bases.len()).count();
        for segment in self.segments.drain(..gone) {
            graves.removed.segments += 1;
            graves.removed.bytes += segment.size;
        }
        // Nothing of them has to be on disk any more, and an open file keeps its room.
        let first = self.segments.first().map_or(start, |first| first.base);
        self.dirty.retain(|(base, _)| *base >= first);
        Ok(graves)
    }

    /// How many of the oldest segments have to go.
    fn doomed(&mut self, now: Now, high_watermark: LogOffset) -> Result<usize, DeleteError> {
        let mut surplus = self.env.config.retention_bytes.map_or(0, |limit| self.size_bytes().saturating_sub(limit));
        let limited = self.env.config.retention_bytes.is_some();
        let mut doomed = 0;
        while let Some(segment) = self.segments.get(doomed).filter(|_| doomed < ROUND) {
            let (base, size) = (segment.base, segment.size);
            let end = end_of_segment(&self.segments, base, self.log_end);
            let is_active = doomed + 1 == self.segments.len();
            let below_start = !is_active && end <= self.log_start();
            let allowed = end <= high_watermark && size > 0;
            let too_much = limited && size > 0 && surplus >= size;
            if !(below_start || allowed && (too_much || self.is_expired(doomed, now)?)) {
                break;
            }
            surplus = surplus.saturating_sub(size);
            doomed += 1;
        }
        Ok(doomed)
    }

    /// By the newest record's timestamp; if none has one, by when the segment was last written here. What damage hides counts as
    /// written last of all: it goes no earlier than that and what is in front of it, and nothing behind it stays for good (IO-06).
    fn is_expired(&mut self, at: usize, now: Now) -> Result<bool, DeleteError> {
        let Some(limit) = self.env.config.retention_ms else { return Ok(false) };
        let Some(segment) = self.segments.get_mut(at) else { return Ok(false) };
        let base = segment.base;
        let is_old = |time: i64| u64::try_from(now.wall.0.saturating_sub(time)).is_ok_and(|age| age > limit);
        match segment.max_timestamp(&self.env) {
            Ok(newest @ 0..) => Ok(is_old(newest)),
            Ok(_) => Ok(is_old(segment.last_written(&self.env).0)),
            Err(SegmentError::Damaged { .. }) if !is_old(segment.last_written(&self.env).0) => Ok(false),
            Err(SegmentError::Damaged { .. }) => {
                let newest = segment.max_in_front_of_damage(&self.env).map_err(|e| ReadError::of(base, e))?;
                Ok(is_old(newest))
            }
            Err(error @ SegmentError::Io(_)) => Err(ReadError::of(base, error).into()),
        }
    }

    fn failed(&mut self, error: io::Error) -> DeleteError {
        self.go_offline(format!("partition.meta of {}: {error}", self.env.dir)).into()
    }
}
