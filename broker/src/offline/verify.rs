//! `pyralog storage verify`: all partitions side by side, with progress, findings and a verdict.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyralog_node::lifecycle::{DELETED, LOGS, ORPHAN, dir_of, key_of};
use pyralog_protocol::LogOffset;
use pyralog_storage::inspect::{Checked, FileKind, Finding, Known, Verifier, Weight, journal_key};
use pyralog_storage::{Disk, PartitionMeta, Replay};
use serde_json::json;

use super::VerifyArgs;
use crate::disk::RealDisk;
use crate::folder::DataFolder;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// What all threads share.
struct Work<'a> {
    disk: &'a RealDisk,
    folder: &'a DataFolder,
    replay: &'a Replay<RealDisk>,
    /// None: they are lost.
    points: Option<BTreeMap<String, LogOffset>>,
    dirs: Vec<String>,
    records: bool,
    next: AtomicUsize,
    read: AtomicU64,
    total: u64,
    failed: AtomicBool,
    outcome: Mutex<(Checked, Vec<Finding>)>,
}

pub fn run(folder: &DataFolder, args: &VerifyArgs) -> Result<(), String> {
    let began = Instant::now();
    let disk = RealDisk::new(folder.root());
    let told = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let mut findings = Vec::new();
    let points = folder.recovery_points().map_err(|lost| {
        let what = format!("{lost}; without it a start cannot tell damage from an end that was never acknowledged");
        findings.push(finding("recovery-points", Weight::Damage, what));
    });
    let replay = Replay::read(&disk).map_err(|e| told("journal", &e))?;
    // After a clean stop nothing rests on it.
    let weight = if folder.is_clean_throughout() { Weight::Mended } else { Weight::Damage };
    findings.extend(replay.damage.iter().map(|what| finding("journal", weight, what.clone())));
    let dirs = partitions(&disk, &args.logs, &mut findings)?;
    if let (Ok(points), true) = (&points, args.logs.is_empty()) {
        findings.extend(misplaced(&disk, &dirs, points));
    }
    findings.extend(displaced(folder, &disk, &dirs));
    let total = dirs.iter().map(|dir| size_of(&disk, dir)).sum();
    let work = Work {
        disk: &disk,
        folder,
        replay: &replay,
        points: points.ok(),
        dirs,
        records: args.records,
        next: AtomicUsize::new(0),
        read: AtomicU64::new(0),
        total,
        failed: AtomicBool::new(false),
        outcome: Mutex::new((Checked::default(), findings)),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(work.dirs.len().max(1));
    let done = AtomicBool::new(false);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let teller = scope.spawn(|| work.tell_progress(&done, args.folder.json));
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.run())).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread failed".into())));
        let failures = joined.filter_map(Result::err).collect();
        done.store(true, Ordering::Release);
        teller.thread().unpark();
        failures
    });
    if let Some(failure) = failures.first() {
        return Err(failure.clone());
    }
    let (checked, mut findings) = work.outcome.into_inner();
    findings.sort_by(|a, b| (&a.path, a.position).cmp(&(&b.path, b.position)));
    let counts = Counts::of(&findings);
    let print = if args.folder.json { print_json } else { print_lines };
    match print(&checked, &findings, &counts, began.elapsed()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(told("stdout", &error)),
        Ok(()) | Err(_) => {}
    }
    match counts {
        Counts { damaged: 0, unread: 0, .. } => Ok(()),
        Counts { damaged: 0, unread, .. } => Err(format!("{unread} files could not be read; nothing is known of them")),
        Counts { damaged, .. } => Err(format!("{damaged} findings are damage; the files are as they were")),
    }
}

/// Findings of each kind.
#[derive(Default)]
struct Counts {
    damaged: usize,
    mended: usize,
    unread: usize,
}

impl Counts {
    fn of(findings: &[Finding]) -> Self {
        let mut counts = Self::default();
        for finding in findings {
            match finding.weight {
                Weight::Damage => counts.damaged += 1,
                Weight::Mended => counts.mended += 1,
                Weight::Unread => counts.unread += 1,
            }
        }
        counts
    }
}

fn finding(path: &str, weight: Weight, what: String) -> Finding {
    Finding { path: path.to_owned(), position: None, offsets: None, weight, what }
}

/// The folders of the logs that are asked for.
fn partitions(disk: &RealDisk, logs: &[String], findings: &mut Vec<Finding>) -> Result<Vec<String>, String> {
    let mut names = disk.list(LOGS).map_err(|error| format!("{LOGS}: {error}"))?;
    names.sort();
    let mut dirs = Vec::new();
    let mut missing: Vec<&String> = logs.iter().collect();
    for name in names {
        let left = if name.ends_with(DELETED) {
            Some("a deleted log whose files are being removed")
        } else if name.ends_with(ORPHAN) {
            Some("it was in the way of a new log of the same name; nobody uses it")
        } else {
            None
        };
        if let Some(what) = left {
            findings.push(finding(&format!("{LOGS}/{name}"), Weight::Mended, what.to_owned()));
            continue;
        }
        let log = name.rsplit_once('-').map_or(&*name, |(log, _)| log);
        missing.retain(|wanted| **wanted != name && **wanted != log);
        if logs.is_empty() || logs.iter().any(|wanted| *wanted == name || wanted == log) {
            dirs.push(format!("{LOGS}/{name}"));
        }
    }
    match missing.first() {
        Some(wanted) => Err(format!("there is no log and no partition {wanted:?} in the folder")),
        None => Ok(dirs),
    }
}

/// Folders that do not have the name of their log, which only the coordinator's store knows: two of them changed places, or one
/// is where another belongs. A start opens none of these.
fn displaced(folder: &DataFolder, disk: &RealDisk, dirs: &[String]) -> Vec<Finding> {
    if dirs.is_empty() {
        return Vec::new();
    }
    let logs = match pyralog_coordinator::raft::logs_in(&folder.coordinator()) {
        Ok(logs) => logs,
        Err(error) => {
            let what = format!("whether folders have the names of their logs is not known: {error}");
            return vec![finding("coordinator", Weight::Unread, what)];
        }
    };
    let mut findings = Vec::new();
    for dir in dirs {
        let Some(key) = PartitionMeta::read(disk, dir).ok().and_then(|meta| journal_key(dir, &meta)) else { continue };
        let Some(place) = logs.get(&key.topic).map(|log| dir_of(log, key.index)).filter(|place| place != dir) else {
            continue;
        };
        let what = format!(
            "it is in the place of another log: it belongs to the one with id {}, whose folder is {place}. A start refuses it; \
             put the folders back in their places",
            key.topic
        );
        findings.push(finding(dir, Weight::Damage, what));
    }
    findings
}

/// Partitions of which records are known and that have no folder, and those that have two.
fn misplaced(disk: &RealDisk, dirs: &[String], points: &BTreeMap<String, LogOffset>) -> Vec<Finding> {
    let mut folders: BTreeMap<String, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for dir in dirs {
        let key = PartitionMeta::read(disk, dir).ok().and_then(|meta| journal_key(dir, &meta));
        let Some(key) = key.map(|key| key_of(key.topic, key.index)) else { continue };
        if let Some(other) = folders.insert(key.clone(), dir) {
            let what = format!(
                "it belongs to the partition {key}, as {other} does: one of them is in the place of another log"
            );
            findings.push(finding(dir, Weight::Damage, what));
        }
    }
    for (key, point) in points.iter().filter(|(_, point)| **point > LogOffset::ZERO) {
        let deleted = disk.exists(&format!("{LOGS}/{key}{DELETED}")).unwrap_or(false);
        if !folders.contains_key(key) && !deleted {
            let what = format!(
                "no folder that can be read belongs to the partition {key} (id of the log, number), of which everything below \
                 offset {point} was on disk. It is gone, unless its log was deleted right before the broker was killed"
            );
            findings.push(finding(LOGS, Weight::Damage, what));
        }
    }
    findings
}

fn size_of(disk: &RealDisk, dir: &str) -> u64 {
    let names = disk.list(dir).unwrap_or_default();
    let segments = names.iter().filter(|name| FileKind::of(name) == FileKind::Segment);
    segments.filter_map(|name| disk.file_len(&format!("{dir}/{name}")).ok()).sum()
}

impl Work<'_> {
    fn run(&self) -> Result<(), String> {
        while let Some(dir) = self.dirs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.partition(dir).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn partition(&self, dir: &str) -> Result<(), String> {
        let progress = |bytes| {
            self.read.fetch_add(bytes, Ordering::Relaxed);
            !self.failed.load(Ordering::Relaxed)
        };
        let mut verifier = Verifier::new(self.disk, self.records, &progress);
        let outcome = verifier.partition(dir, |meta| self.known(dir, meta));
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            // One file that cannot be read must not keep the others from being looked at.
            Err(error) => verifier.findings.push(finding(dir, Weight::Unread, format!("it cannot be read: {error}"))),
            Ok(()) => {}
        }
        let mut outcome = self.outcome.lock();
        outcome.0.add(verifier.checked);
        outcome.1.append(&mut verifier.findings);
        Ok(())
    }

    fn known(&self, dir: &str, meta: &PartitionMeta) -> Known<'_, <RealDisk as Disk>::File> {
        let key = journal_key(dir, meta);
        let clean = key.map_or(self.folder.was_clean, |key| self.folder.is_clean(&key_of(key.topic, key.index)));
        let point = match &self.points {
            Some(points) => key.and_then(|key| points.get(&key_of(key.topic, key.index)).copied()),
            // As a start has it.
            None if clean => PartitionMeta::newest_snapshot(self.disk, dir).ok().flatten(),
            None => None,
        };
        Known { clean, recovery_point: point.unwrap_or_default(), redo: key.and_then(|key| self.replay.of(key)) }
    }

    fn tell_progress(&self, done: &AtomicBool, json: bool) {
        let shown = io::stderr().is_terminal() && !json;
        while !done.load(Ordering::Acquire) {
            std::thread::park_timeout(TELL_EVERY);
            if shown && !done.load(Ordering::Acquire) {
                let (read, of) = (self.read.load(Ordering::Relaxed), self.next.load(Ordering::Relaxed));
                let (partitions, total) = (self.dirs.len(), self.total);
                eprint!("\r{} of {}, partition {} of {partitions} ", size(read), size(total), of.min(partitions));
            }
        }
        if shown {
            eprint!("\r\x1b[K");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn print_lines(checked: &Checked, findings: &[Finding], counts: &Counts, took: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Finding { path, position, offsets, weight, what } in findings {
        let weight = match weight {
            Weight::Damage => "DAMAGE",
            Weight::Mended => "mended",
            Weight::Unread => "UNREAD",
        };
        write!(out, "{weight}  {path}")?;
        if let Some(position) = position {
            write!(out, ", byte {position}")?;
        }
        if let Some(offsets) = offsets {
            write!(out, ", offsets {}..{}", offsets.start, offsets.end)?;
        }
        writeln!(out, ": {what}")?;
    }
    let Checked { partitions, segments, batches, records, bytes, indexes, snapshots } = checked;
    writeln!(
        out,
        "checked {partitions} partitions: {segments} segments with {batches} batches of {records} records ({}), {indexes} \
         indexes, {snapshots} snapshots, in {:.1} s",
        size(*bytes),
        took.as_secs_f64()
    )?;
    match counts {
        Counts { damaged: 0, unread: 0, mended: 0 } => writeln!(out, "everything is as it was written"),
        Counts { damaged: 0, unread: 0, mended } => {
            writeln!(out, "everything that was acknowledged is there; {mended} findings are mended by the next start")
        }
        Counts { damaged: 0, unread, .. } => {
            writeln!(out, "{unread} files could not be read: nothing is known of them")
        }
        Counts { damaged, .. } => {
            writeln!(out, "{damaged} findings are damage: what was acknowledged there is not what was written")
        }
    }
}

fn print_json(checked: &Checked, findings: &[Finding], counts: &Counts, took: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Finding { path, position, offsets, weight, what } in findings {
        let line = json!({
            "kind": "finding",
            "path": path,
            "position": position,
            "offsets": offsets.as_ref().map(|offsets| [offsets.start.0, offsets.end.0]),
            "damage": *weight == Weight::Damage,
            "unread": *weight == Weight::Unread,
            "what": what,
        });
        writeln!(out, "{line}")?;
    }
    let Checked { partitions, segments, batches, records, bytes, indexes, snapshots } = checked;
    let line = json!({
        "kind": "summary",
        "damaged": counts.damaged,
        "mended": counts.mended,
        "unread": counts.unread,
        "partitions": partitions,
        "segments": segments,
        "batches": batches,
        "records": records,
        "bytes": bytes,
        "indexes": indexes,
        "snapshots": snapshots,
        "seconds": took.as_secs_f64(),
    });
    writeln!(out, "{line}")
}
