//! Reads that fail, and appends, for whoever has to look after the disk. The client is told a code, which says nothing of the place, and
//! asks again: so each failure counts, and a partition is told of once a minute.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use pyralog_protocol::{LogOffset, MonoMs};

/// How long a partition is not told of again.
const QUIET_MS: u64 = 60_000;

/// A read or an append that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Folder of the partition.
    pub dir: String,
    /// Where the reader wanted to begin, if it asked by offset.
    pub offset: Option<LogOffset>,
    /// What the log or the disk said.
    pub cause: String,
}

/// What failed so far.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: AtomicU64,
    /// Partitions that were told of, and when. As many as there are at most: those that are quiet for long go first.
    told: Mutex<BTreeMap<String, MonoMs>>,
}

impl Failures {
    /// Counts one. Tells whether somebody is to be told.
    fn note(&self, dir: &str, now: MonoMs) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock();
        told.retain(|_, at| now.0.saturating_sub(at.0) < QUIET_MS);
        if told.contains_key(dir) {
            return false;
        }
        told.insert(dir.to_owned(), now);
        true
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Where a request's failures go.
pub(crate) struct Telling<'a> {
    pub failures: &'a Failures,
    pub now: MonoMs,
    pub out: &'a mut Vec<Unreadable>,
}

impl Telling<'_> {
    /// Counts one, and tells of it unless its partition was told of lately.
    pub fn tell(&mut self, failed: Unreadable) {
        if self.failures.note(&failed.dir, self.now) {
            self.out.push(failed);
        }
    }
}
