//! The view of a VLSN log: one read-only partition whose offsets are VLSNs. Its high watermark is the smallest VLSN that is
//! not decided, so that a reader never passes one that may still come.

use bytes::{Bytes, BytesMut};
use pyralog_protocol::batch::empty_view;
use pyralog_protocol::{EpochOffset, LeaderEpoch, LogOffset, Vlsn};
use pyralog_storage::{Disk, Log, Patience, ReadError, TimestampOffset};

use super::{HELD_BYTES, LogBounds, PageLimits, PageParts, VlsnError, VlsnLog};
use crate::api::NO_EPOCH;
use crate::lookup::Lookup;
use crate::outputs::Warm;
use crate::partition::Bounds;

/// What a reader of the view sees at an offset.
#[derive(Debug)]
pub(crate) struct Sight<D: Disk> {
    pub bounds: Bounds,
    pub seen: Seen<D>,
}

#[derive(Debug)]
pub(crate) enum Seen<D: Disk> {
    /// Batches from there on; empty if there is nothing yet.
    Records {
        records: Bytes,
        /// They do not go as far as the view does.
        more: bool,
    },
    /// These are to be brought into memory first.
    Cold(Warm<D>),
    /// No such place.
    OutOfRange,
}

/// How long a look-up may wait, and where it puts what has to be there before it can go on.
pub(crate) type Cold<'a, D> = (Patience, &'a mut Warm<D>);

/// (timestamp, offset, leader epoch); -1 stands for none.
type Timed = (i64, i64, i32);

impl LogBounds {
    /// The same as the bounds of the view's partition.
    fn of_view(&self) -> Bounds {
        Bounds {
            log_start: LogOffset(self.first.offset()),
            high_watermark: LogOffset(self.undecided.offset()),
            epoch: self.epoch,
        }
    }
}

impl<D: Disk> VlsnLog<'_, D> {
    /// Where the view begins and ends.
    pub(crate) fn view_bounds(&self) -> Result<Bounds, VlsnError> {
        self.bounds().map(|bounds| bounds.of_view())
    }

    /// The view from an offset on.
    pub(crate) fn look(
        &self,
        offset: i64,
        (max_bytes, at_least_one): (usize, bool),
        patience: Patience,
    ) -> Result<Sight<D>, VlsnError> {
        let log_bounds = self.bounds()?;
        let seen = self.see(&log_bounds, offset, (max_bytes, at_least_one), patience)?;
        Ok(Sight { bounds: log_bounds.of_view(), seen })
    }

    fn see(
        &self,
        bounds: &LogBounds,
        offset: i64,
        (max_bytes, at_least_one): (usize, bool),
        patience: Patience,
    ) -> Result<Seen<D>, VlsnError> {
        let from = u64::try_from(offset).ok().map(Vlsn).filter(|v| (bounds.first..=bounds.undecided).contains(v));
        let Some(from) = from else { return Ok(Seen::OutOfRange) };
        if from == bounds.undecided || (max_bytes == 0 && !at_least_one) {
            let more = from < bounds.undecided;
            return Ok(Seen::Records { records: Bytes::new(), more });
        }
        let limits = PageLimits { bytes: max_bytes, records: usize::MAX, name_gaps: false, held: HELD_BYTES };
        let span = from..bounds.undecided;
        let parts = match self.seek_page(&span, limits, bounds, patience)? {
            PageParts::There(parts) => parts,
            PageParts::Cold(cold) => return Ok(Seen::Cold(cold)),
        };
        let page = self.page_of(parts, span, limits, bounds)?;
        let more = page.next < bounds.undecided;
        if page.count > 0 {
            return Ok(Seen::Records { records: page.records, more });
        }
        // Only gaps: the reader has to get past them.
        let mut out = BytesMut::new();
        empty_view(from, page.next, bounds.epoch, &mut out);
        Ok(Seen::Records { records: out.freeze(), more })
    }

    /// The first record of the view whose timestamp is at least that. A partition's first is the first of its VLSNs, so
    /// the smallest of these is the first of all.
    pub(crate) fn view_offset_for_timestamp(&self, timestamp: i64, cold: Cold<'_, D>) -> Result<Timed, VlsnError> {
        let found = self.timed(cold, move |log, bound| log.offset_for_timestamp(timestamp, bound))?;
        Ok(found.into_iter().min_by_key(|(vlsn, _)| *vlsn).map_or((-1, -1, -1), timed))
    }

    /// The record of the view with the largest timestamp, the first of equals.
    pub(crate) fn view_max_timestamp(&self, cold: Cold<'_, D>) -> Result<Timed, VlsnError> {
        let found = self.timed(cold, |log, bound| log.max_timestamp(bound))?;
        let newest = found.into_iter().max_by_key(|(vlsn, found)| (found.timestamp, std::cmp::Reverse(*vlsn)));
        Ok(newest.map_or((-1, -1, -1), timed))
    }

    /// What is found in each partition below a bound: where the view ends in it, which may be long before it ends itself.
    fn timed(
        &self,
        cold: Cold<'_, D>,
        look: impl Fn(&mut Log<D>, LogOffset) -> Result<Option<TimestampOffset>, ReadError> + Copy + Send + Sync + 'static,
    ) -> Result<Vec<(Vlsn, TimestampOffset)>, VlsnError> {
        let undecided = self.bounds()?.undecided;
        self.in_each(cold, move |log, bounds| {
            let bound = bounds.high_watermark.min(log.offset_of_vlsn(undecided)?);
            let Some(found) = look(log, bound)? else { return Ok(None) };
            Ok(log.vlsn_at(found.offset)?.map(|vlsn| (vlsn, found)))
        })
    }

    /// What a look-up finds in each partition. Builds no index; what has to be there before there is an answer, as soon as one would
    /// have to wait, is told of all of them, so that it is brought there side by side.
    fn in_each<T>(
        &self,
        (patience, cold): Cold<'_, D>,
        look: impl Fn(&mut Log<D>, Bounds) -> Result<Option<T>, ReadError> + Copy + Send + Sync + 'static,
    ) -> Result<Vec<T>, VlsnError> {
        let (mut all, mut missing) = (Vec::new(), None);
        for partition in self.partitions() {
            let index = partition.index;
            match partition.look_up(patience, look).map_err(|why| VlsnError::Refused { index, why })? {
                Ok(found) => all.extend(found),
                Err(error) if error.would_wait() => {
                    cold.lookups.push(Lookup::of(partition, look));
                    missing = Some(VlsnError::Read { index, error });
                }
                Err(error) => return Err(VlsnError::Read { index, error }),
            }
        }
        missing.map_or(Ok(all), Err)
    }

    /// Where a leader epoch ended, one below all as well: the first VLSN that a later one wrote, or may write. `None`: it is
    /// not known, or none was asked for.
    pub(crate) fn view_epoch_end(&self, epoch: i32, cold: Cold<'_, D>) -> Result<Option<EpochOffset>, VlsnError> {
        let bounds = self.bounds()?;
        if epoch == NO_EPOCH || epoch > bounds.epoch.0 {
            return Ok(None);
        }
        if epoch == bounds.epoch.0 {
            return Ok(Some(EpochOffset { epoch: bounds.epoch, offset: LogOffset(bounds.undecided.offset()) }));
        }
        let ended = self.in_each(cold, move |log, _| match log.end_offset_for_epoch(LeaderEpoch(epoch)) {
            Some(ended) => log.vlsn_at(ended.offset),
            None => Ok(None),
        });
        let end = ended?.into_iter().fold(bounds.undecided, Vlsn::min);
        Ok(Some(EpochOffset { epoch: LeaderEpoch(epoch), offset: LogOffset(end.offset()) }))
    }
}

fn timed((vlsn, found): (Vlsn, TimestampOffset)) -> Timed {
    (found.timestamp, vlsn.offset(), found.epoch.0)
}
