//! Reading a file from front to back and leaving the page cache as it was: what was not there before does not stay.

use crate::disk::DiskFile;

/// Bytes that are looked at and let go of at a time; several times what the system reads ahead.
const WINDOW: u64 = 1 << 20;

/// A reader's traces in the page cache.
pub(super) struct Traces {
    /// Where the window begins that is being read.
    at: u64,
    /// It was in memory before.
    cached: bool,
    /// So was the one behind it.
    next_cached: bool,
}

impl Traces {
    /// Before the first read.
    pub fn new<F: DiskFile>(file: &F) -> Self {
        let cached = |at| file.is_cached(at, usize::try_from(WINDOW).unwrap_or(usize::MAX));
        Self { at: 0, cached: cached(0), next_cached: cached(WINDOW) }
    }

    /// Everything below a position was read.
    pub fn passed<F: DiskFile>(&mut self, file: &F, position: u64) {
        while position >= self.at + WINDOW {
            self.forget(file);
            self.at += WINDOW;
            self.cached = self.next_cached;
            self.next_cached = file.is_cached(self.at + WINDOW, usize::try_from(WINDOW).unwrap_or(usize::MAX));
        }
    }

    /// Lets go of the window that is being read.
    pub fn forget<F: DiskFile>(&self, file: &F) {
        if !self.cached {
            file.forget(self.at, WINDOW);
        }
    }
}
