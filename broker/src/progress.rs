//! How far a start is: told by `/health/ready`, and by a line on the terminal every now and then once it takes longer than
//! a second. A start that has much to check must not look like one that hangs. Also whether it was called off: what is not
//! begun then is left.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use pyralog_storage::RecoveryReport;
use tracing::info;

/// First line after this; later ones come ever more rarely.
const TELL_AFTER: Duration = Duration::from_secs(1);
const TELL_EVERY_MAX: Duration = Duration::from_secs(30);
/// A partition that has been opening for this long is named.
const SLOW: Duration = Duration::from_secs(2);

/// What a start is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Opening the coordinator's store and the journal.
    #[default]
    Metadata,
    /// Opening the partitions.
    Partitions,
    /// The last steps before it serves.
    Last,
    /// It serves, or stops.
    Over,
}

/// Whether the broker serves, and until then how far it is.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    ready: AtomicBool,
    called_off: AtomicBool,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    stage: Stage,
    partitions: usize,
    opened: usize,
    checked_bytes: u64,
    /// Being opened, and since when.
    opening: BTreeMap<String, Instant>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            ready: AtomicBool::default(),
            called_off: AtomicBool::default(),
            state: Mutex::default(),
        }
    }
}

impl Progress {
    /// Says whether the broker serves: set with the ready line, taken back when a shutdown begins.
    pub fn set_ready(&self, ready: bool) {
        self.enter(Stage::Over);
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether it serves.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Somebody wants the broker to stop before it serves.
    pub fn call_off(&self) {
        self.called_off.store(true, Ordering::Release);
    }

    /// Whether somebody does.
    pub fn is_called_off(&self) -> bool {
        self.called_off.load(Ordering::Acquire)
    }

    /// The next stage begins.
    pub fn enter(&self, stage: Stage) {
        self.state.lock().stage = stage;
    }

    /// So many partitions are to be opened.
    pub fn expect(&self, partitions: usize) {
        *self.state.lock() = State { stage: Stage::Partitions, partitions, ..State::default() };
    }

    /// One of them begins.
    pub fn opening(&self, dir: &str) {
        self.state.lock().opening.insert(dir.to_owned(), Instant::now());
    }

    /// One of them is done.
    pub fn opened(&self, dir: &str, report: Option<&RecoveryReport>) {
        let mut state = self.state.lock();
        state.opening.remove(dir);
        state.opened += 1;
        state.checked_bytes += report.map_or(0, |report| report.scanned_bytes);
    }

    /// Tells on the terminal until the returned value is dropped.
    pub fn tell(self: &Arc<Self>) -> std::io::Result<Sender<()>> {
        let (over, waiting) = bounded::<()>(1);
        let progress = Arc::clone(self);
        std::thread::Builder::new().name("progress".into()).stack_size(128 << 10).spawn(move || {
            let mut pause = TELL_AFTER;
            while waiting.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                info!("{}: {progress}", if progress.is_called_off() { "stopping" } else { "starting" });
                pause = (pause + pause / 2).min(TELL_EVERY_MAX);
            }
        })?;
        Ok(over)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().clone();
        match state.stage {
            Stage::Metadata => f.write_str("reading metadata and journal")?,
            Stage::Partitions => {
                write!(f, "{} of {} partitions open", state.opened, state.partitions)?;
                if state.checked_bytes > 0 {
                    write!(f, ", {} MB checked", state.checked_bytes / 1_000_000)?;
                }
            }
            Stage::Last => f.write_str("partitions are open, last steps")?,
            Stage::Over => return f.write_str("stopping"),
        }
        write!(f, ", {} s", self.begun.elapsed().as_secs())?;
        let slow = state.opening.iter().filter(|(_, since)| since.elapsed() >= SLOW).min_by_key(|(_, since)| **since);
        slow.map_or(Ok(()), |(dir, since)| write!(f, ", {dir} since {} s", since.elapsed().as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_far_a_start_is_and_what_holds_it_up() {
        let progress = Progress::default();
        assert!(progress.to_string().starts_with("reading metadata"));
        progress.expect(3);
        for dir in ["logs/a-0", "logs/a-1"] {
            progress.opening(dir);
        }
        let report = RecoveryReport { scanned_bytes: 5_000_000, ..RecoveryReport::default() };
        progress.opened("logs/a-1", Some(&report));
        assert_eq!(progress.to_string(), "1 of 3 partitions open, 5 MB checked, 0 s");
        let long_ago = Instant::now().checked_sub(Duration::from_secs(7)).unwrap();
        progress.state.lock().opening.insert("logs/a-0".into(), long_ago);
        assert!(progress.to_string().ends_with(", logs/a-0 since 7 s"), "{progress}");
        assert!(!progress.is_ready());
        progress.set_ready(true);
        assert!(progress.is_ready());
    }
}
