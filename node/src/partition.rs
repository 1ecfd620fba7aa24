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
use pyralog_coordinator::config::PausedError;
use pyralog_protocol::{ErrorCode, LeaderEpoch, LogOffset, Now, PartitionIndex, Routing, TopicId, Vlsn};
use pyralog_storage::{Disk, Held, Log, LogConfig, Offline, Patience, ReadError, ReadSlice};

use crate::api::produce::ProduceWait;
use crate::connection::ConnId;
use crate::descriptors::Commons;
use crate::outputs::Outputs;
use crate::vlsn::{Outlines, VlsnBounds, VlsnRules, Vlsns};

mod appends;
mod durable;
mod inbox;

pub(crate) use self::appends::Production;
pub use self::appends::{AppendDone, AppendRefused, CheckedBy};
pub use self::durable::{CommitBy, Durability, FlushLimits, SyncOutcome};
use self::inbox::Inbox;

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
    /// For whoever builds an index, without the lock above. Taken before it.
    builds: Mutex<()>,
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
    /// Who waits for an index that is missing.
    index_waiters: BTreeSet<ConnId>,
    /// It was given out in [`Outputs::builds`].
    index_asked: bool,
    /// Nothing is appended, and writers are told so.
    paused: Option<PausedError>,
    /// Every record that is appended has a key.
    compacted: bool,
    /// What VLSN logs need besides.
    vlsns: Vlsns,
    /// Append time of the last batch, under LogAppendTime; -1 where there is none.
    append_time: i64,
    /// Stable end at the last checkpoint; `None` before the first, and again once the files were released.
    checkpointed: Option<LogOffset>,
    /// Everything below was on disk once. Kept when the log goes offline or does not open at all: without it the next
    /// recovery would take damage for an end that was never acknowledged, and cut it (IO-06).
    recovery_point: LogOffset,
    /// The recovery point that was given out last.
    noted_point: LogOffset,
    /// The latest settings, while there is no log that could have them.
    config: Option<LogConfig>,
    /// Where the log ended when its files were last known to be in their place.
    placed: Option<LogOffset>,
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

/// How a partition serves, as far as its log need not know.
#[derive(Clone, Debug)]
pub struct Service {
    /// Generation of the leadership.
    pub epoch: LeaderEpoch,
    /// When an append counts as acknowledged.
    pub durability: Durability,
    /// Appends are refused so; `None`: they are taken.
    pub paused: Option<PausedError>,
    /// By which rules it takes VLSNs.
    pub rules: VlsnRules,
}

/// How many bytes of a partition a reader takes at most, and whether the first batch comes whatever its size.
pub type ReadLimits = (usize, bool);

/// Where the bytes that answer a fetch are; `None`: there are none yet.
pub type Located<D> = Result<Option<ReadSlice<<D as Disk>::File>>, ReadError>;

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
        // Whoever opened it has seen its files.
        let placed = log.as_ref().ok().map(Log::log_end);
        Self {
            topic,
            index,
            dir,
            high_watermark: AtomicI64::new(high_watermark),
            commons,
            turn: Mutex::new(()),
            builds: Mutex::new(()),
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
                index_waiters: BTreeSet::new(),
                index_asked: false,
                paused: None,
                compacted: false,
                vlsns: Vlsns::after(last_vlsn),
                append_time: -1,
                checkpointed: None,
                recovery_point,
                noted_point: recovery_point,
                config: None,
                placed,
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

    /// Waits until nobody else builds an index; nobody does as long as the guard lives.
    pub(crate) fn take_turn_to_build(&self) -> MutexGuard<'_, ()> {
        self.builds.lock()
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

    /// From which VLSN on they are routed otherwise.
    pub(crate) fn rerouted_from(&self, routing: &Routing) -> Option<Vlsn> {
        self.state.lock().vlsns.rerouted_from(routing)
    }

    /// Wakes everybody who is registered.
    pub(crate) fn wake(&self, out: &mut Outputs<D>) {
        Self::wake_all(&mut self.state.lock(), out);
    }

    /// Takes such a registration back.
    pub fn unwatch(&self, conn: ConnId) {
        self.state.lock().fetchers.remove(&conn);
    }

    /// Has indexes built that look-ups missed, if there are any: the connection is woken after each. Tells whether there are.
    pub(crate) fn await_index(self: &Arc<Self>, conn: ConnId, out: &mut Outputs<D>) -> bool {
        let mut state = self.state.lock();
        let missing = state.log.as_ref().is_ok_and(Log::misses_index);
        if missing {
            state.index_waiters.insert(conn);
            self.ask_for_index(&mut state, out);
        }
        missing
    }

    fn ask_for_index(self: &Arc<Self>, state: &mut State<D>, out: &mut Outputs<D>) {
        if !std::mem::replace(&mut state.index_asked, true) {
            out.builds.push(Arc::clone(self));
        }
    }

    /// How many connections wait for an index.
    pub(crate) fn index_waiters(&self) -> usize {
        self.state.lock().index_waiters.len()
    }

    /// Builds one of them, for whoever got the partition by [`Outputs::builds`], and wakes those who wait. Blocks; the
    /// partition serves meanwhile.
    pub fn build_index(self: &Arc<Self>, out: &mut Outputs<D>) {
        // What goes wrong shows where the requests are looked at again.
        let _ = self.build_missing_index();
        let mut state = self.state.lock();
        out.wakes.extend(std::mem::take(&mut state.index_waiters));
        state.index_asked = false;
        if state.log.as_ref().is_ok_and(Log::misses_index) {
            self.ask_for_index(&mut state, out);
        }
    }

    /// Nothing is appended until as many calls of [`Self::thaw`]: the routing of the log is about to change. Gives the last
    /// VLSN, committed or not, if that is known: a log that is offline may have any.
    pub fn freeze(&self) -> Result<Option<Vlsn>, Refusal> {
        let mut state = self.state.lock();
        state.vlsns.frozen += 1;
        match &state.log {
            Ok(log) => Ok(log.last_vlsn()),
            // It never served.
            Err(Refusal::Uncreated) => Ok(None),
            Err(refusal @ (Refusal::Deleted | Refusal::Offline)) => Err(*refusal),
        }
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

    /// Which VLSNs of the partition can be read, by whoever routes them like this.
    pub fn vlsn_bounds(&self, routing: &Routing) -> Result<VlsnBounds, Refusal> {
        let state = self.state.lock();
        let log = state.log.as_ref().map_err(|r| *r)?;
        Ok(VlsnBounds {
            trimmed: log.trimmed_vlsn(),
            last: state.vlsns.as_routed_by(routing, state.vlsns.committed),
            appended: state.vlsns.as_routed_by(routing, log.last_vlsn()),
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

    /// Finds the bytes that answer a fetch, `max_bytes` of them or, if so asked, a batch at least; reading them is the
    /// caller's, without the lock.
    pub fn locate(
        self: &Arc<Self>,
        offset: LogOffset,
        (max_bytes, at_least_one): ReadLimits,
        patience: Patience,
    ) -> Result<(Bounds, Located<D>), Refusal> {
        let mut seen = None;
        let located = self.look_up(patience, |log, bounds| {
            seen = Some(bounds);
            log.read(offset, max_bytes as u64, at_least_one, bounds.high_watermark)
        })?;
        let bounds = match seen {
            Some(bounds) => bounds,
            None => self.bounds()?,
        };
        Ok((bounds, located))
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
        Service { epoch, durability, paused, rules }: Service,
        out: &mut Outputs<D>,
    ) {
        let mut state = self.state.lock();
        state.vlsns.set_rules(rules);
        state.paused = paused;
        state.compacted = config.compaction.is_some();
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

    /// Sees whether what was appended since the last time can be found again: see [`Log::check_place`].
    pub fn check_place(&self, out: &mut Outputs<D>) {
        let mut state = self.state.lock();
        let State { log, placed, .. } = &mut *state;
        let Ok(log) = log.as_mut() else { return };
        let end = log.log_end();
        if placed.replace(end) != Some(end) {
            // It is told by the log's being offline.
            let _ = log.check_place();
            self.settle(&mut state, out);
        }
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
        state.placed = Some(log.log_end());
        state.log = Ok(log);
        state.served = true;
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
