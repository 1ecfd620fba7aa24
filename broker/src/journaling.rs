//! The threads that write the journal. They take turns: while one waits for the disk, what is appended collects for the
//! next; while one tells the clients of its round, another writes the next.
//!
//! A client that waits for one record at a time, while nobody else writes, would gain nothing from them but two hops
//! between threads, and each hop is a chance to wait for a processor. The connection's own thread writes its round, see
//! [`commit_here`].
//!
//! What the journal cannot take is synced in the segments by the disk workers: large batches, and everything while no
//! journal file is free.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pyralog_node::partition::{CommitBy, Partition};
use pyralog_node::room::Room;
use pyralog_protocol::LogOffset;
use pyralog_storage::{Disk, Journal, JournalError, JournalLimits, PartitionKey, Round, Space, prepare_file};
use tokio::task::block_in_place;
use tracing::{error, warn};

use crate::control::or_exit;
use crate::disk::RealDisk;
use crate::shell::{Shell, ShellOutputs};
use crate::syncer::Job;

/// Bytes of a round. More than a round can gather in the time that the disk takes for one buys nothing.
const ROUND_BYTES: usize = 4 << 20;
/// Most bytes of one partition that go to the journal at a time under high load. More is synced in its segments, so that the
/// disk's bandwidth is not spent twice. Measured with the border at 128, 64 and 32 KiB, since segments take room ahead: 64 KiB
/// batches with 32 in flight 738 to 830 MB/s, and 869 to 916 where none go to the journal; 24 KiB with 32 in flight 487, 557 to 595, 489 to 553; 16 KiB with 8 in
/// flight 196 to 236, 213 to 223, 152.
pub const BUSY_BYTES: usize = 64 << 10;
/// The same while the disk has time for both. A client that waits for one batch of 64 KiB at a time then writes 260 instead of
/// 198 MB/s; of 600 per second from eight clients half take 0.37 instead of 0.5 ms, and one in a hundred as long as before.
pub const CALM_BYTES: usize = 512 << 10;
/// Bytes of a partition that are on disk in the journal only, from which its segments are synced. Fewer make many syncs; more keep
/// the disk from the next round for too long. With 50 producers of 2 KB each, p99 was 5.4 ms where all waited for their
/// journal file to be full, 2.7 with 2 MiB, 1.8 with 1 MiB, 1.7 with 512 KiB and 1.8 with 256 KiB, and 57, 52, 59, 61 and 57 thousand
/// requests per second were served.
pub const FLUSH_BYTES: u64 = 512 << 10;
/// Files of the journal: one is written, others wait for the syncs of what is in them.
const FILES: usize = 4;
const FILE_BYTES_MAX: u64 = 64 << 20;
const FILE_BYTES_MIN: u64 = 1 << 20;
/// A journal takes about a 64th of the volume at most.
const FILE_SHARE: u64 = 256;
const BLOCK: u64 = 4096;
/// Commits by sync before the first journal file is made: a node that hardly writes does without.
const WARM_UP: usize = 64;
/// After a journal file could not be made.
const PREPARE_AGAIN: Duration = Duration::from_secs(10);
/// How often notes of finished syncs get a round of their own, where there is no other to travel with.
const NOTES_AFTER: Duration = Duration::from_secs(1);
/// How often full files are looked at: thousands of partitions may be in one.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// While only one file is full, this part of its partitions is synced at each look. All of them at once keep the device from the
/// next rounds for as long as it takes to write the whole file.
const SYNC_SHARE: usize = 8;
/// Threads. The journal is written by one at a time. Two more answer the clients of the rounds before: with one more, a thread that
/// was put off in the middle of that kept the next round, and one request in a hundred took 2.8 instead of 1.9 ms.
const WRITERS: usize = 3;
/// Bytes of a round that a connection's thread writes: what a partition gives at most fits, with room for its frame.
const OWN_ROUND_BYTES: usize = CALM_BYTES + (64 << 10);

type Target = Arc<Partition<RealDisk>>;

/// Sizes of the journal on such a volume.
pub fn limits_for(space: Space) -> JournalLimits {
    let share = space.total_bytes / FILE_SHARE / BLOCK * BLOCK;
    JournalLimits { file_bytes: share.clamp(FILE_BYTES_MIN, FILE_BYTES_MAX), files: FILES }
}

/// What the rest of the broker sees of the journal.
pub struct Journaling {
    queue: Mutex<Queue>,
    /// Something was put into the queue.
    arrived: Condvar,
    /// The journal's thread that waits or writes. The others are not woken for every arrival meanwhile.
    turn: Mutex<()>,
    state: Mutex<State>,
    /// For a connection's thread; taken before `state`.
    own: Mutex<Writer>,
    /// The last round was of one partition: the next commit has nobody to share a round with either, it seems.
    alone: AtomicBool,
    /// Partitions whose segments were synced, until the journal says so too.
    notes: Mutex<BTreeMap<PartitionKey, LogOffset>>,
    limits: JournalLimits,
    by_sync: AtomicUsize,
}

/// What waits for a round.
#[derive(Default)]
struct Queue {
    partitions: VecDeque<Target>,
    /// What did not fit into the last round.
    held: Option<(Target, CommitBy)>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.partitions.is_empty() && self.held.is_none()
    }
}

struct State {
    journal: Journal<RealDisk>,
    prepare_after: Instant,
    look_after: Instant,
    notes_after: Instant,
    /// It was told that the next file cannot be opened.
    told_unopened: bool,
}

impl Journaling {
    /// Over an opened journal.
    pub fn new(journal: Journal<RealDisk>, limits: JournalLimits) -> Self {
        let now = Instant::now();
        let state = State { journal, prepare_after: now, look_after: now, notes_after: now, told_unopened: false };
        Self {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            turn: Mutex::new(()),
            state: Mutex::new(state),
            own: Mutex::new(Writer::new(OWN_ROUND_BYTES)),
            alone: AtomicBool::new(false),
            notes: Mutex::default(),
            limits,
            by_sync: AtomicUsize::new(0),
        }
    }

    /// Adds a partition whose appends want to be durable. Each is in the queue at most once.
    pub fn push(&self, partition: Target) {
        self.queue.lock().partitions.push_back(partition);
        self.arrived.notify_one();
    }

    /// Keeps what did not fit for the next round.
    fn hold(&self, held: (Target, CommitBy)) {
        self.queue.lock().held = Some(held);
        self.arrived.notify_one();
    }

    fn next(&self) -> Option<Target> {
        self.queue.lock().partitions.pop_front()
    }

    /// Waits until there is something in the queue.
    fn wait(&self) {
        let mut queue = self.queue.lock();
        while queue.is_empty() {
            self.arrived.wait(&mut queue);
        }
    }

    /// Notes what a finished sync covers, for the next recovery.
    pub fn note_flushed(&self, key: PartitionKey, below: LogOffset) {
        self.notes.lock().insert(key, below);
    }

    /// Makes a journal file. Blocks for as long as it takes to write it.
    pub fn prepare(&self, disk: &RealDisk, slot: usize) {
        let made = prepare_file(disk, slot, self.limits);
        let mut state = self.state.lock();
        if let Err(cause) = &made {
            warn!(%cause, "a journal file could not be made; appends are synced one partition at a time instead");
            state.prepare_after = Instant::now() + PREPARE_AGAIN;
        }
        state.journal.add(slot, made);
    }
}

/// Starts the threads. They end when the process does.
pub fn start(shell: &Arc<Shell>) -> std::io::Result<()> {
    for number in 0..WRITERS {
        let shell = Arc::clone(shell);
        thread::Builder::new()
            .name(format!("journal-{number}"))
            .stack_size(256 << 10)
            .spawn(move || or_exit(|| work(&shell)))?;
    }
    Ok(())
}

/// What one round took.
#[derive(Default)]
struct Members(Vec<(Target, LogOffset)>);

/// What is needed to write rounds, used again and again.
struct Writer {
    round: Round,
    members: Members,
}

impl Writer {
    fn new(round_bytes: usize) -> Self {
        Self { round: Round::new(round_bytes), members: Members::default() }
    }
}

fn work(shell: &Shell) {
    let journaling = &shell.journal;
    let mut writer = Writer::new(ROUND_BYTES);
    loop {
        // While one thread waits for the disk, the next one waits here, and what it will take collects.
        let turn = journaling.turn.lock();
        journaling.wait();
        let mut out = shell.outputs();
        let mut state = journaling.state.lock();
        let outcome = write_round(shell, &mut state, None, &mut writer, &mut out);
        drop((state, turn));
        finish(shell, &mut writer, &outcome, &mut out);
        shell.dispatch(out);
    }
}

/// Makes durable, on the thread that calls, what a partition has appended: if nobody writes or waits, and the last round was
/// of one partition as well. Otherwise gives the partition back, for the [queue](Journaling::push). Blocks.
pub fn commit_here(shell: &Shell, partition: Target, out: &mut ShellOutputs) -> Option<Target> {
    let journaling = &shell.journal;
    if !journaling.alone.load(Ordering::Relaxed) || !journaling.queue.lock().is_empty() {
        return Some(partition);
    }
    let (Some(mut writer), Some(mut state)) = (journaling.own.try_lock(), journaling.state.try_lock()) else {
        return Some(partition);
    };
    block_in_place(|| {
        or_exit(|| {
            let outcome = write_round(shell, &mut state, Some(partition), &mut writer, out);
            drop(state);
            finish(shell, &mut writer, &outcome, out);
        });
    });
    None
}

/// One round: of what waits, and of `first`, which was never in the queue.
fn write_round(
    shell: &Shell,
    state: &mut State,
    first: Option<Target>,
    writer: &mut Writer,
    out: &mut ShellOutputs,
) -> Result<(), JournalError> {
    gather(&shell.journal, state, first, writer, out);
    let outcome = write(shell, state, &mut writer.round);
    look_after(shell, state, out);
    outcome
}

/// Takes what waits.
fn gather(
    journaling: &Journaling,
    state: &mut State,
    first: Option<Target>,
    Writer { round, members }: &mut Writer,
    out: &mut ShellOutputs,
) {
    let held = journaling.queue.lock().held.take();
    let mut left = held.and_then(|(partition, commit)| members.take(partition, commit, round, out));
    let mut next = first;
    while left.is_none()
        && let Some(partition) = next.take().or_else(|| journaling.next())
    {
        let commit = partition.commit(out);
        left = members.take(partition, commit, round, out);
    }
    if let Some(left) = left {
        journaling.hold(left);
    }
    if !members.0.is_empty() {
        journaling.alone.store(members.0.len() == 1, Ordering::Relaxed);
    }
    let now = Instant::now();
    if !round.is_empty() || now >= state.notes_after {
        state.notes_after = now + NOTES_AFTER;
        for (key, below) in std::mem::take(&mut *journaling.notes.lock()) {
            round.note_flushed(key, below);
        }
    }
}

impl Members {
    /// Adds what a partition gives to the round; gives it back if it does not fit into this one.
    fn take(
        &mut self,
        partition: Target,
        commit: CommitBy,
        round: &mut Round,
        out: &mut ShellOutputs,
    ) -> Option<(Target, CommitBy)> {
        match commit {
            CommitBy::Itself => None,
            CommitBy::Journal { batches, end } if round.has_room(&batches) => {
                round.push(partition.journal_key(), &batches);
                self.0.push((partition, end));
                None
            }
            // Alone it would not fit either.
            CommitBy::Journal { end, .. } if round.is_empty() => {
                partition.commit_by_sync(end, out);
                None
            }
            CommitBy::Journal { batches, end } => Some((partition, CommitBy::Journal { batches, end })),
        }
    }
}

fn write(shell: &Shell, state: &mut State, round: &mut Round) -> Result<(), JournalError> {
    if round.is_empty() {
        return Ok(());
    }
    let outcome = state.journal.write(round);
    match &outcome {
        Ok(()) => shell.metrics.journal_rounds.add(1),
        Err(JournalError::NoRoom) => {
            shell.journal.by_sync.fetch_add(1, Ordering::Relaxed);
            let told = std::mem::replace(&mut state.told_unopened, state.journal.unopened().is_some());
            if let Some(cause) = state.journal.unopened().filter(|_| !told) {
                warn!(%cause, "the next journal file cannot be opened; appends are synced one partition at a time until it can");
            }
        }
        Err(JournalError::Closed(cause)) => {
            error!(%cause, "the journal failed and is closed; appends are synced one partition at a time until the broker is restarted");
        }
    }
    outcome
}

/// Files: asks for new ones, has synced what full ones wait for, and frees those that nothing needs any more.
fn look_after(shell: &Shell, state: &mut State, out: &mut ShellOutputs) {
    let warm = shell.journal.by_sync.load(Ordering::Relaxed) >= WARM_UP;
    // A journal is worth less than the room for what it is there for (OP-10).
    let room = shell.node.room().room == Room::Enough;
    if warm
        && room
        && Instant::now() >= state.prepare_after
        && let Some(slot) = state.journal.wants_file()
    {
        shell.syncers.push(Job::JournalFile(slot));
    }
    if state.journal.sealed_files() == 0 {
        return;
    }
    let now = Instant::now();
    if now < state.look_after {
        return;
    }
    state.look_after = now + LOOK_EVERY;
    state.journal.release(|key| shell.node.flushed_end(key));
    let waiting: Vec<PartitionKey> = state.journal.waits_for().collect();
    let hurry = state.journal.sealed_files() > 1;
    if hurry {
        shell.node.journal_waits();
    }
    let mut left = if hurry { waiting.len() } else { waiting.len().div_ceil(SYNC_SHARE) };
    for key in waiting {
        if left == 0 {
            break;
        }
        // Partitions that are offline keep the file, and are passed over.
        left -= usize::from(shell.node.flush_one(key, out));
    }
}

fn finish(shell: &Shell, writer: &mut Writer, outcome: &Result<(), JournalError>, out: &mut ShellOutputs) {
    writer.round.clear();
    for (partition, end) in writer.members.0.drain(..) {
        match outcome {
            Ok(()) => partition.journaled(end, out),
            Err(JournalError::NoRoom) => partition.commit_by_sync(end, out),
            Err(JournalError::Closed(why)) => {
                shell.metrics.sync_failures.add(1);
                partition.journal_failed(why, out);
            }
        }
    }
}

/// Opens the journal of a data folder. Gives what recovery needs of it as well.
pub fn open(disk: &Arc<RealDisk>, clean: bool) -> Result<(Journaling, pyralog_storage::Replay<RealDisk>), String> {
    let told = |e: std::io::Error| format!("cannot open the journal: {e}");
    let limits = limits_for(disk.space().map_err(told)?);
    let (journal, replay) = Journal::open(Arc::clone(disk), limits, clean).map_err(told)?;
    for damage in &replay.damage {
        error!(%damage, "the journal is damaged; partitions that miss records because of it stay offline");
    }
    Ok((Journaling::new(journal, limits), replay))
}
