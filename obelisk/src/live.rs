//! The mapped part of a counter's file: what the page cache keeps when the process dies, so that nothing is skipped.
//!
//! It is believed only if the machine has not been started since it was written, and only after a sync of the file that
//! reports whether anything of it was lost on its way to the disk (IO-14). Otherwise the ceiling in the header counts.
//!
//! One page of words, `[boot id high, boot id low, next value, ...]`, then whatever the strategy keeps. The next value is
//! where the session began, or later.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::OpenError;
use crate::disk::{Disk, DiskFile, Map};
use crate::header::{Mark, PAGE};
use crate::place::{Opened, io_error};

const BOOT_HIGH: usize = 0;
const BOOT_LOW: usize = 1;
pub(crate) const NEXT: usize = 2;
/// First word behind the page.
pub(crate) const REST: usize = 512;

type MapOf<D> = <<D as Disk>::File as DiskFile>::Map;

pub(crate) struct Live<D: Disk> {
    pub(crate) map: Arc<MapOf<D>>,
    boot: Option<u128>,
}

impl<D: Disk> Live<D> {
    /// Maps all of the file but its header.
    pub(crate) fn open(disk: &D, path: &Path, opened: &Opened<D::File>, len: u64) -> Result<Self, OpenError> {
        let map = opened.file.map(PAGE, len - PAGE).map_err(io_error(path, "map it"))?;
        Ok(Self { map: Arc::new(map), boot: disk.boot_id() })
    }

    /// The first value that was certainly not handed out. `exact` reads it from the mapping, if that can be believed.
    pub(crate) fn recover(
        &self,
        path: &Path,
        opened: &Opened<D::File>,
        exact: impl FnOnce(&MapOf<D>, &Mark) -> u64,
    ) -> Result<u64, OpenError> {
        let mark = &opened.header.mark;
        let same_boot = self.boot.is_some() && self.boot == Some(self.stored_boot());
        if mark.closed || opened.adopted || !same_boot {
            return Ok(mark.end());
        }
        opened.file.sync().map_err(io_error(path, "sync"))?;
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
        let boot = self.boot.unwrap_or_default();
        let [high, low] = halves(boot);
        words[BOOT_HIGH].store(high, Release);
        words[BOOT_LOW].store(low, Release);
    }

    fn stored_boot(&self) -> u128 {
        let words = self.map.words();
        u128::from(words[BOOT_HIGH].load(Acquire)) << 64 | u128::from(words[BOOT_LOW].load(Acquire))
    }
}

fn halves(wide: u128) -> [u64; 2] {
    let bytes = wide.to_be_bytes();
    let half = |at: usize| bytes[at..].iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    [half(0), half(8)]
}
