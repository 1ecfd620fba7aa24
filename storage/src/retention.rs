//! Moving the log start: by age, by size, and because somebody deleted records.
//!
//! Holds: the log start is durable before a file goes or a deletion is answered, so that no deleted record comes back
//! (L9, IO-15). A file whose removal a crash undid lies below the log start and goes at the next open.

use std::io;

use pyralog_protocol::{ErrorCode, LogOffset, Now, Vlsn};

use crate::disk::{Disk, is_full};
use crate::files::{finish, prepare};
use crate::log::{Log, Offline, end_of_segment};
use crate::read::ReadError;
use crate::segment::{DERIVED, file_name};
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

impl<D: Disk> Log<D> {
    /// Deletes the records below `offset`, which must not be above `high_watermark`; returns the log start, which is
    /// durable then (L9, L12). Below the log start nothing changes. The space comes back with the next
    /// [`Log::enforce_retention`].
    pub fn delete_records_to(
        &mut self,
        offset: LogOffset,
        high_watermark: LogOffset,
    ) -> Result<LogOffset, DeleteError> {
        self.check_online()?;
        let bound = high_watermark.min(self.log_end);
        if offset < LogOffset::ZERO || offset > bound {
            return Err(DeleteError::OutOfRange { offset, bound });
        }
        if offset > self.log_start() {
            let trimmed = self.last_vlsn_below(offset)?;
            self.move_start(offset, trimmed)?;
        }
        Ok(self.log_start())
    }

    /// Removes the oldest segments that are below the log start, too old, or too much. Only whole segments that end at or
    /// below `high_watermark`; the active one is rolled first if it has to go.
    pub fn enforce_retention(&mut self, now: Now, high_watermark: LogOffset) -> Result<Removed, DeleteError> {
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
            return Ok(Removed::default());
        }
        let start = self.segments.get(doomed).map_or(self.log_end, |s| s.base);
        let trimmed = self.last_vlsn_below(start)?;
        // First what is derived: on a full disk that makes the room that the rest needs (OP-10).
        for segment in self.segments.iter_mut().take(doomed) {
            segment.release();
            for kind in DERIVED {
                let _ = self.env.disk.remove_file(&self.env.path(&file_name(segment.base, kind)));
            }
        }
        match self.store_snapshot_durably() {
            Err(error) if !is_full(&error) => return Err(self.failed(error)),
            Ok(()) | Err(_) => {}
        }
        if start > self.log_start() {
            self.move_start(start, trimmed)?;
        }
        let mut removed = Removed::default();
        for segment in self.segments.drain(..doomed) {
            removed.segments += 1;
            removed.bytes += segment.size;
            // What is not removed now lies below the log start and goes at the next open.
            let _ = self.env.disk.remove_file(&self.env.path(&file_name(segment.base, "log")));
        }
        Ok(removed)
    }

    /// How many of the oldest segments have to go.
    fn doomed(&mut self, now: Now, high_watermark: LogOffset) -> Result<usize, DeleteError> {
        let mut surplus = self.env.config.retention_bytes.map_or(0, |limit| self.size_bytes().saturating_sub(limit));
        let limited = self.env.config.retention_bytes.is_some();
        let mut doomed = 0;
        while let Some(segment) = self.segments.get(doomed) {
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

    /// By the newest record's timestamp; if none has one, by when the segment was last written here.
    fn is_expired(&mut self, at: usize, now: Now) -> Result<bool, DeleteError> {
        let Some(limit) = self.env.config.retention_ms else { return Ok(false) };
        let Some(segment) = self.segments.get_mut(at) else { return Ok(false) };
        let base = segment.base;
        let newest = segment.max_timestamp(&self.env).map_err(|e| ReadError::of(base, e))?;
        let newest = if newest >= 0 { newest } else { segment.last_written(&self.env).0 };
        Ok(u64::try_from(now.wall.0.saturating_sub(newest)).is_ok_and(|age| age > limit))
    }

    /// Moves the log start, on disk first.
    fn move_start(&mut self, start: LogOffset, trimmed: Option<Vlsn>) -> Result<(), DeleteError> {
        self.replace_meta(PartitionMeta { log_start: start, trimmed, ..self.meta })?;
        self.epochs.cut_start(start);
        Ok(())
    }

    /// Replaces `partition.meta` durably. Where there is no room, nothing changed.
    pub(crate) fn replace_meta(&mut self, meta: PartitionMeta) -> Result<(), DeleteError> {
        let prepared = match prepare(&*self.env.disk, &self.env.dir, META_FILE, &meta.encode()) {
            Ok(file) => file,
            Err(error) if is_full(&error) => return Err(DeleteError::DiskFull(error)),
            Err(error) => return Err(ReadError::Io(error).into()),
        };
        finish(&*self.env.disk, &self.env.dir, META_FILE, prepared).map_err(|e| self.failed(e))?;
        self.meta = meta;
        Ok(())
    }

    fn failed(&mut self, error: io::Error) -> DeleteError {
        self.go_offline(format!("partition.meta of {}: {error}", self.env.dir)).into()
    }
}
