//! How many bytes may still be written before somebody looks at the volume again (OP-10). A look says what is free now;
//! between two looks the books are kept here, so that a reserve is not overrun however late the next one comes.
//!
//! Holds: what was claimed since the last look, together with what was claimed before it and not yet written when it began,
//! is at most what that look allowed. Bytes that turn out not to be needed stay claimed until the next look: the books
//! err on the side of the reserve. Not counted is what is small beside a reserve: indexes, snapshots, metadata.

use std::sync::atomic::{AtomicU64, Ordering};

/// The books. Without a look everything is allowed.
#[derive(Debug)]
pub struct Allowance {
    /// Bytes that somebody has begun to write, or was allowed to, ever.
    claimed: AtomicU64,
    /// Those of them that are written, or will not be.
    settled: AtomicU64,
    /// Where `claimed` may get to.
    limit: AtomicU64,
}

/// What was written when a look began: the look sees all of it, and of the rest nobody knows.
#[derive(Clone, Copy, Debug)]
pub struct Seen(u64);

impl Default for Allowance {
    fn default() -> Self {
        Self { claimed: AtomicU64::new(0), settled: AtomicU64::new(0), limit: AtomicU64::new(u64::MAX) }
    }
}

impl Allowance {
    /// Asks for so many bytes. If it is allowed, they are to be [settled](Self::settle) once they are written, or will not
    /// be.
    pub fn claim(&self, bytes: u64) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        // What is refused is never counted, lest it keep others from what is theirs.
        let within = |before: u64| before.checked_add(bytes).filter(|after| *after <= limit);
        self.claimed.fetch_update(Ordering::AcqRel, Ordering::Acquire, within).is_ok()
    }

    /// Counts bytes that are written whatever is allowed, because they make room in the end. To be settled as well.
    pub fn take(&self, bytes: u64) {
        self.claimed.fetch_add(bytes, Ordering::AcqRel);
    }

    /// What was claimed is written, or will not be.
    pub fn settle(&self, bytes: u64) {
        self.settled.fetch_add(bytes, Ordering::AcqRel);
    }

    /// To be called before a look at the volume begins.
    pub fn before_look(&self) -> Seen {
        Seen(self.settled.load(Ordering::Acquire))
    }

    /// The look that began then allows so many bytes more. `None`: as many as there are.
    pub fn after_look(&self, seen: Seen, spare_bytes: Option<u64>) {
        let limit = spare_bytes.map_or(u64::MAX, |spare| seen.0.saturating_add(spare));
        self.limit.store(limit, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
