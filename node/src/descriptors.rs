//! Open files of all partitions, under one budget (OP-12): a node with more active partitions than descriptors works, at
//! the price of opening and syncing.
//!
//! Holds: a file with unsynced writes keeps its descriptor until it is synced (IO-02); no partition is waited for, so
//! that this may be called from anywhere but inside of one. The budget is a goal, not a wall: whoever is in the middle of
//! an operation may be a few files above it, and the shell keeps a reserve for that.
//!
//! A clock over the partitions that may hold files: the hand closes what nobody used since it came by last. Partitions
//! without files are not in it, so an idle one costs nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyralog_storage::Disk;

use crate::journal_share::JournalShare;
use crate::outputs::Outputs;
use crate::partition::Partition;
use crate::timetable::Timetable;
use crate::unreadable::Failures;
use crate::vlsn::Outlines;

/// What the partitions of a node share.
pub struct Commons<D: Disk> {
    /// Open files.
    pub files: Descriptors<D>,
    /// Deadlines.
    pub timetable: Timetable<D>,
    /// Of batches in VLSN logs.
    pub(crate) outlines: Arc<Outlines>,
    /// How much of a partition goes to the journal.
    pub(crate) journal: JournalShare,
    /// Appends that failed because of files.
    pub(crate) append_failures: Failures,
    /// [`Limits::append_leave_bytes`](crate::Limits::append_leave_bytes).
    pub(crate) append_leave_bytes: usize,
    /// [`Limits::append_turn_bytes`](crate::Limits::append_turn_bytes).
    pub(crate) append_turn_bytes: usize,
}

/// The budget and the clock.
pub struct Descriptors<D: Disk> {
    disk: Arc<D>,
    limit: usize,
    /// Partitions that may hold files, each once; the hand is at the front.
    ring: Mutex<VecDeque<Weak<Partition<D>>>>,
}

impl<D: Disk> Descriptors<D> {
    /// A budget of so many open files of the disk.
    pub(crate) fn new(disk: Arc<D>, limit: usize) -> Self {
        Self { disk, limit, ring: Mutex::default() }
    }

    /// Adds a partition to the clock. The partition sees to it that it is in it once.
    pub(crate) fn list(&self, partition: &Arc<Partition<D>>) {
        self.ring.lock().push_back(Arc::downgrade(partition));
    }

    /// Whether one more should not be opened before others are closed.
    fn is_full(&self) -> bool {
        self.disk.open_files() >= self.limit
    }

    /// Whether descriptors are so rare that none should be held for a client that takes its time.
    pub(crate) fn is_scarce(&self) -> bool {
        self.disk.open_files() >= self.limit / 4 * 3
    }

    /// What is kept after closing: far enough below the limit that closing is a rare event.
    fn target(&self) -> usize {
        self.limit / 2
    }

    /// Before files are opened to be read: closes others if there are too many.
    pub(crate) fn before_read(&self) {
        if self.is_full() {
            self.close_unused();
        }
    }

    /// Before files are opened to be written: closes others if there are too many, and syncs those that cannot be closed
    /// before. The caller waits for as many syncs as it takes, which keeps writers to the pace of the disk.
    pub(crate) fn before_write(&self, out: &mut Outputs<D>) {
        if !self.is_full() {
            return;
        }
        self.close_unused();
        if self.disk.open_files() > self.target() {
            self.sync_dirty(out);
        }
    }

    /// Two turns of the hand at most: the first may find everything used.
    fn close_unused(&self) {
        for _ in 0..2 * self.listed() {
            if self.disk.open_files() <= self.target() {
                return;
            }
            self.visit(|partition| partition.close_files(true));
        }
    }

    /// More than half of the budget is dirty, or on its way to clients. Syncs here as much as is needed now, and has the
    /// disk workers sync what would be needed soon.
    fn sync_dirty(&self, out: &mut Outputs<D>) {
        let mut surplus = self.disk.open_files().saturating_sub(self.target());
        for _ in 0..self.listed() {
            if surplus == 0 {
                return;
            }
            self.visit(|partition| {
                if !self.is_full() {
                    surplus -= usize::from(partition.flush(out));
                    return true;
                }
                if partition.sync_now(&self.disk, out) {
                    surplus = surplus.saturating_sub(1);
                }
                partition.close_files(false)
            });
        }
    }

    /// Partitions in the clock.
    fn listed(&self) -> usize {
        self.ring.lock().len()
    }

    /// Shows the partition under the hand, and moves it on. What does not hold files any more leaves the clock.
    fn visit(&self, look: impl FnOnce(&Arc<Partition<D>>) -> bool) {
        let Some(front) = self.ring.lock().pop_front() else { return };
        let Some(partition) = front.upgrade() else { return };
        if look(&partition) {
            self.ring.lock().push_back(front);
        }
    }
}
