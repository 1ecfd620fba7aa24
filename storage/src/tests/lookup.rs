//! Reads and look-ups by time: sections F and L of the behaviours, IO-15, IO-17, IO-18, IO-21.

use proptest::prelude::*;
use pyralog_protocol::ErrorCode;
use pyralog_protocol::batch::{BATCH_HEADER_BYTES, Codec, Compression, TimestampType};

use super::*;
use crate::{Patience, ReadError, ReadSlice, TimestampOffset};

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn compressed(codec: Codec, timestamps: &[i64]) -> CheckedBatch {
    let builder = BatchBuilder::new().compression(Compression::of(codec));
    checked(timestamps.iter().fold(builder, |b, t| b.kv(*t, b"k", b"value")))
}

fn found(result: Option<TimestampOffset>) -> Option<(i64, i64)> {
    result.map(|t| (t.timestamp, t.offset.0))
}

#[test]
fn f01_io_17_every_offset_of_a_batch_returns_the_whole_batch() {
    for codec in CODECS {
        let (_, mut log) = new_log(small());
        put(&mut log, &stamped(&[1, 2, 3]));
        put(&mut log, &compressed(codec, &[4, 5, 6, 7]));
        put(&mut log, &stamped(&[8]));
        for offset in 3..7 {
            assert_eq!(contents(&mut log, offset), [(3, 6), (7, 7)]);
        }
    }
}

#[test]
fn f02_f03_the_end_is_empty_and_beyond_is_out_of_range() {
    let (_, mut log) = new_log(small());
    assert!(log.read(off(0), 100, true, off(0)).unwrap().is_none());
    put(&mut log, &stamped(&[1, 2]));
    assert!(log.read(off(2), 100, true, off(2)).unwrap().is_none());
    log.delete_records_to(off(1), off(2)).unwrap();
    for offset in [-1, 0, 3] {
        assert_eq!(log.read(off(offset), 100, true, off(2)).unwrap_err().code(), ErrorCode::OffsetOutOfRange);
    }
    assert_eq!(contents(&mut log, 1), [(0, 1)], "L9: the whole batch at the log start");
}

#[test]
fn f04_f05_io_18_whole_batches_up_to_the_limit_and_at_least_one_if_asked() {
    let (_, mut log) = new_log(LogConfig { index_interval_bytes: 200, ..LogConfig::default() });
    let batch = checked(sized(1, 100));
    let size = batch.total_size() as u64;
    for _ in 0..20 {
        put(&mut log, &batch);
    }
    let mut len = |max, min_one| log.read(off(0), max, min_one, off(20)).unwrap().map_or(0, |s| s.len as u64);
    for count in 1..20 {
        assert_eq!(len(size * count, true), size * count, "fills to the limit");
        assert_eq!(len(size * (count + 1) - 1, false), size * count, "but not above");
    }
    assert_eq!((len(0, true), len(size - 1, true)), (size, size));
    assert_eq!((len(0, false), len(size - 1, false)), (0, 0));
    assert_eq!(len(u64::MAX, false), size * 20);
}

#[test]
fn io_18_reading_everything_takes_as_few_reads_as_the_limit_allows() {
    let (_, mut log) = new_log(LogConfig { segment_bytes: 1 << 20, ..LogConfig::default() });
    for _ in 0..400 {
        put(&mut log, &checked(sized(10, 9000)));
    }
    let (mut next, mut reads) = (0, 0);
    while let Some(slice) = log.read(off(next), 200_000, true, log.log_end()).unwrap() {
        next = headers(&slice.read().unwrap()).last().unwrap().last_offset() + 1;
        reads += 1;
    }
    let least = log.size_bytes().div_ceil(200_000);
    assert_eq!(next, 4000);
    assert!(reads <= least + log.segment_count() as u64, "{reads} reads, {least} at least");
}

#[test]
fn reads_stop_below_the_bound_at_every_bound() {
    let (_, mut log) = new_log(small());
    for _ in 0..12 {
        put(&mut log, &checked(sized(2, 150)));
    }
    for bound in 0..=24 {
        let mut next = 0;
        while let Some(slice) = log.read(off(next), 10_000, true, off(bound)).unwrap() {
            next = headers(&slice.read().unwrap()).last().unwrap().last_offset() + 1;
        }
        assert_eq!(next, bound / 2 * 2, "whole batches below {bound}");
    }
}

/// In sealed segments, whose index is on disk, and in the active one, whose index is in memory.
#[test]
fn who_hurries_reads_nothing_from_the_disk_and_finds_the_same_once_it_was_brought_into_memory() {
    for index_interval_bytes in [0, 3000, 20_000] {
        let (disk, mut log) = new_log(LogConfig { segment_bytes: 100_000, index_interval_bytes, ..small() });
        for n in 0..60 {
            put(&mut log, &checked(sized(3, 500 + n * 100)));
        }
        assert!(log.segment_count() > 2);
        let end = log.log_end();
        let place = |slice: Option<ReadSlice<_>>| slice.map(|slice| (slice.position, slice.len));
        for (offset, max_bytes) in
            (0..end.0).flat_map(|offset| [1, 7000, 30_000, u64::MAX].map(|max| (off(offset), max)))
        {
            for bound in [end, off(offset.0 + 4).min(end)] {
                let context = format!("{max_bytes} bytes from {offset} below {bound}, {index_interval_bytes}");
                let expected = place(log.read(offset, max_bytes, true, bound).unwrap());
                log.close_files(false);
                disk.forget_cache();
                let before = disk.counters().reads;
                let hurried = |log: &mut Log<SimDisk>| {
                    log.with_patience(Patience::Hurries, |log| log.read(offset, max_bytes, true, bound)).map(place)
                };
                assert!(hurried(&mut log).unwrap_err().would_wait(), "{context}");
                assert_eq!(disk.counters().reads, before, "{context}");
                log.prefetch(offset, max_bytes, true, bound).unwrap().run();
                assert_eq!(hurried(&mut log).unwrap(), expected, "{context}");
            }
        }
    }
}

/// The look-ups that change nothing, by time and by epoch.
#[test]
fn who_looks_beside_the_log_has_in_memory_what_the_log_looks_at() {
    for index_interval_bytes in [0, 3000, 20_000] {
        let (disk, mut log) = new_log(LogConfig { segment_bytes: 100_000, index_interval_bytes, ..small() });
        for n in 0..60 {
            let (time, value) = ((7 * n) % 60, vec![b'v'; 1000 + 50 * n as usize]);
            put(&mut log, &checked(BatchBuilder::new().kv(time, b"k", &value).kv(time + 1, b"k", &value)));
        }
        assert!(log.segment_count() > 2);
        let end = log.log_end();
        for (time, bound) in (0..62).step_by(3).flat_map(|time| [(time, end), (time, off(end.0 - 3))]) {
            let look = |log: &mut Log<SimDisk>| Ok((log.offset_for_timestamp(time, bound)?, log.max_timestamp(bound)?));
            let expected: Result<_, ReadError> = look(&mut log);
            log.close_files(false);
            disk.forget_cache();
            let before = disk.counters().reads;
            assert!(log.with_patience(Patience::Hurries, look).unwrap_err().would_wait(), "{time} {bound}");
            assert_eq!(disk.counters().reads, before, "{time} {bound}");
            log.aside().run(look).unwrap();
            assert_eq!(log.with_patience(Patience::Hurries, look).unwrap(), expected.unwrap(), "{time} {bound}");
        }
    }
}

/// A small read and the check of what the index says are one.
#[test]
fn a_read_looks_at_the_header_that_its_index_names_once() {
    let (disk, mut log) = new_log(LogConfig { segment_bytes: 10_000, index_interval_bytes: 0, ..small() });
    for _ in 0..40 {
        put(&mut log, &checked(sized(1, 900)));
    }
    log.sync().unwrap();
    log.checkpoint().unwrap();
    log.release_files();
    let end = log.log_end();
    // The index and its header.
    log.read(off(4), 1, true, end).unwrap();
    let before = disk.counters().reads;
    log.read(off(5), 1, true, end).unwrap();
    assert_eq!(disk.counters().reads - before, 2, "a block of the index, and the header");
}

#[test]
fn a_slice_stays_readable_after_its_segment_was_removed() {
    let (_, mut log) = new_log(LogConfig { retention_bytes: Some(0), ..small() });
    put(&mut log, &stamped(&[1]));
    log.sync().unwrap();
    let slice = log.read(off(0), 100, true, off(1)).unwrap().unwrap();
    log.enforce_retention(at(1000), off(1)).unwrap();
    assert_eq!(headers(&slice.read().unwrap()).len(), 1);
}

#[test]
fn l05_io_21_a_time_finds_the_record_inside_its_batch_in_every_codec() {
    for codec in CODECS {
        let (_, mut log) = new_log(small());
        put(&mut log, &compressed(codec, &[10, 50, 20, 40]));
        put(&mut log, &compressed(codec, &[30, 60]));
        for (time, expected) in
            [(0, Some((10, 0))), (11, Some((50, 1))), (50, Some((50, 1))), (51, Some((60, 5))), (61, None)]
        {
            assert_eq!(found(log.offset_for_timestamp(time, off(6)).unwrap()), expected, "{codec:?} {time}");
        }
        assert_eq!(found(log.offset_for_timestamp(51, off(4)).unwrap()), None, "above the bound");
    }
}

#[test]
fn l05_a_batch_is_looked_into_whatever_it_inflates_to() {
    let (_, mut log) = new_log(LogConfig { segment_bytes: 10_000, ..small() });
    let builder = BatchBuilder::new().compression(Compression::of(Codec::Zstd)).kv(10, b"k", &vec![0; DENSE]);
    put(&mut log, &checked(builder.kv(50, b"k", b"v").kv(20, b"k", b"v")));
    assert_eq!(found(log.offset_for_timestamp(11, off(3)).unwrap()), Some((50, 1)));
    assert_eq!(found(log.max_timestamp(off(3)).unwrap()), Some((50, 1)));
}

#[test]
fn io_07_a_damaged_batch_is_not_looked_into_and_answers_with_its_own_offset() {
    for codec in [Codec::None, Codec::Gzip] {
        let batch = compressed(codec, &[10, 50, 20, 40]);
        for bit in 8 * BATCH_HEADER_BYTES..8 * batch.total_size() {
            let (disk, mut log) = new_log(small());
            put(&mut log, &batch);
            disk.flip(&format!("{DIR}/00000000000000000000.log"), bit);
            assert_eq!(found(log.offset_for_timestamp(11, off(4)).unwrap()), Some((50, 0)), "{codec:?}, bit {bit}");
        }
    }
}

#[test]
fn io_15_a_batch_with_one_time_answers_with_the_log_start_in_the_middle_of_it() {
    let (_, mut log) = new_log(small());
    let mut batch = stamped(&[1, 2, 3]);
    batch.header.set_timestamp_type(TimestampType::LogAppendTime);
    batch.header.max_timestamp = 50;
    batch.header.crc = batch.header.crc_with(&batch.body);
    put(&mut log, &batch);
    assert_eq!(found(log.offset_for_timestamp(40, off(3)).unwrap()), Some((50, 0)));
    log.delete_records_to(off(2), off(3)).unwrap();
    assert_eq!(found(log.offset_for_timestamp(40, off(3)).unwrap()), Some((50, 2)), "never below the log start");
    assert_eq!(found(log.max_timestamp(off(3)).unwrap()), Some((50, 2)));
}

#[test]
fn l02_l06_l10_the_largest_timestamp() {
    let (_, mut log) = new_log(small());
    assert_eq!(found(log.max_timestamp(off(0)).unwrap()), None);
    put(&mut log, &stamped(&[-1, -1]));
    assert_eq!(found(log.max_timestamp(off(2)).unwrap()), Some((-1, 0)), "no timestamps");
    put(&mut log, &stamped(&[5, 9, 9]));
    put(&mut log, &stamped(&[9, 3]));
    assert_eq!(found(log.max_timestamp(off(7)).unwrap()), Some((9, 3)), "the first of equals");
    log.delete_records_to(off(5), off(7)).unwrap();
    assert_eq!(found(log.max_timestamp(off(7)).unwrap()), Some((9, 5)));
    log.delete_records_to(off(6), off(7)).unwrap();
    assert_eq!(found(log.max_timestamp(off(7)).unwrap()), Some((3, 6)), "inside the batch");
    log.delete_records_to(off(7), off(7)).unwrap();
    assert_eq!(found(log.max_timestamp(off(7)).unwrap()), None, "never below the log start");
}

/// Reads of the disk that it takes to find the largest timestamp below a bound.
fn reads_for_newest((disk, log): (&SimDisk, &mut Log<SimDisk>), bound: i64, expected: (i64, i64)) -> u64 {
    let before = disk.counters().reads;
    assert_eq!(found(log.max_timestamp(off(bound)).unwrap()), Some(expected));
    disk.counters().reads - before
}

#[test]
fn the_largest_timestamp_costs_a_few_reads_however_large_the_log() {
    let config = LogConfig { segment_bytes: 20_000, index_interval_bytes: 500, ..small() };
    let (disk, mut log) = new_log(config.clone());
    for time in 0..2000 {
        put(&mut log, &stamped(&[time]));
    }
    let end = 2000;
    log.sync().unwrap();
    let rising = reads_for_newest((&disk, &mut log), end, (end - 1, end - 1));
    assert!(rising < 20, "{rising} reads, with each record newer than the one before");
    log.close_clean().unwrap();
    let (mut log, _) = open(&disk, config, clean(end));
    let cold = reads_for_newest((&disk, &mut log), end, (end - 1, end - 1));
    assert!(cold < 60, "{cold} reads of some ten segments");
    let below = reads_for_newest((&disk, &mut log), end - 10, (end - 11, end - 11));
    assert!(below < 30, "{below} reads, with some records above the bound");
    log.delete_records_to(off(1), off(end)).unwrap();
    let later = reads_for_newest((&disk, &mut log), end, (end - 1, end - 1));
    assert!(later < 30, "{later} reads, with the oldest record deleted");
}

#[test]
fn the_largest_timestamp_costs_a_few_reads_where_the_record_that_had_it_was_deleted() {
    let (disk, mut log) = new_log(LogConfig { segment_bytes: 1 << 20, ..small() });
    put(&mut log, &stamped(&[5000, 0]));
    for time in 2..2000 {
        put(&mut log, &stamped(&[time]));
    }
    log.delete_records_to(off(1), off(2000)).unwrap();
    let reads = reads_for_newest((&disk, &mut log), 2000, (1999, 1999));
    assert!(reads < 60, "{reads} reads of 2,000 batches");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn l05_io_15_look_ups_by_time_agree_with_a_list(
        batches in proptest::collection::vec(proptest::collection::vec(-1i64..100, 1..6), 1..60),
        cut in 0i64..100, bound in 0i64..200, restart in any::<bool>(),
    ) {
        let (disk, mut log) = new_log(LogConfig { segment_bytes: 600, index_interval_bytes: 100, ..small() });
        for batch in &batches {
            put(&mut log, &stamped(batch));
        }
        log.sync().unwrap();
        let stamps: Vec<i64> = batches.concat();
        let end = stamps.len() as i64;
        let (start, bound) = (end * cut / 100, bound.min(end));
        log.delete_records_to(off(start), off(end)).unwrap();
        log.enforce_retention(at(1000), off(end)).unwrap();
        if restart {
            log.close_clean().unwrap();
            log = open(&disk, small(), clean(end)).0;
        }
        let listed = || (start..bound).map(|o| (stamps[o as usize], o));
        for time in -2..101 {
            let expected = listed().find(|(t, _)| *t >= time);
            prop_assert_eq!(found(log.offset_for_timestamp(time, off(bound)).unwrap()), expected, "time {}", time);
        }
        let expected = listed().rev().max_by_key(|(t, _)| *t);
        prop_assert_eq!(found(log.max_timestamp(off(bound)).unwrap()), expected);
    }
}
