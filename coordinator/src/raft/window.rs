//! How much of the applied log stays for followers that lag: a number of entries and a number of bytes, whichever is
//! reached first. Cuts in steps of a sixteenth, so that truncation is rare and its range tombstones are few (RA-22).
//! Bytes that were in the log before the start are not known; they leave with the first step.

use std::collections::VecDeque;

use raft::eraftpb::Entry;

use super::options::ReplicaOptions;

/// A run of entries.
#[derive(Clone, Copy, Default)]
struct Run {
    last: u64,
    entries: u64,
    bytes: u64,
}

pub(super) struct LogWindow {
    entries_max: u64,
    bytes_max: u64,
    runs: VecDeque<Run>,
    open: Run,
    reclaimed: u64,
    bytes: u64,
}

impl LogWindow {
    pub(super) fn new(options: &ReplicaOptions, truncated: u64) -> Self {
        let (entries_max, bytes_max) = (options.log_window_entries, options.log_window_bytes);
        let (runs, open) = (VecDeque::new(), Run::default());
        Self { entries_max, bytes_max, runs, open, reclaimed: truncated, bytes: 0 }
    }

    pub(super) fn written(&mut self, entries: &[Entry]) {
        for entry in entries {
            let bytes = u64::try_from(entry.data.len()).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(bytes);
            self.open.last = entry.index;
            self.open.entries += 1;
            self.open.bytes = self.open.bytes.saturating_add(bytes);
            if self.open.entries >= self.entries_max / 16 || self.open.bytes >= self.bytes_max / 16 {
                self.runs.push_back(std::mem::take(&mut self.open));
            }
        }
    }

    /// Index up to which to truncate now: beyond `truncated`, never beyond `applied`.
    pub(super) fn excess(&mut self, truncated: u64, applied: u64) -> Option<u64> {
        let mut to = None;
        while let Some(run) = self.runs.front().copied().filter(|run| run.last <= applied) {
            let over = self.bytes > self.bytes_max || applied.saturating_sub(run.last) >= self.entries_max;
            if !over {
                break;
            }
            self.runs.pop_front();
            self.bytes = self.bytes.saturating_sub(run.bytes);
            to = Some(run.last);
        }
        // Runs may lie before a snapshot that was installed since, or overlap where the log's end was overwritten.
        to.filter(|to| *to > truncated)
    }

    pub(super) fn reclaimed(&mut self, truncated: u64) {
        self.reclaimed = truncated;
    }

    pub(super) fn is_reclaim_due(&self, truncated: u64) -> bool {
        truncated.saturating_sub(self.reclaimed) >= self.entries_max.max(1)
    }
}
