//! Logs whose records are found by the VLSN in their key.
//!
//! Holds: VLSNs rise in the order of the log, so that a VLSN is written once at most; whatever was written once is told
//! from what never was, until retention takes it, and then that is told too. The last VLSN is never forgotten: what
//! retention takes of it stays in `partition.meta`.
//! Not here: which partition a VLSN belongs to, and what is committed; bounds come in as offsets.

mod error;
mod segment;

#[cfg(test)]
mod tests;

pub use error::{RejectedVlsn, VlsnConflict, VlsnsRefused};
pub(crate) use segment::{Readable, last_vlsn_of};

use std::ops::RangeInclusive;
use std::sync::Arc;

use pyralog_protocol::batch::{BatchHeader, CheckedBatch, StoredBatch, TimestampType};
use pyralog_protocol::{LeaderEpoch, LogOffset, Vlsn};

use crate::disk::{Disk, Patience};
use crate::index::{Around, Entry};
use crate::log::{AppendError, Appended, Log, end_of_segment};
use crate::read::{ReadError, ReadSlice};
use crate::recovery::OpenError;
use crate::segment::SegmentError;
use crate::walk::{Found, batch_at};
use segment::damage;
pub(crate) use segment::{bytes_of, bytes_with};

/// Whole batches, and what the first of them has to be: base offset and leader epoch are outside its CRC (IO-07).
#[derive(Debug)]
pub struct VlsnRun<F> {
    /// Where they are.
    pub slice: ReadSlice<F>,
    /// Offset of the first record.
    pub first: LogOffset,
    /// Who wrote it, as far as that is known.
    pub epoch: Option<LeaderEpoch>,
}

/// Where a VLSN is in its partition.
#[derive(Debug)]
pub enum VlsnPlace<F> {
    /// If it was ever written, it is in this batch.
    Batch(VlsnRun<F>),
    /// Nothing at or above it can be read yet.
    Unwritten,
    /// Retention or a deletion took what was there.
    Trimmed,
}

/// Records that are in the log already, in answer to a batch that brings them again.
pub(crate) struct Original {
    first: LogOffset,
    last: LogOffset,
    /// When they were appended, where the log stamps that; -1 where it does not.
    appended_at: i64,
}

impl Original {
    pub fn appended(&self) -> Appended {
        let (base_offset, last_offset) = (self.first, self.last);
        Appended { base_offset, last_offset, log_append_time: self.appended_at, duplicate: true }
    }

    /// The batch as if it were the one in the log: its producer goes on behind it.
    pub fn as_seen_by(&self, batch: &CheckedBatch) -> BatchHeader {
        BatchHeader { base_offset: self.first.0, ..batch.header.clone() }
    }
}

/// The VLSNs of a batch that is open.
struct Opened {
    header: BatchHeader,
    records: Vec<(Vlsn, LogOffset)>,
}

impl Opened {
    fn last(&self) -> Option<Vlsn> {
        self.records.last().map(|(vlsn, _)| *vlsn)
    }

    fn offset_of(&self, vlsn: Vlsn) -> Option<LogOffset> {
        let at = self.records.binary_search_by_key(&vlsn, |(vlsn, _)| *vlsn).ok()?;
        self.records.get(at).map(|(_, offset)| *offset)
    }
}

impl<D: Disk> Log<D> {
    /// The largest VLSN that was ever appended, on disk or not.
    pub fn last_vlsn(&self) -> Option<Vlsn> {
        self.last_vlsn
    }

    /// The largest VLSN below the log start: up to it nothing can be read.
    pub fn trimmed_vlsn(&self) -> Option<Vlsn> {
        self.meta.trimmed
    }

    /// Where the record of a VLSN is, if it lies below `bound`. With the index in memory nothing is read for it.
    pub fn locate_vlsn(
        &mut self,
        vlsn: Vlsn,
        bound: LogOffset,
        patience: Patience,
    ) -> Result<VlsnPlace<D::File>, ReadError> {
        self.check_online()?;
        self.holds_files = true;
        if self.meta.trimmed.is_some_and(|trimmed| vlsn <= trimmed) {
            return Ok(VlsnPlace::Trimmed);
        }
        let Some((at, found)) = self.find_entry(vlsn, patience)? else { return Ok(VlsnPlace::Unwritten) };
        let (end, next_offset) = self.end_of(at, &found);
        let Some(segment) = self.segments.get_mut(at).filter(|_| next_offset <= bound) else {
            return Ok(VlsnPlace::Unwritten);
        };
        let base = segment.base;
        let file = segment.file(&self.env).map_err(ReadError::Io)?;
        Ok(VlsnPlace::Batch(self.run(base, slice(file, found.entry, end), found.entry)))
    }

    /// Whole batches with the VLSNs from `vlsn` on, as far as they are kept: about `max_bytes`, or one batch if that is
    /// larger; only what ends below `bound`, and from one segment. None: there is nothing yet. With the index in memory nothing
    /// is read for it.
    pub fn read_vlsns(
        &mut self,
        vlsn: Vlsn,
        max_bytes: u64,
        bound: LogOffset,
        patience: Patience,
    ) -> Result<Option<VlsnRun<D::File>>, ReadError> {
        self.check_online()?;
        self.holds_files = true;
        let vlsn = vlsn.max(self.meta.trimmed.map_or(Vlsn::ZERO, Vlsn::next));
        let Some((at, first)) = self.find_entry(vlsn, patience)? else { return Ok(None) };
        let (first_end, next_offset) = self.end_of(at, &first);
        let Some(segment) = self.segments.get_mut(at).filter(|_| next_offset <= bound) else { return Ok(None) };
        let (base, size) = (segment.base, segment.size);
        let stop = u64::from(first.entry.position).saturating_add(max_bytes);
        let end = if stop >= size && end_of_segment(&self.segments, base, self.log_end) <= bound {
            size
        } else {
            let wanted = bound.0.saturating_sub(base.0);
            let within = |e: &Entry| u64::from(e.position) <= stop && i64::from(e.relative_offset) <= wanted;
            let Some(segment) = self.segments.get_mut(at) else { return Ok(None) };
            let last = segment.known_around(&self.env, patience, within).map_err(|e| ReadError::of(base, e))?;
            // Everything before an entry is whole batches. Where damage is in the way of another look, the first is enough.
            last.map_or(first_end, |last| first_end.max(u64::from(last.entry.position)))
        };
        let Some(segment) = self.segments.get_mut(at) else { return Ok(None) };
        let file = segment.file(&self.env).map_err(ReadError::Io)?;
        Ok(Some(self.run(base, slice(file, first.entry, end), first.entry)))
    }

    /// What begins with the batch of an entry.
    fn run<F>(&self, segment: LogOffset, slice: ReadSlice<F>, first: Entry) -> VlsnRun<F> {
        let first = LogOffset(segment.0.saturating_add(i64::from(first.relative_offset)));
        VlsnRun { slice, first, epoch: self.epochs.at(first) }
    }

    /// Where the batch of an entry ends: in its segment, and in offsets.
    fn end_of(&self, at: usize, found: &Around) -> (u64, LogOffset) {
        let Some(segment) = self.segments.get(at) else { return (0, self.log_end) };
        match found.next {
            Some(next) => {
                let offset = segment.base.0.saturating_add(i64::from(next.relative_offset));
                (u64::from(next.position), LogOffset(offset))
            }
            None => (segment.size, end_of_segment(&self.segments, segment.base, self.log_end)),
        }
    }

    /// The VLSN of the record at an offset; None at the log end.
    pub fn vlsn_at(&mut self, offset: LogOffset) -> Result<Option<Vlsn>, ReadError> {
        self.check_online()?;
        let Some((at, found)) = self.find_offset(offset)? else { return Ok(None) };
        let records = self.open_batch(at, &found, self.env.patience)?.records;
        Ok(records.into_iter().find(|(_, there)| *there >= offset).map(|(vlsn, _)| vlsn))
    }

    /// Offset of the first record whose VLSN is not below that; the log end if there is none.
    pub fn offset_of_vlsn(&mut self, vlsn: Vlsn) -> Result<LogOffset, ReadError> {
        self.check_online()?;
        let Some((at, found)) = self.find_batch(vlsn)? else { return Ok(self.log_end) };
        let records = self.open_batch(at, &found, self.env.patience)?.records;
        Ok(records.into_iter().find(|(there, _)| *there >= vlsn).map_or(self.log_end, |(_, offset)| offset))
    }

    /// After opening: the last VLSN, from the last segment that has one.
    pub(crate) fn find_last_vlsn(&mut self) -> Result<(), OpenError> {
        if !self.env.config.vlsn {
            return Ok(());
        }
        let (start, end) = (self.log_start(), self.log_end);
        for segment in self.segments.iter_mut().rev() {
            match segment.last_vlsn(&self.env, Patience::Waits) {
                Ok(None) => {}
                Ok(found) => {
                    self.last_vlsn = found.max(self.meta.trimmed);
                    break;
                }
                Err(SegmentError::Io(error)) => return Err(self.io(error)),
                Err(SegmentError::Damaged { position, what }) => {
                    let first = segment.base.0.max(start.0);
                    return Err(self.corrupt(first..end.0, format!("at byte {position}: {what}")));
                }
            }
        }
        Ok(())
    }

    /// The largest VLSN below an offset, for that to become the log start.
    pub(crate) fn last_vlsn_below(&mut self, offset: LogOffset) -> Result<Option<Vlsn>, ReadError> {
        if !self.env.config.vlsn || self.env.trust.trimmed {
            return Ok(None);
        }
        if offset >= self.log_end {
            return Ok(self.last_vlsn);
        }
        let behind = self.segments.partition_point(|s| s.base < offset);
        for at in (0..behind).rev() {
            let Some(segment) = self.segments.get_mut(at) else { continue };
            let base = segment.base;
            let wanted = offset.0.saturating_sub(base.0);
            let last = segment.last_vlsn(&self.env, Patience::Waits).map_err(|e| ReadError::of(base, e));
            let ends_above = crate::log::end_of_segment(&self.segments, base, self.log_end) > offset;
            if !ends_above
                && matches!(last, Err(ReadError::Damaged { .. }))
                && let Some(first) = self.first_vlsn(at + 1, Patience::Waits)?
            {
                // Its own is not known, but what it may be: retention does not end at damage.
                return Ok(first.0.checked_sub(1).map(Vlsn).max(self.meta.trimmed));
            }
            let last = last?;
            let Some(segment) = self.segments.get_mut(at) else { continue };
            if ends_above && last.is_some() {
                let within = |e: &Entry| i64::from(e.relative_offset) < wanted;
                let found = segment.around_vlsn(&self.env, Patience::Waits, within);
                let entry = found.map_err(|e| ReadError::of(base, e))?.entry;
                let Some(found) = self.batch_at(at, entry.position, Patience::Waits)? else { continue };
                let records = self.open_batch(at, &found, self.env.patience)?.records;
                let below = records.into_iter().rev().find(|(_, there)| *there < offset);
                return Ok(below.map(|(vlsn, _)| vlsn).max(self.meta.trimmed));
            }
            if last.is_some() {
                return Ok(last);
            }
        }
        Ok(self.meta.trimmed)
    }

    /// What the log has of a batch already. None: its VLSNs are all new, or the log has none.
    pub(crate) fn find_original(&mut self, batch: &CheckedBatch) -> Result<Option<Original>, AppendError> {
        let (Some(first), Some(last)) = (batch.vlsns.first(), self.last_vlsn) else { return Ok(None) };
        if *first > last || self.env.trust.vlsns {
            return Ok(None);
        }
        let mut opened = None;
        let mut ends: Option<Original> = None;
        let mut complete = true;
        let mut conflicts = Vec::with_capacity(batch.vlsns.len());
        for vlsn in batch.vlsns.iter().copied() {
            let conflict = match self.conflict_of(vlsn, last, &mut opened).map_err(append_error)? {
                Ok(offset) => {
                    let stamp = opened.as_ref().map_or(-1, |(_, batch): &(Vlsn, Opened)| appended_at(&batch.header));
                    let first = ends.as_ref().map_or(offset, |ends| ends.first);
                    ends = Some(Original { first, last: offset, appended_at: stamp });
                    VlsnConflict::Present { vlsn, offset }
                }
                Err(conflict) => {
                    complete = false;
                    conflict
                }
            };
            conflicts.push(conflict);
        }
        match ends.filter(|_| complete) {
            Some(original) => Ok(Some(original)),
            None => Err(VlsnsRefused::of(conflicts.into_iter()).into()),
        }
    }

    /// Where a VLSN is, or why it is not there. The batch that is open has the first VLSN at or above the one beside it: what
    /// is between these, or in the batch, is not looked for again.
    fn conflict_of(
        &mut self,
        vlsn: Vlsn,
        last: Vlsn,
        opened: &mut Option<(Vlsn, Opened)>,
    ) -> Result<Result<LogOffset, VlsnConflict>, ReadError> {
        if vlsn > last {
            return Ok(Err(VlsnConflict::Overlap { vlsn, last }));
        }
        if let Some(trimmed) = self.meta.trimmed.filter(|trimmed| vlsn <= *trimmed) {
            return Ok(Err(VlsnConflict::Trimmed { vlsn, trimmed }));
        }
        let is_open = |(from, batch): &(Vlsn, Opened)| *from <= vlsn && Some(vlsn) <= batch.last();
        if !opened.as_ref().is_some_and(is_open) {
            *opened = match self.find_batch(vlsn)? {
                Some((at, found)) => Some((vlsn, self.open_batch(at, &found, self.env.patience)?)),
                None => None,
            };
        }
        let offset = opened.as_ref().and_then(|(_, batch)| batch.offset_of(vlsn));
        Ok(offset.ok_or(VlsnConflict::Backwards { vlsn, last }))
    }

    /// The batch that has the smallest VLSN that is not below `vlsn`, with the place of its segment.
    fn find_batch(&mut self, vlsn: Vlsn) -> Result<Option<(usize, Found)>, ReadError> {
        let Some((at, found)) = self.find_entry(vlsn, self.env.patience)? else { return Ok(None) };
        Ok(self.batch_at(at, found.entry.position, self.env.patience)?.map(|found| (at, found)))
    }

    /// The same by its entry in the index.
    fn find_entry(&mut self, vlsn: Vlsn, patience: Patience) -> Result<Option<(usize, Around)>, ReadError> {
        if self.last_vlsn.is_none_or(|last| vlsn > last) {
            return Ok(None);
        }
        // Only the last segment may be empty; it has no VLSN to be compared with.
        let full = self.segments.len() - usize::from(self.segments.last().is_some_and(|s| s.size == 0));
        let (mut low, mut high) = (0, full);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.last_readable_vlsn(low..=middle, patience)? {
                Some(last) if last >= vlsn => high = middle,
                Some(_) | None => low = middle + 1,
            }
        }
        // It may be in what is hidden in front of the segment that has a larger one.
        let hidden = low.checked_sub(1).and_then(|before| self.segments.get(before));
        let hidden = hidden.and_then(|segment| Some(ReadError::of(segment.base, segment.unreadable()?)));
        let Some(segment) = self.segments.get_mut(low).filter(|_| low < full) else {
            return hidden.map_or(Ok(None), Err);
        };
        let base = segment.base;
        let found = segment.around_vlsn(&self.env, patience, |e| e.max_before < vlsn.offset());
        let found = found.map_err(|e| ReadError::of(base, e))?;
        match hidden.filter(|_| found.entry.position == 0) {
            Some(hidden) if self.first_vlsn(low, patience)?.is_none_or(|first| vlsn < first) => Err(hidden),
            Some(_) | None => Ok(Some((low, found))),
        }
    }

    /// The largest VLSN of these segments that can be looked up.
    fn last_readable_vlsn(
        &mut self,
        segments: RangeInclusive<usize>,
        patience: Patience,
    ) -> Result<Option<Vlsn>, ReadError> {
        for at in segments.rev() {
            let Some(segment) = self.segments.get_mut(at) else { continue };
            let base = segment.base;
            let last = segment.last_readable_vlsn(&self.env, patience).map_err(|e| ReadError::of(base, e))?;
            if last.is_some() {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// The first VLSN of a segment, by its first batch.
    fn first_vlsn(&mut self, at: usize, patience: Patience) -> Result<Option<Vlsn>, ReadError> {
        let Some(found) = self.batch_at(at, 0, patience)? else { return Ok(None) };
        let records = self.open_batch(at, &found, patience)?.records;
        Ok(records.first().map(|(vlsn, _)| *vlsn))
    }

    /// The batch that holds an offset, with the place of its segment.
    fn find_offset(&mut self, offset: LogOffset) -> Result<Option<(usize, Found)>, ReadError> {
        if offset >= self.log_end {
            return Ok(None);
        }
        let at = self.segments.partition_point(|s| s.base <= offset).saturating_sub(1);
        let Some(segment) = self.segments.get_mut(at) else { return Ok(None) };
        let base = segment.base;
        let cleaned_end = self.meta.cleaned_end;
        let found = crate::read::locate(&self.env, segment, offset, cleaned_end).map_err(|e| ReadError::of(base, e))?;
        Ok(found.map(|found| (at, found)))
    }

    /// The batch that begins at a byte of a segment.
    fn batch_at(&mut self, at: usize, position: u32, patience: Patience) -> Result<Option<Found>, ReadError> {
        let Some(segment) = self.segments.get_mut(at) else { return Ok(None) };
        let (base, size) = (segment.base, segment.size);
        let file = segment.file(&self.env).map_err(ReadError::Io)?;
        let found = batch_at(&*file, u64::from(position), size, patience);
        found.map_err(|stop| ReadError::of(base, SegmentError::at(u64::from(position), stop)))
    }

    fn open_batch(&mut self, at: usize, found: &Found, patience: Patience) -> Result<Opened, ReadError> {
        let Some(segment) = self.segments.get_mut(at) else {
            return Ok(Opened { header: found.header.clone(), records: Vec::new() });
        };
        let (base, position) = (segment.base, found.position);
        let file = segment.file(&self.env).map_err(ReadError::Io)?;
        let bytes = bytes_with(&*file, found, patience).map_err(ReadError::Io)?;
        let read = || {
            let batch = StoredBatch::open(&bytes)?;
            let records = batch.records().map(|r| r.map(|r| (r.vlsn, r.offset))).collect::<Result<_, _>>()?;
            Ok(Opened { header: batch.header.clone(), records })
        };
        read().map_err(|error| ReadError::Damaged { segment: base, position, what: damage(&error) })
    }
}

/// From the batch of an entry to a byte behind it.
fn slice<F>(file: Arc<F>, first: Entry, end: u64) -> ReadSlice<F> {
    let position = u64::from(first.position);
    ReadSlice { file, position, len: usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX) }
}

fn appended_at(header: &BatchHeader) -> i64 {
    match header.timestamp_type() {
        TimestampType::LogAppendTime => header.max_timestamp,
        TimestampType::CreateTime => -1,
    }
}

fn append_error(error: ReadError) -> AppendError {
    match error {
        ReadError::Damaged { segment, position, what } => AppendError::Damaged { segment, position, what },
        ReadError::Io(error) => AppendError::Io(error),
        ReadError::Offline(offline) => AppendError::Offline(offline),
        ReadError::OutOfRange { .. } => AppendError::Io(std::io::Error::other(error.to_string())),
    }
}
