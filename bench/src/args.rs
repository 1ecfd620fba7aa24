//! Options of `pyralog bench`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use pyralog_protocol::batch::Codec;

use crate::fetch::AtEnd;

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchCommand {
    /// Write as fast as the broker answers, or at a fixed rate
    Produce(ProduceArgs),
    /// Read as fast as the broker answers
    Fetch(FetchArgs),
    /// Write single records at a fixed rate and measure how long each takes to be acknowledged (and delivered)
    Latency(LatencyArgs),
    /// Read, write or commit by VLSN (Pyralog only)
    Vlsn(VlsnArgs),
}

/// What all commands need to know.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Address of a broker; several are separated by commas
    #[arg(long, value_name = "HOST:PORT", env = "PYRALOG_BOOTSTRAP", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// The topic to use
    #[arg(long, value_name = "NAME", default_value = "bench")]
    pub topic: String,
    /// Create the topic with so many partitions if it is not there
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub create_partitions: Option<u32>,
    /// Copies of each partition of a topic that is created
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: i16,
    /// Config of a topic that is created, such as retention.bytes=100000000; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_config)]
    pub topic_config: Vec<(String, String)>,
    /// Delete the topic afterwards, whoever created it; not if the run is refused before it begins
    #[arg(long)]
    pub delete_topic: bool,
    /// The run created the topic, or began: until then it may be somebody's
    #[arg(skip)]
    pub(crate) is_ours: Arc<AtomicBool>,
    /// How long to measure: 10, 10s, 5m, 1h
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,
    /// How long to put load on before measuring [default: 1s, or nothing where it ends by itself]
    #[arg(long, value_name = "TIME", value_parser = parse_duration_or_zero)]
    pub warmup: Option<Duration>,
    /// Also print a result for each such interval
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub every: Option<Duration>,
    /// Also show what this local process (the broker) uses: processor time per gigabyte and per request, memory
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// End with exit code 1 once more answers than this are errors
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_errors: u64,
    /// Print results as JSON, one object per line
    #[arg(long)]
    pub json: bool,
    /// With --json: add how many latencies there were of each length, in microseconds
    #[arg(long, requires = "json")]
    pub histogram: bool,
}

/// `pyralog bench produce`
#[derive(Debug, Clone, Args)]
pub struct ProduceArgs {
    /// What all commands know.
    #[command(flatten)]
    pub common: Common,
    /// Connections; each is a producer that writes to all partitions in turn
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = count(10_000))]
    pub connections: usize,
    /// Unanswered requests of each connection
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = count(1_000))]
    pub in_flight: usize,
    /// Bytes of each record's value
    #[arg(long, value_name = "BYTES", default_value = "1KiB", value_parser = parse_bytes)]
    pub record_bytes: usize,
    /// Records of each request
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count(1_000_000), conflicts_with = "batch_bytes")]
    pub records_per_batch: usize,
    /// Instead: bytes of the values of each request together
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub batch_bytes: Option<usize>,
    /// Different keys; 0 for records without keys
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keys: u64,
    /// Requests per second of all connections together, at fixed times; without it, as fast as answers come
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub rate: Option<u64>,
    /// Who has to have a record before it is acknowledged
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    /// Compression of the batches
    #[arg(long, value_enum, default_value_t = CompressionType::None)]
    pub compression: CompressionType,
    /// Threads of this tool, which share the connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(256))]
    pub threads: usize,
}

/// `pyralog bench fetch`
#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// What all commands know.
    #[command(flatten)]
    pub common: Common,
    /// Connections; they share the partitions, and several read the same one if there are fewer
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = count(10_000))]
    pub connections: usize,
    /// Bytes of each answer
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_bytes)]
    pub max_bytes: usize,
    /// What to do at the end of a partition; with `stop` each is read once, and then the run ends
    #[arg(long, value_enum, default_value_t = AtEnd::Restart)]
    pub at_end: AtEnd,
    /// Begin behind the last record instead of at the first one
    #[arg(long)]
    pub latest: bool,
    /// Threads of this tool, which share the connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(256))]
    pub threads: usize,
}

/// `pyralog bench latency`
#[derive(Debug, Clone, Args)]
pub struct LatencyArgs {
    /// What all commands know.
    #[command(flatten)]
    pub common: Common,
    /// Records per second, at fixed times, on one connection
    #[arg(long, value_name = "N", default_value = "500", value_parser = parse_rate)]
    pub rate: u64,
    /// Bytes of each record's value
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = parse_bytes)]
    pub record_bytes: usize,
    /// Unanswered requests at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count(1_000))]
    pub in_flight: usize,
    /// Who has to have a record before it is acknowledged
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    /// Which partition
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub partition: i32,
    /// Also read the records with a long poll, and measure when each is delivered
    #[arg(long)]
    pub end_to_end: bool,
}

/// `pyralog bench vlsn`
#[derive(Debug, Clone, Args)]
pub struct VlsnArgs {
    /// What all commands know.
    #[command(flatten)]
    pub common: Common,
    /// What to do
    #[arg(value_enum)]
    pub work: VlsnWork,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(10_000))]
    pub connections: usize,
    /// Unanswered requests of each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1_000))]
    pub in_flight: usize,
    /// read: VLSNs are drawn from 0 up to this number, all of which were written
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub vlsns: u64,
    /// write: bytes of each record's value
    #[arg(long, value_name = "BYTES", default_value = "200", value_parser = parse_bytes)]
    pub record_bytes: usize,
    /// write: records of each request
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count(1_000_000))]
    pub records_per_batch: usize,
    /// write: end once everything below this VLSN is written
    #[arg(long, value_name = "VLSN")]
    pub until_vlsn: Option<u64>,
    /// Threads of this tool, which share the connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(256))]
    pub threads: usize,
}

/// What is done by VLSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VlsnWork {
    /// One record per request, drawn
    Read,
    /// Batches with rising VLSNs from 0 on; needs a log that is empty
    Write,
    /// One number per request, durably; each connection is a consumer of its own
    Commit,
}

/// `acks` of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// Nobody: there is no answer at all
    #[value(name = "0")]
    None,
    /// The leader
    #[value(name = "1")]
    Leader,
    /// All replicas in sync
    #[value(name = "all", alias = "-1")]
    All,
}

impl Acks {
    /// As on the wire.
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// `compression.type` of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names are Kafka's")]
pub enum CompressionType {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl CompressionType {
    /// The codec.
    pub fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Gzip => Codec::Gzip,
            Self::Snappy => Codec::Snappy,
            Self::Lz4 => Codec::Lz4,
            Self::Zstd => Codec::Zstd,
        }
    }
}

/// A count from 1 to `max`.
fn count(max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let parsed = text.parse().ok().filter(|n| (1..=max).contains(n));
        parsed.ok_or_else(|| format!("a whole number from 1 to {max} is needed"))
    }
}

/// `100`, `16KiB`, `1MiB`; `K` and `M` alone are powers of two as well.
fn parse_bytes(text: &str) -> Result<usize, String> {
    const MAX: usize = 64 << 20;
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        _ => return Err("give bytes as 100, 16KiB or 1MiB".to_owned()),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| (1..=MAX).contains(n));
    bytes.ok_or_else(|| "from 1 byte to 64MiB".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration_or_zero(text)?;
    if duration.is_zero() { Err("it must be longer than nothing".to_owned()) } else { Ok(duration) }
}

/// `10`, `10s`, `500ms`, `5m`, `1h`; a week at most.
fn parse_duration_or_zero(text: &str) -> Result<Duration, String> {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(number.len()..).unwrap_or_default() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("give a time as 500ms, 10s, 5m or 1h".to_owned()),
    };
    let seconds = number.parse::<f64>().map_err(|_| "give a time as 500ms, 10s, 5m or 1h".to_owned())?;
    let duration = Duration::try_from_secs_f64(seconds * unit).ok().filter(|duration| *duration <= WEEK);
    duration.ok_or_else(|| "from nothing to a week".to_owned())
}

/// Requests per second, kept as requests per 1,000 seconds.
fn parse_rate(text: &str) -> Result<u64, String> {
    let message = || "a number of requests per second from 0.001 to 10000000 is needed".to_owned();
    let rate = text.parse::<f64>().map_err(|_| message())?;
    if !(0.001..=10_000_000.0).contains(&rate) {
        return Err(message());
    }
    // In range, so that milliseconds of it are a whole number that fits.
    Duration::from_secs_f64(rate).as_millis().try_into().map_err(|_| message())
}

fn parse_config(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "NAME=VALUE is needed".to_owned())?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse_bytes, parse_duration, parse_rate};

    #[test]
    fn sizes_times_and_rates_are_read_as_people_write_them() {
        assert_eq!(["100", "1KiB", "64k", "1MiB"].map(|t| parse_bytes(t).ok()), [100, 1024, 65_536, 1 << 20].map(Some));
        let ms = |t| parse_duration(t).map(|d| d.as_millis()).ok();
        assert_eq!(["10", "500ms", "1.5s", "2m", "1h"].map(ms), [10_000, 500, 1_500, 120_000, 3_600_000].map(Some));
        assert_eq!(["0.5", "500", "100000"].map(|t| parse_rate(t).ok()), [500, 500_000, 100_000_000].map(Some));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        for text in ["", "0", "-1", "1GiB", "9999999999999999999999", "1.5k"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        for text in ["", "0", "0s", "-1s", "1d", "NaN", "inf", "10 years", "1000h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "0", "-5", "NaN", "inf", "1e30"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration("2 weeks"), Err("give a time as 500ms, 10s, 5m or 1h".to_owned()));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
    }
}
