//! The counter as a number in a small file, written ahead of what is handed out: one page, no mapping, no large size. For
//! places where tools meet the file that cannot cope with sparse ones (OB-05).

use std::path::Path;

use crate::disk::Disk;
use crate::header::PAGE;
use crate::ledger::HeaderLedger;
use crate::place::Wanted;
use crate::window::{LIMIT, Window};
use crate::{CounterError, OpenError, Options, PersistentAtomic, StrategyKind};

pub(crate) const DEFAULT_STEP: u64 = 1 << 22;

pub(crate) struct Checkpoint<D: Disk> {
    window: Window<HeaderLedger<D>>,
}

impl<D: Disk> Checkpoint<D> {
    pub(crate) fn open(disk: &D, path: &Path, options: &Options) -> Result<Self, OpenError> {
        let step = options.step_or(DEFAULT_STEP)?;
        let strategy = StrategyKind::PeriodicCheckpoint;
        let opened = Wanted { disk, path, options, strategy, parameter: None }.open_single(PAGE)?;
        let next = opened.header.mark.end().max(options.floor);
        Ok(Self { window: Window::new(next, step, HeaderLedger::new(disk, path, opened, LIMIT)) })
    }

    pub(crate) fn close(mut self) -> Result<(), CounterError> {
        self.window.close()
    }
}

impl<D: Disk> PersistentAtomic for Checkpoint<D> {
    #[inline]
    fn fetch_add(&self, n: u64) -> Result<u64, CounterError> {
        self.window.take(n)
    }

    fn load(&self) -> u64 {
        self.window.load()
    }

    fn sync(&self) -> Result<(), CounterError> {
        self.window.sync()
    }
}

impl<D: Disk> Drop for Checkpoint<D> {
    fn drop(&mut self) {
        // Without it the next session skips what is reserved, and nothing worse.
        let _ = self.window.close();
    }
}
