//! Logs that are addressed by VLSN: what can be read of them, across their partitions. The private APIs, HTTP and the view
//! all read through [`VlsnLog`], so that they cannot tell different stories.
//!
//! Holds: nothing at or above a partition's high watermark is read. A VLSN is *decided* when its record is committed, or
//! a later one of its partition is, so that it will never come. Everything below the *undecided* one is decided: that is
//! where the view ends.

mod cursor;
mod outlines;
mod page;
mod partition;
mod rerouting;
mod same;
mod view;

pub(crate) use outlines::Outlines;
pub(crate) use page::PageParts;
pub use page::{HELD_BYTES, Page, PageLimits, VlsnRange};
pub(crate) use partition::Vlsns;
pub use partition::{Expected, VlsnBounds, VlsnRules, Writer};
pub(crate) use rerouting::{Frozen, freeze, thaw};
pub(crate) use same::holds;
pub(crate) use view::{Cold, Seen, Sight};

use std::sync::Arc;

use bytes::Bytes;
use pyralog_coordinator::metadata::LogState;
use pyralog_protocol::batch::{BatchHeader, KeyedRecord, Outline, StoredBatch, StoredError, StoredRecord};
use pyralog_protocol::{ErrorCode, LeaderEpoch, LogOffset, PartitionIndex, Routing, Vlsn};
use pyralog_storage::{Disk, DiskFile, Patience, ReadError, ReadSlice, VlsnPlace, VlsnRun};

use crate::connection::FileRange;
use crate::lookup::Lookup;
use crate::partition::{Partition, Refusal};
use crate::topology::{LogEntry, Topology};
use crate::unreadable::Unreadable;
use outlines::{BatchKey, Outlined};

/// Why a log of VLSNs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VlsnError {
    /// A partition does not serve.
    #[error("partition {index} does not serve: {why:?}")]
    Refused {
        /// The partition.
        index: PartitionIndex,
        /// Why.
        why: Refusal,
    },
    /// A partition could not be read.
    #[error("partition {index}: {error}")]
    Read {
        /// The partition.
        index: PartitionIndex,
        /// Why.
        error: ReadError,
    },
    /// What is stored is not what was written.
    #[error("partition {index}: {error}")]
    Stored {
        /// The partition.
        index: PartitionIndex,
        /// What does not fit.
        error: StoredError,
    },
}

impl VlsnError {
    /// Whether records could not be read. A partition that does not serve is told of elsewhere.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Refused { .. } => false,
            Self::Read { error, .. } => error.is_failure(),
            Self::Stored { .. } => true,
        }
    }

    /// Whether no more is wrong than that something would have had to be waited for.
    pub(crate) fn would_wait(&self) -> bool {
        match self {
            Self::Read { error, .. } => error.would_wait(),
            Self::Refused { .. } | Self::Stored { .. } => false,
        }
    }

    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { why, .. } => why.code(),
            Self::Read { .. } | Self::Stored { .. } => ErrorCode::KafkaStorageError,
        }
    }
}

/// Which VLSNs of a log can be read, taken at about one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Everything below was trimmed, or never came before the first that was kept.
    pub first: Vlsn,
    /// The smallest that is not decided; everything below is.
    pub undecided: Vlsn,
    /// The largest that was appended, on disk or not: where a writer goes on.
    pub appended: Option<Vlsn>,
    /// Largest leader epoch of the partitions.
    pub epoch: LeaderEpoch,
    /// Each partition's own, by number.
    pub partitions: Vec<VlsnBounds>,
}

/// What there is at one VLSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// Its record.
    Found(PointRecord),
    /// It may still come.
    NotYet,
    /// A later one of its partition is committed: it will never come.
    Gap,
    /// Retention or a deletion took what was there.
    Trimmed,
}

/// A record by its VLSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointRecord {
    /// Its offset in its partition.
    pub offset: LogOffset,
    /// Leader epoch that wrote it.
    pub epoch: LeaderEpoch,
    /// Milliseconds since 1970, -1 for none.
    pub timestamp: i64,
    /// Null is a value of its own.
    pub value: Option<Bytes>,
    /// Key and nullable value each, in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// A VLSN that was looked for.
#[derive(Debug)]
pub enum Sought<F> {
    /// If it was ever written, it is in this batch.
    In(PointBatch<F>),
    /// That could not be told without waiting for the disk.
    Cold,
    /// It is not there, and why.
    Known(Point),
}

/// The batch that a VLSN is in, or would be.
#[derive(Debug)]
pub struct PointBatch<F> {
    run: VlsnRun<F>,
    vlsn: Vlsn,
    key: BatchKey,
    outlines: Arc<Outlines>,
}

impl<F: DiskFile> PointBatch<F> {
    /// Its bytes in its file.
    pub(crate) fn slice(&self) -> &ReadSlice<F> {
        &self.run.slice
    }

    /// The same, to be brought into memory.
    pub(crate) fn range(&self) -> FileRange {
        range_of(self.slice())
    }

    /// The VLSN.
    pub(crate) fn vlsn(&self) -> Vlsn {
        self.vlsn
    }

    /// Sorts by batch, and by VLSN within it.
    pub(crate) fn order(&self) -> (PartitionIndex, Vlsn) {
        (self.key.index, self.vlsn)
    }

    /// Whether the other VLSN is in the same batch, or would be.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// Reads it. Blocks; needs no log.
    pub fn read(&self) -> Result<Point, VlsnError> {
        match self.read_part()? {
            Some((point, _)) => Ok(point),
            None => self.find(&self.bytes()?),
        }
    }

    /// The same, if that need not wait for the disk.
    pub fn read_cached(&self) -> Result<Option<Point>, VlsnError> {
        if let Some((point, _)) = self.read_part()? {
            return Ok(Some(point));
        }
        self.cached_bytes()?.map(|bytes| self.find(&bytes)).transpose()
    }

    fn find(&self, bytes: &[u8]) -> Result<Point, VlsnError> {
        let mut point = Point::Gap;
        self.find_all(bytes, [self.vlsn].into_iter(), |_, record| point = Point::Found(record))?;
        Ok(point)
    }

    /// The same from the part of the batch that has it, and how many bytes that has. `None`: that cannot be told without the
    /// whole batch, or not without waiting for the disk.
    pub(crate) fn read_part(&self) -> Result<Option<(Point, usize)>, VlsnError> {
        let ReadSlice { file, position, len } = self.slice();
        let part = match self.outlines.look(&self.key, *len, self.vlsn) {
            Outlined::Unknown => return Ok(None),
            Outlined::Absent => return Ok(Some((Point::Gap, 0))),
            Outlined::In(part) => part,
        };
        let range = part.range();
        let mut bytes = vec![0; range.len()];
        if !file.read_cached_at(&mut bytes, position.saturating_add(range.start as u64)).map_err(|e| self.io(e))? {
            return Ok(None);
        }
        match part.find(&bytes, self.vlsn) {
            Ok(record) => {
                let point = record.map_or(Point::Gap, |record| Point::Found(PointRecord::of(&record, part.epoch())));
                Ok(Some((point, bytes.len())))
            }
            Err(_) => {
                // The whole batch says what is wrong, or that nothing is.
                self.outlines.forget(&self.key);
                Ok(None)
            }
        }
    }

    /// All of the batch. Blocks.
    pub(crate) fn bytes(&self) -> Result<Bytes, VlsnError> {
        self.slice().read().map_err(|error| self.io(error))
    }

    /// All of the batch, if that need not wait for the disk.
    pub(crate) fn cached_bytes(&self) -> Result<Option<Bytes>, VlsnError> {
        self.slice().read_cached().map_err(|error| self.io(error))
    }

    fn io(&self, error: std::io::Error) -> VlsnError {
        VlsnError::Read { index: self.key.index, error: ReadError::Io(error) }
    }

    /// Looks in the bytes of the batch for several VLSNs, which rise. What is there is told with its place among them. Gives
    /// how many bytes the records have, inflated.
    pub(crate) fn find_all(
        &self,
        bytes: &[u8],
        wanted: impl Iterator<Item = Vlsn>,
        mut found: impl FnMut(usize, PointRecord),
    ) -> Result<usize, VlsnError> {
        let index = self.key.index;
        let stored = |error| VlsnError::Stored { index, error };
        let batch = StoredBatch::open(bytes).map_err(stored)?;
        belongs(&batch.header, self.run.first, self.run.epoch).map_err(stored)?;
        if matches!(self.outlines.look(&self.key, self.run.slice.len, self.vlsn), Outlined::Unknown)
            && let Some(outline) = Outline::of(&batch).map_err(stored)?
        {
            self.outlines.keep(self.key, outline);
        }
        let mut wanted = wanted.enumerate().peekable();
        let mut rest = batch.payload();
        while !rest.is_empty() && wanted.peek().is_some() {
            let here = KeyedRecord::first_of(rest, LogOffset(batch.header.base_offset)).map_err(stored)?;
            while wanted.next_if(|(_, vlsn)| *vlsn < here.vlsn).is_some() {}
            while let Some((at, _)) = wanted.next_if(|(_, vlsn)| *vlsn == here.vlsn) {
                // Only what was found is looked at as a whole.
                if let Some(record) = batch.records_from(rest).next() {
                    found(at, PointRecord::of(&record.map_err(stored)?, batch.base().epoch));
                }
            }
            rest = rest.get(here.size..).unwrap_or_default();
        }
        Ok(batch.payload().len())
    }
}

/// Whether a batch is the one that stands there: its base offset and leader epoch are outside its CRC (IO-07).
fn belongs(header: &BatchHeader, first: LogOffset, epoch: Option<LeaderEpoch>) -> Result<(), StoredError> {
    let found = header.base_offset;
    if found != first.0 {
        return Err(StoredError::Misplaced { expected: first, found });
    }
    match epoch.filter(|epoch| epoch.0 != header.leader_epoch) {
        Some(expected) => Err(StoredError::OtherEpoch { expected, found: header.leader_epoch }),
        None => Ok(()),
    }
}

fn range_of<F: DiskFile>(slice: &ReadSlice<F>) -> FileRange {
    FileRange { file: slice.file.clone(), position: slice.position, len: slice.len }
}

impl PointRecord {
    fn of(stored: &StoredRecord<'_>, epoch: LeaderEpoch) -> Self {
        let bytes = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
        let headers = stored.record.headers.iter();
        Self {
            offset: stored.offset,
            epoch,
            timestamp: stored.timestamp,
            value: bytes(stored.record.value),
            headers: headers.map(|h| (Bytes::copy_from_slice(h.key), bytes(h.value))).collect(),
        }
    }
}

/// A log that is addressed by VLSN, for reading.
#[derive(Debug)]
pub struct VlsnLog<'t, D: Disk> {
    /// Its metadata.
    pub log: &'t Arc<LogState>,
    /// Which VLSN belongs where.
    pub routing: &'t Routing,
    partitions: &'t [Arc<Partition<D>>],
}

impl<D: Disk> Clone for VlsnLog<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Disk> Copy for VlsnLog<'_, D> {}

impl<D: Disk> Topology<D> {
    /// The VLSN log that an entry is, or is the view of; `None` if it is neither.
    pub fn vlsn_log<'t>(&'t self, entry: &'t LogEntry<D>) -> Option<VlsnLog<'t, D>> {
        let entry = match entry.log.view_of {
            Some(id) => self.by_id(id)?,
            None => entry,
        };
        let routing = entry.log.metadata.routing.as_ref()?;
        Some(VlsnLog { log: &entry.log, routing, partitions: &entry.partitions })
    }
}

impl<'t, D: Disk> VlsnLog<'t, D> {
    /// Its partitions, by number.
    pub fn partitions(&self) -> &'t [Arc<Partition<D>>] {
        self.partitions
    }

    /// What can be read of it now.
    pub fn bounds(&self) -> Result<LogBounds, VlsnError> {
        let (mut first, mut undecided) = (Vlsn::MAX.next(), Vlsn::MAX.next());
        let (mut appended, mut epoch) = (None, LeaderEpoch(0));
        let mut partitions = Vec::with_capacity(self.partitions.len());
        for partition in self.partitions {
            let index = partition.index;
            let bounds = partition.vlsn_bounds(self.routing).map_err(|why| VlsnError::Refused { index, why })?;
            first = first.min(self.after(index, bounds.trimmed));
            undecided = undecided.min(self.after(index, bounds.last));
            appended = appended.max(bounds.appended);
            epoch = epoch.max(bounds.bounds.epoch);
            partitions.push(bounds);
        }
        Ok(LogBounds { first: first.min(undecided), undecided, appended, epoch, partitions })
    }

    /// The first VLSN of a partition after one of its own, or of all.
    pub fn after(&self, index: PartitionIndex, vlsn: Option<Vlsn>) -> Vlsn {
        self.routing.next_in(index, vlsn.map_or(Vlsn::ZERO, Vlsn::next))
    }

    /// What there is at a VLSN.
    pub fn point(&self, vlsn: Vlsn) -> Result<Point, VlsnError> {
        match self.seek(vlsn, Patience::Waits)? {
            Sought::Known(point) => Ok(point),
            Sought::In(batch) => batch.read(),
            Sought::Cold => {
                let would_wait = ReadError::Io(std::io::ErrorKind::WouldBlock.into());
                Err(VlsnError::Read { index: self.routing.partition(vlsn), error: would_wait })
            }
        }
    }

    /// Where a VLSN is, with nothing read of its record yet.
    pub fn seek(&self, vlsn: Vlsn, patience: Patience) -> Result<Sought<D::File>, VlsnError> {
        let Some(partition) = self.partition_of(vlsn).filter(|_| vlsn <= Vlsn::MAX) else {
            return Ok(Sought::Known(Point::NotYet));
        };
        let index = partition.index;
        let located = partition.look_up(patience, |log, bounds| log.locate_vlsn(vlsn, bounds.high_watermark, patience));
        let located = located.map_err(|why| VlsnError::Refused { index, why })?;
        // Afterwards: before partitions take what is routed anew, they know of it. What they say of others is nothing.
        if partition.rerouted_from(self.routing).is_some_and(|from| from <= vlsn) {
            return Ok(Sought::Known(Point::NotYet));
        }
        if patience != Patience::Waits && located.as_ref().is_err_and(ReadError::would_wait) {
            return Ok(Sought::Cold);
        }
        Ok(match located.map_err(|error| VlsnError::Read { index, error })? {
            VlsnPlace::Batch(run) => {
                let key = BatchKey { topic: partition.topic, index, first: run.first };
                let outlines = Arc::clone(partition.outlines());
                Sought::In(PointBatch { run, vlsn, key, outlines })
            }
            VlsnPlace::Unwritten => Sought::Known(Point::NotYet),
            VlsnPlace::Trimmed => Sought::Known(Point::Trimmed),
        })
    }

    /// What has to be done where [`Self::seek`] found that it would have to wait.
    pub(crate) fn lookup(&self, vlsn: Vlsn) -> Option<Lookup<D>> {
        self.partition_of(vlsn).map(|partition| Lookup::of_vlsns(partition, vlsn, 0))
    }

    /// What is to be told of an error to who looks after the disk; `None` if it is no failure.
    pub(crate) fn failure(&self, error: &VlsnError) -> Option<Unreadable> {
        let index = match error {
            VlsnError::Refused { .. } => return None,
            VlsnError::Read { index, .. } | VlsnError::Stored { index, .. } => usize::try_from(index.0).ok()?,
        };
        let partition = self.partitions.get(index).filter(|_| error.is_failure())?;
        Some(Unreadable { dir: partition.dir.clone(), offset: None, cause: error.to_string() })
    }

    /// The partition that a VLSN belongs to.
    pub fn partition_of(&self, vlsn: Vlsn) -> Option<&'t Arc<Partition<D>>> {
        self.partitions.get(usize::try_from(self.routing.partition(vlsn).0).ok()?)
    }
}
