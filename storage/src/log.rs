//! The log of one partition: append, roll, sync. Reading, retention and recovery are in their own modules.
//!
//! Holds: `log_start ≤ flushed_end ≤ stable_end ≤ log_end` unless everything was deleted up to the end; below the stable
//! end everything is on disk, in the journal at least, below the flushed end in the segments; offsets in the segments
//! are contiguous as they were assigned, but for holes that compaction left inside of sealed ones; the active segment is
//! the last one. After its first failed sync, or a failed write
//! that was not just a full disk, a log is offline for good (IO-01): nothing is acknowledged, read or written until it
//! is opened anew, which recovers from what the disk really has.
//! One owner calls everything with `&mut`; only [`SyncPlan::run`] and [`crate::ReadSlice::read`] are meant for other
//! threads. Knows neither leaders nor high watermarks: bounds come in as offsets.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader, CheckedBatch};
use pyralog_protocol::{Draw, EpochOffset, ErrorCode, LeaderEpoch, LogOffset, Now, TopicId, Vlsn, WallMs};

use crate::compact;
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile, OpenMode, is_full};
use crate::epochs::Epochs;
use crate::files::write_derived;
use crate::index::Index;
use crate::producers::{PastBatch, ProducerInfo, Producers, SequenceError};
use crate::segment::{Env, Segment, SegmentError, file_name};
use crate::state::{PartitionMeta, Snapshot};
use crate::truncation::Truncated;
use crate::vlsn::VlsnsRefused;

/// Snapshots kept: the newest may lie beyond what survives a power loss, the one before hardly ever does.
const SNAPSHOTS_KEPT: usize = 2;

/// Suffix of a partition directory that is being deleted. Only [`delete`] gives it, so whoever finds one may finish.
pub const DELETED_SUFFIX: &str = ".deleted";

/// The log of one partition.
pub struct Log<D: Disk> {
    pub(crate) env: Env<D>,
    pub(crate) meta: PartitionMeta,
    pub(crate) segments: Vec<Segment<D::File>>,
    pub(crate) log_end: LogOffset,
    pub(crate) stable_end: LogOffset,
    pub(crate) flushed_end: LogOffset,
    /// What the journal may still take: the batches from some offset up to the log end, without a hole.
    pending: PendingBatches,
    pub(crate) epochs: Epochs,
    pub(crate) producers: Producers,
    pub(crate) compact: compact::State,
    /// The largest VLSN that was ever appended, where the log has VLSNs.
    pub(crate) last_vlsn: Option<Vlsn>,
    /// Offsets of the snapshot files that may be used, rising.
    pub(crate) snapshots: Vec<LogOffset>,
    /// The log was cut, and not everybody knows yet.
    pub(crate) truncated: Option<Truncated>,
    /// Retention is about to write the snapshot of this offset, beside the log.
    pub(crate) snapshot_aside: Option<LogOffset>,
    /// Files with writes that no finished sync covers, by segment. They keep their descriptor (IO-02).
    pub(crate) dirty: Vec<(LogOffset, Arc<D::File>)>,
    /// Files may be open.
    pub(crate) holds_files: bool,
    /// Something was changed by a recovery, this one or one before, that may not be on disk: see [`Log::begin_change`].
    pub(crate) unsettled: bool,
    /// Changes of the directory: made, and covered by a finished sync.
    pub(crate) dir_changes: u64,
    dir_synced: u64,
    /// Age at which the active segment is sealed.
    roll_ms: u64,
    /// A sync is due once the log ends here.
    flush_at: LogOffset,
    running: Option<Running>,
    next_plan: u64,
    /// Bytes that were written since the last plan was made.
    unplanned_bytes: u64,
    offline: Option<String>,
}

/// A batch that is in its segment's page cache and may go to the journal.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its header, with offset and epoch.
    pub(crate) header: [u8; BATCH_HEADER_BYTES],
    /// Everything after the header.
    pub(crate) body: Bytes,
    base: LogOffset,
    /// Offset after its last record.
    pub(crate) end: LogOffset,
}

impl Pending {
    /// Its bytes in a segment.
    pub(crate) fn len(&self) -> usize {
        self.header.len() + self.body.len()
    }
}

#[derive(Default)]
struct PendingBatches {
    batches: Vec<Pending>,
    bytes: usize,
    /// Most bytes that are kept; more than that is synced where it is. 0: nothing is kept.
    limit: usize,
}

impl PendingBatches {
    /// More was appended than goes to the journal.
    fn is_too_large(&self) -> bool {
        self.bytes > self.limit
    }

    fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
    }

    /// What ends at or below an offset is on disk.
    fn settle(&mut self, stable: LogOffset) {
        let settled = self.batches.iter().take_while(|batch| batch.end <= stable).count();
        let bytes: usize = self.batches.drain(..settled).map(|batch| batch.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// How what was appended since the stable end becomes durable.
#[derive(Debug)]
pub enum Commit {
    /// It is already.
    Nothing,
    /// By a round of the journal. Tell the log by [`Log::journaled`].
    Journal(Vec<Pending>),
    /// By a sync of the segments: see [`Log::sync_plan`].
    Sync,
}

/// Descriptors that a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Of files with writes that no finished sync covers: they stay (IO-02) until one has.
    pub dirty: usize,
    /// Of all others.
    pub clean: usize,
}

/// A sync that was handed out and has not come back.
struct Running {
    id: u64,
    covers: LogOffset,
    dir_changes: u64,
}

/// Where a batch is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: LogOffset,
    /// Offset of its last record: what an acknowledgement waits for, for a duplicate too (ID-09).
    pub last_offset: LogOffset,
    /// `log_append_time_ms` of the answer: the append time under LogAppendTime, the original's timestamp for a duplicate
    /// (I5), else -1.
    pub log_append_time: i64,
    /// Nothing was written: the batch was there already.
    pub duplicate: bool,
}

/// Why a batch was not appended. Nothing of it is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It would not even fit a segment of its own.
    #[error("batch of {bytes} bytes is over segment.bytes={limit}")]
    TooLargeForSegment {
        /// Size of the batch.
        bytes: u64,
        /// The setting.
        limit: u32,
    },
    /// VLSNs that are not above the log's last one, and not all there either.
    #[error(transparent)]
    Vlsns(#[from] VlsnsRefused),
    /// The producer's sequence or epoch does not fit.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A newer epoch has written here.
    #[error("leader epoch {found} was fenced by {current}")]
    Fenced {
        /// Epoch of the append.
        found: LeaderEpoch,
        /// Latest epoch of the log.
        current: LeaderEpoch,
    },
    /// 2^63 - 1 records.
    #[error("the log has no offsets left")]
    OffsetsExhausted,
    /// No room. The log stays usable; the same append may succeed later (OP-10).
    #[error("the disk is full: {0}")]
    DiskFull(io::Error),
    /// There is room, and it is kept free. The same append may succeed later (OP-10).
    #[error("the append would take {bytes} bytes of what is kept free on the disk")]
    Reserved {
        /// Size of the batch.
        bytes: u64,
    },
    /// A file could not be opened or read, nothing was harmed.
    #[error("{0}")]
    Io(io::Error),
    /// An index had to be rebuilt and the batches themselves are damaged.
    #[error("segment {segment} is damaged at byte {position}: {what}")]
    Damaged {
        /// Base offset of the segment.
        segment: LogOffset,
        /// Byte position.
        position: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// See [`Offline`].
    #[error(transparent)]
    Offline(#[from] Offline),
}

/// The log failed and must be opened anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is offline since a failed write or sync: {0}")]
pub struct Offline(pub String);

impl AppendError {
    /// What the client is told (ID-03: never UNKNOWN_SERVER_ERROR).
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooLargeForSegment { .. } => ErrorCode::RecordListTooLarge,
            Self::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
            Self::Sequence(SequenceError::StaleEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
            Self::Vlsns(_) => ErrorCode::InvalidRecord,
            Self::Fenced { .. } => ErrorCode::NotLeaderOrFollower,
            Self::OffsetsExhausted
            | Self::DiskFull(_)
            | Self::Reserved { .. }
            | Self::Io(_)
            | Self::Damaged { .. }
            | Self::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// A sync to be run elsewhere, while the log goes on. Hand its outcome to [`Log::synced`].
pub struct SyncPlan<D: Disk> {
    /// Names the plan.
    pub id: u64,
    /// After success everything below is on disk.
    pub covers: LogOffset,
    files: Vec<Arc<D::File>>,
    dir: Option<String>,
}

impl<D: Disk> SyncPlan<D> {
    /// Syncs the files, then the directory if its entries changed (IO-03). Blocks.
    pub fn run(&self, disk: &D) -> io::Result<()> {
        for file in &self.files {
            file.sync_data()?;
        }
        self.dir.as_ref().map_or(Ok(()), |dir| disk.sync_dir(dir))
    }

    /// Files to be synced, for a shell that spreads them over its workers.
    pub fn files(&self) -> &[Arc<D::File>] {
        &self.files
    }

    /// Directory to be synced after the files.
    pub fn dir(&self) -> Option<&str> {
        self.dir.as_deref()
    }
}

/// Makes the directory of a new partition, durably. A leftover of a creation that did not finish is taken over.
pub fn create<D: Disk>(disk: &D, dir: &str, topic_id: TopicId) -> io::Result<()> {
    disk.create_dir_all(dir)?;
    PartitionMeta { topic_id, log_start: LogOffset::ZERO, cleaned_end: LogOffset::ZERO, trimmed: None }
        .write(disk, dir)?;
    disk.sync_dir(dir.rsplit_once('/').map_or("", |(parent, _)| parent))
}

/// Deletes a partition. Its name is gone durably before its data goes, so a crash leaves it whole or only
/// `<dir>.deleted`, which may be removed at any time.
pub fn delete<D: Disk>(disk: &D, dir: &str) -> io::Result<()> {
    let doomed = format!("{dir}{DELETED_SUFFIX}");
    if disk.exists(&doomed)? {
        disk.remove_dir_all(&doomed)?;
    }
    disk.rename(dir, &doomed)?;
    disk.sync_dir(dir.rsplit_once('/').map_or("", |(parent, _)| parent))?;
    disk.remove_dir_all(&doomed)
}

impl<D: Disk> Log<D> {
    /// A log without segments; `open` fills it.
    pub(crate) fn empty(env: Env<D>, meta: PartitionMeta) -> Self {
        Self {
            env,
            meta,
            segments: Vec::new(),
            log_end: meta.log_start,
            stable_end: meta.log_start,
            flushed_end: meta.log_start,
            pending: PendingBatches::default(),
            epochs: Epochs::default(),
            producers: Producers::default(),
            compact: compact::State::default(),
            last_vlsn: meta.trimmed,
            snapshots: Vec::new(),
            truncated: None,
            snapshot_aside: None,
            dirty: Vec::new(),
            holds_files: false,
            dir_changes: 0,
            dir_synced: 0,
            roll_ms: u64::MAX,
            flush_at: LogOffset::MAX,
            running: None,
            next_plan: 0,
            unplanned_bytes: 0,
            unsettled: false,
            offline: None,
        }
    }

    /// The log that this partition belongs to.
    pub fn topic_id(&self) -> TopicId {
        self.meta.topic_id
    }

    /// First offset that is served.
    pub fn log_start(&self) -> LogOffset {
        self.meta.log_start
    }

    /// Offset of the next record.
    pub fn log_end(&self) -> LogOffset {
        self.log_end
    }

    /// Everything below is known to be on disk. What `fsync` durability acknowledges.
    pub fn stable_end(&self) -> LogOffset {
        self.stable_end
    }

    /// Everything below is on disk in the segments: what may be written down as this log's recovery point, and where it
    /// does not need the journal any more.
    pub fn recovery_point(&self) -> LogOffset {
        self.flushed_end
    }

    /// Whether a segment that ends above an offset is full and on disk by now: a recovery point that is written down spares
    /// the next recovery to read it.
    pub fn has_sealed_above(&self, offset: LogOffset) -> bool {
        self.segments.last().is_some_and(|active| offset < active.base && active.base <= self.flushed_end)
    }

    /// Keeps up to so many bytes of what is appended for the journal. 0: nothing, for a log that is not synced.
    pub fn keep_for_journal(&mut self, bytes: usize) {
        self.pending.limit = bytes;
        if bytes == 0 {
            self.pending = PendingBatches::default();
        }
    }

    /// Bytes of batches that wait for the journal, in memory.
    pub fn kept_bytes(&self) -> usize {
        if self.pending.batches.is_empty() { 0 } else { self.pending.bytes }
    }

    /// Nothing of what was kept for the journal is to go there.
    pub(crate) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// How what was appended until now becomes durable: by the journal if all of it is kept for it, else by a sync.
    pub fn commit(&mut self) -> Commit {
        if self.offline.is_some() || self.stable_end >= self.log_end {
            self.pending.clear();
            return Commit::Nothing;
        }
        self.pending.settle(self.stable_end);
        self.pending.bytes = 0;
        let batches = std::mem::take(&mut self.pending.batches);
        match batches.first() {
            Some(first) if first.base <= self.stable_end => Commit::Journal(batches),
            Some(_) | None => Commit::Sync,
        }
    }

    /// Begins a commit if it is clear already that it will be a sync, because more was appended than goes to the journal.
    /// Returns what it has to cover; `None`: [`Self::commit`] decides when it is asked.
    pub fn commit_by_sync(&mut self) -> Option<LogOffset> {
        if !self.pending.is_too_large() || self.offline.is_some() || self.stable_end >= self.log_end {
            return None;
        }
        self.pending.clear();
        Some(self.log_end)
    }

    /// Everything below `end` is in the journal, durably. Returns the stable end.
    pub fn journaled(&mut self, end: LogOffset) -> Result<LogOffset, Offline> {
        self.check_online()?;
        self.stable_end = self.stable_end.max(end.min(self.log_end));
        Ok(self.stable_end)
    }

    /// Ends service after an error elsewhere that what was appended here rested on: a journal that cannot be written.
    pub fn fail(&mut self, why: String) -> Offline {
        self.go_offline(why)
    }

    /// Latest leader epoch that wrote or was begun here.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    /// Bytes of batches on disk.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.size).sum()
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Descriptors that the log holds.
    pub fn open_files(&self) -> usize {
        self.segments.iter().map(Segment::open_files).sum()
    }

    /// Whether it holds descriptors, as far as that can be told without a look at every segment.
    pub fn may_hold_files(&self) -> bool {
        self.holds_files
    }

    /// Why the log is offline, if it is.
    pub fn offline(&self) -> Option<&str> {
        self.offline.as_deref()
    }

    /// The settings in force.
    pub fn config(&self) -> &LogConfig {
        &self.env.config
    }

    /// Replaces the settings.
    pub fn set_config(&mut self, config: LogConfig) {
        self.env.config = config;
        self.plan_flush(self.flushed_end);
        self.plan_roll();
    }

    /// Whether what was appended should be synced although nobody waits for it: `flush.messages` records are not on disk,
    /// or a segment was sealed since the last sync. Said once per sync.
    pub fn take_flush_due(&mut self) -> bool {
        let due = self.log_end >= self.flush_at;
        if due {
            self.flush_at = LogOffset::MAX;
        }
        due
    }

    /// Everything below `covered` is on disk, or on its way.
    pub(crate) fn plan_flush(&mut self, covered: LogOffset) {
        let records = i64::try_from(self.env.config.flush_records).unwrap_or(i64::MAX);
        self.flush_at = LogOffset(covered.0.saturating_add(records));
    }

    /// Idempotent producers known here, by id (I13).
    pub fn producers(&self) -> impl Iterator<Item = ProducerInfo> + '_ {
        self.producers.infos()
    }

    /// Forgets producers that were silent for `producer.id.expiration.ms`; returns how many. Until this is called they are
    /// known.
    pub fn expire_producers(&mut self, now: Now) -> usize {
        if self.producers.is_empty() { 0 } else { self.producers.expire(self.alive_since(now)) }
    }

    /// Notes that a leadership begins, before its first append. Older epochs cannot append any more.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.assign(epoch, self.log_end);
    }

    /// The end of an epoch: (largest known epoch not above it, first offset of the next one) (L11). None: not known.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<EpochOffset> {
        self.epochs.end_of(epoch, self.log_end)
    }

    /// Epoch that wrote the record at `offset`, or would write it at the log end.
    pub fn epoch_at(&self, offset: LogOffset) -> Option<LeaderEpoch> {
        self.epochs.at(offset)
    }

    /// Appends a batch that was checked already: sequence check, offset, epoch, write. It is in the page cache then; see
    /// [`Log::sync_plan`] for the disk. A duplicate writes nothing and gets its first answer.
    pub fn append(&mut self, batch: &CheckedBatch, epoch: LeaderEpoch, now: Now) -> Result<Appended, AppendError> {
        self.check_online()?;
        self.holds_files = true;
        if let Some(current) = self.epochs.latest().filter(|latest| *latest > epoch) {
            return Err(AppendError::Fenced { found: epoch, current });
        }
        match self.producers.check(&batch.header) {
            Ok(Some(past)) => return Ok(duplicate_of(past)),
            Ok(None) => {}
            // A batch that was recognised by its VLSNs moved its producer on in memory only: after a crash its sequence is
            // one that was never seen.
            Err(error @ SequenceError::OutOfOrder { .. }) => {
                return self.find_original(batch).ok().flatten().map(|o| o.appended()).ok_or(error.into());
            }
            Err(error @ SequenceError::StaleEpoch { .. }) => return Err(error.into()),
        }
        if let Some(original) = self.find_original(batch)? {
            self.producers.apply(&original.as_seen_by(batch), now.wall, self.env.config.producers_max);
            return Ok(original.appended());
        }
        let (header, next) = self.placed(batch, epoch)?;
        let bytes = header.total_size() as u64;
        if !self.env.disk.allowance().claim(bytes) {
            return Err(AppendError::Reserved { bytes });
        }
        let vlsn = batch.vlsns.last().copied();
        let written = self.prepare_active(&header, now).and_then(|()| self.write(&header, &batch.body, vlsn, now));
        self.env.disk.allowance().settle(bytes);
        written?;
        self.last_vlsn = vlsn.or(self.last_vlsn);
        self.epochs.assign(epoch, self.log_end);
        self.producers.apply(&header, now.wall, self.env.config.producers_max);
        let base_offset = self.log_end;
        self.log_end = next;
        self.keep(&header, &batch.body, base_offset);
        let last_offset = LogOffset(header.last_offset());
        Ok(Appended { base_offset, last_offset, log_append_time: batch.log_append_time_ms(), duplicate: false })
    }

    /// What has to be synced so that everything appended until now is on disk. None while a plan is running (what is
    /// appended meanwhile shares the next one: group commit) or if there is nothing to do.
    pub fn sync_plan(&mut self) -> Option<SyncPlan<D>> {
        let dir_dirty = self.dir_changes > self.dir_synced;
        if self.offline.is_some() || self.running.is_some() || (self.dirty.is_empty() && !dir_dirty) {
            return None;
        }
        let id = self.next_plan;
        self.next_plan += 1;
        self.unplanned_bytes = 0;
        self.running = Some(Running { id, covers: self.log_end, dir_changes: self.dir_changes });
        self.plan_flush(self.log_end);
        let files = self.dirty.iter().map(|(_, file)| file.clone()).collect();
        Some(SyncPlan { id, covers: self.log_end, files, dir: dir_dirty.then(|| self.env.dir.clone()) })
    }

    /// Bytes that were written since the last [`Self::sync_plan`]: what the next one brings to disk.
    pub fn unplanned_bytes(&self) -> u64 {
        self.unplanned_bytes
    }

    /// Whether a plan was handed out and has not come back.
    pub fn is_syncing(&self) -> bool {
        self.running.is_some()
    }

    /// Takes the outcome of a plan; returns the stable end. A failure is final: the log is offline and no other sync of
    /// these files is ever tried (IO-01). The outcome of any but the running plan is ignored.
    pub fn synced(&mut self, id: u64, result: io::Result<()>) -> Result<LogOffset, Offline> {
        self.check_online()?;
        let Some(done) = self.running.take_if(|running| running.id == id) else { return Ok(self.stable_end) };
        if let Err(error) = result {
            self.distrust_cache();
            return Err(self.go_offline(format!("sync of {}: {error}", self.env.dir)));
        }
        self.stable_end = self.stable_end.max(done.covers);
        self.flushed_end = self.flushed_end.max(done.covers);
        if self.stable_end >= self.log_end {
            self.pending.clear();
        } else {
            self.pending.settle(self.stable_end);
        }
        self.dir_synced = done.dir_changes;
        self.close_synced(done.covers);
        Ok(self.stable_end)
    }

    /// Everything below is on disk: what ends there is not dirty any more. A sealed segment that was only kept open for
    /// the sync is closed, so that a log that rolls quickly does not collect descriptors.
    fn close_synced(&mut self, covers: LogOffset) {
        let Some(active) = self.segments.last().map(|active| active.base) else { return };
        let ends_above = |log: &Self, base| end_of_segment(&log.segments, base, log.log_end) > covers;
        let dirty = std::mem::take(&mut self.dirty);
        let (dirty, clean) = dirty.into_iter().partition(|(base, _)| ends_above(self, *base));
        self.dirty = dirty;
        let clean: Vec<(LogOffset, Arc<D::File>)> = clean;
        for (base, _) in clean.iter().filter(|(base, _)| *base != active) {
            if let Ok(at) = self.segments.binary_search_by_key(base, |segment| segment.base)
                && let Some(segment) = self.segments.get_mut(at)
            {
                segment.close(false);
            }
        }
    }

    /// Syncs here and now. Blocks.
    pub fn sync(&mut self) -> Result<LogOffset, Offline> {
        self.check_online()?;
        match self.sync_plan() {
            None => Ok(self.stable_end),
            Some(plan) => {
                let result = plan.run(&self.env.disk);
                self.synced(plan.id, result)
            }
        }
    }

    /// Writes the derived files that make the next start short: index of the active segment and snapshot. Syncs
    /// nothing: their loss costs time, never data. Returns the recovery point that may be written down.
    pub fn checkpoint(&mut self) -> Result<LogOffset, Offline> {
        self.check_online()?;
        if let Some(active) = self.segments.last() {
            let _ = active.store_index(&self.env, self.flushed_end);
            let _ = active.store_vlsns(&self.env, self.flushed_end);
            let _ = self.store_snapshot();
        }
        Ok(self.flushed_end)
    }

    /// Syncs and writes the derived files: the next open with `clean` reads no batch. Returns the recovery point.
    /// A plan that is still running has to come back first.
    pub fn close_clean(mut self) -> Result<LogOffset, Offline> {
        self.sync()?;
        if self.flushed_end < self.log_end {
            return Err(Offline("closed while a sync was running".to_owned()));
        }
        if let Some(active) = self.segments.last_mut() {
            let _ = active.cut_to_size(&self.env);
        }
        if self.snapshots.last() != Some(&self.log_end) {
            self.checkpoint()?;
        }
        Ok(self.flushed_end)
    }

    /// Closes descriptors and drops indexes from memory; both come back when needed. Files with unsynced writes keep
    /// their descriptor (IO-02).
    pub fn release_files(&mut self) {
        let dirty = &self.dirty;
        for segment in self.segments.iter_mut().filter(|s| !is_dirty(dirty, s.base)) {
            if !self.env.config.preallocate {
                let _ = segment.cut_to_size(&self.env);
            }
            let _ = segment.store_index(&self.env, self.flushed_end);
            let _ = segment.store_vlsns(&self.env, self.flushed_end);
            segment.release();
        }
        self.holds_files = !self.dirty.is_empty();
    }

    /// Closes files that are not dirty (IO-02), and that nothing used since the last call if `spare_used`. Indexes stay in
    /// memory, so that the next append finds everything but the descriptor.
    pub fn close_files(&mut self, spare_used: bool) -> Held {
        let mut held = Held { dirty: self.dirty.len(), clean: 0 };
        let dirty = &self.dirty;
        for segment in self.segments.iter_mut().filter(|s| !is_dirty(dirty, s.base)) {
            held.clean += segment.close(spare_used);
        }
        self.holds_files = held != Held::default();
        held
    }

    pub(crate) fn check_online(&self) -> Result<(), Offline> {
        self.offline.as_ref().map_or(Ok(()), |why| Err(Offline(why.clone())))
    }

    pub(crate) fn go_offline(&mut self, why: String) -> Offline {
        self.running = None;
        Offline(self.offline.insert(why).clone())
    }

    pub(crate) fn alive_since(&self, now: Now) -> WallMs {
        let span = i64::try_from(self.env.config.producer_expiration_ms).unwrap_or(i64::MAX);
        WallMs(now.wall.0.saturating_sub(span))
    }

    /// Puts a batch back that recovery found in the journal, as it stood here.
    pub(crate) fn put_back(
        &mut self,
        header: &BatchHeader,
        body: &[u8],
        vlsn: Option<Vlsn>,
        now: Now,
    ) -> Result<(), AppendError> {
        self.prepare_active(header, now)?;
        self.write(header, body, vlsn, now)?;
        self.epochs.assign(LeaderEpoch(header.leader_epoch), LogOffset(header.base_offset));
        self.producers.apply(header, now.wall, self.env.config.producers_max);
        self.log_end = LogOffset(header.last_offset().saturating_add(1));
        Ok(())
    }

    /// The header with offset and epoch set, and the log end after it.
    fn placed(&self, batch: &CheckedBatch, epoch: LeaderEpoch) -> Result<(BatchHeader, LogOffset), AppendError> {
        let bytes = batch.total_size() as u64;
        let limit = self.env.config.segment_bytes;
        if bytes > u64::from(limit) {
            return Err(AppendError::TooLargeForSegment { bytes, limit });
        }
        let mut header = batch.header.clone();
        header.base_offset = self.log_end.0;
        header.leader_epoch = epoch.0;
        let records = i64::from(header.last_offset_delta) + 1;
        let next = self.log_end.0.checked_add(records).filter(|end| *end < i64::MAX);
        Ok((header, LogOffset(next.ok_or(AppendError::OffsetsExhausted)?)))
    }

    /// Sees to an active segment that can take the batch, with its index in memory.
    fn prepare_active(&mut self, header: &BatchHeader, now: Now) -> Result<(), AppendError> {
        let full = match self.segments.last_mut() {
            None => true,
            Some(active) => {
                let (env, segment, span) = (&self.env, active.base, self.roll_ms);
                let first = active.first_timestamp(env).map_err(|e| append_error(segment, e))?;
                active.load_index(env).map_err(|e| append_error(segment, e))?;
                if env.config.vlsn {
                    active.load_vlsns(env).map_err(|e| append_error(segment, e))?;
                }
                is_full_for(active, (first, span), header, &env.config, now)
            }
        };
        if full {
            self.roll(now.wall).map_err(|e| if is_full(&e) { AppendError::DiskFull(e) } else { AppendError::Io(e) })?;
        }
        Ok(())
    }

    /// Starts a new active segment at the log end.
    pub(crate) fn roll(&mut self, now: WallMs) -> io::Result<()> {
        self.prove_length()?;
        let name = file_name(self.log_end, "log");
        let file = self.env.disk.open(&self.env.path(&name), OpenMode::Create)?;
        self.dir_changes += 1;
        if let Some(sealed) = self.segments.last_mut() {
            let _ = sealed.cut_to_size(&self.env);
            let _ = sealed.store_index(&self.env, LogOffset::MAX);
            let _ = sealed.store_vlsns(&self.env, LogOffset::MAX);
            (sealed.index, sealed.vlsns) = (None, None);
            self.flush_at = self.log_end;
            let _ = self.store_snapshot();
        }
        let mut active = Segment::created(self.log_end, file, now);
        if self.env.config.preallocate {
            let all = u64::from(self.env.config.segment_bytes);
            active.take_room(&self.env, all);
        }
        self.segments.push(active);
        self.plan_roll();
        Ok(())
    }

    /// A process before this one may have cut the active segment and not have synced that, or this one has on a full disk, while all
    /// that is left of it is known to be on disk. What was cut would come back with a power loss, behind a segment that no
    /// recovery looks into any more: before another one follows it, its length is made durable. Where the recovery point is
    /// below its end, recovery does look. Once in the life of a process, and after each such cut.
    fn prove_length(&mut self) -> io::Result<()> {
        let (env, looked_into) = (&self.env, self.flushed_end < self.log_end);
        let Some(active) = self.segments.last_mut().filter(|active| active.length_unproven) else { return Ok(()) };
        active.length_unproven = false;
        if looked_into {
            return Ok(());
        }
        let synced = active.file(env).and_then(|file| file.sync_data());
        synced.map_err(|error| {
            self.distrust_cache();
            io::Error::other(self.go_offline(format!("sync of {}: {error}", self.env.dir)))
        })
    }

    /// How old the active segment may become. What chance takes off follows from which log and which segment it is: the
    /// topic's id was drawn, and a segment rolls at the same age before and after a restart.
    pub(crate) fn plan_roll(&mut self) {
        let LogConfig { segment_ms, segment_jitter_ms, .. } = self.env.config;
        let most = segment_jitter_ms.min(segment_ms);
        let base = self.segments.last().map_or(0, |active| active.base.0.unsigned_abs());
        let place = u128::from(crc32c::crc32c(self.env.dir.as_bytes())) << 64 | u128::from(base);
        let drawn = Draw::new(u128::from_be_bytes(self.meta.topic_id.0) ^ place).next_u64();
        self.roll_ms = segment_ms - drawn.checked_rem(most).unwrap_or(0);
    }

    /// `vlsn` is the batch's last one; unknown, the index of VLSNs is built again when it is wanted.
    fn write(&mut self, header: &BatchHeader, body: &[u8], vlsn: Option<Vlsn>, now: Now) -> Result<(), AppendError> {
        let Some(active) = self.segments.last_mut() else { return Err(Offline("no active segment".to_owned()).into()) };
        let file = active.file(&self.env).map_err(AppendError::Io)?;
        // Before the write: it may fail half-way, and what it left must not lose its descriptor either.
        if self.dirty.last().is_none_or(|(base, _)| *base != active.base) {
            self.dirty.push((active.base, file.clone()));
        }
        active.see_to_room(&self.env, header.total_size() as u64);
        if let Err(error) = file.write_all_at([&header.encode(), body], active.size) {
            return Err(self.undo_write(&file, error));
        }
        active.size += header.total_size() as u64;
        self.unplanned_bytes += header.total_size() as u64;
        active.touched = now.wall;
        active.touch_is_known = true;
        active.first_timestamp.get_or_insert(header.max_timestamp);
        if let Some(index) = &mut active.index {
            index.note(active.base.0, header, self.env.config.index_interval_bytes);
        }
        active.note_vlsn(header, vlsn);
        Ok(())
    }

    /// Keeps a batch for the journal. Too much for it: none of what is there goes to the journal then.
    fn keep(&mut self, header: &BatchHeader, body: &Bytes, base: LogOffset) {
        if self.pending.limit == 0 {
            return;
        }
        let batch = Pending { header: header.encode(), body: body.clone(), base, end: self.log_end };
        self.pending.bytes += batch.len();
        if self.pending.is_too_large() {
            // The bytes stay counted, so that what comes until the next commit is not kept in vain.
            self.pending.batches = Vec::new();
        } else {
            self.pending.batches.push(batch);
        }
    }

    /// A full disk passes: cut what was written of the batch and go on. Anything else is final. The cut is not on disk yet, and the next
    /// batch may go to another segment: see [`Self::prove_length`].
    fn undo_write(&mut self, file: &D::File, error: io::Error) -> AppendError {
        let size = self.segments.last().map_or(0, |active| active.size);
        if is_full(&error) && file.set_len(size).is_ok() {
            if let Some(active) = self.segments.last_mut() {
                active.length_unproven = true;
            }
            return AppendError::DiskFull(error);
        }
        self.go_offline(format!("write to {}: {error}", self.env.dir)).into()
    }

    /// Writes down how far the log is clean.
    pub(crate) fn note_clean(&mut self) {
        let _ = self.store_snapshot();
    }

    /// Writes the snapshot of this moment without a sync. Derived: a failure costs a longer start.
    fn store_snapshot(&mut self) -> io::Result<()> {
        let Some(snapshot) = self.snapshot() else { return Ok(()) };
        if self.snapshot_aside == Some(self.log_end) {
            // A better one is being written: it is synced.
            return Ok(());
        }
        let name = file_name(self.log_end, "snapshot");
        write_derived(&*self.env.disk, &self.env.dir, &name, &snapshot.encode())?;
        self.adopt_snapshot(self.log_end);
        Ok(())
    }

    /// Producers and epochs of this moment. None before the first segment.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let active = self.segments.last()?;
        Some(Snapshot {
            log_end: self.log_end,
            active_base: active.base,
            active_size: active.size,
            first_dirty: self.compact.first_dirty,
            epochs: self.epochs.clone(),
            producers: self.producers.clone(),
        })
    }

    /// Takes note of a snapshot file, and drops the oldest ones.
    pub(crate) fn adopt_snapshot(&mut self, at: LogOffset) {
        if let Err(place) = self.snapshots.binary_search(&at) {
            self.snapshots.insert(place, at);
        }
        while self.snapshots.len() > SNAPSHOTS_KEPT {
            let oldest = self.snapshots.remove(0);
            let _ = self.env.disk.remove_file(&self.env.path(&file_name(oldest, "snapshot")));
        }
    }
}

fn duplicate_of(past: PastBatch) -> Appended {
    Appended {
        base_offset: past.base_offset,
        last_offset: past.last_offset,
        log_append_time: past.max_timestamp,
        duplicate: true,
    }
}

fn append_error(segment: LogOffset, error: SegmentError) -> AppendError {
    match error {
        SegmentError::Io(error) => AppendError::Io(error),
        SegmentError::Damaged { position, what } => AppendError::Damaged { segment, position, what },
    }
}

/// Whether the segment that begins at `base` is among the dirty ones, which are in order.
fn is_dirty<F>(dirty: &[(LogOffset, Arc<F>)], base: LogOffset) -> bool {
    dirty.binary_search_by_key(&base, |(base, _)| *base).is_ok()
}

/// Offset after the last record of the segment that begins at `base`.
pub(crate) fn end_of_segment<F>(segments: &[Segment<F>], base: LogOffset, log_end: LogOffset) -> LogOffset {
    let next = segments.partition_point(|s| s.base <= base);
    segments.get(next).map_or(log_end, |s| s.base)
}

/// Whether the batch starts a new segment: by size, by age, because the index is full, or because its offset is too far
/// from the base for the index. Age is told by record timestamps where the first record has one, as Kafka does: then
/// records that go back in time, or carry none, start nothing.
fn is_full_for<F>(
    active: &Segment<F>,
    (first, roll_ms): (Option<i64>, u64),
    header: &BatchHeader,
    config: &LogConfig,
    now: Now,
) -> bool {
    if active.size == 0 {
        return false;
    }
    let age = match first {
        Some(first) if first >= 0 => header.max_timestamp.saturating_sub(first),
        Some(_) | None => now.wall.0.saturating_sub(active.created.0),
    };
    let index_has_room = |index: &Index| index.has_room(config.index_interval_bytes, config.segment_index_bytes);
    let vlsns_have_room = |index: &Index| !config.vlsn || index.has_room(0, config.segment_index_bytes);
    active.size.saturating_add(header.total_size() as u64) > u64::from(config.segment_bytes)
        || u64::try_from(age).is_ok_and(|age| age > roll_ms)
        || !active.index.as_ref().is_none_or(index_has_room)
        || !active.vlsns.as_ref().is_none_or(vlsns_have_room)
        || header.last_offset().saturating_sub(active.base.0) > i64::from(i32::MAX)
}
