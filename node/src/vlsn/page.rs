//! Range reads: the records of a span of VLSNs in their order, from all partitions, with every gap named.
//! Holds: what a page says of `from..next` is complete and final; it stops before the first VLSN that is not decided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use pyralog_protocol::batch::{Codec, StoredBatch, StoredError, StoredRecord, ViewBatch};
use pyralog_protocol::{LeaderEpoch, LogOffset, PartitionIndex, Vlsn};
use pyralog_storage::{Disk, DiskFile, ReadError, ReadSlice};

use super::{LogBounds, VlsnError, VlsnLog};

/// A batch of a page is closed at so many bytes of records.
const BATCH_BYTES: usize = 256 << 10;
/// Fewest bytes that are read of a partition at once.
const READ_BYTES_MIN: usize = 16 << 10;
/// Most gaps that one page names.
pub const GAPS_MAX: usize = 1_000;

/// VLSNs from `start` up to, and not including, `end`.
pub type VlsnRange = Range<Vlsn>;

/// How much one page may hold.
#[derive(Clone, Copy, Debug)]
pub struct PageLimits {
    /// Bytes of records before compression; the first record comes whatever its size.
    pub bytes: usize,
    /// Records.
    pub records: usize,
    /// Whether gaps are wanted by name; at most [`GAPS_MAX`] of them fit.
    pub name_gaps: bool,
}

/// Some of a span of VLSNs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records as batches of the view, whose offsets are VLSNs. Empty if there are none.
    pub records: Bytes,
    /// How many.
    pub count: usize,
    /// VLSNs that will never come, in order.
    pub gaps: Vec<VlsnRange>,
    /// VLSNs that retention or a deletion took, or that lie among those, in order.
    pub trimmed: Vec<VlsnRange>,
    /// Where to go on: the span's end, or what the limits or the undecided VLSN left.
    pub next: Vlsn,
}

/// Bytes of one partition, and whether they go on behind.
struct Part {
    index: PartitionIndex,
    bytes: Bytes,
    more: bool,
    trimmed: Option<Vlsn>,
}

impl<D: Disk> VlsnLog<'_, D> {
    /// Reads on from the beginning of a span.
    pub fn page(&self, span: VlsnRange, limits: PageLimits, bounds: &LogBounds) -> Result<Page, VlsnError> {
        let parts = self.seek_page(&span, limits, bounds)?;
        self.page_of(parts, span, limits, bounds)
    }

    /// Where the records of a page are, with none of them read yet: for those who must not wait for the disk.
    pub(crate) fn seek_page(
        &self,
        span: &VlsnRange,
        limits: PageLimits,
        bounds: &LogBounds,
    ) -> Result<Vec<PagePart<D::File>>, VlsnError> {
        if span.start >= span.end.min(bounds.undecided) {
            return Ok(Vec::new());
        }
        self.seek_parts(span.start, limits, bounds)
    }

    /// The page from what [`Self::seek_page`] found for it.
    pub(crate) fn page_of(
        &self,
        parts: Vec<PagePart<D::File>>,
        span: VlsnRange,
        limits: PageLimits,
        bounds: &LogBounds,
    ) -> Result<Page, VlsnError> {
        let to = span.end.min(bounds.undecided);
        if span.start >= to || parts.is_empty() {
            return Ok(Page { next: span.start, ..Page::default() });
        }
        let parts = parts.into_iter().map(PagePart::read).collect::<Result<Vec<_>, _>>()?;
        let trimmed = parts.iter().map(|part| part.trimmed).collect();
        let mut page = Paged::new(self, (bounds.epoch, trimmed), span.start, limits);
        let inflate_max = self.inflate_max();
        let opened = parts.iter().map(|part| open_all(&part.bytes, inflate_max).map_err(|e| stored(part.index, e)));
        let opened = opened.collect::<Result<Vec<_>, _>>()?;
        let mut cursors: Vec<_> = opened.iter().map(|batches| batches.iter().flat_map(records_of)).collect();
        let mut heads: Vec<Option<(StoredRecord<'_>, Codec)>> = vec![None; cursors.len()];
        let mut order = BinaryHeap::with_capacity(cursors.len());
        // Where a partition ends whose bytes do not go as far as it does.
        let mut stop = to;
        let mut take = |at: usize, after: Vlsn, order: &mut BinaryHeap<Reverse<(Vlsn, usize)>>, heads: &mut Vec<_>| {
            let (Some(cursor), Some(part)) = (cursors.get_mut(at), parts.get(at)) else { return Ok(None) };
            for next in cursor.by_ref() {
                let next = next.map_err(|e| stored(part.index, e))?;
                if next.0.vlsn >= after {
                    order.push(Reverse((next.0.vlsn, at)));
                    if let Some(head) = heads.get_mut(at) {
                        *head = Some(next);
                    }
                    return Ok(None);
                }
            }
            Ok::<_, VlsnError>(part.more.then_some(after))
        };
        for (at, part) in parts.iter().enumerate() {
            let from = span.start.max(part.trimmed.map_or(Vlsn::ZERO, Vlsn::next));
            let cut = take(at, from, &mut order, &mut heads)?;
            stop = stop.min(cut.map_or(stop, |cut| self.routing.next_in(part.index, cut)));
        }
        while let Some(Reverse((vlsn, at))) = order.pop() {
            if vlsn >= stop {
                break;
            }
            let Some((record, codec)) = heads.get_mut(at).and_then(Option::take) else { break };
            if !page.add(&record, codec)? {
                stop = stop.min(page.from);
                break;
            }
            let cut = take(at, vlsn.next(), &mut order, &mut heads)?;
            stop = stop.min(cut.map_or(stop, |cut| self.routing.next_in(self.routing.partition(vlsn), cut)));
        }
        page.pass(stop);
        page.finish()
    }

    /// Where every partition goes on from a VLSN, about as many bytes of each as the page takes.
    fn seek_parts(
        &self,
        from: Vlsn,
        limits: PageLimits,
        bounds: &LogBounds,
    ) -> Result<Vec<PagePart<D::File>>, VlsnError> {
        let share = limits.bytes / self.partitions.len().max(1);
        let bytes = share.saturating_add(share / 4).max(READ_BYTES_MIN) as u64;
        let mut parts = Vec::with_capacity(self.partitions.len());
        for (partition, known) in self.partitions.iter().zip(&bounds.partitions) {
            let index = partition.index;
            let bound = known.bounds.high_watermark;
            // Together with where it begins now: what retention took since is no gap.
            let read = partition.with_log(|log, _| {
                let offset = log.offset_of_vlsn(from)?.filter(|offset| *offset < bound);
                let slice = offset.map(|offset| log.read(offset, bytes, true, bound)).transpose()?.flatten();
                Ok((slice, log.trimmed_vlsn()))
            });
            let read = read.map_err(|why| VlsnError::Refused { index, why })?;
            let (slice, trimmed) = read.map_err(|error| VlsnError::Read { index, error })?;
            parts.push(PagePart { index, slice, bound, trimmed });
        }
        Ok(parts)
    }
}

/// Where the records of one partition are.
pub(crate) struct PagePart<F> {
    index: PartitionIndex,
    pub slice: Option<ReadSlice<F>>,
    bound: LogOffset,
    trimmed: Option<Vlsn>,
}

impl<F: DiskFile> PagePart<F> {
    fn read(self) -> Result<Part, VlsnError> {
        let Self { index, slice, bound, trimmed } = self;
        let Some(slice) = slice else { return Ok(Part { index, bytes: Bytes::new(), more: false, trimmed }) };
        let bytes = slice.read().map_err(|error| VlsnError::Read { index, error: ReadError::Io(error) })?;
        let end = last_offset(&bytes).map_err(|error| stored(index, error))?;
        Ok(Part { index, bytes, more: end.0.saturating_add(1) < bound.0, trimmed })
    }
}

fn stored(index: PartitionIndex, error: StoredError) -> VlsnError {
    VlsnError::Stored { index, error }
}

/// Offset of the last record in whole batches.
fn last_offset(mut bytes: &[u8]) -> Result<LogOffset, StoredError> {
    let mut last = LogOffset::ZERO;
    while !bytes.is_empty() {
        let header = pyralog_protocol::batch::BatchHeader::parse(bytes)?;
        last = LogOffset(header.last_offset());
        bytes = bytes.get(header.total_size()..).unwrap_or_default();
    }
    Ok(last)
}

fn open_all(mut bytes: &[u8], inflate_max: usize) -> Result<Vec<StoredBatch<'_>>, StoredError> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let batch = StoredBatch::open(bytes, inflate_max)?;
        bytes = bytes.get(batch.header.total_size()..).unwrap_or_default();
        batches.push(batch);
    }
    Ok(batches)
}

fn records_of<'b>(
    batch: &'b StoredBatch<'_>,
) -> impl Iterator<Item = Result<(StoredRecord<'b>, Codec), StoredError>> + use<'b> {
    let codec = batch.header.codec().unwrap_or(Codec::None);
    batch.records().map(move |record| record.map(|record| (record, codec)))
}

/// A page in the making.
struct Paged<'a, 't, D: Disk> {
    log: &'a VlsnLog<'t, D>,
    epoch: LeaderEpoch,
    /// The largest trimmed VLSN of each partition.
    trimmed: Vec<Option<Vlsn>>,
    limits: PageLimits,
    /// Everything below is told.
    from: Vlsn,
    page: Page,
    out: BytesMut,
    bytes: usize,
    batch: Option<ViewBatch>,
}

impl<'a, 't, D: Disk> Paged<'a, 't, D> {
    fn new(
        log: &'a VlsnLog<'t, D>,
        (epoch, trimmed): (LeaderEpoch, Vec<Option<Vlsn>>),
        from: Vlsn,
        limits: PageLimits,
    ) -> Self {
        Self { log, epoch, trimmed, limits, from, page: Page::default(), out: BytesMut::new(), bytes: 0, batch: None }
    }

    /// Adds the next record, and what is missing before it. False: the page is full.
    fn add(&mut self, record: &StoredRecord<'_>, codec: Codec) -> Result<bool, VlsnError> {
        let limits = self.limits;
        let size = record.record.bytes.len();
        let full = self.page.count >= limits.records || self.bytes.saturating_add(size) > limits.bytes;
        if (full && self.page.count > 0) || limits.records == 0 {
            return Ok(false);
        }
        self.pass(record.vlsn);
        if self.from < record.vlsn {
            return Ok(false);
        }
        if self.batch.as_ref().is_some_and(|batch| batch.len() >= BATCH_BYTES || !batch.takes(record.vlsn, codec)) {
            self.close_batch(record)?;
        }
        let epoch = self.epoch;
        self.batch.get_or_insert_with(|| ViewBatch::new(record.vlsn, epoch, codec)).push(record);
        self.page.count += 1;
        self.bytes += size;
        self.from = record.vlsn.next();
        Ok(true)
    }

    fn close_batch(&mut self, at: &StoredRecord<'_>) -> Result<(), VlsnError> {
        let index = self.log.routing.partition(at.vlsn);
        match self.batch.take() {
            Some(batch) => batch.finish(&mut self.out).map_err(|error| stored(index, error.into())),
            None => Ok(()),
        }
    }

    /// Nothing is there up to `to`: tells why, as far as one page may.
    fn pass(&mut self, to: Vlsn) {
        if !self.limits.name_gaps {
            self.from = self.from.max(to);
        }
        while self.from < to && self.page.gaps.len() + self.page.trimmed.len() < GAPS_MAX {
            let trimmed = self.is_trimmed(self.from);
            let end = self.same_fate(self.from, trimmed).min(to);
            let list = if trimmed { &mut self.page.trimmed } else { &mut self.page.gaps };
            list.push(self.from..end);
            self.from = end;
        }
    }

    fn is_trimmed(&self, vlsn: Vlsn) -> bool {
        let index = usize::try_from(self.log.routing.partition(vlsn).0).ok();
        let trimmed = index.and_then(|index| *self.trimmed.get(index)?);
        trimmed.is_some_and(|trimmed| vlsn <= trimmed)
    }

    /// The first VLSN above that is trimmed where this one is not, or the other way round.
    fn same_fate(&self, vlsn: Vlsn, trimmed: bool) -> Vlsn {
        let mut end = Vlsn::MAX.next();
        for (index, trimmed_to) in (0..).map(PartitionIndex).zip(&self.trimmed) {
            let kept_from = trimmed_to.map_or(Vlsn::ZERO, Vlsn::next);
            let next = match trimmed {
                true => self.log.routing.next_in(index, vlsn.max(kept_from)),
                false => Some(self.log.routing.next_in(index, vlsn)).filter(|v| *v < kept_from).unwrap_or(end),
            };
            end = end.min(next);
        }
        end
    }

    fn finish(mut self) -> Result<Page, VlsnError> {
        if let Some(batch) = self.batch.take() {
            batch.finish(&mut self.out).map_err(|error| stored(PartitionIndex(0), error.into()))?;
        }
        Ok(Page { records: self.out.freeze(), next: self.from, ..self.page })
    }
}
