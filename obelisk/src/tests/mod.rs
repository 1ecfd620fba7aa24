//! All strategies on the simulated disk. On the real one they run in `tests/`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod disk;
mod formats;
mod power;
mod refusals;

use std::path::Path;

use crate::bitmap::Bitmap;
use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::file_size::FileSize;
use crate::fixed::Fixed;
use crate::{OpenError, Options, PersistentAtomic, StrategyKind};

const ALL: [StrategyKind; 4] =
    [StrategyKind::FileSize, StrategyKind::FixedMmap, StrategyKind::BitmapMmap, StrategyKind::PeriodicCheckpoint];
const CAPACITY: u64 = 1 << 15;
const BLOCK: u64 = 4;

/// A counter of any strategy on any disk, with small parameters.
fn open(kind: StrategyKind, disk: &impl Disk, options: &Options) -> Result<Box<dyn PersistentAtomic>, OpenError> {
    let path = Path::new("counter");
    Ok(match kind {
        StrategyKind::FileSize => Box::new(FileSize::open(disk, path, Some(BLOCK), options)?),
        StrategyKind::FixedMmap => Box::new(Fixed::open(disk, path, options)?),
        StrategyKind::BitmapMmap => Box::new(Bitmap::open(disk, path, CAPACITY, options)?),
        StrategyKind::PeriodicCheckpoint => Box::new(Checkpoint::open(disk, path, options)?),
    })
}
