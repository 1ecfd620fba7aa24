//! Disks that misbehave at any moment, clocks that jump, and files that are not what was written: refused or rebuilt, never
//! misread.

use pyralog_protocol::Draw;
use pyralog_protocol::batch::BATCH_HEADER_BYTES;

use super::*;
use crate::DiskFile;
use crate::OpenMode;
use crate::sim::Faults;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 1000, retention_bytes: Some(4000), ..small() }
}

/// What a log does in its life. Refusals are fine; gives the end of what was acknowledged.
fn live(log: &mut Log<SimDisk>) -> i64 {
    let mut acknowledged = 0;
    for n in 0..16 {
        let _ = log.append(&checked(sized(2, 300)), EPOCH, at(1000 + n));
        if n % 3 == 0
            && let Ok(stable) = log.sync()
        {
            acknowledged = stable.0;
        }
        match n {
            5 => drop(log.checkpoint()),
            8 => drop(log.delete_records_to(off(2), off(acknowledged))),
            9 => log.release_files(),
            11 => drop(log.enforce_retention(at(1000 + n), off(acknowledged))),
            _ => {}
        }
    }
    log.sync().map_or(acknowledged, |stable| stable.0)
}

/// The records that are there are those that were appended: contiguous, up to the end.
fn check_contents(log: &mut Log<SimDisk>) {
    let start = log.log_start().0;
    let found = contents(log, start);
    let mut next = found.first().map_or(log.log_end().0, |(base, _)| *base);
    assert!(next <= start || found.is_empty());
    for (base, last) in found {
        assert_eq!(base, next);
        next = last + 1;
    }
    assert_eq!(next, log.log_end().0);
}

#[test]
fn op_10_a_disk_that_is_full_from_any_change_on_loses_nothing_and_passes() {
    for nth in 1.. {
        let (disk, mut log) = new_log(config());
        let first = disk.counters().changes + nth;
        disk.set_faults(Faults { full_from: Some(first), ..Faults::default() });
        let acknowledged = live(&mut log);
        let reached = disk.counters().changes >= first;
        disk.set_faults(Faults::default());
        assert_eq!(log.offline(), None, "change {nth}: no room is no reason to stop");
        assert!(log.log_end().0 >= acknowledged);
        check_contents(&mut log);
        put(&mut log, &checked(sized(1, 100)));
        let end = log.sync().unwrap().0;
        check_contents(&mut log);
        drop(log);
        for disk in [disk.restart(), disk.crash(nth)] {
            let (mut log, _) = open(&disk, config(), unclean(0));
            assert_eq!(log.log_end().0, end, "change {nth}");
            check_contents(&mut log);
        }
        if !reached {
            return;
        }
    }
}

#[test]
fn a_read_that_fails_anywhere_is_told_and_serves_nothing_else() {
    for nth in 1.. {
        let (disk, mut log) = new_log(config());
        live(&mut log);
        let end = log.log_end().0;
        log.release_files();
        let failing = disk.counters().reads + nth;
        disk.set_faults(Faults { fail_read: Some(failing), ..Faults::default() });
        // Each of them may be refused; none may be wrong.
        if let Ok(Some(slice)) = log.read(log.log_start(), 10_000, true, off(end))
            && let Ok(bytes) = slice.read()
        {
            assert!(headers(&bytes).first().unwrap().base_offset <= log.log_start().0);
        }
        let _ = log.offset_for_timestamp(1005, off(end));
        let _ = log.max_timestamp(off(end));
        let _ = log.append(&checked(sized(1, 100)), EPOCH, at(2000));
        let _ = log.enforce_retention(at(2000), off(end));
        assert_eq!(log.offline(), None, "read {nth}: it says nothing of what was written");
        let reached = disk.counters().reads >= failing;
        check_contents(&mut log);
        drop(log);
        // A start that cannot read refuses, and changes nothing that the next one needs.
        let disk = disk.restart();
        disk.set_faults(Faults { fail_read: Some(nth), ..Faults::default() });
        let _ = Log::open(Arc::new(disk.clone()), DIR, config(), unclean(0), at(1000));
        disk.set_faults(Faults::default());
        let (mut log, _) = open(&disk, config(), unclean(0));
        assert!(log.log_end().0 >= end, "read {nth}");
        check_contents(&mut log);
        if !reached {
            return;
        }
    }
}

#[test]
fn a_folder_that_is_removed_from_under_a_log_is_an_error_and_no_empty_log() {
    let (disk, mut log) = new_log(config());
    live(&mut log);
    let end = log.log_end().0;
    log.check_place().unwrap();
    disk.remove_dir_all(DIR).unwrap();
    // What is open stays usable; whatever needs a name is refused.
    for _ in 0..10 {
        let _ = log.append(&checked(sized(2, 300)), EPOCH, at(2000));
        let _ = log.sync();
    }
    assert!(log.append(&checked(sized(2, 300)), EPOCH, at(2000)).is_err());
    let _ = (log.checkpoint(), log.enforce_retention(at(2000), off(end)));
    // Until somebody looks.
    let gone = log.check_place().unwrap_err().to_string();
    assert!(gone.contains("was removed"), "{gone}");
    assert_eq!(log.append(&checked(sized(2, 300)), EPOCH, at(2000)).unwrap_err().to_string(), gone);
    drop(log);
    let opened = Log::open(Arc::new(disk), DIR, config(), unclean(end), at(1000));
    assert!(matches!(opened, Err(crate::OpenError::NotAPartition(_))));
}

#[test]
fn clocks_that_jump_change_neither_order_nor_what_is_there() {
    for seed in 0..50 {
        let mut draw = Draw::new(seed);
        let (disk, mut log) = new_log(LogConfig { segment_ms: 1000, retention_ms: None, ..small() });
        let year = 365 * 86_400_000_i64;
        for n in 0..30 {
            let wall = match draw.next_u64() % 4 {
                0 => 0,
                1 => 100 * year,
                2 => (draw.next_u64() % 10_000) as i64,
                _ => year + n,
            };
            log.append(&stamped(&[wall, wall - 5]), EPOCH, at(wall.max(0))).unwrap();
            log.enforce_retention(at(wall), log.log_end()).unwrap();
        }
        assert_eq!((log.log_start().0, log.log_end().0), (0, 60), "retention has no limit");
        let end = log.sync().unwrap();
        check_contents(&mut log);
        drop(log);
        let (mut log, _) = Log::open(Arc::new(disk), DIR, small(), unclean(0), at(-5)).unwrap();
        assert_eq!(log.log_end(), end);
        check_contents(&mut log);
    }
}

/// Offset and bytes of every batch.
fn batches(log: &mut Log<SimDisk>) -> Vec<(i64, Vec<u8>)> {
    let (mut next, mut found) = (log.log_start(), Vec::new());
    while let Some(slice) = log.read(next, 1, true, log.log_end()).unwrap() {
        let bytes = slice.read().unwrap().to_vec();
        let header = BatchHeader::parse(&bytes).unwrap();
        found.push((header.base_offset, bytes));
        next = off(header.last_offset() + 1);
    }
    found
}

/// Opens what a mutation left and reads it. Whatever comes back with a right checksum is what was written, at its offset, but
/// for its leader epoch, which no checksum covers. Says whether anything was refused.
fn never_misread(disk: &SimDisk, hint: OpenHint, written: &[(i64, Vec<u8>)], what: &str) -> bool {
    let opened = Log::open(Arc::new(disk.clone()), DIR, config(), hint, at(1000));
    let Ok((mut log, _)) = opened else { return true };
    let mut refused = false;
    for (base, bytes) in written {
        let (start, end) = (log.log_start(), log.log_end());
        let slice = match log.read(off(*base).max(start), 1, true, end) {
            Ok(Some(slice)) => slice,
            Ok(None) | Err(_) => {
                refused = true;
                continue;
            }
        };
        let Ok(found) = slice.read() else { continue };
        let header = BatchHeader::parse(&found).unwrap();
        if header.verify_crc(&found).is_err() {
            refused = true;
            continue;
        }
        let blind = |bytes: &[u8]| [&bytes[..12], &bytes[16..]].concat();
        assert!(found.len() >= BATCH_HEADER_BYTES && blind(&found) == blind(bytes), "{what}: other bytes at {base}");
    }
    refused
}

#[test]
fn io_06_io_12_any_file_that_is_flipped_cut_swapped_or_gone_is_refused_or_rebuilt_and_never_misread() {
    let (disk, mut log) = new_log(config());
    live(&mut log);
    put(&mut log, &idempotent(1, 0, 0, 3));
    let written = batches(&mut log);
    let point = log.close_clean().unwrap().0;
    let hints = [clean(point), unclean(point), unclean(0)];
    let paths: Vec<String> = disk.paths().into_iter().filter(|path| path.starts_with(DIR) && path != DIR).collect();
    let kind_of = |path: &str| path.rsplit('.').next().unwrap().to_owned();
    let mut refused = 0;
    for path in &paths {
        let bytes = disk.bytes(path);
        let mut mutations: Vec<(String, Option<Vec<u8>>)> = vec![("gone".into(), None), ("empty".into(), Some(vec![]))];
        for bit in (0..bytes.len() * 8).step_by(if bytes.len() > 500 { 53 } else { 5 }) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            mutations.push((format!("bit {bit}"), Some(flipped)));
        }
        mutations.extend(
            [1, 12, 47, 61, 200]
                .iter()
                .filter(|keep| **keep < bytes.len())
                .map(|keep| (format!("cut to {keep}"), Some(bytes[..*keep].to_vec()))),
        );
        mutations.push(("zeros".into(), Some(vec![0; bytes.len()])));
        let others = paths.iter().filter(|other| *other != path && kind_of(other) == kind_of(path));
        mutations.extend(others.map(|other| (format!("swapped with {other}"), Some(disk.bytes(other)))));
        for (name, content) in mutations {
            for hint in hints {
                let disk = disk.restart();
                match &content {
                    Some(content) => disk.overwrite(path, content.clone()),
                    None => disk.remove_file(path).unwrap(),
                }
                refused += u32::from(never_misread(&disk, hint, &written, &format!("{path}, {name}, {hint:?}")));
            }
        }
    }
    assert!(refused > 100, "nothing was found: {refused}");
    // The bytes behind the last file are looked at too: what was appended to it is no part of the log.
    let last = paths.iter().rfind(|path| kind_of(path) == "log").unwrap();
    let file = disk.open(last, OpenMode::Write).unwrap();
    file.write_all_at([&[7; 100], &[]], disk.bytes(last).len() as u64).unwrap();
    assert!(!never_misread(&disk, unclean(point), &written, "bytes behind the end"));
}
