//! `pyralog consume`: records to the standard output.
//!
//! Holds: records of a partition come in order and once. With `--until-end` the command reads up to where each partition
//! ended when it began, and fails then if there is one that it could not read; otherwise it waits for more until Ctrl-C, which is a success. With `--group`, a position is committed
//! only after the records before it were printed.

use std::collections::BTreeMap;

use clap::Args;
use pyralog_client::{
    ClientConfig, LogError, LogId, LogOffset, LogReader, PartitionCommitTracker, PyralogClient, PyralogError, Record,
    StartAt,
};

use super::failure::Failure;
use super::output;
use super::record::Printed;
use super::target::{Target, suggest_log};
use super::values::{self, From};

/// Records that are printed at once.
const BATCH: usize = 1000;

/// Flags of `pyralog consume`.
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// The log to read
    pub log: String,
    /// Where to begin: earliest, latest, an offset, -N for the last N records of each partition, a moment as
    /// 2026-11-25T14:30:00Z or @UNIX_SECONDS, or how long ago as 10m, 2h, 7d [default: earliest; with --group: where it was]
    #[arg(long, short, value_name = "POSITION", value_parser = values::position, allow_hyphen_values = true)]
    pub from: Option<From>,
    /// Read these partitions only; may be repeated
    #[arg(long, short, value_name = "N", value_delimiter = ',', allow_negative_numbers = true)]
    pub partition: Vec<u32>,
    /// End after so many records
    #[arg(long, short = 'n', value_name = "N", value_parser = values::number, allow_negative_numbers = true)]
    pub count: Option<u64>,
    /// End where the log ends now, instead of waiting for more
    #[arg(long, short = 'e')]
    pub until_end: bool,
    /// Print one JSON object per record: log, partition, offset, epoch, timestamp, key, value, headers
    #[arg(long, conflicts_with = "key_separator")]
    pub json: bool,
    /// Print the key in front of the value, with this between them (\t for a tab)
    #[arg(long, short = 'K', value_name = "TEXT", value_parser = values::separator)]
    pub key_separator: Option<String>,
    /// Print the time of each record in front of it, with a tab between them
    #[arg(long, conflicts_with = "json")]
    pub timestamps: bool,
    /// End each record with a zero byte instead of the end of a line
    #[arg(long, short = '0', conflicts_with = "json")]
    pub null: bool,
    /// Go on where this consumer group was, and commit how far was read. All partitions are read, also when others read
    /// with the same group
    #[arg(long, short, value_name = "GROUP", conflicts_with = "partition")]
    pub group: Option<String>,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Runs it.
pub async fn run(args: ConsumeArgs) -> Result<(), Failure> {
    let config = args.target.config();
    let reader =
        pyralog_client::ReaderConfig { max_wait: config.reader.max_wait.min(args.target.timeout), ..config.reader };
    let client = args.target.connect_with(ClientConfig { reader, ..config }).await?;
    match consume(&args, &client).await {
        Err(failure) if failure.is_missing() => Err(suggest_log(&client, &args.log, failure).await),
        settled => settled,
    }
}

async fn consume(args: &ConsumeArgs, client: &PyralogClient) -> Result<(), Failure> {
    let log = args.log.as_str();
    let mut tracker = match &args.group {
        Some(group) => Some(PartitionCommitTracker::load(client.clone(), log, group).await?),
        None => None,
    };
    let mut builder = client.reader(log);
    let (ends, unread) = if args.until_end { ends(args, client).await? } else { (None, None) };
    if let Some(ends) = &ends {
        builder = builder.partitions(ends.keys().copied());
    } else if !args.partition.is_empty() {
        builder = builder.partitions(args.partition.clone());
    }
    builder = match args.from {
        Some(From::At(start)) => builder.start(start),
        Some(From::Last(count)) => builder.start(StartAt::Earliest).from(last(client, log, count).await?),
        None => match &tracker {
            Some(tracker) => builder.start(StartAt::Earliest).from(tracker.resume_from_commits()),
            None => builder.start(StartAt::Earliest),
        },
    };
    let mut reader = builder.open().await?;
    let mut progress = Progress { printed: reader.positions(), ends };
    let outcome = read(args, &mut reader, &mut progress, tracker.as_mut()).await;
    if let Some(tracker) = &mut tracker {
        // Also after a closed output: what was printed before was printed.
        commit(tracker, &progress.printed).await.map_err(Failure::from).or_else(|failure| match &outcome {
            Ok(()) => Err(failure),
            Err(_) => Ok(()),
        })?;
    }
    outcome.and_then(|()| unread.map_or(Ok(()), |error| Err(error.into())))
}

/// Where the partitions that are to be read end, and why one of them cannot be read, which keeps none of the others from it.
async fn ends(
    args: &ConsumeArgs,
    client: &PyralogClient,
) -> Result<(Option<BTreeMap<u32, LogOffset>>, Option<LogError>), Failure> {
    let mut found = client.partition_offsets(&args.log, StartAt::Latest).await?;
    let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
    if let Some(&partition) = args.partition.iter().find(|partition| **partition >= count) {
        let log = LogId::new(&args.log).map_err(PyralogError::from)?;
        return Err(LogError::NoPartition { log, partition, count }.into());
    }
    found.retain(|partition, _| args.partition.is_empty() || args.partition.contains(partition));
    let (mut ends, mut unread) = (BTreeMap::new(), None);
    for (partition, end) in found {
        match end {
            Ok(end) => drop(ends.insert(partition, end)),
            Err(error) => unread = Some(error),
        }
    }
    Ok((Some(ends), unread))
}

/// The positions so many records before the ends.
async fn last(client: &PyralogClient, log: &str, count: u64) -> Result<BTreeMap<u32, LogOffset>, Failure> {
    let starts = client.partition_offsets(log, StartAt::Earliest).await?;
    let ends = client.partition_offsets(log, StartAt::Latest).await?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let from = ends.into_iter().filter_map(|(partition, end)| {
        let start = *starts.get(&partition)?.as_ref().ok()?;
        Some((partition, LogOffset(end.ok()?.0.saturating_sub(count)).max(start)))
    });
    Ok(from.collect())
}

async fn read(
    args: &ConsumeArgs,
    reader: &mut LogReader,
    progress: &mut Progress,
    mut tracker: Option<&mut PartitionCommitTracker>,
) -> Result<(), Failure> {
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && !progress.is_at_end() {
        let max = BATCH.min(usize::try_from(left).unwrap_or(usize::MAX));
        let records = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => return Ok(()),
            records = reader.poll(max) => records?,
        };
        let mut text = Vec::new();
        for record in records.iter().filter(|record| progress.is_wanted(record)) {
            render(args, record, &mut text)?;
            left -= 1;
        }
        output::print_bytes(&text)?;
        progress.go_on(&reader.positions());
        if let Some(tracker) = tracker.as_deref_mut() {
            commit(tracker, &progress.printed).await?;
        }
    }
    Ok(())
}

/// How far was printed, which is what a group may commit: the reader is further where a batch holds records from behind the end, or
/// the output took none of them.
struct Progress {
    printed: BTreeMap<u32, LogOffset>,
    /// Where to end.
    ends: Option<BTreeMap<u32, LogOffset>>,
}

impl Progress {
    fn is_wanted(&self, record: &Record) -> bool {
        self.ends.as_ref().is_none_or(|ends| ends.get(&record.partition).is_some_and(|end| record.offset < *end))
    }

    /// What is wanted of all before these positions was printed.
    fn go_on(&mut self, positions: &BTreeMap<u32, LogOffset>) {
        for (&partition, &at) in positions {
            let before = self.printed.get(&partition).copied().unwrap_or(at);
            let end = self.ends.as_ref().and_then(|ends| ends.get(&partition));
            // A group that was behind the end at the beginning stays there.
            self.printed.insert(partition, end.map_or(at, |&end| at.min(end.max(before))));
        }
    }

    fn is_at_end(&self) -> bool {
        let is_there = |(partition, end)| self.printed.get(partition).is_some_and(|at| at >= end);
        self.ends.as_ref().is_some_and(|ends| ends.iter().all(is_there))
    }
}

async fn commit(
    tracker: &mut PartitionCommitTracker,
    positions: &BTreeMap<u32, LogOffset>,
) -> Result<(), pyralog_client::GroupError> {
    let known: BTreeMap<u32, LogOffset> = tracker.resume_from_commits().into_iter().collect();
    let moved = positions.iter().filter(|(partition, at)| known.get(partition) != Some(at));
    tracker.commit_all(moved.map(|(partition, at)| (*partition, *at)).collect::<Vec<_>>()).await
}

fn render(args: &ConsumeArgs, record: &Record, text: &mut Vec<u8>) -> Result<(), Failure> {
    if args.json {
        serde_json::to_writer(&mut *text, &Printed::of(&args.log, record))
            .map_err(|error| Failure::other(error.to_string()))?;
    } else {
        if args.timestamps {
            text.extend_from_slice(values::rfc3339(record.timestamp).as_bytes());
            text.push(b'\t');
        }
        if let Some(separator) = &args.key_separator {
            text.extend_from_slice(record.key.as_deref().unwrap_or_default());
            text.extend_from_slice(separator.as_bytes());
        }
        text.extend_from_slice(&record.value);
    }
    text.push(if args.null { 0 } else { b'\n' });
    Ok(())
}
