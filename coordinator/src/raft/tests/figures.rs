//! Figures of the real store, by hand: `cargo test --release -p pyralog-coordinator figures -- --ignored --nocapture`.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

/// As large as a committed offset.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Offset {
    group: u32,
    partition: u32,
    offset: u64,
    metadata: [u8; 32],
}

impl StateRecord for Offset {
    fn placement(&self) -> Placement {
        Placement::Put(Family::Groups, [self.group.to_be_bytes(), self.partition.to_be_bytes()].concat())
    }
}

fn offset(n: u32, offset: u64) -> Offset {
    Offset { group: n / 1_000, partition: n % 1_000, offset, metadata: [7; 32] }
}

fn open_offsets(path: &Path) -> (Replica<RocksStore, Offset>, usize, Duration) {
    let start = Instant::now();
    let store = RocksStore::open(path, &RocksOptions::default()).unwrap();
    let replica = Replica::open(store, ReplicaOptions::default()).unwrap();
    let mut count = 0;
    replica.load(|_| count += 1).unwrap();
    (replica, count, start.elapsed())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "measures"]
fn figures_of_an_empty_store() {
    let before = resident_kib();
    let folder = tempfile::tempdir_in(".").unwrap();
    let (mut replica, _, first) = open_offsets(folder.path());
    let start = Instant::now();
    replica.propose(&[offset(0, 1)]).unwrap();
    replica.pump().unwrap();
    println!("empty store: open {first:?}, first proposal {:?}", start.elapsed());
    println!("resident: {before} KiB before, {} KiB after", resident_kib());
    drop(replica);
    println!("open again: {:?}", open_offsets(folder.path()).2);
}

#[test]
#[ignore = "measures"]
fn figures_of_proposals() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let (mut replica, _, _) = open_offsets(folder.path());
    for batch in [1, 8, 64, 256] {
        let (start, mut pumps, mut worst) = (Instant::now(), 0_u32, Duration::ZERO);
        while start.elapsed() < Duration::from_secs(3) {
            let one = Instant::now();
            for n in 0..batch {
                replica.propose(&[offset(n, u64::from(pumps))]).unwrap();
            }
            replica.pump().unwrap();
            worst = worst.max(one.elapsed());
            pumps += 1;
        }
        let rate = f64::from(pumps * batch) / start.elapsed().as_secs_f64();
        println!("{batch} proposals per pump: {rate:.0}/s, {:?} per pump, worst {worst:?}", start.elapsed() / pumps);
    }
    println!("resident: {} KiB", resident_kib());
}

#[test]
#[ignore = "measures"]
fn figures_of_a_long_write_ahead_log() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let (mut replica, _, _) = open_offsets(folder.path());
    for pump in 0..3_900_u32 {
        let records: Vec<_> = (0..330).map(|n| offset(n % 100, u64::from(pump))).collect();
        replica.propose(&records).unwrap();
        replica.pump().unwrap();
    }
    drop(replica);
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap());
    let logs = files.filter(|file| file.path().extension().is_some_and(|e| e == "log"));
    let bytes: u64 = logs.map(|file| file.metadata().unwrap().len()).sum();
    println!("{} KiB of write-ahead log: open {:?}", bytes >> 10, open_offsets(folder.path()).2);
}

#[test]
#[ignore = "measures"]
fn ra_05_ra_22_figures_of_a_million_offsets() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let (mut replica, _, _) = open_offsets(folder.path());
    let start = Instant::now();
    for pump in 0..10_000_u32 {
        for n in 0..10 {
            let records: Vec<_> = (0..10).map(|m| offset(pump * 100 + n * 10 + m, 5)).collect();
            replica.propose(&records).unwrap();
        }
        replica.pump().unwrap();
        if replica.is_reclaim_due() {
            let one = Instant::now();
            replica.reclaim().unwrap();
            println!("reclaim: {:?}", one.elapsed());
        }
    }
    println!("written in {:?}, resident {} KiB", start.elapsed(), resident_kib());
    drop(replica);
    for _ in 0..3 {
        let (replica, count, took) = open_offsets(folder.path());
        println!("{count} offsets: open {took:?}, resident {} KiB", resident_kib());
        drop(replica);
    }
    let start = Instant::now();
    let store = RocksStore::open(folder.path(), &RocksOptions::default()).unwrap();
    println!("the store alone: open {:?}", start.elapsed());
    drop(store);
}
