//! `pyralog storage dump`: the content of a partition, or of one file, for people or as JSON.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use pyralog_node::lifecycle::LOGS;
use pyralog_protocol::LogOffset;
use pyralog_protocol::batch::{BatchHeader, Records, StoredBatch, TimestampType};
use pyralog_storage::inspect::{
    BatchAt, FileKind, JournalEntry, JournalRound, view_index, view_journal, view_snapshot, walk_segment,
};
use pyralog_storage::{Disk, META_FILE, PartitionKey, PartitionMeta, decode_recovery_points, read_small};
use serde_json::{Map, Value, json};

use super::DumpArgs;
use crate::disk::RealDisk;

/// Bytes of a key or value that a line for people shows.
const SHOWN: usize = 64;

pub fn run(args: &DumpArgs) -> Result<(), String> {
    let disk = RealDisk::new(&args.folder.data);
    let mut dump = Dump { disk: &disk, args, left: args.max, out: BufWriter::new(io::stdout().lock()) };
    let done = dump.target().and_then(|()| dump.out.flush().map_err(Failure::Out));
    match done {
        // Whoever reads has seen enough.
        Err(Failure::Out(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Failure::Out(error)) => Err(format!("stdout: {error}")),
        Err(Failure::Said(why)) => Err(why),
        Ok(()) => Ok(()),
    }
}

enum Failure {
    Out(io::Error),
    Said(String),
}

fn said(path: &str) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| Failure::Said(format!("{path}: {error}"))
}

struct Dump<'a, W: Write> {
    disk: &'a RealDisk,
    args: &'a DumpArgs,
    /// Batches or rounds that may still be shown.
    left: u64,
    out: W,
}

/// A path that is there, as seen from where the command runs, from the data folder on; None if it is not below that.
fn below(data: &Path, written: &str) -> Option<String> {
    let path = Path::new(written).canonicalize().ok()?;
    Some(path.strip_prefix(data.canonicalize().ok()?).ok()?.to_str()?.to_owned())
}

impl<W: Write> Dump<'_, W> {
    fn target(&mut self) -> Result<(), Failure> {
        let written = self.args.target.trim_end_matches('/');
        let target = below(&self.args.folder.data, written).unwrap_or_else(|| written.to_owned());
        let dir = format!("{LOGS}/{}", target.strip_prefix("logs/").unwrap_or(&target));
        if target.is_empty() || target.split('/').any(|part| part == "..") || target.starts_with('/') {
            let data = self.args.folder.data.display();
            return Err(Failure::Said(format!("{written}: name a partition, or a file below the data folder {data}")));
        }
        if let Ok(names) = self.disk.list(&dir) {
            return self.partition(&dir, names);
        }
        match self.disk.exists(&target) {
            Ok(true) => self.file(&target),
            Ok(false) => Err(Failure::Said(format!(
                "there is no partition and no file {target:?} in {}",
                self.args.folder.data.display()
            ))),
            Err(error) => Err(said(&target)(error)),
        }
    }

    fn partition(&mut self, dir: &str, mut names: Vec<String>) -> Result<(), Failure> {
        names.sort();
        self.file(&format!("{dir}/{META_FILE}"))?;
        let bases = |names: &[String]| {
            let segments = names.iter().filter(|name| FileKind::of(name) == FileKind::Segment);
            segments.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect::<Vec<i64>>()
        };
        // The segment that holds the first offset is the last one that begins at or below it.
        let first = bases(&names).into_iter().rfind(|base| *base <= self.args.from).unwrap_or(0);
        for name in names.iter().filter(|name| FileKind::of(name) == FileKind::Segment) {
            let base: i64 = name.strip_suffix(".log").and_then(|base| base.parse().ok()).unwrap_or(0);
            if base >= first && self.left > 0 {
                self.file(&format!("{dir}/{name}"))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> Result<(), Failure> {
        match FileKind::of(path) {
            FileKind::Segment => self.segment(path),
            FileKind::Index | FileKind::VlsnIndex => self.index(path),
            FileKind::Snapshot => self.snapshot(path),
            FileKind::Meta => self.meta(path),
            FileKind::Journal => self.journal(path),
            FileKind::Other if path.ends_with("recovery-points") => self.points(path),
            FileKind::Other => Err(Failure::Said(format!("{path}: not a file that can be shown"))),
        }
    }

    /// One line, in the form that was asked for.
    fn line(&mut self, human: impl FnOnce() -> String, value: impl FnOnce() -> Value) -> Result<(), Failure> {
        let written =
            if self.args.folder.json { writeln!(self.out, "{}", value()) } else { writeln!(self.out, "{}", human()) };
        written.map_err(Failure::Out)
    }

    fn segment(&mut self, path: &str) -> Result<(), Failure> {
        let bytes = self.disk.file_len(path).map_err(said(path))?;
        self.line(|| format!("{path}: {bytes} bytes"), || json!({"kind": "segment", "path": path, "bytes": bytes}))?;
        let mut outcome = Ok(());
        let disk = self.disk;
        let ending = walk_segment(disk, path, self.args.records, &mut |batch| {
            if self.left == 0 {
                return false;
            }
            if batch.header.last_offset() < self.args.from {
                return true;
            }
            self.left -= 1;
            outcome = self.batch(&batch);
            outcome.is_ok()
        });
        outcome?;
        if let Some(ending) = ending.map_err(said(path))? {
            let (position, what) = (ending.position, ending.what);
            let left = bytes.saturating_sub(position);
            self.line(
                || format!("  byte {position}: {left} bytes that are no batch ({what})"),
                || json!({"kind": "no-batch", "position": position, "bytes": left, "what": what}),
            )?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &BatchAt<'_>) -> Result<(), Failure> {
        let header = batch.header;
        self.line(
            || format!("  byte {}: {}", batch.position, describe(header, batch.sound)),
            || {
                let mut value = value_of(header);
                value.insert("kind".to_owned(), json!("batch"));
                value.insert("position".to_owned(), json!(batch.position));
                value.insert("crc_ok".to_owned(), json!(batch.sound));
                Value::Object(value)
            },
        )?;
        if self.args.records { self.records(batch) } else { Ok(()) }
    }

    fn records(&mut self, batch: &BatchAt<'_>) -> Result<(), Failure> {
        let opened = match StoredBatch::open(batch.bytes) {
            Ok(opened) => opened,
            Err(error) => {
                return self.line(
                    || format!("    its records cannot be read: {error}"),
                    || json!({"kind": "unreadable", "what": error.to_string()}),
                );
            }
        };
        let header = &opened.header;
        let appended = (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
        for record in Records::new(opened.payload()) {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    return self.line(
                        || format!("    a record cannot be read: {error}"),
                        || json!({"kind": "unreadable", "what": error.to_string()}),
                    );
                }
            };
            let offset = header.base_offset.saturating_add(i64::from(record.offset_delta));
            let timestamp = appended.unwrap_or(header.base_timestamp.wrapping_add(record.timestamp_delta));
            let headers: Vec<_> = record.headers.iter().collect();
            self.line(
                || {
                    let shown = headers.iter().map(|h| format!(" {}={}", short(Some(h.key)), short(h.value)));
                    let headers: String = shown.collect();
                    format!(
                        "    {offset}: timestamp {timestamp}, key {}, value {}{headers}",
                        short(record.key),
                        short(record.value)
                    )
                },
                || {
                    let pairs = headers.iter().map(|h| json!([text(Some(h.key)), text(h.value)]));
                    json!({"kind": "record", "offset": offset, "timestamp": timestamp, "key": text(record.key),
                        "value": text(record.value), "headers": pairs.collect::<Vec<_>>()})
                },
            )?;
        }
        Ok(())
    }

    fn index(&mut self, path: &str) -> Result<(), Failure> {
        let Some(view) = view_index(self.disk, path).map_err(said(path))? else {
            return Err(Failure::Said(format!(
                "{path} is damaged, or no index by its name; it is built anew when it is missed"
            )));
        };
        self.line(
            || format!("{path}: covers {} bytes up to offset {}, largest {:?}", view.covered, view.next_offset, view.max),
            || json!({"kind": "index", "path": path, "covered": view.covered, "next_offset": view.next_offset.0, "max": view.max}),
        )?;
        for (offset, position, before) in view.entries.iter().filter(|(offset, ..)| offset.0 >= self.args.from) {
            self.line(
                || format!("  offset {offset} at byte {position}, largest before it {before:?}"),
                || json!({"kind": "entry", "offset": offset.0, "position": position, "max_before": before}),
            )?;
        }
        Ok(())
    }

    fn snapshot(&mut self, path: &str) -> Result<(), Failure> {
        let view = view_snapshot(self.disk, path).map_err(|error| Failure::Said(error.to_string()))?;
        self.line(
            || {
                format!(
                    "{path}: log end {}, segment {} of {} bytes, clean below {}",
                    view.log_end, view.active_base, view.active_size, view.first_dirty
                )
            },
            || {
                json!({"kind": "snapshot", "path": path, "log_end": view.log_end.0, "active_base": view.active_base.0,
                    "active_size": view.active_size, "first_dirty": view.first_dirty.0})
            },
        )?;
        for epoch in &view.epochs {
            self.line(
                || format!("  leader epoch {} from offset {}", epoch.epoch, epoch.offset),
                || json!({"kind": "epoch", "epoch": epoch.epoch.0, "offset": epoch.offset.0}),
            )?;
        }
        for producer in &view.producers {
            let (id, epoch, last, time) =
                (producer.producer_id, producer.epoch, producer.last_sequence, producer.last_timestamp);
            self.line(
                || format!("  producer {id} epoch {epoch}, last sequence {last}, last timestamp {time}"),
                || json!({"kind": "producer", "id": id, "epoch": epoch, "last_sequence": last, "last_timestamp": time}),
            )?;
        }
        Ok(())
    }

    fn meta(&mut self, path: &str) -> Result<(), Failure> {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        let meta = PartitionMeta::read(self.disk, dir).map_err(|error| Failure::Said(error.to_string()))?;
        let trimmed = meta.trimmed.map(|vlsn| vlsn.0);
        self.line(
            || {
                let trimmed = trimmed.map_or(String::new(), |vlsn| format!(", VLSNs up to {vlsn} trimmed"));
                let PartitionMeta { topic_id, log_start, cleaned_end, .. } = meta;
                format!("{path}: topic {topic_id}, log start {log_start}, compacted below {cleaned_end}{trimmed}")
            },
            || {
                json!({"kind": "meta", "path": path, "topic_id": meta.topic_id.to_string(), "log_start": meta.log_start.0,
                    "cleaned_end": meta.cleaned_end.0, "trimmed": trimmed})
            },
        )
    }

    fn points(&mut self, path: &str) -> Result<(), Failure> {
        let bytes = read_small(self.disk, path).map_err(|error| Failure::Said(error.to_string()))?;
        let points = decode_recovery_points(path, &bytes).map_err(|error| Failure::Said(error.to_string()))?;
        for (key, LogOffset(point)) in &points {
            self.line(
                || format!("{key}: on disk below {point}"),
                || json!({"kind": "recovery-point", "partition": key, "offset": point}),
            )?;
        }
        Ok(())
    }

    fn journal(&mut self, path: &str) -> Result<(), Failure> {
        let mut rounds = Vec::new();
        let left = self.left;
        let view = view_journal(self.disk, path, &mut |round| {
            rounds.push(round);
            (rounds.len() as u64) < left
        });
        let view = view.map_err(said(path))?;
        self.line(
            || match view.sequence {
                Some(sequence) => format!(
                    "{path}: file {sequence}, files below {} do not count, {} rounds in the one before it",
                    view.oldest, view.rounds_before
                ),
                None => format!("{path}: never begun, or its header is damaged"),
            },
            || {
                json!({"kind": "journal", "path": path, "sequence": view.sequence, "oldest": view.oldest,
                    "rounds_before": view.rounds_before})
            },
        )?;
        rounds.iter().try_for_each(|round| self.round(round, view.sequence))
    }

    fn round(&mut self, round: &JournalRound, sequence: Option<u64>) -> Result<(), Failure> {
        let stale = sequence.is_some_and(|sequence| sequence != round.sequence);
        self.line(
            || {
                let stale = if stale { ", of a former life of the file" } else { "" };
                format!("  byte {}: round {} of file {}{stale}", round.position, round.round, round.sequence)
            },
            || {
                json!({"kind": "round", "position": round.position, "sequence": round.sequence, "round": round.round,
                    "stale": stale})
            },
        )?;
        let name = |key: &PartitionKey| format!("{}-{}", key.topic, key.index);
        round.entries.iter().try_for_each(|entry| match entry {
            JournalEntry::Batch(key, header) => self.line(
                || format!("    {}: {}", name(key), describe(header, true)),
                || {
                    let mut value = value_of(header);
                    value.insert("kind".to_owned(), json!("journaled-batch"));
                    value.insert("partition".to_owned(), json!(name(key)));
                    Value::Object(value)
                },
            ),
            JournalEntry::Flushed(key, below) => self.line(
                || format!("    {}: in its segments below {below}", name(key)),
                || json!({"kind": "flushed", "partition": name(key), "below": below.0}),
            ),
        })
    }
}

fn codec(header: &BatchHeader) -> String {
    header.codec().map_or_else(|found| format!("codec {found}"), |codec| codec.name().to_owned())
}

fn describe(header: &BatchHeader, sound: bool) -> String {
    let mut line = format!(
        "offsets {}..{}, {} records, {} bytes, {}, leader epoch {}, max timestamp {}",
        header.base_offset,
        header.last_offset().saturating_add(1),
        header.record_count,
        header.total_size(),
        codec(header),
        header.leader_epoch,
        header.max_timestamp
    );
    if header.timestamp_type() == TimestampType::LogAppendTime {
        line += " (append time)";
    }
    if header.has_producer_id() {
        let (id, epoch, first) = (header.producer_id, header.producer_epoch, header.base_sequence);
        line += &format!(", producer {id} epoch {epoch} sequence {first}");
    }
    if header.is_transactional() {
        line += ", transactional";
    }
    if header.is_control() {
        line += ", control";
    }
    if !sound {
        line += ", CHECKSUM WRONG";
    }
    line
}

fn value_of(header: &BatchHeader) -> Map<String, Value> {
    let value = json!({
        "base_offset": header.base_offset,
        "last_offset": header.last_offset(),
        "records": header.record_count,
        "bytes": header.total_size(),
        "codec": codec(header),
        "leader_epoch": header.leader_epoch,
        "base_timestamp": header.base_timestamp,
        "max_timestamp": header.max_timestamp,
        "append_time": header.timestamp_type() == TimestampType::LogAppendTime,
        "producer_id": header.producer_id,
        "producer_epoch": header.producer_epoch,
        "base_sequence": header.base_sequence,
        "transactional": header.is_transactional(),
        "control": header.is_control(),
        "crc": header.crc,
    });
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// For people: text where it is text, and not too much of it.
fn short(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    let rest = if shown.len() < bytes.len() { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    match std::str::from_utf8(shown) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text:?}{rest}"),
        Ok(_) | Err(_) => format!("0x{}{rest}", hex(shown)),
    }
}

/// As JSON: a string where it is text, else an object with its bytes in hexadecimal digits.
fn text(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => json!(text),
        Some((bytes, Err(_))) => json!({"hex": hex(bytes)}),
    }
}
