//! What of the partitions is due at a moment: flushes by `flush.ms`. Holds no timer: the shell asks what is due, and is told
//! in [`Outputs::due`] when it should ask earlier than it meant to. A partition is in here only while it has something that
//! will be due.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyralog_protocol::{MonoMs, Now};
use pyralog_storage::Disk;

use crate::Node;
use crate::outputs::Outputs;
use crate::partition::Partition;

/// Deadlines of partitions.
pub struct Timetable<D: Disk> {
    flushes: Mutex<Flushes<D>>,
}

struct Flushes<D: Disk> {
    /// The number tells those of one moment apart.
    by_time: BTreeMap<(MonoMs, u64), Weak<Partition<D>>>,
    next: u64,
}

impl<D: Disk> Default for Timetable<D> {
    fn default() -> Self {
        Self { flushes: Mutex::new(Flushes { by_time: BTreeMap::new(), next: 0 }) }
    }
}

impl<D: Disk> Timetable<D> {
    /// Has the partition flushed at that moment. The partition sees to it that it is in here once.
    pub(crate) fn flush_at(&self, at: MonoMs, partition: &Arc<Partition<D>>, out: &mut Outputs<D>) {
        let mut flushes = self.flushes.lock();
        let number = flushes.next;
        flushes.next += 1;
        if flushes.by_time.first_key_value().is_none_or(|((first, _), _)| at < *first) {
            out.due_at(at);
        }
        flushes.by_time.insert((at, number), Arc::downgrade(partition));
    }

    fn take_flushes(&self, now: MonoMs) -> Vec<Arc<Partition<D>>> {
        let mut flushes = self.flushes.lock();
        let later = flushes.by_time.split_off(&(MonoMs(now.0.saturating_add(1)), 0));
        let due = std::mem::replace(&mut flushes.by_time, later);
        due.into_values().filter_map(|partition| partition.upgrade()).collect()
    }

    fn next(&self) -> Option<MonoMs> {
        self.flushes.lock().by_time.first_key_value().map(|((at, _), _)| *at)
    }
}

impl<D: Disk> Node<D> {
    /// When [`Self::run_due`] is to be called next.
    pub fn next_due(&self) -> Option<MonoMs> {
        self.commons.timetable.next()
    }

    /// Sets the deadlines of what a start found and could not know to be on disk. To be called once, when all partitions are
    /// there.
    pub fn time_what_was_recovered(&self, now: Now, out: &mut Outputs<D>) {
        for partition in self.partitions() {
            partition.time_recovered(now, out);
        }
    }

    /// Does what is due.
    pub fn run_due(&self, now: Now, out: &mut Outputs<D>) {
        for partition in self.commons.timetable.take_flushes(now.mono) {
            partition.flush_at_deadline(out);
        }
    }
}
