//! When requests are due in an open loop.
//!
//! Holds: due times depend on the rate alone, never on the answers. A server that stalls therefore finds every request
//! that it kept waiting in the latencies, and not only the few that were on their way (coordinated omission).

/// Requests at a fixed rate, of which a worker sends every `stride`-th, from `first` on. Times are nanoseconds since the
/// start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    rate_mhz: u64,
    first: u64,
    stride: u64,
}

impl Schedule {
    /// All requests of a rate, in requests per 1,000 seconds; at least 1.
    pub fn new(rate_mhz: u64) -> Self {
        Self { rate_mhz: rate_mhz.max(1), first: 0, stride: 1 }
    }

    /// The share of one of `workers` workers.
    pub fn share(self, worker: usize, workers: usize) -> Self {
        Self { first: wide(worker), stride: wide(workers).max(1), ..self }
    }

    /// When the worker's request number `index` is due.
    pub fn due_ns(&self, index: u64) -> u64 {
        let request = u128::from(index) * u128::from(self.stride) + u128::from(self.first);
        u64::try_from(request * 1_000_000_000_000 / u128::from(self.rate_mhz)).unwrap_or(u64::MAX)
    }

    /// How many of the worker's requests are due before a moment.
    pub fn due_before(&self, moment_ns: u64) -> u64 {
        // All requests of the rate before the moment, rounded up: the one at 0 is due before 1.
        let scaled = u128::from(moment_ns) * u128::from(self.rate_mhz);
        let all = u64::try_from(scaled.div_ceil(1_000_000_000_000)).unwrap_or(u64::MAX);
        all.saturating_sub(self.first).div_ceil(self.stride)
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn requests_are_due_at_the_rate() {
        let schedule = Schedule::new(500_000);
        assert_eq!((schedule.due_ns(0), schedule.due_ns(1), schedule.due_ns(500)), (0, 2_000_000, 1_000_000_000));
        assert_eq!(Schedule::new(500).due_ns(3), 6_000_000_000, "half a request per second");
    }

    #[test]
    fn what_is_due_before_a_moment_agrees_with_the_due_times() {
        for (rate, workers) in [(1, 1), (500_000, 1), (999_983, 3), (7_000, 4)] {
            for worker in 0..workers {
                let schedule = Schedule::new(rate).share(worker, workers);
                for index in [0, 1, 2, 3, 1000] {
                    let due = schedule.due_ns(index);
                    assert!(schedule.due_before(due) <= index + 1, "{rate} {worker}/{workers} {index}");
                    assert_eq!(schedule.due_before(due + 1), index + 1, "{rate} {worker}/{workers} {index}");
                }
            }
        }
    }

    #[test]
    fn the_shares_of_all_workers_are_the_whole_rate() {
        let whole = Schedule::new(123_457);
        for moment in [0, 1, 5_000_000_000, 60_000_000_000] {
            let shares: u64 = (0..5).map(|worker| whole.share(worker, 5).due_before(moment)).sum();
            assert_eq!(shares, whole.due_before(moment));
        }
    }

    #[test]
    fn a_rate_does_not_drift_within_a_day() {
        let schedule = Schedule::new(33_333);
        let day = 86_400 * 1_000_000_000;
        assert_eq!(schedule.due_before(day), 86_400 * 33_333 / 1000 + 1);
    }
}
