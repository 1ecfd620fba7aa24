//! When a thread that sends backlogs offers its processor to others.
//!
//! Where the kernel does not preempt, a thread runs on for milliseconds while another that was woken waits for the processor, and an
//! acknowledged write is four or five such wakes. So readers' lanes offer it after each turn. The kernel takes that at its word (since Linux
//! 6.18 who yields gives up what is left of its share), and where writers take all there is, lanes that go on offering would be
//! left with next to nothing: behind a rate that a lane can count on, no offer is made.

use std::time::Duration;

use tokio::time::Instant;

/// Nanoseconds in which a lane can count on sending a KiB: 1 GB per second.
const NANOS_PER_KIB: u64 = 1_000;
/// How far ahead of that, or behind, is remembered.
const MEMORY: i64 = 10_000_000;

/// What one lane is ahead of its rate.
#[derive(Debug)]
pub struct Courtesy {
    ahead_nanos: i64,
    last: Instant,
}

impl Courtesy {
    /// On the rate.
    pub fn new(now: Instant) -> Self {
        Self { ahead_nanos: 0, last: now }
    }

    /// A turn in which so many bytes were sent is over. Tells whether the processor should be offered to others.
    pub fn is_due(&mut self, bytes: usize, now: Instant) -> bool {
        let took = nanos(now.saturating_duration_since(std::mem::replace(&mut self.last, now)));
        let may_take = Duration::from_nanos((bytes as u64 / 1024).saturating_mul(NANOS_PER_KIB));
        self.ahead_nanos = self.ahead_nanos.saturating_add(nanos(may_take)).saturating_sub(took).clamp(-MEMORY, MEMORY);
        self.ahead_nanos >= 0
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: usize = 256 << 10;

    /// Turns of which each takes so long; an offer adds what others make of it. How many offers were made, and the rate in MB/s.
    fn run(turn: Duration, others: Duration) -> (usize, f64) {
        let begin = Instant::now();
        let (mut now, mut courtesy) = (begin, Courtesy::new(begin));
        let mut offers = 0;
        for _ in 0..10_000 {
            now += turn;
            if courtesy.is_due(TURN, now) {
                offers += 1;
                now += others;
            }
        }
        (offers, (10_000 * TURN) as f64 / (now - begin).as_secs_f64() / 1e6)
    }

    #[test]
    fn an_offer_after_each_turn_while_the_rate_is_kept() {
        assert_eq!(run(Duration::from_micros(50), Duration::from_micros(100)).0, 10_000);
    }

    #[test]
    fn who_is_left_with_little_for_each_offer_makes_fewer_and_keeps_most_of_its_rate() {
        let (offers, rate) = run(Duration::from_micros(50), Duration::from_millis(4));
        assert!((400..600).contains(&offers), "{offers}");
        assert!(rate > 1_000.0, "{rate}");
        let (offers, rate) = run(Duration::from_micros(50), Duration::from_millis(30));
        assert!((100..300).contains(&offers), "{offers}");
        assert!(rate > 400.0, "{rate}");
    }

    #[test]
    fn who_had_nothing_to_send_is_not_owed_for_long() {
        let begin = Instant::now();
        let mut courtesy = Courtesy::new(begin);
        let idle = Duration::from_hours(1);
        assert!(!courtesy.is_due(TURN, begin + idle));
        let turn = |number| courtesy.is_due(TURN, begin + idle + Duration::from_micros(50) * number);
        assert_eq!((1..1_000).position(turn), Some(48));
    }
}
