//! Counters that survive crashes and power loss: [`fetch_add`](PersistentAtomic::fetch_add) as on an `AtomicU64`, except
//! that no value is ever handed out twice, not even after the process was killed or the power failed.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use obelisk::{ObeliskSequencer, PersistentAtomic};
//!
//! let orders = ObeliskSequencer::open(dir.path().join("orders"))?;
//! assert_eq!(orders.fetch_add(1)?, 0);
//! assert_eq!(orders.reserve(10)?, 1..11);
//! orders.close()?;
//!
//! let orders = ObeliskSequencer::open(dir.path().join("orders"))?;
//! assert_eq!(orders.fetch_add(1)?, 11);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Four strategies stand behind one trait, [`PersistentAtomic`]. All of them hand numbers out from memory, below a ceiling
//! that is on disk already; they differ in where that ceiling is and in what a crash skips. [`ObeliskSequencer`] is the
//! one to take unless there is a reason not to. The README has the table of what each promises.
//!
//! Not here: several hosts on one counter, counters that go down, and anything that knows what the numbers are for. A
//! process that forks must not use a counter in both halves.

mod bitmap;
mod checkpoint;
mod disk;
mod error;
mod file_size;
mod fixed;
mod header;
mod ledger;
mod live;
mod mapping;
mod options;
mod os;
mod place;
mod primitives;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::ops::Range;
use std::path::Path;

pub use disk::Identity;
pub use error::{CounterError, OpenError};
pub use options::{Options, Strategy, StrategyKind};

use os::OsDisk;

/// A counter that only goes up and never hands out a value twice, whatever happens to the process or the machine.
///
/// All methods can be called from many threads at once. Values rise in the order in which the calls take effect, as with
/// `AtomicU64::fetch_add(n, Ordering::AcqRel)`. A crash may skip values (a *gap*), and never repeats one.
pub trait PersistentAtomic: Send + Sync {
    /// Adds `n` and returns the value before. The `n` values from there on belong to the caller, for good: they are
    /// covered on disk before this returns.
    ///
    /// An error means that the caller got nothing; values may be skipped because of it. [`CounterError`] says whether
    /// trying again makes sense.
    fn fetch_add(&self, n: u64) -> Result<u64, CounterError>;

    /// The same as a range: `n` values that belong to the caller alone.
    fn reserve(&self, n: u64) -> Result<Range<u64>, CounterError> {
        let first = self.fetch_add(n)?;
        Ok(first..first + n)
    }

    /// The next value, were nobody else to take one first.
    fn load(&self) -> u64;

    /// Does now what a later `fetch_add` would have to wait for: after it, one step of values is reserved on disk. What
    /// was handed out is safe with or without it. [`BitmapMmap`] also makes its bits durable.
    fn sync(&self) -> Result<(), CounterError>;
}

/// Gives a strategy on the real disk its public face.
macro_rules! on_the_real_disk {
    ($name:ident) => {
        impl $name {
            /// Writes down where the counter stands, so that the next session skips nothing, and closes it. Dropping it
            /// does the same without telling of errors, which cost a gap and nothing else.
            pub fn close(self) -> Result<(), CounterError> {
                self.0.close()
            }
        }

        impl PersistentAtomic for $name {
            #[inline]
            fn fetch_add(&self, n: u64) -> Result<u64, CounterError> {
                self.0.fetch_add(n)
            }

            fn load(&self) -> u64 {
                self.0.load()
            }

            fn sync(&self) -> Result<(), CounterError> {
                self.0.sync()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("next", &self.load()).finish_non_exhaustive()
            }
        }
    };
}

/// File size, the recommended strategy: the size of a sparse file is the ceiling. One `set_len` and one sync reserve a
/// step of values; the file never takes up a block, so that it goes on while the disk is full.
///
/// Beside `<path>` there is `<path>.meta`, one page. Both belong together.
pub struct ObeliskSequencer(file_size::FileSize<OsDisk>);

impl ObeliskSequencer {
    /// Opens the counter, or creates it, with default [`Options`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, &Options::new())
    }

    /// Opens the counter. When it is created, the file system is asked for its largest file size, and the block factor
    /// (values per byte of size) is the smallest one from 2²⁰ on with which all values but the last 2³² of `u64` can be
    /// reached. Where that cannot be asked without filling the disk (elsewhere than on Linux) it is 2²⁴.
    pub fn open_with(path: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        file_size::FileSize::open(&OsDisk, path.as_ref(), None, options).map(Self)
    }

    /// Opens the counter with a block factor of one's own, a power of two: smaller gaps, and an earlier end where file
    /// sizes are limited. The factor of a counter never changes; another one than it was created with is refused.
    pub fn open_with_block(path: impl AsRef<Path>, block: u64, options: &Options) -> Result<Self, OpenError> {
        file_size::FileSize::open(&OsDisk, path.as_ref(), Some(block), options).map(Self)
    }
}

on_the_real_disk!(ObeliskSequencer);

/// Fixed mapping: the value is in mapped memory, which outlives the process. On Linux a process that dies skips nothing.
///
/// Two pages. If somebody cuts the file while it is open, the process dies (SIGBUS).
pub struct FixedMmap(fixed::Fixed<OsDisk>);

impl FixedMmap {
    /// Opens the counter, or creates it, with default [`Options`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, &Options::new())
    }

    /// Opens the counter.
    pub fn open_with(path: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        fixed::Fixed::open(&OsDisk, path.as_ref(), options).map(Self)
    }
}

on_the_real_disk!(FixedMmap);

/// Bitmap mapping: one bit per value in mapped memory. It can tell which values were handed out and which a crash
/// skipped; it ends when its bits are used up.
///
/// A bit per value and two pages, all of it allocated on creation. If somebody cuts the file while it is open, the
/// process dies (SIGBUS).
pub struct BitmapMmap(bitmap::Bitmap<OsDisk>);

impl BitmapMmap {
    /// Opens the counter, or creates one for `capacity` values, with default [`Options`].
    pub fn open(path: impl AsRef<Path>, capacity: u64) -> Result<Self, OpenError> {
        Self::open_with(path, capacity, &Options::new())
    }

    /// Opens the counter. Its first bit stands for the [`floor`](Options::floor) that it was created with. The capacity
    /// never changes; another one than it was created with is refused.
    pub fn open_with(path: impl AsRef<Path>, capacity: u64, options: &Options) -> Result<Self, OpenError> {
        bitmap::Bitmap::open(&OsDisk, path.as_ref(), capacity, options).map(Self)
    }

    /// Whether a value was handed out: by this session, and by all before it that closed the counter or called
    /// [`sync`](PersistentAtomic::sync) afterwards, or only lost their process. After a power loss, a value that was
    /// handed out later than that may be answered with `false`; it is skipped all the same.
    pub fn handed_out(&self, value: u64) -> bool {
        self.0.handed_out(value)
    }

    /// For how many values there are bits.
    pub fn capacity(&self) -> u64 {
        self.0.capacity()
    }
}

on_the_real_disk!(BitmapMmap);

/// Periodic checkpoint: a number in a small ordinary file, always ahead of what was handed out.
///
/// One page.
pub struct PeriodicCheckpoint(checkpoint::Checkpoint<OsDisk>);

impl PeriodicCheckpoint {
    /// Opens the counter, or creates it, with default [`Options`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, &Options::new())
    }

    /// Opens the counter.
    pub fn open_with(path: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        checkpoint::Checkpoint::open(&OsDisk, path.as_ref(), options).map(Self)
    }
}

on_the_real_disk!(PeriodicCheckpoint);
