//! The thread for what is to be done from time to time and may take its time: retention, the checkpoint that bounds the next
//! recovery, a look whether anything was removed. What has to be in time is [another one's](crate::deadlines).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use pyralog_node::room::Room;
use pyralog_protocol::{LogOffset, Now};
use tracing::{debug, info, warn};

use crate::control::or_exit;
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
/// How often it is seen to that what was appended is where the next start would find it: somebody may remove folders.
const PLACES_EVERY: Duration = Duration::from_secs(5);
/// A wall clock that moves by this much more or less than the monotonic one between two rounds has jumped.
const JUMP_MS: u64 = 60_000;

enum Message {
    /// Something is to be done earlier than the thread knew.
    Look,
    Stop,
}

/// Reaches the thread.
pub struct UpkeepHandle {
    messages: Sender<Message>,
    /// Recovery points are to be written.
    points_due: Arc<AtomicBool>,
}

/// The other end, for the thread.
pub struct UpkeepQueue {
    messages: Receiver<Message>,
    points_due: Arc<AtomicBool>,
}

/// A queue without its thread yet.
pub fn queue() -> (UpkeepHandle, UpkeepQueue) {
    let (sender, receiver) = unbounded();
    let points_due = Arc::new(AtomicBool::new(false));
    let queue = UpkeepQueue { messages: receiver, points_due: Arc::clone(&points_due) };
    (UpkeepHandle { messages: sender, points_due }, queue)
}

impl UpkeepHandle {
    /// How often something is to be done has changed.
    pub fn look(&self) {
        let _ = self.messages.send(Message::Look);
    }

    /// Recovery points have moved far enough to be written down soon.
    pub fn note_points(&self) {
        if !self.points_due.swap(true, Ordering::SeqCst) {
            let _ = self.messages.send(Message::Look);
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
        or_exit(|| run(&shell, &folder, &queue, intervals));
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
    let mut places = Duty::new(PLACES_EVERY, now);
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
        let mut until = checkpoints.at.min(retention.at).min(expiry.at).min(places.at);
        if queue.points_due.load(Ordering::SeqCst) {
            until = until.min(points_at + POINTS_EVERY);
        }
        if !sleep(queue, until) {
            return;
        }
        if young && begun.elapsed() >= LONG_LIFE {
            folder.forget_starts();
            young = false;
        }
        let now = shell.clock.now();
        if checkpoints.is_due() {
            checkpoint(shell, folder, &mut written);
        } else if queue.points_due.load(Ordering::SeqCst) && points_at.elapsed() >= POINTS_EVERY {
            // Before they are looked at, so that none that moves now is missed.
            queue.points_due.store(false, Ordering::SeqCst);
            write_points(folder, shell.node.recovery_points(), &mut written);
            points_at = Instant::now();
        }
        if places.is_due() {
            let mut out = shell.outputs();
            shell.node.check_places(&mut out);
            shell.dispatch(out);
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

/// Sleeps until then, or until it is told to look. False: stop.
fn sleep(queue: &UpkeepQueue, until: Instant) -> bool {
    match queue.messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Err(RecvTimeoutError::Timeout) | Ok(Message::Look) => {}
        Err(RecvTimeoutError::Disconnected) | Ok(Message::Stop) => return false,
    }
    !queue.messages.try_iter().any(|message| matches!(message, Message::Stop))
}

/// Whether the two clocks disagree about how long it was (OP-15).
pub(crate) fn jumped(before: Now, now: Now) -> bool {
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
