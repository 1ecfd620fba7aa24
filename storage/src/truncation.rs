//! Cutting the end off a log: what a replica does with records that its leader does not have (KIP-101, KIP-279; RL-03, RL-04).
//!
//! Holds: nothing below the high watermark goes; the log ends where a batch ended; what was cut never comes back, neither
//! from a segment nor out of the journal. A crash in the middle leaves the log as it was, or the next open finishes the cut.
//!
//! 1. Everything is synced, so that nothing of what stays rests on the journal.
//! 2. The note says where the log is to end, and from which round on the journal counts; durable. From here on it is decided.
//! 3. Segments behind and the end of the last one go, and snapshots above; synced, with the folder.
//! 4. The note says that this is done; durable.
//!
//! The note stays, because rounds of before tell of more than there is; later ones have to lie behind it, whatever the journal has lost
//! meanwhile. Whoever knows that the journal has none of them any
//! more [takes it away](Log::forget_truncation).

use std::io;

use bytes::{Buf, BufMut};
use pyralog_protocol::{EpochOffset, ErrorCode, LeaderEpoch, LogOffset, Now};

use crate::compact::swap::remove_if_there;
use crate::disk::{Disk, is_full};
use crate::files::{FileError, Kind, finish, prepare, read_small, replace_durably, seal, unseal};
use crate::index::Entry;
use crate::journal::JournalPlace;
use crate::log::{Log, Offline};
use crate::read::ReadError;
use crate::recovery::{Cut, OpenError, RecoveryReport};
use crate::segment::SegmentError;
use crate::walk::Walk;

/// Name of the note.
pub(crate) const TRUNCATED_FILE: &str = "truncated";
const NOTE: Kind = Kind { magic: *b"PLTR", version: 1 };
const NOTE_BYTES: usize = 25;

/// What the note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated {
    /// The log ended here then.
    pub end: LogOffset,
    /// What the journal has of the log from before counts no more.
    pub journal: JournalPlace,
    /// The segments are cut.
    pub done: bool,
}

impl Truncated {
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(NOTE_BYTES);
        payload.put_i64(self.end.0);
        payload.put_u64(self.journal.sequence);
        payload.put_u64(self.journal.round);
        payload.put_u8(u8::from(self.done));
        seal(NOTE, &payload)
    }

    pub fn decode(path: &str, bytes: &[u8]) -> Result<Self, FileError> {
        let mut payload = unseal(NOTE, path, bytes)?;
        if payload.len() != NOTE_BYTES {
            return Err(FileError::Damaged { path: path.to_owned(), what: "length" });
        }
        let end = LogOffset(payload.get_i64());
        let journal = JournalPlace { sequence: payload.get_u64(), round: payload.get_u64() };
        Ok(Self { end, journal, done: payload.get_u8() == 1 })
    }

    /// The note in the folder of a log.
    pub fn read<D: Disk>(disk: &D, dir: &str) -> Result<Self, FileError> {
        let path = format!("{dir}/{TRUNCATED_FILE}");
        Self::decode(&path, &read_small(disk, &path)?)
    }
}

/// Where a replica has to cut, as far as it can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncationTarget {
    /// Nothing above is the leader's.
    pub offset: LogOffset,
    /// More may have to go: the leader has to be asked for the end of this epoch as well.
    pub ask: Option<LeaderEpoch>,
}

/// Why a log was not cut.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// Records would go that everybody has been shown.
    #[error("cannot cut the log at {offset}: what lies below {bound} stays")]
    Committed {
        /// Where it would end.
        offset: LogOffset,
        /// The high watermark, or what compaction has been over.
        bound: LogOffset,
    },
    /// A sync or retention is under way. Nothing changed.
    #[error("the log is being synced or shortened; try again")]
    Busy,
    /// No room for the note. Nothing changed.
    #[error("the disk is full: {0}")]
    DiskFull(io::Error),
    /// The place was not found, or the note could not be written. Nothing changed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// See [`Offline`].
    #[error(transparent)]
    Offline(#[from] Offline),
}

impl TruncateError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Committed { .. } => ErrorCode::OffsetOutOfRange,
            Self::Busy | Self::DiskFull(_) | Self::Read(_) | Self::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// Where the first batch begins that does not end below an offset.
#[derive(Clone, Copy)]
struct Border {
    /// Number of its segment.
    segment: usize,
    /// Its byte position.
    position: u64,
    /// Its base offset; None where no batch can be read.
    base: Option<LogOffset>,
}

impl<D: Disk> Log<D> {
    /// Where this log parts from its leader's, which was asked for the end of our latest epoch, or of the one that this
    /// named before. `leader`: the largest epoch of the leader's not above that, and its end there.
    pub fn truncation_target(&self, leader: EpochOffset) -> TruncationTarget {
        let until = |offset: LogOffset| offset.min(self.log_end);
        match self.end_offset_for_epoch(leader.epoch) {
            Some(ours) if ours.epoch == leader.epoch => {
                TruncationTarget { offset: until(ours.offset.min(leader.offset)), ask: None }
            }
            // Ours has nothing of that epoch, so what of older ones is there has to be compared too.
            Some(ours) => TruncationTarget { offset: until(ours.offset), ask: Some(ours.epoch) },
            None => TruncationTarget { offset: until(leader.offset), ask: None },
        }
    }

    /// Removes the batches that do not end below `offset`, whole ones, and gives where the log ends now; durable then. What
    /// lies below `high_watermark` stays, or nothing happens. `journal`: [where the journal is](crate::Journal::place),
    /// which is told to [forget](crate::Journal::forget) the log afterwards. Blocks.
    ///
    /// For whoever has the log for himself: no commit and no retention is under way, and the recovery point that is written
    /// down for it is not above `high_watermark`. A higher one would say, after a crash, that what was cut is missing.
    pub fn truncate_to(
        &mut self,
        offset: LogOffset,
        high_watermark: LogOffset,
        journal: JournalPlace,
        now: Now,
    ) -> Result<LogOffset, TruncateError> {
        self.check_online()?;
        let bound = high_watermark.max(self.log_start()).max(self.meta.cleaned_end);
        if offset < bound {
            return Err(TruncateError::Committed { offset, bound });
        }
        if offset >= self.log_end {
            return Ok(self.log_end);
        }
        if self.is_syncing() || self.snapshot_aside.is_some() {
            return Err(TruncateError::Busy);
        }
        self.sync()?;
        let border = self.border(offset, false).map_err(|error| ReadError::of(offset, error))?;
        let Some((border, end)) = border.and_then(|border| Some((border, border.base?))) else {
            return Ok(self.log_end);
        };
        if end < bound {
            return Err(TruncateError::Committed { offset: end, bound });
        }
        let note = Truncated { end, journal, done: false };
        let (disk, dir) = (&*self.env.disk, &self.env.dir);
        let prepared = prepare(disk, dir, TRUNCATED_FILE, &note.encode()).map_err(|error| match is_full(&error) {
            true => TruncateError::DiskFull(error),
            false => ReadError::Io(error).into(),
        })?;
        let cut = finish(disk, dir, TRUNCATED_FILE, TRUNCATED_FILE, prepared).map_err(|error| self.io(error));
        match cut.and_then(|()| self.cut_at(note, border, now)) {
            Ok(()) => Ok(end),
            // The next open finishes it.
            Err(error) => Err(self.fail(format!("truncation: {error}")).into()),
        }
    }

    /// From which place on the journal counts for this log, if it was cut and that has not been forgotten. Whoever opens it has
    /// the journal [go on behind](crate::Journal::go_on_behind) it.
    pub fn truncation(&self) -> Option<JournalPlace> {
        self.truncated.map(|note| note.journal)
    }

    /// Takes the note away: no recovery will read a round of the journal from before [`Self::truncation`], see
    /// [`crate::Journal::oldest`].
    pub fn forget_truncation(&mut self) -> io::Result<()> {
        if self.truncated.is_some() {
            // What a power loss brings back costs a longer recovery.
            remove_if_there(&*self.env.disk, &self.env.path(TRUNCATED_FILE))?;
            self.truncated = None;
        }
        Ok(())
    }

    /// What a crash interrupted, when the segments are known and nothing else.
    pub(crate) fn finish_truncation(&mut self, note: Truncated) -> Result<Truncated, OpenError> {
        let found = self.border(note.end, true).map_err(|error| match error {
            SegmentError::Io(error) => self.io(error),
            SegmentError::Damaged { what, .. } => self.corrupt(note.end.0..note.end.0, what),
        })?;
        // Where nothing is left to be cut, the process before may have ended before the cut was on disk: what can be seen of it
        // may be undone by a power loss, and the note must not say that it is done until that is past.
        let seen = || Border {
            segment: self.segments.len().saturating_sub(1),
            position: self.segments.last().map_or(0, |segment| segment.size),
            base: None,
        };
        let border = found.unwrap_or_else(seen);
        self.cut_segments_at(note, border)?;
        self.note_done(note)
    }

    fn cut_at(&mut self, note: Truncated, border: Border, now: Now) -> Result<(), OpenError> {
        self.holds_files = true;
        self.forget_pending();
        let mut epochs = self.epochs.clone();
        let compact = self.compact;
        self.cut_segments_at(note, border)?;
        (self.stable_end, self.flushed_end) = (note.end, note.end);
        // Snapshots above would fit a later log of the same length.
        self.rebuild(None, now, &mut RecoveryReport::default())?;
        epochs.cut_end(note.end);
        self.epochs = epochs;
        self.compact = compact;
        self.compact.first_dirty = compact.first_dirty.min(note.end);
        self.last_vlsn = self.meta.trimmed;
        self.find_last_vlsn()?;
        self.truncated = Some(self.note_done(note)?);
        self.plan_flush(note.end);
        self.plan_roll();
        Ok(())
    }

    /// The log ends there, on disk.
    fn cut_segments_at(&mut self, note: Truncated, border: Border) -> Result<(), OpenError> {
        let cut = Cut { at: note.end, bytes: 0, unwritten: false, what: "truncated" };
        self.cut_tail(border.segment, border.position, cut, &mut RecoveryReport::default())?;
        let file = match self.segments.get_mut(border.segment) {
            Some(active) => {
                active.forget_room();
                active.length_unproven = false;
                if active.size == 0 {
                    active.first_timestamp = None;
                }
                Some((active.base, active.file(&self.env)))
            }
            None => None,
        };
        if let Some((base, file)) = file {
            let file = file.map_err(|error| self.io(error))?;
            self.dirty = vec![(base, file)];
        }
        self.dir_changes += 1;
        self.sync().map(drop).map_err(|error| self.io(io::Error::other(error)))
    }

    fn note_done(&self, note: Truncated) -> Result<Truncated, OpenError> {
        let note = Truncated { done: true, ..note };
        replace_durably(&*self.env.disk, &self.env.dir, TRUNCATED_FILE, &note.encode()).map_err(|e| self.io(e))?;
        Ok(note)
    }

    /// Where the first batch begins that does not end below `offset`; None: all of them do. With `torn` what cannot be read
    /// counts as one.
    fn border(&mut self, offset: LogOffset, torn: bool) -> Result<Option<Border>, SegmentError> {
        let first = self.segments.partition_point(|s| s.base <= offset).saturating_sub(1);
        for (number, segment) in self.segments.iter_mut().enumerate().skip(first) {
            let hint = segment.stored_hint(&self.env, offset).unwrap_or(Entry::START);
            let file = segment.file(&self.env)?;
            let mut walk = Walk::new(&*file, u64::from(hint.position), segment.size);
            loop {
                let position = walk.position();
                let base = match walk.next() {
                    Ok(Some(found)) if found.header.last_offset() < offset.0 => continue,
                    Ok(Some(found)) => Some(LogOffset(found.header.base_offset)),
                    Ok(None) => break,
                    Err(stop) => match SegmentError::at(position, stop) {
                        SegmentError::Damaged { .. } if torn => None,
                        error @ (SegmentError::Io(_) | SegmentError::Damaged { .. }) => return Err(error),
                    },
                };
                return Ok(Some(Border { segment: number, position, base }));
            }
        }
        Ok(None)
    }
}
