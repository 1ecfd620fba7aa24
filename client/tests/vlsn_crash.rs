//! A writer that is killed with kill -9 at random moments, a broker that is killed too, and four readers that see one order.
//! `PYRALOG_VLSN_KILLS` says how often, `PYRALOG_VLSN_SEED` repeats a run.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Broker, unique};
use pyralog_client::{LogConfig, LogOffset, PyralogClient, VlsnClient};

const PARTITIONS: u32 = 3;
/// Records that a writer has on their way.
const WINDOW: usize = 300;
const READERS: usize = 4;

/// What each partition holds, in the order of its offsets.
type Partitions = BTreeMap<u32, Vec<(u64, Vec<u8>)>>;

fn value(vlsn: u64) -> Vec<u8> {
    format!("value-{vlsn}").into_bytes()
}

/// The writer, which is started by the test below as a process of its own and lives until it is killed. It says on stdout
/// what it finds (`found`, the last VLSN of each partition) and what is acknowledged (`acked`).
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of the other test"]
async fn writer_process() {
    let Ok(address) = std::env::var("PYRALOG_VLSN_WRITER_BROKER") else { return };
    let name = std::env::var("PYRALOG_VLSN_WRITER_LOG").unwrap();
    let client = PyralogClient::connect(&address).await.unwrap();
    let log = VlsnClient::open(client, &name).await.unwrap();
    let mut out = std::io::stdout();
    loop {
        // Also after a failure: the broker was away for too long.
        let standing = log.resume().await.unwrap();
        let found: Vec<String> = standing.partitions.iter().map(|v| v.map_or("-".into(), |v| v.to_string())).collect();
        writeln!(out, "found {}", found.join(",")).unwrap();
        let mut on_their_way = VecDeque::new();
        let behind = standing.last.map_or(0, |last| last + 1);
        for vlsn in standing.missing().chain(behind..) {
            let Ok(delivery) = log.enqueue_at(vlsn, value(vlsn)).await else { break };
            on_their_way.push_back(delivery);
            if on_their_way.len() < WINDOW {
                continue;
            }
            let Ok(acked) = on_their_way.pop_front().unwrap().await else { break };
            writeln!(out, "acked {acked}").unwrap();
        }
        log.flush().await;
    }
}

/// What is known of a run.
#[derive(Debug, Default, Clone)]
struct History {
    /// Largest acknowledged VLSN of each partition, and how many were.
    acked: BTreeMap<u64, u64>,
    acks: usize,
    problems: Vec<String>,
}

impl History {
    fn line(&mut self, line: &str) {
        if let Some(vlsn) = line.strip_prefix("acked ").and_then(|word| word.parse::<u64>().ok()) {
            let last = self.acked.entry(vlsn % u64::from(PARTITIONS)).or_default();
            *last = vlsn.max(*last);
            self.acks += 1;
        }
        if let Some(found) = line.strip_prefix("found ") {
            for (partition, last) in (0..).zip(found.split(',')) {
                let acked = self.acked.get(&partition).copied();
                if last.parse::<u64>().ok() < acked {
                    self.problems.push(format!("partition {partition} is at {last}, and {acked:?} was acknowledged"));
                }
            }
        }
    }

    /// Against what is in the partitions, each in the order of its offsets.
    fn check(&self, partitions: &Partitions) -> Vec<String> {
        let mut problems = self.problems.clone();
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for (partition, records) in partitions {
            for (vlsn, found) in records {
                *times.entry(*vlsn).or_default() += 1;
                if vlsn % u64::from(PARTITIONS) != u64::from(*partition) || *found != value(*vlsn) {
                    problems.push(format!("VLSN {vlsn} in partition {partition} is {found:?}"));
                }
            }
            if !records.iter().map(|(vlsn, _)| vlsn).is_sorted_by(|a, b| a < b) {
                problems.push(format!("partition {partition} does not rise"));
            }
        }
        problems.extend(times.iter().filter(|(_, n)| **n > 1).map(|(vlsn, n)| format!("VLSN {vlsn} {n} times")));
        let acked = self.acked.values().copied().max().unwrap_or(0);
        problems.extend((0..=acked).filter(|vlsn| !times.contains_key(vlsn)).map(|vlsn| format!("no VLSN {vlsn}")));
        problems
    }
}

#[test]
fn the_checker_catches_planted_losses_duplicates_and_disorder() {
    let mut sound: Partitions = BTreeMap::new();
    for vlsn in 0..9 {
        let partition = u32::try_from(vlsn % 3).unwrap();
        sound.entry(partition).or_default().push((vlsn, value(vlsn)));
    }
    let mut history = History::default();
    (0..9).for_each(|vlsn| history.line(&format!("acked {vlsn}")));
    history.line("found 6,7,8");
    assert_eq!((history.acks, history.check(&sound)), (9, vec![]));
    let planted = |plant: fn(&mut Partitions)| {
        let mut records = sound.clone();
        plant(&mut records);
        history.check(&records)
    };
    assert!(planted(|r| drop(r.get_mut(&1).unwrap().remove(1)))[0].contains("no VLSN 4"));
    assert!(planted(|r| drop(r.get_mut(&1).unwrap().pop()))[0].contains("no VLSN 7"));
    assert!(planted(|r| r.get_mut(&2).unwrap().push((8, value(8)))).iter().any(|p| p.contains("VLSN 8 2 times")));
    assert!(planted(|r| r.get_mut(&0).unwrap().swap(0, 1))[0].contains("does not rise"));
    assert!(planted(|r| r.get_mut(&0).unwrap()[0].1 = value(3))[0].contains("VLSN 0 in partition 0"));
    history.line("found 6,4,-");
    assert_eq!(history.problems.len(), 2, "{:?}", history.problems);
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn writer(address: &str, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_process", "--ignored", "--nocapture"])
        .env("PYRALOG_VLSN_WRITER_BROKER", address)
        .env("PYRALOG_VLSN_WRITER_LOG", name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Follows the view from its beginning; every VLSN has to come, one after the other.
async fn follow(client: PyralogClient, view: String, is_over: Arc<AtomicBool>) -> u64 {
    let mut reader = client.reader(&view).open().await.unwrap();
    let mut next = 0;
    loop {
        let records = reader.poll(10_000).await.unwrap();
        if records.is_empty() && is_over.load(Ordering::Acquire) {
            return next;
        }
        for record in records {
            let found = (record.vlsn(), record.offset, record.value.to_vec());
            let expected = (Some(next), LogOffset(i64::try_from(next).unwrap()), value(next));
            assert_eq!(found, expected, "one order for all");
            next += 1;
        }
    }
}

/// Issue: a writer killed at random moments leaves each VLSN exactly once, and none that was acknowledged is missing.
#[tokio::test(flavor = "multi_thread")]
async fn each_vlsn_is_there_once_after_kill_9_of_writers_and_broker() {
    if std::env::var_os("PYRALOG_TEST_KAFKA").is_some() {
        return eprintln!("skipped: Apache Kafka has no VLSNs");
    }
    let Some(mut broker) = Broker::killable() else { return };
    let kills = number("PYRALOG_VLSN_KILLS").unwrap_or(40);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    let seed = number("PYRALOG_VLSN_SEED").unwrap_or(u64::from(nanos) | 1);
    println!("seed {seed}");
    let mut random = Random(seed);
    let client = broker.client().await;
    let name = unique("crash");
    let config = LogConfig { partition_count: PARTITIONS, ..Default::default() }.with("vlsn.enable", "true");
    client.create_log_with_config(&name, config).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let client = broker.client().await;
        readers.spawn(follow(client, format!("{name}.vlsn"), is_over.clone()));
    }
    let mut history = History::default();
    let mut broker_kills = 0;
    for _ in 0..kills {
        let mut child = writer(broker.address(), &name);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (acked, first) = std::sync::mpsc::channel();
        let told = move |line: &String| {
            if line.starts_with("acked") {
                // Nobody waits for more than the first.
                let _ = acked.send(());
            }
        };
        let reading = std::thread::spawn(move || lines.map_while(Result::ok).inspect(told).collect::<Vec<_>>());
        // Some are killed before they have begun, most at work, however slow the machine is.
        if random.below(4) > 0 {
            let _ = first.recv_timeout(common::LONG);
        }
        tokio::time::sleep(Duration::from_millis(random.below(120))).await;
        if random.below(5) == 0 {
            broker.kill9();
            tokio::time::sleep(Duration::from_millis(random.below(30))).await;
            broker.start();
            broker_kills += 1;
            tokio::time::sleep(Duration::from_millis(random.below(200))).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // A line that was cut by the kill does not count.
        reading.join().unwrap().iter().for_each(|line| history.line(line));
    }
    let client = broker.client().await;
    let log = VlsnClient::open(client.clone(), &name).await.unwrap();
    // What the last writer had on its way.
    let standing = log.resume().await.unwrap();
    for vlsn in standing.missing() {
        log.write_at(vlsn, value(vlsn)).await.unwrap();
    }
    let last = log.last_vlsn().await.unwrap().unwrap();
    is_over.store(true, Ordering::Release);
    while let Some(seen) = tokio::time::timeout(3 * common::LONG, readers.join_next()).await.unwrap() {
        assert_eq!(seen.unwrap(), last + 1, "every reader has seen all of it");
    }
    let mut partitions: Partitions = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let records = client.consume_from_partition(&name, partition, LogOffset::ZERO, usize::MAX).await.unwrap();
        let found = records.into_iter().map(|record| (record.vlsn().unwrap(), record.value.to_vec()));
        partitions.insert(partition, found.collect());
    }
    let problems = history.check(&partitions);
    let acks = history.acks;
    println!(
        "{kills} kills of writers, {broker_kills} of the broker; {acks} acknowledgements, {last} is the last VLSN"
    );
    assert!(problems.is_empty(), "seed {seed}: {problems:?}");
    assert!(acks > 0, "nothing happened");
}
