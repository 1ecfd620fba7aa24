//! What was counted in a stretch of a run.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Latencies above this are counted as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// A histogram of nanoseconds, exact to three digits.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants that the library accepts; one that grows by itself is the fallback.
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).unwrap_or_else(|_| growing())
}

#[allow(clippy::expect_used, reason = "three digits are within the library's documented range")]
fn growing() -> Histogram<u64> {
    Histogram::new(3).expect("three significant digits")
}

/// Counts and latencies between two moments, in nanoseconds since the start of the run.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Its begin.
    pub from_ns: u64,
    /// Its end.
    pub until_ns: u64,
    /// Requests answered without an error (or sent, where no answer comes).
    pub requests: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of their batches as they travelled.
    pub bytes: u64,
    /// Bytes of keys and values before compression; not known of what was fetched.
    pub plain_bytes: u64,
    /// From when a request was sent, or was due, to its answer; or from when a record was due to its delivery.
    pub latency: Histogram<u64>,
    /// From when a request was due to when it was sent.
    pub send_delay: Histogram<u64>,
    /// Answers by error code.
    pub errors: BTreeMap<i16, u64>,
    /// Requests that got no answer although the run waited for them; their latencies count as the time waited.
    pub unanswered: u64,
}

impl Tally {
    /// Nothing yet.
    pub fn new(from_ns: u64) -> Self {
        Self {
            from_ns,
            until_ns: from_ns,
            requests: 0,
            records: 0,
            bytes: 0,
            plain_bytes: 0,
            latency: histogram(),
            send_delay: histogram(),
            errors: BTreeMap::new(),
            unanswered: 0,
        }
    }

    /// Adds what another one counted in the same stretch, or in the one after.
    pub fn add(&mut self, other: &Tally) {
        self.from_ns = self.from_ns.min(other.from_ns);
        self.until_ns = self.until_ns.max(other.until_ns);
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        self.plain_bytes += other.plain_bytes;
        self.add_late(other);
    }

    /// Adds the answers that came after the end: they belong to the latencies, but to no throughput.
    pub fn add_late(&mut self, other: &Tally) {
        self.unanswered += other.unanswered;
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        // Both have the same bounds, so that every value has its place.
        let _ = self.latency.add(&other.latency);
        let _ = self.send_delay.add(&other.send_delay);
    }

    /// How many answers were errors.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Its length.
    pub fn seconds(&self) -> f64 {
        // Exact up to 100 days.
        (self.until_ns.saturating_sub(self.from_ns)) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn tallies_add_up_and_late_answers_are_no_throughput() {
        let mut sum = Tally::new(1_000);
        for (from, latency) in [(1_000, 5_000_000), (2_000, 9_000_000_000_000)] {
            let mut tally = Tally::new(from);
            (tally.until_ns, tally.requests, tally.bytes) = (from + 1_000, 10, 700);
            tally.latency.saturating_record(latency);
            *tally.errors.entry(3).or_default() += 1;
            sum.add(&tally);
        }
        let mut late = Tally::new(3_000);
        (late.until_ns, late.requests, late.unanswered) = (9_000, 7, 1);
        late.latency.saturating_record(1_000);
        sum.add_late(&late);
        assert_eq!((sum.from_ns, sum.until_ns, sum.requests, sum.bytes), (1_000, 3_000, 20, 1400));
        assert_eq!((sum.error_count(), sum.unanswered, sum.latency.len()), (2, 1, 3));
        assert!(sum.latency.max() >= 3_500_000_000_000, "an hour at least");
        assert!((sum.seconds() - 2e-6).abs() < 1e-12);
    }

    #[test]
    fn percentiles_are_exact_to_three_digits() {
        let mut tally = Tally::new(0);
        (1..=1000u64).for_each(|ms| tally.latency.saturating_record(ms * 1_000_000));
        for (quantile, ms) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = tally.latency.value_at_quantile(quantile) as f64 / 1e6;
            assert!((found - ms).abs() / ms < 0.001, "{quantile}: {found}");
        }
    }
}
