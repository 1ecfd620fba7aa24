//! From appended to acknowledged: who asks for a commit or a sync, what its outcome changes, and how far the high
//! watermark may go.
//!
//! Holds: one commit and one sync of a partition at a time; what is appended meanwhile shares the next one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyralog_protocol::{LogOffset, MonoMs, Now};
use pyralog_storage::{Commit, Disk, Log, PartitionKey, Pending, SyncPlan};

use super::{Partition, Refusal, State};
use crate::outputs::Outputs;

/// When an append counts as acknowledged (`pyralog.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on disk.
    Fsync,
    /// Once it is in the page cache: survives the process, not the machine (IO-08). How much the machine may lose is
    /// bounded by the regular flush, and by these.
    Memory(FlushLimits),
}

/// When `memory` durability syncs of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushLimits {
    /// `flush.messages`: so many records that are not on disk make the next acknowledgement wait for a sync.
    pub records: u64,
    /// `flush.ms`: a sync comes at the latest so long after an append. `None`: with the regular flush.
    pub ms: Option<u64>,
}

impl Durability {
    /// Up to where the log is acknowledged. With `memory` that is its end, but when `flush.messages` records are not on
    /// disk: never is more than that acknowledged and can be lost.
    pub(super) fn reached<D: Disk>(self, log: &Log<D>) -> LogOffset {
        let (stable, end) = (log.stable_end(), log.log_end());
        match self {
            Self::Memory(limits) if end.0.abs_diff(stable.0) < limits.records => end,
            Self::Memory(_) | Self::Fsync => stable,
        }
    }
}

/// How a partition's latest appends become durable.
#[derive(Debug)]
pub enum CommitBy {
    /// There is nothing to do, or a sync was asked for.
    Itself,
    /// The journal takes these batches, which end below `end`; then [`Partition::journaled`].
    Journal {
        /// In order.
        batches: Vec<Pending>,
        /// Offset after the last of them.
        end: LogOffset,
    },
}

/// How a sync of a partition's segments went.
#[derive(Debug)]
pub enum SyncOutcome {
    /// Everything below is on disk in the segments.
    Flushed(LogOffset),
    /// The partition went offline for this reason (IO-01).
    Failed(String),
    /// It failed, and nobody needs it any more: the log was deleted meanwhile.
    Abandoned,
}

impl<D: Disk> Partition<D> {
    /// Sees to it that what was appended is flushed in `flush.ms` (`memory` durability). One deadline at a time: the first
    /// append after a flush sets it.
    pub(super) fn time_flush(self: &Arc<Self>, state: &mut State<D>, now: Now, out: &mut Outputs<D>) {
        if let Durability::Memory(FlushLimits { ms: Some(ms), .. }) = state.durability
            && !state.flush_timed
        {
            state.flush_timed = true;
            let at = MonoMs(now.mono.0.saturating_add(ms));
            self.commons.timetable.flush_at(at, self, out);
        }
    }

    /// The same for what recovery found: a process before this one promised it.
    pub(crate) fn time_recovered(self: &Arc<Self>, now: Now, out: &mut Outputs<D>) {
        let mut state = self.state.lock();
        if state.is_dirty() {
            self.time_flush(&mut state, now, out);
        }
    }

    /// The deadline of [`Self::time_flush`] is there. A sync that is under way may have begun before the last append, which
    /// set no deadline of its own: then there is another one.
    pub(crate) fn flush_at_deadline(self: &Arc<Self>, out: &mut Outputs<D>) {
        let mut state = self.state.lock();
        state.flush_timed = false;
        if state.is_dirty() {
            self.want_sync(&mut state, out);
        }
    }

    /// Asks for a commit, unless one is under way. What is too large for the journal already asks for its sync at once: the
    /// thread of the journal would do nothing else with it, and large appends would wait for two threads instead of one.
    pub(super) fn want_commit(self: &Arc<Self>, state: &mut State<D>, out: &mut Outputs<D>) {
        if state.committing {
            return;
        }
        state.committing = true;
        match state.log.as_mut().ok().and_then(Log::commit_by_sync) {
            Some(end) => {
                self.note_kept(state);
                self.want_sync_to(end, state, out);
            }
            None => out.commits.push(Arc::clone(self)),
        }
    }

    /// Tells how much waits for the journal now.
    pub(super) fn note_kept(&self, state: &mut State<D>) {
        let now = state.log.as_ref().map_or(0, Log::kept_bytes);
        self.commons.journal.keep(std::mem::replace(&mut state.kept, now), now);
    }

    pub(super) fn want_sync(self: &Arc<Self>, state: &mut State<D>, out: &mut Outputs<D>) {
        if state.syncing {
            state.sync_again = true;
        } else {
            state.syncing = true;
            out.syncs.push(Arc::clone(self));
        }
    }

    /// Asks for the sync that the commit under way is waiting for, of everything below `end`.
    fn want_sync_to(self: &Arc<Self>, end: LogOffset, state: &mut State<D>, out: &mut Outputs<D>) {
        state.commit_by_sync = Some(end);
        self.want_sync(state, out);
    }

    /// The partition's turn to make durable what was appended until now: by the journal, or by a sync that this asks for.
    pub fn commit(self: &Arc<Self>, out: &mut Outputs<D>) -> CommitBy {
        let mut state = self.state.lock();
        self.settle(&mut state, out);
        let (end, commit) = match state.log.as_mut() {
            Ok(log) => (log.log_end(), log.commit()),
            Err(_) => (LogOffset::ZERO, Commit::Nothing),
        };
        self.note_kept(&mut state);
        match commit {
            Commit::Nothing => {
                state.committing = false;
                self.advance(&mut state, out);
            }
            Commit::Journal(batches) => return CommitBy::Journal { batches, end },
            Commit::Sync => self.want_sync_to(end, &mut state, out),
        }
        CommitBy::Itself
    }

    /// The journal could not take what [`Self::commit`] gave for it: it is synced in the segments instead.
    pub fn commit_by_sync(self: &Arc<Self>, end: LogOffset, out: &mut Outputs<D>) {
        self.want_sync_to(end, &mut self.state.lock(), out);
    }

    /// What [`Self::commit`] gave is durable in the journal.
    pub fn journaled(self: &Arc<Self>, end: LogOffset, out: &mut Outputs<D>) {
        let mut state = self.state.lock();
        if let Ok(log) = state.log.as_mut() {
            // A failure is told by the log's being offline.
            let _ = log.journaled(end);
            if log.unplanned_bytes() >= self.commons.journal.flush_bytes && !state.syncing && !state.flush_asked {
                state.flush_asked = true;
                out.flushes.push(Arc::clone(self));
            }
        }
        self.settle(&mut state, out);
        self.committed(&mut state, out);
    }

    /// The journal failed with what [`Self::commit`] gave for it: nobody knows what is on disk of it (IO-01).
    pub fn journal_failed(self: &Arc<Self>, why: &str, out: &mut Outputs<D>) {
        let mut state = self.state.lock();
        if let Ok(log) = state.log.as_mut() {
            log.fail(format!("write to the journal: {why}"));
        }
        self.settle(&mut state, out);
        state.committing = false;
    }

    /// A commit is over. What was appended meanwhile wants the next one, without waiters too: what acks=0 appended
    /// becomes visible by it only.
    fn committed(self: &Arc<Self>, state: &mut State<D>, out: &mut Outputs<D>) {
        self.advance(state, out);
        state.committing = false;
        let high_watermark = self.high_watermark.load(Ordering::Acquire);
        if state.log.as_ref().is_ok_and(|log| high_watermark < log.log_end().0) {
            self.want_commit(state, out);
        }
    }

    /// What of the segments is to be synced now. Run by a disk worker, without the partition's lock held during the sync.
    /// `None`: nothing after all, and the partition asks again when there is.
    pub fn sync_plan(self: &Arc<Self>, out: &mut Outputs<D>) -> Option<SyncPlan<D>> {
        let mut state = self.state.lock();
        state.flush_asked = false;
        self.settle(&mut state, out);
        if state.log.as_ref().is_ok_and(Log::is_syncing) {
            // Somebody was quicker; what came after its beginning is for the next one.
            state.sync_again = true;
            return None;
        }
        let plan = state.log.as_mut().ok().and_then(Log::sync_plan);
        state.syncing = plan.is_some();
        if plan.is_none() && state.commit_by_sync.take().is_some() {
            self.committed(&mut state, out);
        }
        plan
    }

    /// Syncs here and now what of the segments is not on disk, unless somebody else is at it, and tells in `out` how it went.
    /// False: there was nothing to do.
    pub fn sync_now(self: &Arc<Self>, disk: &D, out: &mut Outputs<D>) -> bool {
        let Some(plan) = self.sync_plan(out) else { return false };
        let result = plan.run(disk);
        let cause = result.as_ref().err().map(ToString::to_string);
        let went_offline = self.synced(&plan, result, out);
        let outcome = match cause {
            None => SyncOutcome::Flushed(plan.covers),
            Some(cause) if went_offline => SyncOutcome::Failed(cause),
            Some(_) => SyncOutcome::Abandoned,
        };
        out.synced.push((Arc::clone(self), outcome));
        true
    }

    /// The result of a sync. A failure is final: the partition goes offline and is never synced again (IO-01). Tells
    /// whether that happened; a sync that fails because its log was deleted meanwhile is none.
    pub fn synced(self: &Arc<Self>, plan: &SyncPlan<D>, result: std::io::Result<()>, out: &mut Outputs<D>) -> bool {
        let mut state = self.state.lock();
        let served = state.log.is_ok();
        if let Ok(log) = state.log.as_mut() {
            // A failure is told by the log's being offline.
            let _ = log.synced(plan.id, result);
        }
        self.note_kept(&mut state);
        self.settle(&mut state, out);
        self.advance(&mut state, out);
        state.syncing = false;
        out.sealed_on_disk |= state.log.as_ref().is_ok_and(|log| log.has_sealed_above(state.noted_point));
        match state.commit_by_sync {
            Some(end) if plan.covers >= end || state.log.is_err() => {
                state.commit_by_sync = None;
                self.committed(&mut state, out);
            }
            // That one had begun before the commit.
            Some(_) => state.sync_again = true,
            None => {}
        }
        if std::mem::take(&mut state.sync_again) && state.log.is_ok() {
            self.want_sync(&mut state, out);
        }
        served && state.log.is_err()
    }

    /// Ends service when the log has gone offline, whatever it was doing, so that nobody waits for it any longer.
    pub(super) fn settle(&self, state: &mut State<D>, out: &mut Outputs<D>) {
        let why = state.log.as_ref().ok().and_then(Log::offline).map(str::to_owned);
        if let Some(why) = why {
            self.refuse(state, Refusal::Offline, out);
            out.offline.push((self.dir.clone(), why));
        }
    }

    /// The same for whoever does not have the lock.
    pub(crate) fn settle_now(&self, out: &mut Outputs<D>) {
        self.settle(&mut self.state.lock(), out);
    }

    /// Asks for a sync of what is not in the segments on disk. Tells whether anything is.
    pub fn flush(self: &Arc<Self>, out: &mut Outputs<D>) -> bool {
        let mut state = self.state.lock();
        let dirty = state.is_dirty();
        if dirty && !state.syncing {
            self.want_sync(&mut state, out);
        }
        dirty
    }

    /// Its name in the journal.
    pub fn journal_key(&self) -> PartitionKey {
        PartitionKey { topic: self.topic, index: self.index }
    }

    /// Everything below is on disk in its segments, so that it does not need the journal.
    pub fn flushed_end(&self) -> LogOffset {
        let state = self.state.lock();
        state.log.as_ref().map_or(state.recovery_point, Log::recovery_point)
    }

    /// Moves the high watermark to where the durability allows, and tells everybody who waited for it.
    pub(super) fn advance(&self, state: &mut State<D>, out: &mut Outputs<D>) {
        let Ok(log) = state.log.as_ref() else { return };
        let reached = state.durability.reached(log);
        if reached.0 <= self.high_watermark.load(Ordering::Acquire) {
            return;
        }
        self.high_watermark.store(reached.0, Ordering::Release);
        state.vlsns.advance(reached);
        while state.acks.front().is_some_and(|ack| ack.end <= reached) {
            if let Some(ack) = state.acks.pop_front() {
                ack.wait.acknowledged(ack.item, out);
            }
        }
        Self::wake_all(state, out);
    }

    /// Whether a commit or a sync is under way, or was asked for.
    pub fn is_syncing(&self) -> bool {
        let state = self.state.lock();
        state.syncing || state.committing || state.flush_asked
    }
}
