//! `pyralog vlsn ...` and `pyralog sequencer ...`: logs that are addressed by VLSN, and durable counters.

mod write;

use std::time::Duration;

use clap::{Args, Subcommand};
use pyralog_client::{PyralogClient, Record, VlsnClient, VlsnCommitTracker, VlsnError, VlsnRead};
use serde::Serialize;

use super::failure::Failure;
use super::output::{self, Row};
use super::record::Printed;
use super::target::{Target, suggest_log};
use super::values;
use write::WriteArgs;

/// What to do with a VLSN log.
#[derive(Debug, Subcommand)]
pub enum VlsnCommand {
    /// Show how far a log is: its first, last and first undecided VLSN, and those of its partitions
    Describe(DescribeArgs),
    /// Write each line of the standard input at the next VLSN, and print the VLSNs
    Write(WriteArgs),
    /// Print the record of a VLSN
    Get(GetArgs),
    /// Print the records of a span of VLSNs, in their order
    Range(RangeArgs),
    /// Note that a consumer has dealt with everything up to a VLSN
    Commit(CommitArgs),
    /// Show up to where a consumer has dealt with a log
    Committed(CommittedArgs),
}

/// Flags of `pyralog vlsn describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The log
    pub log: String,
    /// Print JSON: an object with log, first, undecided, last and partitions
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog vlsn get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The log
    pub log: String,
    /// The VLSN
    #[arg(value_parser = values::vlsn, allow_negative_numbers = true)]
    pub vlsn: u64,
    /// Wait so long for a record that is not written yet: 500ms, 10s, 5m
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    pub wait: Option<Duration>,
    /// Print the record as JSON, as `pyralog consume --json` does; the offset is the VLSN
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog vlsn range`.
#[derive(Debug, Args)]
pub struct RangeArgs {
    /// The log
    pub log: String,
    /// The first VLSN
    #[arg(value_parser = values::vlsn, allow_negative_numbers = true)]
    pub from: u64,
    /// The VLSN behind the last one
    #[arg(value_parser = values::number, allow_negative_numbers = true)]
    pub to: u64,
    /// Print a line of JSON for each record; and for each gap, as {"gap": [from, to]}, and what retention took, as {"trimmed": [from, to]}
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog vlsn commit`.
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// The log
    pub log: String,
    /// Name of the consumer
    pub consumer: String,
    /// Everything up to this VLSN is done
    #[arg(value_parser = values::vlsn, allow_negative_numbers = true)]
    pub vlsn: u64,
    /// Also if the consumer was further already
    #[arg(long)]
    pub force: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog vlsn committed`.
#[derive(Debug, Args)]
pub struct CommittedArgs {
    /// The log
    pub log: String,
    /// Name of the consumer
    pub consumer: String,
    /// Print JSON: an object with log, consumer, committed, resume_vlsn, resume_partition and lag
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// What to do with a sequencer.
#[derive(Debug, Subcommand)]
pub enum SequencerCommand {
    /// Take numbers that nobody is ever given again, and print the first and the one behind the last
    Reserve(ReserveArgs),
    /// Show the first number that nobody has
    Show(ShowArgs),
}

/// Flags of `pyralog sequencer reserve`.
#[derive(Debug, Args)]
pub struct ReserveArgs {
    /// The sequencer; it comes into being with its first use, at 0
    pub name: String,
    /// How many numbers
    #[arg(default_value_t = 1, value_parser = values::number, allow_negative_numbers = true)]
    pub count: u64,
    /// Print JSON: an object with sequencer, first and end
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog sequencer show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The sequencer
    pub name: String,
    /// Print JSON: an object with sequencer and next
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Runs a command about VLSN logs.
pub async fn run(command: VlsnCommand) -> Result<(), Failure> {
    match command {
        VlsnCommand::Describe(args) => describe(args).await,
        VlsnCommand::Write(args) => write::run(args).await,
        VlsnCommand::Get(args) => get(args).await,
        VlsnCommand::Range(args) => range(args).await,
        VlsnCommand::Commit(args) => commit(args).await,
        VlsnCommand::Committed(args) => committed(args).await,
    }
}

/// Runs a command about sequencers.
pub async fn run_sequencer(command: SequencerCommand) -> Result<(), Failure> {
    match command {
        SequencerCommand::Reserve(args) => reserve(args).await,
        SequencerCommand::Show(args) => show(args).await,
    }
}

async fn open(target: &Target, log: &str) -> Result<VlsnClient, Failure> {
    let client = target.connect().await?;
    match VlsnClient::open(client.clone(), log).await {
        Ok(opened) => Ok(opened),
        Err(error) => Err(suggest_log(&client, log, error).await),
    }
}

#[derive(Serialize)]
struct Standing<'a> {
    log: &'a str,
    first: u64,
    undecided: u64,
    last: Option<u64>,
    partitions: Vec<PartitionLine>,
}

#[derive(Serialize)]
struct PartitionLine {
    partition: usize,
    last: Option<u64>,
}

impl Row for PartitionLine {
    const COLUMNS: &'static [&'static str] = &["PARTITION", "LAST"];

    fn cells(&self) -> Vec<String> {
        vec![self.partition.to_string(), optional(self.last)]
    }
}

fn optional(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

async fn describe(args: DescribeArgs) -> Result<(), Failure> {
    let log = open(&args.target, &args.log).await?;
    let standing = log.standing().await?;
    let partitions = standing.partitions.iter().enumerate();
    let partitions = partitions.map(|(partition, last)| PartitionLine { partition, last: *last }).collect();
    let (first, undecided, last) = (standing.first, standing.undecided, standing.last);
    let shown = Standing { log: &args.log, first, undecided, last, partitions };
    if args.json {
        return output::print_json(&shown);
    }
    let fields = output::fields(&[
        ("log", shown.log.to_owned()),
        ("first", shown.first.to_string()),
        ("last", optional(shown.last)),
        ("undecided", shown.undecided.to_string()),
    ]);
    output::print(&format!("{fields}\n{}", output::table(&shown.partitions)))
}

fn print_record(json: bool, log: &str, record: &Record) -> Result<(), Failure> {
    if !json {
        return output::print_bytes(&[&record.value[..], b"\n"].concat());
    }
    let line = serde_json::to_string(&Printed::of(log, record)).map_err(|error| Failure::other(error.to_string()))?;
    output::print(&format!("{line}\n"))
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let log = open(&args.target, &args.log).await?;
    let read: VlsnRead = match args.wait {
        Some(wait) => log.wait(args.vlsn, wait).await?,
        None => log.read(args.vlsn).await?,
    };
    print_record(args.json, &args.log, &read.record(args.vlsn)?)
}

async fn range(args: RangeArgs) -> Result<(), Failure> {
    if args.from > args.to {
        return Err(Failure::usage(format!("the range {}..{} ends before it begins", args.from, args.to)));
    }
    let log = open(&args.target, &args.log).await?;
    let mut pages = log.pages(args.from, args.to);
    while let Some(page) = pages.next().await? {
        if args.json {
            // In the order of VLSNs, whatever a line is about.
            let mut lines: Vec<(u64, String)> = Vec::new();
            for (name, spans) in [("gap", &page.gaps), ("trimmed", &page.trimmed)] {
                let line = |span: &std::ops::Range<u64>| format!("{{\"{name}\": [{}, {}]}}", span.start, span.end);
                lines.extend(spans.iter().map(|span| (span.start, line(span))));
            }
            for record in &page.records {
                let line = serde_json::to_string(&Printed::of(&args.log, record));
                let line = line.map_err(|error| Failure::other(error.to_string()))?;
                lines.push((record.vlsn().unwrap_or(u64::MAX), line));
            }
            lines.sort_by_key(|(vlsn, _)| *vlsn);
            let text = lines.into_iter().fold(String::new(), |text, (_, line)| text + &line + "\n");
            output::print(&text)?;
        } else {
            for record in &page.records {
                print_record(false, &args.log, record)?;
            }
        }
    }
    if pages.position() < args.to {
        let from = pages.position();
        eprintln!("pyralog: from VLSN {from} on nothing is decided yet: what is not there may still be written");
    }
    Ok(())
}

async fn tracker(target: &Target, log: &str, consumer: &str) -> Result<VlsnCommitTracker, Failure> {
    let client: PyralogClient = target.connect().await?;
    match VlsnCommitTracker::load(client.clone(), log, consumer).await {
        Ok(tracker) => Ok(tracker),
        Err(error) => Err(suggest_log(&client, log, error).await),
    }
}

async fn commit(args: CommitArgs) -> Result<(), Failure> {
    let tracker = tracker(&args.target, &args.log, &args.consumer).await?;
    let committed = match args.force {
        true => tracker.force_commit(args.vlsn).await,
        false => tracker.commit(args.vlsn).await,
    };
    committed.map_err(|error| {
        let hint = if matches!(error, VlsnError::CommittedBeyond { .. }) { "; --force goes back to it" } else { "" };
        Failure::from(error).hint(hint)
    })
}

#[derive(Serialize)]
struct Committed<'a> {
    log: &'a str,
    consumer: &'a str,
    committed: Option<u64>,
    resume_vlsn: u64,
    resume_partition: u32,
    lag: Option<u64>,
}

async fn committed(args: CommittedArgs) -> Result<(), Failure> {
    let tracker = tracker(&args.target, &args.log, &args.consumer).await?;
    let position = tracker.resume_from_commit().await?;
    let shown = Committed {
        log: &args.log,
        consumer: &args.consumer,
        committed: tracker.committed().await?,
        resume_vlsn: position.vlsn,
        resume_partition: position.partition,
        lag: tracker.lag().await?,
    };
    if args.json {
        return output::print_json(&shown);
    }
    output::print(&output::fields(&[
        ("log", shown.log.to_owned()),
        ("consumer", shown.consumer.to_owned()),
        ("committed", optional(shown.committed)),
        ("goes on at", format!("{} in partition {}", shown.resume_vlsn, shown.resume_partition)),
        ("lag", optional(shown.lag)),
    ]))
}

#[derive(Serialize)]
struct Reserved<'a> {
    sequencer: &'a str,
    first: u64,
    end: u64,
}

async fn reserve(args: ReserveArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let taken = client.reserve(&args.name, args.count).await?;
    let shown = Reserved { sequencer: &args.name, first: taken.start, end: taken.end };
    if args.json { output::print_json(&shown) } else { output::print(&format!("{} {}\n", shown.first, shown.end)) }
}

#[derive(Serialize)]
struct Shown<'a> {
    sequencer: &'a str,
    next: u64,
}

async fn show(args: ShowArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    // One that was never used would begin there.
    let next = client.sequencer_position(&args.name).await?.unwrap_or(0);
    let shown = Shown { sequencer: &args.name, next };
    if args.json { output::print_json(&shown) } else { output::print(&format!("{next}\n")) }
}
