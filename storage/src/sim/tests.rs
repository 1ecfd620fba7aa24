//! What the simulated disk does to what was not synced, and never to what was. A disk that is kinder than it says proves
//! nothing about whoever runs on it.

use std::collections::BTreeSet;

use super::*;

const LOSSES: u64 = 4000;

fn write(disk: &SimDisk, path: &str, mode: OpenMode, position: u64, bytes: &[u8]) -> SimFile {
    let file = disk.open(path, mode).unwrap();
    file.write_all_at([bytes, &[]], position).unwrap();
    file
}

fn read(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.exists(path).unwrap().then(|| disk.bytes(path))
}

/// What is found at a path after many power losses.
fn outcomes(disk: &SimDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..LOSSES).map(|seed| read(&disk.crash(seed), path)).collect()
}

/// A disk with a durable file `f` of these bytes.
fn with_file(bytes: &[u8]) -> (SimDisk, SimFile) {
    let disk = SimDisk::new();
    let file = write(&disk, "f", OpenMode::Create, 0, bytes);
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    (disk, file)
}

#[test]
fn what_was_synced_survives_and_the_rest_in_every_combination_of_sectors() {
    let (disk, file) = with_file(&[1; 1024]);
    assert_eq!(outcomes(&disk, "f").len(), 1);
    file.write_all_at([&[2; 1024], &[]], 0).unwrap();
    let halves: BTreeSet<_> = outcomes(&disk, "f")
        .into_iter()
        .flatten()
        .map(|bytes| (bytes[0], bytes[511], bytes[512], bytes[1023]))
        .collect();
    for whole in [(1, 1, 1, 1), (2, 2, 2, 2), (2, 2, 1, 1), (1, 1, 2, 2)] {
        assert!(halves.contains(&whole), "{whole:?} of {halves:?}");
    }
    assert!(halves.contains(&(2, 1, 2, 2)), "a sector may tear too");
    assert!(halves.iter().all(|h| !matches!(h, (1, 2, ..) | (.., 1, 2))), "but from its beginning only");
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "f").len(), 1);
}

#[test]
fn a_length_may_survive_without_its_bytes_and_the_bytes_without_the_length() {
    let (disk, file) = with_file(&[1; 100]);
    file.write_all_at([&[2; 1000], &[]], 100).unwrap();
    let found = outcomes(&disk, "f");
    assert!(found.contains(&Some([&[1; 100][..], &[0; 1000]].concat())), "zeros");
    assert!(found.contains(&Some(vec![1; 100])));
    let lengths: BTreeSet<_> = found.iter().flatten().map(Vec::len).collect();
    assert!(lengths.contains(&1100) && lengths.contains(&512), "{lengths:?}");
}

#[test]
fn a_cut_that_was_not_synced_may_be_lost_although_what_was_written_after_it_is_not() {
    let (disk, file) = with_file(&[1; 2000]);
    file.set_len(0).unwrap();
    file.write_all_at([&[2; 10], &[]], 0).unwrap();
    let found = outcomes(&disk, "f");
    assert!(found.contains(&Some([&[2; 10][..], &[1; 1990]].concat())));
    assert!(
        found.contains(&Some(vec![2; 10])) && found.contains(&Some(vec![1; 2000])) && found.contains(&Some(vec![]))
    );
    file.set_len(50).unwrap();
    assert!(outcomes(&disk, "f").contains(&Some([&[2; 10][..], &[0; 40]].concat())));
}

#[test]
fn io_03_a_name_and_what_it_names_survive_independently() {
    let disk = SimDisk::new();
    let file = write(&disk, "tmp", OpenMode::Create, 0, b"new");
    disk.rename("tmp", "f").unwrap();
    let found = outcomes(&disk, "f");
    assert!([None, Some(vec![]), Some(b"new".to_vec())].iter().all(|state| found.contains(state)), "{found:?}");
    assert!(found.contains(&Some(vec![0; 3])), "and its length without it");
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "f"), BTreeSet::from([None, Some(b"new".to_vec())]));
    disk.sync_dir("").unwrap();
    assert_eq!(outcomes(&disk, "f"), BTreeSet::from([Some(b"new".to_vec())]));
    assert_eq!(outcomes(&disk, "tmp"), BTreeSet::from([None]));
}

#[test]
fn names_come_and_go_in_any_order() {
    let (disk, _) = with_file(b"old");
    let new = write(&disk, "g", OpenMode::Create, 0, b"new");
    new.sync_data().unwrap();
    disk.remove_file("f").unwrap();
    let both = |seed| {
        let after = disk.crash(seed);
        (read(&after, "f").is_some(), read(&after, "g").is_some())
    };
    let found: BTreeSet<_> = (0..LOSSES).map(both).collect();
    assert_eq!(found.len(), 4, "the later one without the earlier one, too");
}

#[test]
fn a_directory_takes_its_entries_along_and_keeps_its_own_promises() {
    let disk = SimDisk::new();
    disk.create_dir_all("a/b").unwrap();
    write(&disk, "a/b/f", OpenMode::Create, 0, b"x").sync_data().unwrap();
    disk.sync_dir("a/b").unwrap();
    assert!(outcomes(&disk, "a/b/f").contains(&None), "the directories themselves are not durable");
    disk.sync_dir("").unwrap();
    disk.sync_dir("a").unwrap();
    assert_eq!(outcomes(&disk, "a/b/f").len(), 1);
    write(&disk, "a/b/g", OpenMode::Create, 0, b"y").sync_data().unwrap();
    disk.rename("a/b", "a/c").unwrap();
    disk.sync_dir("a").unwrap();
    assert_eq!(outcomes(&disk, "a/c/f").len(), 1);
    assert_eq!(outcomes(&disk, "a/c/g").len(), 2, "renaming a directory syncs none of its entries");
    disk.remove_dir_all("a").unwrap();
    assert_eq!(disk.paths(), [""; 0]);
    let left: BTreeSet<_> = (0..LOSSES).map(|seed| disk.crash(seed).paths()).collect();
    assert!(left.contains(&vec!["a".into(), "a/c".into(), "a/c/g".into()]), "half of it");
}

#[test]
fn io_01_a_failed_sync_drops_what_it_was_asked_for_and_reads_do_not_tell() {
    let mut kept = BTreeSet::new();
    for other in 0..200 {
        let (disk, file) = with_file(&[1; 1024]);
        for _ in 0..other {
            disk.create_dir_all(&format!("d{other}")).unwrap();
            file.write_all_at([&[1], &[]], 0).unwrap();
        }
        file.write_all_at([&[2; 1024], &[]], 0).unwrap();
        disk.set_faults(Faults { fail_sync: Some(disk.counters().syncs + 1), ..Faults::default() });
        assert!(file.sync_data().is_err());
        assert_eq!(disk.bytes("f"), [2; 1024]);
        file.sync_data().unwrap();
        assert_eq!(disk.syncs_after_failure(), 1);
        let after = outcomes(&disk, "f");
        assert_eq!(after.len(), 1, "nothing is pending any more");
        kept.insert(after.into_iter().next().flatten().unwrap()[600]);
    }
    assert_eq!(kept, BTreeSet::from([1, 2]), "some of it was on disk, or was not");
}

#[test]
fn a_failed_sync_of_a_directory_leaves_its_names_where_they_were() {
    let disk = SimDisk::new();
    write(&disk, "f", OpenMode::Create, 0, b"x").sync_data().unwrap();
    disk.set_faults(Faults { fail_sync: Some(disk.counters().syncs + 1), ..Faults::default() });
    assert!(disk.sync_dir("").is_err());
    assert_eq!(outcomes(&disk, "f").len(), 2);
    disk.sync_dir("").unwrap();
    assert_eq!(outcomes(&disk, "f").len(), 1);
}

#[test]
fn a_crash_may_come_at_every_change_and_leaves_half_of_it() {
    for nth in 1..6 {
        let disk = SimDisk::new();
        disk.set_faults(Faults { crash_at: Some(nth), ..Faults::default() });
        let file = disk.open("f", OpenMode::Create);
        let done = file.and_then(|f| {
            f.write_all_at([b"12", b"34"], 0)?;
            f.sync_data()?;
            f.set_len(1)?;
            disk.sync_dir("")
        });
        assert_eq!((done.is_err(), disk.is_dead()), (true, true));
        assert!(disk.exists("f").is_err() && disk.list("").is_err(), "nothing answers any more");
        assert!(disk.restart().exists("f").unwrap() == (nth > 1), "the page cache outlives the process");
    }
}

#[test]
fn a_full_disk_takes_half_and_room_comes_back() {
    let (disk, file) = with_file(&[1; 100]);
    disk.set_faults(Faults { capacity: Some(150), ..Faults::default() });
    assert_eq!(disk.space().unwrap(), Space { total_bytes: 150, usable_bytes: 50, inodes: None });
    file.write_all_at([&[2; 60], &[]], 20).unwrap();
    assert_eq!(file.write_all_at([&[3; 60], &[]], 100).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 130);
    let other = write(&disk, "g", OpenMode::Create, 0, &[4; 20]);
    disk.remove_file("f").unwrap();
    other.write_all_at([&[4; 100], &[]], 0).unwrap();
}

#[test]
fn io_07_writes_that_go_astray_or_nowhere_show_when_the_cache_is_gone() {
    for (lost, beside) in [(true, false), (false, true)] {
        let (disk, file) = with_file(&[1; 8192]);
        let nth = Some(disk.counters().writes + 1);
        let faults = match lost {
            true => Faults { lose_write: nth, ..Faults::default() },
            false => Faults { misdirect_write: nth, ..Faults::default() },
        };
        disk.set_faults(faults);
        file.write_all_at([&[2; 10], &[]], 4096).unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.bytes("f")[4096], 2);
        let after = disk.crash(0).bytes("f");
        assert_eq!((after[4096], after[0] == 2), (1, beside));
    }
}

#[test]
fn reads_and_openings_fail_on_request() {
    let (disk, file) = with_file(b"x");
    let Counters { reads, opens, .. } = disk.counters();
    disk.set_faults(Faults { fail_read: Some(reads + 2), no_open_from: Some(opens + 1), ..Faults::default() });
    let read = || file.read_at(&mut [0], 0).is_ok();
    assert_eq!((read(), read(), read()), (true, false, true));
    assert!(disk.open("f", OpenMode::Read).is_err() && disk.open("g", OpenMode::Create).is_err());
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let (disk, file) = with_file(&[1; 5000]);
    file.write_all_at([&[2; 5000], &[]], 1000).unwrap();
    write(&disk, "g", OpenMode::Create, 0, &[3; 600]);
    let after = |seed| (read(&disk.crash(seed), "f"), read(&disk.crash(seed), "g"));
    assert!((0..100).all(|seed| after(seed) == after(seed)));
    assert!((0..100).map(after).collect::<BTreeSet<_>>().len() > 30, "and another seed another one");
}
