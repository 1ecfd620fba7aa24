//! Range reads: the records of a span of VLSNs in their order, from all partitions, with every gap named.
//! Holds: what a page says of `from..next` is complete and final; it stops before the first VLSN that is not decided, and before
//! what cannot be read: that is told by the page that begins there.

use std::ops::Range;

use bytes::Bytes;
use pyralog_protocol::batch::{StoredError, ViewBatches};
use pyralog_protocol::{LeaderEpoch, LogOffset, PartitionIndex, Routing, Vlsn};
use pyralog_storage::{Disk, DiskFile, Patience, VlsnRun};

use super::cursor::{Cursor, Head};
use super::{LogBounds, VlsnError, VlsnLog};
use crate::lookup::Lookup;
use crate::outputs::Warm;

/// Fewest bytes that are read of a partition at once.
const READ_BYTES_MIN: usize = 16 << 10;
/// Most gaps that one page names.
pub const GAPS_MAX: usize = 1_000;
/// What [`PageLimits::held`] is for whoever has no reason for something else.
pub const HELD_BYTES: usize = 32 << 20;

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
    /// Bytes of batches that are held while the page is put together, of all partitions, besides the batch that is read:
    /// what large batches have beyond is opened again.
    pub held: usize,
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

impl<D: Disk> VlsnLog<'_, D> {
    /// Reads on from the beginning of a span.
    pub fn page(&self, span: VlsnRange, limits: PageLimits, bounds: &LogBounds) -> Result<Page, VlsnError> {
        match self.seek_page(&span, limits, bounds, Patience::Waits)? {
            PageParts::There(parts) => self.page_of(parts, span, limits, bounds),
            PageParts::Cold(_) => Ok(Page { next: span.start, ..Page::default() }),
        }
    }

    /// Where the records of a page are, with none of them read yet. Without patience all of them are in the page cache.
    pub(crate) fn seek_page(
        &self,
        span: &VlsnRange,
        limits: PageLimits,
        bounds: &LogBounds,
        patience: Patience,
    ) -> Result<PageParts<D>, VlsnError> {
        if span.start >= span.end.min(bounds.undecided) {
            return Ok(PageParts::There(Vec::new()));
        }
        let found = self.seek_parts(span.start, limits, bounds, patience)?;
        if let (PageParts::There(parts), Patience::Hurries) = (&found, patience) {
            let slices = parts.iter().filter_map(|part| part.run.as_ref()).map(|run| &run.slice);
            let cold = slices.filter(|slice| !slice.file.is_cached(slice.position, slice.len));
            let ranges: Vec<_> = cold.map(super::range_of).collect();
            if !ranges.is_empty() {
                return Ok(PageParts::Cold(Warm { ranges, ..Warm::default() }));
            }
        }
        Ok(found)
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
        let bytes = parts.iter().filter_map(|part| part.run.as_ref()).map(|run| run.slice.len).sum();
        let trimmed = parts.iter().map(|part| part.trimmed).collect();
        let mut page = Paged::new(self, (bounds.epoch, trimmed), span.start, limits, bytes);
        let mut merge = Merge::of(parts, self.routing, (to, limits.held));
        // VLSNs go round the partitions.
        let mut likely = usize::try_from(self.routing.partition(span.start).0).unwrap_or(0);
        while let Some((at, cursor, head)) = merge.next(likely, page.from) {
            if !page.add(cursor, head)? || page.has_all() {
                merge.stop = merge.stop.min(page.from);
                break;
            }
            merge.advance(at, page.from);
            likely = at + 1;
        }
        if let Some((_, error)) = merge.unread.filter(|(at, _)| *at <= span.start) {
            return Err(error);
        }
        page.pass(merge.stop);
        page.finish()
    }

    /// Where every partition goes on from a VLSN, about as many bytes of each as the page takes.
    fn seek_parts(
        &self,
        from: Vlsn,
        limits: PageLimits,
        bounds: &LogBounds,
        patience: Patience,
    ) -> Result<PageParts<D>, VlsnError> {
        let share = limits.bytes / self.partitions.len().max(1);
        let bytes = share.saturating_add(share / 4).max(READ_BYTES_MIN) as u64;
        let mut parts = Vec::with_capacity(self.partitions.len());
        let mut lookups = Vec::new();
        for (partition, known) in self.partitions.iter().zip(&bounds.partitions) {
            let index = partition.index;
            let bound = known.bounds.high_watermark;
            // Together with where it begins now: what retention took since is no gap.
            let read = partition
                .look_up(patience, |log, _| match log.read_vlsns(from, bytes, bound, patience) {
                    Err(error) if error.would_wait() => Err(error),
                    run => Ok((run, log.trimmed_vlsn())),
                })
                .map_err(|why| VlsnError::Refused { index, why })?;
            match read {
                Ok((run, trimmed)) => {
                    let (run, unread) = match run {
                        Ok(run) => (run, None),
                        Err(error) => (None, Some(VlsnError::Read { index, error })),
                    };
                    parts.push(PagePart { index, run, unread, bound, trimmed });
                }
                Err(_) if patience != Patience::Waits => lookups.push(Lookup::of_vlsns(partition, from, bytes)),
                Err(error) => return Err(VlsnError::Read { index, error }),
            }
        }
        if lookups.is_empty() {
            return Ok(PageParts::There(parts));
        }
        Ok(PageParts::Cold(Warm { lookups, ..Warm::default() }))
    }
}

/// Where the records of a page are.
pub(crate) enum PageParts<D: Disk> {
    /// In these ranges of each partition.
    There(Vec<PagePart<D::File>>),
    /// That, or the records, has to come from the disk first.
    Cold(Warm<D>),
}

/// Where the records of one partition are.
pub(crate) struct PagePart<F> {
    index: PartitionIndex,
    run: Option<VlsnRun<F>>,
    /// Why they could not be looked for: told where they come up.
    unread: Option<VlsnError>,
    bound: LogOffset,
    trimmed: Option<Vlsn>,
}

/// A partition in a page.
struct Source<F> {
    cursor: Cursor<F>,
    head: Option<Head>,
    /// Why there is nothing in the cursor.
    unread: Option<VlsnError>,
    bound: LogOffset,
    /// Everything below was trimmed.
    kept_from: Vlsn,
    /// Its head was looked for.
    begun: bool,
}

/// The place of a partition, and its cursor at this record.
type Next<'a, F> = (usize, &'a mut Cursor<F>, &'a Head);

/// The partitions of a page.
struct Merge<'r, F> {
    sources: Vec<Source<F>>,
    routing: &'r Routing,
    /// Sources that were not looked at. What they have is not below the VLSNs that are theirs.
    unbegun: usize,
    /// Where the page ends at the latest: with its span, or before a partition goes on whose bytes do not go as far, or cannot be
    /// read.
    stop: Vlsn,
    /// The first VLSN that a partition may have in what cannot be read of it, and why it cannot.
    unread: Option<(Vlsn, VlsnError)>,
}

impl<'r, F: DiskFile> Merge<'r, F> {
    fn of(parts: Vec<PagePart<F>>, routing: &'r Routing, (stop, held): (Vlsn, usize)) -> Self {
        let share = held / parts.iter().filter(|part| part.run.is_some()).count().max(1);
        let source = |part: PagePart<F>| Source {
            cursor: Cursor::new(part.index, part.run, share),
            head: None,
            unread: part.unread,
            bound: part.bound,
            kept_from: part.trimmed.map_or(Vlsn::ZERO, Vlsn::next),
            begun: false,
        };
        let sources: Vec<_> = parts.into_iter().map(source).collect();
        Self { unbegun: sources.len(), sources, routing, stop, unread: None }
    }

    /// Goes on in a partition, to its first record that is not below `from`.
    fn advance(&mut self, at: usize, from: Vlsn) {
        let Some(Source { cursor, head, unread, bound, kept_from, begun }) = self.sources.get_mut(at) else { return };
        self.unbegun -= usize::from(!std::mem::replace(begun, true));
        let from = from.max(*kept_from);
        match unread.take().map_or_else(|| cursor.next(from), Err) {
            Ok(next) => {
                *head = next;
                if head.is_none() && cursor.last_offset().is_some_and(|last| last.saturating_add(1) < bound.0) {
                    self.stop = self.stop.min(self.routing.next_in(cursor.index, from));
                }
            }
            Err(error) => {
                *head = None;
                let unread = self.routing.next_in(cursor.index, from);
                self.stop = self.stop.min(unread);
                if self.unread.as_ref().is_none_or(|(before, _)| unread < *before) {
                    self.unread = Some((unread, error));
                }
            }
        }
    }

    fn begin(&mut self, at: usize, from: Vlsn) {
        if self.sources.get(at).is_some_and(|source| !source.begun) {
            self.advance(at, from);
        }
    }

    /// The smallest VLSN below the end. After `from`, the `likely` partition mostly has it, and then no other can have a
    /// smaller one, and none has to be looked at.
    fn next(&mut self, likely: usize, from: Vlsn) -> Option<Next<'_, F>> {
        if from >= self.stop {
            return None;
        }
        let likely = if likely < self.sources.len() { likely } else { 0 };
        self.begin(likely, from);
        let headed = |(at, source): (usize, &'_ Source<F>)| source.head.as_ref().map(|head| (head.vlsn, at));
        let guess = self.sources.get(likely).and_then(|source| headed((likely, source)));
        let mut first = guess.filter(|(vlsn, _)| *vlsn == from);
        if first.is_none() {
            if self.unbegun > 0 {
                (0..self.sources.len()).for_each(|at| self.begin(at, from));
            }
            first = self.sources.iter().enumerate().filter_map(headed).min();
        }
        let (_, at) = first.filter(|(vlsn, _)| *vlsn < self.stop)?;
        let Some(Source { cursor, head: Some(head), .. }) = self.sources.get_mut(at) else { return None };
        Some((at, cursor, head))
    }
}

fn stored(index: PartitionIndex, error: StoredError) -> VlsnError {
    VlsnError::Stored { index, error }
}

/// A page in the making.
struct Paged<'a, 't, D: Disk> {
    log: &'a VlsnLog<'t, D>,
    /// The largest trimmed VLSN of each partition.
    trimmed: Vec<Option<Vlsn>>,
    limits: PageLimits,
    /// Everything below is told.
    from: Vlsn,
    page: Page,
    out: ViewBatches,
    bytes: usize,
}

impl<'a, 't, D: Disk> Paged<'a, 't, D> {
    fn new(
        log: &'a VlsnLog<'t, D>,
        (epoch, trimmed): (LeaderEpoch, Vec<Option<Vlsn>>),
        from: Vlsn,
        limits: PageLimits,
        there: usize,
    ) -> Self {
        let room = limits.bytes.min(there);
        let out = ViewBatches::new(epoch, room + room / 8);
        Self { log, trimmed, limits, from, page: Page::default(), out, bytes: 0 }
    }

    /// Adds the next record, and what is missing before it. False: the page is full.
    fn add<F: DiskFile>(&mut self, cursor: &mut Cursor<F>, head: &Head) -> Result<bool, VlsnError> {
        let limits = self.limits;
        let full = self.has_all() || self.bytes.saturating_add(head.size) > limits.bytes;
        if (full && self.page.count > 0) || limits.records == 0 {
            return Ok(false);
        }
        self.pass(head.vlsn);
        if self.from < head.vlsn {
            return Ok(false);
        }
        let index = cursor.index;
        self.out.push(&cursor.record(head)?, head.codec).map_err(|error| stored(index, error.into()))?;
        self.page.count += 1;
        self.bytes += head.size;
        self.from = head.vlsn.next();
        Ok(true)
    }

    /// No more records are wanted.
    fn has_all(&self) -> bool {
        self.page.count >= self.limits.records
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
                false if kept_from <= vlsn => continue,
                false => Some(self.log.routing.next_in(index, vlsn)).filter(|v| *v < kept_from).unwrap_or(end),
            };
            end = end.min(next);
        }
        end
    }

    fn finish(self) -> Result<Page, VlsnError> {
        let records = self.out.finish().map_err(|error| stored(PartitionIndex(0), error.into()))?;
        Ok(Page { records, next: self.from, ..self.page })
    }
}
