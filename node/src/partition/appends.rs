//! How batches come into a partition. A thread that finds another one appending leaves its batch in the [`Inbox`] and serves
//! its next connection; the other one appends that too, and whoever waits for it is told as if a sync had ended. A copy into the page cache of
//! 64 KiB takes long enough to be interrupted, and nobody is to wait for a thread that does not run.
//!
//! Holds: batches of one connection are appended in the order in which they came in; every batch that was left is
//! answered; append times of a log do not fall, unless the clock was set back by more than [`SET_BACK_MS`].

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use pyralog_coordinator::config::PausedError;
use pyralog_coordinator::metadata::LogState;
use pyralog_protocol::batch::CheckedBatch;
use pyralog_protocol::{LogOffset, Now, Routing, Vlsn};
use pyralog_storage::{AppendError, Appended, Disk};

use super::inbox::{Entered, Turn};
use super::{Ack, Durability, Partition, Refusal, State};
use crate::api::produce::ProduceWait;
use crate::outputs::Outputs;
use crate::unreadable::{Telling, Unreadable};
use crate::vlsn::Expected;

/// A clock that was set back by more is followed: append times would stand still for as long.
const SET_BACK_MS: i64 = 10_000;

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

/// Why an append was refused.
#[derive(Debug, thiserror::Error)]
pub enum AppendRefused {
    /// The partition does not serve.
    #[error("the partition is {0:?}")]
    Refused(Refusal),
    /// The log was paused after the batch came in, and that may have been confirmed since.
    #[error(
        "the log was paused (pyralog.paused=true) before the batch was appended: writes are refused until it is resumed"
    )]
    Paused(PausedError),
    /// The log became a compacted one since the batch was checked, whose records may have no keys: compaction would take what was
    /// acknowledged. Whoever asks again is told.
    #[error("the log is compacted from now on (cleanup.policy), and the batch was not checked for keys")]
    Unkeyed,
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

/// What a batch was checked by, as far as it may have changed since.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckedBy<'l> {
    /// Which VLSN belongs where; `None`: the log has no VLSNs.
    pub routing: Option<&'l Routing>,
    /// Records without keys were refused.
    pub keyed: bool,
}

impl<'l> CheckedBy<'l> {
    /// The log as it was.
    pub(crate) fn log(log: &'l LogState) -> Self {
        Self { routing: log.metadata.routing.as_ref(), keyed: log.settings.cleanup.compact }
    }
}

/// A batch that a client produced, with all that it takes to append it later, and to answer.
pub(crate) struct Production {
    /// Checked already.
    pub batch: CheckedBatch,
    /// The log as it was when the batch was checked.
    pub log: Arc<LogState>,
    /// What is to be told.
    pub wait: Arc<ProduceWait>,
    /// Which part of it this is.
    pub item: usize,
    /// When it came in.
    pub now: Now,
}

impl<D: Disk> Partition<D> {
    /// Appends a checked batch, with what it was checked by and what it expects. With `wait` the caller is told when it is
    /// acknowledged, unless it is at once.
    pub fn append(
        self: &Arc<Self>,
        what: (&CheckedBatch, CheckedBy<'_>, Expected),
        wait: Option<(&Arc<ProduceWait>, usize)>,
        now: Now,
        out: &mut Outputs<D>,
    ) -> Result<AppendDone, AppendRefused> {
        self.commons.files.before_write(out);
        let mut state = self.state.lock();
        self.run_earlier(&mut state, out);
        self.append_locked(&mut state, what, (wait, now), out)
    }

    /// Appends what a client produced, or leaves it to whoever is appending. The [`ProduceWait`] is told how it went, and
    /// when it is acknowledged.
    pub(crate) fn produce(self: &Arc<Self>, production: Production, out: &mut Outputs<D>) {
        let bytes = production.batch.total_size();
        let entered = if bytes < self.commons.append_leave_bytes {
            Entered::Alone(production)
        } else {
            self.inbox.enter(production, bytes)
        };
        match entered {
            Entered::Left => {}
            // For simulations, which have one thread: somebody else goes on with every append.
            Entered::Turn(production) if self.commons.append_turn_bytes == 0 => {
                self.inbox.leave(production, bytes);
                out.appends.push(Arc::clone(self));
            }
            Entered::Turn(production) => {
                let turn = self.inbox.turn();
                self.commons.files.before_write(out);
                let mut state = self.state.lock();
                self.run_earlier(&mut state, out);
                self.run(&mut state, production, out);
                self.run_left(turn, state, out);
            }
            Entered::Alone(production) => {
                self.commons.files.before_write(out);
                let mut state = self.state.lock();
                self.run_earlier(&mut state, out);
                self.run(&mut state, production, out);
            }
        }
    }

    /// Goes on with what was left here, for whoever got the partition by [`Outputs::appends`].
    pub fn append_left(self: &Arc<Self>, out: &mut Outputs<D>) {
        let turn = self.inbox.turn();
        self.commons.files.before_write(out);
        self.run_left(turn, self.state.lock(), out);
    }

    /// Appends what was left, with the turn. It ends with that, or is handed on: the answers are to leave meanwhile, and the
    /// connection whose thread this is goes on.
    fn run_left(
        self: &Arc<Self>,
        mut turn: Turn<'_, Production>,
        mut state: MutexGuard<'_, State<D>>,
        out: &mut Outputs<D>,
    ) {
        let mut appended = 0_usize;
        loop {
            // Whoever waits for the lock, to read or to commit, is not to wait for all of it. Never between taking a batch out of
            // the inbox and appending it: a later one of the same connection would slip in.
            MutexGuard::bump(&mut state);
            let Some(production) = turn.next() else { return };
            appended = appended.saturating_add(production.batch.total_size());
            self.run(&mut state, production, out);
            if appended >= self.commons.append_turn_bytes {
                turn.hand_on();
                out.appends.push(Arc::clone(self));
                return;
            }
        }
    }

    /// Appends what was left before, whoever has the turn: an earlier batch of the same connection may be among it.
    fn run_earlier(self: &Arc<Self>, state: &mut State<D>, out: &mut Outputs<D>) {
        while let Some(production) = self.inbox.take() {
            self.run(state, production, out);
        }
    }

    /// The client is told a code and asks again; whoever looks after the disk is told here.
    fn tell_failed(&self, error: &AppendError, now: Now, out: &mut Outputs<D>) {
        if error.is_failure() {
            let failed = Unreadable { dir: self.dir.clone(), offset: None, cause: error.to_string() };
            let failures = &self.commons.append_failures;
            Telling { failures, now: now.mono, out: &mut out.unwritable }.tell(failed);
        }
    }

    fn run(self: &Arc<Self>, state: &mut State<D>, production: Production, out: &mut Outputs<D>) {
        let Production { batch, log, wait, item, now } = production;
        let what = (&batch, CheckedBy::log(&log), Expected::Anything);
        let done = self.append_locked(state, what, (Some((&wait, item)), now), out);
        // Still with the lock: nobody can acknowledge it before its answer is written.
        wait.appended(item, done, out);
    }

    fn append_locked(
        self: &Arc<Self>,
        state: &mut State<D>,
        (batch, checked_by, expected): (&CheckedBatch, CheckedBy<'_>, Expected),
        (wait, now): (Option<(&Arc<ProduceWait>, usize)>, Now),
        out: &mut Outputs<D>,
    ) -> Result<AppendDone, AppendRefused> {
        self.list(state);
        let epoch = state.epoch;
        state.vlsns.admit(batch, checked_by.routing)?;
        let log = state.log.as_mut().map_err(|r| AppendRefused::Refused(*r))?;
        if let Some(paused) = state.paused {
            return Err(AppendRefused::Paused(paused));
        }
        if state.compacted && !checked_by.keyed {
            return Err(AppendRefused::Unkeyed);
        }
        expected.check(batch, log.last_vlsn())?;
        if state.durability == Durability::Fsync {
            log.keep_for_journal(self.commons.journal.note(batch.total_size(), now.mono));
        }
        let batch = in_time(batch, state.append_time);
        let appended = match log.append(&batch, epoch, now) {
            Ok(appended) => appended,
            Err(error) => {
                let log_start = log.log_start();
                self.tell_failed(&error, now, out);
                self.settle(state, out);
                return Err(AppendRefused::Log { error, log_start });
            }
        };
        let log_start = log.log_start();
        let end = LogOffset(appended.last_offset.0 + 1);
        if !appended.duplicate {
            state.vlsns.note(&batch, end);
            state.append_time = batch.log_append_time_ms();
        }
        let Ok(log) = state.log.as_mut() else { return Err(AppendRefused::Refused(Refusal::Offline)) };
        if log.take_flush_due() {
            self.want_sync(state, out);
        }
        self.time_flush(state, now, out);
        self.advance(state, out);
        let acknowledged = self.high_watermark.load(Ordering::Acquire) >= end.0;
        if !acknowledged {
            if let Some((wait, item)) = wait {
                state.acks.push_back(Ack { end, wait: Arc::clone(wait), item });
            }
            self.want_commit(state, out);
        }
        self.note_kept(state);
        Ok(AppendDone { appended, log_start, acknowledged })
    }
}

/// The batch with an append time that is not below that of the one before. The clock is read before batches are checked, and
/// some take longer for that than others.
fn in_time(batch: &CheckedBatch, before: i64) -> Cow<'_, CheckedBatch> {
    let time = batch.log_append_time_ms();
    let is_late = time >= 0 && before > time && before - time <= SET_BACK_MS;
    if is_late { Cow::Owned(batch.appended_at(before)) } else { Cow::Borrowed(batch) }
}
