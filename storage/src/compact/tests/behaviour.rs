//! What a round does to batches, segments and look-ups, case by case.

use std::sync::Arc;

use pyralog_protocol::LeaderEpoch;
use pyralog_protocol::batch::{BatchBuilder, BatchHeader, Codec, Compression, NewRecord, TimestampType};

use super::{CHUNK, Seen, big_map, compact, compacted, read_all};
use crate::compact::{CompactError, CompactionConfig, KeyMap};
use crate::segment::file_name;
use crate::sim::{Faults, SimDisk, VOLUME_BYTES};
use crate::tests::{DENSE, DIR, at, checked, clean, new_log, off, open, put, unclean};
use crate::{Disk, Log, LogConfig, OpenError, OpenHint};

/// Bits of a marker's batch: transactional and control.
const MARKER: i16 = (1 << 4) | (1 << 5);

type Case = (SimDisk, Log<SimDisk>);

fn new() -> Case {
    let (disk, log) = new_log(compacted());
    disk.sync_dir("").unwrap();
    (disk, log)
}

/// A batch with these keys; a key in capitals has no value.
fn keys(keys: &[&str]) -> BatchBuilder {
    keys.iter().fold(BatchBuilder::new(), |builder, key| {
        let tombstone = key.chars().all(char::is_uppercase);
        let value = (!tombstone).then_some(&b"value"[..]);
        let key = key.to_lowercase();
        builder.record(NewRecord { timestamp: 500, key: Some(key.as_bytes()), value, headers: &[] })
    })
}

/// Seals what there is, by a batch that fills a segment, and makes all of it durable.
fn seal(log: &mut Log<SimDisk>) {
    let filler = checked(BatchBuilder::new().kv(500, b"filler", &[b'f'; 1200]));
    while log.segments.last().is_some_and(|active| active.base < log.log_end())
        && log.segments.last().unwrap().size < 1200
    {
        put(log, &filler);
    }
    put(log, &filler);
    log.sync().unwrap();
}

fn round(log: &mut Log<SimDisk>, ms: i64) -> crate::CompactionRound {
    compact(log, at(ms), &mut big_map()).expect("something to clean").unwrap()
}

/// What is left below an offset: batch headers, and keys with their offsets. A key without value is in capitals.
fn left(log: &mut Log<SimDisk>, below: i64) -> Vec<(BatchHeader, Vec<String>)> {
    let start = log.log_start();
    let mut found = read_all(log, start).unwrap();
    found.retain(|(header, _)| header.base_offset < below);
    found.into_iter().map(|(header, records)| (header, records.iter().map(named).collect())).collect()
}

fn named(record: &Seen) -> String {
    let key = String::from_utf8(record.key.clone().unwrap_or_default()).unwrap();
    let key = if record.value.is_none() { key.to_uppercase() } else { key };
    format!("{key}@{}", record.offset)
}

fn names(log: &mut Log<SimDisk>, below: i64) -> Vec<String> {
    left(log, below).into_iter().flat_map(|(_, names)| names).collect()
}

#[test]
fn io_12_a_segment_that_was_replaced_while_its_index_was_built_is_not_taken_for_damaged() {
    let (disk, mut log) = new();
    for _ in 0..3 {
        put(&mut log, &checked(keys(&["a", "b"])));
    }
    seal(&mut log);
    log.release_files();
    let index = format!("{DIR}/{}", file_name(off(0), "index"));
    disk.remove_file(&index).unwrap();
    let read = |log: &mut Log<SimDisk>| log.without_building(|log| log.read(off(0), 100, true, off(6)).map(drop));
    assert!(read(&mut log).unwrap_err().would_wait());
    let mut late = log.missing_index().unwrap();
    round(&mut log, 2000);
    late.run();
    log.adopt_index(late);
    // The one that compaction made is gone as well.
    disk.remove_file(&index).unwrap();
    assert!(read(&mut log).unwrap_err().would_wait());
    let mut again = log.missing_index().unwrap();
    again.run();
    log.adopt_index(again);
    read(&mut log).unwrap();
}

#[test]
fn of_each_key_the_newest_record_stays_at_its_offset() {
    let (_, mut log) = new();
    put(&mut log, &checked(keys(&["a", "b", "c"])));
    put(&mut log, &checked(keys(&["b"])));
    put(&mut log, &checked(keys(&["c", "d", "c"])));
    seal(&mut log);
    let done = round(&mut log, 0);
    assert_eq!(names(&mut log, 7), ["a@0", "b@3", "d@5", "c@6"]);
    let batches = left(&mut log, 7);
    let offsets: Vec<_> = batches.iter().map(|(h, _)| (h.base_offset, h.last_offset(), h.record_count)).collect();
    assert_eq!(offsets, [(0, 2, 1), (3, 3, 1), (4, 6, 2)], "IO-19: the batches end where they did");
    assert_eq!((done.replaced, done.segments, done.keys), (1, 1, 5));
    assert_eq!(compact(&mut log, at(0), &mut big_map()).map(drop), None, "there is nothing dirty now");
}

#[test]
fn a_batch_that_loses_nothing_stays_byte_for_byte_and_a_segment_is_not_written_again() {
    let (disk, mut log) = new();
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let key = format!("{codec}");
        put(&mut log, &checked(keys(&[key.as_str(), "x"]).compression(Compression::of(codec))));
    }
    seal(&mut log);
    put(&mut log, &checked(keys(&["y"])));
    let path = format!("{DIR}/00000000000000000000.log");
    let before = disk.bytes(&path);
    assert_eq!(round(&mut log, 0).segments, 1, "x went four times");
    let after = disk.bytes(&path);
    let last = crate::tests::headers(&after).last().unwrap().total_size();
    assert!(after.len() < before.len() && before.ends_with(&after[after.len() - last..]));
    assert_eq!(names(&mut log, 10), ["uncompressed@0", "gzip@2", "snappy@4", "lz4@6", "zstd@8", "x@9"]);
    let codecs: Vec<_> = left(&mut log, 10).iter().map(|(h, _)| h.codec().unwrap()).collect();
    assert_eq!(codecs, [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]);
    // A round that finds nothing to take leaves the file alone.
    seal(&mut log);
    let writes = disk.counters().writes;
    let mut only_new = log.begin_compaction(at(0), log.stable_end()).unwrap().unwrap();
    only_new.sources.truncate(1);
    let outcome = only_new.run(&mut big_map(), CHUNK, &mut |_| true, &mut |_| panic!("nothing to swap"));
    assert_eq!((outcome.unwrap().segments, disk.counters().writes), (0, writes));
}

#[test]
fn a_batch_is_compacted_whatever_it_inflates_to() {
    let (_, mut log) = new_log(LogConfig { segment_bytes: 10_000, ..compacted() });
    let builder = BatchBuilder::new().compression(Compression::of(Codec::Zstd)).kv(500, b"a", &vec![0; DENSE]);
    put(&mut log, &checked(builder.kv(500, b"a", b"v").kv(500, b"b", b"v")));
    log.roll(at(0).wall).unwrap();
    log.sync().unwrap();
    round(&mut log, 0);
    assert_eq!(names(&mut log, 3), ["a@1", "b@2"]);
}

#[test]
fn tombstones_stay_for_delete_retention_ms_after_the_round_that_saw_them() {
    let (_, mut log) = new();
    put(&mut log, &checked(keys(&["a", "b", "A", "c"]).compression(Compression::of(Codec::Lz4))));
    seal(&mut log);
    round(&mut log, 10_000);
    let batches = left(&mut log, 4);
    assert_eq!(batches[0].1, ["b@1", "A@2", "c@3"]);
    assert_eq!(batches[0].0.delete_horizon(), Some(11_000), "now and delete.retention.ms");
    assert_eq!((batches[0].0.max_timestamp, batches[0].0.codec()), (500, Ok(Codec::Lz4)));
    assert!(
        read_all(&mut log, off(0)).unwrap()[0].1.iter().all(|r| r.timestamp == 500),
        "timestamps are what they were"
    );
    for (ms, expected) in [(10_999, vec!["b@1", "A@2", "c@3"]), (11_000, vec!["b@1", "c@3"])] {
        seal(&mut log);
        round(&mut log, ms);
        assert_eq!(names(&mut log, 4), expected, "at {ms}");
    }
}

#[test]
fn io_20_records_without_key_from_before_the_policy_go() {
    let (_, mut log) = new_log(LogConfig { compaction: None, ..compacted() });
    let record = |key| NewRecord { timestamp: 1, key, value: Some(b"v"), headers: &[] };
    put(&mut log, &checked(BatchBuilder::new().record(record(None)).record(record(Some(b"")))));
    put(&mut log, &checked(BatchBuilder::new().record(record(None))));
    seal(&mut log);
    assert_eq!(log.begin_compaction(at(0), log.stable_end()).unwrap().map(drop), None, "not compacted");
    log.set_config(compacted());
    round(&mut log, 0);
    assert_eq!(names(&mut log, 3), ["@1"], "an empty key is a key");
    log.set_config(LogConfig { compaction: None, ..compacted() });
    put(&mut log, &checked(BatchBuilder::new().record(record(None))));
    assert_eq!(names(&mut log, 3), ["@1"], "IO-19: holes are legal under the other policy, too");
}

#[test]
fn f23_batches_that_producers_epochs_and_segments_need_stay_as_empty_ones() {
    let (disk, mut log) = new();
    for sequence in 0..8 {
        put(&mut log, &checked(keys(&["a"]).producer(9, 0, sequence)));
    }
    log.begin_epoch(LeaderEpoch(3));
    log.append(&checked(keys(&["a"])), LeaderEpoch(3), at(0)).unwrap();
    log.append(&checked(keys(&["a", "b"])), LeaderEpoch(3), at(0)).unwrap();
    let fill = checked(BatchBuilder::new().kv(500, b"b", &[b'f'; 1200]));
    log.append(&fill, LeaderEpoch(3), at(0)).unwrap();
    log.append(&checked(keys(&["a", "b", "c"])), LeaderEpoch(3), at(0)).unwrap();
    let fill = checked(BatchBuilder::new().kv(500, b"b", &[b'f'; 1300]));
    log.append(&fill, LeaderEpoch(3), at(0)).unwrap();
    log.append(&fill, LeaderEpoch(3), at(0)).unwrap();
    log.sync().unwrap();
    let borders: Vec<i64> = log.segments.iter().map(|s| s.base.0).collect();
    assert_eq!(borders, [0, 11, 15, 16]);
    round(&mut log, 0);
    let counts: Vec<_> =
        left(&mut log, 16).iter().map(|(h, _)| (h.base_offset, h.last_offset(), h.record_count)).collect();
    assert_eq!(
        counts,
        [
            (0, 0, 0),
            (3, 3, 0),
            (4, 4, 0),
            (5, 5, 0),
            (6, 6, 0),
            (7, 7, 0),
            (8, 8, 0),
            (9, 10, 0),
            (12, 14, 2),
            (15, 15, 1)
        ],
        "0 and 8 begin epochs, 3 to 7 are the last five, 10 ends its segment, nobody needs 1, 2 and 11"
    );
    // ID-02, ID-03: all of it can be found again without any snapshot.
    drop(log);
    for name in disk.list(DIR).unwrap().iter().filter(|name| name.ends_with(".snapshot")) {
        disk.remove_file(&format!("{DIR}/{name}")).unwrap();
    }
    let (mut log, _) = open(&disk, compacted(), unclean(0));
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(0)).unwrap().offset, off(8));
    for sequence in 3..8 {
        let again = log.append(&checked(keys(&["a"]).producer(9, 0, sequence)), LeaderEpoch(3), at(0)).unwrap();
        assert_eq!((again.base_offset, again.duplicate), (off(i64::from(sequence)), true));
    }
}

#[test]
fn tx_07_the_end_of_every_segment_can_be_reached() {
    for marker in [false, true] {
        let (_, mut log) = new();
        put(&mut log, &checked(keys(&["a", "b"])));
        put(&mut log, &checked(BatchBuilder::new().kv(500, b"a", &[b'x'; 1200])));
        let attributes = if marker { MARKER } else { 0 };
        put(&mut log, &checked(keys(&["a"]).producer(1, 0, 0).attributes(attributes)));
        let end = log.log_end();
        put(&mut log, &checked(BatchBuilder::new().kv(500, b"a", &[b'x'; 1400])));
        put(&mut log, &checked(BatchBuilder::new().kv(500, b"c", &[b'x'; 1400])));
        log.sync().unwrap();
        assert_eq!(log.segments.iter().map(|s| s.base.0).collect::<Vec<_>>(), [0, end.0, end.0 + 1]);
        round(&mut log, 0);
        let batches = left(&mut log, end.0);
        let (last, records) = batches.last().unwrap();
        assert_eq!((last.last_offset() + 1, records.len()), (end.0, usize::from(marker)));
        assert_eq!(last.is_control(), marker, "markers stay as they are");
        // A reader at any offset gets on to the end.
        for from in 0..log.log_end().0 {
            read_all(&mut log, off(from)).unwrap();
        }
    }
}

#[test]
fn timestamps_and_headers_of_what_stays_are_what_they_were() {
    let (_, mut log) = new();
    let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", None), (b"", Some(b"x"))];
    let record = |timestamp, key, headers| NewRecord { timestamp, key: Some(key), value: None, headers };
    let stamps = [5000, 1, i64::from(i32::MAX) * 1000];
    for stamp in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let builder = BatchBuilder::new().record(record(stamps[0], b"old", &[]));
        let builder = builder.record(record(stamps[1], b"1", headers)).record(record(stamps[2], b"2", &[]));
        let mut batch = checked(builder);
        batch.header.set_timestamp_type(stamp);
        batch.header.crc = batch.header.crc_with(&batch.body);
        put(&mut log, &batch);
    }
    seal(&mut log);
    round(&mut log, 0);
    let found = read_all(&mut log, off(0)).unwrap();
    let second = &found.iter().find(|(header, _)| header.base_offset == 3).unwrap().1;
    assert_eq!(second.iter().map(|r| r.timestamp).collect::<Vec<_>>(), [stamps[2]; 3], "the batch's, for all");
    assert_eq!(second[1].headers, [(b"h".to_vec(), None), (vec![], Some(b"x".to_vec()))]);
    assert_eq!(second[1].value, None);
}

#[test]
fn look_ups_by_time_find_records_that_are_there() {
    let (_, mut log) = new();
    let record = |timestamp, key| NewRecord { timestamp, key: Some(key), value: Some(b"v"), headers: &[] };
    put(&mut log, &checked(BatchBuilder::new().record(record(900, b"a")).record(record(100, b"b")).producer(1, 0, 0)));
    let mut appended = checked(BatchBuilder::new().record(record(1, b"c")).record(record(1, b"d")));
    appended.header.set_timestamp_type(TimestampType::LogAppendTime);
    appended.header.max_timestamp = 800;
    appended.header.crc = appended.header.crc_with(&appended.body);
    put(&mut log, &appended);
    for key in [b"a", b"b", b"c"] {
        put(&mut log, &checked(BatchBuilder::new().record(record(300, key))));
    }
    seal(&mut log);
    let bound = log.log_end();
    round(&mut log, 0);
    let found =
        |log: &mut Log<SimDisk>, at| log.offset_for_timestamp(at, bound).unwrap().map(|t| (t.offset.0, t.timestamp));
    assert_eq!(found(&mut log, 0), Some((3, 800)), "not 0 and 1 in an empty batch, not 2 that went");
    assert_eq!(found(&mut log, 801), None);
    assert_eq!(log.max_timestamp(bound).unwrap().map(|t| (t.offset, t.timestamp)), Some((off(3), 800)));
}

#[test]
fn the_largest_timestamp_costs_a_few_reads_where_compaction_took_the_record_that_had_it() {
    let (disk, mut log) = new_log(LogConfig { segment_bytes: 1 << 20, ..compacted() });
    for time in 0..1000 {
        put(&mut log, &checked(BatchBuilder::new().kv(time, format!("{time}").as_bytes(), b"v")));
    }
    // It stays as an empty batch, for the sake of its producer.
    let newest = NewRecord { timestamp: 2000, key: Some(b"x"), value: None, headers: &[] };
    put(&mut log, &checked(BatchBuilder::new().record(newest).producer(7, 0, 0)));
    for ms in [0, 2000] {
        log.roll(at(0).wall).unwrap();
        log.sync().unwrap();
        round(&mut log, ms);
        put(&mut log, &checked(keys(&["y"])));
    }
    let (before, bound) = (disk.counters().reads, log.log_end());
    let newest = log.max_timestamp(bound).unwrap().map(|t| (t.offset, t.timestamp));
    let reads = disk.counters().reads - before;
    assert_eq!(newest, Some((off(999), 999)));
    assert!(reads < 60, "{reads} reads of 1,000 batches");
}

#[test]
fn several_rounds_where_the_keys_do_not_fit() {
    let (_, mut log) = new();
    for n in 0..12 {
        let key = format!("{}", n % 6);
        put(&mut log, &checked(keys(&[key.as_str(), "x"])));
    }
    seal(&mut log);
    let until = log.segments.last().unwrap().base;
    let mut ends = vec![];
    while let Some(done) = compact(&mut log, at(0), &mut KeyMap::new(0, 0.1, [0, 0])) {
        ends.push(done.unwrap().clean_end);
    }
    assert!(ends.len() > 3 && ends.is_sorted_by(|a, b| a < b), "{ends:?}");
    assert_eq!(ends.last(), Some(&until));
    assert_eq!(names(&mut log, 24), ["0@12", "1@14", "2@16", "3@18", "4@20", "5@22", "x@23"]);
}

#[test]
fn small_segments_become_one() {
    let (disk, mut log) = new();
    for _ in 0..40 {
        put(&mut log, &checked(BatchBuilder::new().kv(1, b"same", &[b'v'; 700])));
    }
    seal(&mut log);
    let before = log.segment_count();
    for _ in 0..6 {
        seal(&mut log);
        round(&mut log, 0);
    }
    assert!(before > 10 && log.segment_count() <= 4, "{before} segments became {}", log.segment_count());
    let files = disk.list(DIR).unwrap().iter().filter(|name| name.ends_with(".log")).count();
    assert_eq!(files, log.segment_count());
}

#[test]
fn a_range_that_was_handed_out_stays_readable() {
    let (_, mut log) = new();
    put(&mut log, &checked(keys(&["a", "a", "b"])));
    seal(&mut log);
    let slice = log.read(off(0), 10_000, true, log.log_end()).unwrap().unwrap();
    let before = slice.read().unwrap();
    round(&mut log, 0);
    assert_eq!(slice.read().unwrap(), before);
    assert_eq!(names(&mut log, 3), ["a@1", "b@2"]);
}

#[test]
fn how_clean_a_log_is_survives_a_restart_and_its_loss_costs_a_round() {
    let (disk, mut log) = new();
    put(&mut log, &checked(keys(&["a", "a"])));
    seal(&mut log);
    let end = round(&mut log, 0).clean_end;
    let point = log.close_clean().unwrap();
    let (mut log, report) = open(&disk, compacted(), clean(point.0));
    assert!(report.clean);
    assert_eq!((log.compact.first_dirty, log.begin_compaction(at(0), point).unwrap().map(drop)), (end, None));
    drop(log);
    let (log, _) = open(&disk, compacted(), unclean(0));
    assert_eq!(log.compact.first_dirty, end);
    drop(log);
    for name in disk.list(DIR).unwrap().iter().filter(|name| name.ends_with(".snapshot")) {
        disk.remove_file(&format!("{DIR}/{name}")).unwrap();
    }
    let (mut log, _) = open(&disk, compacted(), unclean(0));
    assert_eq!(log.compact.first_dirty, off(0));
    assert_eq!(round(&mut log, 0).clean_end, end);
}

#[test]
fn only_what_is_old_enough_is_cleaned_and_a_log_is_due_by_ratio_or_by_lag() {
    let compaction = CompactionConfig {
        min_lag_ms: 100,
        max_lag_ms: 1000,
        min_dirty_millionths: 500_000,
        ..CompactionConfig::default()
    };
    let (_, mut log) = new_log(LogConfig { compaction: Some(compaction), ..compacted() });
    let put_at = |log: &mut Log<SimDisk>, ms: i64| {
        put(log, &checked(BatchBuilder::new().kv(ms, b"k", &[b'v'; 1400])));
        log.sync().unwrap();
    };
    for ms in [1000, 1010, 1020] {
        put_at(&mut log, ms);
    }
    let look = |log: &mut Log<SimDisk>, ms: i64| {
        let found = log.cleanable(at(ms), log.stable_end()).unwrap().unwrap();
        (found.clean_bytes / 1400, found.dirty_bytes / 1400, found.overdue_ms, found.due)
    };
    assert_eq!(look(&mut log, 1099), (0, 0, 0, false), "min.compaction.lag.ms");
    assert_eq!(look(&mut log, 1100), (0, 1, 0, true));
    assert_eq!(look(&mut log, 5000), (0, 2, 3000, true), "never the active segment");
    assert_eq!(log.cleanable(at(5000), off(1)).unwrap().unwrap().dirty_bytes / 1400, 1, "never above the bound");
    round(&mut log, 1110);
    assert_eq!(log.compact.first_dirty, off(2));
    log.set_config(LogConfig {
        compaction: Some(CompactionConfig { min_dirty_millionths: 999_999, ..compaction }),
        ..compacted()
    });
    put_at(&mut log, 1030);
    assert_eq!(look(&mut log, 2000), (1, 1, 0, false), "half of it is dirty");
    assert_eq!(look(&mut log, 2021), (1, 1, 1, true), "max.compaction.lag.ms");
    assert!(!log.seal_for_compaction(at(2030)).unwrap());
    assert!(log.seal_for_compaction(at(2031)).unwrap(), "the active one has to be cleaned now");
    log.sync().unwrap();
    assert_eq!(look(&mut log, 2031), (1, 2, 11, true));
}

#[test]
fn what_has_no_timestamps_is_as_old_as_its_file_also_after_a_restart() {
    let compaction = CompactionConfig { min_lag_ms: 3000, ..CompactionConfig::default() };
    let config = LogConfig { compaction: Some(compaction), ..compacted() };
    let (disk, mut log) = new_log(config.clone());
    for _ in 0..3 {
        put(&mut log, &checked(BatchBuilder::new().kv(-1, b"k", &[b'v'; 1400])));
    }
    let dirty = |log: &mut Log<SimDisk>, ms: i64| {
        let found = log.cleanable(at(ms), log.stable_end()).unwrap().unwrap();
        found.dirty_bytes / 1400
    };
    let point = log.close_clean().unwrap();
    for (base, written) in [(0, 500), (1, 700)] {
        disk.set_modified(&format!("{DIR}/{}", file_name(off(base), "log")), at(written).wall);
    }
    // It is opened at 1000.
    let (mut log, _) = open(&disk, config, clean(point.0));
    assert_eq!([3499, 3500, 3699, 3700].map(|ms| dirty(&mut log, ms)), [0, 1, 1, 2]);
}

#[test]
fn old_records_that_trickle_in_do_not_have_all_of_the_log_read_for_each_of_them() {
    const HOUR: i64 = 3_600_000;
    let compaction = CompactionConfig { max_lag_ms: 1000 * 3600, ..CompactionConfig::default() };
    let (_, mut log) = new_log(LogConfig { compaction: Some(compaction), segment_bytes: 1 << 20, ..compacted() });
    let mut sealed = Vec::new();
    for second in (2..1300).step_by(2) {
        let now = at(2 * HOUR + second * 1000);
        log.append(&checked(BatchBuilder::new().kv(0, b"k", b"an old one")), crate::tests::EPOCH, now).unwrap();
        log.sync().unwrap();
        if log.seal_for_compaction(at(now.wall.0 + 1500)).unwrap() {
            sealed.push(second);
        }
    }
    assert!(sealed.len() <= 3 && sealed.windows(2).all(|pair| pair[1] - pair[0] > 600), "{sealed:?}");
}

/// Several segments with records to take.
fn filled() -> Case {
    let (disk, mut log) = new();
    for n in 0..3 {
        put(&mut log, &checked(keys(&["a", "a", "b"])));
        put(&mut log, &checked(BatchBuilder::new().kv(n, b"f", &[b'f'; 1000])));
    }
    seal(&mut log);
    (disk, log)
}

#[test]
fn a_round_that_fails_leaves_the_log_as_it_was() {
    let (disk, mut log) = filled();
    let (before, end) = (log.size_bytes(), log.log_end().0);
    let fresh = names(&mut log, end);
    let counters = disk.counters();
    let whole = round(&mut log, 0);
    assert!(whole.replaced > 1);
    let (writes, syncs) = (disk.counters().writes - counters.writes, disk.counters().syncs - counters.syncs);
    let cleaned = names(&mut log, end);
    assert!(writes > 5 && syncs > 5 && log.size_bytes() < before);
    for (kind, count) in [("write", writes), ("sync", syncs), ("full", writes)] {
        for nth in 1..=count {
            let (disk, mut log) = filled();
            let now = disk.counters();
            let fail_write = (kind == "write").then_some(now.writes + nth);
            let fail_sync = (kind == "sync").then_some(now.syncs + nth);
            let full_from = (kind == "full").then_some(now.changes + nth);
            disk.set_faults(Faults { fail_write, fail_sync, full_from, ..Faults::default() });
            let outcome = compact(&mut log, at(0), &mut big_map()).unwrap();
            disk.set_faults(Faults::default());
            let context = format!("{kind} {nth}: {outcome:?}");
            if kind == "full" {
                assert!(log.offline().is_none() && !log.is_uncleanable(), "{context}: a full disk passes");
                assert!(matches!(outcome, Ok(_) | Err(CompactError::DiskFull(_))), "{context}");
                if outcome.is_err() {
                    let again = compact(&mut log, at(0), &mut big_map()).unwrap();
                    assert!(again.is_ok(), "{context}, then {again:?}");
                    assert_eq!(names(&mut log, end), cleaned, "{context}");
                }
                continue;
            }
            let told = log.offline().is_some() || log.is_uncleanable() || outcome.is_ok();
            assert!(told, "{context}");
            if log.offline().is_none() {
                let seen = names(&mut log, end);
                assert!(seen == fresh || seen == cleaned || seen.len() < fresh.len(), "{context}: {seen:?}");
                assert_eq!(log.begin_compaction(at(0), log.stable_end()).unwrap().map(drop), None, "{context}");
                put(&mut log, &checked(keys(&["z"])));
                log.sync().unwrap();
            }
            // The next start makes the best of it, and then all of it can be cleaned.
            let (mut log, _) = open(&disk.crash(nth), compacted(), unclean(end));
            if let Some(again) = compact(&mut log, at(0), &mut big_map()) {
                assert!(again.is_ok(), "{context}, then {again:?}");
            }
            assert_eq!(names(&mut log, end), cleaned, "{context}");
        }
    }
}

#[test]
fn op_12_a_round_for_which_there_was_no_descriptor_is_tried_again() {
    let (_, mut log) = filled();
    let end = log.log_end().0;
    round(&mut log, 0);
    let cleaned = names(&mut log, end);
    let mut failed = 0;
    loop {
        let (disk, mut log) = filled();
        disk.set_faults(Faults { no_open_from: Some(disk.counters().opens + failed + 1), ..Faults::default() });
        let outcome = compact(&mut log, at(0), &mut big_map()).unwrap();
        disk.set_faults(Faults::default());
        // Nobody needs the last file: a snapshot.
        if outcome.is_ok() {
            break;
        }
        failed += 1;
        let context = format!("opening {failed}: {outcome:?}");
        assert!(matches!(outcome, Err(CompactError::Io { .. })), "{context}");
        assert!(log.offline().is_none() && !log.is_uncleanable(), "{context}");
        round(&mut log, 0);
        assert_eq!(names(&mut log, end), cleaned, "{context}");
    }
    assert!(failed > 8, "{failed} openings");
}

#[test]
fn a_round_for_which_there_is_no_room_reads_nothing() {
    let (disk, mut log) = new();
    put(&mut log, &checked(keys(&["a", "a", "b"])));
    seal(&mut log);
    let used = VOLUME_BYTES - disk.space().unwrap().usable_bytes;
    disk.set_faults(Faults { capacity: Some(used + 100), ..Faults::default() });
    let mut plan = log.begin_compaction(at(0), log.stable_end()).unwrap().unwrap();
    let before = disk.counters().reads;
    let outcome = plan.run(&mut big_map(), CHUNK, &mut |_| true, &mut |_| panic!("nothing to swap"));
    log.end_compaction(&outcome);
    assert!(matches!(outcome, Err(CompactError::DiskFull(_))), "{outcome:?}");
    assert_eq!(disk.counters().reads, before);
    disk.set_faults(Faults::default());
    round(&mut log, 0);
    assert_eq!(names(&mut log, 3), ["a@1", "b@2"]);
}

#[test]
fn a_round_is_stopped_while_it_copies_what_stays() {
    let (disk, mut log) = new_log(LogConfig { segment_bytes: 100_000, ..compacted() });
    for n in 0..100 {
        put(&mut log, &checked(BatchBuilder::new().kv(0, format!("{n}").as_bytes(), &[b'v'; 500])));
    }
    put(&mut log, &checked(keys(&["a", "a"])));
    log.roll(at(0).wall).unwrap();
    log.sync().unwrap();
    let mut plan = log.begin_compaction(at(0), log.stable_end()).unwrap().unwrap();
    let cleaned = format!("{DIR}/{}", file_name(off(0), "cleaned"));
    let mut begun = 0;
    let mut pace = |_| {
        begun = if disk.paths().contains(&cleaned) { disk.bytes(&cleaned).len() } else { 0 };
        begun == 0
    };
    let outcome = plan.run(&mut big_map(), CHUNK, &mut pace, &mut |_| panic!("nothing to swap"));
    log.end_compaction(&outcome);
    assert!(matches!(outcome, Err(CompactError::Stopped)), "{outcome:?}");
    assert_eq!(begun, CHUNK);
}

#[test]
fn what_changes_in_between_stops_a_round_and_nothing_else() {
    type Change = fn(&mut Log<SimDisk>);
    let cases: [(&str, Change); 3] = [
        ("retention", |log| {
            log.delete_records_to(off(8), off(8)).unwrap();
            log.enforce_retention(at(0), off(8)).unwrap();
        }),
        ("policy", |log| log.set_config(LogConfig { compaction: None, ..compacted() })),
        ("stop", |_| {}),
    ];
    for (what, change) in cases {
        let (disk, mut log) = new();
        for _ in 0..4 {
            put(&mut log, &checked(keys(&["a", "a", "b"])));
            put(&mut log, &checked(BatchBuilder::new().kv(0, b"f", &[b'f'; 1000])));
        }
        seal(&mut log);
        let mut plan = log.begin_compaction(at(0), log.stable_end()).unwrap().unwrap();
        change(&mut log);
        let before = (log.log_start(), log.segment_count());
        let outcome = plan.run(&mut big_map(), CHUNK, &mut |_| what != "stop", &mut |new| log.swap_in(new));
        log.end_compaction(&outcome);
        assert!(matches!(outcome, Err(CompactError::Changed(_) | CompactError::Stopped)), "{what}: {outcome:?}");
        assert_eq!((log.log_start(), log.segment_count(), log.is_uncleanable()), (before.0, before.1, false), "{what}");
        assert!(!disk.paths().iter().any(|path| crate::compact::swap::is_ours(path)), "{what}");
        let start = log.log_start();
        read_all(&mut log, start).unwrap();
    }
}

#[test]
fn damage_is_never_copied() {
    let (disk, mut log) = new();
    put(&mut log, &checked(keys(&["a", "a", "b"])));
    seal(&mut log);
    let path = format!("{DIR}/00000000000000000000.log");
    let mut bytes = disk.bytes(&path);
    bytes[70] ^= 1;
    disk.overwrite(&path, bytes.clone());
    let outcome = compact(&mut log, at(0), &mut big_map()).unwrap();
    assert!(matches!(outcome, Err(CompactError::Damaged { position: 0, what: "checksum", .. })), "{outcome:?}");
    assert!(log.is_uncleanable() && log.cleanable(at(0), log.stable_end()).unwrap().is_none());
    assert_eq!(disk.bytes(&path), bytes);
}

/// Takes a batch out of a segment's file, as if it had never been written.
fn cut_out(disk: &SimDisk, base: i64, batch: usize) {
    let path = format!("{DIR}/{base:020}.log");
    let bytes = disk.bytes(&path);
    let sizes: Vec<usize> = crate::tests::headers(&bytes).iter().map(BatchHeader::total_size).collect();
    let from: usize = sizes[..batch].iter().sum();
    disk.overwrite(&path, [&bytes[..from], &bytes[from + sizes[batch]..]].concat());
}

#[test]
fn io_19_a_hole_is_legal_where_compaction_was_and_damage_elsewhere() {
    let (disk, mut log) = new();
    for _ in 0..2 {
        for _ in 0..3 {
            put(&mut log, &checked(keys(&["a"])));
        }
        put(&mut log, &checked(BatchBuilder::new().kv(0, b"f", &[b'f'; 1200])));
    }
    put(&mut log, &checked(keys(&["a", "b"])));
    put(&mut log, &checked(keys(&["c"])));
    put(&mut log, &checked(keys(&["d"])));
    log.sync().unwrap();
    assert_eq!(log.segments.iter().map(|s| s.base.0).collect::<Vec<_>>(), [0, 4, 8]);
    // Only the first segment is cleaned.
    let mut plan = log.begin_compaction(at(0), off(4)).unwrap().unwrap();
    let outcome = plan.run(&mut big_map(), CHUNK, &mut |_| true, &mut |new| log.swap_in(new));
    log.end_compaction(&outcome);
    assert_eq!((names(&mut log, 4), log.meta.cleaned_end), (vec!["a@2".to_owned(), "f@3".to_owned()], off(4)));
    drop(log);
    let reopen = |disk: &SimDisk, point: i64| {
        let hint = OpenHint { recovery_point: off(point), ..OpenHint::default() };
        Log::open(Arc::new(disk.clone()), DIR, compacted(), hint, at(0))
    };
    // However old the recovery point is, the hole is none.
    for point in [0, 1, 4, 12] {
        let (mut log, report) = reopen(&disk.crash(0), point).unwrap();
        assert_eq!((report.cut, log.log_end(), log.log_start()), (None, off(12), off(0)), "{point}");
        assert_eq!(names(&mut log, 4), ["a@2", "f@3"]);
        assert!(log.read(off(0), 1000, true, off(12)).unwrap().is_some());
    }
    // The same hole in the next segment is damage: cut above the recovery point, refused below.
    let survived = disk.crash(0);
    cut_out(&survived, 4, 1);
    let (log, report) = reopen(&survived, 4).unwrap();
    assert_eq!((log.log_end(), report.cut.unwrap().what), (off(5), "offset out of order"));
    let survived = disk.crash(0);
    cut_out(&survived, 4, 1);
    assert!(matches!(reopen(&survived, 6), Err(OpenError::Corrupt { range, .. }) if range == (off(5)..off(6))));
    // A segment that ends early is, too, and one that is met while serving.
    let (mut log, _) = reopen(&disk, 12).unwrap();
    cut_out(&disk, 8, 1);
    assert!(log.read(off(10), 1000, true, off(12)).is_err());
}

#[test]
fn a_swap_that_lost_its_segment_is_refused_and_nothing_is_removed() {
    let (disk, mut log) = new();
    for _ in 0..4 {
        put(&mut log, &checked(BatchBuilder::new().kv(0, b"k", &[b'v'; 1300])));
    }
    log.sync().unwrap();
    drop(log);
    let swap =
        crate::compact::swap::Swap { topic_id: pyralog_protocol::TopicId([7; 16]), base: off(0), end: off(3), size: 1 };
    let write = |name: &str, bytes: &[u8]| {
        let file = disk.open(&format!("{DIR}/{name}"), crate::OpenMode::Create).unwrap();
        crate::DiskFile::write_all_at(&file, [bytes, &[]], 0).unwrap();
    };
    write(&swap.name(), &swap.encode());
    let error = Log::open(Arc::new(disk.clone()), DIR, compacted(), unclean(4), at(0)).map(drop).unwrap_err();
    assert!(
        error.to_string().ends_with("records 0..3 are damaged or missing: a cleaned segment is missing"),
        "{error}"
    );
    // Another log's, or one that was never synced, is none.
    for bytes in
        [crate::compact::swap::Swap { topic_id: pyralog_protocol::TopicId([8; 16]), ..swap }.encode(), vec![0; 9]]
    {
        write(&swap.name(), &bytes);
        write("00000000000000000000.cleaned", b"x");
        let (log, _) = open(&disk, compacted(), unclean(4));
        assert_eq!((log.segment_count(), log.log_end()), (4, off(4)));
        assert!(!disk.paths().iter().any(|path| crate::compact::swap::is_ours(path)));
    }
}

#[test]
fn the_swap_marker_byte_for_byte() {
    let swap = crate::compact::swap::Swap {
        topic_id: pyralog_protocol::TopicId([7; 16]),
        base: off(3),
        end: off(259),
        size: 77,
    };
    assert_eq!(swap.name(), "00000000000000000003-00000000000000000259.swap");
    let hex: String = swap.encode().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        "504c535700010000000000280707070707070707070707070707070700000000000000030000000000000103000000000000004d9dec6e29"
    );
    assert_eq!(crate::compact::swap::Swap::decode("x", &swap.encode()).unwrap(), swap);
}
