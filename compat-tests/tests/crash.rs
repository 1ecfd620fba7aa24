//! kill -9 at random moments, again and again, while idempotent and plain producers write and a consumer commits.
//!
//! Afterwards every acknowledged record is at its acknowledged offset, idempotent ones exactly once although they were sent
//! again after each crash, nothing was made up, and no committed offset went back. `PYRALOG_CRASH_ROUNDS` (12) says how
//! often; `PYRALOG_CRASH_SEED` replays the draws of a run (not the scheduling of the machine).
//!
//! kill -9 does not lose what the kernel holds: power loss is tested on a simulated disk, elsewhere.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{InitProducerIdRequest, OffsetCommitRequest, ProduceRequest};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};
use pyralog_compat_tests::batch::{Batch, Codec, Record};
use pyralog_compat_tests::calls::{produce_request, produced};
use pyralog_compat_tests::conn::frame;
use pyralog_compat_tests::groups::commit_request;
use pyralog_compat_tests::{BrokerOptions, Conn, private};

const TOPIC: &str = "crash";
const GROUP: &str = "crash-group";
const PARTITIONS: i32 = 4;

/// SplitMix64: one stream per (seed, name), so that a new draw in one does not shift the others.
struct Draw(u64);

impl Draw {
    fn stream(seed: u64, name: &str) -> Draw {
        let mixed = name.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Draw(mixed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

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

/// A call that ends with the broker: `None` when the connection breaks at any point.
fn call<R: Request>(conn: &mut Conn, version: i16, request: &R) -> Option<R::Response> {
    let (_, body) = conn.encode(version, request);
    let stream = conn.stream();
    stream.write_all(&frame(&body)).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer).ok()?;
    let header = if R::Response::header_version(version) >= 1 { 5 } else { 4 };
    Some(R::Response::decode(&mut Bytes::from(answer).slice(header..), version).unwrap())
}

/// An id with a filler that follows from it, so that a reader can tell a changed record from a good one.
fn value(id: &str) -> String {
    let length = Draw::stream(7, id).below(3000);
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
}

impl Producer {
    fn new(conn: &mut Conn, name: &str, idempotent: bool, seed: u64) -> Producer {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let id = if idempotent { conn.call(2, &request).producer_id.0 } else { -1 };
        let draw = Draw::stream(seed, name);
        Producer { name: name.to_owned(), id, sequences: BTreeMap::new(), count: 0, pending: None, draw }
    }

    fn next(&mut self) -> (i32, i32, Vec<String>, Codec) {
        let partition = i32::try_from(self.draw.below(u64::from(PARTITIONS.unsigned_abs()))).unwrap();
        let codec = [Codec::None, Codec::None, Codec::Lz4, Codec::Zstd][usize::try_from(self.draw.below(4)).unwrap()];
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
            let Some(answer) =
                call::<ProduceRequest>(&mut conn, 9, &produce_request(TOPIC, partition, &batch.encode()))
            else {
                self.pending = Some((partition, first, ids, codec));
                return history;
            };
            let answer = produced(&answer, TOPIC, partition);
            assert_eq!(answer.error_code, 0, "{} sequence {first} of partition {partition}: {answer:?}", self.name);
            history
                .acked
                .extend(ids.into_iter().zip(answer.base_offset..).map(|(id, offset)| (id, (partition, offset))));
        }
    }
}

/// Commits rising offsets until the connection breaks; `last` goes on from round to round.
fn commit_until_broken(mut conn: Conn, last: &mut i64, draw: &mut Draw, acked: &BTreeMap<i32, (i64, i64)>) -> History {
    let mut history = History { commits: acked.clone(), ..History::default() };
    loop {
        *last += 1;
        let partition = i32::try_from(draw.below(u64::from(PARTITIONS.unsigned_abs()))).unwrap();
        let known = history.commits.entry(partition).or_insert((-1, -1));
        known.1 = *last;
        let Some(answer) =
            call::<OffsetCommitRequest>(&mut conn, 8, &commit_request(GROUP, &[(TOPIC, partition, *last)]))
        else {
            return history;
        };
        assert_eq!(answer.topics[0].partitions[0].error_code, 0, "{answer:?}");
        known.0 = *last;
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

#[test]
fn acknowledged_is_there_after_kill_9() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let rounds = setting("PYRALOG_CRASH_ROUNDS").unwrap_or(12);
    let seed = setting("PYRALOG_CRASH_SEED").unwrap_or_else(|| pyralog_compat_tests::now_ms().unsigned_abs());
    eprintln!("replay the draws with PYRALOG_CRASH_SEED={seed}");
    let Some(mut broker) = private(BrokerOptions::new().set("group.initial.rebalance.delay.ms", "0")) else { return };
    let mut conn = broker.connect();
    conn.create_topic(TOPIC, PARTITIONS, &[]);
    conn.wait_for_coordinator(GROUP);
    let mut producers: Vec<Producer> =
        [("idempotent-a", true), ("idempotent-b", true), ("plain-a", false), ("plain-b", false)]
            .map(|(name, idempotent)| Producer::new(&mut conn, name, idempotent, seed))
            .into();
    let (mut moment, mut commit_draw, mut last_commit) =
        (Draw::stream(seed, "moment"), Draw::stream(seed, "commit"), 0);
    let mut history = History::default();
    for round in 0..rounds {
        let commits = history.commits.clone();
        let pause = Duration::from_millis(5 + moment.below(200));
        // Connected before the clock runs: the kill may come at once.
        let conns: Vec<Conn> = producers.iter().map(|_| broker.connect()).collect();
        let committer = broker.connect();
        let told: Vec<History> = std::thread::scope(|scope| {
            let mut threads: Vec<_> =
                producers.iter_mut().zip(conns).map(|(p, conn)| scope.spawn(|| p.run(conn))).collect();
            threads.push(scope.spawn(|| commit_until_broken(committer, &mut last_commit, &mut commit_draw, &commits)));
            std::thread::sleep(pause);
            broker.kill9();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        told.into_iter().for_each(|one| history.absorb(one));
        broker.restart();
        let state = state(&mut broker.connect());
        let broken = check(&history, &state);
        assert!(broken.is_empty(), "seed {seed}, round {round}, killed after {pause:?}:\n{}", broken.join("\n"));
    }
    assert!(
        history.acked.len() > 10 && !history.commits.is_empty(),
        "nothing was acknowledged: the test shows nothing"
    );
    eprintln!("{rounds} rounds, {} of {} records acknowledged", history.acked.len(), history.sent.len());
}

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
        ("an unacknowledged one duplicated", |log, _| log.extend([(6, "maybe".to_owned()), (7, "maybe".to_owned())])),
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
