//! Producers and a committing consumer: every acknowledged record is at its acknowledged offset, idempotent ones exactly once although they are sent
//! again, nothing was made up, and no committed offset went back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;

use kafka_protocol::messages::{InitProducerIdRequest, OffsetCommitRequest, ProduceRequest};

use super::{Client, Disk, call};
use crate::batch::{Batch, Codec, Record};
use crate::calls::{produce_request, produced};
use crate::conn::Conn;
use crate::draw::Draw;
use crate::groups::commit_request;

/// The topic that is written to.
const TOPIC: &str = "crash";
const GROUP: &str = "crash-group";
const PARTITIONS: i32 = 4;

/// What the clients know.
#[derive(Clone, Default)]
struct History {
    /// Every id that was ever sent, acknowledged or not.
    sent: BTreeSet<String>,
    /// Acknowledged: id, partition, offset.
    acked: BTreeMap<String, (i32, i64)>,
    /// By partition: the last acknowledged commit and the highest one ever sent.
    commits: BTreeMap<i32, (i64, i64)>,
}

impl History {
    /// Adds what another client knows.
    fn absorb(&mut self, other: History) {
        self.sent.extend(other.sent);
        self.acked.extend(other.acked);
        self.commits.extend(other.commits);
    }
}

/// What the broker has: ids in offset order from 0 on, and committed offsets.
#[derive(Clone, Default)]
struct State {
    logs: BTreeMap<i32, Vec<(i64, String)>>,
    committed: BTreeMap<i32, i64>,
}

/// Every broken promise, one line each. No id is sent under two sequences, so none may be there twice.
fn check(history: &History, state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    let mut seen: BTreeMap<&str, (i32, i64)> = BTreeMap::new();
    for (partition, log) in &state.logs {
        for (expected, (offset, id)) in (0i64..).zip(log) {
            if *offset != expected {
                broken.push(format!("partition {partition}: offset {offset} where {expected} was due"));
            }
            if !history.sent.contains(id) {
                broken.push(format!("{partition}@{offset}: {id} was never sent"));
            }
            if let Some(first) = seen.insert(id, (*partition, *offset)) {
                broken.push(format!("{id} twice: at {first:?} and {:?}", (partition, offset)));
            }
        }
    }
    for (id, at) in &history.acked {
        match seen.get(id.as_str()) {
            Some(found) if found == at => {}
            Some(found) => broken.push(format!("{id} was acknowledged at {at:?} and is at {found:?}")),
            None => broken.push(format!("{id} was acknowledged at {at:?} and is lost")),
        }
    }
    for (partition, (acked, highest)) in &history.commits {
        let found = state.committed.get(partition).copied().unwrap_or(-1);
        if !(*acked..=*highest).contains(&found) {
            broken
                .push(format!("partition {partition}: committed {found}, acknowledged {acked}, sent up to {highest}"));
        }
    }
    broken
}

/// An id with a filler that follows from it, so that a reader can tell a changed record from a good one.
fn value(id: &str) -> String {
    let mut draw = Draw::stream(7, id);
    // Large ones now and then: those are not synced by way of the journal.
    let length = if draw.below(200) == 0 { 300_000 } else { draw.below(3000) };
    format!("{id}:{}", "x".repeat(usize::try_from(length).unwrap()))
}

/// A producer that lives through the crashes; each has its own partition order.
struct Producer {
    name: String,
    /// Producer id, or -1: plain.
    id: i64,
    sequences: BTreeMap<i32, i32>,
    count: u64,
    /// Sent and not answered: partition, first sequence, ids, codec. Sent again after the crash if idempotent.
    pending: Option<(i32, i32, Vec<String>, Codec)>,
    draw: Draw,
    disk: Disk,
}

impl Producer {
    fn new(conn: &mut Conn, name: &str, idempotent: bool, seed: u64, disk: Disk) -> Producer {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let id = if idempotent { conn.call(2, &request).producer_id.0 } else { -1 };
        let draw = Draw::stream(seed, name);
        Producer { name: name.to_owned(), id, sequences: BTreeMap::new(), count: 0, pending: None, draw, disk }
    }

    fn next(&mut self) -> (i32, i32, Vec<String>, Codec) {
        let partition = i32::try_from(self.draw.below(u64::from(PARTITIONS.unsigned_abs()))).unwrap();
        let codec = self.draw.pick(&[Codec::None, Codec::None, Codec::Lz4, Codec::Zstd]);
        let ids: Vec<String> = (0..=self.draw.below(5)).map(|n| format!("{}-{}", self.name, self.count + n)).collect();
        self.count += 5;
        let next = self.sequences.entry(partition).or_default();
        let first = *next;
        *next += i32::try_from(ids.len()).unwrap();
        (partition, first, ids, codec)
    }

    /// Writes until the connection breaks.
    fn run(&mut self, mut conn: Conn) -> History {
        let mut history = History::default();
        loop {
            let retry = self.pending.take().filter(|_| self.id >= 0);
            let (partition, first, ids, codec) = retry.unwrap_or_else(|| self.next());
            history.sent.extend(ids.iter().cloned());
            let batch = Batch::new(ids.iter().map(|id| Record::of(&value(id))).collect()).codec(codec);
            let batch = if self.id >= 0 { batch.producer(self.id, 0, first) } else { batch };
            let answer = call::<ProduceRequest>(&mut conn, 9, &produce_request(TOPIC, partition, &batch.encode()));
            let answer = answer.map(|answer| produced(&answer, TOPIC, partition).clone());
            let Some(answer) = answer.filter(|answer| answer.error_code == 0 || self.disk == Disk::Stays) else {
                self.pending = Some((partition, first, ids, codec));
                return history;
            };
            assert_eq!(answer.error_code, 0, "{} sequence {first} of partition {partition}: {answer:?}", self.name);
            history
                .acked
                .extend(ids.into_iter().zip(answer.base_offset..).map(|(id, offset)| (id, (partition, offset))));
        }
    }
}

/// Commits offsets that rise from round to round.
struct Committer {
    last: i64,
    draw: Draw,
    disk: Disk,
}

impl Committer {
    /// Commits until the connection breaks; begins with what is known of commits.
    fn run(&mut self, mut conn: Conn, commits: BTreeMap<i32, (i64, i64)>) -> History {
        let mut history = History { commits, ..History::default() };
        loop {
            self.last += 1;
            let partition = i32::try_from(self.draw.below(u64::from(PARTITIONS.unsigned_abs()))).unwrap();
            let known = history.commits.entry(partition).or_insert((-1, -1));
            known.1 = self.last;
            let request = commit_request(GROUP, &[(TOPIC, partition, self.last)]);
            let error =
                call::<OffsetCommitRequest>(&mut conn, 8, &request).map(|a| a.topics[0].partitions[0].error_code);
            match error {
                Some(0) => known.0 = self.last,
                Some(code) if self.disk == Disk::Stays => panic!("commit of {} answered with {code}", self.last),
                Some(_) | None => return history,
            }
        }
    }
}

/// Two idempotent producers, two plain ones, and a consumer that commits. They live through what happens to their broker.
pub struct Records {
    producers: Vec<Producer>,
    committer: Committer,
    /// All that they know.
    history: History,
}

impl Records {
    /// Creates the topic, and clients whose draws the seed repeats.
    pub fn new(conn: &mut Conn, seed: u64, disk: Disk) -> Records {
        // A batch of large values only has 1.8 MB.
        let configs = [("segment.bytes", "2097152"), ("max.message.bytes", "2097152")];
        conn.create_topic(TOPIC, PARTITIONS, &configs);
        conn.wait_for_coordinator(GROUP);
        let producers = [("idempotent-a", true), ("idempotent-b", true), ("plain-a", false), ("plain-b", false)]
            .map(|(name, idempotent)| Producer::new(conn, name, idempotent, seed, disk));
        Records {
            producers: producers.into(),
            committer: Committer { last: 0, draw: Draw::stream(seed, "commit"), disk },
            history: History::default(),
        }
    }
}

impl Client for Records {
    fn run(&mut self, connect: &(dyn Fn() -> Conn + Sync), started: &Barrier) {
        let conns: Vec<Conn> = self.producers.iter().map(|_| connect()).collect();
        let (conn, committer, commits) = (connect(), &mut self.committer, self.history.commits.clone());
        started.wait();
        let told: Vec<History> = std::thread::scope(|scope| {
            let mut threads: Vec<_> =
                self.producers.iter_mut().zip(conns).map(|(p, conn)| scope.spawn(|| p.run(conn))).collect();
            threads.push(scope.spawn(|| committer.run(conn, commits)));
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        told.into_iter().for_each(|one| self.history.absorb(one));
    }

    fn broken_promises(&self, conn: &mut Conn) -> Vec<String> {
        check(&self.history, &state(conn))
    }

    fn acknowledged(&self) -> usize {
        self.history.acked.len().min(if self.history.commits.is_empty() { 0 } else { usize::MAX })
    }
}

/// Reads everything.
fn state(conn: &mut Conn) -> State {
    let mut state = State::default();
    for partition in 0..PARTITIONS {
        let mut log = Vec::new();
        let end = conn.end_offset(TOPIC, partition);
        let mut at = 0;
        while at < end {
            let batches = conn.read(TOPIC, partition, at);
            assert!(!batches.is_empty(), "nothing at {partition}@{at} of {end}");
            for batch in batches {
                for (offset, text) in (batch.base_offset..).zip(batch.values()) {
                    let (id, _) = text.split_once(':').unwrap_or((&text, ""));
                    let id = if value(id) == text { id.to_owned() } else { format!("changed: {id}") };
                    log.push((offset, id));
                }
                at = batch.last_offset() + 1;
            }
        }
        state.logs.insert(partition, log);
        state.committed.insert(partition, conn.committed(GROUP, TOPIC, partition).committed_offset);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does to a log and to a committed offset what a bug would do.
    type Spoil = fn(&mut Vec<(i64, String)>, &mut i64);

    /// The checker must see each of these.
    #[test]
    fn planted_bugs_are_found() {
        let ids: Vec<String> = (0..6).map(|n| format!("r{n}")).collect();
        let log: Vec<(i64, String)> = (0..).zip(ids.clone()).collect();
        let history = History {
            sent: ids.iter().cloned().chain(["maybe".to_owned()]).collect(),
            acked: log.iter().map(|(offset, id)| (id.clone(), (0, *offset))).collect(),
            commits: BTreeMap::from([(0, (5, 7))]),
        };
        let good = State { logs: BTreeMap::from([(0, log)]), committed: BTreeMap::from([(0, 6)]) };
        let spoiled = |spoil: Spoil| {
            let mut state = good.clone();
            let mut committed = 6;
            spoil(state.logs.get_mut(&0).unwrap(), &mut committed);
            state.committed.insert(0, committed);
            check(&history, &state)
        };
        assert_eq!(spoiled(|_, _| {}), Vec::<String>::new());
        assert_eq!(
            spoiled(|log, _| log.push((6, "maybe".to_owned()))),
            Vec::<String>::new(),
            "unacknowledged ones may be there"
        );
        let bugs: [(&str, Spoil); 9] = [
            ("the last record dropped", |log, _| drop(log.pop())),
            ("one dropped, the others moved up", |log, _| {
                log.remove(2);
                (0..).zip(log.iter_mut()).for_each(|(offset, entry)| entry.0 = offset);
            }),
            ("one dropped, a gap left", |log, _| drop(log.remove(2))),
            ("one duplicated", |log, _| log.push((6, "r3".to_owned()))),
            ("an unacknowledged one duplicated", |log, _| {
                log.extend([(6, "maybe".to_owned()), (7, "maybe".to_owned())])
            }),
            ("two exchanged", |log, _| {
                let (first, second) = (log[1].1.clone(), log[2].1.clone());
                log[1].1 = second;
                log[2].1 = first;
            }),
            ("one made up", |log, _| log.push((6, "changed: r1".to_owned()))),
            ("a commit went back", |_, committed| *committed = 4),
            ("a commit lost", |_, committed| *committed = -1),
        ];
        for (bug, spoil) in bugs {
            assert!(!spoiled(spoil).is_empty(), "not seen: {bug}");
        }
    }
}
