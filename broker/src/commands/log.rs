//! `pyralog log ...`: logs, which Kafka calls topics.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use pyralog_client::{
    LogConfig, LogError, LogId, LogMetadata, LogOffset, LogStats, LogUpdate, PyralogClient, RetentionConfig, StartAt,
    UpdateLogError,
};
use serde::Serialize;

use super::failure::Failure;
use super::output::{self, Row};
use super::target::{Target, suggest_log};
use super::{confirm, values};

/// What to do with logs.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// List all logs
    List(ListArgs),
    /// Create logs
    Create(CreateArgs),
    /// Show a log: its partitions, offsets and configs
    Describe(DescribeArgs),
    /// Change configs of a log, or give it more partitions
    Alter(AlterArgs),
    /// Refuse writes to logs while reads go on (Pyralog only)
    Pause(PauseArgs),
    /// Take writes again (Pyralog only)
    Resume(ResumeArgs),
    /// Delete logs with all their records
    Delete(DeleteArgs),
    /// How much logs hold, and how fast they grow
    Stats(StatsArgs),
}

/// Flags of `pyralog log list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Also logs that the broker keeps for itself
    #[arg(long, short)]
    pub all: bool,
    /// Print JSON: an array of objects with name, partitions, replicas, is_internal
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog log create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Names of the logs
    #[arg(required = true, value_name = "LOG")]
    pub logs: Vec<String>,
    /// Partitions [default: the broker's num.partitions]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub partitions: Option<u32>,
    /// Copies of each partition [default: the broker's default.replication.factor]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub replicas: Option<u32>,
    /// How long records are kept: 10m, 2h, 7d, or forever [default: the broker's]
    #[arg(long, value_name = "TIME", value_parser = retention, allow_negative_numbers = true)]
    pub retention: Option<Retention>,
    /// Bytes of each partition that are kept: 64KiB, 1MiB, 10GiB [default: the broker's]
    #[arg(long, value_name = "BYTES", value_parser = values::size, allow_negative_numbers = true)]
    pub retention_bytes: Option<u64>,
    /// Any config of a log by Kafka's name, such as cleanup.policy=compact; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = values::setting)]
    pub config: Vec<(String, String)>,
    /// Succeed if there is a log of that name already, whatever it is like
    #[arg(long)]
    pub if_not_exists: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// How long records are kept.
#[derive(Debug, Clone, Copy)]
pub enum Retention {
    /// For ever.
    Forever,
    /// For this long.
    For(Duration),
}

fn retention(text: &str) -> Result<Retention, String> {
    match text {
        "forever" => Ok(Retention::Forever),
        _ => values::span(text).map(Retention::For).map_err(|error| format!("{error}; or forever")),
    }
}

/// Flags of `pyralog log describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// Name of the log
    pub log: String,
    /// Print JSON: an object with name, id, partitions, configs and more
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog log alter`.
#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["partitions", "set", "reset"])]
pub struct AlterArgs {
    /// Name of the log
    pub log: String,
    /// The new number of partitions, more than there are; keys go to other partitions afterwards
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub partitions: Option<u32>,
    /// Set a config by Kafka's name, such as retention.ms=86400000; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = values::setting)]
    pub set: Vec<(String, String)>,
    /// Take a config back to its default; may be repeated
    #[arg(long, value_name = "NAME")]
    pub reset: Vec<String>,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog log pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Names of the logs
    #[arg(required = true, value_name = "LOG")]
    pub logs: Vec<String>,
    /// Producers are to give up at once, instead of waiting for the end of the pause
    #[arg(long)]
    pub fatal: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog log resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Names of the logs
    #[arg(required = true, value_name = "LOG")]
    pub logs: Vec<String>,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog log stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Names of the logs [default: all]
    #[arg(value_name = "LOG")]
    pub logs: Vec<String>,
    /// One line per partition
    #[arg(long, short)]
    pub partitions: bool,
    /// Print JSON: an array of objects with log, records, bytes, records_per_second, and partitions
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog log delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Names of the logs
    #[arg(required = true, value_name = "LOG")]
    pub logs: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Succeed if there is no log of that name
    #[arg(long)]
    pub if_exists: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Runs one of them.
pub async fn run(command: LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::List(args) => list(args).await,
        LogCommand::Create(args) => create(args).await,
        LogCommand::Describe(args) => describe(args).await,
        LogCommand::Alter(args) => alter(args).await,
        LogCommand::Pause(args) => pause(args).await,
        LogCommand::Resume(args) => resume(args).await,
        LogCommand::Delete(args) => delete(args).await,
        LogCommand::Stats(args) => stats(args).await,
    }
}

#[derive(Serialize)]
struct Listed {
    name: String,
    partitions: u32,
    replicas: u32,
    is_internal: bool,
}

impl Row for Listed {
    const COLUMNS: &'static [&'static str] = &["LOG", "PARTITIONS", "REPLICAS", "INTERNAL"];

    fn cells(&self) -> Vec<String> {
        let internal = output::yes_no(self.is_internal);
        vec![self.name.clone(), self.partitions.to_string(), self.replicas.to_string(), internal]
    }
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let logs = client.list_logs().await?;
    let listed = logs.into_iter().filter(|log| args.all || !log.is_internal).map(|log| Listed {
        name: log.log_id.to_string(),
        partitions: log.partition_count,
        replicas: log.replication_factor,
        is_internal: log.is_internal,
    });
    output::print_rows(args.json, &listed.collect::<Vec<_>>())
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let retention = match (args.retention, args.retention_bytes) {
        (None, None) => RetentionConfig::BrokerDefault,
        (None | Some(Retention::Forever), Some(bytes)) => RetentionConfig::Size(bytes),
        (Some(Retention::Forever), None) => RetentionConfig::Forever,
        (Some(Retention::For(time)), None) => RetentionConfig::Time(time),
        (Some(Retention::For(time)), Some(bytes)) => RetentionConfig::TimeAndSize { time, bytes },
    };
    for log in &args.logs {
        let config = LogConfig {
            partition_count: args.partitions.unwrap_or(0),
            replication_factor: args.replicas.unwrap_or(0),
            retention,
            configs: args.config.iter().cloned().collect(),
            ..LogConfig::default()
        };
        match client.create_log_with_config(log, config).await.map_err(Failure::from) {
            Ok(()) => output::print(&format!("created {log}\n"))?,
            Err(failure) if failure.is_exists() && args.if_not_exists => {
                output::print(&format!("{log} is there already\n"))?
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Described {
    name: String,
    id: String,
    /// As the records of `consume` have it; unset where the broker does not tell.
    created: Option<String>,
    is_internal: bool,
    replicas: u32,
    records: u64,
    partitions: Vec<DescribedPartition>,
    configs: BTreeMap<String, Option<String>>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: u32,
    leader: Option<i32>,
    epoch: i32,
    replicas: Vec<i32>,
    in_sync_replicas: Vec<i32>,
    /// Unset like the end if the partition cannot be read now.
    start_offset: Option<i64>,
    end_offset: Option<i64>,
}

impl DescribedPartition {
    fn records(&self) -> Option<i64> {
        Some(self.end_offset?.saturating_sub(self.start_offset?))
    }
}

impl Row for DescribedPartition {
    const COLUMNS: &'static [&'static str] =
        &["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "START", "END", "RECORDS"];

    fn cells(&self) -> Vec<String> {
        let known = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        vec![
            self.partition.to_string(),
            self.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            self.epoch.to_string(),
            output::list(&self.replicas),
            output::list(&self.in_sync_replicas),
            known(self.start_offset),
            known(self.end_offset),
            known(self.records()),
        ]
    }
}

async fn describe(args: DescribeArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    match described(&client, &args.log).await {
        Ok(described) if args.json => output::print_json(&described),
        Ok(described) => output::print(&page(&described)),
        Err(failure) => Err(suggest_log(&client, &args.log, failure).await),
    }
}

async fn described(client: &PyralogClient, log: &str) -> Result<Described, Failure> {
    let metadata: LogMetadata = client.get_log_metadata(log).await?;
    let starts = client.partition_offsets(log, StartAt::Earliest).await?;
    let ends = client.partition_offsets(log, StartAt::Latest).await?;
    ends.values().filter_map(|end| end.as_ref().err()).for_each(|error| eprintln!("{error}"));
    let at = |offsets: &BTreeMap<u32, Result<LogOffset, LogError>>, partition: u32| {
        offsets.get(&partition).and_then(|offset| Some(offset.as_ref().ok()?.0))
    };
    let partitions: Vec<DescribedPartition> = metadata
        .partitions
        .iter()
        .map(|partition| DescribedPartition {
            partition: partition.partition,
            leader: partition.leader.map(|node| node.0),
            epoch: partition.epoch.0,
            replicas: partition.replicas.iter().map(|node| node.0).collect(),
            in_sync_replicas: partition.in_sync_replicas.iter().map(|node| node.0).collect(),
            start_offset: at(&starts, partition.partition),
            end_offset: at(&ends, partition.partition),
        })
        .collect();
    let records = partitions
        .iter()
        .map(|partition| u64::try_from(partition.records().unwrap_or(0)).unwrap_or(0))
        .fold(0, u64::saturating_add);
    Ok(Described {
        name: metadata.log_id.to_string(),
        id: metadata.topic_id.to_string(),
        created: metadata.created_at.map(values::rfc3339),
        is_internal: metadata.is_internal,
        replicas: metadata.replication_factor,
        records,
        partitions,
        configs: metadata.configs,
    })
}

/// What is worth seeing at a glance; the other configs are in `--json` and in `pyralog config`.
fn page(described: &Described) -> String {
    const SHOWN: [&str; 6] = [
        "cleanup.policy",
        "retention.ms",
        "retention.bytes",
        "min.insync.replicas",
        "max.message.bytes",
        "pyralog.paused",
    ];
    let mut pairs = vec![
        ("log", described.name.clone()),
        ("id", described.id.clone()),
        ("partitions", described.partitions.len().to_string()),
        ("replicas", described.replicas.to_string()),
        ("records", described.records.to_string()),
    ];
    pairs.extend(described.created.iter().map(|created| ("created", created.clone())));
    let configs = SHOWN.iter().filter_map(|name| Some((*name, described.configs.get(*name)?.clone()?)));
    pairs.extend(configs);
    format!("{}\n{}", output::fields(&pairs), output::table(&described.partitions))
}

async fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let what = if args.logs.len() == 1 { "the log" } else { "the logs" };
    confirm(args.yes, &format!("Delete {what} {} with all records?", args.logs.join(", ")))?;
    for log in &args.logs {
        match client.delete_log(log).await.map_err(Failure::from) {
            Ok(()) => output::print(&format!("deleted {log}\n"))?,
            Err(failure) if failure.is_missing() && args.if_exists => {
                output::print(&format!("there is no log {log}\n"))?
            }
            Err(failure) => return Err(suggest_log(&client, log, failure).await),
        }
    }
    Ok(())
}

async fn alter(args: AlterArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let mut update = LogUpdate::new();
    for (name, value) in &args.set {
        update = update.set(name, value);
    }
    for name in &args.reset {
        update = update.reset(name);
    }
    if let Some(count) = args.partitions {
        update = update.partition_count(count);
    }
    match client.update_log_config(&args.log, update).await {
        Ok(()) => output::print(&format!("changed {}\n", args.log)),
        Err(error) => Err(suggest_log(&client, &args.log, error).await),
    }
}

/// The switch that Pyralog has and Kafka has not; see `docs/DIFFERENCES.md`.
const PAUSED: &str = "pyralog.paused";
const PAUSED_ERROR: &str = "pyralog.paused.error";

async fn pause(args: PauseArgs) -> Result<(), Failure> {
    let error = if args.fatal { "fatal" } else { "retriable" };
    let update = LogUpdate::new().set(PAUSED_ERROR, error).set(PAUSED, "true");
    switch(&args.target, &args.logs, &update, "paused").await
}

async fn resume(args: ResumeArgs) -> Result<(), Failure> {
    let update = LogUpdate::new().reset(PAUSED_ERROR).reset(PAUSED);
    switch(&args.target, &args.logs, &update, "resumed").await
}

async fn switch(target: &Target, logs: &[String], update: &LogUpdate, done: &str) -> Result<(), Failure> {
    let client = target.connect().await?;
    for log in logs {
        match client.update_log_config(log, update.clone()).await {
            Ok(()) => output::print(&format!("{done} {log}\n"))?,
            Err(error @ UpdateLogError::Config { .. }) => {
                return Err(Failure::from(error).hint("\nOnly Pyralog can pause logs; is this another broker?"));
            }
            Err(error) => return Err(suggest_log(&client, log, error).await),
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Counted {
    log: String,
    records: u64,
    bytes: u64,
    records_per_second: f64,
    partitions: Vec<CountedPartition>,
}

#[derive(Serialize)]
struct CountedPartition {
    #[serde(skip)]
    log: String,
    partition: u32,
    start_offset: i64,
    end_offset: i64,
    records: u64,
    bytes: u64,
    records_per_second: f64,
}

impl Row for Counted {
    const COLUMNS: &'static [&'static str] = &["LOG", "PARTITIONS", "RECORDS", "SIZE", "RECORDS/S"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.log.clone(),
            self.partitions.len().to_string(),
            self.records.to_string(),
            output::bytes(self.bytes),
            format!("{:.1}", self.records_per_second),
        ]
    }
}

impl Row for CountedPartition {
    const COLUMNS: &'static [&'static str] = &["LOG", "PARTITION", "START", "END", "RECORDS", "SIZE", "RECORDS/S"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.log.clone(),
            self.partition.to_string(),
            self.start_offset.to_string(),
            self.end_offset.to_string(),
            self.records.to_string(),
            output::bytes(self.bytes),
            format!("{:.1}", self.records_per_second),
        ]
    }
}

async fn stats(args: StatsArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let mut logs = Vec::new();
    for log in &args.logs {
        logs.push(LogId::new(log).map_err(pyralog_client::PyralogError::from)?);
    }
    if logs.is_empty() {
        logs.extend(client.list_logs().await?.into_iter().filter(|log| !log.is_internal).map(|log| log.log_id));
    }
    let stats = match client.get_stats_of(logs).await {
        Ok(stats) => stats,
        Err(LogError::Unknown { log }) => {
            return Err(suggest_log(&client, log.as_str(), LogError::Unknown { log: log.clone() }).await);
        }
        Err(error) => return Err(error.into()),
    };
    for (log, stats) in stats.iter().filter(|(_, stats)| !stats.unreadable.is_empty()) {
        eprintln!("log {log} without partitions that cannot be read now: {}", output::list(&stats.unreadable));
    }
    let counted: Vec<Counted> = stats.into_iter().map(|(log, stats)| counted(log.as_str(), &stats)).collect();
    if args.partitions && !args.json {
        let partitions = counted.into_iter().flat_map(|log| log.partitions);
        return output::print_rows(false, &partitions.collect::<Vec<_>>());
    }
    output::print_rows(args.json, &counted)
}

fn counted(log: &str, stats: &LogStats) -> Counted {
    let partitions = stats.partitions.iter().map(|of| CountedPartition {
        log: log.to_owned(),
        partition: of.partition,
        start_offset: of.start.0,
        end_offset: of.end.0,
        records: of.record_count,
        bytes: of.size_bytes,
        records_per_second: of.write_rate,
    });
    Counted {
        log: log.to_owned(),
        records: stats.record_count,
        bytes: stats.size_bytes,
        records_per_second: stats.write_rate,
        partitions: partitions.collect(),
    }
}
