//! What a counter refuses, with which error, and what is the way on.

use std::path::Path;

use super::disk::{Faults, SimDisk};
use super::{ALL, BLOCK, CAPACITY, open};
use crate::bitmap::Bitmap;
use crate::file_size::FileSize;
use crate::window::LIMIT;
use crate::{CounterError, OpenError, Options, PersistentAtomic, StrategyKind};

const STEP: u64 = 16;

fn options() -> Options {
    Options::new().step(STEP)
}

fn path() -> &'static Path {
    Path::new("counter")
}

/// A disk with a counter that handed out `values` and was closed.
fn used(kind: StrategyKind, values: u64) -> SimDisk {
    let disk = SimDisk::new(7);
    let counter = open(kind, &disk, &options()).unwrap();
    assert_eq!(counter.reserve(values).unwrap(), 0..values);
    disk
}

fn error(opened: Result<impl Sized, OpenError>) -> OpenError {
    opened.err().expect("it should have been refused")
}

#[test]
fn ob_11_a_counter_that_is_open_is_not_opened_again() {
    for kind in ALL {
        let disk = SimDisk::new(0);
        let counter = open(kind, &disk, &options()).unwrap();
        assert!(matches!(error(open(kind, &disk, &options())), OpenError::Locked { .. }), "{kind}");
        drop(counter);
        open(kind, &disk, &options()).unwrap();
    }
}

#[test]
fn a_counter_that_must_exist_is_not_created() {
    for kind in ALL {
        let disk = SimDisk::new(0);
        assert!(matches!(error(open(kind, &disk, &options().create(false))), OpenError::Missing { .. }), "{kind}");
        assert_eq!(disk.len(path()), None);
        let disk = used(kind, 3);
        assert_eq!(open(kind, &disk, &options().create(false)).unwrap().load(), 3);
    }
}

#[test]
fn ob_07_a_cut_file_is_refused_and_goes_on_above_a_floor() {
    for len in [0, 1, 24] {
        let disk = used(StrategyKind::FileSize, 100);
        assert_eq!(disk.len(path()), Some(100 / BLOCK));
        disk.resize(path(), len);
        let refused = error(open(StrategyKind::FileSize, &disk, &options()));
        assert!(matches!(refused, OpenError::Truncated { found, floor: 100, .. } if found == len * BLOCK), "{refused}");
        assert!(matches!(
            error(open(StrategyKind::FileSize, &disk, &options().floor(99))),
            OpenError::Truncated { .. }
        ));
        let counter = open(StrategyKind::FileSize, &disk, &options().floor(100)).unwrap();
        assert_eq!(counter.fetch_add(1).unwrap(), 100);
        // From here on it is a counter like any other.
        drop(counter);
        assert_eq!(open(StrategyKind::FileSize, &disk, &options()).unwrap().load(), 101);
    }
}

#[test]
fn ob_07_a_file_cut_after_its_process_died_is_refused() {
    let disk = SimDisk::new(7);
    let counter = open(StrategyKind::FileSize, &disk, &options()).unwrap();
    counter.fetch_add(1).unwrap();
    let disk = disk.kill();
    drop(counter);
    disk.resize(path(), 0);
    assert!(matches!(error(open(StrategyKind::FileSize, &disk, &options())), OpenError::Truncated { .. }));
}

#[test]
fn ob_07_other_files_that_are_cut_or_grown_are_refused() {
    for kind in [StrategyKind::FixedMmap, StrategyKind::BitmapMmap, StrategyKind::PeriodicCheckpoint] {
        let whole = used(kind, 5).len(path()).unwrap();
        for len in [0, 100, 2000, 4095, whole - 1, whole + 1] {
            let disk = used(kind, 5);
            disk.resize(path(), len);
            let refused = error(open(kind, &disk, &options()));
            assert!(matches!(refused, OpenError::Damaged { .. }), "{kind} of {len} bytes: {refused}");
        }
    }
}

#[test]
fn a_copy_is_refused_until_it_is_adopted() {
    for kind in ALL {
        let disk = used(kind, 10);
        let (copy, original) = (Path::new("copy"), Path::new("original"));
        disk.copy(path(), copy);
        disk.rename_all(path(), original);
        disk.rename_all(copy, path());
        let refused = error(open(kind, &disk, &options()));
        assert!(matches!(refused, OpenError::Copied { .. }), "{kind}: {refused}");
        let counter = open(kind, &disk, &options().adopt(true)).unwrap();
        assert_eq!(counter.fetch_add(1).unwrap(), 10, "{kind}");
        drop(counter);
        assert_eq!(open(kind, &disk, &options()).unwrap().load(), 11, "{kind}: adopted once is enough");
    }
}

/// What the mapping of a running counter says is not what it said when the copy ended.
#[test]
fn an_adopted_copy_of_an_open_counter_starts_above_its_ceiling() {
    for kind in ALL {
        let disk = SimDisk::new(7);
        let counter = open(kind, &disk, &options()).unwrap();
        counter.fetch_add(10).unwrap();
        disk.copy(path(), Path::new("copy"));
        let handed_out = counter.fetch_add(10).unwrap();
        drop(counter);
        disk.rename_all(Path::new("copy"), path());
        let counter = open(kind, &disk, &options().adopt(true)).unwrap();
        assert!(counter.load() > handed_out + 9, "{kind}: {}", counter.load());
    }
}

#[test]
fn an_adopted_copy_survives_the_power_loss_after_its_first_value() {
    for kind in ALL {
        for seed in 0..20 {
            let disk = used(kind, 10);
            disk.copy(path(), Path::new("copy"));
            disk.rename_all(Path::new("copy"), path());
            let counter = open(kind, &disk, &options().adopt(true)).unwrap();
            let value = counter.fetch_add(1).unwrap();
            let disk = disk.lose_power(seed);
            drop(counter);
            // The name stands for the adopted file, not for the one that was there before.
            assert!(open(kind, &disk, &options()).unwrap().load() > value, "{kind}");
        }
    }
}

#[test]
fn a_missing_part_is_refused() {
    let meta = Path::new("counter.meta");
    let disk = used(StrategyKind::FileSize, 10);
    disk.remove(meta);
    let refused = error(open(StrategyKind::FileSize, &disk, &options()));
    assert!(matches!(&refused, OpenError::PartMissing { missing, .. } if missing == meta), "{refused}");
    let disk = used(StrategyKind::FileSize, 10);
    disk.remove(path());
    let refused = error(open(StrategyKind::FileSize, &disk, &options()));
    assert!(matches!(&refused, OpenError::PartMissing { missing, .. } if missing == path()), "{refused}");
    assert_eq!(disk.len(path()), None);
}

#[test]
fn ob_06_another_strategy_factor_or_capacity_is_refused() {
    let disk = used(StrategyKind::FixedMmap, 1);
    let refused = error(open(StrategyKind::PeriodicCheckpoint, &disk, &options()));
    assert!(matches!(refused, OpenError::OtherStrategy { found: StrategyKind::FixedMmap, .. }), "{refused}");

    let disk = used(StrategyKind::FileSize, 1);
    let refused = error(FileSize::open(&disk, path(), Some(8), &options()));
    assert!(matches!(refused, OpenError::OtherParameter { stored: BLOCK, asked: 8, .. }), "{refused}");
    // Who does not ask for one gets the counter's own.
    assert_eq!(FileSize::open(&disk, path(), None, &options()).unwrap().load(), 1);

    let disk = used(StrategyKind::BitmapMmap, 1);
    let refused = error(Bitmap::open(&disk, path(), CAPACITY + 1, &options()));
    assert!(matches!(refused, OpenError::OtherParameter { stored: CAPACITY, .. }), "{refused}");
}

#[test]
fn ob_06_the_block_factor_follows_the_largest_size_of_the_file_system() {
    let kib: u64 = 1 << 10;
    for (size_max, log2) in [
        ((1 << 44) - 4096, 20),
        (i64::MAX as u64, 20),
        (1 << 43, 21),
        (4 * kib * kib * kib - 1, 32),
        (2 * kib * kib, 43),
    ] {
        let disk = SimDisk::new(0);
        disk.set_faults(Faults { size_max, ..Faults::default() });
        let counter = FileSize::open(&disk, path(), None, &Options::new()).unwrap();
        counter.fetch_add(1).unwrap();
        drop(counter);
        let refused = error(FileSize::open(&disk, path(), Some(1), &options()));
        assert!(
            matches!(refused, OpenError::OtherParameter { stored, .. } if stored == 1 << log2),
            "largest size {size_max}: {refused}"
        );
        // All values can be reached: the last one, too.
        let counter = FileSize::open(&disk, path(), None, &Options::new().floor(LIMIT / 2)).unwrap();
        let last = (LIMIT >> log2 << log2) - 1;
        assert_eq!(counter.reserve(last - LIMIT / 2).unwrap(), LIMIT / 2..last);
        assert_eq!(counter.fetch_add(1).unwrap(), last);
        assert!(matches!(counter.fetch_add(1), Err(CounterError::Exhausted { .. })));
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let disk = SimDisk::new(0);
    for kind in ALL {
        assert!(matches!(error(open(kind, &disk, &Options::new().step(0))), OpenError::Invalid { .. }));
    }
    for block in [0, 3, 1 << 45] {
        assert!(matches!(error(FileSize::open(&disk, path(), Some(block), &options())), OpenError::Invalid { .. }));
    }
    for capacity in [0, u64::MAX] {
        assert!(matches!(error(Bitmap::open(&disk, path(), capacity, &options())), OpenError::Invalid { .. }));
    }
}

#[test]
fn ob_01_at_the_end_of_u64_there_is_an_error_and_no_wrap() {
    for kind in [StrategyKind::FileSize, StrategyKind::FixedMmap, StrategyKind::PeriodicCheckpoint] {
        let disk = SimDisk::new(0);
        disk.set_faults(Faults { size_max: i64::MAX as u64, ..Faults::default() });
        let counter = open(kind, &disk, &options().floor(LIMIT - 3)).unwrap();
        assert_eq!(counter.fetch_add(2).unwrap(), LIMIT - 3, "{kind}");
        assert!(matches!(counter.reserve(u64::MAX), Err(CounterError::Exhausted { .. })));
        assert!(matches!(counter.reserve(300), Err(CounterError::Exhausted { limit: LIMIT })));
        assert_eq!(counter.fetch_add(1).unwrap(), LIMIT - 1, "{kind}: what was too much changed nothing");
        for n in [1, 2, 256, 257, u64::MAX] {
            for _ in 0..1_000 {
                assert!(matches!(counter.fetch_add(n), Err(CounterError::Exhausted { limit: LIMIT })));
            }
        }
        counter.sync().unwrap();
        drop(counter);
        let counter = open(kind, &disk, &options()).unwrap();
        assert!(matches!(counter.fetch_add(1), Err(CounterError::Exhausted { limit: LIMIT })), "{kind}");
    }
}

#[test]
fn ob_01_a_size_at_the_edge_of_the_file_system_is_an_error_that_passes() {
    let size_max = 1000;
    let disk = SimDisk::new(0);
    disk.set_faults(Faults { size_max, ..Faults::default() });
    let counter = open(StrategyKind::FileSize, &disk, &options()).unwrap();
    let end = size_max * BLOCK;
    assert_eq!(counter.reserve(end - 20).unwrap(), 0..end - 20);
    for value in end - 20..end {
        assert_eq!(counter.fetch_add(1).unwrap(), value);
    }
    for _ in 0..1_000 {
        let refused = counter.fetch_add(1).unwrap_err();
        assert!(matches!(refused, CounterError::FileTooLarge { .. }), "{refused}");
    }
    disk.set_faults(Faults::default());
    assert_eq!(counter.fetch_add(1).unwrap(), end, "refusals skipped something");
}

#[test]
fn ob_01_a_size_that_somebody_set_to_the_edge_is_exhausted() {
    let disk = used(StrategyKind::FileSize, 1);
    disk.resize(path(), LIMIT / BLOCK);
    let counter = open(StrategyKind::FileSize, &disk, &options()).unwrap();
    assert_eq!(counter.load(), LIMIT);
    assert!(matches!(counter.fetch_add(1), Err(CounterError::Exhausted { limit: LIMIT })));
}

#[test]
fn a_bitmap_ends_with_its_capacity() {
    let disk = SimDisk::new(0);
    let counter = Bitmap::open(&disk, path(), 100, &options().floor(1_000)).unwrap();
    assert_eq!(counter.reserve(99).unwrap(), 1_000..1_099);
    assert!(matches!(counter.reserve(2), Err(CounterError::Exhausted { limit: 1_100 })));
    assert_eq!(counter.fetch_add(1).unwrap(), 1_099);
    assert!(matches!(counter.fetch_add(1), Err(CounterError::Exhausted { limit: 1_100 })));
    drop(counter);
    // The first bit keeps its value, whatever the floor of a later session.
    let counter = Bitmap::open(&disk, path(), 100, &options()).unwrap();
    assert!(matches!(counter.fetch_add(1), Err(CounterError::Exhausted { limit: 1_100 })));
    assert!(counter.handed_out(1_000) && counter.handed_out(1_099));
    assert!(!counter.handed_out(0) && !counter.handed_out(999) && !counter.handed_out(1_100));
}

#[test]
fn a_bitmap_above_the_last_value_has_no_capacity() {
    let counter = Bitmap::open(&SimDisk::new(0), path(), 100, &options().floor(u64::MAX)).unwrap();
    assert_eq!(counter.capacity(), 0);
    assert!(matches!(counter.fetch_add(1), Err(CounterError::Exhausted { .. })) && !counter.handed_out(u64::MAX));
}

#[test]
fn ob_04_a_bitmap_names_what_a_crash_skipped() {
    let disk = SimDisk::new(0);
    let counter = Bitmap::open(&disk, path(), CAPACITY, &options()).unwrap();
    counter.fetch_add(70).unwrap();
    counter.sync().unwrap();
    let disk = disk.lose_power(3);
    drop(counter);
    let counter = Bitmap::open(&disk, path(), CAPACITY, &options()).unwrap();
    let next = counter.fetch_add(1).unwrap();
    assert!(next > 70);
    let out: Vec<u64> = (0..CAPACITY).filter(|value| counter.handed_out(*value)).collect();
    assert_eq!(out, (0..70).chain([next]).collect::<Vec<_>>());
}

#[test]
fn ob_03_a_size_takes_up_no_room_and_does_not_need_any() {
    let disk = SimDisk::new(0);
    let counter = open(StrategyKind::FileSize, &disk, &options()).unwrap();
    counter.fetch_add(1).unwrap();
    disk.set_faults(Faults { room: 0, ..Faults::default() });
    counter.fetch_add(1 << 40).unwrap();
    counter.sync().unwrap();
    assert_eq!(disk.allocated(path()), 0);
}

#[test]
fn a_full_disk_refuses_the_creation_and_a_later_one_works() {
    for kind in ALL {
        let disk = SimDisk::new(0);
        disk.set_faults(Faults { room: 1000, ..Faults::default() });
        let refused = error(open(kind, &disk, &options()));
        let OpenError::Io { source, .. } = &refused else { panic!("{kind}: {refused}") };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        disk.set_faults(Faults::default());
        assert_eq!(open(kind, &disk, &options()).unwrap().fetch_add(1).unwrap(), 0);
    }
}

#[test]
fn a_full_disk_refuses_a_reservation_and_a_later_one_works() {
    for kind in ALL {
        let disk = SimDisk::new(0);
        let counter = open(kind, &disk, &options()).unwrap();
        let mut last = counter.fetch_add(1).unwrap();
        let mut refusals = 0;
        // A full disk is met at each call. A refused size is tried once more, in case a smaller one fits.
        for _ in 0..200 {
            let fail_at = Some((disk.operations()..disk.operations() + 2, std::io::ErrorKind::StorageFull));
            disk.set_faults(Faults { fail_at, ..Faults::default() });
            match counter.fetch_add(5) {
                Ok(value) => {
                    assert!(value > last);
                    last = value;
                }
                Err(CounterError::DiskFull { .. }) => refusals += 1,
                Err(other) => panic!("{kind}: {other}"),
            }
        }
        assert!(refusals > 5, "{kind}: {refusals} refusals");
    }
}

#[test]
fn a_floor_is_a_floor_for_every_strategy() {
    for kind in ALL {
        let disk = SimDisk::new(0);
        let counter = open(kind, &disk, &options().floor(1_000)).unwrap();
        assert_eq!(counter.load(), 1_000);
        assert_eq!(counter.reserve(2).unwrap(), 1_000..1_002, "{kind}");
        drop(counter);
        assert_eq!(open(kind, &disk, &options().floor(5)).unwrap().fetch_add(1).unwrap(), 1_002, "{kind}");
        let counter = open(kind, &disk, &options().floor(2_000)).unwrap();
        assert_eq!(counter.fetch_add(1).unwrap(), 2_000, "{kind}");
        let disk = disk.kill();
        drop(counter);
        assert!(open(kind, &disk, &options()).unwrap().load() > 2_000, "{kind}");
    }
}

#[test]
fn a_floor_above_which_nothing_was_taken_is_forgotten() {
    for kind in ALL {
        let disk = SimDisk::new(7);
        let counter = open(kind, &disk, &options()).unwrap();
        counter.fetch_add(1).unwrap();
        let disk = disk.kill();
        drop(counter);
        assert_eq!(open(kind, &disk, &options().floor(1_000)).unwrap().load(), 1_000, "{kind}");
        let next = open(kind, &disk, &options()).unwrap().load();
        assert!((1..=1 + 2 * STEP + BLOCK).contains(&next), "{kind}: {next}");
    }
}

#[test]
fn nothing_is_an_empty_range() {
    for kind in ALL {
        let disk = SimDisk::new(0);
        let counter = open(kind, &disk, &options()).unwrap();
        assert_eq!(counter.reserve(0).unwrap(), 0..0);
        counter.fetch_add(3).unwrap();
        assert_eq!(counter.reserve(0).unwrap(), 3..3, "{kind}");
        assert_eq!(counter.fetch_add(1).unwrap(), 3);
    }
}

#[test]
fn many_short_sessions_skip_nothing_and_reserve_no_more_than_one() {
    for kind in ALL {
        let disk = SimDisk::new(0);
        for value in 0..500 {
            let counter = open(kind, &disk, &options()).unwrap();
            assert_eq!(counter.fetch_add(1).unwrap(), value, "{kind}");
        }
        let counter = open(kind, &disk, &options()).unwrap();
        counter.fetch_add(1).unwrap();
        let disk = disk.lose_power(1);
        drop(counter);
        let next = open(kind, &disk, &options()).unwrap().load();
        assert!((501..=501 + 2 * STEP + BLOCK).contains(&next), "{kind}: {next}");
    }
}
