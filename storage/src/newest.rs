//! The record with the largest timestamp of a log.
//!
//! Every segment knows the largest one of its batches, and its index how it rose: so no more is read than headers between
//! two entries of the index and the batch itself, however large the log is and even if every record is newer than the one
//! before. The headers of a segment are walked only where the index cannot tell: of the one in which the log begins, if its newest
//! record was deleted, and of one in which an empty batch, that compaction left, has the largest timestamp.

use std::ops::Range;

use pyralog_protocol::LogOffset;

use crate::disk::{Disk, DiskFile, Patience};
use crate::index::Entry;
use crate::log::{Log, end_of_segment};
use crate::read::{ReadError, TimestampOffset, each_stamp, step};
use crate::segment::{Env, Segment, SegmentError};
use crate::walk::{Found, Walk};

/// The newest record found so far, and where it may be.
struct Newest {
    range: Range<LogOffset>,
    best: Option<TimestampOffset>,
}

impl<D: Disk> Log<D> {
    /// The record with the largest timestamp in [log start, bound), the first of equals (L2); None if there is no
    /// record, also when all were deleted (L10). Records without timestamp count as -1 (L6).
    pub fn max_timestamp(&mut self, bound: LogOffset) -> Result<Option<TimestampOffset>, ReadError> {
        self.check_online()?;
        self.holds_files = true;
        let range = self.log_start()..bound.min(self.log_end);
        let mut newest = Newest { range, best: None };
        for (max, at) in self.segments_by_newest(&newest.range)? {
            let Some(base) = self.segments.get(at).map(|s| s.base) else { continue };
            if !newest.is_over(max, base.max(newest.range.start)) {
                continue;
            }
            let end = end_of_segment(&self.segments, base, self.log_end);
            let Some(segment) = self.segments.get_mut(at) else { continue };
            newest.look_into(segment, &self.env, end, max).map_err(|e| ReadError::of(base, e))?;
        }
        Ok(newest.best)
    }

    /// The segments that reach into the range, with the largest timestamp that any of their batches has: that one first, the
    /// earlier one of equals.
    fn segments_by_newest(&mut self, range: &Range<LogOffset>) -> Result<Vec<(i64, usize)>, ReadError> {
        let first = self.segments.partition_point(|s| s.base <= range.start).saturating_sub(1);
        let mut found = Vec::new();
        for (at, segment) in self.segments.iter_mut().enumerate().skip(first).filter(|(_, s)| s.base < range.end) {
            let base = segment.base;
            found.push((segment.max_timestamp(&self.env).map_err(|e| ReadError::of(base, e))?, at));
        }
        found.sort_by_key(|(max, at)| (std::cmp::Reverse(*max), *at));
        Ok(found)
    }
}

impl Newest {
    /// Whether a record with this timestamp at this offset or behind it may be the one.
    fn is_over(&self, timestamp: i64, offset: LogOffset) -> bool {
        self.best.is_none_or(|b| timestamp > b.timestamp || (timestamp == b.timestamp && offset < b.offset))
    }

    /// Looks into a segment that ends at `end`, whose batches have `max` at most.
    fn look_into<D: Disk>(
        &mut self,
        segment: &mut Segment<D::File>,
        env: &Env<D>,
        end: LogOffset,
        max: i64,
    ) -> Result<(), SegmentError> {
        let base = segment.base;
        let below = |offset: LogOffset| move |e: &Entry| i64::from(e.relative_offset) <= offset.0 - base.0;
        let first = match self.range.start > base {
            true => segment.last_where(env, below(self.range.start))?,
            false => Entry::START,
        };
        let (mut max, mut tail) = (max, None);
        if self.range.end < end {
            // What the index says of all before an entry below the bound is so, and the rest is little.
            let last = segment.last_where(env, below(self.range.end))?;
            (max, tail) = (last.max_before, Some(u64::from(last.position)));
        }
        if first.max_before >= max && first.position > 0 {
            // That one is not in the log any more, and of the others the index says nothing.
            return self.walk(segment, env, u64::from(first.position));
        }
        if max > i64::MIN && self.is_over(max, base) {
            let from = segment.last_where(env, |e| e.max_before < max)?;
            let file = segment.file(env)?;
            let mut walk = Walk::new(&*file, u64::from(from.position), segment.size).with(env.patience);
            let found = self.next_where(&mut walk, |time| time >= max)?;
            let taken = found.map(|found| self.take((&*file, env.patience), &found)).transpose()?.flatten();
            if taken < Some(max) {
                return self.walk(segment, env, u64::from(first.position));
            }
        }
        tail.map_or(Ok(()), |tail| self.walk(segment, env, tail))
    }

    /// Looks at the headers of all batches from a position on, and into the one with the largest timestamp. Those at the ends of
    /// the range may have it of a record that is not in there: they are looked into as well, where they would be the one.
    fn walk<D: Disk>(
        &mut self,
        segment: &mut Segment<D::File>,
        env: &Env<D>,
        position: u64,
    ) -> Result<(), SegmentError> {
        let file = segment.file(env)?;
        let (mut largest, mut cut): (Option<Found>, _) = (None, Vec::new());
        let mut walk = Walk::new(&*file, position, segment.size).with(env.patience);
        while let Some(found) = self.next_where(&mut walk, |_| true)? {
            if found.header.base_offset < self.range.start.0 || found.header.last_offset() >= self.range.end.0 {
                cut.push(found);
            } else if largest.as_ref().is_none_or(|l| found.header.max_timestamp > l.header.max_timestamp) {
                largest = Some(found);
            }
        }
        for found in largest.into_iter().chain(cut) {
            if self.is_over(found.header.max_timestamp, LogOffset(found.header.base_offset)) {
                self.take((&*file, env.patience), &found)?;
            }
        }
        Ok(())
    }

    /// The next batch of the range that has records, as far as its header says, and whose largest timestamp is wanted.
    fn next_where<F: DiskFile>(
        &self,
        walk: &mut Walk<'_, F>,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<Option<Found>, SegmentError> {
        while let Some(found) = step(walk)? {
            if found.header.base_offset >= self.range.end.0 {
                break;
            }
            let header = &found.header;
            if header.record_count > 0 && header.last_offset() >= self.range.start.0 && wanted(header.max_timestamp) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Looks at the records of a batch, and tells the largest timestamp among them.
    fn take<F: DiskFile>(&mut self, file: (&F, Patience), found: &Found) -> Result<Option<i64>, SegmentError> {
        let mut largest = None;
        let start = self.range.start;
        each_stamp(file, found, start, |record| {
            if self.range.contains(&record.offset) {
                largest = largest.max(Some(record.timestamp));
                if self.is_over(record.timestamp, record.offset) {
                    self.best = Some(record);
                }
            }
            true
        })?;
        Ok(largest)
    }
}
