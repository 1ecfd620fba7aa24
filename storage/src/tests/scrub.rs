//! Looking over sealed segments beside the log: IO-07.

use std::cell::Cell;
use std::io::ErrorKind;

use super::*;
use crate::Scrubbed;
use crate::inspect::Weight;

fn filled() -> (SimDisk, Log<SimDisk>) {
    let (disk, mut log) = new_log(small());
    for n in 0..8 {
        put(&mut log, &checked(sized(3, 600).producer(9, 0, 3 * n)));
    }
    log.sync().unwrap();
    (disk, log)
}

/// Looks over everything that is sealed.
fn scrub(log: &Log<SimDisk>) -> (Vec<i64>, Vec<Scrubbed>) {
    let (mut from, mut ends, mut seen) = (off(0), Vec::new(), Vec::new());
    while let Some(next) = log.next_to_scrub(from) {
        seen.push(next.run(&|_| true).unwrap());
        from = next.next();
        ends.push(from.0);
    }
    (ends, seen)
}

fn path(base: i64, kind: &str) -> String {
    format!("{DIR}/{base:020}.{kind}")
}

#[test]
fn sealed_segments_on_disk_are_looked_over_and_nothing_else() {
    let (_, mut log) = filled();
    let (ends, seen) = scrub(&log);
    assert_eq!(ends, [6, 12, 18], "not the active one");
    assert!(seen.iter().all(|one| one.damage.is_empty() && one.derived.is_empty() && one.bytes > 1000), "{seen:?}");
    for n in 8..12 {
        put(&mut log, &checked(sized(3, 600).producer(9, 0, 3 * n)));
    }
    assert_eq!(scrub(&log).0, [6, 12, 18, 24], "nor what is not synced");
    log.sync().unwrap();
    assert_eq!(scrub(&log).0, [6, 12, 18, 24, 30]);
    log.delete_records_to(off(13), off(30)).unwrap();
    log.enforce_retention(at(2000), off(30)).unwrap();
    assert_eq!(scrub(&log).0, [18, 24, 30], "the start may lie in the middle of one");
}

#[test]
fn io_07_every_flipped_bit_of_a_sealed_segment_is_found_with_its_offsets() {
    let (disk, log) = filled();
    for bit in (0..disk.bytes(&path(6, "log")).len() * 8).step_by(37) {
        disk.flip(&path(6, "log"), bit);
        let (_, seen) = scrub(&log);
        let (first, damaged, last) = (&seen[0], &seen[1], &seen[2]);
        assert!(first.damage.is_empty() && last.damage.is_empty(), "bit {bit}");
        let found = damaged.damage.first().unwrap_or_else(|| panic!("bit {bit} was not found"));
        assert_eq!(found.weight, Weight::Damage);
        let offsets = found.offsets.clone().unwrap();
        assert!(off(6) <= offsets.start && offsets.start < offsets.end && offsets.end <= off(12), "{offsets:?}");
        let said = log.next_to_scrub(off(6)).unwrap().error(found).to_string();
        assert!(said.contains("are damaged or missing") && said.contains(DIR), "{said}");
        disk.flip(&path(6, "log"), bit);
    }
}

#[test]
fn io_07_batches_that_changed_places_files_that_are_cut_or_gone_are_found() {
    let (disk, log) = filled();
    let sound = disk.bytes(&path(6, "log"));
    let (one, two) = sound.split_at(sound.len() / 2);
    let spoilt: [Vec<u8>; 4] = [[two, one].concat(), one.to_vec(), [one, one].concat(), vec![0; sound.len()]];
    for (n, bytes) in spoilt.into_iter().enumerate() {
        disk.overwrite(&path(6, "log"), bytes);
        assert!(!scrub(&log).1[1].damage.is_empty(), "{n}");
    }
    disk.remove_file(&path(6, "log")).unwrap();
    let gone = &scrub(&log).1[1].damage;
    assert_eq!((gone[0].what.as_str(), gone[0].offsets.clone()), ("the file is gone", Some(off(6)..off(12))));
}

#[test]
fn io_12_an_index_that_is_wrong_is_told_and_is_no_damage() {
    let (disk, log) = filled();
    disk.flip(&path(6, "index"), 200);
    let seen = &scrub(&log).1[1];
    assert!(seen.damage.is_empty() && seen.derived[0].path == path(6, "index"), "{seen:?}");
}

#[test]
fn what_retention_took_meanwhile_is_asked_for() {
    let (_, mut log) = filled();
    let (first, last) = (log.next_to_scrub(off(0)).unwrap(), log.next_to_scrub(off(12)).unwrap());
    assert!(log.still_has(&first) && log.still_has(&last));
    log.delete_records_to(off(12), off(24)).unwrap();
    log.enforce_retention(at(2000), off(24)).unwrap();
    assert_eq!(first.run(&|_| true).unwrap().damage[0].what, "the file is gone");
    assert!(!log.still_has(&first) && log.still_has(&last));
}

#[test]
fn whoever_is_told_of_the_bytes_may_end_it() {
    let (_, log) = filled();
    let scrub = log.next_to_scrub(off(0)).unwrap();
    let told = Cell::new(0);
    let bytes = scrub.run(&|more| told.replace(told.get() + more) < u64::MAX).unwrap().bytes;
    assert_eq!(told.get(), bytes);
    assert_eq!(scrub.run(&|_| false).unwrap_err().kind(), ErrorKind::Interrupted);
}
