//! The same promises on the real store: order, locks, versions, torn ends.

use std::path::{Path, PathBuf};

use super::*;
use crate::Record;

fn store(path: &Path) -> RocksStore {
    RocksStore::open(path, &RocksOptions::default()).unwrap()
}

fn refused(path: &Path) -> OpenError {
    RocksStore::open(path, &RocksOptions::default()).map(|_| ()).unwrap_err()
}

fn set(value: u64) -> Cell {
    Cell::Set { row: 1, column: 1, value }
}

/// A folder with `count` acknowledged proposals.
fn used(path: &Path, count: u64) {
    let (mut replica, _) = open(store(path));
    for value in 0..count {
        replica.propose(&[set(value)]).unwrap();
        replica.pump().unwrap();
    }
}

/// The write-ahead log that holds something, newest first.
fn wal(path: &Path) -> PathBuf {
    let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let mut logs: Vec<_> = files.filter(|file| file.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    logs.into_iter().rev().find(|log| log.metadata().unwrap().len() > 0).unwrap()
}

#[test]
fn state_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a").join("b");
    let mut expected = Table::default();
    let mut draw = draw(3);
    for _ in 0..4 {
        let (mut replica, state) = open(store(&path));
        assert_eq!(Table::of(&state), expected);
        assert!(replica.is_ready_leader());
        for _ in 0..50 {
            let records = some_records(&mut draw);
            expected.apply(&records);
            replica.propose(&records).unwrap();
            replica.pump().unwrap();
        }
        replica.reclaim().unwrap();
    }
}

#[test]
fn the_machines_records_come_back_in_key_order() {
    use crate::groups::GroupRecord;
    use crate::metadata::MetadataRecord;
    let folder = tempfile::tempdir().unwrap();
    let open = || open_folder(folder.path(), &RocksOptions::default(), ReplicaOptions::default()).unwrap();
    let cluster = Record::Metadata(MetadataRecord::Cluster { id: "x".into() });
    let version = |n| Record::Metadata(MetadataRecord::Version(n));
    let head = |group: &str| Record::Group(GroupRecord::Head { group: group.into(), head: Default::default() });
    let gone = Record::Group(GroupRecord::GroupRemoved { group: "a".into() });
    let mut replica = open();
    assert_eq!(state_of(&replica), []);
    replica.propose(&[cluster.clone(), version(1)]).unwrap();
    replica.propose(&[head("b"), head("a"), version(2)]).unwrap();
    replica.propose(&[gone]).unwrap();
    let progress = replica.pump().unwrap();
    assert_eq!(progress.applied.len(), 3);
    drop(replica);
    assert_eq!(state_of(&open()), [cluster, version(2), head("b")]);
}

#[test]
fn rocks_and_memory_read_the_same() {
    for seed in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let (mut rocks, mut memory) = (store(folder.path()), MemoryStore::default());
        let mut draw = draw(seed);
        let column = |draw: &mut Draw| Column::ALL[usize::try_from(below(draw, 5)).unwrap()];
        let key = |draw: &mut Draw| vec![byte(draw, &[0, 1, 2, 255]), byte(draw, &[0, 255])];
        for _ in 0..200 {
            let mut batch = Batch::default();
            for _ in 0..below(&mut draw, 6) {
                let (column, a, b) = (column(&mut draw), key(&mut draw), key(&mut draw));
                match below(&mut draw, 5) {
                    0 => batch.delete(column, a),
                    1 => batch.delete_range(Span { column, from: a.clone().min(b.clone()), to: a.max(b) }),
                    _ => batch.put(column, a, draw.next_u64().to_be_bytes().to_vec()),
                }
            }
            rocks.write(batch.clone(), false).unwrap();
            memory.write(batch, false).unwrap();
            let (column, a, b) = (column(&mut draw), key(&mut draw), key(&mut draw));
            let span = Span { column, from: a.clone().min(b.clone()), to: a.clone().max(b) };
            assert_eq!(rocks.get(column, &a), memory.get(column, &a), "seed {seed}");
            assert_eq!(rocks.last_key(&span), memory.last_key(&span), "seed {seed}");
            assert_eq!(rows(&rocks, &span), rows(&memory, &span), "seed {seed}");
        }
    }
}

fn rows(store: &impl LogStore, span: &Span) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut visit = |_: Column, key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        true
    };
    store.scan(std::slice::from_ref(span), &mut visit).unwrap();
    rows
}

/// RA-22: the key at the end of the range is the first one that stays.
#[test]
fn ra_22_reclaim_changes_no_content() {
    let folder = tempfile::tempdir().unwrap();
    let (mut rocks, mut memory) = (store(folder.path()), MemoryStore::default());
    let span = |to: u8| Span { column: Column::RaftLog, from: vec![0], to: vec![to] };
    let mut batch = Batch::default();
    batch.put(Column::RaftMeta, super::super::keys::format_key(), 1_u32.to_be_bytes().to_vec());
    rocks.write(batch, true).unwrap();
    let mut batch = Batch::default();
    (0..=200).for_each(|key| batch.put(Column::RaftLog, vec![key], vec![7; 100]));
    rocks.write(batch.clone(), true).unwrap();
    memory.write(batch, true).unwrap();
    for to in [10, 11, 100, 200] {
        let mut batch = Batch::default();
        batch.delete_range(span(to));
        for store in [&mut rocks as &mut dyn LogStore, &mut memory] {
            store.write(batch.clone(), true).unwrap();
            store.reclaim(&span(to)).unwrap();
        }
        assert_eq!(rows(&rocks, &span(255)), rows(&memory, &span(255)), "reclaimed up to {to}");
    }
    drop(rocks);
    assert_eq!(rows(&store(folder.path()), &span(255)), rows(&memory, &span(255)));
}

#[test]
fn ra_05_the_column_families_are_fixed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut replica, _) = open(store(folder.path()));
    for row in 0..=255 {
        replica.propose(&[Cell::Set { row, column: 0, value: 0 }]).unwrap();
        replica.pump().unwrap();
    }
    drop(replica);
    let mut families = rocksdb::DB::list_cf(&rocksdb::Options::default(), folder.path()).unwrap();
    families.sort();
    assert_eq!(families, ["default", "groups", "meta", "raft_log", "raft_meta", "vlsn"]);
}

#[test]
fn a_second_open_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(folder.path());
    let error = refused(folder.path());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"));
    drop(first);
    drop(store(folder.path()));
}

/// Run by the test below in a process of its own.
#[test]
#[ignore = "the other process of `a_second_process_is_refused`"]
fn open_what_another_process_has() {
    let path = std::env::var("PYRALOG_TEST_FOLDER").unwrap();
    println!("{}", refused(Path::new(&path)));
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = store(folder.path());
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "raft::tests::rocks::open_what_another_process_has"])
        .env("PYRALOG_TEST_FOLDER", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("in use by another process"), "{said}");
}

#[test]
fn another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    used(folder.path(), 3);
    let mut batch = Batch::default();
    batch.put(Column::RaftMeta, super::super::keys::format_key(), 9_u32.to_be_bytes().to_vec());
    store(folder.path()).write(batch, true).unwrap();
    let error = refused(folder.path());
    assert!(matches!(&error, OpenError::OtherFormat { found, .. } if found == "9"), "{error}");
    assert!(error.to_string().contains("reads and writes 1"));
}

#[test]
fn somebody_elses_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(rocksdb::DB::open_cf(&options, folder.path(), ["other"]).unwrap());
    let error = refused(folder.path());
    assert!(matches!(&error, OpenError::OtherFormat { found, .. } if found.contains("other")), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let db = rocksdb::DB::open_cf(&options, folder.path(), ["meta"]).unwrap();
    db.put_cf(db.cf_handle("meta").unwrap(), b"k", b"v").unwrap();
    drop(db);
    assert!(matches!(refused(folder.path()), OpenError::OtherFormat { .. }));
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let error = refused(&file.join("data"));
    assert!(matches!(&error, OpenError::Store(_)), "{error}");
    assert!(error.to_string().contains("create its folder"));
}

/// Run by the test below in a process of its own: proposes and says what is acknowledged, until it is killed.
#[test]
#[ignore = "the victim of `ra_01_acknowledged_records_survive_kill_9`"]
fn propose_until_killed() {
    use std::io::Write;
    let path = std::env::var("PYRALOG_TEST_FOLDER").unwrap();
    let (mut replica, state) = open(store(Path::new(&path)));
    let first = Table::of(&state).0.get(&(1, 1)).map_or(0, |value| value + 1);
    for value in first.. {
        replica.propose(&[set(value)]).unwrap();
        if value % 7 == 0 {
            replica.pump().unwrap();
            writeln!(std::io::stdout(), "acknowledged {value}").unwrap();
        }
    }
}

#[test]
fn ra_01_acknowledged_records_survive_kill_9() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut draw) = (0, draw(9));
    for round in 0..8 {
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "raft::tests::rocks::propose_until_killed"])
            .env("PYRALOG_TEST_FOLDER", folder.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut left = 1 + below(&mut draw, 300);
        for line in lines.map_while(Result::ok) {
            let Some((_, value)) = line.split_once("acknowledged ") else { continue };
            acknowledged = value.parse::<u64>().unwrap();
            left = left.saturating_sub(1);
            if left == 0 {
                victim.kill().unwrap();
            }
        }
        victim.wait().unwrap();
        assert_eq!(left, 0, "round {round}: the victim ended by itself");
        let (_, state) = open(store(folder.path()));
        let found = Table::of(&state).0[&(1, 1)];
        assert!(found >= acknowledged, "round {round}: {found} after {acknowledged} was acknowledged");
    }
}

/// Every length of the last record's remains opens; what was acknowledged before it is there.
#[test]
fn ra_21_a_torn_end_opens() {
    let folder = tempfile::tempdir().unwrap();
    used(folder.path(), 10);
    let log = wal(folder.path());
    let whole = std::fs::read(&log).unwrap();
    for torn in (1..whole.len().min(400)).step_by(7) {
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        std::fs::write(copy.path().join(log.file_name().unwrap()), &whole[..whole.len() - torn]).unwrap();
        let (replica, state) = open(store(copy.path()));
        assert!(replica.is_ready_leader(), "{torn} bytes torn off");
        let found = Table::of(&state);
        let prefix = (0..10).any(|value| found == Table::of(&[set(value)])) || found == Table::default();
        assert!(prefix, "{torn} bytes torn off: {found:?}");
    }
}

#[test]
fn ra_21_a_flipped_bit_in_the_middle_refuses() {
    let folder = tempfile::tempdir().unwrap();
    used(folder.path(), 200);
    let log = wal(folder.path());
    let whole = std::fs::read(&log).unwrap();
    for eighth in 1..7 {
        let mut flipped = whole.clone();
        flipped[whole.len() * eighth / 8] ^= 0x10;
        std::fs::write(&log, &flipped).unwrap();
        let error = refused(folder.path());
        assert!(matches!(&error, OpenError::Corrupt(_)), "at {eighth}/8: {error}");
    }
    std::fs::write(&log, &whole).unwrap();
    let (_, state) = open(store(folder.path()));
    assert_eq!(Table::of(&state), Table::of(&[set(199)]));
}

/// A copy of a store's folder, in which its write-ahead log has other bytes.
fn with_log(folder: &Path, log: &[u8]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    std::fs::write(copy.path().join(wal(folder).file_name().unwrap()), log).unwrap();
    copy
}

/// Each proposal leaves two records: its entry, which is synced, and what it did to the state, which the next sync covers.
#[test]
fn ra_21_what_was_not_synced_may_be_lost_in_any_part_and_what_was_may_not() {
    let folder = tempfile::tempdir().unwrap();
    used(folder.path(), 10);
    let whole = std::fs::read(wal(folder.path())).unwrap();
    let places = super::super::wal::places(&whole);
    let [.., applied_8, entry_9, applied_9] = places[..] else { panic!("{places:?}") };
    let entry_8 = places[places.len() - 4];
    let spoiled = |from: usize, to: usize, end: usize| {
        let mut log = whole[..end].to_vec();
        log[from..to].fill(0);
        with_log(folder.path(), &log)
    };
    let found = |copy: &tempfile::TempDir| Table::of(&open(store(copy.path())).1);
    // The end, which no sync followed: zeros in any part of it.
    for (from, to) in [(0, 3), (0, 20), (3, 9), (6, 7), (12, 40), (20, 21)] {
        let copy = spoiled(applied_9 + from, whole.len().min(applied_9 + to), whole.len());
        assert_eq!(found(&copy), Table::of(&[set(9)]), "zeros from {from} to {to}");
        assert_eq!(found(&copy), Table::of(&[set(9)]), "and once more");
    }
    // Two records on their way to the disk, of which only the second one arrived: the first was not covered by a sync either.
    let copy = spoiled(applied_8 + 9, applied_8 + 20, applied_9);
    let opened = store(copy.path());
    let cut = opened.cut().unwrap();
    assert_eq!((cut.at, cut.bytes), (applied_8 as u64, (applied_9 - applied_8) as u64));
    assert_eq!(Table::of(&open(opened).1), Table::of(&[set(8)]));
    // What is behind these was written when they had been synced. RocksDB passes over a header of zeros.
    for (at, from) in [places[0], entry_8, entry_9].into_iter().flat_map(|at| [(at, 9), (at, 0)]) {
        let copy = spoiled(at + from, at + 20, whole.len());
        let error = refused(copy.path());
        assert!(matches!(&error, OpenError::Corrupt(_)), "at {at}: {error}");
        let log = std::fs::read(wal(copy.path())).unwrap();
        assert_eq!(log.len(), whole.len(), "nothing is cut");
    }
}

const SEEDS: u64 = 150;

/// Random batches, some synced, some larger than a block of the log; then a power loss, which leaves any sectors of what was not synced.
#[test]
fn ra_21_power_loss_at_random() {
    let mut cuts = 0;
    for seed in 0..SEEDS {
        let mut draw = draw(seed);
        let folder = tempfile::tempdir().unwrap();
        let mut written = store(folder.path());
        let (mut synced, mut synced_bytes) = (0, 0);
        let count = 1 + below(&mut draw, 12);
        for key in 0..count {
            let mut batch = Batch::default();
            if key == 0 {
                let format = super::super::keys::FORMAT_VERSION.to_be_bytes().to_vec();
                batch.put(Column::RaftMeta, super::super::keys::format_key(), format);
            }
            let length = [20, 300, 3_000, 40_000, 70_000][usize::try_from(below(&mut draw, 5)).unwrap()];
            let value = (0..below(&mut draw, length)).map(|_| byte(&mut draw, &[1, 2, 3, 4])).collect();
            batch.put(Column::RaftLog, key.to_be_bytes().to_vec(), value);
            let sync = below(&mut draw, 2) == 0;
            written.write(batch, sync).unwrap();
            if sync {
                synced = key + 1;
                synced_bytes = usize::try_from(wal(folder.path()).metadata().unwrap().len()).unwrap();
            }
        }
        let mut log = std::fs::read(wal(folder.path())).unwrap();
        for sector in (0..log.len()).step_by(512) {
            let end = log.len().min(sector + 512);
            if below(&mut draw, 3) == 0 {
                log[sector.max(synced_bytes).min(end)..end].fill(0);
            }
        }
        let end = synced_bytes + usize::try_from(below(&mut draw, (log.len() - synced_bytes) as u64 + 1)).unwrap();
        log.truncate(if below(&mut draw, 2) == 0 { end } else { log.len() });
        let copy = with_log(folder.path(), &log);
        let opened = store(copy.path());
        cuts += usize::from(opened.cut().is_some());
        let keys = |store: &RocksStore| -> Vec<u64> {
            let all = Span { column: Column::RaftLog, from: vec![], to: vec![255] };
            rows(store, &all).iter().map(|(key, _)| u64::from_be_bytes(key.as_slice().try_into().unwrap())).collect()
        };
        let found = keys(&opened);
        let expected: Vec<u64> = (0..found.len() as u64).collect();
        assert_eq!(found, expected, "seed {seed}: not a prefix");
        assert!(found.len() as u64 >= synced, "seed {seed}: {} of {synced} synced ones", found.len());
        drop(opened);
        assert_eq!(keys(&store(copy.path())), expected, "seed {seed}: the second start");
    }
    assert!(cuts > 10, "{cuts} logs had to be cut: this shows little");
}
