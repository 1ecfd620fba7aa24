//! How long to wait before the next attempt: twice as long each time, up to a limit, and never twice the same, so that
//! many clients do not come back in step.

use pyralog_protocol::{Draw, MonoMs};

/// Waiting times that double.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first repetition, in milliseconds.
    pub first_ms: i64,
    /// The longest, in milliseconds.
    pub limit_ms: i64,
}

impl Backoff {
    /// The wait after this many failures in a row (the first is 1), give or take a fifth.
    pub fn delay_ms(&self, failures: u32, draw: &mut Draw) -> i64 {
        let doubled = 1i64.checked_shl(failures.saturating_sub(1).min(40)).unwrap_or(i64::MAX);
        let delay = self.first_ms.max(0).saturating_mul(doubled).min(self.limit_ms.max(0));
        let fifth = delay / 5;
        let spread = u64::try_from(2 * fifth + 1).unwrap_or(1);
        delay - fifth + i64::try_from(draw.next_u64() % spread).unwrap_or(0)
    }

    /// When to try again.
    pub fn next(&self, now: MonoMs, failures: u32, draw: &mut Draw) -> MonoMs {
        now.after_ms(self.delay_ms(failures, draw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_spread_by_a_fifth() {
        let backoff = Backoff { first_ms: 100, limit_ms: 1000 };
        let mut draw = Draw::new(1);
        for (failures, expected) in [(0, 100), (1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (90, 1000)] {
            let seen: Vec<i64> = (0..200).map(|_| backoff.delay_ms(failures, &mut draw)).collect();
            assert!(seen.iter().all(|ms| (expected * 4 / 5..=expected * 6 / 5).contains(ms)), "{failures}: {seen:?}");
            assert!(seen.iter().any(|ms| *ms != seen[0]), "{failures}: never the same");
        }
        assert_eq!(Backoff { first_ms: 0, limit_ms: 0 }.delay_ms(3, &mut draw), 0);
        assert_eq!(Backoff { first_ms: -5, limit_ms: 10 }.delay_ms(3, &mut draw), 0);
    }
}
