//! The journal: one preallocated log per data folder that makes small appends of many partitions durable with a single
//! write. Segments are written at once, to the page cache; the journal is what an acknowledgement rests on until they
//! have been synced.
//!
//! Holds: a file is used again only when every batch in it is below the flushed end of its partition, or its partition is
//! gone; a round is written after the one before it was durable, so only the last round can be torn; no round is ever
//! written again after an error (IO-01): the journal is closed then, and appends are synced in their segments.
//! One owner calls everything with `&mut`. Knows no logs: recovery hands the batches back, and the log that they belong to
//! decides by their offsets what it misses.

mod format;
mod replay;
mod round;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use pyralog_protocol::LogOffset;

pub use format::PartitionKey;
pub(crate) use format::{BLOCK, Entry, FileHeader, ROUND_HEADER, next_entry, round_bytes};
pub(crate) use replay::Since;
pub(crate) use replay::read_any_round;
pub use replay::{Redo, RedoBatch, Replay};
pub use round::Round;

use crate::disk::{Disk, DiskFile, OpenMode, is_full, is_out_of_files};

/// Folder of the journal, below the data folder.
pub const JOURNAL_DIR: &str = "journal";
/// Bytes written at a time when a file is made.
const FILL_BYTES: usize = 1 << 20;

/// Sizes of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    /// Bytes of each file, whole blocks.
    pub file_bytes: u64,
    /// Most files.
    pub files: usize,
}

/// Why a round was not written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No file has room, the next one cannot be opened for now ([`Journal::unopened`]), or the journal is closed since an
    /// earlier write failed; nothing of this round was written. The partitions have to be synced by themselves.
    #[error("no journal file is free")]
    NoRoom,
    /// The disk failed in this round: nobody knows what of it is there. The journal is closed from now on.
    #[error("a write of the journal failed, which is closed now: {0}")]
    Closed(String),
}

/// Ends of what a file holds, by partition.
type Ends = BTreeMap<PartitionKey, LogOffset>;

/// A place between two rounds of the journal: those before it were written earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalPlace {
    /// Sequence number of its file.
    pub(crate) sequence: u64,
    /// Number of the round behind it.
    pub(crate) round: u64,
}

/// A file whose content is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    slot: usize,
}

/// A full file, kept until everything in it has been flushed.
struct Sealed {
    slot: usize,
    sequence: u64,
    ends: Ends,
    /// Long enough to be written again as it is.
    reusable: bool,
}

/// The file that is written.
struct Current<F> {
    slot: usize,
    sequence: u64,
    file: F,
    position: u64,
    rounds: u64,
    ends: Ends,
}

/// The journal of one data folder.
pub struct Journal<D: Disk> {
    disk: Arc<D>,
    limits: JournalLimits,
    current: Option<Current<D::File>>,
    sealed: Vec<Sealed>,
    free: Vec<Free>,
    /// Files of another size, to be made anew.
    stale: Vec<usize>,
    /// Slots that exist or are being made.
    slots: usize,
    preparing: bool,
    next_sequence: u64,
    /// Files with a lower sequence number are read by no recovery.
    oldest: u64,
    /// Rounds of the last file that was sealed.
    rounds_before: u64,
    /// Why the next file could not be opened when it was last tried.
    unopened: Option<String>,
    closed: Option<String>,
}

/// Path of a journal file.
fn path(slot: usize) -> String {
    format!("{JOURNAL_DIR}/{slot}.journal")
}

/// Makes a journal file: written with zeros to its full length, because only then a later write changes nothing but data.
/// Blocks; independent of the journal, which [takes it in](Journal::add) afterwards.
pub fn prepare_file<D: Disk>(disk: &D, slot: usize, limits: JournalLimits) -> io::Result<()> {
    if !disk.allowance().claim(limits.file_bytes) {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "what is free is kept free"));
    }
    let made = write_file(disk, slot, limits);
    disk.allowance().settle(limits.file_bytes);
    made
}

fn write_file<D: Disk>(disk: &D, slot: usize, limits: JournalLimits) -> io::Result<()> {
    disk.create_dir_all(JOURNAL_DIR)?;
    let file = disk.open(&path(slot), OpenMode::Create)?;
    let zeros = vec![0; FILL_BYTES];
    let mut at = 0;
    while at < limits.file_bytes {
        let more = usize::try_from(limits.file_bytes - at).unwrap_or(usize::MAX).min(FILL_BYTES);
        file.write_all_at([zeros.get(..more).unwrap_or_default(), &[]], at)?;
        at += more as u64;
    }
    file.sync_data()?;
    disk.sync_dir(JOURNAL_DIR)?;
    disk.sync_dir("")
}

impl<D: Disk> Journal<D> {
    /// Whether such a round can be written now.
    pub fn has_room(&self, round: &Round) -> bool {
        let bytes = round.file_bytes() as u64;
        let fits = |current: &Current<D::File>| current.position + bytes <= self.limits.file_bytes;
        self.closed.is_none()
            && (self.current.as_ref().is_some_and(fits)
                || (!self.free.is_empty() && BLOCK as u64 + bytes <= self.limits.file_bytes))
    }

    /// Writes a round; it is durable when this returns. Blocks.
    pub fn write(&mut self, round: &mut Round) -> Result<(), JournalError> {
        if !self.has_room(round) {
            return Err(JournalError::NoRoom);
        }
        self.make_room(round.file_bytes() as u64)?;
        self.put(round).map_err(|error| self.close(&error))
    }

    fn close(&mut self, error: &io::Error) -> JournalError {
        let why = error.to_string();
        self.closed = Some(why.clone());
        JournalError::Closed(why)
    }

    /// A further file is wanted: none is free. Gives the slot to [prepare](prepare_file), once.
    pub fn wants_file(&mut self) -> Option<usize> {
        if self.closed.is_some() || self.preparing || !self.free.is_empty() {
            return None;
        }
        let slot = match self.stale.pop() {
            Some(_) if self.limits.files == 0 => return None,
            Some(slot) => slot,
            None if self.slots < self.limits.files => {
                self.slots += 1;
                self.slots - 1
            }
            None => return None,
        };
        self.preparing = true;
        Some(slot)
    }

    /// Takes in a file that was prepared. Where there was no room for it, or no descriptor, it may be tried again; any other
    /// failure is final for that file (IO-01), and no more are made.
    pub fn add(&mut self, slot: usize, prepared: io::Result<()>) {
        self.preparing = false;
        match prepared {
            Ok(()) => self.put_back(slot, true),
            Err(error) if is_full(&error) || is_out_of_files(&error) => self.put_back(slot, false),
            Err(_) => self.limits.files = 0,
        }
    }

    /// Frees the files in which nothing counts any more. `flushed`: the offset below which a partition's segments are on
    /// disk, or None for one that is gone.
    pub fn release(&mut self, mut flushed: impl FnMut(PartitionKey) -> Option<LogOffset>) {
        for sealed in &mut self.sealed {
            sealed.ends.retain(|key, end| flushed(*key).is_some_and(|reached| reached < *end));
        }
        let (done, rest): (Vec<Sealed>, Vec<Sealed>) =
            std::mem::take(&mut self.sealed).into_iter().partition(|sealed| sealed.ends.is_empty());
        self.sealed = rest;
        for sealed in done {
            self.put_back(sealed.slot, sealed.reusable);
        }
    }

    /// Partitions that full files wait for: a sync of their segments frees the files.
    pub fn waits_for(&self) -> impl Iterator<Item = PartitionKey> + '_ {
        self.sealed.iter().flat_map(|sealed| sealed.ends.keys().copied())
    }

    /// Where the journal is: every round until now is before it, every later one behind it.
    pub fn place(&self) -> JournalPlace {
        let next = JournalPlace { sequence: self.next_sequence, round: 0 };
        self.current.as_ref().map_or(next, |file| JournalPlace { sequence: file.sequence, round: file.rounds })
    }

    /// What lies before this is read by no recovery any more.
    pub fn oldest(&self) -> JournalPlace {
        JournalPlace { sequence: self.oldest, round: 0 }
    }

    /// For each log that was [cut](crate::Log::truncation) and is opened, before anything is written: what is written from now on
    /// lies behind that place. The file that was the last one then may be gone, and its number with it.
    pub fn go_on_behind(&mut self, place: JournalPlace) {
        let first = place.sequence.saturating_add(u64::from(place.round > 0));
        self.next_sequence = self.next_sequence.max(first);
    }

    /// What there is of a partition does not count any more: its log was cut, see [`crate::Log::truncate_to`].
    pub fn forget(&mut self, key: PartitionKey) {
        let current = self.current.as_mut().map(|current| &mut current.ends);
        for ends in self.sealed.iter_mut().map(|sealed| &mut sealed.ends).chain(current) {
            ends.remove(&key);
        }
    }

    /// Number of full files that are not free yet.
    pub fn sealed_files(&self) -> usize {
        self.sealed.len()
    }

    /// Why the next file could not be opened when a round was last to be written, if so. It is tried again for each round.
    pub fn unopened(&self) -> Option<&str> {
        self.unopened.as_deref()
    }

    /// Why nothing can be written any more, if so.
    pub fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        if self.current.as_ref().is_some_and(|current| current.position + bytes <= self.limits.file_bytes) {
            return Ok(());
        }
        if let Some(full) = self.current.take() {
            self.rounds_before = full.rounds;
            let Current { slot, sequence, ends, .. } = full;
            self.sealed.push(Sealed { slot, sequence, ends, reusable: true });
        }
        let Some(Free { slot }) = self.free.last().copied() else { return Err(JournalError::NoRoom) };
        // Nothing was written yet, so that a failure is no more than one of now: too many open files.
        let opened = self.disk.open(&path(slot), OpenMode::Journal);
        self.unopened = opened.as_ref().err().map(ToString::to_string);
        let file = opened.map_err(|_| JournalError::NoRoom)?;
        self.free.pop();
        self.begin(slot, file).map_err(|error| self.close(&error))
    }

    /// Makes a file the one that is written.
    fn begin(&mut self, slot: usize, file: D::File) -> io::Result<()> {
        let sequence = self.next_sequence;
        let oldest = self.sealed.iter().map(|sealed| sealed.sequence).min().unwrap_or(sequence);
        let mut header = Round::new(BLOCK);
        let header = header.block(|block| {
            FileHeader { sequence, oldest, rounds_before: self.rounds_before }.put(block);
        });
        file.write_through(header, 0)?;
        (self.oldest, self.next_sequence) = (oldest, self.next_sequence + 1);
        let (position, rounds, ends) = (BLOCK as u64, 0, Ends::new());
        self.current = Some(Current { slot, sequence, file, position, rounds, ends });
        Ok(())
    }

    fn put(&mut self, round: &mut Round) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        let bytes = round.seal(current.sequence, current.rounds);
        current.file.write_through(bytes, current.position)?;
        current.position += round.file_bytes() as u64;
        current.rounds += 1;
        for (key, end) in &round.ends {
            let known = current.ends.entry(*key).or_insert(*end);
            *known = (*known).max(*end);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
