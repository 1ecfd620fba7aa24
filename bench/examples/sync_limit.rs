//! What the disk and its file system give to whoever appends 64 KiB at a time and waits for them to be on disk: no network, no
//! checks, no offsets. As many appends are in flight as `bench/compare` has requests in its row produce-large-fsync. A file has at most one
//! sync at a time, and what is appended meanwhile shares the next one. No broker on the same page cache is faster with that many in flight.
//!
//!     sync_limit FOLDER [FILES [APPENDS_IN_FLIGHT_PER_FILE [SECONDS]]]        8, 4 and 5 unless said otherwise
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "threads and files are what it is made of"
)]

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One batch of 64 records of 1 KiB, about.
const APPEND_BYTES: usize = 66 << 10;
/// Threads that append, as many as the development machine has processors.
const APPENDERS: usize = 2;

/// A file and how many appends of it are written, and durable.
struct Target {
    file: File,
    written: Mutex<u64>,
    more: Condvar,
}

impl Target {
    fn append(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.write_all_at(bytes, *written * bytes.len() as u64)?;
        *written += 1;
        self.more.notify_one();
        Ok(())
    }

    /// Waits until more than `durable` appends are written; gives how many.
    fn written_beyond(&self, durable: u64) -> u64 {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        *self.more.wait_while(written, |written| *written <= durable).unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(wanted: &Mutex<Receiver<usize>>, targets: &[Target]) {
    let bytes = vec![7; APPEND_BYTES];
    loop {
        let next = wanted.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Some(target) = next.ok().and_then(|at| targets.get(at)) else { return };
        target.append(&bytes).expect("the disk takes it");
    }
}

/// Syncs one file for ever. Each append that became durable is followed by another.
fn sync(at: usize, target: &Target, wanted: &Sender<usize>, synced: &AtomicU64) {
    let mut durable = 0;
    loop {
        let written = target.written_beyond(durable);
        target.file.sync_data().expect("the disk syncs");
        synced.fetch_add(written - durable, Ordering::Relaxed);
        for _ in durable..written {
            if wanted.send(at).is_err() {
                return;
            }
        }
        durable = written;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder =
        PathBuf::from(args.next().ok_or("usage: sync_limit FOLDER [FILES [APPENDS_IN_FLIGHT_PER_FILE [SECONDS]]]")?);
    let mut number = |default: u64| args.next().map_or(Ok(default), |text| text.parse());
    let (files, in_flight, seconds) = (usize::try_from(number(8)?)?, number(4)?, number(5)?);
    let paths: Vec<PathBuf> = (0..files).map(|at| folder.join(format!("sync-limit-{at}"))).collect();
    let open = |path: &PathBuf| Ok(Target { file: File::create(path)?, written: Mutex::new(0), more: Condvar::new() });
    let targets: Arc<Vec<Target>> = Arc::new(paths.iter().map(open).collect::<std::io::Result<_>>()?);
    let (wanted, appends) = channel();
    let (appends, synced) = (Arc::new(Mutex::new(appends)), Arc::new(AtomicU64::new(0)));
    for _ in 0..APPENDERS {
        let (appends, targets) = (Arc::clone(&appends), Arc::clone(&targets));
        thread::spawn(move || append(&appends, &targets));
    }
    for at in 0..files {
        for _ in 0..in_flight {
            wanted.send(at)?;
        }
        let (targets, wanted, synced) = (Arc::clone(&targets), wanted.clone(), Arc::clone(&synced));
        thread::spawn(move || targets.get(at).map(|target| sync(at, target, &wanted, &synced)));
    }
    let begin = Instant::now();
    thread::sleep(Duration::from_secs(seconds));
    let (appends, took) = (synced.load(Ordering::Relaxed), begin.elapsed());
    for path in &paths {
        std::fs::remove_file(path)?;
    }
    let per_second = |of: u64| u128::from(of) * 1_000_000 / took.as_micros().max(1);
    println!("{} MB/s, {} appends/s", per_second(appends * APPEND_BYTES as u64) / 1_000_000, per_second(appends));
    Ok(())
}
