//! The threads that compact logs. Each takes the log that needs it most, runs one round, and looks again; where nothing
//! is due it sleeps for `log.cleaner.backoff.ms`. What is set for the cleaner is looked at before each round and while it
//! waits, so that a change counts at once.
//!
//! No log is in work twice, by its folder: a round that outlives its log must not meet the next log of that name.
//! Nothing is compacted for a while after the clock has jumped (OP-15): tombstones go by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pyralog_coordinator::config::CleanerSettings;
use pyralog_node::compaction::Means;
use pyralog_node::partition::Partition;
use pyralog_protocol::{MonoMs, Now};
use pyralog_storage::{Cleanable, CompactError, CompactionRound, KeyMap};
use tracing::{error, info, warn};

use crate::control::or_exit;
use crate::disk::RealDisk;
use crate::shell::Shell;
use crate::upkeep::jumped;

type Target = Arc<Partition<RealDisk>>;

/// Most threads, whatever is set.
const THREADS_MAX: usize = 16;
/// Least memory for keys of one thread.
const KEYS_BYTES_MIN: usize = 1 << 20;
/// Bounds of the buffers for reading and writing of one thread.
const CHUNK_MIN: usize = 16 << 10;
const CHUNK_MAX: usize = 16 << 20;
/// Shortest pause, whatever is set.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Bytes between two looks at the clock and the settings.
const PACE_BYTES: u64 = 256 << 10;
/// Longest sleep of the throttle before it looks at the settings again.
const NAP: Duration = Duration::from_millis(100);
/// Without compaction after the clock jumped, in ms: as long as retention leaves out with Kafka's defaults.
const AFTER_JUMP_MS: i64 = 300_000;

/// What the threads share.
#[derive(Default)]
pub struct Cleaning {
    stopped: AtomicBool,
    /// Raised by every change of settings.
    changes: Mutex<u64>,
    changed: Condvar,
    busy: Mutex<BTreeSet<String>>,
    /// When the throttle allows the next byte.
    next_byte: Mutex<Option<Instant>>,
    running: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    clock: Mutex<ClockWatch>,
    /// Highest share of dirty bytes at the last look, in millionths.
    pub dirtiest: AtomicUsize,
}

/// Looks out for jumps of the wall clock.
#[derive(Debug, Default)]
struct ClockWatch {
    last: Option<Now>,
    /// Until when it is not gone by.
    until: MonoMs,
}

impl ClockWatch {
    /// Whether tombstones may go by this time.
    fn trusts(&mut self, now: Now) -> bool {
        if self.last.replace(now).is_some_and(|last| jumped(last, now)) {
            warn!("the clock jumped; nothing is compacted for some minutes");
            self.until = now.mono.after_ms(AFTER_JUMP_MS);
        }
        now.mono >= self.until
    }
}

impl Cleaning {
    /// Settings may have changed: whoever sleeps looks at them.
    pub fn settings_changed(&self) {
        *self.changes.lock() += 1;
        self.changed.notify_all();
    }

    /// Ends all rounds where they are, and waits for the threads.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.settings_changed();
        loop {
            let Some(thread) = self.threads.lock().pop() else { return };
            let _ = thread.join();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

fn settings(shell: &Shell) -> CleanerSettings {
    shell.node.topology().image.broker().cleaner.clone()
}

fn threads_of(settings: &CleanerSettings) -> usize {
    let wanted = if settings.enabled { usize::try_from(settings.threads).unwrap_or(0) } else { 0 };
    wanted.min(THREADS_MAX)
}

/// Starts the first thread, which starts the others as they are wanted.
pub fn start(shell: &Arc<Shell>) -> std::io::Result<()> {
    spawn(shell, 0)
}

fn spawn(shell: &Arc<Shell>, number: usize) -> std::io::Result<()> {
    let for_thread = Arc::clone(shell);
    shell.cleaning.running.fetch_max(number + 1, Ordering::AcqRel);
    let thread = thread::Builder::new()
        .name(format!("cleaner-{number}"))
        .stack_size(512 << 10)
        .spawn(move || or_exit(|| work(&for_thread, number)))?;
    shell.cleaning.threads.lock().push(thread);
    Ok(())
}

fn work(shell: &Arc<Shell>, number: usize) {
    let cleaning = &shell.cleaning;
    // Logs that could not be compacted just now must not keep the others waiting.
    let mut passed_over = BTreeSet::new();
    while !cleaning.is_stopped() {
        let settings = settings(shell);
        let threads = threads_of(&settings);
        if number == 0 {
            see_to_threads(shell, threads);
        } else if number >= threads && leaves(cleaning, number) {
            return;
        }
        if number >= threads || !clean_one(shell, &mut passed_over) {
            pause(shell);
            passed_over.clear();
        }
    }
}

/// The first thread starts those that are missing, the highest number last.
fn see_to_threads(shell: &Arc<Shell>, wanted: usize) {
    while !shell.cleaning.is_stopped() && shell.cleaning.running.load(Ordering::Acquire) < wanted {
        let number = shell.cleaning.running.load(Ordering::Acquire);
        if let Err(cause) = spawn(shell, number) {
            warn!(%cause, "a cleaner thread could not be started; the others compact alone");
            shell.cleaning.running.store(number, Ordering::Release);
            return;
        }
    }
}

/// Threads end from the highest number on, so that the numbers in use stay without a gap.
fn leaves(cleaning: &Cleaning, number: usize) -> bool {
    cleaning.running.compare_exchange(number + 1, number, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// Sleeps for the backoff that is set, also when it is set anew meanwhile.
fn pause(shell: &Shell) {
    let cleaning = &shell.cleaning;
    let began = Instant::now();
    let mut changes = cleaning.changes.lock();
    let threads = threads_of(&settings(shell));
    while !cleaning.is_stopped() {
        let now = settings(shell);
        let backoff = Duration::from_millis(u64::try_from(now.backoff_ms).unwrap_or(0)).max(PAUSE_MIN);
        let until = began.checked_add(backoff).unwrap_or(began + Duration::from_secs(86_400));
        if Instant::now() >= until || threads_of(&now) != threads {
            return;
        }
        cleaning.changed.wait_until(&mut changes, until);
    }
}

/// Runs a round on the log that needs it most. False: none does.
fn clean_one(shell: &Shell, passed_over: &mut BTreeSet<String>) -> bool {
    let now = shell.clock.now();
    if !shell.cleaning.clock.lock().trusts(now) {
        return false;
    }
    let Some((partition, found)) = pick(shell, now, passed_over) else { return false };
    let began = Instant::now();
    let mut out = shell.outputs();
    let outcome = run(shell, now, &partition, &mut out);
    shell.dispatch(out);
    shell.cleaning.busy.lock().remove(&partition.dir);
    match outcome {
        Ok(Some(round)) => tell(shell, &partition, &found, &round, began.elapsed()),
        Ok(None) => {
            passed_over.insert(partition.dir.clone());
        }
        Err(failure) => {
            tell_failure(shell, &partition, &failure);
            passed_over.insert(partition.dir.clone());
        }
    }
    true
}

/// The log that is overdue by most, else the dirtiest of those that are due. It is marked as being in work.
fn pick(shell: &Shell, now: Now, passed_over: &BTreeSet<String>) -> Option<(Target, Cleanable)> {
    let mut busy = shell.cleaning.busy.lock();
    let mut out = shell.outputs();
    let (mut best, mut dirtiest): (Option<(Target, Cleanable)>, u64) = (None, 0);
    for partition in shell.node.compacted() {
        if busy.contains(&partition.dir) || passed_over.contains(&partition.dir) {
            continue;
        }
        match partition.cleanable(now, &mut out) {
            Ok(Some(found)) => {
                dirtiest = dirtiest.max(found.dirty_millionths());
                let rank = |c: &Cleanable| (c.overdue_ms, c.dirty_millionths());
                if found.due && best.as_ref().is_none_or(|(_, before)| rank(&found) > rank(before)) {
                    best = Some((partition, found));
                }
            }
            Ok(None) => {}
            Err(cause) => {
                warn!(partition = %partition.dir, %cause, "it is not known whether this log wants compaction")
            }
        }
    }
    shell.dispatch(out);
    shell.cleaning.dirtiest.store(usize::try_from(dirtiest).unwrap_or(usize::MAX), Ordering::Relaxed);
    if let Some((partition, _)) = &best {
        busy.insert(partition.dir.clone());
    }
    best
}

fn run(
    shell: &Shell,
    now: Now,
    partition: &Target,
    out: &mut crate::shell::ShellOutputs,
) -> Result<Option<CompactionRound>, CompactError> {
    let settings = settings(shell);
    let threads = threads_of(&settings).max(1);
    let keys = usize::try_from(settings.dedupe_buffer_bytes).unwrap_or(0) / threads;
    let chunk = usize::try_from(settings.io_buffer_bytes).unwrap_or(0) / threads / 2;
    let mut draw = shell.draw();
    let secret = [draw.next_u64(), draw.next_u64()];
    let mut map = KeyMap::new(keys.max(KEYS_BYTES_MIN), settings.load_factor, secret);
    let mut waiting = 0;
    let mut pace = |bytes: u64| {
        waiting += bytes;
        if waiting < PACE_BYTES {
            return !shell.cleaning.is_stopped();
        }
        throttle(shell, std::mem::take(&mut waiting))
    };
    let means = Means { map: &mut map, chunk: chunk.clamp(CHUNK_MIN, CHUNK_MAX), pace: &mut pace };
    partition.compact(now, means, out)
}

/// Sleeps until so many more bytes may be read or written; says whether to go on.
fn throttle(shell: &Shell, bytes: u64) -> bool {
    let cleaning = &shell.cleaning;
    let mut owed = bytes;
    loop {
        if cleaning.is_stopped() {
            return false;
        }
        let Some(wait) = delay(&mut cleaning.next_byte.lock(), rate(shell), std::mem::take(&mut owed), Instant::now())
        else {
            return true;
        };
        thread::sleep(wait.min(NAP));
    }
}

fn rate(shell: &Shell) -> f64 {
    settings(shell).bytes_per_second_max
}

/// Charges the bytes to an account; gives how long to wait until it is balanced.
#[expect(clippy::cast_precision_loss, reason = "a time to sleep")]
pub(crate) fn delay(next_byte: &mut Option<Instant>, rate: f64, bytes: u64, now: Instant) -> Option<Duration> {
    /// Above this the throttle is none.
    const RATE_MAX: f64 = 1e12;
    /// Longest debt: a rate that was set by mistake can be set anew and is forgotten soon.
    const DEBT_MAX: f64 = 3600.0;
    if !(0.0..RATE_MAX).contains(&rate) {
        *next_byte = None;
        return None;
    }
    let cost = Duration::from_secs_f64((bytes as f64 / rate.max(1.0)).min(DEBT_MAX));
    let due = next_byte.map_or(now, |due| due.max(now)) + cost;
    *next_byte = Some(due);
    Some(due - now).filter(|wait| !wait.is_zero())
}

fn tell(shell: &Shell, partition: &Target, found: &Cleanable, round: &CompactionRound, took: Duration) {
    let metrics = &shell.metrics;
    metrics.compactions.add(1);
    metrics.compaction_read.add(round.read_bytes);
    metrics.compaction_written.add(round.written_bytes);
    info!(partition = %partition.dir, dirty = found.dirty_bytes, clean = found.clean_bytes, keys = round.keys,
        read = round.read_bytes, written = round.written_bytes, segments = round.replaced, into = round.segments,
        up_to = %round.clean_end, ms = %took.as_millis(), "compacted a log");
}

fn tell_failure(shell: &Shell, partition: &Target, failure: &CompactError) {
    match failure {
        CompactError::Stopped | CompactError::Changed(_) => {}
        CompactError::DiskFull(_) => {
            shell.metrics.compaction_failures.add(1);
            warn!(partition = %partition.dir, cause = %failure, "there was no room to compact a log; it is tried again");
        }
        CompactError::Io { .. } if !failure.is_lasting() => {
            shell.metrics.compaction_failures.add(1);
            warn!(partition = %partition.dir, cause = %failure, "a log could not be compacted for now; it is tried again");
        }
        CompactError::Offline(_) | CompactError::Folder(_) => {
            shell.metrics.compaction_failures.add(1);
            error!(partition = %partition.dir, cause = %failure,
                "compaction of a log ended with the partition");
        }
        CompactError::Io { .. }
        | CompactError::Damaged { .. }
        | CompactError::TooLarge { .. }
        | CompactError::Outgrown { .. }
        | CompactError::HalfWay(_) => {
            shell.metrics.compaction_failures.add(1);
            error!(partition = %partition.dir, cause = %failure,
                "this log cannot be compacted; it serves on, grows, and is not tried again before the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use pyralog_protocol::WallMs;

    use super::*;

    #[test]
    fn the_throttle_lets_so_many_bytes_through_per_second() {
        let (mut account, began) = (None, Instant::now());
        let mut now = began;
        for _ in 0..100 {
            if let Some(wait) = delay(&mut account, 1000.0, 50, now) {
                now += wait;
            }
        }
        assert_eq!((now - began).as_millis(), 5000, "5,000 bytes at 1,000 per second");
        // What was not used before is not saved up.
        now += Duration::from_secs(60);
        assert_eq!(delay(&mut account, 1000.0, 1000, now), Some(Duration::from_secs(1)));
        assert_eq!(delay(&mut account, f64::MAX, 1 << 40, now), None, "Kafka's default is no limit");
        assert_eq!(delay(&mut account, 1000.0, 0, now), None, "and it forgets what was owed");
    }

    #[test]
    fn op_15_a_clock_that_jumps_is_not_gone_by_for_a_while() {
        const DAY: i64 = 86_400_000;
        let at = |mono: u64, wall: i64| Now { mono: MonoMs(mono), wall: WallMs(wall) };
        let mut clock = ClockWatch::default();
        assert!(clock.trusts(at(1000, DAY)) && clock.trusts(at(16_000, DAY + 15_000)));
        assert!(!clock.trusts(at(31_000, 9 * DAY)), "ahead");
        assert!(!clock.trusts(at(46_000, DAY + 45_000)), "and back");
        assert!(!clock.trusts(at(345_999, DAY + 344_999)));
        assert!(clock.trusts(at(346_000, DAY + 345_000)), "five minutes without a jump");
    }
}
