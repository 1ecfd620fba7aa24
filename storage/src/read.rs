//! Reading: file ranges of whole batches, and look-ups by time.
//!
//! Holds: nothing at or above the bound that is given, nothing below the log start, and never half a batch. One call
//! answers from one segment; the next one goes on in the next.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use pyralog_protocol::batch::{Records, StoredBatch, TimestampType};
use pyralog_protocol::{ErrorCode, LeaderEpoch, LogOffset};

use crate::disk::{Disk, DiskFile, Patience, read_full};
use crate::epochs::Epochs;
use crate::log::{Log, Offline, end_of_segment};
use crate::segment::{Segment, SegmentError};
use crate::vlsn::bytes_with;
use crate::walk::{Found, Walk, is_in_order};

/// Whole batches in a file. The range stays readable after retention removed the segment.
pub struct ReadSlice<F> {
    /// The segment's file.
    pub file: Arc<F>,
    /// First byte.
    pub position: u64,
    /// Number of bytes, at least one batch.
    pub len: usize,
}

impl<F> std::fmt::Debug for ReadSlice<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadSlice({}+{})", self.position, self.len)
    }
}

impl<F> Clone for ReadSlice<F> {
    fn clone(&self) -> Self {
        Self { file: self.file.clone(), position: self.position, len: self.len }
    }
}

impl<F: DiskFile> ReadSlice<F> {
    /// Reads the range if that need not wait for the disk. None says no more than that it is to be read by [`Self::read`].
    pub fn read_cached(&self) -> io::Result<Option<Bytes>> {
        let mut buffer = vec![0; self.len];
        let cached = self.file.read_cached_at(&mut buffer, self.position)?;
        Ok(cached.then(|| buffer.into()))
    }

    /// Reads the range. Blocks; needs no log. A range that has become shorter is an error.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut buffer = vec![0; self.len];
        self.read_into(&mut buffer)?;
        Ok(buffer.into())
    }

    /// The same into a buffer, as far as that goes.
    pub fn read_into(&self, buffer: &mut [u8]) -> io::Result<()> {
        let wanted = self.len.min(buffer.len());
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        if read_full(&*self.file, buffer, self.position)? < wanted {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(())
    }
}

/// Why a read or look-up was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Below the log start or above the log end (F3).
    #[error("offset {offset} is not in {start}..={end}")]
    OutOfRange {
        /// The offset asked for.
        offset: LogOffset,
        /// Log start.
        start: LogOffset,
        /// Log end.
        end: LogOffset,
    },
    /// What is on disk is not what was written (IO-07). Served to nobody.
    #[error("segment {segment} is damaged at byte {position}: {what}")]
    Damaged {
        /// Base offset of the segment.
        segment: LogOffset,
        /// Byte position.
        position: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// The disk failed.
    #[error("{0}")]
    Io(io::Error),
    /// See [`Offline`].
    #[error(transparent)]
    Offline(#[from] Offline),
}

impl ReadError {
    /// Whether no more is wrong than that the disk, or an index, would have had to be waited for, and must not be: see
    /// [`Patience`](crate::Patience).
    pub fn would_wait(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether something is wrong here, and not with what was asked for.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::OutOfRange { .. } => false,
            Self::Damaged { .. } | Self::Io(_) | Self::Offline(_) => !self.would_wait(),
        }
    }

    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Damaged { .. } | Self::Io(_) | Self::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }

    pub(crate) fn of(segment: LogOffset, error: SegmentError) -> Self {
        match error {
            SegmentError::Io(error) => Self::Io(error),
            SegmentError::Damaged { position, what } => Self::Damaged { segment, position, what },
        }
    }
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its offset.
    pub offset: LogOffset,
    /// Its timestamp, ms since 1970.
    pub timestamp: i64,
    /// Epoch of its batch.
    pub epoch: LeaderEpoch,
}

impl<D: Disk> Log<D> {
    /// Whole batches from the one that contains `offset` on (F1, IO-17): at most `max_bytes`, or the first batch alone
    /// if `min_one_batch` and it is larger (F5); only batches that end below `bound`. None: there is nothing (F2).
    pub fn read(
        &mut self,
        offset: LogOffset,
        max_bytes: u64,
        min_one_batch: bool,
        bound: LogOffset,
    ) -> Result<Option<ReadSlice<D::File>>, ReadError> {
        self.check_online()?;
        self.holds_files = true;
        let (start, end) = (self.log_start(), self.log_end);
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        let Some((at, limits)) = self.limits_at(offset, max_bytes, min_one_batch, bound) else { return Ok(None) };
        let Some(segment) = self.segments.get_mut(at) else { return Ok(None) };
        let (base, cleaned_end) = (segment.base, self.meta.cleaned_end);
        let first = locate(&self.env, segment, offset, cleaned_end).map_err(|e| ReadError::of(base, e))?;
        let first = self.epochs.check(first, offset, cleaned_end).map_err(|e| ReadError::of(base, e))?;
        extent(&self.env, segment, &first, &limits).map_err(|e| ReadError::of(base, e))
    }

    /// The place of the segment that a read begins in, and how far it goes there. None: there is nothing.
    pub(crate) fn limits_at(
        &self,
        offset: LogOffset,
        max_bytes: u64,
        min_one_batch: bool,
        bound: LogOffset,
    ) -> Option<(usize, Limits)> {
        let bound = bound.min(self.log_end);
        let at = self.segments.partition_point(|s| s.base <= offset).saturating_sub(1);
        let base = self.segments.get(at).map(|s| s.base).filter(|_| offset < bound)?;
        let segment_end = end_of_segment(&self.segments, base, self.log_end);
        Some((at, Limits { max_bytes, min_one_batch, bound, segment_end }))
    }

    /// Bytes of the segments behind the one that holds `offset`: what a read that ends with that one leaves.
    pub fn bytes_behind_segment_of(&self, offset: LogOffset) -> u64 {
        let next = self.segments.partition_point(|s| s.base <= offset);
        self.segments.iter().skip(next).map(|s| s.size).sum()
    }

    /// The first record in [log start, bound) whose own timestamp is at least `timestamp`, found inside its batch (L5,
    /// IO-15). A damaged batch answers with its own first offset, or the log start in the middle of it.
    pub fn offset_for_timestamp(
        &mut self,
        timestamp: i64,
        bound: LogOffset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        self.check_online()?;
        self.holds_files = true;
        let range = self.log_start()..bound.min(self.log_end);
        for segment in self.segments.iter_mut().filter(|s| s.base < range.end) {
            let base = segment.base;
            let error = |e| ReadError::of(base, e);
            if segment.max_timestamp(&self.env).map_err(error)? < timestamp {
                continue;
            }
            let hint = segment.last_where(&self.env, |e| e.max_before < timestamp).map_err(error)?;
            let file = segment.file(&self.env).map_err(ReadError::Io)?;
            let mut walk = Walk::new(&*file, u64::from(hint.position), segment.size).with(self.env.patience);
            while let Some(found) = step(&mut walk).map_err(error)? {
                if found.header.base_offset >= range.end.0 {
                    return Ok(None);
                }
                if found.header.max_timestamp < timestamp || found.header.last_offset() < range.start.0 {
                    continue;
                }
                let mut first = None;
                let fits = |t: &TimestampOffset| t.timestamp >= timestamp && range.contains(&t.offset);
                let shown = each_stamp((&*file, self.env.patience), &found, range.start, |record| {
                    first = Some(record).filter(fits);
                    first.is_none()
                });
                shown.map_err(ReadError::Io)?;
                if first.is_some() {
                    return Ok(first);
                }
            }
        }
        Ok(None)
    }
}

impl Epochs {
    /// IO-07: a batch that a misdirected write put here, or that stands where others are missing, is not the one that
    /// was asked for. Holes are legal in front of batches below `cleaned_end` (IO-19).
    fn check(&self, found: Option<Found>, offset: LogOffset, cleaned_end: LogOffset) -> Result<Found, SegmentError> {
        let Some(found) = found.filter(|f| f.header.base_offset <= offset.0 || f.header.base_offset < cleaned_end.0)
        else {
            return Err(SegmentError::Damaged { position: 0, what: "records are missing" });
        };
        match self.at(LogOffset(found.header.base_offset)) {
            Some(epoch) if epoch.0 != found.header.leader_epoch => {
                Err(SegmentError::Damaged { position: found.position, what: "another leader epoch" })
            }
            Some(_) | None => Ok(found),
        }
    }
}

/// How far a read goes in a segment.
pub(crate) struct Limits {
    max_bytes: u64,
    min_one_batch: bool,
    bound: LogOffset,
    /// Offset after the segment's last record.
    segment_end: LogOffset,
}

/// The first batch of the segment that ends at or above `offset`. No checksum covers base offsets: where one does not follow the
/// batch before, it may be another one's (IO-07).
pub(crate) fn locate<D: Disk>(
    env: &crate::segment::Env<D>,
    segment: &mut Segment<D::File>,
    offset: LogOffset,
    cleaned_end: LogOffset,
) -> Result<Option<Found>, SegmentError> {
    let wanted = offset.0.saturating_sub(segment.base.0);
    let (hint, mut first) = segment.batch_where(env, |e| i64::from(e.relative_offset) <= wanted)?;
    let file = segment.file(env)?;
    let begin = first.as_ref().map_or(u64::from(hint.position), Found::end);
    let mut walk = Walk::new(&*file, begin, segment.size).with(env.patience);
    let mut next = segment.base.0.saturating_add(i64::from(hint.relative_offset));
    while let Some(found) = first.take().map_or_else(|| step(&mut walk), |first| Ok(Some(first)))? {
        if !is_in_order(found.header.base_offset, next, cleaned_end) {
            return Err(SegmentError::Damaged { position: found.position, what: "offset out of order" });
        }
        next = found.header.last_offset().saturating_add(1);
        if next > offset.0 {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// How far a read that begins with `first` goes.
pub(crate) fn extent<D: Disk>(
    env: &crate::segment::Env<D>,
    segment: &mut Segment<D::File>,
    first: &Found,
    limits: &Limits,
) -> Result<Option<ReadSlice<D::File>>, SegmentError> {
    if first.header.last_offset() >= limits.bound.0 {
        return Ok(None);
    }
    let stop = first.position.saturating_add(limits.max_bytes);
    let mut end = if limits.min_one_batch || first.end() <= stop { first.end() } else { first.position };
    if limits.bound >= limits.segment_end && stop >= segment.size {
        end = segment.size;
    } else if end <= stop {
        let wanted = limits.bound.0.saturating_sub(segment.base.0);
        let within = |e: &crate::index::Entry| u64::from(e.position) <= stop && i64::from(e.relative_offset) <= wanted;
        // Everything before an index entry that lies within both limits does so too: only the rest is walked.
        end = end.max(u64::from(segment.last_where(env, within)?.position));
        let file = segment.file(env)?;
        let mut walk = Walk::new(&*file, end, segment.size).with(env.patience);
        while let Some(found) = step(&mut walk)? {
            if found.end() > stop || found.header.last_offset() >= limits.bound.0 {
                break;
            }
            end = found.end();
        }
    }
    let len = usize::try_from(end - first.position).unwrap_or(usize::MAX);
    let file = segment.file(env)?;
    Ok((len > 0).then_some(ReadSlice { file, position: first.position, len }))
}

pub(crate) fn step<F: DiskFile>(walk: &mut Walk<'_, F>) -> Result<Option<Found>, SegmentError> {
    let position = walk.position();
    walk.next().map_err(|stop| SegmentError::at(position, stop))
}

/// Shows offset and timestamp of each record of a batch, as long as `show` says to go on. If it is damaged, or all of it has
/// one time: one, for the batch as a whole, at its first offset from `start` on.
pub(crate) fn each_stamp<F: DiskFile>(
    (file, patience): (&F, Patience),
    found: &Found,
    start: LogOffset,
    mut show: impl FnMut(TimestampOffset) -> bool,
) -> io::Result<()> {
    let header = &found.header;
    let epoch = LeaderEpoch(header.leader_epoch);
    let complete = i64::from(header.record_count) == i64::from(header.last_offset_delta) + 1;
    if header.timestamp_type() == TimestampType::CreateTime || !complete {
        let bytes = bytes_with(file, found, patience)?;
        if let Ok(batch) = StoredBatch::open(&bytes) {
            let base = batch.base();
            // They were looked at when they were taken: where the checksum fits, none is an error.
            for record in Records::new(batch.payload()).map_while(Result::ok) {
                let offset = LogOffset(base.offset.0.saturating_add(i64::from(record.offset_delta)));
                let timestamp = base.timestamp(record.timestamp_delta);
                if !show(TimestampOffset { offset, timestamp, epoch }) {
                    break;
                }
            }
            return Ok(());
        }
    }
    show(TimestampOffset { offset: LogOffset(header.base_offset).max(start), timestamp: header.max_timestamp, epoch });
    Ok(())
}
