//! The counter as a number in mapped memory, below a ceiling in the header. A process that dies skips nothing, because the
//! page cache holds the number; power loss skips what was reserved.
//!
//! Numbers are taken from process memory and mirrored into the mapping before they are returned. The mapping itself is no
//! source while the counter is open: a page that could not be written may be dropped and read again as it was.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::disk::{Disk, DiskFile, Map};
use crate::header::PAGE;
use crate::ledger::HeaderLedger;
use crate::live::{Live, NEXT};
use crate::place::Wanted;
use crate::window::{LIMIT, Window};
use crate::{CounterError, OpenError, Options, PersistentAtomic, StrategyKind};

pub(crate) const DEFAULT_STEP: u64 = 1 << 22;
const LEN: u64 = 2 * PAGE;

pub(crate) struct Fixed<D: Disk> {
    window: Window<HeaderLedger<D>>,
    map: Arc<<D::File as DiskFile>::Map>,
}

impl<D: Disk> Fixed<D> {
    pub(crate) fn open(disk: &D, path: &Path, options: &Options) -> Result<Self, OpenError> {
        let step = options.step_or(DEFAULT_STEP)?;
        let strategy = StrategyKind::FixedMmap;
        let opened = Wanted { disk, path, options, strategy, parameter: None }.open_single(LEN)?;
        let live = Live::open(path, &opened, LEN)?;
        let exact = |map: &<D::File as DiskFile>::Map, _: &_| map.words()[NEXT].load(Acquire);
        let recovered = live.recover(path, &opened, exact)?;
        // The floor is not in there: nothing above the ceiling is out before that is raised.
        live.begin(recovered);
        let next = recovered.max(options.floor);
        let map = Arc::clone(&live.map);
        let ledger = HeaderLedger::new(disk, path, opened, LIMIT).with_live(live);
        Ok(Self { window: Window::new(next, step, ledger), map })
    }

    pub(crate) fn close(mut self) -> Result<(), CounterError> {
        self.window.close()
    }
}

impl<D: Disk> PersistentAtomic for Fixed<D> {
    #[inline]
    fn fetch_add(&self, n: u64) -> Result<u64, CounterError> {
        let first = self.window.take(n)?;
        // Before it is returned, and never back: others may be ahead.
        self.map.words()[NEXT].fetch_max(first + n, Release);
        Ok(first)
    }

    fn load(&self) -> u64 {
        self.window.load()
    }

    fn sync(&self) -> Result<(), CounterError> {
        self.window.sync()
    }
}

impl<D: Disk> Drop for Fixed<D> {
    fn drop(&mut self) {
        // Without it the next session believes the mapping, or skips what is reserved, and nothing worse.
        let _ = self.window.close();
    }
}
