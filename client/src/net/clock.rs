//! Time and randomness of the machine the client runs on, in the types of the pure half.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use pyralog_protocol::{Draw, MonoMs};

/// Milliseconds since the client began.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time.
    pub fn now(&self) -> MonoMs {
        MonoMs(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The moment as the runtime's timers want it.
    pub fn instant(&self, at: MonoMs) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        self.0.checked_add(Duration::from_millis(at.0)).unwrap_or(self.0 + FAR)
    }
}

/// A duration as the pure half wants it.
pub fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Randomness that differs from process to process: the standard library seeds its hash maps with it.
pub fn draw() -> Draw {
    let word = || u128::from(std::collections::hash_map::RandomState::new().build_hasher().finish());
    Draw::new(word() << 64 | word())
}
