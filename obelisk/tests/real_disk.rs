//! All strategies on the real disk: threads, sizes, archives, names.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::thread;

use obelisk::{BitmapMmap, CounterError, FixedMmap, ObeliskSequencer, OpenError, Options, PersistentAtomic, Strategy};

const ALL: [Strategy; 4] =
    [Strategy::FileSize, Strategy::FixedMmap, Strategy::BitmapMmap { capacity: 1 << 24 }, Strategy::PeriodicCheckpoint];

#[test]
fn threads_share_the_values_among_them() {
    const THREADS: usize = 4;
    const CALLS: u64 = 30_000;
    let dir = tempfile::tempdir().unwrap();
    for (number, strategy) in ALL.into_iter().enumerate() {
        let counter = strategy.open(dir.path().join(number.to_string()), &Options::new().step(5_000)).unwrap();
        // Ones mostly, some more at a time, and a few that take the slow path.
        let size = |call: u64| if call.is_multiple_of(1_000) { 300 } else { 1 + u64::from(call.is_multiple_of(7)) };
        let take = || (0..CALLS).map(|call| counter.reserve(size(call))).collect::<Result<Vec<_>, CounterError>>();
        let taken = thread::scope(|scope| {
            let threads = [(); THREADS].map(|()| scope.spawn(take));
            threads.map(|thread| thread.join().unwrap().unwrap())
        });
        assert!(taken.iter().all(|mine| mine.is_sorted_by_key(|range| range.start)));
        let mut all: Vec<_> = taken.into_iter().flatten().collect();
        all.sort_unstable_by_key(|range| range.start);
        assert_eq!(all[0].start, 0);
        assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start), "{strategy:?}: a value twice, or never");
        assert_eq!(counter.load(), all[all.len() - 1].end);
    }
}

#[test]
fn a_counter_that_is_closed_and_opened_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for (number, strategy) in ALL.into_iter().enumerate() {
        let path = dir.path().join(number.to_string());
        let mut expected = 0;
        for n in [1, 2, 1_000, 70_000, 1, 0, 1] {
            let counter = strategy.open(&path, &Options::new()).unwrap();
            assert_eq!(counter.reserve(n).unwrap(), expected..expected + n, "{strategy:?}");
            counter.sync().unwrap();
            expected += n;
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ob_03_the_size_has_no_blocks_and_the_header_one_page() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counter");
    let counter = ObeliskSequencer::open(&path).unwrap();
    for n in [1, 1 << 32, 1 << 60] {
        counter.fetch_add(n).unwrap();
        counter.sync().unwrap();
        let size = fs::metadata(&path).unwrap();
        assert!(size.len() >= n >> 20);
        assert_eq!(size.blocks(), 0);
        assert!(fs::metadata(dir.path().join("counter.meta")).unwrap().blocks() * 512 <= 4096);
    }
}

#[test]
fn ob_01_nearly_all_of_u64_can_be_reached_and_the_end_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counter");
    let counter = ObeliskSequencer::open(&path).unwrap();
    let end = u64::MAX - u64::from(u32::MAX);
    assert_eq!(counter.reserve(end - 1).unwrap(), 0..end - 1);
    assert_eq!(counter.fetch_add(1).unwrap(), end - 1);
    assert!(matches!(counter.fetch_add(1), Err(CounterError::Exhausted { .. })));
    drop(counter);
    let counter = ObeliskSequencer::open(&path).unwrap();
    assert!(matches!(counter.fetch_add(1), Err(CounterError::Exhausted { .. })));
}

fn copy_of(strategy: Strategy, path: &Path, to: &Path, copy: impl Fn(&Path, &Path)) {
    let counter = strategy.open(path, &Options::new()).unwrap();
    counter.fetch_add(41).unwrap();
    drop(counter);
    copy(path.parent().unwrap(), to);
    let copied = to.join(path.file_name().unwrap());
    let refused = strategy.open(&copied, &Options::new()).err().unwrap();
    assert!(matches!(refused, OpenError::Copied { .. }), "{strategy:?}: {refused}");
    let counter = strategy.open(&copied, &Options::new().adopt(true)).unwrap();
    assert_eq!(counter.fetch_add(1).unwrap(), 41, "{strategy:?}");
    drop(counter);
    assert_eq!(strategy.open(&copied, &Options::new()).unwrap().load(), 42);
}

#[test]
fn a_copy_is_refused_and_has_the_same_next_value_once_adopted() {
    for strategy in ALL {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy_of(strategy, &from.path().join("counter"), to.path(), |from, to| {
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        });
    }
}

#[cfg(unix)]
#[test]
fn ob_05_a_restored_archive_has_the_same_next_value() {
    use std::process::Command;
    for strategy in ALL {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy_of(strategy, &from.path().join("counter"), to.path(), |from, to| {
            let archive = to.join("archive.tar");
            let tar = |args: &[&str], dir: &Path| {
                assert!(
                    Command::new("tar")
                        .args(args)
                        .arg(&archive)
                        .arg("-C")
                        .arg(dir)
                        .arg(".")
                        .status()
                        .unwrap()
                        .success()
                );
            };
            tar(&["-c", "-S", "-f"], from);
            tar(&["-x", "-S", "-f"], to);
        });
    }
}

#[test]
fn a_counter_may_get_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    ObeliskSequencer::open(&old).unwrap().fetch_add(3).unwrap();
    fs::rename(&old, &new).unwrap();
    fs::rename(dir.path().join("old.meta"), dir.path().join("new.meta")).unwrap();
    assert_eq!(ObeliskSequencer::open(&new).unwrap().load(), 3);
}

#[test]
fn files_that_are_no_counters_are_refused_and_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    for content in [&b""[..], b"hello", &[0; 4096], &[0xff; 8192]] {
        let path = dir.path().join("foreign");
        fs::write(&path, content).unwrap();
        for strategy in ALL {
            if strategy == Strategy::FileSize && content.is_empty() {
                // An empty file is a counter whose creation was cut short.
                continue;
            }
            let refused = strategy.open(&path, &Options::new()).err().unwrap();
            assert!(
                matches!(refused, OpenError::Damaged { .. } | OpenError::PartMissing { .. }),
                "{strategy:?}: {refused}"
            );
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for strategy in ALL {
        let refused = strategy.open(dir.path().join("no/counter"), &Options::new()).err().unwrap();
        assert!(matches!(refused, OpenError::Io { .. }) && refused.to_string().contains("no/counter"), "{refused}");
    }
}

#[test]
fn counters_can_be_shared_between_threads_and_printed() {
    fn shareable<T: Send + Sync + std::fmt::Debug>(counter: &T) -> String {
        format!("{counter:?}")
    }
    let dir = tempfile::tempdir().unwrap();
    let counter = FixedMmap::open(dir.path().join("fixed")).unwrap();
    assert!(shareable(&counter).contains("next: 0"));
    let counter = BitmapMmap::open(dir.path().join("bitmap"), 10).unwrap();
    assert!(shareable(&counter).contains("next: 0"));
    assert_eq!(counter.capacity(), 10);
}
