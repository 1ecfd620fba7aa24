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

use pyralog_protocol::{EpochOffset, LeaderEpoch, LogOffset, Now, TopicId, Vlsn, WallMs};

use crate::compact;
use crate::config::LogConfig;
use crate::disk::Disk;
use crate::epochs::Epochs;
use crate::files::write_derived;
use crate::producers::{ProducerInfo, Producers};
use crate::segment::{Env, Segment, file_name};
use crate::state::{PartitionMeta, Snapshot};
use crate::truncation::Truncated;

mod append;
mod commit;

pub use self::append::{AppendError, Appended};
pub use self::commit::{Commit, Pending, SyncPlan};
use self::commit::{PendingBatches, Running};

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

/// Descriptors that a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Of files with writes that no finished sync covers: they stay (IO-02) until one has.
    pub dirty: usize,
    /// Of all others.
    pub clean: usize,
}

/// The log failed and must be opened anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is offline since a failed write or sync: {0}")]
pub struct Offline(pub String);

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

    /// Ends service if the file that is written to is gone. Who has it open goes on without its name: whoever removed it, or its
    /// folder, takes with it what is acknowledged from then on, and nothing else would tell before the next segment.
    pub fn check_place(&mut self) -> Result<(), Offline> {
        self.check_online()?;
        let Some(active) = self.segments.last() else { return Ok(()) };
        let path = self.env.path(&file_name(active.base, "log"));
        match self.env.disk.exists(&path) {
            Ok(false) => Err(self.go_offline(format!("{path} was removed"))),
            // Where nobody can say, whoever needs it will be told.
            Ok(true) | Err(_) => Ok(()),
        }
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

/// Whether the segment that begins at `base` is among the dirty ones, which are in order.
fn is_dirty<F>(dirty: &[(LogOffset, Arc<F>)], base: LogOffset) -> bool {
    dirty.binary_search_by_key(&base, |(base, _)| *base).is_ok()
}

/// Offset after the last record of the segment that begins at `base`.
pub(crate) fn end_of_segment<F>(segments: &[Segment<F>], base: LogOffset, log_end: LogOffset) -> LogOffset {
    let next = segments.partition_point(|s| s.base <= base);
    segments.get(next).map_or(log_end, |s| s.base)
}
