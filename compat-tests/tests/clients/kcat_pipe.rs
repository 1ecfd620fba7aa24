//! kcat as a client of the matrix: one process per produce call and per consumer.
//!
//! kcat creates no topics and sets no timestamps; `Client::is_only_a_pipe` tells the scenarios.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pyralog_compat_tests::broker::wait;
use pyralog_compat_tests::{Batch, Codec, Conn};
use serde_json::Value;

use crate::client::{Client, From, Handle, Polled, Record, Result, has};
use crate::target::{Target, unique};

pub struct Kcat {
    bootstrap: String,
    consumers: Vec<Option<Consumer>>,
}

struct Consumer {
    child: Child,
    records: Receiver<Record>,
    notes: Receiver<String>,
    assigned: BTreeSet<i32>,
}

impl Kcat {
    pub fn new(bootstrap: &str) -> Option<Self> {
        has("kcat").then(|| Self { bootstrap: bootstrap.to_owned(), consumers: Vec::new() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("kcat");
        command.args(["-b", &self.bootstrap, "-X", "broker.address.family=v4", "-X", "reconnect.backoff.max.ms=500"]);
        command
    }

    /// One kcat run: records that share partition and headers.
    fn pipe(&self, topic: &str, codec: &str, records: &[Record]) -> Result<()> {
        let mut command = self.command();
        command.args(["-P", "-t", topic, "-p", &records[0].partition.to_string(), "-z", codec, "-Z", "-K", "\t"]);
        command.args(["-X", "enable.idempotence=true", "-X", "message.max.bytes=10000000"]);
        for (name, value) in &records[0].headers {
            command.arg("-H").arg(format!("{name}={}", value.as_deref().unwrap_or_default()));
        }
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let mut lines = String::new();
        for record in records {
            if let Some(key) = &record.key {
                lines.push_str(key);
                lines.push('\t');
            }
            lines.push_str(record.value.as_deref().unwrap_or_default());
            lines.push('\n');
        }
        child.stdin.take().ok_or("no stdin")?.write_all(lines.as_bytes()).map_err(|e| e.to_string())?;
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() && !errors.contains("Delivery failed") { Ok(()) } else { Err(errors) }
    }

    /// Starts a consumer; `mode` comes last because kcat takes no options behind the topics of -G.
    fn consume(&mut self, settings: &[&str], mode: &[&str]) -> Result<Handle> {
        let mut command = self.command();
        command.args(["-J", "-u", "-X", "fetch.message.max.bytes=10000000"]);
        for setting in settings {
            command.args(["-X", setting]);
        }
        let mut child =
            command.args(mode).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let records = follow(child.stdout.take().ok_or("no stdout")?, |line| {
            serde_json::from_str(&line).ok().map(|v| envelope(&v))
        });
        let notes = follow(child.stderr.take().ok_or("no stderr")?, Some);
        self.consumers.push(Some(Consumer { child, records, notes, assigned: BTreeSet::new() }));
        Ok(self.consumers.len() - 1)
    }

    fn consumer(&mut self, handle: Handle) -> Result<&mut Consumer> {
        self.consumers.get_mut(handle).and_then(Option::as_mut).ok_or_else(|| "closed".to_owned())
    }
}

/// Reads a pipe line by line on a thread of its own, so that a poll can give up waiting.
fn follow<T: Send + 'static>(
    pipe: impl Read + Send + 'static,
    parse: impl Fn(String) -> Option<T> + Send + 'static,
) -> Receiver<T> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(std::result::Result::ok) {
            if parse(line).is_some_and(|item| send.send(item).is_err()) {
                return;
            }
        }
    });
    receive
}

fn envelope(line: &Value) -> Record {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let flat = line["headers"].as_array().cloned().unwrap_or_default();
    Record {
        partition: line["partition"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap(),
        offset: line["offset"].as_i64(),
        timestamp: line["ts"].as_i64(),
        key: text(&line["key"]),
        value: text(&line["payload"]),
        headers: flat.chunks(2).map(|pair| (text(&pair[0]).unwrap(), text(&pair[1]))).collect(),
    }
}

impl Consumer {
    /// `% Group g rebalanced (memberid m): assigned: t [0], t [1]`
    fn note(&mut self, line: &str) {
        let numbers = |list: &str| -> Vec<i32> { list.split(['[', ']']).filter_map(|n| n.parse().ok()).collect() };
        if let Some((_, list)) = line.split_once("assigned: ") {
            self.assigned = numbers(list).into_iter().collect();
        } else if let Some((_, list)) = line.split_once("revoked: ") {
            numbers(list).iter().for_each(|partition| {
                self.assigned.remove(partition);
            });
        }
    }

    fn terminate(mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status(); // SIGTERM: it leaves its group
        let _ = self.child.wait();
    }
}

impl Drop for Kcat {
    fn drop(&mut self) {
        self.consumers.drain(..).flatten().for_each(Consumer::terminate);
    }
}

impl Client for Kcat {
    fn create(&mut self, _: &str, _: i32, _: &BTreeMap<&str, String>) -> Result<()> {
        Err("kcat creates no topics".to_owned())
    }

    fn partitions(&mut self, topic: &str) -> Result<usize> {
        let output = self.command().args(["-L", "-J", "-t", topic]).output().map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        answer["topics"][0]["partitions"].as_array().map(Vec::len).ok_or_else(|| answer.to_string())
    }

    fn produce(&mut self, topic: &str, codec: &str, records: &[Record]) -> Result<Option<Vec<i64>>> {
        for alike in records.chunk_by(|a, b| (a.partition, &a.headers) == (b.partition, &b.headers)) {
            self.pipe(topic, codec, alike)?;
        }
        Ok(None)
    }

    fn open(&mut self, topic: &str, partition: i32, from: From) -> Result<Handle> {
        let at = match from {
            From::Beginning => "beginning".to_owned(),
            From::End => "end".to_owned(),
            From::Offset(offset) => offset.to_string(),
            From::Timestamp(ms) => format!("s@{ms}"),
        };
        let handle = self.consume(&[], &["-C", "-t", topic, "-p", &partition.to_string(), "-o", &at])?;
        if matches!(from, From::End) {
            let notes = &self.consumer(handle)?.notes;
            while !notes.recv_timeout(Duration::from_secs(20)).map_err(|e| e.to_string())?.contains("Reached end") {}
        }
        Ok(handle)
    }

    fn join(&mut self, group: &str, topic: &str) -> Result<Handle> {
        let settings = ["auto.offset.reset=earliest", "session.timeout.ms=10000", "heartbeat.interval.ms=500"];
        self.consume(&settings, &["-G", group, topic])
    }

    fn poll(&mut self, handle: Handle, max: usize, wait: Duration) -> Result<Polled> {
        let consumer = self.consumer(handle)?;
        let until = Instant::now() + wait;
        let mut records = Vec::new();
        while records.len() < max {
            match consumer.records.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(record) => records.push(record),
                Err(_) => break,
            }
        }
        while let Ok(line) = consumer.notes.try_recv() {
            consumer.note(&line);
        }
        Ok(Polled { records, assigned: consumer.assigned.iter().copied().collect() })
    }

    /// kcat commits when it leaves the group, and not before.
    fn commit(&mut self, _: Handle) -> Result<()> {
        Ok(())
    }

    fn close(&mut self, handle: Handle) -> Result<()> {
        self.consumers
            .get_mut(handle)
            .and_then(Option::take)
            .map(Consumer::terminate)
            .ok_or_else(|| "closed".to_owned())
    }

    fn is_only_a_pipe(&self) -> bool {
        true
    }
}

/// A wrong end offset would keep `kcat -e` waiting at a partition for ever.
#[test]
fn gr10_kcat_stops_at_the_end_of_every_partition() {
    let target = Target::start();
    let Some(kcat) = Kcat::new(target.bootstrap()) else { return };
    let topic = unique("end");
    let mut conn = Conn::connect(target.bootstrap());
    conn.create_topic(&topic, 3, &[]); // the second partition stays empty
    conn.append(&topic, 0, &Batch::of("first", 5).encode());
    conn.append(&topic, 2, &Batch::of("third", 2).codec(Codec::Gzip).encode());
    conn.append(&topic, 2, &Batch::of("third", 1).encode());
    for isolation in ["isolation.level=read_uncommitted", "isolation.level=read_committed"] {
        let mut command = kcat.command();
        command.args(["-C", "-t", &topic, "-o", "beginning", "-e", "-q", "-X", isolation]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let status = wait(&mut child, Duration::from_secs(20));
        let ended = status.is_some_and(|status| status.success());
        if status.is_none() {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert!(ended, "{isolation}: kcat waits for more, or failed");
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 8, "{isolation}");
    }
}
