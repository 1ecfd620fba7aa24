//! How what was appended becomes durable: by a round of the journal that all partitions share, or by a sync of the
//! segments. One sync of a log at a time; what is appended meanwhile shares the next one (group commit).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use pyralog_protocol::LogOffset;
use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader};

use super::{Log, Offline, end_of_segment};
use crate::disk::{Disk, DiskFile};

/// Bodies up to here are copied to be kept: what they are slices of may be many times as large, and is not wanted any more.
const COPY_BYTES: usize = 4 << 10;

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
pub(super) struct PendingBatches {
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

/// A sync that was handed out and has not come back.
pub(super) struct Running {
    id: u64,
    covers: LogOffset,
    dir_changes: u64,
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

impl<D: Disk> Log<D> {
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

    /// Keeps a batch for the journal. Too much for it: none of what is there goes to the journal then.
    pub(super) fn keep(&mut self, header: &BatchHeader, body: &Bytes, base: LogOffset) {
        if self.pending.limit == 0 {
            return;
        }
        let body = if body.len() <= COPY_BYTES { Bytes::copy_from_slice(body) } else { body.clone() };
        let batch = Pending { header: header.encode(), body, base, end: self.log_end };
        self.pending.bytes += batch.len();
        if self.pending.is_too_large() {
            // The bytes stay counted, so that what comes until the next commit is not kept in vain.
            self.pending.batches = Vec::new();
        } else {
            self.pending.batches.push(batch);
        }
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
}
