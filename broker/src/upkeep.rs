//! The thread for what is due from time to time: retention, the checkpoint that bounds the next recovery, and what the node
//! has deadlines for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use pyralog_node::room::Room;
use pyralog_protocol::{LogOffset, MonoMs, Now};
use tracing::{debug, info, warn};

use crate::folder::DataFolder;
use crate::shell::Shell;

/// A broker that lived this long is not in a loop of crashes (OP-11).
const LONG_LIFE: Duration = Duration::from_secs(600);
/// How often retention runs while the disk is full.
const TIGHT_EVERY: Duration = Duration::from_secs(10);
/// How often the recovery checkpoint is written, when anything changed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// How often recovery points are written at most between two checkpoints, while segments fill up and are synced: what a
/// recovery has to read is bounded by what is written meanwhile.
const POINTS_EVERY: Duration = Duration::from_secs(2);
/// A wall clock that moves by this much more or less than the monotonic one between two rounds has jumped.
const JUMP_MS: u64 = 60_000;

enum Message {
    /// Something is due earlier than the thread knew.
    Due,
    Stop,
}

/// Reaches the thread.
pub struct UpkeepHandle {
    messages: Sender<Message>,
    /// When the thread wakes by itself, in monotonic ms; far away while it works.
    wakes_at: Arc<AtomicU64>,
    /// Recovery points are to be written.
    points_due: Arc<AtomicBool>,
}

/// The other end, for the thread.
pub struct UpkeepQueue {
    messages: Receiver<Message>,
    wakes_at: Arc<AtomicU64>,
    points_due: Arc<AtomicBool>,
}

/// A queue without its thread yet.
pub fn queue() -> (UpkeepHandle, UpkeepQueue) {
    let (sender, receiver) = unbounded();
    let wakes_at = Arc::new(AtomicU64::new(u64::MAX));
    let points_due = Arc::new(AtomicBool::new(false));
    let queue =
        UpkeepQueue { messages: receiver, wakes_at: Arc::clone(&wakes_at), points_due: Arc::clone(&points_due) };
    (UpkeepHandle { messages: sender, wakes_at, points_due }, queue)
}

impl UpkeepHandle {
    /// Something is due at that moment. Costs a message only if the thread would sleep longer.
    pub fn wake_by(&self, at: MonoMs) {
        if at.0 < self.wakes_at.load(Ordering::SeqCst) {
            let _ = self.messages.send(Message::Due);
        }
    }

    /// Recovery points have moved far enough to be written down soon.
    pub fn note_points(&self) {
        if !self.points_due.swap(true, Ordering::SeqCst) {
            let _ = self.messages.send(Message::Due);
        }
    }

    /// Ends the thread.
    pub fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
    }
}

/// How often things are looked after.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// `log.retention.check.interval.ms`.
    pub retention: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub expiry: Duration,
}

/// Starts the thread.
pub fn start(
    shell: Arc<Shell>,
    folder: Arc<DataFolder>,
    queue: UpkeepQueue,
    intervals: Intervals,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("upkeep".into()).stack_size(512 << 10).spawn(move || {
        run(&shell, &folder, &queue, intervals);
    })
}

/// Something to be done again and again.
struct Duty {
    every: Duration,
    at: Instant,
    last: Now,
}

impl Duty {
    fn new(every: Duration, now: Now) -> Self {
        // Further than any process lives, so that the sum is a moment.
        let every = every.min(Duration::from_secs(10 * 365 * 86_400));
        Self { every, at: Instant::now() + every, last: now }
    }

    /// Whether it is time; if so, the next time is set.
    fn is_due(&mut self) -> bool {
        let due = Instant::now() >= self.at;
        if due {
            self.at = Instant::now() + self.every;
        }
        due
    }

    /// It is due after this at the latest.
    fn hurry(&mut self, within: Duration) {
        self.at = self.at.min(Instant::now() + within);
    }

    /// The same for what goes by wall time: skipped where the clock jumped since the last time (OP-15).
    fn is_due_by_clock(&mut self, what: &str, now: Now) -> bool {
        if !self.is_due() {
            return false;
        }
        let jumped = jumped(std::mem::replace(&mut self.last, now), now);
        if jumped {
            warn!(%what, "the clock jumped; this round is skipped");
        }
        !jumped
    }
}

fn run(shell: &Shell, folder: &DataFolder, queue: &UpkeepQueue, intervals: Intervals) {
    let mut written = BTreeMap::new();
    let now = shell.clock.now();
    let mut checkpoints = Duty::new(CHECKPOINT_EVERY, now);
    let mut retention = Duty::new(intervals.retention, now);
    let mut expiry = Duty::new(intervals.expiry, now);
    let begun = Instant::now();
    let mut points_at = begun;
    let mut young = true;
    loop {
        if shell.node.room().room != Room::Enough {
            // A full disk waits for what retention may take.
            retention.hurry(TIGHT_EVERY);
        }
        let mut until = checkpoints.at.min(retention.at).min(expiry.at);
        if queue.points_due.load(Ordering::SeqCst) {
            until = until.min(points_at + POINTS_EVERY);
        }
        if !sleep(shell, queue, until) {
            return;
        }
        if young && begun.elapsed() >= LONG_LIFE {
            folder.forget_starts();
            young = false;
        }
        let now = shell.clock.now();
        let mut out = shell.outputs();
        shell.node.run_due(now, &mut out);
        shell.dispatch(out);
        if checkpoints.is_due() {
            checkpoint(shell, folder, &mut written);
        } else if queue.points_due.load(Ordering::SeqCst) && points_at.elapsed() >= POINTS_EVERY {
            // Before they are looked at, so that none that moves now is missed.
            queue.points_due.store(false, Ordering::SeqCst);
            write_points(folder, shell.node.recovery_points(), &mut written);
            points_at = Instant::now();
        }
        if expiry.is_due_by_clock("expiry of idle producers", now) {
            let forgotten = shell.node.expire_producers(now);
            debug!(forgotten, "looked for idle producers");
        }
        if retention.is_due_by_clock("retention", now) {
            retain(shell, now);
        }
    }
}

/// Sleeps until then, until something is due in the node, or until it is told that something is. False: stop.
fn sleep(shell: &Shell, queue: &UpkeepQueue, until: Instant) -> bool {
    // From here on whoever adds something sends a message, so that what is added after the look below is not missed.
    queue.wakes_at.store(u64::MAX, Ordering::SeqCst);
    let due = shell.node.next_due().map(|at| shell.clock.instant(at).into_std());
    let until = due.map_or(until, |due| due.min(until));
    let pause = until.saturating_duration_since(Instant::now());
    let wakes_at = shell.clock.now().mono.after_ms(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
    queue.wakes_at.store(wakes_at.0, Ordering::SeqCst);
    match queue.messages.recv_timeout(pause) {
        Err(RecvTimeoutError::Timeout) => {}
        Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        Ok(Message::Due) => {}
    }
    !queue.messages.try_iter().any(|message| matches!(message, Message::Stop))
}

/// Whether the two clocks disagree about how long it was (OP-15).
fn jumped(before: Now, now: Now) -> bool {
    let mono = i64::try_from(now.mono.0.saturating_sub(before.mono.0)).unwrap_or(i64::MAX);
    let wall = now.wall.0.saturating_sub(before.wall.0);
    wall.abs_diff(mono) > JUMP_MS
}

fn retain(shell: &Shell, now: Now) {
    let mut out = shell.outputs();
    let (removed, problems) = shell.node.enforce_retention(now, &mut out);
    shell.dispatch(out);
    for problem in problems {
        warn!(%problem, "retention failed; it is tried again in the next round");
    }
    if removed > 0 {
        info!(segments = removed, "retention removed old segments");
    }
}

fn checkpoint(shell: &Shell, folder: &DataFolder, written: &mut BTreeMap<String, LogOffset>) {
    let mut out = shell.outputs();
    shell.node.flush(&mut out);
    shell.dispatch(out);
    write_points(folder, shell.node.checkpoint(), written);
}

fn write_points(folder: &DataFolder, points: BTreeMap<String, LogOffset>, written: &mut BTreeMap<String, LogOffset>) {
    if points == *written {
        return;
    }
    match folder.write_recovery_points(&points) {
        Ok(()) => *written = points,
        Err(error) => warn!(%error, "the recovery checkpoint could not be written; the next start may scan more"),
    }
}
