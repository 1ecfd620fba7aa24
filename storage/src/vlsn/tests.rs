//! VLSN logs by example, and against a simple model under kills, power losses and retention.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyralog_protocol::batch::{BatchBuilder, BatchHeader, CheckedBatch, Codec, Compression, StoredBatch};
use pyralog_protocol::{Draw, LogOffset, Vlsn};

use super::{VlsnConflict, VlsnPlace};
use crate::log::AppendError;
use crate::segment::{Env, Trust};
use crate::sim::SimDisk;
use crate::tests::{DENSE, DIR, EPOCH, asked_seeds, at, checked, clean, new_disk, off, open, put, small, unclean};
use crate::{Appended, Disk, Log, LogConfig, OpenHint, Patience, ReadError};

const PARTITIONS: u64 = 3;

fn config() -> LogConfig {
    LogConfig { vlsn: true, ..small() }
}

fn of_codec(vlsns: &[u64], codec: Codec) -> CheckedBatch {
    let builder = BatchBuilder::new().compression(Compression::of(codec));
    let builder = vlsns.iter().fold(builder, |b, v| b.kv(1000, &Vlsn(*v).key(), format!("value {v}").as_bytes()));
    CheckedBatch { vlsns: vlsns.iter().copied().map(Vlsn).collect(), ..checked(builder) }
}

fn of(vlsns: &[u64]) -> CheckedBatch {
    of_codec(vlsns, Codec::None)
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    At(i64),
    Gap,
    Unwritten,
    Trimmed,
}

fn look(log: &mut Log<SimDisk>, vlsn: u64) -> Seen {
    let end = log.log_end();
    match log.locate_vlsn(Vlsn(vlsn), end, Patience::Waits).unwrap() {
        VlsnPlace::Trimmed => Seen::Trimmed,
        VlsnPlace::Unwritten => Seen::Unwritten,
        VlsnPlace::Batch(run) => {
            let bytes = run.slice.read().unwrap();
            let batch = StoredBatch::open(&bytes).unwrap();
            let record = batch.records().map(Result::unwrap).find(|r| r.vlsn == Vlsn(vlsn));
            record.map_or(Seen::Gap, |record| {
                assert_eq!(record.record.value, Some(format!("value {vlsn}").as_bytes()));
                Seen::At(record.offset.0)
            })
        }
    }
}

fn append(log: &mut Log<SimDisk>, vlsns: &[u64]) -> Result<Appended, AppendError> {
    log.append(&of(vlsns), EPOCH, at(1000))
}

fn conflicts(log: &mut Log<SimDisk>, vlsns: &[u64]) -> Vec<String> {
    let end = log.log_end();
    let AppendError::Vlsns(refused) = append(log, vlsns).unwrap_err() else { panic!("another error") };
    assert_eq!(log.log_end(), end, "nothing of it was written");
    refused.rejected.iter().map(|r| format!("{}: {}", r.index, r.conflict)).collect()
}

fn new_log() -> (SimDisk, Log<SimDisk>) {
    let disk = new_disk();
    let (log, _) = open(&disk, config(), clean(0));
    (disk, log)
}

#[test]
fn id_14_the_outcomes_of_a_look_up() {
    let (_, mut log) = new_log();
    assert_eq!(look(&mut log, 1), Seen::Unwritten);
    put(&mut log, &of(&[1, 4]));
    put(&mut log, &of(&[10, 16]));
    assert_eq!([1, 4, 10, 16].map(|v| look(&mut log, v)), [Seen::At(0), Seen::At(1), Seen::At(2), Seen::At(3)]);
    assert_eq!([7, 13].map(|v| look(&mut log, v)), [Seen::Gap, Seen::Gap]);
    assert_eq!(look(&mut log, 19), Seen::Unwritten);
    let early = log.locate_vlsn(Vlsn(10), off(3), Patience::Hurries);
    assert!(matches!(early, Ok(VlsnPlace::Unwritten)), "its batch ends above the bound");
    log.delete_records_to(off(3), off(4)).unwrap();
    assert_eq!(
        [1, 7, 10, 16, 19].map(|v| look(&mut log, v)),
        [Seen::Trimmed, Seen::Trimmed, Seen::Trimmed, Seen::At(3), Seen::Unwritten]
    );
    assert_eq!((log.vlsn_at(off(3)).unwrap(), log.vlsn_at(off(4)).unwrap()), (Some(Vlsn(16)), None));
}

#[test]
fn id_12_a_batch_that_is_there_is_answered_with_its_first_offsets_however_old() {
    let (disk, mut log) = new_log();
    for n in 0..200 {
        put(&mut log, &of(&[3 * n + 1]));
    }
    let again = append(&mut log, &[1, 4, 7]).unwrap();
    assert_eq!((again.base_offset, again.last_offset, again.duplicate), (off(0), off(2), true));
    let end = log.close_clean().unwrap();
    let (mut log, _) = open(&disk, config(), clean(end.0));
    let again = append(&mut log, &[304]).unwrap();
    assert_eq!((again.base_offset, again.duplicate, log.log_end()), (off(101), true, off(200)));
}

/// A batch that was recognised by its VLSNs leaves no trace in the log, and so its sequence is not known after a crash.
#[test]
fn a_batch_that_is_there_is_recognised_whatever_its_sequence() {
    let (disk, mut log) = new_log();
    let by = |sequence: i32, vlsns: &[u64]| {
        let builder = vlsns.iter().fold(BatchBuilder::new(), |b, v| b.kv(1000, &Vlsn(*v).key(), b"v"));
        let batch = checked(builder.producer(9, 0, sequence));
        CheckedBatch { vlsns: vlsns.iter().copied().map(Vlsn).collect(), ..batch }
    };
    put(&mut log, &of(&[1]));
    put(&mut log, &of(&[4]));
    for (sequence, vlsn) in [(0, 1), (1, 4)] {
        assert!(log.append(&by(sequence, &[vlsn]), EPOCH, at(1000)).unwrap().duplicate);
    }
    put(&mut log, &by(2, &[7]));
    let end = log.log_end();
    drop(log);
    let (mut log, _) = open(&disk, config(), unclean(end.0));
    for (sequence, vlsn) in [(0, 1), (1, 4), (2, 7)] {
        let again = log.append(&by(sequence, &[vlsn]), EPOCH, at(1000)).unwrap();
        assert!(again.duplicate, "sequence {sequence}");
    }
    assert!(!log.append(&by(3, &[10]), EPOCH, at(1000)).unwrap().duplicate);
    let gap = log.append(&by(7, &[13]), EPOCH, at(1000)).unwrap_err();
    assert!(matches!(gap, AppendError::Sequence(_)), "{gap}");
}

#[test]
fn id_17_refusals_name_each_record_with_the_numbers() {
    let (_, mut log) = new_log();
    put(&mut log, &of(&[1, 4]));
    put(&mut log, &of(&[10]));
    assert_eq!(
        conflicts(&mut log, &[7]),
        ["0: VLSN 7 steps back: the partition has gone on to 10, and VLSNs of a partition rise"]
    );
    assert_eq!(
        conflicts(&mut log, &[10, 13]),
        [
            "0: VLSN 10 is there already, at offset 2, but not every record of the batch is",
            "1: VLSN 13 is new, but the batch begins with VLSNs that are not above 10, the partition's last"
        ]
    );
    log.delete_records_to(off(2), off(3)).unwrap();
    assert_eq!(
        conflicts(&mut log, &[4]),
        ["0: VLSN 4 is not above 4, up to which records were removed: whether it was among them is not known"]
    );
}

/// They are all looked for in the same batch, which is far above: it is opened once.
#[test]
fn vlsns_that_fall_into_one_gap_are_refused_by_one_look_at_the_batch_behind_it() {
    let (disk, mut log) = new_log();
    put(&mut log, &of(&[1]));
    put(&mut log, &of(&[1_000_000]));
    let mut reads_for = |count: u64| {
        let vlsns: Vec<u64> = (0..count).map(|n| 4 + 3 * n).collect();
        let before = disk.counters().reads;
        assert!(conflicts(&mut log, &vlsns).iter().all(|text| text.contains("steps back")));
        disk.counters().reads - before
    };
    assert_eq!((reads_for(1), reads_for(2)), (reads_for(90), reads_for(1_000)));
}

#[test]
fn id_12_the_last_vlsn_survives_when_retention_takes_everything() {
    let (disk, mut log) = new_log();
    put(&mut log, &of(&[1, 4, 7]));
    log.sync().unwrap();
    log.set_config(LogConfig { retention_ms: Some(1), ..config() });
    log.enforce_retention(at(100_000), off(3)).unwrap();
    assert_eq!((log.log_start(), log.last_vlsn(), log.trimmed_vlsn()), (off(3), Some(Vlsn(7)), Some(Vlsn(7))));
    for path in disk.paths().iter().filter(|path| path.ends_with(".snapshot") || path.ends_with(".vlsn")) {
        disk.remove_file(path).unwrap();
    }
    let (mut log, _) = open(&disk.crash(1), config(), unclean(3));
    assert_eq!(log.last_vlsn(), Some(Vlsn(7)));
    assert!(append(&mut log, &[7]).is_err());
    assert_eq!(append(&mut log, &[10]).unwrap().base_offset, off(3));
}

#[test]
fn a_producer_goes_on_behind_a_batch_that_was_there() {
    let (_, mut log) = new_log();
    put(&mut log, &of(&[1, 4]));
    let by = |sequence, vlsns: &[u64]| {
        let builder = vlsns.iter().fold(BatchBuilder::new(), |b, v| b.kv(1000, &Vlsn(*v).key(), b"v"));
        let batch = checked(builder.producer(9, 0, sequence));
        CheckedBatch { vlsns: vlsns.iter().copied().map(Vlsn).collect(), ..batch }
    };
    assert!(log.append(&by(0, &[1, 4]), EPOCH, at(1000)).unwrap().duplicate);
    assert!(!log.append(&by(2, &[7]), EPOCH, at(1000)).unwrap().duplicate);
    assert!(matches!(log.append(&by(9, &[10]), EPOCH, at(1000)), Err(AppendError::Sequence(_))));
}

#[test]
fn every_codec_is_read_back() {
    let (_, mut log) = new_log();
    for (n, codec) in (0..).zip([Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]) {
        put(&mut log, &of_codec(&[6 * n + 1, 6 * n + 4], codec));
    }
    for n in 0..10 {
        assert_eq!(look(&mut log, 3 * n + 1), Seen::At(i64::try_from(n).unwrap()));
    }
}

/// What was taken under limits that were lowered since stays readable, and recovery opens it.
#[test]
fn stored_batches_are_opened_whatever_they_inflate_to() {
    let config = LogConfig { segment_bytes: 10_000, ..config() };
    let disk = new_disk();
    let (mut log, _) = open(&disk, config.clone(), clean(0));
    put(&mut log, &of_codec(&[1, 4], Codec::Gzip));
    log.sync().unwrap();
    let builder = BatchBuilder::new().compression(Compression::of(Codec::Zstd));
    let builder = builder.kv(1000, &Vlsn(7).key(), &vec![0; DENSE]).kv(1000, &Vlsn(10).key(), b"");
    put(&mut log, &CheckedBatch { vlsns: vec![Vlsn(7), Vlsn(10)], ..checked(builder) });
    log.sync().unwrap();
    let (mut log, _) = open(&disk.crash(1), config, unclean(2));
    assert_eq!((log.last_vlsn(), log.log_end()), (Some(Vlsn(10)), off(4)));
    assert!(append(&mut log, &[4, 7]).unwrap().duplicate);
    assert_eq!(log.vlsn_at(off(3)).unwrap(), Some(Vlsn(10)));
}

#[test]
fn io_12_indexes_scrambled_or_deleted_while_serving() {
    let (disk, mut log) = new_log();
    for n in 0..300 {
        put(&mut log, &of(&[3 * n + 1]));
    }
    log.sync().unwrap();
    for round in 0..3 {
        log.release_files();
        for path in disk.paths().into_iter().filter(|path| path.ends_with(".vlsn")) {
            let mut bytes = disk.bytes(&path);
            match round {
                0 => disk.remove_file(&path).unwrap(),
                1 => bytes.iter_mut().for_each(|byte| *byte ^= 0x55),
                _ => bytes.truncate(bytes.len() / 2),
            }
            if round > 0 {
                disk.overwrite(&path, bytes);
            }
        }
        for n in 0..300 {
            assert_eq!(look(&mut log, 3 * n + 1), Seen::At(i64::try_from(n).unwrap()));
        }
    }
}

/// What a log must answer, and what it may have lost.
struct Model {
    disk: SimDisk,
    log: Option<Log<SimDisk>>,
    trust: Trust,
    /// Offset by VLSN.
    written: BTreeMap<u64, i64>,
    sent: Vec<Vec<u64>>,
    last: Option<u64>,
    trimmed: Option<u64>,
    stable: i64,
    next: u64,
}

impl Model {
    fn new(trust: Trust) -> Self {
        let disk = new_disk();
        let mut model = Self {
            disk,
            log: None,
            trust,
            written: BTreeMap::new(),
            sent: Vec::new(),
            last: None,
            trimmed: None,
            stable: 0,
            next: 1,
        };
        model.open(clean(0));
        model
    }

    fn log(&mut self) -> &mut Log<SimDisk> {
        self.log.as_mut().unwrap()
    }

    fn open(&mut self, hint: OpenHint) {
        let disk = Arc::new(self.disk.clone());
        let env = Env::new(disk, DIR, config(), self.trust);
        self.log = Some(Log::open_trusting(env, hint, None, at(1000)).unwrap().0);
    }

    /// After a stop that lost what was not synced: the model forgets it as well.
    fn reopen(&mut self, hint: OpenHint) -> Result<(), String> {
        self.open(hint);
        let end = self.log().log_end().0;
        if end < self.stable {
            return Err(format!("the log ends at {end}, {} was on disk", self.stable));
        }
        self.written.retain(|_, offset| *offset < end);
        let kept = self.written.keys().next_back().copied();
        self.last = kept.max(self.trimmed);
        self.stable = end;
        self.next = self.last.map_or(1, |last| last + PARTITIONS);
        let last = self.log().last_vlsn().map(|vlsn| vlsn.0);
        if last == self.last { Ok(()) } else { Err(format!("the last VLSN is {last:?}, not {:?}", self.last)) }
    }

    fn append(&mut self, vlsns: &[u64]) -> Result<(), String> {
        let result = append(self.log(), vlsns);
        let end = self.log().log_end().0;
        let known: Vec<Option<i64>> = vlsns
            .iter()
            .map(|v| self.written.get(v).filter(|_| self.trimmed.is_none_or(|t| *v > t)).copied())
            .collect();
        let fits = self.last.is_none_or(|last| vlsns[0] > last);
        match (result, known.iter().all(Option::is_some)) {
            (Ok(done), _) if fits && !done.duplicate => {
                for (vlsn, offset) in vlsns.iter().zip(done.base_offset.0..) {
                    self.written.insert(*vlsn, offset);
                }
                self.last = vlsns.last().copied();
                self.next = self.last.unwrap() + PARTITIONS;
                self.sent.push(vlsns.to_vec());
                if done.last_offset.0 + 1 == end { Ok(()) } else { Err("the log end did not move".to_owned()) }
            }
            (Ok(done), true) if done.duplicate && Some(done.base_offset.0) == known[0] => Ok(()),
            (Err(AppendError::Vlsns(_)), false) if !fits => Ok(()),
            (result, all) => Err(format!("{vlsns:?} (all there: {all}, fits: {fits}): {result:?}")),
        }
    }

    fn compare(&mut self) -> Result<(), String> {
        for vlsn in (1..self.next + 2 * PARTITIONS).step_by(3) {
            let wanted = match self.written.get(&vlsn) {
                _ if self.trimmed.is_some_and(|trimmed| vlsn <= trimmed) => Seen::Trimmed,
                _ if self.last.is_none_or(|last| vlsn > last) => Seen::Unwritten,
                Some(offset) => Seen::At(*offset),
                None => Seen::Gap,
            };
            let seen = look(self.log(), vlsn);
            if seen != wanted {
                return Err(format!("VLSN {vlsn}: {seen:?}, not {wanted:?}"));
            }
        }
        Ok(())
    }

    fn step(&mut self, draw: &mut Draw) -> Result<(), String> {
        let roll = draw.next_u64() % 100;
        match roll {
            0..40 => {
                let mut vlsns = Vec::new();
                let mut next = self.next + PARTITIONS * u64::from(draw.next_u64().is_multiple_of(4));
                for _ in 0..=draw.next_u64() % 6 {
                    vlsns.push(next);
                    next += PARTITIONS * (1 + u64::from(draw.next_u64().is_multiple_of(8)));
                }
                self.append(&vlsns)
            }
            40..60 if !self.sent.is_empty() => {
                let which = usize::try_from(draw.next_u64()).unwrap() % self.sent.len();
                let mut vlsns = self.sent[which].clone();
                let cut = usize::try_from(draw.next_u64()).unwrap() % vlsns.len();
                vlsns.drain(..cut);
                if draw.next_u64().is_multiple_of(4) {
                    vlsns.push(vlsns.last().unwrap() + PARTITIONS);
                }
                self.append(&vlsns)
            }
            60..70 => {
                let end = self.log().sync().unwrap();
                self.stable = end.0;
                Ok(())
            }
            70..74 => {
                let (start, stable) = (self.log().log_start().0, self.stable);
                let span = u64::try_from(stable - start).unwrap();
                if span > 0 {
                    let to = start + i64::try_from(draw.next_u64() % (span + 1)).unwrap();
                    self.log().delete_records_to(off(to), LogOffset(stable)).unwrap();
                    self.trim(to);
                }
                Ok(())
            }
            74..77 => {
                let stable = self.stable;
                self.log().set_config(LogConfig { retention_bytes: Some(2_000), ..config() });
                self.log().enforce_retention(at(1000), LogOffset(stable)).unwrap();
                self.log().set_config(config());
                let start = self.log().log_start().0;
                self.trim(start);
                Ok(())
            }
            77..82 => {
                self.log().checkpoint().unwrap();
                self.log().release_files();
                Ok(())
            }
            82..86 => {
                let end = self.log.take().unwrap().close_clean().unwrap();
                self.stable = end.0;
                self.disk = self.disk.restart();
                self.reopen(clean(end.0))
            }
            86..89 => {
                drop(self.log.take());
                self.disk = self.disk.restart();
                let point = self.stable;
                self.reopen(unclean(point))
            }
            89..92 => {
                drop(self.log.take());
                self.disk = self.disk.crash(draw.next_u64());
                let point = self.stable;
                self.reopen(unclean(point))
            }
            _ => self.compare(),
        }
    }

    fn trim(&mut self, start: i64) {
        let below = self.written.iter().filter(|(_, offset)| **offset < start).map(|(vlsn, _)| *vlsn).max();
        self.trimmed = self.trimmed.max(below);
    }
}

fn run(seed: u64, steps: usize, trust: Trust) -> Result<(), String> {
    let mut draw = Draw::new(u128::from(seed));
    let mut model = Model::new(trust);
    for step in 0..steps {
        model.step(&mut draw).map_err(|what| format!("seed {seed}, step {step}: {what}"))?;
    }
    model.compare()
}

#[test]
fn a_log_agrees_with_a_model_under_crashes_and_retention() {
    for seed in 0..300 {
        run(seed, 150, Trust::default()).unwrap();
    }
}

#[test]
#[ignore = "as long as wanted: tools/schedules"]
fn many_schedules() {
    asked_seeds().for_each(|seed| run(seed, 150, Trust::default()).unwrap());
}

#[test]
fn planted_appends_that_believe_their_vlsns_are_caught() {
    assert!((0..20).any(|seed| run(seed, 150, Trust { vlsns: true, ..Trust::default() }).is_err()));
}

#[test]
fn planted_retention_that_forgets_its_vlsns_is_caught() {
    assert!((0..20).any(|seed| run(seed, 150, Trust { trimmed: true, ..Trust::default() }).is_err()));
}

#[test]
fn io_12_a_missing_index_of_vlsns_is_built_without_the_log() {
    let (disk, mut log) = new_log();
    for n in 0..40 {
        append(&mut log, &[2 * n, 2 * n + 1]).unwrap();
    }
    log.sync().unwrap();
    log.checkpoint().unwrap();
    log.release_files();
    let index = |disk: &SimDisk| disk.paths().into_iter().find(|path| path.ends_with("0000.vlsn"));
    disk.remove_file(&index(&disk).unwrap()).unwrap();
    let end = log.log_end();
    let look = |log: &mut Log<SimDisk>| log.locate_vlsn(Vlsn(3), end, Patience::Waits);
    let mut built = 0;
    while let Err(error) = log.without_building(look) {
        assert!(error.would_wait(), "{error}");
        let mut build = log.missing_index().unwrap();
        build.run();
        append(&mut log, &[100 + built]).unwrap();
        log.adopt_index(build);
        built += 1;
    }
    assert!(built > 0 && index(&disk).is_some());
    assert_eq!(super::tests::look(&mut log, 3), Seen::At(3));
}

/// The short look at its headers finds nothing, and clients try again and again while the log is locked.
#[test]
fn io_06_an_append_to_a_segment_whose_vlsns_cannot_be_read_reads_it_once() {
    let (disk, mut log) = new_log();
    for vlsn in 1..4 {
        append(&mut log, &[vlsn]).unwrap();
    }
    log.sync().unwrap();
    log.checkpoint().unwrap();
    log.release_files();
    let (segment, index) = (format!("{DIR}/{:020}.log", 0), format!("{DIR}/{:020}.vlsn", 0));
    let batch = disk.bytes(&segment).len() / 3;
    disk.flip(&segment, 8 * (2 * batch - 5));
    disk.remove_file(&index).unwrap();
    let mut refused = || {
        let before = disk.counters().reads;
        let error = append(&mut log, &[4]).unwrap_err();
        assert!(matches!(error, AppendError::Damaged { position, .. } if position == batch as u64), "{error}");
        disk.counters().reads - before
    };
    assert!(refused() > 0);
    assert_eq!(refused(), 0);
}

#[test]
fn a_conflict_tells_its_numbers() {
    let text = VlsnConflict::Backwards { vlsn: Vlsn(7), last: Vlsn(10) }.to_string();
    assert!(text.contains('7') && text.contains("10"));
}

/// The bytes at which the batches of a segment begin, and its path.
fn batches_of(disk: &SimDisk, segment: usize) -> (String, Vec<usize>) {
    let path = disk.paths().into_iter().filter(|path| path.ends_with(".log")).nth(segment).unwrap();
    let bytes = disk.bytes(&path);
    let (mut places, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        places.push(bytes.len() - rest.len());
        rest = &rest[BatchHeader::parse(rest).unwrap().total_size()..];
    }
    (path, places)
}

/// Eighty batches, each of one record, whose VLSNs have gaps between them. Nothing of them is in memory.
fn eighty() -> (SimDisk, Log<SimDisk>) {
    let (disk, mut log) = new_log();
    for n in 0..80 {
        put(&mut log, &of(&[3 * n + 1]));
    }
    log.sync().unwrap();
    log.checkpoint().unwrap();
    log.release_files();
    assert!(log.segment_count() > 4);
    (disk, log)
}

/// What lies before it, and in other segments, is found; what lies in it is told to be damaged, and where.
#[test]
fn io_06_damage_hides_no_more_of_a_vlsn_log_than_what_nobody_can_find_behind_it() {
    let segments = eighty().1.segment_count();
    for segment in 0..segments - 1 {
        let (path, places) = batches_of(&eighty().0, segment);
        for (hit, indexed) in [(places.len() - 1, true), (places.len() - 1, false), (3, false), (0, false)] {
            let (disk, mut log) = eighty();
            // The magic byte.
            disk.flip(&path, 8 * (places[hit] + 16));
            if !indexed {
                disk.remove_file(&path.replace(".log", ".vlsn")).unwrap();
            }
            let base: i64 = path[DIR.len() + 1..DIR.len() + 21].parse().unwrap();
            let lost = base + hit as i64..base + places.len() as i64;
            let end = log.log_end();
            for round in 0..2 {
                for n in (0..80).rev() {
                    let context = format!("{n} of {lost:?} in {path}, indexed {indexed}, round {round}");
                    let located = log.locate_vlsn(Vlsn(3 * n + 1), end, Patience::Waits);
                    match located {
                        Err(ReadError::Damaged { segment, position, .. }) => {
                            assert!(lost.contains(&(n as i64)), "{context}");
                            assert_eq!((segment, position), (off(base), places[hit] as u64), "{context}");
                        }
                        located => {
                            located.unwrap();
                            assert!(!lost.contains(&(n as i64)), "{context}");
                            assert_eq!(look(&mut log, 3 * n + 1), Seen::At(n as i64), "{context}");
                            // In front of the first one behind it, nobody can tell what there was.
                            if n as i64 != lost.end {
                                assert_eq!(look(&mut log, 3 * n), Seen::Gap, "{context}");
                            }
                        }
                    }
                }
            }
            // What is read on from before it ends there at the latest, unless all of the segment is wanted.
            for max_bytes in [places[hit] as u64 + 1, 700].into_iter().filter(|_| hit > 0) {
                let run = log.read_vlsns(Vlsn(3 * base as u64), max_bytes, end, Patience::Waits).unwrap().unwrap();
                assert!(run.first == off(base) && run.slice.len <= places[hit], "{:?} {max_bytes}", run.slice);
            }
        }
    }
}

/// It is looked for by somebody who does not hold up the log, once for all who come.
#[test]
fn io_06_io_12_how_far_a_damaged_segment_can_be_looked_up_is_found_once_without_the_log() {
    let (disk, mut log) = eighty();
    let (path, places) = batches_of(&disk, 1);
    disk.flip(&path, 8 * (places[2] + 16));
    disk.remove_file(&path.replace(".log", ".vlsn")).unwrap();
    let (first, end) = (batches_of(&disk, 0).1.len() as u64, log.log_end());
    let look = |log: &mut Log<SimDisk>, n: u64| {
        let vlsn = Vlsn(3 * n + 1);
        log.with_patience(Patience::Reads, |log| log.locate_vlsn(vlsn, end, Patience::Reads)).map(drop)
    };
    assert!(look(&mut log, first).unwrap_err().would_wait());
    let mut build = log.missing_index().unwrap();
    build.run();
    log.adopt_index(build);
    for _ in 0..3 {
        look(&mut log, first).unwrap();
        let error = look(&mut log, first + 2).unwrap_err();
        assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
        assert!(!log.misses_index());
    }
}

/// It is appended to by nobody but who sends again, and no reader has it looked for.
#[test]
fn io_06_id_12_what_is_there_beside_damage_is_still_known_after_files_were_let_go() {
    let (disk, mut log) = eighty();
    let (path, places) = batches_of(&disk, 1);
    disk.flip(&path, 8 * (places[2] + 16));
    disk.remove_file(&path.replace(".log", ".vlsn")).unwrap();
    let first = batches_of(&disk, 0).1.len() as u64;
    let lost = first + 2..first + places.len() as u64;
    for round in 0..2 {
        for n in (0..80).filter(|n| !lost.contains(n)) {
            let again = append(&mut log, &[3 * n + 1]).unwrap();
            assert_eq!((again.base_offset, again.duplicate), (off(n as i64), true), "{n}, round {round}");
        }
        log.release_files();
    }
}

/// The largest VLSN of what goes is not known then, but that the next segment has none that is smaller.
#[test]
fn io_06_retention_does_not_end_at_a_damaged_segment_that_has_lost_its_index() {
    let (disk, mut log) = eighty();
    let (path, places) = batches_of(&disk, 0);
    disk.flip(&path, 8 * (places[2] + 16));
    disk.remove_file(&path.replace(".log", ".vlsn")).unwrap();
    let kept = places.len() as u64;
    let end = log.log_end();
    log.delete_records_to(off(kept as i64), end).unwrap();
    assert_eq!(log.trimmed_vlsn(), Some(Vlsn(3 * kept)));
    assert_eq!(look(&mut log, 3 * kept + 1), Seen::At(kept as i64));
    assert_eq!(look(&mut log, 3 * kept - 2), Seen::Trimmed);
    assert!(append(&mut log, &[3 * kept - 2]).is_err());
}
