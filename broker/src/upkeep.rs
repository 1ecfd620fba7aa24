//! The thread for what is due from time to time: retention, and the checkpoint that bounds the next recovery.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use pyralog_protocol::LogOffset;
use tracing::{info, warn};

use crate::folder::DataFolder;
use crate::shell::Shell;

/// How often the recovery checkpoint is written, when anything changed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// A wall clock that moves by this much more or less than the monotonic one between two rounds has jumped.
const JUMP_MS: u64 = 60_000;

/// The running thread; dropping it does not stop it.
pub struct Upkeep {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Upkeep {
    /// Starts the thread.
    pub fn start(shell: Arc<Shell>, folder: Arc<DataFolder>, retention_every: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let thread = thread::Builder::new()
            .name("upkeep".into())
            .stack_size(512 << 10)
            .spawn(move || run(&shell, &folder, retention_every, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread and waits for it.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

fn run(shell: &Shell, folder: &DataFolder, retention_every: Duration, stopped: &Receiver<()>) {
    let mut written = BTreeMap::new();
    let mut retention_at = Instant::now() + retention_every;
    let mut before = shell.clock.now();
    loop {
        let pause = CHECKPOINT_EVERY.min(retention_at.saturating_duration_since(Instant::now()));
        match stopped.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        checkpoint(shell, folder, &mut written);
        if Instant::now() < retention_at {
            continue;
        }
        retention_at = Instant::now() + retention_every;
        let now = shell.clock.now();
        if jumped(before, now) {
            warn!("the clock jumped; this round of retention is skipped");
        } else {
            retain(shell, now);
        }
        before = now;
    }
}

/// Whether the two clocks disagree about how long it was (OP-15).
fn jumped(before: pyralog_protocol::Now, now: pyralog_protocol::Now) -> bool {
    let mono = i64::try_from(now.mono.0.saturating_sub(before.mono.0)).unwrap_or(i64::MAX);
    let wall = now.wall.0.saturating_sub(before.wall.0);
    wall.abs_diff(mono) > JUMP_MS
}

fn retain(shell: &Shell, now: pyralog_protocol::Now) {
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
    let created = shell.node.create_late(&shell.disk, shell.clock.now());
    if created > 0 {
        info!(partitions = created, "partitions that could not be created before serve now");
    }
    let mut out = shell.outputs();
    shell.node.flush(&mut out);
    shell.dispatch(out);
    let points = shell.node.checkpoint();
    if points == *written {
        return;
    }
    match folder.write_recovery_points(&points) {
        Ok(()) => *written = points,
        Err(error) => warn!(%error, "the recovery checkpoint could not be written; the next start may scan more"),
    }
}
