//! Syncs, full disks, descriptors: IO-01, IO-02, OP-10.

use std::io;

use pyralog_protocol::ErrorCode;

use super::*;
use crate::sim::Faults;
use crate::{AppendError, ReadError};

#[test]
fn group_commit_one_sync_covers_what_was_appended_before_it_and_nothing_after() {
    let (disk, mut log) = new_log(small());
    put(&mut log, &stamped(&[1]));
    put(&mut log, &stamped(&[2]));
    let plan = log.sync_plan().unwrap();
    put(&mut log, &stamped(&[3]));
    assert!(log.sync_plan().is_none(), "one at a time: the third shares the next");
    assert_eq!(log.stable_end(), off(0));
    assert_eq!(log.synced(plan.id, plan.run(&disk)).unwrap(), off(2));
    let plan = log.sync_plan().unwrap();
    assert_eq!(plan.covers, off(3));
    assert_eq!(log.synced(plan.id, plan.run(&disk)).unwrap(), off(3));
    assert!(log.sync_plan().is_none(), "nothing to do");
}

#[test]
fn io_03_a_plan_syncs_the_directory_only_when_its_entries_changed() {
    let (disk, mut log) = new_log(small());
    put(&mut log, &stamped(&[1]));
    let plan = log.sync_plan().unwrap();
    assert_eq!((plan.files().len(), plan.dir()), (1, Some(DIR)));
    log.synced(plan.id, plan.run(&disk)).unwrap();
    put(&mut log, &stamped(&[1]));
    assert_eq!(log.sync_plan().unwrap().dir(), None);
}

#[test]
fn io_01_the_first_failed_sync_is_final_at_every_position() {
    for nth in 1..20 {
        let (disk, mut log) = new_log(LogConfig { segment_bytes: 200, ..small() });
        let syncs = disk.counters().syncs;
        disk.set_faults(Faults { fail_sync: Some(syncs + nth), ..Faults::default() });
        let mut acked = off(0);
        for n in 0..12 {
            match log.append(&checked(sized(1, 60)), EPOCH, at(1000)) {
                Ok(_) => assert_eq!(log.log_end(), off(n + 1)),
                Err(error) => assert_eq!(error.code(), ErrorCode::KafkaStorageError),
            }
            if let Ok(stable) = log.sync() {
                assert!(log.offline().is_none(), "no acknowledgement after a failure");
                acked = stable;
            }
        }
        if log.offline().is_some() {
            assert!(matches!(log.read(off(0), 100, true, off(1)), Err(ReadError::Offline(_))));
            assert!(log.sync_plan().is_none() && log.close_clean().is_err());
        }
        assert_eq!(disk.syncs_after_failure(), 0, "never a second sync of that file");
        let survived = disk.crash(nth * 4);
        let (log, _) = open(&survived, small(), unclean(acked.0));
        assert!(log.log_end() >= acked);
    }
}

#[test]
fn io_01_a_plan_that_fails_late_and_outcomes_of_other_plans() {
    let (disk, mut log) = new_log(small());
    put(&mut log, &stamped(&[1]));
    let plan = log.sync_plan().unwrap();
    assert_eq!(log.synced(plan.id + 7, Ok(())).unwrap(), off(0), "not the running one");
    assert!(log.synced(plan.id, Err(io::Error::other("EIO"))).is_err());
    assert!(log.synced(plan.id, plan.run(&disk)).is_err(), "a late success changes nothing");
    assert_eq!(log.stable_end(), off(0));
}

#[test]
fn io_02_files_with_unsynced_writes_keep_their_descriptor() {
    let (disk, mut log) = new_log(LogConfig { segment_bytes: 200, ..small() });
    for _ in 0..6 {
        put(&mut log, &checked(sized(1, 60)));
    }
    log.release_files();
    let plan = log.sync_plan().unwrap();
    let segments = log.segment_count();
    assert_eq!(plan.files().len(), segments);
    assert_eq!(log.open_files(), segments, "released nothing that was not synced");
    let opens = disk.counters().opens;
    log.synced(plan.id, plan.run(&disk)).unwrap();
    assert_eq!(disk.counters().opens, opens, "synced through the descriptors that wrote");
    log.release_files();
    assert_eq!(log.open_files(), 0);
    assert_eq!(contents(&mut log, 0).len(), 6);
}

#[test]
fn op_10_a_full_disk_refuses_appends_and_passes() {
    for nth in 0..8 {
        let (disk, mut log) = new_log(LogConfig { segment_bytes: 400, ..small() });
        let changes = disk.counters().changes;
        disk.set_faults(Faults { full_from: Some(changes + nth), ..Faults::default() });
        let mut kept = 0;
        for _ in 0..10 {
            match log.append(&checked(sized(1, 100)), EPOCH, at(1000)) {
                Ok(_) => kept += 1,
                Err(error) => {
                    assert!(matches!(error, AppendError::DiskFull(_)), "{error}");
                    assert_eq!(error.code(), ErrorCode::KafkaStorageError);
                }
            }
        }
        assert!(kept < 10 && log.offline().is_none());
        assert_eq!(contents(&mut log, 0).len(), kept, "reads go on");
        disk.set_faults(Faults::default());
        put(&mut log, &checked(sized(1, 100)));
        log.sync().unwrap();
        let (mut log, report) = open(&disk.crash(2), small(), unclean(0));
        assert_eq!((contents(&mut log, 0).len(), report.cut), (kept + 1, None), "half a batch was left behind");
    }
}

#[test]
fn op_10_a_full_disk_refuses_a_deletion_and_changes_nothing() {
    let (disk, mut log) = new_log(small());
    put(&mut log, &stamped(&[1, 2]));
    log.sync().unwrap();
    disk.set_faults(Faults { full_from: Some(0), ..Faults::default() });
    assert!(log.delete_records_to(off(1), off(2)).is_err());
    assert_eq!((log.log_start(), log.offline()), (off(0), None));
    disk.set_faults(Faults::default());
    assert_eq!(log.delete_records_to(off(1), off(2)).unwrap(), off(1));
}

#[test]
fn a_failed_write_is_final() {
    let (disk, mut log) = new_log(small());
    put(&mut log, &stamped(&[1]));
    log.sync().unwrap();
    disk.set_faults(Faults { fail_write: Some(disk.counters().writes + 1), ..Faults::default() });
    assert!(matches!(log.append(&stamped(&[2]), EPOCH, at(1000)), Err(AppendError::Offline(_))));
    assert!(matches!(log.append(&stamped(&[2]), EPOCH, at(1000)), Err(AppendError::Offline(_))));
    let (mut log, report) = open(&disk, small(), unclean(1));
    assert_eq!(contents(&mut log, 0), [(0, 0)]);
    assert!(report.cut.is_some(), "the half batch");
}

#[test]
fn op_13_an_idle_partition_has_no_file_open_and_opens_in_a_handful_of_calls() {
    let (disk, log) = new_log(small());
    assert_eq!((log.open_files(), log.segment_count()), (0, 0));
    assert!(size_of::<Log<SimDisk>>() <= 1024, "and no buffers behind it");
    let (_, mut log) = (log.close_clean().unwrap(), open(&disk, small(), clean(0)).0);
    put(&mut log, &stamped(&[1]));
    let point = log.close_clean().unwrap();
    let before = disk.counters();
    let (log, report) = open(&disk, small(), clean(point.0));
    let after = disk.counters();
    assert!(report.clean && log.open_files() == 0);
    assert_eq!((after.opens - before.opens, after.changes - before.changes), (2, 0), "meta and snapshot; no sync");
    assert_eq!(report.scanned_bytes, 0);
}
