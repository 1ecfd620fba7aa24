//! The thread that looks over old segments, slowly: a disk that forgets is found out while there may still be a copy
//! elsewhere (IO-07). A round goes once over everything that is sealed; the next one begins `pyralog.scrub.interval.ms`
//! after it began, or when somebody asks for one. Settings are looked at all the time, so that a change counts at once.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pyralog_coordinator::config::UpkeepSettings;
use pyralog_node::partition::Partition;
use pyralog_node::scrub::Scrubbed;
use pyralog_protocol::LogOffset;
use tracing::{error, info, warn};

use crate::cleaning::delay;
use crate::control::or_exit;
use crate::disk::RealDisk;
use crate::shell::Shell;

/// A broker that has just started has other things to do.
const FIRST_AFTER: Duration = Duration::from_secs(600);
/// Bytes between two looks at the clock and the settings.
const PACE_BYTES: u64 = 64 << 10;
/// Longest sleep before the settings are looked at again.
const NAP: Duration = Duration::from_millis(100);

/// What the thread shares with others.
#[derive(Default)]
pub struct Scrubbing {
    stopped: AtomicBool,
    /// Somebody wants a round now.
    asked: Mutex<bool>,
    changed: Condvar,
    /// When the pace allows the next byte.
    next_byte: Mutex<Option<Instant>>,
    running: AtomicBool,
    checked_bytes: AtomicU64,
    total_bytes: AtomicU64,
    /// When the last round was over, in seconds since 1970; 0: none was yet.
    finished_at: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct ScrubProgress {
    /// A round is under way.
    pub running: bool,
    /// Bytes of this round, or of the last one, that were checked.
    pub checked_bytes: u64,
    /// Bytes there were when it began.
    pub total_bytes: u64,
    /// When the last round was over, in seconds since 1970.
    pub finished_at: Option<u64>,
}

impl Scrubbing {
    /// Settings may have changed.
    pub fn settings_changed(&self) {
        drop(self.asked.lock());
        self.changed.notify_all();
    }

    /// Begins a round now, unless one is under way.
    pub fn ask(&self) {
        if !self.running.load(Ordering::Acquire) {
            *self.asked.lock() = true;
            self.changed.notify_all();
        }
    }

    /// How far it is.
    pub fn progress(&self) -> ScrubProgress {
        ScrubProgress {
            running: self.running.load(Ordering::Acquire) || *self.asked.lock(),
            checked_bytes: self.checked_bytes.load(Ordering::Relaxed),
            total_bytes: self.total_bytes.load(Ordering::Relaxed),
            finished_at: Some(self.finished_at.load(Ordering::Relaxed)).filter(|at| *at > 0),
        }
    }

    /// Ends a round where it is, and waits for the thread.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.settings_changed();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

fn settings(shell: &Shell) -> UpkeepSettings {
    shell.node.topology().image.broker().upkeep.clone()
}

/// Starts the thread.
pub fn start(shell: &Arc<Shell>) -> io::Result<()> {
    let for_thread = Arc::clone(shell);
    let thread = thread::Builder::new()
        .name("scrub".into())
        .stack_size(512 << 10)
        .spawn(move || or_exit(|| work(&for_thread)))?;
    *shell.scrubbing.thread.lock() = Some(thread);
    Ok(())
}

fn work(shell: &Arc<Shell>) {
    let started = Instant::now();
    let mut last = None;
    while wait(shell, started, last) {
        last = Some(Instant::now());
        round(shell);
    }
}

/// Waits for the next round. False: stop.
fn wait(shell: &Shell, started: Instant, last: Option<Instant>) -> bool {
    let scrubbing = &shell.scrubbing;
    let mut asked = scrubbing.asked.lock();
    loop {
        if scrubbing.is_stopped() {
            return false;
        }
        if *asked {
            // Before the wish is forgotten, so that whoever looks sees one of both.
            scrubbing.running.store(true, Ordering::Release);
            *asked = false;
            return true;
        }
        let interval = Duration::from_millis(u64::try_from(settings(shell).scrub_interval_ms).unwrap_or(0));
        if interval.is_zero() {
            scrubbing.changed.wait(&mut asked);
            continue;
        }
        let due =
            last.map_or_else(|| started.checked_add(FIRST_AFTER.min(interval)), |last| last.checked_add(interval));
        match due {
            Some(due) if due <= Instant::now() => return true,
            Some(due) => drop(scrubbing.changed.wait_until(&mut asked, due)),
            None => scrubbing.changed.wait(&mut asked),
        }
    }
}

/// Looks over everything once, beginning anywhere: a broker that is often restarted gets everywhere all the same.
fn round(shell: &Shell) {
    let scrubbing = &shell.scrubbing;
    scrubbing.running.store(true, Ordering::Release);
    let mut partitions = shell.node.partitions();
    if let Some(first) = usize::try_from(shell.draw().next_u64() >> 1).unwrap_or(0).checked_rem(partitions.len()) {
        partitions.rotate_left(first);
    }
    let sizes = partitions.iter().filter_map(|partition| partition.with_log(|log, _| log.size_bytes()).ok());
    scrubbing.total_bytes.store(sizes.sum(), Ordering::Relaxed);
    scrubbing.checked_bytes.store(0, Ordering::Relaxed);
    let began = Instant::now();
    let sound = partitions.iter().filter(|partition| look_over(shell, partition)).count();
    if !scrubbing.is_stopped() {
        let now = u64::try_from(shell.clock.now().wall.0 / 1000).unwrap_or(0);
        scrubbing.finished_at.store(now, Ordering::Relaxed);
        let bytes = scrubbing.checked_bytes.load(Ordering::Relaxed);
        info!(partitions = partitions.len(), sound, bytes, ms = %began.elapsed().as_millis(), "looked over old segments");
    }
    scrubbing.running.store(false, Ordering::Release);
}

/// Looks over a partition; says whether nothing was found.
fn look_over(shell: &Shell, partition: &Arc<Partition<RealDisk>>) -> bool {
    let mut from = LogOffset::ZERO;
    let waiting = Cell::new(0);
    let progress = |bytes: u64| {
        waiting.set(waiting.get() + bytes);
        if waiting.get() < PACE_BYTES { !shell.scrubbing.is_stopped() } else { pace(shell, waiting.take()) }
    };
    loop {
        let mut out = shell.outputs();
        let looked = partition.scrub(from, &progress, &mut out);
        shell.dispatch(out);
        match looked {
            Ok(None) => return true,
            Ok(Some(scrubbed)) => {
                from = scrubbed.next;
                if !note(shell, &scrubbed) {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return false,
            Err(error) => {
                shell.metrics.scrub_failures.add(1);
                error!(partition = %partition.dir, %error, "an old segment could not be read; the next round tries again");
                return false;
            }
        }
    }
}

/// Counts and tells what was seen; says whether the partition is sound so far.
fn note(shell: &Shell, scrubbed: &Scrubbed) -> bool {
    shell.metrics.scrub_read.add(scrubbed.bytes);
    shell.metrics.scrub_segments.add(1);
    shell.scrubbing.checked_bytes.fetch_add(scrubbed.bytes, Ordering::Relaxed);
    for finding in &scrubbed.derived {
        warn!(file = %finding.path, what = %finding.what, "an index is not what it should be; remove it, and it is built anew");
    }
    // Told where partitions that go offline are.
    let sound = scrubbed.damage.is_none();
    shell.metrics.scrub_damage.add(u64::from(!sound));
    sound
}

/// Sleeps until so many more bytes may be read; says whether to go on.
fn pace(shell: &Shell, bytes: u64) -> bool {
    let mut owed = bytes;
    loop {
        if shell.scrubbing.is_stopped() {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = settings(shell).scrub_bytes_per_second as f64;
        let wait = delay(&mut shell.scrubbing.next_byte.lock(), rate, std::mem::take(&mut owed), Instant::now());
        let Some(wait) = wait else { return true };
        thread::sleep(wait.min(NAP));
    }
}
