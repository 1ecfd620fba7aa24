//! What a peer takes its time for: answers in memory that it has not taken yet. Knows neither socket nor clock.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes of memory of unsent answers that count for little, however many connections have as much.
pub const LITTLE: usize = 64 << 10;
/// Longest time for more than that while others are given less for it, with a second more for each MiB.
const TIME: Duration = Duration::from_secs(30);

/// Answers since there were last few.
#[derive(Debug, Default)]
pub struct Owed {
    since: Option<Instant>,
    bytes: usize,
}

impl Owed {
    /// An answer of so many bytes comes to others, of which so many bytes are unsent and hold so much memory.
    pub fn add(&mut self, bytes: usize, (unsent, memory): (usize, usize), now: Instant) {
        if unsent.min(memory) < LITTLE {
            // What is in front of it may be records in files, which hold nothing and take their time.
            *self = Self { since: Some(now), bytes: unsent };
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether they are taken too slowly, if the part that is unsent still takes so much memory.
    pub fn is_slow(&self, memory: usize, now: Instant) -> bool {
        let allowed = TIME + Duration::from_secs((self.bytes >> 20) as u64);
        memory >= LITTLE && self.since.is_some_and(|since| now.saturating_duration_since(since) > allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_a_time_for_their_size_from_the_first_on_that_waits() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut owed = Owed::default();
        assert!(!owed.is_slow(8 << 20, after(1000)), "nothing was ever asked for");
        owed.add(8 << 20, (0, 0), begun);
        assert_eq!([37, 38, 39].map(|at| owed.is_slow(8 << 20, after(at))), [false, false, true]);
        assert!(!owed.is_slow(LITTLE - 1, after(1000)), "nearly all is taken");
        owed.add(20 << 20, (LITTLE, LITTLE), after(37));
        assert_eq!([58, 59].map(|at| owed.is_slow(LITTLE, after(at))), [false, true], "whoever takes much has time");
        owed.add(1, (LITTLE - 1, 8 << 20), after(100));
        assert_eq!([130, 131].map(|at| owed.is_slow(LITTLE, after(at))), [false, true], "all before was taken");
        owed.add(1 << 20, (40 << 20, 1), after(200));
        assert_eq!([271, 272].map(|at| owed.is_slow(LITTLE, after(at))), [false, true], "records in files come before");
    }
}
