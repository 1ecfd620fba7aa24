//! The mapped part of a counter's file: what the page cache keeps when the process dies, so that nothing is skipped.
//!
//! It is believed only if it is still the page cache that it was written to: neither was the machine started since then,
//! nor the volume mounted again. And only if no sync of the file reported a loss, the one at the opening included (IO-14):
//! what could not be written may be dropped from the page cache and read again as it was before. A loss is reported once, so
//! whoever is told takes the era out of the mapping: should that be lost as well, it is another loss, and the next sync
//! reports it. Otherwise the ceiling in the header counts.
//!
//! One page of words, `[era high, era low, next value, ...]`, then whatever the strategy keeps. The next value is where the
//! session would have begun without a floor, or later.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::OpenError;
use crate::disk::{Disk, DiskFile, Map};
use crate::header::{Mark, PAGE};
use crate::place::{Opened, io_error};

const ERA_HIGH: usize = 0;
const ERA_LOW: usize = 1;
pub(crate) const NEXT: usize = 2;
/// First word behind the page.
pub(crate) const REST: usize = 512;

type MapOf<D> = <<D as Disk>::File as DiskFile>::Map;

pub(crate) struct Live<D: Disk> {
    pub(crate) map: Arc<MapOf<D>>,
    era: Option<u128>,
}

impl<D: Disk> Live<D> {
    /// Maps all of the file but its header.
    pub(crate) fn open(path: &Path, opened: &Opened<D::File>, len: u64) -> Result<Self, OpenError> {
        let map = opened.file.map(PAGE, len - PAGE).map_err(io_error(path, "map it"))?;
        Ok(Self { map: Arc::new(map), era: opened.file.era() })
    }

    /// The first value that was certainly not handed out. `exact` reads it from the mapping, if that can be believed.
    pub(crate) fn recover(
        &self,
        path: &Path,
        opened: &Opened<D::File>,
        exact: impl FnOnce(&MapOf<D>, &Mark) -> u64,
    ) -> Result<u64, OpenError> {
        let mark = &opened.header.mark;
        let same_era = self.era.is_some() && self.era == Some(self.stored_era());
        if mark.closed || opened.adopted || !same_era {
            return Ok(mark.end());
        }
        self.sync(&opened.file).map_err(io_error(path, "sync"))?;
        // The mark also counts what was claimed and not returned yet when it was written.
        let next = exact(&self.map, mark).max(mark.next);
        if next > mark.ceiling {
            let what = format!("its mapped part says {next}, and its header no more than {}", mark.ceiling);
            return Err(OpenError::Damaged { path: path.to_owned(), what });
        }
        Ok(next)
    }

    /// The mapping stands at `next`, and can be believed from now on. In this order: after a crash between the two it
    /// must not be an old value that is believed.
    pub(crate) fn begin(&self, next: u64) {
        let words = self.map.words();
        words[NEXT].store(next, Release);
        self.store_era(self.era.unwrap_or_default());
    }

    /// Makes the file and what was stored in the mapping durable. If that fails, nobody believes the mapping any more.
    pub(crate) fn sync(&self, file: &D::File) -> io::Result<()> {
        self.map.flush().and_then(|()| file.sync()).inspect_err(|_| self.store_era(0))
    }

    fn store_era(&self, era: u128) {
        let words = self.map.words();
        let [high, low] = halves(era);
        words[ERA_HIGH].store(high, Release);
        words[ERA_LOW].store(low, Release);
    }

    fn stored_era(&self) -> u128 {
        let words = self.map.words();
        u128::from(words[ERA_HIGH].load(Acquire)) << 64 | u128::from(words[ERA_LOW].load(Acquire))
    }
}

fn halves(wide: u128) -> [u64; 2] {
    let bytes = wide.to_be_bytes();
    let half = |at: usize| bytes[at..].iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    [half(0), half(8)]
}
