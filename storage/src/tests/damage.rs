//! Damage on disk: what recovery cuts, what it refuses to cut, and indexes that lie. IO-05, IO-06, IO-07, IO-12.

use super::*;
use crate::index::{Entry, Index, SPARSE};
use crate::segment::{Env, Trust, file_name};
use crate::{AppendError, Disk, DiskFile, OpenError, OpenMode, ReadError};

fn path(base: i64, extension: &str) -> String {
    format!("{DIR}/{}", file_name(off(base), extension))
}

/// Twelve batches of two records in several segments, closed cleanly.
fn filled() -> SimDisk {
    let (disk, mut log) = new_log(small());
    for n in 0..12 {
        let batch = checked(BatchBuilder::new().kv(n, b"k", &[n as u8; 130]).kv(n, b"k", &[n as u8; 130]));
        put(&mut log, &batch);
    }
    assert!(log.segment_count() > 2);
    assert_eq!(log.close_clean().unwrap(), off(24));
    disk
}

fn everything() -> Vec<(i64, i64)> {
    (0..12).map(|n| (2 * n, 2 * n + 1)).collect()
}

fn logs(disk: &SimDisk, extension: &str) -> Vec<String> {
    disk.paths().into_iter().filter(|p| p.ends_with(extension)).collect()
}

fn flip(disk: &SimDisk, path: &str, byte: usize, bit: usize) {
    let mut bytes = disk.bytes(path);
    bytes[byte] ^= 1 << bit;
    disk.overwrite(path, bytes);
}

#[test]
fn io_05_a_tail_that_was_never_written_is_cut_without_loss() {
    for zeros in [1, 60, 61, 5000] {
        let disk = filled();
        let last = logs(&disk, ".log").pop().unwrap();
        let written = disk.bytes(&last);
        disk.overwrite(&last, [&written[..], &vec![0; zeros]].concat());
        let (mut log, report) = open(&disk, small(), clean(24));
        let cut = report.cut.unwrap();
        assert_eq!((cut.at, cut.unwritten, cut.bytes), (off(24), true, zeros as u64));
        assert_eq!(contents(&mut log, 0), everything());
        assert_eq!(disk.bytes(&last), written);
    }
}

/// CRCs are linear: solves for the four bytes that make the CRC of the batch zero.
fn batch_with_crc_zero() -> CheckedBatch {
    let crc_of = |value: u32| {
        let batch = checked(BatchBuilder::new().kv(5, b"k", &value.to_be_bytes()));
        (batch.header.crc, batch)
    };
    let zero = crc_of(0).0;
    let mut basis: Vec<(u32, u32)> = Vec::new(); // (effect on the CRC, bits of the value)
    let reduce = |basis: &[(u32, u32)], mut effect: u32, mut bits: u32| {
        for (e, b) in basis {
            if effect ^ e < effect {
                (effect, bits) = (effect ^ e, bits ^ b);
            }
        }
        (effect, bits)
    };
    for bit in 0..32 {
        let reduced = reduce(&basis, crc_of(1 << bit).0 ^ zero, 1 << bit);
        basis.push(reduced);
        basis.sort_unstable_by(|a, b| b.cmp(a));
    }
    let (rest, value) = reduce(&basis, zero, 0);
    assert_eq!(rest, 0);
    crc_of(value).1
}

#[test]
fn io_05_a_batch_whose_crc_is_zero_is_data() {
    let batch = batch_with_crc_zero();
    assert_eq!(batch.header.crc, 0);
    let (disk, mut log) = new_log(small());
    put(&mut log, &batch);
    put(&mut log, &stamped(&[1]));
    log.sync().unwrap();
    let (mut log, report) = open(&disk, small(), unclean(0));
    assert_eq!((contents(&mut log, 0), report.cut), (vec![(0, 0), (1, 1)], None));
}

#[test]
fn io_06_damage_below_the_recovery_point_is_never_cut() {
    let mut refused = 0;
    for file in 0.. {
        let Some(name) = logs(&filled(), ".log").get(file).cloned() else { break };
        for byte in (0..filled().bytes(&name).len()).step_by(7) {
            let disk = filled();
            flip(&disk, &name, byte, byte % 8);
            let sizes = |disk: &SimDisk| logs(disk, ".log").iter().map(|p| disk.bytes(p).len()).collect::<Vec<_>>();
            let before = sizes(&disk);
            match Log::open(Arc::new(disk.clone()), DIR, small(), unclean(24), at(1000)) {
                Ok((log, report)) => assert_eq!((log.log_end(), report.cut), (off(24), None)),
                Err(OpenError::Corrupt { range, .. }) => {
                    refused += 1;
                    assert!(!range.is_empty() && range.end <= off(24), "the range is named: {range:?}");
                }
                Err(error) => panic!("{error}"),
            }
            assert_eq!(sizes(&disk), before, "nothing was cut");
        }
    }
    assert!(refused > 0);
}

#[test]
fn io_06_files_that_are_missing_or_short_below_the_recovery_point_are_never_papered_over() {
    for name in logs(&filled(), ".log") {
        for keep in [None, Some(0), Some(100)] {
            let disk = filled();
            match keep {
                None => disk.remove_file(&name).unwrap(),
                Some(bytes) => disk.open(&name, OpenMode::Write).unwrap().set_len(bytes).unwrap(),
            }
            let opened = Log::open(Arc::new(disk.clone()), DIR, small(), unclean(24), at(1000));
            let Ok((mut log, _)) = opened else { continue };
            assert_eq!(log.log_end(), off(24));
            let errors = (0..24).filter(|o| log.read(off(*o), 100, true, off(24)).is_err()).count();
            assert!(errors > 0, "{name} {keep:?}: a reader has to be told");
        }
    }
}

#[test]
fn io_04_damage_above_the_recovery_point_is_cut_with_all_that_follows() {
    let disk = filled();
    let names = logs(&disk, ".log");
    flip(&disk, &names[1], 70, 3);
    let first_end = names[1].rsplit('/').next().unwrap()[..20].parse::<i64>().unwrap();
    let (mut log, report) = open(&disk, small(), unclean(0));
    assert_eq!(log.log_end(), off(first_end));
    assert_eq!((report.cut.unwrap().what, log.segment_count()), ("checksum", 2));
    assert_eq!(contents(&mut log, 0).last().unwrap().1, first_end - 1);
    assert_eq!(put(&mut log, &stamped(&[1])), first_end);
}

#[test]
fn io_07_a_batch_that_is_not_the_one_asked_for_is_not_served() {
    let disk = filled();
    let name = logs(&disk, ".log").remove(0);
    let bytes = disk.bytes(&name);
    let size = headers(&bytes)[0].total_size();
    let swapped = [&bytes[size..2 * size], &bytes[..size], &bytes[2 * size..]].concat();
    disk.overwrite(&name, swapped);
    let (mut log, _) = open(&disk, small(), clean(24));
    for offset in 0..4 {
        assert!(matches!(log.read(off(offset), 1, true, off(24)), Err(ReadError::Damaged { .. })), "{offset}");
    }
}

#[test]
fn io_12_any_index_or_snapshot_may_be_missing_cut_or_scrambled() {
    let derived = |disk: &SimDisk| [logs(disk, ".index"), logs(disk, ".snapshot")].concat();
    for name in derived(&filled()) {
        for harm in 0..4 {
            for hint in [clean(24), unclean(24), unclean(0)] {
                let disk = filled();
                let bytes = disk.bytes(&name);
                match harm {
                    0 => disk.remove_file(&name).unwrap(),
                    1 => disk.overwrite(&name, bytes[..bytes.len() / 2].to_vec()),
                    2 => disk.overwrite(&name, bytes.iter().rev().copied().collect()),
                    _ => disk.overwrite(&name, vec![0; bytes.len()]),
                }
                let (mut log, report) = open(&disk, small(), hint);
                assert_eq!((contents(&mut log, 0), report.cut), (everything(), None));
                assert_eq!(log.offset_for_timestamp(7, off(24)).unwrap().unwrap().offset, off(14));
                assert_eq!(put(&mut log, &stamped(&[1])), 24);
            }
        }
    }
}

#[test]
fn io_12_index_files_scrambled_or_deleted_while_serving() {
    for delete in [true, false] {
        let disk = filled();
        let (mut log, _) = open(&disk, small(), clean(24));
        assert_eq!(contents(&mut log, 0), everything());
        for name in logs(&disk, ".index") {
            if delete { disk.remove_file(&name).unwrap() } else { disk.overwrite(&name, vec![7; 90]) }
        }
        assert_eq!(contents(&mut log, 0), everything());
        assert_eq!(log.offset_for_timestamp(7, off(24)).unwrap().unwrap().offset, off(14));
        log.release_files();
        assert_eq!(contents(&mut log, 0), everything());
    }
}

#[test]
fn io_12_a_look_up_that_builds_nothing_says_what_is_missing_and_goes_on_once_it_is_built() {
    let disk = filled();
    let (mut log, _) = open(&disk, small(), clean(24));
    for (at, name) in logs(&disk, ".index").into_iter().enumerate() {
        if at % 2 == 0 { disk.remove_file(&name).unwrap() } else { disk.overwrite(&name, vec![7; 90]) }
    }
    type LookUp = fn(&mut Log<SimDisk>) -> Result<bool, ReadError>;
    let look_ups: [LookUp; 3] = [
        |log| Ok(log.read(off(0), 100, true, off(24))?.is_some()),
        |log| Ok(log.offset_for_timestamp(7, off(24))?.is_some_and(|found| found.offset == off(14))),
        |log| Ok(log.max_timestamp(off(24))?.is_some_and(|found| found.offset == off(22))),
    ];
    for look in look_ups {
        let mut built = 0;
        while let Err(error) = log.without_building(look) {
            assert!(error.would_wait(), "{error}");
            let mut build = log.missing_index().expect("it is named");
            build.run();
            log.adopt_index(build);
            built += 1;
        }
        assert!(built > 0 || log.without_building(look).unwrap());
        assert!(log.missing_index().is_none());
    }
    for name in logs(&disk, ".index") {
        let base = name.rsplit_once('/').and_then(|(_, file)| file[..20].parse().ok()).unwrap();
        let file = disk.open(&name, OpenMode::Read).unwrap();
        assert!(Index::load(&file, SPARSE, base).is_some(), "{name} is stored again");
    }
}

#[test]
fn io_12_an_index_is_not_adopted_by_a_log_whose_segment_changed_while_it_was_built() {
    let disk = filled();
    let (mut log, _) = open(&disk, small(), clean(24));
    for name in logs(&disk, ".index") {
        disk.remove_file(&name).unwrap();
    }
    assert!(log.without_building(|log| log.read(off(0), 100, true, off(24))).unwrap_err().would_wait());
    let mut gone = log.missing_index().unwrap();
    gone.run();
    log.set_config(LogConfig { retention_bytes: Some(0), ..small() });
    assert!(log.enforce_retention(at(1000), off(24)).unwrap().segments > 0);
    log.adopt_index(gone);
    assert!(!disk.exists(&path(0, "index")).unwrap(), "what belongs to no segment is not stored");

    let start = log.log_start();
    put(&mut log, &stamped(&[1]));
    log.sync().unwrap();
    log.checkpoint().unwrap();
    log.release_files();
    disk.remove_file(&path(start.0, "index")).unwrap();
    assert!(log.without_building(|log| log.read(start, 100, true, off(25))).unwrap_err().would_wait());
    let mut short = log.missing_index().unwrap();
    short.run();
    put(&mut log, &stamped(&[2]));
    log.adopt_index(short);
    assert_eq!(contents(&mut log, start.0), [(24, 24), (25, 25)]);
}

#[test]
fn io_12_why_an_index_could_not_be_built_is_told_of_its_own_segment_and_of_none_that_is_gone() {
    let disk = filled();
    let (mut log, _) = open(&disk, small(), clean(24));
    for name in logs(&disk, ".index") {
        disk.remove_file(&name).unwrap();
    }
    let read = |log: &mut Log<SimDisk>, at| log.without_building(|log| log.read(off(at), 100, true, off(24)).map(drop));
    assert!(read(&mut log, 0).unwrap_err().would_wait() && read(&mut log, 8).unwrap_err().would_wait());
    let zeros = vec![0; disk.bytes(&path(0, "log")).len()];
    disk.overwrite(&path(0, "log"), zeros);
    let mut damaged = log.missing_index().unwrap();
    damaged.run();
    log.adopt_index(damaged);
    assert!(read(&mut log, 8).unwrap_err().would_wait(), "the other segment is missing its index, and no more");
    let told = read(&mut log, 0).unwrap_err();
    assert!(matches!(told, ReadError::Damaged { segment: LogOffset(0), position: 0, .. }), "{told}");
    assert!(read(&mut log, 0).unwrap_err().would_wait(), "told once: it may have been mended");

    let mut gone = log.missing_index().unwrap();
    log.set_config(LogConfig { retention_bytes: Some(1500), ..small() });
    assert_eq!(log.enforce_retention(at(1000), off(24)).unwrap().segments, 1);
    gone.run();
    log.adopt_index(gone);
    assert!(matches!(read(&mut log, 0), Err(ReadError::OutOfRange { .. })));
    let mut healthy = log.missing_index().unwrap();
    healthy.run();
    log.adopt_index(healthy);
    read(&mut log, 8).unwrap();
    assert!(log.missing_index().is_none());
}

/// An index whose checksums are right and whose entries are not: each points to the batch after its own.
fn lying_index(disk: &SimDisk) {
    let file = disk.open(&path(0, "index"), OpenMode::Read).unwrap();
    let mut index = Index::load(&file, SPARSE, 0).unwrap();
    let honest = index.entries.clone();
    index.entries.pop();
    for (entry, next) in index.entries.iter_mut().zip(&honest[1..]) {
        *entry = Entry { position: next.position, ..*entry };
    }
    disk.overwrite(&path(0, "index"), index.encode(SPARSE, 0));
}

#[test]
fn io_12_an_index_that_lies_is_found_out_and_trusting_it_would_be_seen() {
    for (trust, right) in [(false, true), (true, false)] {
        let disk = filled();
        lying_index(&disk);
        let trust = Trust { index: trust, ..Trust::default() };
        let env = Env::new(Arc::new(disk), DIR, small(), trust);
        let (mut log, _) = Log::open_trusting(env, clean(24), None, at(1000)).unwrap();
        let answers = (0..8).all(|offset| {
            let slice = log.read(off(offset), 1, true, off(24));
            slice.is_ok_and(|s| headers(&s.unwrap().read().unwrap())[0].base_offset == offset / 2 * 2)
        });
        assert_eq!(answers, right);
    }
}

#[test]
fn a_damaged_or_newer_meta_file_quarantines_the_partition() {
    let disk = filled();
    let meta = format!("{DIR}/partition.meta");
    let good = disk.bytes(&meta);
    for byte in 0..good.len() {
        flip(&disk, &meta, byte, 0);
        let opened = Log::open(Arc::new(disk.clone()), DIR, small(), clean(24), at(1000));
        assert!(matches!(opened, Err(OpenError::Meta(_))), "byte {byte}");
        disk.overwrite(&meta, good.clone());
    }
    disk.remove_file(&meta).unwrap();
    let opened = Log::open(Arc::new(disk), DIR, small(), clean(24), at(1000));
    assert!(matches!(opened, Err(OpenError::NotAPartition(_))));
}

/// Clients try again and again, and the log is locked meanwhile.
#[test]
fn io_06_an_append_to_a_damaged_segment_reads_it_once() {
    let disk = filled();
    let active = logs(&disk, ".log").pop().unwrap();
    let second = headers(&disk.bytes(&active))[0].total_size();
    flip(&disk, &active, second + 16, 0);
    logs(&disk, ".index").iter().for_each(|index| disk.remove_file(index).unwrap());
    let (mut log, _) = open(&disk, small(), clean(24));
    let mut refused = || {
        let before = disk.counters().reads;
        let error = log.append(&stamped(&[1]), EPOCH, at(1000)).unwrap_err();
        assert!(matches!(error, AppendError::Damaged { position, .. } if position == second as u64), "{error}");
        disk.counters().reads - before
    };
    assert!(refused() > 0);
    assert_eq!(refused(), 0);
}

#[test]
fn io_11_recovery_reads_what_is_dirty_however_large_the_rest() {
    let (disk, mut log) = new_log(LogConfig::default());
    for _ in 0..400 {
        put(&mut log, &checked(sized(10, 9000)));
    }
    log.sync().unwrap();
    let point = log.checkpoint().unwrap();
    let dirty = checked(sized(10, 9000));
    put(&mut log, &dirty);
    drop(log);
    let before = disk.counters();
    let (mut log, report) = open(&disk, LogConfig::default(), unclean(point.0));
    assert_eq!(report.scanned_bytes, dirty.total_size() as u64);
    let reads = disk.counters().reads - before.reads;
    assert!(reads < 40, "{reads} reads");
    put(&mut log, &dirty);
    assert_eq!(contents(&mut log, 3990).len(), 3);
    let reads = disk.counters().reads - before.reads;
    assert!(reads < 80, "{reads} reads until it writes and reads again");
}
