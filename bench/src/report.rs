//! Results, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::error::code_name;
use crate::process::Usage;
use crate::tally::Tally;

/// One result. Megabytes and gigabytes are powers of ten.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// `produce`, `fetch` or `latency`.
    pub what: &'static str,
    /// Whether this is the whole measured time, or an interval of `--every`.
    pub whole: bool,
    /// Seconds from the end of the warm-up to the end of what is summed up here.
    pub until_s: f64,
    /// Its length.
    pub seconds: f64,
    /// Whether the run was ended before its time.
    pub interrupted: bool,
    /// Requests answered without an error.
    pub requests: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of their batches as they travelled.
    pub bytes: u64,
    /// The same per second.
    pub requests_per_s: f64,
    /// The same per second.
    pub records_per_s: f64,
    /// Megabytes per second of batches as they travelled.
    pub mb_per_s: f64,
    /// Megabytes per second of keys and values before compression; only of what was produced.
    pub plain_mb_per_s: Option<f64>,
    /// From when latencies count: `due` or `sent`.
    pub latency_from: &'static str,
    /// Milliseconds to the answer.
    pub latency_ms: Option<Percentiles>,
    /// Milliseconds to the delivery, from when the record was due.
    pub delivery_ms: Option<Percentiles>,
    /// Milliseconds between when a request was due and when it was sent.
    pub send_delay_ms: Option<Percentiles>,
    /// Answers with an error, by Kafka's name.
    pub errors: BTreeMap<String, u64>,
    /// Requests that were never answered.
    pub unanswered: u64,
    /// Latencies in microseconds, and how many there were of each; with `--histogram`.
    pub latency_us: Option<Vec<(u64, u64)>>,
    /// Deliveries likewise.
    pub delivery_us: Option<Vec<(u64, u64)>>,
    /// The process that `--pid` names.
    pub process: Option<ProcessSummary>,
    /// Processor seconds that this tool itself used.
    pub own_cpu_s: Option<f64>,
}

/// Percentiles of a distribution.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

/// What a process used meanwhile.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ProcessSummary {
    /// Which.
    pub pid: u32,
    /// Processor seconds.
    pub cpu_s: f64,
    /// The same per gigabyte of batches.
    pub cpu_s_per_gb: Option<f64>,
    /// Microseconds of processor per request.
    pub cpu_us_per_request: Option<f64>,
    /// Resident megabytes at the end.
    pub resident_mb: f64,
}

/// What a result is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// `produce`, `fetch` or `latency`.
    pub what: &'static str,
    /// Whether this is all.
    pub whole: bool,
    /// Whether the run ended before its time.
    pub interrupted: bool,
    /// When the warm-up ended.
    pub measured_from_ns: u64,
    /// `due` or `sent`.
    pub latency_from: &'static str,
    /// Requests and their answers.
    pub main: &'a Tally,
    /// Deliveries, where they were measured.
    pub deliveries: Option<&'a Tally>,
    /// The process at the beginning and at the end.
    pub process: Option<(u32, Usage, Usage)>,
    /// This process.
    pub own: Option<(Usage, Usage)>,
    /// Whether all latencies are wanted.
    pub histogram: bool,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let ms = |ns: u64| ns as f64 / 1e6;
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            mean: histogram.mean() / 1e6,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: ms(histogram.max()),
        })
    }
}

fn microseconds(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram.iter_recorded().map(|v| (v.value_iterated_to() / 1_000, v.count_since_last_iteration())).collect()
}

/// `None` instead of a division by nothing.
fn per(amount: f64, count: f64) -> Option<f64> {
    (count > 0.0).then(|| amount / count)
}

impl Summary {
    /// Puts a result together.
    pub fn new(parts: &Parts<'_>) -> Self {
        let main = parts.main;
        let seconds = main.seconds();
        let [requests, records, bytes, plain] =
            [main.requests, main.records, main.bytes, main.plain_bytes].map(|count| count as f64);
        let rate = |count: f64| per(count, seconds).unwrap_or(0.0);
        let mut errors = BTreeMap::new();
        let mut unanswered = 0;
        for tally in [Some(main), parts.deliveries].into_iter().flatten() {
            unanswered += tally.unanswered;
            for (code, count) in &tally.errors {
                *errors.entry(code_name(*code)).or_default() += count;
            }
        }
        let process = parts.process.map(|(pid, before, after)| {
            let cpu_s = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            ProcessSummary {
                pid,
                cpu_s,
                cpu_s_per_gb: per(cpu_s, bytes / 1e9),
                cpu_us_per_request: per(cpu_s * 1e6, requests),
                resident_mb: after.resident as f64 / 1e6,
            }
        });
        Self {
            what: parts.what,
            whole: parts.whole,
            until_s: main.until_ns.saturating_sub(parts.measured_from_ns) as f64 / 1e9,
            seconds,
            interrupted: parts.interrupted,
            requests: main.requests,
            records: main.records,
            bytes: main.bytes,
            requests_per_s: rate(requests),
            records_per_s: rate(records),
            mb_per_s: rate(bytes) / 1e6,
            plain_mb_per_s: (main.plain_bytes > 0).then(|| rate(plain) / 1e6),
            latency_from: parts.latency_from,
            latency_ms: Percentiles::of(&main.latency),
            delivery_ms: parts.deliveries.and_then(|tally| Percentiles::of(&tally.latency)),
            send_delay_ms: Percentiles::of(&main.send_delay),
            errors,
            unanswered,
            latency_us: parts.histogram.then(|| microseconds(&main.latency)),
            delivery_us: parts.deliveries.filter(|_| parts.histogram).map(|tally| microseconds(&tally.latency)),
            process,
            own_cpu_s: parts.own.map(|(before, after)| after.cpu.saturating_sub(before.cpu).as_secs_f64()),
        }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        // Numbers, names and maps with text keys: nothing here can fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// One line, for an interval.
    pub fn line(&self) -> String {
        let mut line = format!("{:>6.0} s  {}", self.until_s, self.throughput());
        for (name, percentiles) in [("", self.latency_ms), ("delivery ", self.delivery_ms)] {
            if let Some(p) = percentiles {
                let _ = write!(line, "   {name}p50 {} p99 {} max {} ms", short(p.p50), short(p.p99), short(p.max));
            }
        }
        line + &self.problems("   ")
    }

    /// Some lines for people.
    pub fn text(&self) -> String {
        let mut text = format!("  throughput   {}   over {:.1} s\n", self.throughput(), self.seconds);
        if let Some(plain) = self.plain_mb_per_s.filter(|plain| (plain / self.mb_per_s - 1.0).abs() > 0.2) {
            let _ = writeln!(text, "  uncompressed {plain:.1} MB/s of keys and values");
        }
        let from = if self.latency_from == "due" { "from when a request was due" } else { "from when it was sent" };
        for (name, percentiles, from) in [
            ("answered  ", self.latency_ms, from),
            ("delivered ", self.delivery_ms, "from when the record was due"),
            ("sent late ", self.send_delay_ms, "by this tool, or because too much was in flight"),
        ] {
            let Some(p) = percentiles else { continue };
            let _ = writeln!(
                text,
                "  {name}   p50 {}  p99 {}  p99.9 {}  max {} ms   {from}",
                short(p.p50),
                short(p.p99),
                short(p.p99_9),
                short(p.max)
            );
        }
        if let Some(process) = &self.process {
            let dash = || "-".to_owned();
            let _ = writeln!(
                text,
                "  process {}   {} CPU-s per GB   {} us CPU per request   resident {:.1} MB",
                process.pid,
                process.cpu_s_per_gb.map_or_else(dash, |v| format!("{v:.2}")),
                process.cpu_us_per_request.map_or_else(dash, |v| format!("{v:.1}")),
                process.resident_mb
            );
        }
        text + &self.problems("  ")
    }

    fn throughput(&self) -> String {
        format!(
            "{:.1} MB/s   {:.0} requests/s   {:.0} records/s",
            self.mb_per_s, self.requests_per_s, self.records_per_s
        )
    }

    fn problems(&self, indent: &str) -> String {
        let mut problems: Vec<String> = self.errors.iter().map(|(name, count)| format!("{count} x {name}")).collect();
        if self.unanswered > 0 {
            problems.push(format!("{} never answered", self.unanswered));
        }
        if problems.is_empty() { String::new() } else { format!("{indent}ERRORS: {}", problems.join(", ")) }
    }
}

/// Three digits are as many as are exact.
fn short(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Parts, Summary, Usage};
    use crate::tally::Tally;

    fn tally() -> Tally {
        let mut tally = Tally::new(2_000_000_000);
        tally.until_ns = 12_000_000_000;
        (tally.requests, tally.records, tally.bytes, tally.plain_bytes) = (1_000, 64_000, 5_000_000_000, 9_000_000_000);
        tally.latency.saturating_record(2_000_000);
        tally
    }

    fn summary(main: &Tally) -> Summary {
        let usage = |s| Usage { cpu: Duration::from_secs(s), resident: 30_000_000 };
        Summary::new(&Parts {
            what: "produce",
            whole: true,
            interrupted: false,
            measured_from_ns: 2_000_000_000,
            latency_from: "sent",
            main,
            deliveries: None,
            process: Some((42, usage(1), usage(6))),
            own: None,
            histogram: true,
        })
    }

    #[test]
    fn rates_are_counts_over_the_measured_time() {
        let s = summary(&tally());
        assert_eq!((s.seconds, s.until_s, s.mb_per_s, s.requests_per_s), (10.0, 10.0, 500.0, 100.0));
        assert_eq!(s.latency_us.as_deref(), Some(&[(2_000, 1)][..]));
        let process = s.process.expect("a process");
        assert_eq!((process.cpu_s_per_gb, process.cpu_us_per_request), (Some(1.0), Some(5_000.0)));
        assert_eq!(
            s.text(),
            "  throughput   500.0 MB/s   100 requests/s   6400 records/s   over 10.0 s\n  \
             uncompressed 900.0 MB/s of keys and values\n  \
             answered     p50 2.00  p99 2.00  p99.9 2.00  max 2.00 ms   from when it was sent\n  \
             process 42   1.00 CPU-s per GB   5000.0 us CPU per request   resident 30.0 MB\n"
        );
    }

    #[test]
    fn a_run_without_an_answer_divides_by_nothing() {
        let mut nothing = Tally::new(0);
        nothing.errors.insert(3, 7);
        nothing.unanswered = 2;
        let s = summary(&nothing);
        assert_eq!((s.mb_per_s, s.latency_ms.is_none()), (0.0, true));
        assert!(s.line().ends_with("ERRORS: 7 x UNKNOWN_TOPIC_OR_PARTITION, 2 never answered"), "{}", s.line());
        let json: serde_json::Value = serde_json::from_str(&s.json()).expect("JSON");
        assert_eq!(json["errors"]["UNKNOWN_TOPIC_OR_PARTITION"], 7);
        assert_eq!(json["process"]["cpu_s_per_gb"], serde_json::Value::Null);
    }
}
