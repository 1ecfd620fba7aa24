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
pub(crate) use segment::last_vlsn_of;

use pyralog_protocol::batch::{BatchHeader, CheckedBatch, StoredBatch, TimestampType};
use pyralog_protocol::{LogOffset, Vlsn};

use crate::disk::Disk;
use crate::log::{AppendError, Appended, Log};
use crate::read::{ReadError, ReadSlice, step};
use crate::recovery::OpenError;
use crate::segment::SegmentError;
use crate::walk::{Found, Walk};
pub(crate) use segment::bytes_of;
use segment::damage;

/// Where a VLSN is in its partition.
#[derive(Debug)]
pub enum VlsnPlace<F> {
    /// If it was ever written, it is in this batch.
    Batch(ReadSlice<F>),
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

/// The VLSNs of a batch that is open, for neighbours to be found without opening it again.
struct Opened {
    header: BatchHeader,
    records: Vec<(Vlsn, LogOffset)>,
}

impl Opened {
    fn spans(&self, vlsn: Vlsn) -> bool {
        self.records.first().zip(self.records.last()).is_some_and(|(first, last)| (first.0..=last.0).contains(&vlsn))
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

    /// Where the record of a VLSN is, if it lies below `bound`.
    pub fn locate_vlsn(&mut self, vlsn: Vlsn, bound: LogOffset) -> Result<VlsnPlace<D::File>, ReadError> {
        self.check_online()?;
        self.holds_files = true;
        if self.meta.trimmed.is_some_and(|trimmed| vlsn <= trimmed) {
            return Ok(VlsnPlace::Trimmed);
        }
        let Some((at, found)) = self.find_batch(vlsn)? else { return Ok(VlsnPlace::Unwritten) };
        if found.header.last_offset() >= bound.0 {
            return Ok(VlsnPlace::Unwritten);
        }
        let Some(segment) = self.segments.get_mut(at) else { return Ok(VlsnPlace::Unwritten) };
        let file = segment.file(&self.env).map_err(ReadError::Io)?;
        Ok(VlsnPlace::Batch(ReadSlice { file, position: found.position, len: found.header.total_size() }))
    }

    /// An offset from which whole batches hold every VLSN that is not below `vlsn`; None if there is none yet.
    pub fn offset_of_vlsn(&mut self, vlsn: Vlsn) -> Result<Option<LogOffset>, ReadError> {
        self.check_online()?;
        self.holds_files = true;
        let found = self.find_batch(vlsn)?;
        Ok(found.map(|(_, found)| LogOffset(found.header.base_offset).max(self.log_start())))
    }

    /// The VLSN of the record at an offset; None at the log end.
    pub fn vlsn_at(&mut self, offset: LogOffset) -> Result<Option<Vlsn>, ReadError> {
        self.check_online()?;
        let Some((at, found)) = self.find_offset(offset)? else { return Ok(None) };
        let records = self.open_batch(at, &found)?.records;
        Ok(records.into_iter().find(|(_, there)| *there >= offset).map(|(vlsn, _)| vlsn))
    }

    /// After opening: the last VLSN, from the last segment that has one.
    pub(crate) fn find_last_vlsn(&mut self) -> Result<(), OpenError> {
        if !self.env.config.vlsn {
            return Ok(());
        }
        let (start, end) = (self.log_start(), self.log_end);
        for segment in self.segments.iter_mut().rev() {
            match segment.last_vlsn(&self.env) {
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
            let last = segment.last_vlsn(&self.env).map_err(|e| ReadError::of(base, e))?;
            let ends_above = crate::log::end_of_segment(&self.segments, base, self.log_end) > offset;
            let Some(segment) = self.segments.get_mut(at) else { continue };
            if ends_above && last.is_some() {
                let entry = segment.last_vlsn_where(&self.env, |e| i64::from(e.relative_offset) < wanted);
                let entry = entry.map_err(|e| ReadError::of(base, e))?;
                let Some(found) = self.batch_at(at, entry.position)? else { continue };
                let records = self.open_batch(at, &found)?.records;
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
        let mut opened: Option<Opened> = None;
        let mut ends: Option<Original> = None;
        let mut complete = true;
        let mut conflicts = Vec::with_capacity(batch.vlsns.len());
        for vlsn in batch.vlsns.iter().copied() {
            let conflict = match self.conflict_of(vlsn, last, &mut opened).map_err(append_error)? {
                Ok(offset) => {
                    let stamp = opened.as_ref().map_or(-1, |batch| appended_at(&batch.header));
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

    /// Where a VLSN is, or why it is not there.
    fn conflict_of(
        &mut self,
        vlsn: Vlsn,
        last: Vlsn,
        opened: &mut Option<Opened>,
    ) -> Result<Result<LogOffset, VlsnConflict>, ReadError> {
        if vlsn > last {
            return Ok(Err(VlsnConflict::Overlap { vlsn, last }));
        }
        if let Some(trimmed) = self.meta.trimmed.filter(|trimmed| vlsn <= *trimmed) {
            return Ok(Err(VlsnConflict::Trimmed { vlsn, trimmed }));
        }
        if !opened.as_ref().is_some_and(|batch| batch.spans(vlsn)) {
            *opened = match self.find_batch(vlsn)? {
                Some((at, found)) => Some(self.open_batch(at, &found)?),
                None => None,
            };
        }
        let offset = opened.as_ref().and_then(|batch| batch.offset_of(vlsn));
        Ok(offset.ok_or(VlsnConflict::Backwards { vlsn, last }))
    }

    /// The batch that has the smallest VLSN that is not below `vlsn`, with the place of its segment.
    fn find_batch(&mut self, vlsn: Vlsn) -> Result<Option<(usize, Found)>, ReadError> {
        if self.last_vlsn.is_none_or(|last| vlsn > last) {
            return Ok(None);
        }
        // Only the last segment may be empty; it has no VLSN to be compared with.
        let full = self.segments.len() - usize::from(self.segments.last().is_some_and(|s| s.size == 0));
        let (mut low, mut high) = (0, full);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(segment) = self.segments.get_mut(middle) else { break };
            let base = segment.base;
            match segment.last_vlsn(&self.env).map_err(|e| ReadError::of(base, e))? {
                Some(last) if last >= vlsn => high = middle,
                Some(_) | None => low = middle + 1,
            }
        }
        let Some(segment) = self.segments.get_mut(low) else { return Ok(None) };
        let base = segment.base;
        let entry = segment.last_vlsn_where(&self.env, |e| e.max_before < vlsn.offset());
        let entry = entry.map_err(|e| ReadError::of(base, e))?;
        Ok(self.batch_at(low, entry.position)?.map(|found| (low, found)))
    }

    /// The batch that holds an offset, with the place of its segment.
    fn find_offset(&mut self, offset: LogOffset) -> Result<Option<(usize, Found)>, ReadError> {
        if offset >= self.log_end {
            return Ok(None);
        }
        let at = self.segments.partition_point(|s| s.base <= offset).saturating_sub(1);
        let Some(segment) = self.segments.get_mut(at) else { return Ok(None) };
        let base = segment.base;
        let found = crate::read::locate(&self.env, segment, offset).map_err(|e| ReadError::of(base, e))?;
        Ok(found.map(|found| (at, found)))
    }

    /// The batch that begins at a byte of a segment.
    fn batch_at(&mut self, at: usize, position: u32) -> Result<Option<Found>, ReadError> {
        let Some(segment) = self.segments.get_mut(at) else { return Ok(None) };
        let (base, size) = (segment.base, segment.size);
        let file = segment.file(&self.env).map_err(ReadError::Io)?;
        step(&mut Walk::new(&*file, u64::from(position), size)).map_err(|e| ReadError::of(base, e))
    }

    fn open_batch(&mut self, at: usize, found: &Found) -> Result<Opened, ReadError> {
        let inflate_max = self.env.config.inflate_max_bytes;
        let Some(segment) = self.segments.get_mut(at) else {
            return Ok(Opened { header: found.header.clone(), records: Vec::new() });
        };
        let (base, position) = (segment.base, found.position);
        let file = segment.file(&self.env).map_err(ReadError::Io)?;
        let bytes = bytes_of(&*file, found).map_err(ReadError::Io)?;
        let read = || {
            let batch = StoredBatch::open(&bytes, inflate_max)?;
            let records = batch.records().map(|r| r.map(|r| (r.vlsn, r.offset))).collect::<Result<_, _>>()?;
            Ok(Opened { header: batch.header.clone(), records })
        };
        read().map_err(|error| ReadError::Damaged { segment: base, position, what: damage(&error) })
    }
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
