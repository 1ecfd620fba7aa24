//! Retention and deleted records: L9, L12, IO-15.

use pyralog_protocol::ErrorCode;

use super::*;
use crate::sim::Faults;
use crate::{DELETED_SUFFIX, Disk, OpenError, PartitionMeta, Removed, delete};

fn filled(config: LogConfig) -> (SimDisk, Log<SimDisk>) {
    let (disk, mut log) = new_log(config);
    for n in 0..8 {
        let batch = checked(BatchBuilder::new().kv(1000 * n, b"k", &[b'v'; 600]));
        log.append(&batch, EPOCH, at(1000 * n)).unwrap();
    }
    log.sync().unwrap();
    (disk, log)
}

#[test]
fn l12_deletion_moves_the_start_and_is_refused_beyond_the_high_watermark() {
    let (disk, mut log) = filled(small());
    for offset in [-2, -1, 6] {
        let error = log.delete_records_to(off(offset), off(5)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OffsetOutOfRange);
    }
    assert_eq!(log.delete_records_to(off(3), off(5)).unwrap(), off(3));
    assert_eq!(log.delete_records_to(off(1), off(5)).unwrap(), off(3), "below: unchanged");
    assert_eq!(log.delete_records_to(off(5), off(5)).unwrap(), off(5));
    let (log, _) = open(&disk.crash(0), small(), unclean(8));
    assert_eq!((log.log_start(), log.log_end()), (off(5), off(8)), "durable before the answer");
}

#[test]
fn retention_by_time_takes_whole_segments_whose_newest_record_is_too_old() {
    let (_, mut log) = filled(LogConfig { retention_ms: Some(5000), ..small() });
    let per_segment = 8 / log.segment_count() as i64;
    assert_eq!(log.enforce_retention(at(5000), off(8)).unwrap(), Removed::default());
    let removed = log.enforce_retention(at(8500), off(8)).unwrap();
    assert_eq!((removed.segments, log.log_start()), (2, off(2 * per_segment)));
    log.enforce_retention(at(100_000), off(8)).unwrap();
    assert_eq!((log.log_start(), log.segment_count(), log.size_bytes()), (off(8), 1, 0), "the active one was rolled");
    assert_eq!(put(&mut log, &stamped(&[1])), 8);
}

/// What the damage hides may be as new as the file, and nothing goes before what is in front of it.
#[test]
fn io_06_retention_by_time_passes_a_damaged_segment_that_has_lost_its_index_when_all_of_it_is_old() {
    for first in [0, 50_000] {
        let (disk, mut log) = new_log(small());
        for time in [first, 1000, 2000, 3000] {
            put(&mut log, &checked(BatchBuilder::new().kv(time, b"k", &[b'v'; 600])));
        }
        assert_eq!(log.segment_count(), 2);
        log.close_clean().unwrap();
        let path = |kind| format!("{DIR}/{:020}.{kind}", 0);
        let second = disk.bytes(&path("log")).len() / 2;
        // The magic byte.
        disk.flip(&path("log"), 8 * (second + 16));
        disk.remove_file(&path("index")).unwrap();
        disk.set_modified(&path("log"), WallMs(3000));
        let (mut log, _) = open(&disk, LogConfig { retention_ms: Some(5000), ..small() }, clean(4));
        let due = first.max(3000) + 5000;
        assert_eq!(log.enforce_retention(at(due), off(4)).unwrap(), Removed::default());
        log.enforce_retention(at(due + 1), off(4)).unwrap();
        assert_eq!(log.log_start(), off(4), "and nothing behind it stays");
    }
}

#[test]
fn retention_by_size_keeps_at_least_the_limit() {
    let (_, mut log) = filled(LogConfig { retention_bytes: Some(3000), ..small() });
    let removed = log.enforce_retention(at(8000), off(8)).unwrap();
    assert!(removed.segments > 0 && log.size_bytes() >= 3000);
    assert!(log.size_bytes() < 3000 + 1500);
    assert_eq!(log.enforce_retention(at(8000), off(8)).unwrap(), Removed::default());
}

#[test]
fn retention_never_goes_above_the_high_watermark() {
    let (_, mut log) = filled(LogConfig { retention_bytes: Some(0), ..small() });
    log.enforce_retention(at(8000), off(5)).unwrap();
    assert_eq!(log.log_start(), off(4));
}

#[test]
fn retention_removes_what_was_deleted_and_its_files() {
    let (disk, mut log) = filled(small());
    log.delete_records_to(off(5), off(8)).unwrap();
    assert_eq!(log.enforce_retention(at(8000), off(8)).unwrap().segments, 2);
    assert_eq!(log.log_start(), off(5));
    assert_eq!(disk.paths().iter().filter(|p| p.ends_with(".log")).count(), 2);
}

#[test]
fn files_that_come_back_after_a_crash_go_at_the_next_open() {
    for seed in 0..8 {
        let (disk, mut log) = filled(LogConfig { retention_bytes: Some(0), ..small() });
        log.enforce_retention(at(8000), off(8)).unwrap();
        let survived = disk.crash(seed);
        let (mut log, _) = open(&survived, small(), unclean(8));
        assert_eq!((log.log_start(), log.log_end()), (off(8), off(8)));
        assert_eq!(log.size_bytes(), 0);
        assert_eq!(put(&mut log, &stamped(&[1])), 8);
    }
}

#[test]
fn op_16_the_log_goes_on_between_the_steps_of_retention() {
    let (disk, mut log) = filled(LogConfig { retention_bytes: Some(1000), ..small() });
    let plan = log.plan_retention(at(8000), off(8)).unwrap().expect("something has to go");
    let first = log.read(off(0), 100, true, off(8)).unwrap().expect("not gone yet");
    let written = plan.run();
    // A segment is full meanwhile, which writes a snapshot of the same offset.
    for n in 8..12 {
        let batch = checked(BatchBuilder::new().kv(1000 * n, b"k", &[b'v'; 600]));
        log.append(&batch, EPOCH, at(1000 * n)).unwrap();
    }
    log.checkpoint().unwrap();
    assert_eq!(log.log_start(), off(0));
    let graves = log.retain(plan, written).unwrap();
    assert_eq!((graves.removed.segments, log.log_start()), (3, off(6)));
    let buried = graves.bury();
    assert_eq!(buried[0], format!("{DIR}/{:020}.log.deleted", 0));
    assert_eq!(disk.paths().iter().filter(|path| path.ends_with(".log.deleted")).count(), 3);
    assert!(!disk.paths().iter().any(|path| path.ends_with(&format!("{:020}.index", 0))));
    assert!(!first.read().unwrap().is_empty(), "whoever reads goes on");
    assert_eq!(contents(&mut log, 6).len(), 6);
    drop(log);
    let (mut log, _) = open(&disk, small(), unclean(0));
    assert_eq!((log.log_start(), contents(&mut log, 6).len()), (off(6), 6));
    assert!(!disk.paths().iter().any(|path| path.ends_with(".deleted")), "what was left goes at the start");
}

#[test]
fn what_retention_takes_holds_no_descriptor() {
    let (disk, mut log) = filled(LogConfig { retention_bytes: Some(0), ..small() });
    let batch = checked(BatchBuilder::new().kv(9000, b"k", b"v"));
    log.append(&batch, EPOCH, at(9000)).unwrap();
    contents(&mut log, 0);
    log.enforce_retention(at(9000), off(9)).unwrap();
    assert_eq!((log.log_start(), disk.open_files()), (off(9), 1), "the new active one");
}

#[test]
fn io_15_the_log_start_never_falls_when_power_is_lost_during_retention() {
    for nth in 1..20 {
        for seed in 0..4 {
            let (disk, mut log) = filled(LogConfig { retention_bytes: Some(1000), ..small() });
            log.delete_records_to(off(1), off(8)).unwrap();
            disk.set_faults(Faults { crash_at: Some(disk.counters().changes + nth), ..Faults::default() });
            let done = log.enforce_retention(at(8000), off(8)).is_ok();
            let (mut again, _) = open(&disk.crash(seed), small(), unclean(8));
            assert!(again.log_start() >= if done { log.log_start() } else { off(1) });
            let start = again.log_start().0;
            assert_eq!(contents(&mut again, start).last(), Some(&(7, 7)));
        }
    }
}

#[test]
fn rl_16_a_deleted_partition_is_whole_or_marked_at_every_crash_point() {
    for nth in 1..8 {
        for seed in 0..4 {
            let (disk, log) = filled(small());
            disk.sync_dir("").unwrap();
            disk.sync_dir("logs").unwrap();
            drop(log);
            disk.set_faults(Faults { crash_at: Some(disk.counters().changes + nth), ..Faults::default() });
            let done = delete(&disk, DIR).is_ok();
            let after = disk.crash(seed);
            let left: Vec<_> = after.list("logs").unwrap();
            match left.iter().any(|name| name == "orders-0") {
                true => assert!(!done && open(&after, small(), unclean(8)).0.log_end() == off(8)),
                false => assert!(left.iter().all(|name| name.ends_with(DELETED_SUFFIX))),
            }
        }
    }
}

#[test]
fn rl_18_an_unfinished_creation_can_be_made_again() {
    for nth in 1..8 {
        let disk = SimDisk::new();
        disk.set_faults(Faults { crash_at: Some(nth), ..Faults::default() });
        let done = create(&disk, DIR, TopicId([7; 16])).is_ok();
        let after = disk.crash(nth);
        let opened = Log::open(Arc::new(after.clone()), DIR, small(), unclean(0), at(0));
        match opened {
            Ok((log, _)) => assert_eq!(log.topic_id(), TopicId([7; 16])),
            Err(OpenError::NotAPartition(_) | OpenError::Meta(_)) => assert!(!done),
            Err(error) => panic!("{error}"),
        }
        create(&after, DIR, TopicId([8; 16])).unwrap();
        assert_eq!(PartitionMeta::read(&after, DIR).unwrap().topic_id, TopicId([8; 16]));
    }
}
