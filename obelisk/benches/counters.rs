//! What a counter costs, beside a plain `AtomicU64` and beside a byte appended and synced for every value.
//!
//! `cargo bench -p obelisk`. Counters live below OBELISK_BENCH_DIR, by default the system's folder for temporary files.
//! Mind the column `mean`: it holds the syncs that reserve values, which the median does not.
#![allow(clippy::unwrap_used, reason = "a bench")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::AcqRel;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use obelisk::{BitmapMmap, FixedMmap, ObeliskSequencer, Options, PeriodicCheckpoint, PersistentAtomic};
use tempfile::TempDir;

/// Values in one timed sample: several reservations of each strategy fall into it.
const SAMPLE: u32 = 1 << 24;
/// Room for all samples.
const CAPACITY: u64 = 1 << 33;
const GIB_OF_BITS: u64 = 1 << 33;

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--crash") {
        crash(&args.next().unwrap_or_default(), Path::new(&args.next().unwrap_or_default()));
    }
    print_machine();
    divan::main();
}

fn dir() -> TempDir {
    let base = std::env::var_os("OBELISK_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(base).unwrap()
}

fn print_machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "machine: {cores} x {}, Linux {}",
        cpu.trim_start_matches([' ', '\t', ':']),
        read("/proc/sys/kernel/osrelease").trim()
    );
    let dir = dir();
    let file = File::create(dir.path().join("probe")).unwrap();
    let mut times: Vec<Duration> = (1..=200)
        .map(|size| {
            let start = Instant::now();
            file.set_len(size).unwrap();
            file.sync_all().unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "sync mode: fsync; set_len + fsync on {}: p50 {:?}, p99 {:?}",
        dir.path().display(),
        times[99],
        times[197]
    );
}

#[divan::bench_group(max_time = 4, sample_size = SAMPLE, sample_count = 7, threads = [1, 2])]
mod fetch_add {
    use super::*;

    fn run(bencher: Bencher<'_, '_>, counter: &impl PersistentAtomic) {
        bencher.counter(ItemsCount::new(1_u32)).bench(|| counter.fetch_add(1).unwrap());
    }

    #[divan::bench]
    fn a_plain_atomic(bencher: Bencher<'_, '_>) {
        let counter = AtomicU64::new(0);
        bencher.counter(ItemsCount::new(1_u32)).bench(|| counter.fetch_add(1, AcqRel));
    }

    #[divan::bench]
    fn b_file_size(bencher: Bencher<'_, '_>) {
        let dir = dir();
        run(bencher, &ObeliskSequencer::open(dir.path().join("counter")).unwrap());
    }

    #[divan::bench]
    fn c_fixed_mmap(bencher: Bencher<'_, '_>) {
        let dir = dir();
        run(bencher, &FixedMmap::open(dir.path().join("counter")).unwrap());
    }

    #[divan::bench]
    fn d_bitmap_mmap(bencher: Bencher<'_, '_>) {
        let dir = dir();
        run(bencher, &BitmapMmap::open(dir.path().join("counter"), CAPACITY).unwrap());
    }

    #[divan::bench]
    fn e_periodic_checkpoint(bencher: Bencher<'_, '_>) {
        let dir = dir();
        run(bencher, &PeriodicCheckpoint::open(dir.path().join("counter")).unwrap());
    }
}

/// What there is without this crate: every value appended as a byte, and synced.
#[divan::bench(max_time = 3)]
fn naive_append_and_fdatasync(bencher: Bencher<'_, '_>) {
    let dir = dir();
    let mut file = File::create(dir.path().join("counter")).unwrap();
    let mut next = 0_u64;
    bencher.bench_local(|| {
        file.write_all(&[0]).unwrap();
        file.sync_data().unwrap();
        next += 1;
        next
    });
}

/// A program that takes a value and dies with the counter open.
fn crash(strategy: &str, path: &Path) -> ! {
    let options = Options::new();
    let counter: Box<dyn PersistentAtomic> = match strategy {
        "file-size" => Box::new(ObeliskSequencer::open_with(path, &options).unwrap()),
        "fixed-mmap" => Box::new(FixedMmap::open_with(path, &options).unwrap()),
        "bitmap-mmap" => Box::new(BitmapMmap::open_with(path, GIB_OF_BITS, &options).unwrap()),
        _ => Box::new(PeriodicCheckpoint::open_with(path, &options).unwrap()),
    };
    // All but a little of what a bitmap of 1 GiB holds.
    let first = if strategy == "bitmap-mmap" { GIB_OF_BITS - (1 << 22) } else { 1 << 32 };
    counter.fetch_add(first).unwrap();
    counter.fetch_add(1).unwrap();
    exit(0)
}

fn crashed(strategy: &str) -> (TempDir, PathBuf) {
    let dir = dir();
    let path = dir.path().join("counter");
    let this = std::env::current_exe().unwrap();
    assert!(Command::new(this).arg("--crash").arg(strategy).arg(&path).status().unwrap().success());
    File::open(dir.path()).unwrap().sync_all().unwrap();
    (dir, path)
}

/// From nothing to a counter that knows where it stands, after its process died; `bare` only opens the same files. Both are closed again.
#[divan::bench_group(max_time = 2, sample_size = 10)]
mod recovery {
    use super::*;

    fn bare(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    #[divan::bench]
    fn a_bare_open_of_one_file(bencher: Bencher<'_, '_>) {
        let (_dir, path) = crashed("periodic-checkpoint");
        bencher.bench_local(|| drop(bare(&path)));
    }

    #[divan::bench]
    fn a_bare_open_of_two_files(bencher: Bencher<'_, '_>) {
        let (dir, path) = crashed("file-size");
        let meta = dir.path().join("counter.meta");
        bencher.bench_local(|| drop((bare(&path), bare(&meta))));
    }

    #[divan::bench]
    fn b_file_size(bencher: Bencher<'_, '_>) {
        let (_dir, path) = crashed("file-size");
        bencher.bench_local(|| drop(ObeliskSequencer::open(&path).unwrap()));
    }

    #[divan::bench]
    fn c_fixed_mmap(bencher: Bencher<'_, '_>) {
        let (_dir, path) = crashed("fixed-mmap");
        bencher.bench_local(|| drop(FixedMmap::open(&path).unwrap()));
    }

    #[divan::bench]
    fn d_bitmap_mmap_of_1_gib(bencher: Bencher<'_, '_>) {
        let (_dir, path) = crashed("bitmap-mmap");
        bencher.bench_local(|| drop(BitmapMmap::open(&path, GIB_OF_BITS).unwrap()));
    }

    #[divan::bench]
    fn e_periodic_checkpoint(bencher: Bencher<'_, '_>) {
        let (_dir, path) = crashed("periodic-checkpoint");
        bencher.bench_local(|| drop(PeriodicCheckpoint::open(&path).unwrap()));
    }
}
