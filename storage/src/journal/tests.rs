//! The journal by itself: bytes, damage, reuse of files, failures. What it is worth to a log is shown beside the log.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::sync::Arc;

use pyralog_protocol::{LogOffset, PartitionIndex, TopicId};

use super::format::{Entry, next_entry, put_batch, put_flushed};
use super::*;
use crate::log::{Commit, Pending};
use crate::sim::{Faults, SimDisk};
use crate::tests::{new_log, off, put, small, stamped};

const LIMITS: JournalLimits = JournalLimits { file_bytes: 4 * 4096, files: 2 };

fn key(index: i32) -> PartitionKey {
    PartitionKey { topic: TopicId([7; 16]), index: PartitionIndex(index) }
}

/// A batch as a log hands it out.
fn pending(batches: usize) -> Vec<Pending> {
    let (_, mut log) = new_log(small());
    log.keep_for_journal(1 << 20);
    for _ in 0..batches {
        put(&mut log, &stamped(&[1, 2, 3]));
    }
    let Commit::Journal(batches) = log.commit() else { panic!() };
    batches
}

fn round(batches: &[Pending]) -> Round {
    let mut round = Round::new(8192);
    round.push(key(0), batches);
    round
}

fn new_journal() -> (Arc<SimDisk>, Journal<SimDisk>) {
    let disk = Arc::new(SimDisk::new());
    let (mut journal, _) = Journal::open(Arc::clone(&disk), LIMITS, false).unwrap();
    add_file(&disk, &mut journal);
    (disk, journal)
}

fn add_file(disk: &SimDisk, journal: &mut Journal<SimDisk>) {
    let slot = journal.wants_file().unwrap();
    journal.add(slot, prepare_file(disk, slot, LIMITS));
}

fn bases(disk: &Arc<SimDisk>) -> (Vec<i64>, Vec<String>) {
    let (_, replay) = Journal::open(Arc::clone(disk), LIMITS, false).unwrap();
    let bases = replay.of(key(0)).map(|redo| redo.batches.iter().map(|b| b.base.0).collect());
    (bases.unwrap_or_default(), replay.damage)
}

#[test]
fn the_bytes_of_a_file_are_what_they_were() {
    let (disk, mut journal) = new_journal();
    let mut written = round(&pending(1));
    written.note_flushed(key(3), off(258));
    journal.write(&mut written).unwrap();
    let bytes = disk.bytes("journal/0.journal");
    assert_eq!(bytes.len(), 4 * 4096);
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&bytes[..40]), "504c4a4600010000000000180000000000000001000000000000000100000000000000005a669102");
    assert!(bytes[40..4096].iter().all(|b| *b == 0));
    let round = &bytes[4096..8192];
    assert_eq!(hex(&round[..28]), "504c4a520000009a0000000000000001000000000000000000000002");
    assert_eq!(hex(&round[32..57]), "01070707070707070707070707070707070000000000000064");
    assert_eq!(hex(&round[157..186]), "0207070707070707070707070707070707000000030000000000000102");
    assert!(round[186..].iter().all(|b| *b == 0));
}

#[test]
fn entries_come_back_and_half_ones_do_not() {
    let mut bytes = Vec::new();
    put_batch(&mut bytes, key(1), 3);
    bytes.extend_from_slice(b"abc");
    put_flushed(&mut bytes, key(2), off(9));
    let mut from = &bytes[..];
    assert_eq!(next_entry(&mut from), Some(Entry::Batch { key: key(1), bytes: b"abc" }));
    assert_eq!(next_entry(&mut from), Some(Entry::Flushed { key: key(2), below: off(9) }));
    assert_eq!(next_entry(&mut from), None);
    for cut in 1..28 {
        assert_eq!(next_entry(&mut &bytes[..cut]), None);
    }
    assert_eq!(next_entry(&mut &[9; 40][..]), None, "a kind that nobody wrote");
}

#[test]
fn what_was_written_is_found_again_and_a_torn_end_is_no_damage() {
    let (disk, mut journal) = new_journal();
    let batches = pending(3);
    for batch in &batches {
        journal.write(&mut round(std::slice::from_ref(batch))).unwrap();
    }
    assert_eq!(bases(&disk), (vec![0, 3, 6], vec![]));
    let mut bytes = disk.bytes("journal/0.journal");
    bytes[3 * 4096 + 50] ^= 1;
    disk.overwrite("journal/0.journal", bytes);
    assert_eq!(bases(&disk), (vec![0, 3], vec![]));
}

#[test]
fn io_06_damage_in_front_of_a_later_round_is_told_and_the_rest_still_counts() {
    let (disk, mut journal) = new_journal();
    for batch in &pending(3) {
        journal.write(&mut round(std::slice::from_ref(batch))).unwrap();
    }
    for at in [2 * 4096, 2 * 4096 + 5, 2 * 4096 + 14, 2 * 4096 + 60] {
        let good = disk.bytes("journal/0.journal");
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        disk.overwrite("journal/0.journal", bytes);
        let (found, damage) = bases(&disk);
        assert_eq!(found, [0, 6]);
        assert_eq!(damage, ["journal/0.journal: bytes 8192..12288 do not hold what was written"]);
        disk.overwrite("journal/0.journal", good);
    }
}

#[test]
fn io_06_a_full_file_that_ends_early_is_damage() {
    let (disk, mut journal) = new_journal();
    let batches = pending(4);
    for batch in &batches[..3] {
        journal.write(&mut round(std::slice::from_ref(batch))).unwrap();
    }
    assert!(matches!(journal.write(&mut round(&batches[3..])), Err(JournalError::NoRoom)));
    add_file(&disk, &mut journal);
    journal.write(&mut round(&batches[3..])).unwrap();
    assert_eq!(bases(&disk), (vec![0, 3, 6, 9], vec![]));
    let mut bytes = disk.bytes("journal/0.journal");
    bytes[3 * 4096 + 50] ^= 1;
    disk.overwrite("journal/0.journal", bytes);
    let (found, damage) = bases(&disk);
    assert_eq!(found, [0, 3, 9]);
    assert_eq!(damage, ["journal/0.journal: it ends after 2 of 3 rounds"], "the next file says how many there were");
}

#[test]
fn a_file_is_used_again_only_when_all_in_it_is_flushed_or_gone() {
    let (disk, mut journal) = new_journal();
    let batches = pending(7);
    for (n, batch) in batches[..6].iter().enumerate() {
        if n == 3 {
            let _ = journal.write(&mut round(std::slice::from_ref(batch)));
            add_file(&disk, &mut journal);
        }
        journal.write(&mut round(std::slice::from_ref(batch))).unwrap();
    }
    let mut last = round(&batches[6..]);
    journal.release(|_| Some(off(8)));
    assert!(!journal.has_room(&last), "records 0 to 8 are in the first file, 8 itself is not flushed");
    assert_eq!(journal.waits_for().collect::<Vec<_>>(), [key(0)]);
    journal.release(|_| Some(off(9)));
    journal.write(&mut last).unwrap();
    assert_eq!(bases(&disk).0, [9, 12, 15, 18], "the first file begins anew");
    journal.release(|_| None);
    assert_eq!(journal.sealed_files(), 0, "a log that is gone holds nothing up");
}

#[test]
fn after_a_clean_stop_nothing_counts_and_the_files_are_used_again() {
    let (disk, mut journal) = new_journal();
    journal.write(&mut round(&pending(1))).unwrap();
    let (mut journal, replay) = Journal::open(Arc::clone(&disk), LIMITS, true).unwrap();
    assert!(replay.of(key(0)).is_none());
    journal.write(&mut round(&pending(2)[1..])).unwrap();
    assert_eq!(bases(&disk).0, [3]);
}

#[test]
fn io_01_a_failed_write_closes_the_journal_for_good() {
    let (disk, mut journal) = new_journal();
    journal.write(&mut round(&pending(1))).unwrap();
    disk.set_faults(Faults { fail_sync: Some(disk.counters().syncs + 1), ..Faults::default() });
    assert!(matches!(journal.write(&mut round(&pending(1))), Err(JournalError::Closed(_))));
    for _ in 0..3 {
        // Those rounds were not tried, so their partitions may be synced in their segments.
        assert!(matches!(journal.write(&mut round(&pending(1))), Err(JournalError::NoRoom)));
    }
    assert!(journal.wants_file().is_none() && !journal.has_room(&round(&pending(1))));
    assert_eq!(disk.syncs_after_failure(), 0);
}

#[test]
fn op_12_a_file_that_cannot_be_opened_for_now_is_opened_later() {
    let (disk, mut journal) = new_journal();
    let batches = pending(5);
    for batch in &batches[..3] {
        journal.write(&mut round(std::slice::from_ref(batch))).unwrap();
    }
    add_file(&disk, &mut journal);
    disk.set_faults(Faults { no_open_from: Some(0), ..Faults::default() });
    for _ in 0..2 {
        assert!(matches!(journal.write(&mut round(&batches[3..4])), Err(JournalError::NoRoom)));
        assert!(journal.unopened().is_some() && journal.closed().is_none());
    }
    assert_eq!(journal.sealed_files(), 1, "what the full file holds still counts");
    disk.set_faults(Faults::default());
    assert_eq!(bases(&disk).0, [0, 3, 6]);
    for batch in &batches[3..] {
        journal.write(&mut round(std::slice::from_ref(batch))).unwrap();
    }
    assert!(journal.unopened().is_none());
    assert_eq!(bases(&disk).0, [0, 3, 6, 9, 12]);
}

#[test]
fn io_01_a_failed_header_closes_the_journal_for_good() {
    let (disk, mut journal) = new_journal();
    for _ in 0..3 {
        journal.write(&mut round(&pending(1))).unwrap();
    }
    add_file(&disk, &mut journal);
    disk.set_faults(Faults { fail_sync: Some(disk.counters().syncs + 1), ..Faults::default() });
    assert!(matches!(journal.write(&mut round(&pending(1))), Err(JournalError::Closed(_))));
    assert!(journal.wants_file().is_none() && !journal.has_room(&round(&pending(1))));
}

#[test]
fn op_10_a_file_that_found_no_room_is_tried_again_and_one_that_failed_is_not() {
    let disk = Arc::new(SimDisk::new());
    let (mut journal, _) = Journal::open(Arc::clone(&disk), LIMITS, false).unwrap();
    disk.set_faults(Faults { full_from: Some(0), ..Faults::default() });
    let slot = journal.wants_file().unwrap();
    assert!(journal.wants_file().is_none(), "one at a time");
    journal.add(slot, prepare_file(&*disk, slot, LIMITS));
    disk.set_faults(Faults { fail_sync: Some(disk.counters().syncs + 1), ..Faults::default() });
    let slot = journal.wants_file().unwrap();
    journal.add(slot, prepare_file(&*disk, slot, LIMITS));
    assert!(journal.wants_file().is_none());
    assert_eq!(disk.syncs_after_failure(), 0);
}

#[test]
fn op_12_a_file_that_could_not_be_made_for_want_of_descriptors_is_made_later() {
    let disk = Arc::new(SimDisk::new());
    let (mut journal, _) = Journal::open(Arc::clone(&disk), LIMITS, false).unwrap();
    disk.set_faults(Faults { no_open_from: Some(0), ..Faults::default() });
    let slot = journal.wants_file().unwrap();
    let made = prepare_file(&*disk, slot, LIMITS);
    assert!(made.is_err());
    journal.add(slot, made);
    disk.set_faults(Faults::default());
    add_file(&disk, &mut journal);
    journal.write(&mut round(&pending(1))).unwrap();
}

#[test]
fn io_03_a_journal_file_outlives_a_power_loss() {
    let (disk, mut journal) = new_journal();
    journal.write(&mut round(&pending(1))).unwrap();
    for seed in 0..20 {
        assert_eq!(bases(&Arc::new(disk.crash(seed))), (vec![0], vec![]));
    }
}

#[test]
fn a_journal_of_other_sizes_is_read_and_made_anew() {
    let (disk, mut journal) = new_journal();
    journal.write(&mut round(&pending(1))).unwrap();
    let larger = JournalLimits { file_bytes: 8 * 4096, files: 2 };
    let (mut journal, replay) = Journal::open(Arc::clone(&disk), larger, false).unwrap();
    assert_eq!(replay.of(key(0)).unwrap().end(), off(3));
    journal.release(|_| None);
    let slot = journal.wants_file().unwrap();
    assert_eq!(slot, 0, "the short file is written again at its new length");
    journal.add(slot, prepare_file(&*disk, slot, larger));
    assert!(journal.has_room(&round(&pending(1))));
}

#[test]
fn a_note_of_a_sync_saves_the_recovery_what_lies_below_it() {
    let (disk, mut journal) = new_journal();
    for (n, batch) in pending(3).iter().enumerate() {
        let mut round = round(std::slice::from_ref(batch));
        round.note_flushed(key(0), LogOffset(if n == 2 { 6 } else { 0 }));
        journal.write(&mut round).unwrap();
    }
    let (_, replay) = Journal::open(disk, LIMITS, false).unwrap();
    let redo = replay.of(key(0)).unwrap();
    assert_eq!((redo.flushed, redo.batches.len(), redo.end()), (off(6), 1, off(9)));
}

/// It grew again to where it had been flushed before.
#[test]
fn a_note_that_says_the_same_again_counts_for_a_log_that_was_cut_in_between() {
    let (disk, mut journal) = new_journal();
    let batches = pending(2);
    let mut cut = journal.place();
    for batch in &batches {
        let mut round = round(std::slice::from_ref(batch));
        round.note_flushed(key(0), off(3));
        cut = journal.place();
        journal.write(&mut round).unwrap();
    }
    let (_, replay) = Journal::open(disk, LIMITS, false).unwrap();
    assert_eq!(replay.of(key(0)).unwrap().since(cut).flushed, off(3));
}

#[test]
fn memory_of_a_rare_large_round_is_given_back_and_that_of_frequent_ones_kept() {
    let large: Vec<Pending> = (0..10_000).flat_map(|_| pending(1)).collect();
    let mut round = Round::new(4 << 20);
    round.push(key(0), &large);
    round.clear();
    let used = round.resident_bytes();
    assert!(used > 512 << 10, "{used}");
    for n in 0..10_000 {
        round.push(key(0), if n % 4_000 == 0 { &large } else { large.get(..1).unwrap() });
        round.clear();
        assert_eq!(round.resident_bytes(), used, "rounds as large come back");
    }
    for _ in 0..4_096 {
        round.push(key(0), large.get(..1).unwrap());
        round.clear();
    }
    assert!(round.resident_bytes() < 16 << 10, "{}", round.resident_bytes());

    // What it holds after the change is what was put in, in whole blocks.
    let (disk, mut journal) = new_journal();
    round.push(key(0), &pending(2));
    journal.write(&mut round).unwrap();
    drop(journal);
    assert_eq!(bases(&disk).0, [0, 3]);
}
