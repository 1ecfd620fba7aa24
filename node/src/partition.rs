//! One partition as its leader: appends, what waits for them to be durable, and who waits for data.
//! Holds: log start ≤ high watermark ≤ log end; an acknowledgement leaves only once the high watermark has passed its
//! last offset (ID-09 included: a duplicate waits for its original). Knows nothing of topics' configs on the wire.
//!
//! The state sits behind a short lock instead of being handed from thread to thread: an append is a check, a write to
//! the page cache and a few counters, which is less than a hop costs. Syncs and reads of records happen outside it. Whoever
//! finds an append under way leaves his own to it, see [`appends`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use pyralog_protocol::{ErrorCode, LeaderEpoch, LogOffset, MonoMs, Now, PartitionIndex, TopicId, Vlsn};
use pyralog_storage::{
    AppendError, Appended, Commit, Disk, Held, Log, LogConfig, Offline, PartitionKey, Pending, ReadError, ReadSlice,
    SyncPlan,
};

use crate::api::produce::ProduceWait;
use crate::connection::ConnId;
use crate::descriptors::Commons;
use crate::outputs::Outputs;
use crate::vlsn::{Outlines, VlsnBounds, VlsnRules, Vlsns};

mod appends;
mod inbox;

pub(crate) use self::appends::Production;
use self::inbox::Inbox;

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
    fn reached<D: Disk>(self, log: &Log<D>) -> LogOffset {
        let (stable, end) = (log.stable_end(), log.log_end());
        match self {
            Self::Memory(limits) if end.0.abs_diff(stable.0) < limits.records => end,
            Self::Memory(_) | Self::Fsync => stable,
        }
    }
}

/// Why a partition does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was deleted.
    Deleted,
    /// It is offline after an I/O error, or quarantined.
    Offline,
    /// Its folder could not be created yet: no room, no descriptors. Tried again from time to time (OP-10).
    Uncreated,
}

impl Refusal {
    /// The code on the wire for who named the log by name.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Deleted => ErrorCode::UnknownTopicOrPartition,
            Self::Offline | Self::Uncreated => ErrorCode::KafkaStorageError,
        }
    }

    /// The code on the wire for who named it by id: a deleted log is an unknown id.
    pub fn code_by_id(self) -> ErrorCode {
        match self {
            Self::Deleted => ErrorCode::UnknownTopicId,
            Self::Offline | Self::Uncreated => ErrorCode::KafkaStorageError,
        }
    }
}

/// A leading partition.
pub struct Partition<D: Disk> {
    /// Identity of its log.
    pub topic: TopicId,
    /// Its number.
    pub index: PartitionIndex,
    /// Folder below the data folder.
    pub dir: String,
    high_watermark: AtomicI64,
    commons: Arc<Commons<D>>,
    /// For whoever replaces `partition.meta` or moves files of the folder, also without the lock below. Taken before it.
    turn: Mutex<()>,
    state: Mutex<State<D>>,
    /// Appends that were left to whoever is appending.
    inbox: Inbox<Production>,
}

impl<D: Disk> std::fmt::Debug for Partition<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").field("dir", &self.dir).finish_non_exhaustive()
    }
}

struct State<D: Disk> {
    log: Result<Log<D>, Refusal>,
    /// There was a log to serve in this process.
    served: bool,
    epoch: LeaderEpoch,
    durability: Durability,
    /// It is in the queue for a commit, or one is under way. What is appended meanwhile shares the next one.
    committing: bool,
    /// The commit under way is a sync of the segments up to here.
    commit_by_sync: Option<LogOffset>,
    /// It is in the queue for a sync, or one is under way.
    syncing: bool,
    /// Another sync is wanted after the one under way.
    sync_again: bool,
    /// It was given out in [`Outputs::flushes`].
    flush_asked: bool,
    /// Bytes that wait for the journal, as [`JournalShare`](crate::journal_share::JournalShare) knows.
    kept: usize,
    /// It is in the [`Timetable`](crate::timetable::Timetable) to be flushed.
    flush_timed: bool,
    /// It is in the clock of [`Descriptors`](crate::descriptors::Descriptors).
    listed: bool,
    acks: VecDeque<Ack>,
    fetchers: BTreeSet<ConnId>,
    /// What VLSN logs need besides.
    vlsns: Vlsns,
    /// Stable end at the last checkpoint; `None` before the first, and again once the files were released.
    checkpointed: Option<LogOffset>,
    /// Everything below was on disk once. Kept when the log goes offline or does not open at all: without it the next
    /// recovery would take damage for an end that was never acknowledged, and cut it (IO-06).
    recovery_point: LogOffset,
    /// The recovery point that was given out last.
    noted_point: LogOffset,
    /// The latest settings, while there is no log that could have them.
    config: Option<LogConfig>,
}

impl<D: Disk> State<D> {
    /// Whether something is not on disk in the segments.
    fn is_dirty(&self) -> bool {
        self.log.as_ref().is_ok_and(|log| log.recovery_point() < log.log_end())
    }
}

struct Ack {
    /// Acknowledged once the high watermark reaches this.
    end: LogOffset,
    wait: Arc<ProduceWait>,
    item: usize,
}

/// What of a partition a fetch or a look-up needs to know, taken at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First offset that may be read.
    pub log_start: LogOffset,
    /// First offset that may not be read yet.
    pub high_watermark: LogOffset,
    /// Generation of the leadership.
    pub epoch: LeaderEpoch,
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

/// How a partition was left by a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// In order: everything below is on disk, and the log ends there.
    At(LogOffset),
    /// It never served in this process, which changed nothing in it.
    Untouched,
    /// It went offline while it served: its end has to be looked at.
    Offline,
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

/// Outcome of an append.
#[derive(Debug)]
pub struct AppendDone {
    /// Offsets and timestamp.
    pub appended: Appended,
    /// First offset that may be read, at that moment.
    pub log_start: LogOffset,
    /// Whether it is acknowledged already; otherwise the [`ProduceWait`] is told later.
    pub acknowledged: bool,
}

/// Where the bytes that answer a fetch are; `None`: there are none yet.
pub type Located<D> = Result<Option<ReadSlice<<D as Disk>::File>>, ReadError>;

/// Why an append was refused.
#[derive(Debug, thiserror::Error)]
pub enum AppendRefused {
    /// The partition does not serve.
    #[error("the partition is {0:?}")]
    Refused(Refusal),
    /// The log's routing of VLSNs changed, or is about to, since the batch was checked by it. Whoever asks again finds it.
    #[error("the partition count of the log changes: VLSNs are routed anew in a moment")]
    Rerouted,
    /// The partition does not end where the writer thought.
    #[error("the last VLSN of the partition is {}, {} was expected", word(*last), word(*expected))]
    Unexpected {
        /// What the writer expected.
        expected: Option<Vlsn>,
        /// What there is.
        last: Option<Vlsn>,
    },
    /// A conditional append finds its VLSNs written with other records: somebody was quicker.
    #[error("VLSN {vlsn} is there already, with another record: somebody else wrote it")]
    Taken {
        /// The batch's first VLSN.
        vlsn: Vlsn,
    },
    /// Another writer took the log for itself.
    #[error(
        "writer epoch {epoch} of this log belongs to producer {owner}: what producer {found} writes is fenced; take the \
         writer epoch, or have it released"
    )]
    Fenced {
        /// The epoch that was taken last.
        epoch: i32,
        /// Producer id of whoever took it.
        owner: i64,
        /// Producer id of the batch, -1 for none.
        found: i64,
    },
    /// The log refused the batch.
    #[error("{error}")]
    Log {
        /// Why.
        error: AppendError,
        /// First offset that may be read: the answer names it for refusals inside the log (P21).
        log_start: LogOffset,
    },
}

fn word(vlsn: Option<Vlsn>) -> String {
    vlsn.map_or_else(|| "none".to_owned(), |vlsn| vlsn.to_string())
}

impl<D: Disk> Partition<D> {
    /// A partition over an open log, or one that explains why there is none. Below `recovery_point` everything was on
    /// disk once.
    pub fn new(
        identity: (TopicId, PartitionIndex, String),
        log: Result<Log<D>, Refusal>,
        (epoch, durability): (LeaderEpoch, Durability),
        recovery_point: LogOffset,
        commons: Arc<Commons<D>>,
    ) -> Self {
        let (topic, index, dir) = identity;
        // What recovery found was synced by it, so all of it counts (IO-14).
        let high_watermark = log.as_ref().map_or(-1, |log| log.log_end().0);
        let last_vlsn = log.as_ref().ok().and_then(Log::last_vlsn);
        Self {
            topic,
            index,
            dir,
            high_watermark: AtomicI64::new(high_watermark),
            commons,
            turn: Mutex::new(()),
            inbox: Inbox::new(),
            state: Mutex::new(State {
                served: log.is_ok(),
                log,
                epoch,
                durability,
                committing: false,
                commit_by_sync: None,
                syncing: false,
                sync_again: false,
                flush_asked: false,
                kept: 0,
                flush_timed: false,
                listed: false,
                acks: VecDeque::new(),
                fetchers: BTreeSet::new(),
                vlsns: Vlsns::after(last_vlsn),
                checkpointed: None,
                recovery_point,
                noted_point: recovery_point,
                config: None,
            }),
        }
    }

    /// Key of its recovery point: by the log's id, because a log of the same name may follow it.
    pub fn key(&self) -> String {
        crate::lifecycle::key_of(self.topic, self.index)
    }

    /// Puts it into that clock if its recovery left files open.
    pub(crate) fn list_open(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.log.as_ref().is_ok_and(Log::may_hold_files) {
            self.list(&mut state);
        }
    }

    /// Sees to it that what was appended is flushed in `flush.ms` (`memory` durability). One deadline at a time: the first
    /// append after a flush sets it.
    fn time_flush(self: &Arc<Self>, state: &mut State<D>, now: Now, out: &mut Outputs<D>) {
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

    /// Puts it into the clock of those that may hold files.
    fn list(self: &Arc<Self>, state: &mut State<D>) {
        if !state.listed {
            state.listed = true;
            self.commons.files.list(self);
        }
    }

    /// Closes files that are not dirty, and not used since the last call if `spare_used`. Tells whether it may still hold
    /// some. Waits for nobody: a partition at work keeps its files.
    pub(crate) fn close_files(&self, spare_used: bool) -> bool {
        let Some(mut state) = self.state.try_lock() else { return true };
        state.listed = state.log.as_mut().is_ok_and(|log| log.close_files(spare_used) != Held::default());
        state.listed
    }

    /// Asks for a commit, unless one is under way. What is too large for the journal already asks for its sync at once: the
    /// thread of the journal would do nothing else with it, and large appends would wait for two threads instead of one.
    fn want_commit(self: &Arc<Self>, state: &mut State<D>, out: &mut Outputs<D>) {
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
    fn note_kept(&self, state: &mut State<D>) {
        let now = state.log.as_ref().map_or(0, Log::kept_bytes);
        self.commons.journal.keep(std::mem::replace(&mut state.kept, now), now);
    }

    fn want_sync(self: &Arc<Self>, state: &mut State<D>, out: &mut Outputs<D>) {
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
    fn settle(&self, state: &mut State<D>, out: &mut Outputs<D>) {
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
    fn advance(&self, state: &mut State<D>, out: &mut Outputs<D>) {
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

    fn wake_all(state: &mut State<D>, out: &mut Outputs<D>) {
        out.wakes.extend(std::mem::take(&mut state.fetchers));
    }

    fn refuse(&self, state: &mut State<D>, why: Refusal, out: &mut Outputs<D>) -> Option<Log<D>> {
        let log = std::mem::replace(&mut state.log, Err(why)).ok();
        self.note_kept(state);
        if let Some(log) = &log {
            state.recovery_point = state.recovery_point.max(log.recovery_point());
        }
        for ack in std::mem::take(&mut state.acks) {
            ack.wait.failed(ack.item, why.code(), out);
        }
        Self::wake_all(state, out);
        log
    }

    /// Before files are opened without its lock: see [`crate::descriptors`].
    pub(crate) fn make_room_for_files(&self) {
        self.commons.files.before_read();
    }

    /// Waits until nobody else moves files of the folder; nobody does as long as the guard lives.
    pub(crate) fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }

    /// Ends service because the log was deleted. Gives the open log back, for its files to be removed.
    pub fn delete(&self, out: &mut Outputs<D>) -> Option<Log<D>> {
        let _turn = self.take_turn();
        let mut state = self.state.lock();
        self.refuse(&mut state, Refusal::Deleted, out)
    }

    /// Registers a connection to be woken when something changes.
    pub fn watch(&self, conn: ConnId) {
        self.state.lock().fetchers.insert(conn);
    }

    /// Takes such a registration back.
    pub fn unwatch(&self, conn: ConnId) {
        self.state.lock().fetchers.remove(&conn);
    }

    /// Nothing is appended until as many calls of [`Self::thaw`]: the routing of the log is about to change. Gives the last
    /// VLSN, committed or not.
    pub fn freeze(&self) -> Option<Vlsn> {
        let mut state = self.state.lock();
        state.vlsns.frozen += 1;
        state.log.as_ref().ok().and_then(Log::last_vlsn)
    }

    /// Takes back one [`Self::freeze`].
    pub fn thaw(&self) {
        let mut state = self.state.lock();
        state.vlsns.frozen = state.vlsns.frozen.saturating_sub(1);
    }

    /// The largest VLSN that was ever appended, on disk or not.
    pub fn last_vlsn(&self) -> Option<Vlsn> {
        self.state.lock().log.as_ref().ok().and_then(Log::last_vlsn)
    }

    /// Outlines of batches, which all partitions of the node share.
    pub(crate) fn outlines(&self) -> &Arc<Outlines> {
        &self.commons.outlines
    }

    /// Which VLSNs of the partition can be read.
    pub fn vlsn_bounds(&self) -> Result<VlsnBounds, Refusal> {
        let state = self.state.lock();
        let log = state.log.as_ref().map_err(|r| *r)?;
        Ok(VlsnBounds {
            trimmed: log.trimmed_vlsn(),
            last: state.vlsns.committed,
            appended: log.last_vlsn(),
            bounds: self.bounds_of(state.epoch, log),
        })
    }

    /// Where the partition begins and ends for readers.
    pub fn bounds(self: &Arc<Self>) -> Result<Bounds, Refusal> {
        self.with_log(|_, bounds| bounds)
    }

    fn bounds_of(&self, epoch: LeaderEpoch, log: &Log<D>) -> Bounds {
        Bounds {
            log_start: log.log_start(),
            high_watermark: LogOffset(self.high_watermark.load(Ordering::Acquire)),
            epoch,
        }
    }

    /// Finds the bytes that answer a fetch; reading them is the caller's, without the lock.
    pub fn locate(
        self: &Arc<Self>,
        offset: LogOffset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<(Bounds, Located<D>), Refusal> {
        self.with_log(|log, bounds| (bounds, log.read(offset, max_bytes as u64, at_least_one, bounds.high_watermark)))
    }

    /// Runs a look-up on the open log.
    pub fn with_log<T>(self: &Arc<Self>, look: impl FnOnce(&mut Log<D>, Bounds) -> T) -> Result<T, Refusal> {
        self.commons.files.before_read();
        let mut state = self.state.lock();
        let State { log, epoch, .. } = &mut *state;
        let log = log.as_mut().map_err(|r| *r)?;
        let bounds = self.bounds_of(*epoch, log);
        let found = look(log, bounds);
        if log.may_hold_files() {
            self.list(&mut state);
        }
        Ok(found)
    }

    /// Runs a change on the open log that may move its start.
    pub fn change_log<T>(
        &self,
        out: &mut Outputs<D>,
        change: impl FnOnce(&mut Log<D>, Bounds) -> T,
    ) -> Result<T, Refusal> {
        let _turn = self.take_turn();
        self.change_log_in_turn(out, change)
    }

    /// The same for whoever has [taken the turn](Self::take_turn) already.
    pub(crate) fn change_log_in_turn<T>(
        &self,
        out: &mut Outputs<D>,
        change: impl FnOnce(&mut Log<D>, Bounds) -> T,
    ) -> Result<T, Refusal> {
        let mut state = self.state.lock();
        let State { log, epoch, .. } = &mut *state;
        let log = log.as_mut().map_err(|r| *r)?;
        let bounds = self.bounds_of(*epoch, log);
        let result = change(log, bounds);
        self.settle(&mut state, out);
        Self::wake_all(&mut state, out);
        Ok(result)
    }

    /// Takes over new settings; they count from the next append on. A change of the durability counts for what is there as
    /// well: who waited for the disk and need not any more is answered, and what nobody waited for goes to disk.
    pub fn configure(
        self: &Arc<Self>,
        config: LogConfig,
        (epoch, durability, rules): (LeaderEpoch, Durability, VlsnRules),
        out: &mut Outputs<D>,
    ) {
        let mut state = self.state.lock();
        if state.vlsns.set_rules(rules) {
            // What somebody waits for may have another partition from now on.
            Self::wake_all(&mut state, out);
        }
        state.epoch = state.epoch.max(epoch);
        let changed = std::mem::replace(&mut state.durability, durability) != durability;
        let mut unsynced = false;
        match state.log.as_mut() {
            Ok(log) => {
                log.set_config(config);
                if durability != Durability::Fsync {
                    log.keep_for_journal(0);
                }
                unsynced = log.stable_end() < log.log_end();
            }
            Err(_) => state.config = Some(config),
        }
        self.note_kept(&mut state);
        self.advance(&mut state, out);
        if changed && unsynced {
            self.want_commit(&mut state, out);
        }
    }

    /// Forgets idempotent producers that were silent for long. Gives their number.
    pub fn expire_producers(&self, now: Now) -> usize {
        self.state.lock().log.as_mut().map_or(0, |log| log.expire_producers(now))
    }

    /// Writes what makes the next start short, if anything changed since the last time, and gives the recovery point: the
    /// last one that is known where the log is offline. A log that did not change in between gives its descriptors back (OP-12): they come again with the next request.
    pub fn checkpoint(&self) -> LogOffset {
        let mut state = self.state.lock();
        let State { log, checkpointed, recovery_point, noted_point, .. } = &mut *state;
        if let Ok(log) = log.as_mut() {
            *recovery_point = log.recovery_point().max(*recovery_point);
            if *checkpointed == Some(*recovery_point) {
                log.release_files();
            } else if log.checkpoint().is_ok() {
                *checkpointed = Some(*recovery_point);
            }
        }
        *noted_point = *recovery_point;
        *recovery_point
    }

    /// The recovery point as it is, without anything else that a checkpoint does.
    pub fn recovery_point(&self) -> LogOffset {
        let mut state = self.state.lock();
        let State { log, recovery_point, noted_point, .. } = &mut *state;
        let known = log.as_ref().map_or(LogOffset::ZERO, Log::recovery_point);
        *recovery_point = known.max(*recovery_point);
        *noted_point = *recovery_point;
        *recovery_point
    }

    /// Whether the folder could not be created yet.
    pub fn is_uncreated(&self) -> bool {
        matches!(self.state.lock().log, Err(Refusal::Uncreated))
    }

    /// Begins service with the log that `create` makes, if the folder could not be created before. Tells whether it serves.
    ///
    /// All of that is the partition's turn: [`Self::delete`] comes before it, and nothing is created, or after it, and the
    /// folder goes with the log. So a log of the same name that follows has the folder of that name to itself (RL-16).
    pub(crate) fn create_late(&self, create: impl FnOnce() -> Option<Log<D>>) -> bool {
        let _turn = self.take_turn();
        if !self.is_uncreated() {
            return false;
        }
        let Some(log) = create() else { return false };
        self.adopt(log);
        true
    }

    fn adopt(&self, mut log: Log<D>) {
        let mut state = self.state.lock();
        // They may have changed while the folder was being made.
        if let Some(config) = state.config.take() {
            log.set_config(config);
        }
        self.high_watermark.store(log.log_end().0, Ordering::Release);
        state.vlsns.committed = log.last_vlsn();
        state.log = Ok(log);
        state.served = true;
    }

    /// Whether a commit or a sync is under way, or was asked for.
    pub fn is_syncing(&self) -> bool {
        let state = self.state.lock();
        state.syncing || state.committing || state.flush_asked
    }

    /// Closes the log at the end of a clean shutdown; everything in it is on disk afterwards. Whoever still waited is told
    /// that the partition does not serve.
    pub fn close(&self, out: &mut Outputs<D>) -> Result<Closed, Offline> {
        let _turn = self.take_turn();
        let mut state = self.state.lock();
        let served = state.served;
        let synced = match state.log.as_mut() {
            Ok(log) => log.sync(),
            Err(_) if served => return Ok(Closed::Offline),
            Err(_) => return Ok(Closed::Untouched),
        };
        self.advance(&mut state, out);
        let log = self.refuse(&mut state, Refusal::Offline, out);
        synced?;
        log.map_or(Ok(Closed::Offline), |log| log.close_clean().map(Closed::At))
    }
}
