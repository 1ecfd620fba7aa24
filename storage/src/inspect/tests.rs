//! A verification finds every damage, and finds nothing where there is none; what it says a start mends, a start mends.

use std::cell::Cell;
use std::sync::Arc;

use pyralog_protocol::batch::{Codec, Compression};
use pyralog_protocol::{LeaderEpoch, LogOffset};

use super::*;
use crate::sim::SimDisk;
use crate::tests::{DIR, JOURNAL, KEY, at, checked, contents, idempotent};
use crate::tests::{new_log, off, open, put, sized, small, unclean};
use crate::{Commit, Disk, Journal, Log, LogConfig, Replay, Round, prepare_file};

fn verify(disk: &SimDisk, clean: bool, point: i64) -> (Checked, Vec<Finding>) {
    let replay = Replay::read(disk).unwrap();
    let go_on = |_| true;
    let mut verifier = Verifier::new(disk, true, &go_on);
    verifier
        .partition(DIR, |meta| Known {
            clean,
            recovery_point: off(point),
            redo: replay.of(journal_key(DIR, meta).unwrap()),
        })
        .unwrap();
    (verifier.checked, verifier.findings)
}

/// A log of several segments with every kind of file; where it ends.
fn filled() -> (SimDisk, i64) {
    let (disk, mut log) = new_log(LogConfig { segment_bytes: 1000, ..small() });
    for n in 0..8 {
        put(&mut log, &idempotent(1, 0, 3 * n, 3));
        put(&mut log, &checked(sized(2, 300).compression(Compression::of(Codec::Zstd))));
        put(&mut log, &checked(sized(1, 200)));
    }
    (disk, log.close_clean().unwrap().0)
}

fn files(disk: &SimDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.starts_with(DIR) && path.len() > DIR.len()).collect()
}

#[test]
fn a_log_that_is_whole_has_no_findings() {
    let (disk, end) = filled();
    let before: Vec<Vec<u8>> = files(&disk).iter().map(|path| disk.bytes(path)).collect();
    let (counted, findings) = verify(&disk, true, end);
    assert_eq!(findings, []);
    assert_eq!((counted.partitions, counted.batches, counted.records as i64), (1, 24, end));
    assert!(counted.segments > 3 && counted.indexes == counted.segments && counted.snapshots > 0, "{counted:?}");
    let after: Vec<Vec<u8>> = files(&disk).iter().map(|path| disk.bytes(path)).collect();
    assert_eq!(before, after, "it changes nothing");
    assert_eq!(verify(&disk, false, end).1, [], "and it needs no marker");
}

/// Whatever flips: it is found, or it changes nothing that anybody is told. A batch is never served with other bytes.
#[test]
fn io_06_io_07_every_flipped_bit_of_a_needed_file_is_damage_and_of_a_derived_one_is_told() {
    let (disk, end) = filled();
    for path in files(&disk) {
        let kind = FileKind::of(&path);
        let bits = disk.bytes(&path).len() * 8;
        for bit in (0..bits).step_by(if kind == FileKind::Segment { 41 } else { 7 }) {
            let disk = disk.restart();
            disk.flip(&path, bit);
            let (_, findings) = verify(&disk, true, end);
            let worst = findings.iter().map(|finding| finding.weight).max();
            match kind {
                FileKind::Segment | FileKind::Meta => assert_eq!(worst, Some(Weight::Damage), "{path} bit {bit}"),
                FileKind::Index | FileKind::Snapshot => assert_eq!(worst, Some(Weight::Mended), "{path} bit {bit}"),
                FileKind::VlsnIndex | FileKind::Journal | FileKind::Other => unreachable!("{path}"),
            }
        }
    }
}

#[test]
fn io_06_files_that_are_gone_cut_or_swapped_are_found() {
    let (disk, end) = filled();
    let logs: Vec<String> = files(&disk).into_iter().filter(|path| FileKind::of(path) == FileKind::Segment).collect();
    let damage = |disk: &SimDisk| verify(disk, true, end).1.iter().any(|finding| finding.weight == Weight::Damage);
    for (n, path) in logs.iter().enumerate() {
        let gone = disk.restart();
        gone.remove_file(path).unwrap();
        assert!(damage(&gone), "{path} is gone");
        for keep in [0, 1, 60, 61, 200] {
            let cut = disk.restart();
            cut.overwrite(path, disk.bytes(path)[..keep].to_vec());
            assert!(damage(&cut), "{path} has {keep} bytes");
        }
        let swapped = disk.restart();
        let other = &logs[(n + 1) % logs.len()];
        swapped.overwrite(path, disk.bytes(other));
        swapped.overwrite(other, disk.bytes(path));
        assert!(damage(&swapped), "{path} and {other}");
    }
    let gone = disk.restart();
    gone.remove_file(&format!("{DIR}/partition.meta")).unwrap();
    assert!(damage(&gone));
}

/// Right checksums and wrong content: nothing but a comparison with the batches finds that.
#[test]
fn io_12_an_index_that_lies_is_damage_and_its_removal_the_cure() {
    let (disk, end) = filled();
    let mut indexes = files(&disk).into_iter().filter(|path| {
        let view = || view_index(&disk, path).unwrap().unwrap();
        FileKind::of(path) == FileKind::Index && view().entries.len() > 1
    });
    let path = indexes.next_back().unwrap();
    let base = view_index(&disk, &path).unwrap().unwrap().base.0;
    let file = disk.open(&path, crate::OpenMode::Read).unwrap();
    let sound = crate::index::Index::load(&file, crate::index::SPARSE, base).unwrap();
    let spoil: [fn(&mut crate::index::Index); 5] = [
        |index| index.entries[0].position = index.entries[1].position,
        |index| index.entries[0].relative_offset += 1,
        |index| index.entries[1].max_before += 1,
        |index| index.next_offset += 1,
        |index| index.covered -= 1,
    ];
    for (n, spoil) in spoil.iter().enumerate() {
        let disk = disk.restart();
        let mut index = sound.clone();
        spoil(&mut index);
        disk.overwrite(&path, index.encode(crate::index::SPARSE, base));
        let (_, findings) = verify(&disk, true, end);
        assert!(findings.iter().any(|f| f.weight == Weight::Damage && f.path == path), "{n}: {findings:?}");
        disk.remove_file(&path).unwrap();
        assert_eq!(verify(&disk, true, end).1, []);
    }
}

#[test]
fn io_04_a_torn_end_above_the_recovery_point_is_mended_and_below_it_is_damage() {
    let (disk, mut log) = new_log(small());
    for _ in 0..4 {
        put(&mut log, &checked(sized(1, 100)));
    }
    let point = log.sync().unwrap().0;
    put(&mut log, &checked(sized(1, 100)));
    drop(log);
    let path = format!("{DIR}/{:020}.log", 0);
    let bytes = disk.bytes(&path);
    for keep in [bytes.len() - 1, bytes.len() - 90, bytes.len() - 200] {
        let disk = disk.restart();
        disk.overwrite(&path, bytes[..keep].to_vec());
        let findings = verify(&disk, false, point).1;
        let torn = keep + 170 > bytes.len();
        let worst = findings.iter().map(|finding| finding.weight).max();
        assert_eq!(worst, Some(if torn { Weight::Mended } else { Weight::Damage }), "{keep}: {findings:?}");
        let opened = Log::open(Arc::new(disk.clone()), DIR, small(), unclean(point), at(1000));
        assert_eq!(opened.is_ok(), torn, "a start agrees");
        if torn {
            drop(opened);
            assert_eq!(verify(&disk, false, point).1, [], "and has mended it");
        }
    }
}

#[test]
fn what_the_journal_has_is_told_and_its_rounds_can_be_seen() {
    let (disk, mut log) = new_log(small());
    log.keep_for_journal(1 << 20);
    put(&mut log, &checked(sized(1, 100)));
    let point = log.sync().unwrap().0;
    let (mut journal, _) = Journal::open(Arc::new(disk.clone()), JOURNAL, true).unwrap();
    let slot = journal.wants_file().unwrap();
    journal.add(slot, prepare_file(&disk, slot, JOURNAL));
    for _ in 0..2 {
        put(&mut log, &checked(sized(2, 100)));
        let Commit::Journal(batches) = log.commit() else { panic!() };
        let mut round = Round::new(8192);
        round.push(KEY, &batches);
        round.note_flushed(KEY, off(point));
        journal.write(&mut round).unwrap();
        log.journaled(log.log_end()).unwrap();
    }
    let (journal, end) = ("journal/0.journal", log.log_end());
    drop(log);
    let mut seen = Vec::new();
    let view = view_journal(&disk, journal, &mut |round| {
        seen.push((round.round, round.entries.len()));
        true
    });
    assert_eq!((view.unwrap().sequence, seen), (Some(1), vec![(0, 2), (1, 2)]));
    // The segments lose what was never synced in them.
    let path = format!("{DIR}/{:020}.log", 0);
    let first = disk.bytes(&path).len() / 3;
    disk.overwrite(&path, disk.bytes(&path)[..first].to_vec());
    let (_, findings) = verify(&disk, false, point);
    assert!(findings.iter().all(|finding| finding.weight == Weight::Mended), "{findings:?}");
    assert!(
        findings.iter().any(|finding| finding.what.contains("2 batches (1..5) are in the journal")),
        "{findings:?}"
    );
    // A damaged header does not hide them (IO-06).
    for bit in [0, 50, 200, 300] {
        let disk = disk.restart();
        disk.flip(journal, bit);
        let replay = Replay::read(&disk).unwrap();
        assert!(replay.damage[0].contains("header"), "{:?}", replay.damage);
        assert_eq!(replay.of(KEY).unwrap().end(), end);
        let (_, replay) = Journal::open(Arc::new(disk), JOURNAL, false).unwrap();
        assert_eq!(replay.of(KEY).unwrap().end(), end, "nor from a start");
    }
    let blank = disk.restart();
    let mut bytes = blank.bytes(journal);
    bytes[..4096].fill(0);
    blank.overwrite(journal, bytes);
    assert_eq!(Replay::read(&blank).unwrap().of(KEY).unwrap().end(), end, "nor does one that is gone");
}

#[test]
fn it_can_be_stopped_and_says_how_far_it_is() {
    let (disk, end) = filled();
    let bytes = Cell::new(0);
    let go_on = |more| {
        bytes.set(bytes.get() + more);
        bytes.get() < 1000
    };
    let mut verifier = Verifier::new(&disk, false, &go_on);
    let known = |_: &_| Known { clean: true, recovery_point: off(end), redo: None };
    assert_eq!(verifier.partition(DIR, known).unwrap_err().kind(), std::io::ErrorKind::Interrupted);
    assert!((1000..2000).contains(&bytes.get()));
}

#[test]
fn views_show_what_is_there() {
    let (disk, end) = filled();
    let mut offsets = Vec::new();
    for path in files(&disk).iter().filter(|path| FileKind::of(path) == FileKind::Segment) {
        let ending = walk_segment(&disk, path, true, &mut |batch| {
            assert!(batch.sound && batch.bytes.len() == batch.header.total_size());
            offsets.extend(batch.header.base_offset..=batch.header.last_offset());
            true
        });
        assert_eq!(ending.unwrap(), None);
    }
    assert_eq!(offsets, (0..end).collect::<Vec<_>>());
    let snapshot = view_snapshot(&disk, &format!("{DIR}/{end:020}.snapshot")).unwrap();
    assert_eq!((snapshot.log_end, snapshot.producers.len()), (LogOffset(end), 1));
    assert_eq!(snapshot.epochs.len(), 1);
    let (mut log, _) = open(&disk, small(), unclean(end));
    put(&mut log, &checked(sized(1, 50)));
    assert!(view_index(&disk, &format!("{DIR}/{:020}.index", 0)).unwrap().is_some());
}

#[test]
fn io_03_a_folder_whose_creation_did_not_finish_is_mended_and_one_that_lost_its_meta_is_damaged() {
    let (disk, end) = filled();
    let meta = format!("{DIR}/{}", crate::META_FILE);
    disk.remove_file(&meta).unwrap();
    let weights = |disk: &SimDisk| verify(disk, true, end).1.iter().map(|finding| finding.weight).collect::<Vec<_>>();
    assert_eq!(weights(&disk), [Weight::Damage]);
    for path in files(&disk) {
        disk.remove_file(&path).unwrap();
    }
    assert_eq!(weights(&disk), [Weight::Mended]);
}

#[test]
fn io_06_what_the_journal_goes_on_behind_is_no_end_that_nobody_was_promised() {
    let (disk, mut log) = new_log(small());
    for _ in 0..2 {
        put(&mut log, &checked(sized(1, 100)));
    }
    // Acknowledged, and the process dies before that is written down.
    log.sync().unwrap();
    let (mut journal, _) = Journal::open(Arc::new(disk.clone()), JOURNAL, true).unwrap();
    let slot = journal.wants_file().unwrap();
    journal.add(slot, prepare_file(&disk, slot, JOURNAL));
    log.keep_for_journal(1 << 20);
    put(&mut log, &checked(sized(1, 100)));
    let Commit::Journal(batches) = log.commit() else { panic!() };
    let mut round = Round::new(8192);
    round.push(KEY, &batches);
    journal.write(&mut round).unwrap();
    log.journaled(off(3)).unwrap();
    drop(log);
    let path = format!("{DIR}/{:020}.log", 0);
    let batch = disk.bytes(&path).len() / 3;
    for (damaged, weight) in [(0, Weight::Damage), (1, Weight::Damage), (2, Weight::Mended)] {
        let disk = disk.restart();
        disk.flip(&path, 8 * (damaged * batch + batch - 10));
        let findings = verify(&disk, false, 0).1;
        assert_eq!(findings.iter().map(|finding| finding.weight).max(), Some(weight), "{findings:?}");
        let (replay, before) = (Replay::read(&disk).unwrap(), disk.bytes(&path));
        let opened = Log::open_with(Arc::new(disk.clone()), DIR, small(), unclean(0), replay.of(KEY), at(1000));
        assert_eq!(opened.is_ok(), weight == Weight::Mended, "a start agrees");
        assert!(weight == Weight::Mended || disk.bytes(&path) == before, "and cuts nothing");
    }
}

/// One epoch of a batch is damaged, which no checksum covers. What of it a start cuts is what it says is cut, and where it says
/// that something is lost, no start cuts anything.
#[test]
fn io_06_a_start_cuts_for_a_damaged_epoch_what_a_verification_says_and_nothing_below_the_recovery_point() {
    let (disk, mut log) = new_log(LogConfig { segment_bytes: 1000, ..small() });
    let mut places = Vec::new();
    for (number, epoch) in [2, 2, 2, 5, 5, 5, 5, 5, 8, 8, 8, 8].into_iter().enumerate() {
        if number == 5 {
            log.sync().unwrap();
            log.checkpoint().unwrap();
        }
        let base = log.append(&checked(sized(1, 250)), LeaderEpoch(epoch), at(1000)).unwrap().base_offset;
        let active = files(&disk).into_iter().rfind(|path| FileKind::of(path) == FileKind::Segment);
        let path = active.unwrap();
        let position = disk.bytes(&path).len() - checked(sized(1, 250)).total_size();
        places.push((base.0, path, position));
    }
    log.sync().unwrap();
    drop(log);
    assert!(places.last().unwrap().1 != places[0].1);
    let (mut cuts, mut refusals) = (0, 0);
    for (point, without) in (0..=12).flat_map(|point| [None, Some("snapshot"), Some("index")].map(|kind| (point, kind)))
    {
        for (base, path, position) in &places {
            for bit in [0, 1, 2, 3, 20] {
                let disk = disk.restart();
                disk.flip(path, 8 * (position + 15 - bit / 8) + bit % 8);
                for path in files(&disk).iter().filter(|path| without.is_some_and(|kind| path.ends_with(kind))) {
                    disk.remove_file(path).unwrap();
                }
                let (_, findings) = verify(&disk, false, point);
                // Of what lies below the recovery point a start asks no snapshot.
                let is_seen = |what: &str| !what.contains("it is served to nobody");
                let damaged = findings.iter().any(|f| f.weight == Weight::Damage && is_seen(&f.what));
                let says_cut = findings.iter().any(|finding| finding.what.contains("is cut at the next start"));
                let context = format!("point {point}, batch {base}, bit {bit}, without {without:?}: {findings:?}");
                match Log::open(Arc::new(disk.clone()), DIR, small(), unclean(point), at(1000)) {
                    Ok((log, report)) => {
                        assert_eq!(report.cut.is_some(), says_cut && !damaged, "{context}");
                        assert!(log.log_end() >= off(point), "{context}");
                        cuts += usize::from(report.cut.is_some());
                    }
                    Err(error) => {
                        assert!(damaged, "{error}, {context}");
                        refusals += 1;
                    }
                }
            }
        }
    }
    assert!(cuts > 100 && refusals > 100, "{cuts} {refusals}");
}

/// Above the recovery point it is cut, as any other damage there, because nobody would be served it. What the journal has of it is
/// put back.
#[test]
fn io_06_a_start_cuts_a_batch_of_which_a_snapshot_knows_another_epoch_and_a_verification_says_so() {
    let (disk, mut log) = new_log(small());
    log.keep_for_journal(1 << 20);
    for epoch in [0, 2] {
        log.append(&checked(sized(1, 100)), LeaderEpoch(epoch), at(1000)).unwrap();
    }
    log.checkpoint().unwrap();
    log.append(&checked(sized(1, 100)), LeaderEpoch(2), at(1000)).unwrap();
    let (mut journal, _) = Journal::open(Arc::new(disk.clone()), JOURNAL, true).unwrap();
    let slot = journal.wants_file().unwrap();
    journal.add(slot, prepare_file(&disk, slot, JOURNAL));
    let Commit::Journal(batches) = log.commit() else { panic!() };
    let mut round = Round::new(8192);
    round.push(KEY, &batches);
    journal.write(&mut round).unwrap();
    drop(log);
    let path = format!("{DIR}/{:020}.log", 0);
    let batch = disk.bytes(&path).len() / 3;
    // The epoch of the second one rises to 3, or falls to 0.
    for (bit, acknowledged) in [(0, true), (0, false), (1, true), (1, false)] {
        let disk = disk.restart();
        disk.flip(&path, 8 * (batch + 15) + bit);
        if !acknowledged {
            disk.remove_file("journal/0.journal").unwrap();
        }
        let findings = verify(&disk, false, 0).1;
        let says_cut = |f: &Finding| f.position == Some(batch as u64) && f.what.contains("is cut at the next start");
        assert!(findings.iter().any(says_cut), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.weight == Weight::Mended), "{findings:?}");
        let replay = Replay::read(&disk).unwrap();
        let opened = Log::open_with(Arc::new(disk.clone()), DIR, small(), unclean(0), replay.of(KEY), at(1000));
        let (mut log, report) = opened.unwrap();
        assert_eq!(report.cut.map(|cut| cut.at), Some(off(1)));
        let all = [(0, 0), (1, 1), (2, 2)];
        assert_eq!(contents(&mut log, 0), if acknowledged { &all[..] } else { &all[..1] });
        drop(log);
        assert_eq!(verify(&disk, false, 0).1, [], "and nothing is left of it");
    }
}
