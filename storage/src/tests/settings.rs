//! What the settings of segments do: when one is sealed, what room it takes, and sequences of producers that go round.

use proptest::prelude::*;

use super::*;
use crate::disk::is_full;
use crate::sim::Faults;
use crate::{Disk, JournalLimits, SequenceError, TimestampOffset, prepare_file};

fn bases(disk: &SimDisk) -> Vec<i64> {
    let number = |path: &String| path.strip_suffix(".log")?.rsplit('/').next()?.parse().ok();
    disk.paths().iter().filter_map(number).collect()
}

/// Appends one record with this timestamp at that moment; says whether a segment was begun.
fn rolls(log: &mut Log<SimDisk>, timestamp: i64, now: i64) -> bool {
    let before = log.segment_count();
    log.append(&stamped(&[timestamp]), EPOCH, at(now)).unwrap();
    log.segment_count() > before
}

fn by_time(segment_ms: u64, segment_jitter_ms: u64) -> LogConfig {
    LogConfig { segment_bytes: 1 << 20, segment_ms, segment_jitter_ms, ..small() }
}

#[test]
fn a_segment_rolls_when_a_record_is_more_than_segment_ms_after_its_first() {
    let (_, mut log) = new_log(by_time(1000, 0));
    assert!(rolls(&mut log, 5000, 0));
    assert!(!rolls(&mut log, 6000, 90_000), "exactly as old; the clock counts for nothing");
    assert!(!rolls(&mut log, 1, 90_000) && !rolls(&mut log, -1, 90_000), "back in time, and without a time");
    assert!(rolls(&mut log, 6001, 90_000));
    assert!(!rolls(&mut log, 7001, 90_000));
}

#[test]
fn a_segment_whose_first_record_has_no_time_rolls_by_the_clock() {
    let (_, mut log) = new_log(by_time(1000, 0));
    assert!(rolls(&mut log, -1, 5000));
    assert!(!rolls(&mut log, 900_000, 6000), "since it was created, not since it was written");
    assert!(rolls(&mut log, 900_000, 6001));
}

/// The age at which the first segment of a log in this folder rolls, to the millisecond.
fn age_at_roll(dir: &str, config: &LogConfig, restart: bool) -> i64 {
    let disk = SimDisk::new();
    create(&disk, dir, TopicId([7; 16])).unwrap();
    let open = |hint| Log::open(Arc::new(disk.clone()), dir, config.clone(), hint, at(0)).unwrap().0;
    let mut log = open(clean(0));
    rolls(&mut log, 0, 0);
    if restart {
        let point = log.close_clean().unwrap();
        log = open(clean(point.0));
    }
    (1..).find(|age| rolls(&mut log, *age, 0)).unwrap()
}

#[test]
fn jitter_takes_something_else_off_for_each_partition_and_the_same_after_a_restart() {
    let config = by_time(1000, 400);
    let ages: Vec<i64> = (0..20).map(|n| age_at_roll(&format!("logs/a-{n}"), &config, false)).collect();
    assert!(ages.iter().all(|age| (602..=1001).contains(age)), "{ages:?}");
    let mut different = ages.clone();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() > 15, "{ages:?}");
    for (n, age) in ages.iter().enumerate().take(5) {
        assert_eq!(age_at_roll(&format!("logs/a-{n}"), &config, true), *age);
    }
    assert_eq!(age_at_roll("logs/a-0", &by_time(1000, 0), false), 1001);
    let more_than_all = age_at_roll("logs/a-0", &by_time(1000, u64::MAX), false);
    assert!((1..=1001).contains(&more_than_all), "never below nothing");
}

#[test]
fn a_change_of_segment_ms_counts_for_the_next_append() {
    let (_, mut log) = new_log(by_time(1000, 0));
    rolls(&mut log, 0, 0);
    assert!(!rolls(&mut log, 500, 0));
    log.set_config(by_time(400, 0));
    assert!(rolls(&mut log, 501, 0));
    log.set_config(LogConfig { segment_bytes: 1, ..by_time(400, 0) });
    assert!(log.append(&stamped(&[501]), EPOCH, at(0)).is_err(), "larger than a segment");
}

#[test]
fn a_segment_rolls_before_its_index_is_larger_than_segment_index_bytes() {
    for limit in [4, 100, 200, 5000] {
        let config =
            LogConfig { segment_bytes: 1 << 20, index_interval_bytes: 0, segment_index_bytes: limit, ..small() };
        let (disk, mut log) = new_log(config);
        for _ in 0..700 {
            put(&mut log, &stamped(&[1]));
        }
        log.close_clean().unwrap();
        let sizes: Vec<usize> =
            disk.paths().iter().filter(|p| p.ends_with(".index")).map(|p| disk.bytes(p).len()).collect();
        // Header and no entry: what a segment of one batch takes, whatever the limit.
        assert!(sizes.iter().all(|size| *size <= (limit as usize).max(48)), "{limit}: {sizes:?}");
        let expected = if limit < 48 + 20 { 700 } else { 700 / ((limit as usize - 48) / 17).max(1) };
        assert!(
            sizes.len().abs_diff(expected) <= expected / 3 + 1,
            "{limit}: {} segments, about {expected}",
            sizes.len()
        );
        let (mut log, _) = open(&disk, small(), unclean(0));
        assert_eq!(contents(&mut log, 0).len(), 700);
    }
}

fn preallocated() -> LogConfig {
    LogConfig { preallocate: true, ..small() }
}

#[test]
fn io_05_a_new_segment_takes_its_room_and_a_sealed_one_gives_back_what_it_did_not_need() {
    let (disk, mut log) = new_log(preallocated());
    for _ in 0..6 {
        put(&mut log, &checked(sized(1, 600)));
    }
    log.sync().unwrap();
    let reserved: Vec<u64> = bases(&disk).iter().map(|base| disk.reserved(&format!("{DIR}/{base:020}.log"))).collect();
    assert_eq!(reserved, [0, 0, 1500]);
    for (base, size) in bases(&disk).iter().zip([2, 2, 2]) {
        let bytes = disk.bytes(&format!("{DIR}/{base:020}.log"));
        assert_eq!(headers(&bytes).len(), size, "nothing but batches is in the file");
    }
    // Whether the one that was active still has its room is not known after a crash; it gives it back when it is sealed.
    let (mut log, report) = open(&disk, preallocated(), unclean(6));
    assert_eq!(report.cut, None);
    put(&mut log, &checked(sized(1, 600)));
    assert_eq!(disk.reserved(&format!("{DIR}/{:020}.log", 4)), 0);
    assert_eq!(contents(&mut log, 0).len(), 7);
    log.close_clean().unwrap();
    assert!(bases(&disk).iter().all(|base| disk.reserved(&format!("{DIR}/{base:020}.log")) == 0), "a clean stop too");
}

/// `preallocate` is for the whole segment at once; any segment takes some room ahead once it has grown.
#[test]
fn io_05_a_segment_that_grows_takes_room_ahead_and_gives_it_back() {
    const MIB: u64 = 1 << 20;
    let config = || LogConfig { segment_bytes: 8 << 20, ..LogConfig::default() };
    let (disk, mut log) = new_log(config());
    let room = |disk: &SimDisk, base: i64| disk.reserved(&format!("{DIR}/{base:020}.log"));
    let mut written = 0;
    while written < 4 * MIB {
        assert_eq!(room(&disk, 0), 0, "a small one takes none");
        put(&mut log, &checked(sized(1, 500_000)));
        written = disk.bytes(&format!("{DIR}/{:020}.log", 0)).len() as u64;
    }
    put(&mut log, &checked(sized(1, 500_000)));
    let taken = room(&disk, 0);
    let size = disk.bytes(&format!("{DIR}/{:020}.log", 0)).len() as u64;
    assert!(taken > size && taken <= size + size / 2, "{taken} for {size}");
    put(&mut log, &checked(sized(1, 500_000)));
    assert_eq!(room(&disk, 0), taken, "it is used before more is taken");
    // Nothing is written for a while.
    log.sync().unwrap();
    log.release_files();
    assert_eq!(room(&disk, 0), 0);
    put(&mut log, &checked(sized(1, 500_000)));
    assert!(room(&disk, 0) > taken);
    // Where there is no room ahead, the segment grows as far as it gets, and does not ask again.
    let (size, end) = (disk.bytes(&format!("{DIR}/{:020}.log", 0)).len() as u64, log.log_end());
    disk.set_faults(Faults { capacity: Some(size + 1_600_000), ..Faults::default() });
    for _ in 0..3 {
        put(&mut log, &checked(sized(1, 500_000)));
    }
    disk.set_faults(Faults::default());
    log.sync().unwrap();
    let (mut log, report) = open(&disk, config(), unclean(end.0));
    assert_eq!(report.cut, None);
    // The segment is full soon, and room is never taken beyond that.
    while bases(&disk).len() == 1 {
        put(&mut log, &checked(sized(1, 500_000)));
        assert!(room(&disk, 0) <= 8 * MIB);
    }
    assert_eq!(room(&disk, 0), 0, "sealed");
    log.close_clean().unwrap();
}

/// A file system that shows the room as part of the file, or a crash that did: the zeros are no data.
#[test]
fn io_05_room_that_shows_as_zeros_is_cut_and_never_served() {
    for zeros in [1, 60, 61, 4096] {
        let (disk, mut log) = new_log(preallocated());
        put(&mut log, &stamped(&[1, 2]));
        put(&mut log, &stamped(&[3]));
        log.sync().unwrap();
        let path = format!("{DIR}/{:020}.log", 0);
        let size = disk.bytes(&path).len();
        disk.overwrite(&path, [disk.bytes(&path), vec![0; zeros]].concat());
        let (mut log, report) = open(&disk, preallocated(), unclean(3));
        assert!(report.cut.is_some_and(|cut| cut.unwritten), "no loss");
        assert_eq!(disk.bytes(&path).len(), size);
        assert_eq!(contents(&mut log, 0), [(0, 1), (2, 2)]);
        assert_eq!(put(&mut log, &stamped(&[4])), 3);
        let (mut log, _) = open(&disk, preallocated(), unclean(3));
        assert_eq!(contents(&mut log, 0), [(0, 1), (2, 2), (3, 3)]);
    }
}

#[test]
fn op_10_where_there_is_no_room_ahead_the_segment_grows_as_far_as_it_gets() {
    let (disk, mut log) = new_log(preallocated());
    disk.set_faults(Faults { capacity: Some(1000), ..Faults::default() });
    put(&mut log, &checked(sized(1, 300)));
    assert_eq!(disk.reserved(&format!("{DIR}/{:020}.log", 0)), 0);
    assert!(log.append(&checked(sized(1, 900)), EPOCH, at(0)).is_err());
    assert_eq!(put(&mut log, &checked(sized(1, 200))), 1);
}

#[test]
fn op_10_room_ahead_is_not_taken_out_of_what_is_kept_free() {
    let (disk, mut log) = new_log(preallocated());
    let seen = disk.allowance().before_look();
    // Less than the 1500 bytes of a segment, and enough for an append.
    disk.allowance().after_look(seen, Some(1499));
    put(&mut log, &checked(sized(1, 300)));
    assert_eq!(disk.reserved(&format!("{DIR}/{:020}.log", 0)), 0);
    disk.allowance().after_look(seen, Some(2500));
    put(&mut log, &checked(sized(1, 300)));
    log.roll(at(0).wall).unwrap();
    assert_eq!(disk.reserved(&format!("{DIR}/{:020}.log", 2)), 1500, "it counts until somebody looks");
    let refused = log.append(&checked(sized(1, 600)), EPOCH, at(0));
    assert!(matches!(refused, Err(crate::AppendError::Reserved { bytes: 600.. })), "{refused:?}");
    assert!(prepare_file(&disk, 0, JournalLimits { file_bytes: 1 << 16, files: 1 }).is_err_and(|e| is_full(&e)));
    disk.allowance().after_look(disk.allowance().before_look(), None);
    put(&mut log, &checked(sized(1, 600)));
}

#[test]
fn retention_of_records_from_the_future_waits_for_it_and_of_those_without_time_goes_by_the_file() {
    let config = LogConfig { retention_ms: Some(1000), segment_bytes: 200, ..small() };
    let (_, mut log) = new_log(config.clone());
    for _ in 0..4 {
        log.append(&stamped(&[50_000, 50_000]), EPOCH, at(0)).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(log.enforce_retention(at(51_000), log.log_end()).unwrap().segments, 0);
    assert!(log.enforce_retention(at(51_001), log.log_end()).unwrap().segments > 0);
    let (_, mut log) = new_log(config);
    for _ in 0..4 {
        log.append(&stamped(&[-1, -1]), EPOCH, at(7000)).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(log.enforce_retention(at(8000), log.log_end()).unwrap().segments, 0);
    assert!(log.enforce_retention(at(8001), log.log_end()).unwrap().segments > 0);
    assert_eq!(log.max_timestamp(log.log_end()).unwrap(), None::<TimestampOffset>);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    /// ID-08: sequences are numbers modulo 2^31. Each batch is new once, a duplicate for as long as it is remembered, and
    /// any other sequence is refused, wherever the border falls.
    #[test]
    fn id_08_sequences_go_round_at_two_to_the_31(
        before in 0_i64..40,
        sizes in prop::collection::vec(1_usize..9, 1..20),
        restart in 0_usize..20,
    ) {
        const ROUND: i64 = 1 << 31;
        let sequence = |n: i64| i32::try_from((ROUND - before + n).rem_euclid(ROUND)).unwrap();
        let (disk, mut log) = new_log(LogConfig { segment_bytes: 400, ..small() });
        let mut sent: Vec<(i64, usize)> = Vec::new();
        for (number, records) in sizes.iter().copied().enumerate() {
            let next = sent.last().map_or(0, |(n, records)| n + *records as i64);
            if number == restart {
                log.close_clean().unwrap();
                log = open(&disk, small(), clean(next)).0;
            }
            if number > 0 {
                let skipped = log.append(&idempotent(1, 0, sequence(next + 1), records), EPOCH, at(1000));
                let Err(crate::AppendError::Sequence(SequenceError::OutOfOrder { expected, .. })) = skipped else {
                    panic!("{skipped:?}")
                };
                prop_assert_eq!(expected, sequence(next));
            }
            let new = log.append(&idempotent(1, 0, sequence(next), records), EPOCH, at(1000)).unwrap();
            prop_assert_eq!((new.base_offset, new.duplicate), (off(next), false));
            sent.push((next, records));
            for (n, records) in sent.iter().rev().take(5) {
                let again = log.append(&idempotent(1, 0, sequence(*n), *records), EPOCH, at(1000)).unwrap();
                prop_assert_eq!((again.base_offset, again.duplicate), (off(*n), true));
            }
        }
    }
}
