//! A writer of rising numbers under a few keys: no number of a key stands behind a higher one, and where the log is synced, the last one of
//! each is never older than the last acknowledged one. One log is compacted meanwhile; another one is acknowledged from memory, and may
//! lose its end.

use std::collections::BTreeMap;
use std::sync::Barrier;

use kafka_protocol::messages::ProduceRequest;

use super::{Client, Disk, call};
use crate::batch::{Batch, Codec, Record};
use crate::calls::{produce_request, produced};
use crate::conn::Conn;
use crate::draw::Draw;

const KEYS: u64 = 40;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Synced, and compacted.
    Compacted,
    /// Acknowledged from memory.
    Unsynced,
}

impl Kind {
    fn topic(self) -> &'static str {
        match self {
            Kind::Compacted => "compacted",
            Kind::Unsynced => "unsynced",
        }
    }

    fn configs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::Compacted => &[
                ("cleanup.policy", "compact"),
                ("segment.bytes", "1048576"),
                ("min.cleanable.dirty.ratio", "0.01"),
                ("min.compaction.lag.ms", "0"),
            ],
            Kind::Unsynced => &[("pyralog.durability", "memory"), ("segment.bytes", "1048576")],
        }
    }
}

/// By key: the last acknowledged number (-1: none), and the last one that was sent.
type History = BTreeMap<String, (i64, i64)>;

/// Every broken promise, one line each. The log is keys and numbers in the order of their offsets.
fn check(history: &History, log: &[(String, i64)]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for (key, number) in log {
        if let Some(before) = last.insert(key, *number).filter(|before| before >= number) {
            broken.push(format!("{key}: {number} behind {before}"));
        }
    }
    for (key, (acked, sent)) in history {
        let found = last.remove(key.as_str()).unwrap_or(-1);
        if !(*acked..=*sent).contains(&found) {
            broken.push(format!("{key}: {found} is the last, acknowledged {acked}, sent up to {sent}"));
        }
    }
    broken.extend(last.keys().map(|key| format!("{key} was never sent")));
    broken
}

/// The writer.
pub struct Keyed {
    kind: Kind,
    history: History,
    next: i64,
    acknowledged: usize,
    draw: Draw,
    disk: Disk,
}

impl Keyed {
    /// Creates the topic, and a writer whose draws the seed repeats.
    pub fn new(conn: &mut Conn, seed: u64, disk: Disk, kind: Kind) -> Keyed {
        conn.create_topic(kind.topic(), 1, kind.configs());
        Keyed { kind, history: History::new(), next: 0, acknowledged: 0, draw: Draw::stream(seed, kind.topic()), disk }
    }
}

fn filler(number: i64) -> String {
    let length = Draw::stream(11, &number.to_string()).below(30_000);
    "y".repeat(usize::try_from(length).unwrap())
}

impl Client for Keyed {
    fn run(&mut self, connect: &(dyn Fn() -> Conn + Sync), started: &Barrier) {
        let (mut conn, topic) = (connect(), self.kind.topic());
        started.wait();
        loop {
            let (key, number) = (format!("k{}", self.draw.below(KEYS)), self.next);
            self.next += 1;
            let codec = self.draw.pick(&[Codec::None, Codec::None, Codec::Lz4]);
            let known = self.history.entry(key.clone()).or_insert((-1, -1));
            known.1 = number;
            let record = Record::keyed(&key, &format!("{number}:{}", filler(number)));
            let records = Batch::new(vec![record]).codec(codec).encode();
            let answer = call::<ProduceRequest>(&mut conn, 9, &produce_request(topic, 0, &records));
            if !self.disk.is_done(answer.map(|answer| produced(&answer, topic, 0).error_code), &key) {
                return;
            }
            if self.disk == Disk::Stays || self.kind != Kind::Unsynced {
                known.0 = number;
            }
            self.acknowledged += 1;
        }
    }

    fn broken_promises(&self, conn: &mut Conn) -> Vec<String> {
        let topic = self.kind.topic();
        let end = conn.end_offset(topic, 0);
        let mut log = Vec::new();
        let mut broken = Vec::new();
        let mut at = 0;
        while at < end {
            let batches = conn.read(topic, 0, at);
            if batches.is_empty() {
                broken.push(format!("{topic}: nothing at {at} of {end}"));
                break;
            }
            for batch in batches {
                at = batch.last_offset() + 1;
                for (record, value) in batch.records.iter().zip(batch.values()) {
                    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
                    let (number, rest) = value.split_once(':').unwrap_or((&value, ""));
                    match number.parse().ok().filter(|number| filler(*number) == rest) {
                        Some(number) => log.push((key, number)),
                        None => broken.push(format!("{topic}, {key} before {at}: changed")),
                    }
                }
            }
        }
        broken.extend(check(&self.history, &log));
        broken
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_bugs_are_found() {
        let history = History::from([("a".to_owned(), (4, 6)), ("b".to_owned(), (-1, 7))]);
        let log = |entries: &[(&str, i64)]| -> Vec<_> { entries.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect() };
        for good in [&[("a", 4)][..], &[("a", 2), ("a", 6), ("b", 7)], &[("b", 7), ("a", 4)]] {
            assert_eq!(check(&history, &log(good)), Vec::<String>::new());
        }
        for bad in [
            &[][..],
            &[("a", 2)],
            &[("a", 6), ("a", 4)],
            &[("a", 4), ("a", 4)],
            &[("a", 4), ("c", 1)],
            &[("a", 8)],
            &[("a", 4), ("b", 8)],
        ] {
            assert!(!check(&history, &log(bad)).is_empty(), "not seen: {bad:?}");
        }
    }
}
