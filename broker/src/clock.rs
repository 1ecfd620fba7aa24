//! The only place where time is read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyralog_protocol::{MonoMs, Now, WallMs};
use tokio::time::Instant;

/// Both clocks of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts the monotonic clock.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Both clocks, now.
    pub fn now(&self) -> Now {
        let mono = MonoMs(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono, wall: WallMs(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)) }
    }

    /// The moment of a deadline, rounded up so that it has passed when the timer fires.
    pub fn instant(&self, at: MonoMs) -> Instant {
        let far = Duration::from_secs(10 * 365 * 86_400);
        self.started + Duration::from_millis(at.0.saturating_add(1)).min(far)
    }
}
