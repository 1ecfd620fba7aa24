//! How a counter is opened, and which strategy it follows.

use std::fmt;
use std::path::Path;

use crate::{BitmapMmap, FixedMmap, ObeliskSequencer, OpenError, PeriodicCheckpoint, PersistentAtomic};

/// How a counter is opened. The default creates what is missing, adopts nothing and starts at 0.
///
/// ```
/// let options = obelisk::Options::new().floor(1_000).step(65_536);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) adopt: bool,
    pub(crate) floor: u64,
    pub(crate) step: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { create: true, adopt: false, floor: 0, step: None }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a counter that is not there is created. Default: yes. Switch it off where the counter must exist already,
    /// so that a path that is not mounted becomes an error instead of a second counter that starts at 0.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Takes a copied, restored or moved counter over as the one that goes on. Default: no, such a file is refused.
    ///
    /// Whoever sets it says that the original is never used again and handed out nothing after the copy was made. If that
    /// is not certain, give a [`floor`](Self::floor) as well.
    pub fn adopt(mut self, adopt: bool) -> Self {
        self.adopt = adopt;
        self
    }

    /// Nothing below this is handed out, whatever the file says. Default: 0.
    ///
    /// For whoever knows from elsewhere which values are in use (from a replica, from the largest id in a table). It is
    /// also the way to go on with a counter whose file was cut, and to start a new one somewhere else than at 0.
    pub fn floor(mut self, floor: u64) -> Self {
        self.floor = floor;
        self
    }

    /// How many values one sync reserves. Default: 2²², for [`BitmapMmap`] 2²⁰.
    ///
    /// The larger, the less the syncs weigh and the more values a crash skips: at most twice this many (which strategy
    /// skips when stands in the README). [`ObeliskSequencer`] rounds it up to whole blocks.
    pub fn step(mut self, step: u64) -> Self {
        self.step = Some(step);
        self
    }

    pub(crate) fn step_or(&self, default: u64) -> Result<u64, OpenError> {
        match self.step {
            None => Ok(default),
            Some(0) => {
                Err(OpenError::Invalid { what: "a step of 0 reserves nothing; it must be at least 1".to_owned() })
            }
            Some(step) => Ok(step),
        }
    }
}

/// What a counter is, without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StrategyKind {
    /// [`ObeliskSequencer`]
    FileSize,
    /// [`FixedMmap`]
    FixedMmap,
    /// [`BitmapMmap`]
    BitmapMmap,
    /// [`PeriodicCheckpoint`]
    PeriodicCheckpoint,
}

impl StrategyKind {
    /// As in the header: never changed, never used again for something else.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::FileSize => 1,
            Self::FixedMmap => 2,
            Self::BitmapMmap => 3,
            Self::PeriodicCheckpoint => 4,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::FileSize, Self::FixedMmap, Self::BitmapMmap, Self::PeriodicCheckpoint]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FileSize => "file-size",
            Self::FixedMmap => "fixed-mmap",
            Self::BitmapMmap => "bitmap-mmap",
            Self::PeriodicCheckpoint => "periodic-checkpoint",
        })
    }
}

/// A strategy as a value, for programs that choose it when they run. The types behind it are a little faster.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use obelisk::{Options, Strategy};
///
/// let counter = Strategy::FileSize.open(dir.path().join("orders"), &Options::new())?;
/// assert_eq!(counter.fetch_add(1)?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// [`ObeliskSequencer::open_with`]
    FileSize,
    /// [`FixedMmap::open_with`]
    FixedMmap,
    /// [`BitmapMmap::open_with`]
    BitmapMmap {
        /// How many values the file has bits for.
        capacity: u64,
    },
    /// [`PeriodicCheckpoint::open_with`]
    PeriodicCheckpoint,
}

impl Strategy {
    /// Opens a counter of this strategy.
    pub fn open(self, path: impl AsRef<Path>, options: &Options) -> Result<Box<dyn PersistentAtomic>, OpenError> {
        Ok(match self {
            Self::FileSize => Box::new(ObeliskSequencer::open_with(path, options)?),
            Self::FixedMmap => Box::new(FixedMmap::open_with(path, options)?),
            Self::BitmapMmap { capacity } => Box::new(BitmapMmap::open_with(path, capacity, options)?),
            Self::PeriodicCheckpoint => Box::new(PeriodicCheckpoint::open_with(path, options)?),
        })
    }
}
