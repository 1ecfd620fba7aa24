//! What the model found, as the smallest script that shows it: seeds rot, scripts do not.

use std::cell::Cell;

use pyralog_protocol::PartitionIndex;

use super::*;
use crate::segment::{Env, Trust};
use crate::sim::Faults;
use crate::state::PartitionMeta;
use crate::walk::Chain;
use crate::{
    Commit, Disk, DiskFile, Journal, JournalLimits, OpenError, OpenMode, PartitionKey, Round, create, prepare_file,
};

const LOSSES: u64 = 60;

/// Kills the process at the n-th change of the disk that `act` makes, for each n.
fn kill_at_each(
    prepare: impl Fn() -> (SimDisk, Log<SimDisk>),
    act: impl Fn(&mut Log<SimDisk>),
    check: impl Fn(SimDisk),
) {
    for nth in 1.. {
        let (disk, mut log) = prepare();
        disk.set_faults(Faults { crash_at: Some(disk.counters().changes + nth), ..Faults::default() });
        act(&mut log);
        if !disk.is_dead() {
            return;
        }
        drop(log);
        check(disk.restart());
    }
}

/// A process was killed while it created a partition, before the folder's name was durable. The next one found it, acknowledged
/// records in it, and a power loss took all of it. A start after an unclean end syncs the folder above first.
#[test]
fn io_03_a_partition_whose_creation_was_killed_has_a_durable_name_before_it_counts() {
    let lost = |proves_names: bool| {
        let mut lost = 0;
        for nth in 1..12 {
            for seed in 0..LOSSES {
                let disk = SimDisk::new();
                disk.create_dir_all("logs").unwrap();
                disk.sync_dir("").unwrap();
                disk.set_faults(Faults { crash_at: Some(disk.counters().changes + nth), ..Faults::default() });
                let _ = create(&disk, DIR, TOPIC);
                let disk = disk.restart();
                if proves_names {
                    disk.sync_dir("logs").unwrap();
                }
                if !disk.exists(&format!("{DIR}/partition.meta")).unwrap() {
                    create(&disk, DIR, TOPIC).unwrap();
                }
                let (mut log, _) = open(&disk, small(), unclean(0));
                put(&mut log, &stamped(&[1]));
                log.sync().unwrap();
                let disk = disk.crash(seed);
                let opened = Log::open(Arc::new(disk), DIR, small(), unclean(1), at(1000));
                lost += u32::from(opened.map_or(0, |(log, _)| log.log_end().0) < 1);
            }
        }
        lost
    };
    assert_eq!(lost(true), 0);
    assert!(lost(false) > 0, "planted: a start that does not");
}

/// A process that recovered was killed between a cut and its sync. The next one saw a file that ends where it should, went on
/// in another segment, and a power loss brought back what had been cut, in the middle of the log.
#[test]
fn io_14_a_cut_that_was_never_synced_does_not_come_back_between_two_segments() {
    let torn = || {
        let (disk, mut log) = new_log(small());
        put(&mut log, &checked(sized(1, 1300)));
        log.sync().unwrap();
        put(&mut log, &checked(sized(1, 10)));
        drop(log);
        let path = format!("{DIR}/{:020}.log", 0);
        disk.flip(&path, disk.bytes(&path).len() * 8 - 1);
        disk
    };
    for nth in 1..20 {
        for seed in 0..LOSSES {
            let disk = torn();
            disk.set_faults(Faults { crash_at: Some(disk.counters().changes + nth), ..Faults::default() });
            let _ = Log::open(Arc::new(disk.clone()), DIR, small(), unclean(1), at(1000));
            let disk = disk.restart();
            let (mut log, _) = open(&disk, small(), unclean(1));
            assert_eq!(put(&mut log, &checked(sized(1, 600))), 1);
            let acknowledged = if seed % 2 == 0 { log.sync().unwrap().0 } else { 1 };
            drop(log);
            let (mut log, _) = open(&disk.crash(seed), small(), unclean(1));
            let end = contents(&mut log, 0).last().unwrap().1 + 1;
            assert!(end >= acknowledged, "change {nth}, seed {seed}: {end}");
        }
    }
}

/// A failed sync leaves pages that read well and count as clean. The next process scanned them, synced them in vain and
/// acknowledged what no disk had.
#[test]
fn io_01_io_14_what_a_failed_sync_lost_is_written_again_by_the_next_process() {
    for seed in 0..LOSSES {
        let (disk, mut log) = new_log(small());
        put(&mut log, &stamped(&[1]));
        log.sync().unwrap();
        put(&mut log, &checked(sized(1, 700)));
        put(&mut log, &checked(sized(1, 700)));
        disk.set_faults(Faults { fail_sync: Some(disk.counters().syncs + 1), ..Faults::default() });
        assert!(log.sync().is_err());
        let disk = disk.restart();
        let (log, _) = open(&disk, small(), unclean(1));
        assert_eq!(log.stable_end(), off(3), "served, so it has to stay");
        let (mut log, _) = open(&disk.crash(seed), small(), unclean(1));
        assert_eq!(contents(&mut log, 0).len(), 3, "seed {seed}");
        assert!(!disk.paths().iter().any(|path| path.ends_with("sync-failed")), "and not at every start");
    }
}

/// A process that died as soon as it had created a segment left a file without a durable name; the next one filled it and
/// synced the file alone.
#[test]
fn io_03_io_14_a_segment_that_a_dead_process_created_is_in_the_directory_before_it_counts() {
    let filled = || {
        let (disk, mut log) = new_log(small());
        put(&mut log, &checked(sized(1, 1300)));
        log.sync().unwrap();
        (disk, log)
    };
    let roll = |log: &mut Log<SimDisk>| drop(log.append(&checked(sized(1, 1300)), EPOCH, at(1000)));
    kill_at_each(filled, roll, |disk| {
        let (mut log, _) = open(&disk, small(), unclean(1));
        let end = put(&mut log, &checked(sized(1, 1300))) + 1;
        log.sync().unwrap();
        for seed in 0..LOSSES {
            assert_eq!(open(&disk.crash(seed), small(), unclean(end)).0.log_end(), off(end), "seed {seed}");
        }
    });
}

/// A process that died between the rename of `partition.meta` and the sync behind it: the next one served the new log
/// start and removed files below it, and a power loss brought the old one back.
#[test]
fn io_15_a_log_start_that_was_seen_after_a_kill_never_falls() {
    let filled = || {
        let (disk, mut log) = new_log(small());
        for _ in 0..4 {
            put(&mut log, &checked(sized(1, 1300)));
        }
        log.sync().unwrap();
        (disk, log)
    };
    kill_at_each(
        filled,
        |log| drop(log.delete_records_to(off(3), off(4))),
        |disk| {
            let seen = open(&disk, small(), unclean(4)).0.log_start();
            for seed in 0..LOSSES {
                let (log, _) = open(&disk.crash(seed), small(), unclean(4));
                assert!(log.log_start() >= seen, "seed {seed}");
            }
        },
    );
}

/// The index of a segment that was lost passed for one of the segment that came in its place.
#[test]
fn io_12_an_index_without_its_segment_is_no_index_of_the_next_one() {
    let (disk, mut log) = new_log(small());
    put(&mut log, &checked(sized(1, 300)));
    log.close_clean().unwrap();
    let segment = format!("{DIR}/{:020}.log", 0);
    disk.remove_file(&segment).unwrap();
    disk.remove_file(&format!("{DIR}/{:020}.snapshot", 1)).unwrap();
    let (mut log, _) = open(&disk, small(), unclean(0));
    put(&mut log, &checked(sized(1, 100)));
    log.sync().unwrap();
    let (mut log, _) = open(&disk, small(), unclean(1));
    assert_eq!(contents(&mut log, 0), [(0, 0)]);
}

/// A flipped epoch below the recovery point made the batch behind it look like one of an older epoch, which recovery cut.
#[test]
fn io_06_a_damaged_epoch_below_the_recovery_point_cuts_nothing_above_it() {
    let (disk, mut log) = new_log(small());
    put(&mut log, &stamped(&[1]));
    put(&mut log, &stamped(&[2]));
    log.sync().unwrap();
    let path = format!("{DIR}/{:020}.log", 0);
    disk.flip(&path, 14 * 8);
    let before = disk.bytes(&path);
    let opened = Log::open(Arc::new(disk.clone()), DIR, small(), unclean(1), at(1000));
    let Err(OpenError::Corrupt { range, what, .. }) = opened else { panic!("it was believed") };
    assert_eq!(range, off(0)..off(1), "{what}");
    assert_eq!(disk.bytes(&path), before);
}

/// The last batch below the recovery point said that it is shorter than it is. What followed made no sense and was cut, although
/// it had been acknowledged since the point was written down.
#[test]
fn io_06_a_damaged_length_below_the_recovery_point_cuts_nothing_above_it() {
    let (disk, mut log) = new_log(small());
    put(&mut log, &checked(sized(1, 300)));
    put(&mut log, &checked(sized(1, 300)));
    log.sync().unwrap();
    drop(log);
    let path = format!("{DIR}/{:020}.log", 0);
    // Bit 8 of the length: 256 bytes less, which still is a batch.
    disk.flip(&path, 10 * 8);
    let before = disk.bytes(&path);
    let opened = Log::open(Arc::new(disk.clone()), DIR, small(), unclean(1), at(1000));
    let Err(OpenError::Corrupt { range, what, .. }) = opened else { panic!("it was believed") };
    assert_eq!(range, off(0)..off(1), "{what}");
    assert_eq!(disk.bytes(&path), before);
}

/// A batch below the recovery point claimed offsets up to that point. What really had them seemed out of order and was cut, in
/// its own segment and in those after it.
#[test]
fn io_06_damaged_offsets_that_reach_the_recovery_point_cut_nothing() {
    // How many batches follow in the same segment, and how many records in all.
    for (behind, records) in [(1, 3), (0, 4)] {
        let (disk, mut log) = new_log(small());
        let first = if behind == 0 { 1300 } else { 600 };
        put(&mut log, &checked(sized(1, first)));
        put(&mut log, &checked(sized(records - 1, 600)));
        log.sync().unwrap();
        let segments = log.segment_count();
        assert_eq!(segments, if behind == 0 { 2 } else { 1 });
        drop(log);
        let path = format!("{DIR}/{:020}.log", 0);
        // Its last offset is that of the log.
        let mut bytes = disk.bytes(&path);
        bytes[26] = records as u8 - 1;
        disk.overwrite(&path, bytes);
        // A scan that rests on none begins at the first segment.
        for path in disk.paths().iter().filter(|path| path.ends_with(".snapshot")) {
            disk.remove_file(path).unwrap();
        }
        let before = disk.paths();
        let opened = Log::open(Arc::new(disk.clone()), DIR, small(), unclean(records as i64), at(1000));
        let Err(OpenError::Corrupt { range, what, .. }) = opened else { panic!("it was believed") };
        assert_eq!(range, off(0)..off(records as i64), "{what}");
        assert!(before.iter().all(|path| disk.exists(path).unwrap()));
    }
}

/// A flipped base offset below the recovery point got an index entry, and was served for another batch.
#[test]
fn io_07_a_damaged_base_offset_gets_no_index_entry() {
    let (disk, mut log) = new_log(LogConfig { index_interval_bytes: 1, ..small() });
    for n in 0..4 {
        put(&mut log, &stamped(&[n]));
    }
    let end = log.close_clean().unwrap();
    let path = format!("{DIR}/{:020}.log", 0);
    let batch = headers(&disk.bytes(&path))[0].total_size();
    // The batch at offset 3 says 1.
    disk.flip(&path, (3 * batch + 7) * 8 + 1);
    disk.remove_file(&format!("{DIR}/{:020}.index", 0)).unwrap();
    let (mut log, _) = open(&disk, small(), clean(end.0));
    assert!(log.read(off(1), 1, true, end).is_err());
}

/// A batch that says it is the next one was served for that: it falls behind nothing, but there is a hole in front of it.
#[test]
fn io_07_a_batch_with_a_hole_in_front_of_it_is_not_served_for_the_next_one() {
    let (disk, mut log) = new_log(small());
    for n in 0..4 {
        put(&mut log, &stamped(&[n]));
    }
    let end = log.close_clean().unwrap();
    // The batch at offset 0 says 1.
    disk.flip(&format!("{DIR}/{:020}.log", 0), 7 * 8);
    let (mut log, _) = open(&disk, small(), clean(end.0));
    assert!(log.read(off(1), 1, true, end).is_err());
}

/// A stop in order while a journal file was being made: the next process acknowledged by a file without a durable name.
#[test]
fn io_03_a_journal_file_that_was_not_finished_is_in_the_directory_before_it_counts() {
    const LIMITS: JournalLimits = JournalLimits { file_bytes: 4 * 4096, files: 2 };
    for seed in 0..LOSSES {
        let (disk, mut log) = new_log(small());
        disk.set_faults(Faults { fail_sync: Some(disk.counters().syncs + 1), ..Faults::default() });
        assert!(prepare_file(&disk, 0, LIMITS).is_err());
        disk.set_faults(Faults::default());
        log.keep_for_journal(1 << 20);
        let (mut journal, _) = Journal::open(Arc::new(disk.clone()), LIMITS, true).unwrap();
        put(&mut log, &stamped(&[1]));
        let Commit::Journal(batches) = log.commit() else { panic!() };
        let key = PartitionKey { topic: log.topic_id(), index: PartitionIndex(0) };
        let mut round = Round::new(8192);
        round.push(key, &batches);
        journal.write(&mut round).unwrap();
        let (_, replay) = Journal::open(Arc::new(disk.crash(seed)), LIMITS, false).unwrap();
        assert_eq!(replay.of(key).map(|redo| redo.end()), Some(off(1)), "seed {seed}");
    }
}

/// A temporary file with the index of a lost history was written again under the same name, and came back with its old
/// content in the next power loss.
#[test]
fn io_12_what_an_unfinished_replacement_left_is_gone_before_the_next_one() {
    let (disk, log) = new_log(small());
    drop(log);
    let path = format!("{DIR}/{:020}.index.tmp", 0);
    let file = disk.open(&path, OpenMode::Create).unwrap();
    file.write_all_at([b"left", &[]], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(DIR).unwrap();
    open(&disk, small(), unclean(0));
    for seed in 0..LOSSES {
        assert!(!disk.crash(seed).paths().contains(&path), "seed {seed}");
    }
}

/// A process was killed between a cut and its sync. The next one saw the segments as they were to be, noted that all was
/// done, and a power loss brought back what had been cut.
#[test]
fn rl_03_a_cut_that_a_killed_process_left_behind_is_on_disk_before_it_counts_as_done() {
    for target in [0, 7, 12] {
        kill_at_each(
            || {
                let (disk, mut log) = new_log(small());
                for _ in 0..8 {
                    put(&mut log, &checked(sized(3, 600)));
                }
                log.sync().unwrap();
                (disk, log)
            },
            |log| {
                let place = crate::JournalPlace { sequence: 1, round: 1 };
                let _ = log.truncate_to(off(target), LogOffset::ZERO, place, at(2000));
            },
            |disk| {
                let end = open(&disk, small(), unclean(0)).0.log_end();
                for seed in 0..LOSSES {
                    let (log, _) = open(&disk.crash(seed), small(), unclean(0));
                    assert_eq!(log.log_end(), end, "cut at {target}, seed {seed}");
                }
            },
        );
    }
}

/// A recovery cut a torn batch, and what stood behind it, and was killed before that was on disk. The next one found nothing to cut; the
/// log grew, and a power loss brought back what had been cut, right behind the new batch and good in itself.
#[test]
fn io_14_what_a_killed_recovery_cut_is_on_disk_before_the_log_grows() {
    let came_back = |trust: Trust| {
        let came_back = Cell::new(0);
        let path = format!("{DIR}/{:020}.log", 0);
        let start = |disk: &SimDisk| {
            let env = Env::new(Arc::new(disk.clone()), DIR, small(), trust);
            Log::open_trusting(env, unclean(0), None, at(1000))
        };
        kill_at_each(
            || {
                let (disk, mut log) = new_log(small());
                for n in 0..3 {
                    put(&mut log, &stamped(&[n]));
                }
                log.sync().unwrap();
                disk.flip(&path, 70 * 8);
                (disk, log)
            },
            |log| drop(start(&log.env.disk)),
            |disk| {
                let (mut log, _) = start(&disk).unwrap();
                assert_eq!(log.log_end(), off(0));
                put(&mut log, &stamped(&[7]));
                let losses = (0..LOSSES).map(|seed| start(&disk.crash(seed)).unwrap().0.log_end());
                came_back.set(came_back.get() + losses.filter(|end| *end > off(1)).count());
            },
        );
        came_back.get()
    };
    assert_eq!(came_back(Trust::default()), 0);
    assert_ne!(came_back(Trust { recoveries: true, ..Trust::default() }), 0, "the mistake would be seen");
}

/// Where compaction has been, holes are legal: the batch behind one that reaches too far was taken all the same, and nobody compared the
/// checksum of that one.
#[test]
fn io_06_a_batch_that_reaches_too_far_is_convicted_where_holes_are_legal_too() {
    let at = |base: i64, last: i32| {
        let mut header = stamped(&[1]).header;
        (header.base_offset, header.last_offset_delta) = (base, last);
        header
    };
    let mut chain = Chain::from(0);
    chain.accept(&at(90, 5), true, off(100)).unwrap();
    assert!(chain.accept(&at(92, 0), true, off(100)).is_err());
    assert_eq!(chain.next, 90);
}

/// A log of three segments, and where the last batch of the first one begins: its offset and its byte.
fn three_segments() -> (SimDisk, Log<SimDisk>, BatchHeader, usize) {
    let (disk, mut log) = new_log(small());
    while log.segment_count() < 3 {
        put(&mut log, &checked(sized(1, 300)));
    }
    log.sync().unwrap();
    let bytes = disk.bytes(&format!("{DIR}/{:020}.log", 0));
    let mut headers = headers(&bytes);
    let last = headers.pop().unwrap();
    let position = bytes.len() - last.total_size();
    (disk, log, last, position)
}

fn remove_snapshots(disk: &SimDisk, which: impl Fn(&str) -> bool) {
    for name in disk.paths().iter().filter(|name| name.ends_with(".snapshot") && which(name)) {
        disk.remove_file(name).unwrap();
    }
}

/// A damaged base offset in a cleaned segment reached beyond the recovery point, and everything behind it was cut: the name of the next
/// segment says that this cannot be.
#[test]
fn io_06_nothing_is_cut_for_a_batch_that_claims_more_than_its_segment_can_hold() {
    let (disk, log, last, _) = three_segments();
    let point = log.segments[1].base;
    let meta = PartitionMeta { cleaned_end: point, ..PartitionMeta::read(&disk, DIR).unwrap() };
    drop(log);
    meta.write(&disk, DIR).unwrap();
    remove_snapshots(&disk, |_| true);
    // With one more bit an earlier batch claims to be the last one.
    let bit = last.base_offset.trailing_zeros() as usize;
    let earlier = (last.base_offset ^ 1 << bit) as usize;
    disk.flip(&format!("{DIR}/{:020}.log", 0), (earlier * last.total_size() + 7) * 8 + bit);
    let opened = Log::open(Arc::new(disk.clone()), DIR, small(), unclean(point.0), at(1000));
    assert!(
        matches!(opened, Err(OpenError::Corrupt { .. })),
        "{:?}",
        opened.map(|(log, report)| (log.log_end(), report))
    );
}

/// The newest snapshot is damaged, and so is an epoch in a segment that no scan reads: rebuilding believed it, and nothing could be read or
/// appended behind it.
#[test]
fn io_06_an_epoch_that_falls_at_the_border_of_a_segment_is_told_when_epochs_are_rebuilt() {
    let (disk, log, last, position) = three_segments();
    let end = log.close_clean().unwrap();
    let snapshot = format!("{DIR}/{:020}.snapshot", end.0);
    disk.flip(&snapshot, 20 * 8);
    disk.flip(&format!("{DIR}/{:020}.log", 0), (position + 15) * 8 + 3);
    remove_snapshots(&disk, |name| name != snapshot);
    match Log::open(Arc::new(disk.clone()), DIR, small(), unclean(end.0), at(1000)) {
        Err(OpenError::Corrupt { range, .. }) => assert_eq!(range.start, off(last.base_offset)),
        opened => panic!("{:?}", opened.map(|(log, report)| (log.log_end(), report))),
    }
}
