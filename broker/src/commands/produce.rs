//! `pyralog produce`: records from the standard input.
//!
//! Holds: records of one partition are written in the order of the lines; the command ends with success only when all are
//! acknowledged. A line is read while earlier ones are on their way; memory is bounded by the SDK's buffer and by the longest
//! line allowed.

use std::collections::VecDeque;
use std::time::Duration;

use clap::Args;
use pyralog_client::{Appended, Codec, Delivery, ProduceError, ProducerConfig, PyralogClient, Record};
use serde::Serialize;
use tokio::sync::mpsc;

use super::failure::{Exit, Failure};
use super::lines::{LINE_BYTES_MAX, Line, UNACKNOWLEDGED_MAX, read_lines};
use super::record::{self, Parsed};
use super::target::{Target, suggest_log};
use super::{output, values};

/// Flags of `pyralog produce`.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// The log to write to
    pub log: String,
    /// Lines are JSON objects: key, value, headers, partition, timestamp; what `consume --json` prints can be read
    #[arg(long, conflicts_with_all = ["key_separator", "key"])]
    pub json: bool,
    /// What stands in front of this in a line is the key (\t for a tab)
    #[arg(long, short = 'K', value_name = "TEXT", value_parser = values::separator, conflicts_with = "key")]
    pub key_separator: Option<String>,
    /// Key of every record
    #[arg(long, short, value_name = "TEXT")]
    pub key: Option<String>,
    /// A header of every record; may be repeated
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = values::setting)]
    pub header: Vec<(String, String)>,
    /// Write everything to this partition, instead of the one that the key chooses
    #[arg(long, short, value_name = "N", allow_negative_numbers = true)]
    pub partition: Option<u32>,
    /// With --json: choose partitions by key, whatever the lines say
    #[arg(long, requires = "json", conflicts_with = "partition")]
    pub ignore_partition: bool,
    /// Stop after so many records
    #[arg(long, short = 'n', value_name = "N", value_parser = values::number, allow_negative_numbers = true)]
    pub count: Option<u64>,
    /// Records end with a zero byte instead of the end of a line
    #[arg(long, short = '0')]
    pub null: bool,
    /// Compression of batches: none, gzip, snappy, lz4, zstd
    #[arg(long, value_name = "CODEC", default_value = "none", value_parser = codec)]
    pub compression: Codec,
    /// Print where each record was written, as one JSON object per line
    #[arg(long)]
    pub report: bool,
    /// Say nothing at the end
    #[arg(long, short)]
    pub quiet: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

fn codec(text: &str) -> Result<Codec, String> {
    match text {
        "none" => Ok(Codec::None),
        "gzip" => Ok(Codec::Gzip),
        "snappy" => Ok(Codec::Snappy),
        "lz4" => Ok(Codec::Lz4),
        "zstd" => Ok(Codec::Zstd),
        _ => Err("none, gzip, snappy, lz4 or zstd".to_owned()),
    }
}

/// Where a record was written.
#[derive(Serialize)]
struct Report {
    partition: u32,
    offset: i64,
}

/// Runs it.
pub async fn run(args: ProduceArgs) -> Result<(), Failure> {
    let config = args.target.config();
    let producer = ProducerConfig {
        codec: args.compression,
        request_bytes: LINE_BYTES_MAX + (1 << 20),
        buffer_bytes: 2 * (LINE_BYTES_MAX + (1 << 20)),
        // A pipe delivers line after line; a moment's company makes batches of them.
        linger: Duration::from_millis(5),
        ..config.producer.clone()
    };
    let client = args.target.connect_with(pyralog_client::ClientConfig { producer, ..config }).await?;
    // Before anything is read: an unknown log or partition is said at once.
    let found = client.get_log_metadata(&args.log).await.map(|log| log.partition_count);
    match (found, args.partition) {
        (Err(error), _) => return Err(suggest_log(&client, &args.log, error).await),
        (Ok(count), Some(partition)) if partition >= count => {
            let text =
                format!("log {} has no partition {partition}, it has 0 to {}", args.log, count.saturating_sub(1));
            return Err(Failure::Said(Exit::Missing, text));
        }
        (Ok(_), _) => {}
    }
    let lines = read_lines(if args.null { 0 } else { b'\n' });
    let mut run = Run { args, client, on_their_way: VecDeque::new(), written: 0, handed_over: 0 };
    let outcome = run.all(lines).await;
    if !run.args.quiet {
        let plural = if run.written == 1 { "record" } else { "records" };
        eprintln!("{} {plural} written to {}", run.written, run.args.log);
    }
    outcome
}

struct Run {
    args: ProduceArgs,
    client: PyralogClient,
    /// With the number of their line, oldest first.
    on_their_way: VecDeque<(u64, Delivery)>,
    written: u64,
    handed_over: u64,
}

impl Run {
    async fn all(&mut self, mut lines: mpsc::Receiver<Line>) -> Result<(), Failure> {
        let mut number = 0;
        let mut interrupted = false;
        while self.args.count.is_none_or(|count| self.handed_over < count) {
            let is_full = self.on_their_way.len() >= UNACKNOWLEDGED_MAX;
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => {
                    interrupted = true;
                    break;
                }
                outcome = next(&mut self.on_their_way), if !self.on_their_way.is_empty() => self.settle(outcome)?,
                line = lines.recv(), if !is_full => match line {
                    None => break,
                    Some(line) => {
                        number += 1;
                        self.hand_over(number, line).await?;
                    }
                }
            }
        }
        while !self.on_their_way.is_empty() {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => {
                    let unknown = self.on_their_way.len();
                    let text = format!("interrupted; {unknown} more may be written or not, nothing was heard of them");
                    return Err(Failure::Said(Exit::Interrupted, text));
                }
                outcome = next(&mut self.on_their_way) => self.settle(outcome)?,
            }
        }
        if interrupted {
            return Err(Failure::Said(Exit::Interrupted, "interrupted; what was read is written".to_owned()));
        }
        Ok(())
    }

    async fn hand_over(&mut self, number: u64, line: Line) -> Result<(), Failure> {
        let unit = if self.args.null { "record" } else { "line" };
        let wrong = |what: String| Failure::usage(format!("{unit} {number} of the input: {what}"));
        let line = line.map_err(wrong)?;
        let Parsed { record, partition } = self.parse(line).map_err(wrong)?;
        let log = self.args.log.as_str();
        let enqueued = match partition {
            Some(partition) => self.client.enqueue_to_partition(log, partition, record).await,
            None => self.client.enqueue(log, record).await,
        };
        let delivery = enqueued.map_err(|error| at_line(unit, number, error))?;
        self.handed_over += 1;
        self.on_their_way.push_back((number, delivery));
        Ok(())
    }

    fn parse(&self, line: Vec<u8>) -> Result<Parsed, String> {
        let args = &self.args;
        let mut parsed = if args.json {
            record::parse(&line)?
        } else {
            let (key, value) = match &args.key_separator {
                None => (args.key.as_ref().map(|key| key.clone().into_bytes()), line),
                Some(separator) => {
                    let (key, value) = split(&line, separator.as_bytes())
                        .ok_or_else(|| format!("there is no {separator:?} between key and value"))?;
                    (Some(key.to_vec()), value.to_vec())
                }
            };
            Parsed { record: Record::new(key, value), partition: None }
        };
        for (name, value) in &args.header {
            parsed.record = parsed.record.with_header(name, value.clone().into_bytes());
        }
        if args.ignore_partition {
            parsed.partition = None;
        }
        parsed.partition = args.partition.or(parsed.partition);
        Ok(parsed)
    }

    fn settle(&mut self, (number, outcome): (u64, Result<Appended, ProduceError>)) -> Result<(), Failure> {
        let unit = if self.args.null { "record" } else { "line" };
        let appended = outcome.map_err(|error| at_line(unit, number, error))?;
        self.written += 1;
        if self.args.report {
            let report = Report { partition: appended.partition, offset: appended.offset.0 };
            let text = serde_json::to_string(&report).map_err(|error| Failure::other(error.to_string()))?;
            output::print(&format!("{text}\n"))?;
        }
        Ok(())
    }
}

fn at_line(unit: &str, number: u64, error: ProduceError) -> Failure {
    Failure::from(error).inside(&format!("{unit} {number} of the input"))
}

/// The outcome of the oldest.
async fn next(on_their_way: &mut VecDeque<(u64, Delivery)>) -> (u64, Result<Appended, ProduceError>) {
    let Some((number, delivery)) = on_their_way.front_mut() else { return std::future::pending().await };
    let (number, outcome) = (*number, delivery.await);
    on_their_way.pop_front();
    (number, outcome)
}

fn split<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((line.get(..at)?, line.get(at + separator.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_at_the_first_separator() {
        assert_eq!(split(b"a::b::c", b"::"), Some((&b"a"[..], &b"b::c"[..])));
        assert_eq!(split(b"::", b"::"), Some((&b""[..], &b""[..])));
        assert_eq!((split(b"ab", b"::"), split(b"", b"::")), (None, None));
    }
}
