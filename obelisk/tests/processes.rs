//! What only several processes on a real disk can show: kill -9, two processes on one counter, limits of the system.
//!
//! A child is this test program again, told by the environment what to do.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use obelisk::{CounterError, OpenError, Options, PersistentAtomic, Strategy};

const ALL: [Strategy; 4] = [
    Strategy::FileSize,
    Strategy::FixedMmap,
    Strategy::BitmapMmap { capacity: CAPACITY },
    Strategy::PeriodicCheckpoint,
];
const CAPACITY: u64 = 1 << 24;
const STEP: u64 = 1_000;
/// The block factor that a file-size counter gets on Linux where sizes are not limited.
const BLOCK: u64 = 1 << 20;

/// What a child does, by the name that it is given.
#[test]
fn child() {
    let Ok(task) = env::var("OBELISK_TEST_CHILD") else { return };
    let path = env::var("OBELISK_TEST_PATH").unwrap();
    let strategy = ALL[env::var("OBELISK_TEST_STRATEGY").unwrap().parse::<usize>().unwrap()];
    let (path, options) = (Path::new(&path), Options::new().step(STEP));
    match task.as_str() {
        "print values" => print_values(strategy, path, &options),
        "open" => println!("opened {:?}", strategy.open(path, &options).map(|_| ())),
        "meet the size limit" => meet_the_size_limit(path),
        "fill the disk" => fill_the_disk(path),
        "count" => println!("value {:?}", strategy.open(path, &Options::new()).unwrap().fetch_add(1)),
        other => panic!("{other}"),
    }
}

fn print_values(strategy: Strategy, path: &Path, options: &Options) {
    let counter = strategy.open(path, options).unwrap();
    let mut out = std::io::stdout().lock();
    loop {
        let value = counter.fetch_add(1).unwrap();
        writeln!(out, "value {value}").unwrap();
        out.flush().unwrap();
    }
}

fn command(task: &str, strategy: usize, path: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("OBELISK_TEST_CHILD", task).env("OBELISK_TEST_PATH", path);
    command.env("OBELISK_TEST_STRATEGY", strategy.to_string());
    command
}

fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Ends with the test, also with one that fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets a child hand out some values, kills it, and returns the first and the last one that it told of.
fn one_life(strategy: usize, path: &Path, values: usize) -> (u64, u64) {
    let mut child = Killed(command("print values", strategy, path).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap());
    let mut seen = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        // The test harness of the child writes a line of its own in front of the first one.
        if let Some((_, value)) = line.trim_end().split_once("value ") {
            seen.push(value.parse().unwrap());
        }
        if seen.len() == values {
            child.0.kill().unwrap();
        }
    }
    assert!(seen.len() >= values && seen.is_sorted());
    (seen[0], seen[seen.len() - 1])
}

#[test]
fn ob_02_kill_9_repeats_no_value_and_skips_no_more_than_promised() {
    let dir = tempfile::tempdir().unwrap();
    for (number, strategy) in ALL.into_iter().enumerate() {
        let path = dir.path().join(number.to_string());
        // One value may be handed out and not told of, another one claimed.
        let skipped_max = match strategy {
            Strategy::FixedMmap | Strategy::BitmapMmap { .. } if cfg!(target_os = "linux") => 2,
            Strategy::FileSize => 2 + 3 * BLOCK,
            _ => 2 + 2 * STEP,
        };
        let mut expected = 0;
        for life in 0..6 {
            let (first, last) = one_life(number, &path, 100 + 700 * life);
            assert!(first >= expected, "{strategy:?}: {first} after {expected}");
            assert!(first - expected <= skipped_max, "{strategy:?}: {expected}..{first} is skipped");
            expected = last + 1;
        }
    }
}

#[test]
fn ob_11_a_second_process_gets_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    for (number, strategy) in ALL.into_iter().enumerate() {
        let path = dir.path().join(number.to_string());
        let counter = strategy.open(&path, &Options::new()).unwrap();
        let told = output(command("open", number, &path));
        assert!(told.contains("opened Err(Locked"), "{strategy:?}: {told}");
        assert!(matches!(strategy.open(&path, &Options::new()), Err(OpenError::Locked { .. })), "{strategy:?}");
        drop(counter);
        let told = output(command("open", number, &path));
        assert!(told.contains("opened Ok"), "{strategy:?}: {told}");
    }
}

/// A child has the parent's open files, locks included, until it begins its program.
#[test]
fn a_closed_counter_is_free_although_another_thread_starts_processes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counter");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                assert!(Command::new("true").status().unwrap().success());
            }
        });
        let all_open = (0..2_000).try_for_each(|_| obelisk::ObeliskSequencer::open(&path).map(drop));
        done.store(true, Relaxed);
        all_open.unwrap();
    });
}

#[test]
fn ob_01_a_limit_on_file_sizes_is_an_error_and_does_not_end_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let told = output(command("meet the size limit", 0, &dir.path().join("counter")));
    assert!(told.contains("met and passed"), "{told}");
}

fn meet_the_size_limit(path: &Path) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limited = |bytes| {
        let mut limit = getrlimit(Resource::Fsize);
        limit.current = Some(bytes);
        setrlimit(Resource::Fsize, limit).unwrap();
    };
    // Room for the header, and for 8,192 values of one byte each.
    limited(8192);
    let counter = obelisk::ObeliskSequencer::open_with_block(path, 1, &Options::new().step(64)).unwrap();
    assert_eq!(counter.reserve(8000).unwrap(), 0..8000);
    let mut next = 8000;
    let refused = loop {
        match counter.fetch_add(1) {
            Ok(value) => assert_eq!(value, next),
            Err(refused) => break refused,
        }
        next += 1;
    };
    assert_eq!(next, 8192, "all of what fits is handed out");
    assert!(matches!(refused, CounterError::FileTooLarge { size: 8193, .. }), "{refused}");
    limited(1 << 20);
    assert_eq!(counter.fetch_add(1).unwrap(), 8192);
    println!("met and passed");
}

/// Runs a child with a file system of its own at `at`; says why if this machine does not allow that.
fn mounted(mount: &str, at: &Path, task: &str, strategy: usize) -> Option<String> {
    let mut inner = command(task, strategy, &at.join("counter"));
    let mut unshare = Command::new("unshare");
    let script = format!("{mount} && exec \"$@\"");
    unshare.args(["--mount", "--map-root-user", "sh", "-c", &script, "sh"]).env("AT", at);
    if !Command::new("unshare").args(["--mount", "--map-root-user", "true"]).status().is_ok_and(|done| done.success()) {
        println!("skipped: `unshare --mount --map-root-user` is not allowed here");
        return None;
    }
    unshare.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        unshare.env(name, value.unwrap_or_default());
    }
    inner.stdout(Stdio::null());
    Some(output(unshare))
}

#[test]
fn a_full_disk_is_an_error_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=512k none \"$AT\"";
    if let Some(told) = mounted(mount, dir.path(), "fill the disk", 0) {
        assert!(told.contains("filled and freed"), "{told}");
    }
}

fn fill_the_disk(path: &Path) {
    let [file_size, fixed, bitmap] = ["file-size", "fixed", "bitmap"].map(|name| path.with_file_name(name));
    let options = Options::new().step(STEP);
    let counter = Strategy::FileSize.open(&file_size, &options).unwrap();
    let mapped = Strategy::FixedMmap.open(&fixed, &options).unwrap();
    counter.fetch_add(1).unwrap();
    // A bitmap that does not fit is refused when it is created, not by a SIGBUS later.
    let refused = Strategy::BitmapMmap { capacity: 16 << 20 }.open(&bitmap, &options).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{refused}"
    );
    let filler = path.with_file_name("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    // Neither needs a block.
    for n in [1, 1 << 30] {
        counter.fetch_add(n).unwrap();
        mapped.fetch_add(n).unwrap();
    }
    let refused = Strategy::PeriodicCheckpoint.open(path, &options).err().unwrap();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused}");
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    Strategy::PeriodicCheckpoint.open(path, &options).unwrap().fetch_add(1).unwrap();
    println!("filled and freed");
}

#[test]
fn ob_06_counters_work_on_tmpfs_and_overlayfs() {
    let dir = tempfile::tempdir().unwrap();
    let tmpfs = "mount -t tmpfs none \"$AT\"";
    let overlay = "mount -t tmpfs none \"$AT\" && mkdir \"$AT/lower\" \"$AT/upper\" \"$AT/work\" && mount -t overlay \
                   -o \"lowerdir=$AT/lower,upperdir=$AT/upper,workdir=$AT/work\" none \"$AT\"";
    for mount in [tmpfs, overlay] {
        for strategy in 0..ALL.len() {
            if let Some(told) = mounted(mount, dir.path(), "count", strategy) {
                assert!(told.contains("value Ok(0)"), "{told}");
            }
        }
    }
}
