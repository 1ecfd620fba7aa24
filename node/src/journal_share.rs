//! How much of one partition goes to the journal at a time, and when its segments are to follow.
//!
//! What goes to the journal is written twice. That is the quicker way as long as the disk has time for both, for one write serves
//! all partitions; where bandwidth is what there is too little of, large appends are synced in their segments at once. So
//! the border moves with the load: it is high while little comes, and low from a rate on that leaves a disk no time, or as soon
//! as the journal has to wait for segments.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use pyralog_protocol::MonoMs;

use crate::limits::Limits;

/// How often the rate is looked at, in ms.
const WINDOW_MS: u64 = 50;
/// The load is high from this rate on, in bytes per ms of all appends that are to be synced.
const BUSY_BYTES_PER_MS: u64 = 350_000;
/// And until it has fallen to this rate: on the other side of the border the same clients may be a little slower.
const CALM_BYTES_PER_MS: u64 = 280_000;
/// The load counts as high for so long after the journal had to wait for segments, in ms.
const HURRY_MS: u64 = 2_000;
/// Batches that wait for the journal in memory, of all partitions, in bytes: above, each partition may have as little there as under
/// high load. A disk that does not answer for seconds meets it.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Shared by all partitions of a node.
#[derive(Debug)]
pub struct JournalShare {
    /// In force.
    bytes: AtomicUsize,
    calm: usize,
    busy: usize,
    /// Bytes of a partition that are on disk in the journal only, from which it is to be [synced](crate::Outputs::flushes).
    pub(crate) flush_bytes: u64,
    /// Bytes that were appended to be synced, ever.
    appended: AtomicU64,
    /// When the window under way ends, in ms.
    ends: AtomicU64,
    hurried: AtomicBool,
    /// Bytes of batches that wait for the journal.
    kept: AtomicUsize,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    since: u64,
    appended: u64,
    busy_until: u64,
}

impl JournalShare {
    /// What the limits say of the journal.
    pub fn new(limits: &Limits) -> Self {
        let busy = limits.journal_bytes;
        let calm = if busy == 0 { 0 } else { limits.journal_calm_bytes.max(busy) };
        Self {
            bytes: AtomicUsize::new(calm),
            calm,
            busy,
            flush_bytes: limits.journal_flush_bytes,
            appended: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            hurried: AtomicBool::new(false),
            kept: AtomicUsize::new(0),
            window: Mutex::default(),
        }
    }

    /// Most bytes that a partition gives to the journal at a time; more is synced in its segments.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The journal waits for segments to be synced.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
    }

    /// Bytes of batches that wait for the journal in memory, of all partitions.
    pub fn kept_bytes(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Batches of so many bytes of a partition wait for the journal now, and waited before.
    pub fn keep(&self, before: usize, now: usize) {
        self.kept.fetch_add(now, Ordering::Relaxed);
        self.kept.fetch_sub(before, Ordering::Relaxed);
    }

    /// Counts bytes that are appended to be synced, and looks at the load when it is time. Gives what is in force now.
    pub fn note(&self, bytes: usize, now: MonoMs) -> usize {
        let appended = self.appended.fetch_add(bytes as u64, Ordering::Relaxed);
        if now.0 >= self.ends.load(Ordering::Relaxed)
            // Whoever has it looks.
            && let Some(mut window) = self.window.try_lock()
        {
            self.ends.store(now.0.saturating_add(WINDOW_MS), Ordering::Relaxed);
            let busy = self.is_busy(&mut window, appended, now.0);
            self.bytes.store(if busy { self.busy } else { self.calm }, Ordering::Relaxed);
        }
        if self.kept_bytes() > KEPT_BYTES_MAX { self.busy } else { self.bytes() }
    }

    fn is_busy(&self, window: &mut Window, appended: u64, now: u64) -> bool {
        if self.hurried.swap(false, Ordering::Relaxed) {
            window.busy_until = now.saturating_add(HURRY_MS);
        }
        let rate = appended.saturating_sub(window.appended) / now.saturating_sub(window.since).max(1);
        (window.since, window.appended) = (now, appended);
        let high = if self.bytes() == self.calm { BUSY_BYTES_PER_MS } else { CALM_BYTES_PER_MS };
        now < window.busy_until || rate > high
    }
}

#[cfg(test)]
mod tests;
